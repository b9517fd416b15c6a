//! Work specs (semantics.md §2).

use coordinated::backend::Backend;
use serde_cbor::Value;

use crate::{
    support::{World, get, int, items, list, map, text},
    verbs::name,
};

pub async fn a_spec_is_what_it_was_last_set_to(w: World<impl Backend>) {
    let mut c = w.client();
    assert_eq!(c.call("get_work_spec", vec![text("s")]).await, Value::Null);
    c.spec("s", [("x", int(1))]).await;
    c.add("s", ["a"]).await;
    c.spec("s", [("x", int(2)), ("unknown", list([int(3)]))])
        .await;
    let spec = c.call("get_work_spec", vec![text("s")]).await;
    let expected = map([
        ("name", text("s")),
        ("x", int(2)),
        ("unknown", list([int(3)])),
    ]);
    assert_eq!(spec, expected);
    assert_eq!(c.counts("s").await, [1, 0, 0, 0], "its units stay");
}

pub async fn setting_a_spec_again_resets_what_control_changed(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec(
        "s",
        [
            ("weight", int(3)),
            ("continuous", Value::Bool(true)),
            ("interval", int(60)),
        ],
    )
    .await;
    c.take("w").await.expect("a made unit");
    let meta = c.ok("get_work_spec_meta", vec![text("s")]).await;
    let next = get(&meta, "next_continuous");
    assert!(matches!(next, Value::Float(_)));
    let options = map([
        ("weight", int(9)),
        ("status", int(2)),
        ("max_running", int(4)),
    ]);
    c.ok("control_work_spec", vec![text("s"), options]).await;
    let meta = c.ok("get_work_spec_meta", vec![text("s")]).await;
    let shown = ["weight", "status", "max_running"].map(|key| get(&meta, key));
    assert_eq!(shown, [int(9), int(2), int(4)]);
    c.spec("s", [("weight", int(5)), ("continuous", Value::Bool(true))])
        .await;
    let meta = c.ok("get_work_spec_meta", vec![text("s")]).await;
    let shown = ["weight", "status", "max_running", "next_continuous"].map(|key| get(&meta, key));
    assert_eq!(shown, [int(5), int(1), int(0), next]);
}

pub async fn control_changes_all_it_names_or_nothing(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    let before = c.ok("get_work_spec_meta", vec![text("s")]).await;
    for bad in [
        map([("weight", int(2)), ("status", int(3))]),
        map([("weight", int(0)), ("priority", int(2))]),
        map([("priority", int(2)), ("interval", int(-1))]),
        map([("priority", int(2)), ("max_running", Value::Float(2.5))]),
    ] {
        let error = c
            .try_call("control_work_spec", vec![text("s"), bad])
            .await
            .unwrap_err();
        assert!(!error.is_empty());
    }
    assert_eq!(c.ok("get_work_spec_meta", vec![text("s")]).await, before);
    let unknown = c.pair("control_work_spec", vec![text("x"), map([])]).await;
    assert_eq!(
        unknown,
        (Value::Bool(false), Some("no such work spec: x".to_owned()))
    );
}

pub async fn continuous_is_switched_on_only_where_the_definition_allows_it(w: World<impl Backend>) {
    let mut c = w.client();
    let on = || map([("continuous", Value::Bool(true)), ("weight", int(7))]);
    c.spec("no", []).await;
    let (changed, why) = c.pair("control_work_spec", vec![text("no"), on()]).await;
    assert_eq!(changed, Value::Bool(false));
    assert!(why.unwrap().contains("no"));
    let meta = c.ok("get_work_spec_meta", vec![text("no")]).await;
    assert_eq!(get(&meta, "weight"), int(20), "nothing else changed either");
    c.spec("yes", [("continuous", Value::Bool(true))]).await;
    let off = map([("continuous", Value::Bool(false))]);
    c.ok("control_work_spec", vec![text("yes"), off]).await;
    assert_eq!(c.take("w").await, None);
    c.ok("control_work_spec", vec![text("yes"), on()]).await;
    assert!(c.take("w").await.is_some());
}

