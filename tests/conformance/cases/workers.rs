//! Workers (semantics.md §8).

use coordinated::backend::Backend;
use serde_cbor::Value;

use crate::{
    support::{World, get, int, items, list, map, text},
    verbs::name,
};

pub async fn a_worker_is_gone_when_it_is_unregistered_or_past_its_expiration(
    w: World<impl Backend>,
) {
    let mut c = w.client();
    c.beat("a", Value::Null, 10).await;
    c.beat("b", Value::Null, 20).await;
    let mode = |mode: &str| vec![text("b"), text(mode), int(20)];
    c.ok("worker_heartbeat", mode("IDLE")).await;
    let modes = c.ok("list_worker_modes", vec![]).await;
    assert_eq!(modes, map([("a", text("RUN")), ("b", text("IDLE"))]));
    assert_eq!(
        c.ok("mode_counts", vec![]).await,
        map([("RUN", int(1)), ("IDLE", int(1))])
    );
    w.advance(10.5);
    assert_eq!(
        c.ok("list_worker_modes", vec![]).await,
        map([("b", text("IDLE"))])
    );
    assert_eq!(c.ok("get_worker_info", vec![text("a")]).await, Value::Null);
    c.ok("worker_unregister", vec![text("b")]).await;
    assert_eq!(c.ok("mode_counts", vec![]).await, map([]));
    for gone in ["a", "b"] {
        let (value, why) = c.pair("worker_unregister", vec![text(gone)]).await;
        assert_eq!(value, Value::Bool(false));
        assert!(why.unwrap().contains(gone));
    }
    let stats = c.call("worker_stats", vec![]).await;
    assert_eq!(get(&stats, "num_workers"), int(0));
}

pub async fn lifetimes_out_of_bounds_are_replaced_and_said_so(w: World<impl Backend>) {
    let mut c = w.client();
    let beat = |seconds: Value| vec![text("a"), text("RUN"), seconds];
    for (seconds, lasts) in [(int(-1), 300.0), (int(90_000), 3_600.0)] {
        let (done, warning) = c.pair("worker_heartbeat", beat(seconds)).await;
        assert_eq!(done, Value::Bool(true));
        assert!(warning.is_some());
        w.advance(lasts - 0.5);
        assert_eq!(
            c.ok("list_worker_modes", vec![]).await,
            map([("a", text("RUN"))])
        );
        w.advance(1.0);
        assert_eq!(c.ok("list_worker_modes", vec![]).await, map([]));
    }
    c.ok("worker_heartbeat", beat(Value::Float(0.5))).await;
    c.ok("worker_heartbeat", vec![text("bare")]).await;
    let nils = vec![
        text("nils"),
        Value::Null,
        int(6_000),
        Value::Null,
        Value::Null,
    ];
    c.ok("worker_heartbeat", nils).await;
    let stats = c.call("worker_stats", vec![]).await;
    assert_eq!(get(&stats, "num_workers"), int(3));
}

pub async fn nil_and_empty_parents_are_none(w: World<impl Backend>) {
    let mut c = w.client();
    c.beat("a", Value::Null, 60).await;
    c.beat("b", text(""), 60).await;
    c.beat("c", text("p"), 60).await;
    let stats = c.call("worker_stats", vec![]).await;
    let shown = ["num_workers", "num_children", "num_expirable"].map(|key| get(&stats, key));
    assert_eq!(shown, [int(3), int(1), int(3)]);
    assert_eq!(c.ok("get_child_work_units", vec![text("")]).await, map([]));
    c.beat("c", Value::Null, 60).await;
    assert_eq!(
        c.ok("get_child_work_units", vec![text("p")]).await,
        map([]),
        "nil clears"
    );
}

pub async fn parent_cycles_are_refused(w: World<impl Backend>) {
    let mut c = w.client();
    c.beat("b", text("a"), 60).await;
    c.beat("c", text("b"), 60).await;
    for (worker, parent) in [("a", "c"), ("a", "a"), ("b", "c")] {
        let beat = vec![text(worker), text("RUN"), int(60), map([]), text(parent)];
        let (done, why) = c.pair("worker_heartbeat", beat).await;
        assert_eq!(done, Value::Bool(false));
        assert!(why.unwrap().contains(parent));
    }
    c.beat("a", Value::Null, 60).await;
    let children = c.ok("get_child_work_units", vec![text("b")]).await;
    assert_eq!(children, map([("c", list([]))]), "nothing changed");
}

pub async fn worker_info_is_what_was_sent_with_an_age(w: World<impl Backend>) {
    let mut c = w.client();
    let beat = |data: Value| vec![text("a"), text("RUN"), int(600), data];
    c.ok("worker_heartbeat", beat(map([("pid", int(7))]))).await;
    w.advance(2.5);
    let info = c.ok("get_worker_info", vec![text("a")]).await;
    assert_eq!(
        info,
        map([("pid", int(7)), ("age_seconds", Value::Float(2.5))])
    );
    c.ok(
        "worker_heartbeat",
        beat(map([("age_seconds", text("mine"))])),
    )
    .await;
    let info = c.ok("get_worker_info", vec![text("a")]).await;
    assert_eq!(info, map([("age_seconds", text("mine"))]));
    c.ok("worker_heartbeat", beat(Value::Null)).await;
    let info = c.ok("get_worker_info", vec![text("a")]).await;
    assert_eq!(info, map([("age_seconds", Value::Float(0.0))]));
}

/// The keys that are listed under a child, and who holds each.
fn listed(children: &Value, child: &str) -> Vec<(String, Option<String>)> {
    let units = items(get(children, child));
    units
        .iter()
        .map(|unit| {
            let holder = match get(unit, "worker_id") {
                Value::Null => {
                    assert_eq!(get(unit, "expires"), Value::Null);
                    None
                }
                worker => {
                    assert!(matches!(get(unit, "expires"), Value::Float(_)));
                    Some(name(&worker))
                }
            };
            (name(&get(unit, "work_unit_key")), holder)
        })
        .collect()
}

pub async fn children_are_listed_with_what_they_hold(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.spec("t", []).await;
    c.add("s", ["a", "b"]).await;
    c.add("t", ["c"]).await;
    for child in ["one", "two"] {
        c.beat(child, text("p"), 600).await;
    }
    let idle = c.ok("get_child_work_units", vec![text("p")]).await;
    assert_eq!(idle, map([("one", list([])), ("two", list([]))]));
    for _ in 0..3 {
        c.take("one").await.unwrap();
    }
    let children = c.ok("get_child_work_units", vec![text("p")]).await;
    let held = Some("one".to_owned());
    let expected = ["a", "b", "c"].map(|key| (key.to_owned(), held.clone()));
    assert_eq!(listed(&children, "one"), expected);
    assert_eq!(listed(&children, "two"), []);
    let unit = items(get(&children, "one")).remove(2);
    assert_eq!(
        (get(&unit, "work_spec_name"), get(&unit, "work_unit_data")),
        (text("t"), map([]))
    );
    c.finish("s", "a").await;
    c.set_status("s", "b", 5).await.unwrap();
    c.set_status("t", "c", 1).await.unwrap();
    let children = c.ok("get_child_work_units", vec![text("p")]).await;
    assert_eq!(listed(&children, "one"), []);
    c.ok("worker_unregister", vec![text("one")]).await;
    let children = c.ok("get_child_work_units", vec![text("p")]).await;
    assert_eq!(children, map([("two", list([]))]));
}

pub async fn a_runaway_child_is_listed_until_its_attempt_ends(w: World<impl Backend>) {
    let (mut child, mut other, mut parent) = (w.client(), w.client(), w.client());
    child.spec("s", []).await;
    child.add("s", ["a"]).await;
    child.beat("child", text("p"), 6_000).await;
    child.take_for("child", 10).await.unwrap();
    w.advance(11.0);
    let children = parent.ok("get_child_work_units", vec![text("p")]).await;
    assert_eq!(
        listed(&children, "child"),
        [("a".to_owned(), None)],
        "the lease ran out"
    );
    other.take("other").await.unwrap();
    let children = parent.ok("get_child_work_units", vec![text("p")]).await;
    assert_eq!(
        listed(&children, "child"),
        [("a".to_owned(), Some("other".to_owned()))]
    );
    other.finish("s", "a").await;
    let children = parent.ok("get_child_work_units", vec![text("p")]).await;
    assert_eq!(listed(&children, "child"), [("a".to_owned(), None)]);
    assert!(
        parent.set_status("s", "a", 5).await.is_err(),
        "the other one finished it"
    );
    let all = map([("all", Value::Bool(true))]);
    parent.ok("del_work_units", vec![text("s"), all]).await;
    let children = parent.ok("get_child_work_units", vec![text("p")]).await;
    assert_eq!(listed(&children, "child"), []);

    child.add("s", ["b"]).await;
    child.take_for("child", 10).await.unwrap();
    w.advance(11.0);
    parent.set_status("s", "b", 5).await.unwrap();
    let children = parent.ok("get_child_work_units", vec![text("p")]).await;
    assert_eq!(
        listed(&children, "child"),
        [],
        "its parent failed it, late as it was"
    );
    assert_eq!(parent.counts("s").await, [0, 0, 0, 1]);
}

pub async fn asking_about_an_unknown_worker_does_not_make_it(w: World<impl Backend>) {
    let mut c = w.client();
    assert_eq!(c.ok("get_child_work_units", vec![text("x")]).await, map([]));
    assert_eq!(c.ok("get_worker_info", vec![text("x")]).await, Value::Null);
    c.take("x").await;
    assert_eq!(c.ok("list_worker_modes", vec![]).await, map([]));
}