pub async fn specs_are_listed_by_name_in_pages_that_miss_none(w: World<impl Backend>) {
    let mut c = w.client();
    for spec in ["d", "a", "c", "e", "b"] {
        c.spec(spec, []).await;
    }
    for limit in 1..7 {
        let (mut listed, mut start) = (Vec::new(), Value::Null);
        loop {
            let options = map([("start", start), ("limit", int(limit))]);
            let mut page = items(c.call("list_work_specs", vec![options]).await);
            start = page.remove(1);
            let page = items(page.remove(0));
            assert!(page.len() <= limit as usize);
            listed.extend(page.iter().map(|spec| name(&get(spec, "name"))));
            if start == Value::Null {
                break;
            }
        }
        assert_eq!(listed, ["a", "b", "c", "d", "e"], "in pages of {limit}");
    }
    for limit in [0, -3] {
        let none = c
            .call("list_work_specs", vec![map([("limit", int(limit))])])
            .await;
        assert_eq!(none, list([list([]), Value::Null]));
    }
    let from = c
        .call("list_work_specs", vec![map([("start", text("d"))])])
        .await;
    assert_eq!(items(items(from).remove(0)).len(), 2, "start is included");
}

pub async fn a_deleted_spec_is_gone_with_its_units(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a", "b"]).await;
    c.take("w").await;
    c.ok("del_work_spec", vec![text("s")]).await;
    let (gone, why) = c.pair("del_work_spec", vec![text("s")]).await;
    assert_eq!(
        (gone, why.as_deref()),
        (Value::Bool(false), Some("no such work spec: s"))
    );
    assert_eq!(c.take("w").await, None);
    assert!(
        c.set_status("s", "a", 4)
            .await
            .unwrap_err()
            .contains("no such work spec: s")
    );
    c.spec("s", []).await;
    assert_eq!(c.counts("s").await, [0, 0, 0, 0]);
    assert!(
        c.set_status("s", "a", 4)
            .await
            .unwrap_err()
            .contains("no such work unit")
    );
}

pub async fn a_spec_made_again_is_found_through_a_stale_cache(w: World<impl Backend>) {
    let (mut one, mut other) = (w.client(), w.client());
    one.spec("s", []).await;
    one.add("s", ["a"]).await;
    assert_eq!(one.take("w").await.unwrap(), "a");
    other.ok("del_work_spec", vec![text("s")]).await;
    other.spec("s", []).await;
    other.add("s", ["a"]).await;
    assert_eq!(one.counts("s").await, [1, 0, 0, 0]);
    // The new unit was never attempted; the old attempt on the old one is no fence for
    // a client that says which it means, and is one for a client that does not.
    assert!(
        one.set_status("s", "a", 4)
            .await
            .unwrap_err()
            .starts_with("lease lost")
    );
    assert_eq!(other.take("w").await.unwrap(), "a");
    other.finish("s", "a").await;
    assert_eq!(other.counts("s").await, [0, 0, 1, 0]);
}

pub async fn clear_deletes_every_spec_of_its_namespace_only(w: World<impl Backend>) {
    let (mut c, mut elsewhere) = (w.client(), w.client());
    elsewhere
        .call("hello", vec![map([("namespace", text("n"))])])
        .await;
    elsewhere.spec("s", []).await;
    c.spec("s", []).await;
    c.spec("t", []).await;
    assert_eq!(c.call("clear", vec![]).await, int(2));
    assert_eq!(c.call("clear", vec![]).await, int(0));
    assert_eq!(elsewhere.call("clear", vec![]).await, int(1));
}

pub async fn a_failed_set_leaves_no_trace(w: World<impl Backend>) {
    let mut c = w.client();
    let bad = map([("name", text("s")), ("weight", int(-1))]);
    let error = c
        .try_call("set_work_spec", vec![bad.clone()])
        .await
        .unwrap_err();
    assert!(error.contains("weight"), "{error}");
    assert_eq!(c.call("get_work_spec", vec![text("s")]).await, Value::Null);
    c.spec("s", [("weight", int(2))]).await;
    c.try_call("set_work_spec", vec![bad]).await.unwrap_err();
    let meta = c.ok("get_work_spec_meta", vec![text("s")]).await;
    assert_eq!(get(&meta, "weight"), int(2));
}
