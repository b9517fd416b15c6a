//! Work units: identity, states, listing, counting, deleting (semantics.md §1, §3).

use coordinated::{backend::Backend, model::StringType};
use serde_cbor::Value;

use crate::{
    support::{World, bytes, get, has, int, items, list, map, text, texts},
    verbs::string_type,
};

pub async fn text_and_byte_keys_of_the_same_bytes_are_one_unit(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add_items("s", list([bytes(b"a"), bytes(b"\xff\x00")]))
        .await;
    c.add_items("s", list([text("a"), text("b")])).await;
    assert_eq!(c.counts("s").await, [3, 0, 0, 0]);
    let options = map([(
        "work_unit_keys",
        list([text("a"), bytes(b"b"), bytes(b"c")]),
    )]);
    let listed = items(c.ok("get_work_units", vec![text("s"), options]).await);
    let keys: Vec<_> = listed
        .into_iter()
        .map(|pair| items(pair).remove(0))
        .collect();
    let types: Vec<_> = keys.iter().map(string_type).collect();
    assert_eq!(
        types,
        [StringType::Bytes, StringType::Text, StringType::Bytes],
        "as they were first stored; a missing one as it was asked for"
    );
}

pub async fn an_empty_key_is_a_key_like_any_other(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["", "a"]).await;
    assert_eq!(c.keys("s", []).await, ["", "a"]);
    assert_eq!(c.take("w").await.unwrap(), "");
    c.finish("s", "").await;
    let options = map([("work_unit_keys", texts([""]))]);
    assert_eq!(
        c.ok("del_work_units", vec![text("s"), options]).await,
        int(1)
    );
    assert_eq!(c.keys("s", []).await, ["a"]);
}

pub async fn the_last_entry_for_a_key_wins(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    let item = |n: i32| list([text("a"), map([("n", int(n))])]);
    c.add_items("s", list([item(1), text("b"), item(2)])).await;
    assert_eq!(c.counts("s").await, [2, 0, 0, 0]);
    assert_eq!(c.data("s", "a").await, map([("n", int(2))]));
}

pub async fn a_bad_item_adds_none(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    for bad in [
        int(5),
        list([text("b")]),
        list([text("b"), int(1)]),
        list([
            text("b"),
            map([]),
            map([("priority", Value::Float(f64::NAN))]),
        ]),
        list([text("b"), map([]), Value::Null, Value::Float(f64::INFINITY)]),
        list([text("b"), map([]), map([("delay", text("soon"))])]),
        bytes(&[b'x'; 2049]),
    ] {
        let units = list([text("a"), bad.clone()]);
        let error = c
            .try_call("add_work_units", vec![text("s"), units])
            .await
            .unwrap_err();
        assert!(error.contains('1'), "{error} names the index of {bad:?}");
    }
    assert_eq!(c.counts("s").await, [0, 0, 0, 0]);
    let (added, why) = c
        .pair("add_work_units", vec![text("x"), texts(["a"])])
        .await;
    assert_eq!(
        (added, why.as_deref()),
        (Value::Bool(false), Some("no such work spec: x"))
    );
    c.add_items("s", list([])).await;
}

pub async fn adding_an_available_unit_again_moves_it(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a", "b"]).await;
    c.add_items("s", list([list([text("b"), map([]), Value::Null, int(5)])]))
        .await;
    c.add_items("s", list([list([text("c"), map([]), Value::Null, int(9)])]))
        .await;
    c.add_items(
        "s",
        list([list([
            text("c"),
            map([("n", int(1))]),
            map([("delay", int(10))]),
        ])]),
    )
    .await;
    assert_eq!(c.take("w").await.unwrap(), "b", "c is delayed now");
    w.advance(10.0);
    let taken = [c.take("w").await.unwrap(), c.take("w").await.unwrap()];
    assert_eq!(taken, ["a", "c"], "and no longer of high priority");
}

pub async fn adding_a_pending_unit_again_keeps_its_attempt(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a"]).await;
    c.take("w").await;
    let before = c.status("s", "a").await;
    c.add_items("s", list([list([text("a"), map([("n", int(2))])])]))
        .await;
    assert_eq!(c.status("s", "a").await, before);
    assert_eq!(
        c.data("s", "a").await,
        map([("n", int(2))]),
        "the attempt has no own data"
    );
    c.update("s", "a", [("data", map([("own", int(1))]))])
        .await
        .unwrap();
    c.add_items("s", list([list([text("a"), map([("n", int(3))])])]))
        .await;
    assert_eq!(c.data("s", "a").await, map([("own", int(1))]));
    c.finish("s", "a").await;
    assert_eq!(c.counts("s").await, [0, 0, 1, 0]);
}

pub async fn adding_a_finished_or_failed_unit_again_makes_it_available(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a", "b"]).await;
    c.set_status("s", "a", 4).await.unwrap();
    c.set_status("s", "b", 5).await.unwrap();
    assert_eq!(c.counts("s").await, [0, 0, 1, 1]);
    c.add("s", ["a", "b"]).await;
    assert_eq!(c.counts("s").await, [2, 0, 0, 0]);
    assert_eq!(
        get(&c.status("s", "a").await, "attempts"),
        int(1),
        "its attempts stay"
    );
    assert_eq!(c.take_many("w", 5).await, ["a", "b"]);
    assert_eq!(get(&c.status("s", "a").await, "attempts"), int(2));
}

pub async fn delayed_units_count_as_available_and_are_not_handed_out(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add_items(
        "s",
        list([list([text("a"), map([]), map([("delay", int(5))])])]),
    )
    .await;
    assert_eq!(c.counts("s").await, [1, 0, 0, 0]);
    assert_eq!(c.status_number("s", "a").await, 1);
    assert_eq!(c.keys("s", [("state", int(1))]).await, ["a"]);
    assert_eq!(c.take("w").await, None);
    let options = map([("state", int(1))]);
    assert_eq!(
        c.ok("del_work_units", vec![text("s"), options]).await,
        int(1)
    );
}

pub async fn a_delay_ends_at_its_instant(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    let delay = map([("delay", Value::Float(0.9))]);
    c.add_items("s", list([list([text("a"), map([]), delay])]))
        .await;
    w.advance(0.899_999);
    assert_eq!(c.take("w").await, None, "never early");
    w.advance(0.000_001);
    assert_eq!(c.take("w").await.unwrap(), "a");
}

pub async fn pages_by_key_and_state_miss_none(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    let names: Vec<String> = (0..40).map(|i| format!("{i:02}")).collect();
    c.add_items(
        "s",
        Value::Array(names.iter().map(|name| text(name)).collect()),
    )
    .await;
    for (i, name) in names.iter().enumerate() {
        match i % 4 {
            1 => c.set_status("s", name, 3).await.unwrap(),
            2 => c.set_status("s", name, 4).await.unwrap(),
            3 => c.set_status("s", name, 5).await.unwrap(),
            _ => {}
        }
    }
    let matching = |states: &[usize]| -> Vec<String> {
        let number = [1, 3, 4, 5];
        let chosen = |i: &usize| states.contains(&number[i % 4]);
        (0..40).filter(chosen).map(|i| names[i].clone()).collect()
    };
    for (state, states) in [
        (Value::Null, vec![1, 3, 4, 5]),
        (int(4), vec![4]),
        (list([int(1), int(3)]), vec![1, 3]),
        (list([int(5), int(2), int(99), int(-1)]), vec![5]),
        (int(2), vec![]),
        (list([]), vec![]),
    ] {
        for limit in [1, 3, 7, 100] {
            let (mut listed, mut start) = (Vec::new(), Value::Null);
            loop {
                let options = [
                    ("state", state.clone()),
                    ("start", start),
                    ("limit", int(limit)),
                ];
                let page = c.keys("s", options).await;
                assert!(page.len() <= limit as usize);
                let Some(last) = page.last() else { break };
                start = text(last);
                listed.extend(page);
            }
            assert_eq!(listed, matching(&states), "{state:?} in pages of {limit}");
        }
    }
    assert_eq!(c.keys("s", [("limit", int(0))]).await, [""; 0]);
}

pub async fn units_are_listed_in_the_order_asked(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a", "b"]).await;
    let asked = ["b", "x", "a", "b"];
    assert_eq!(c.keys("s", [("work_unit_keys", texts(asked))]).await, asked);
    let options = map([("work_unit_keys", texts(asked))]);
    let listed = items(c.ok("get_work_units", vec![text("s"), options]).await);
    let data: Vec<_> = listed
        .into_iter()
        .map(|pair| items(pair).remove(1))
        .collect();
    assert_eq!(data, [map([]), Value::Null, map([]), map([])]);
    assert_eq!(c.keys("s", [("work_unit_keys", list([]))]).await, [""; 0]);
    let statuses = items(
        c.ok("get_work_unit_status", vec![text("s"), texts(asked)])
            .await,
    );
    let known: Vec<_> = statuses
        .iter()
        .map(|status| *status != Value::Null)
        .collect();
    assert_eq!(known, [true, false, true, true]);
}

pub async fn statuses_show_what_semantics_says(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a"]).await;
    let status = c.status("s", "a").await;
    assert_eq!(get(&status, "status"), int(1));
    assert_eq!(get(&status, "expiration"), Value::Null);
    assert_eq!(get(&status, "attempts"), int(0));
    assert!(!has(&status, "worker_id") && !has(&status, "traceback"));

    c.take_for("w", 60).await;
    let status = c.status("s", "a").await;
    assert_eq!(get(&status, "status"), int(3));
    assert_eq!(get(&status, "expiration"), Value::Float(1_700_000_060.0));
    assert_eq!(
        (get(&status, "worker_id"), get(&status, "attempts")),
        (text("w"), int(1))
    );

    w.advance(60.5);
    let status = c.status("s", "a").await;
    assert_eq!(
        (get(&status, "status"), get(&status, "expiration")),
        (int(1), Value::Null)
    );
    assert!(!has(&status, "worker_id"));

    let data = map([("traceback", text("boom"))]);
    c.update("s", "a", [("status", int(5)), ("data", data)])
        .await
        .unwrap();
    let status = c.status("s", "a").await;
    assert_eq!(
        (get(&status, "status"), get(&status, "worker_id")),
        (int(5), text("w"))
    );
    assert_eq!(
        get(&status, "expiration"),
        Value::Float(1_700_000_060.5),
        "when it failed"
    );
    assert_eq!(get(&status, "traceback"), text("boom"));
    let unknown = c
        .pair("get_work_unit_status", vec![text("x"), texts(["a"])])
        .await;
    assert_eq!(
        unknown,
        (Value::Null, Some("no such work spec: x".to_owned()))
    );
}

pub async fn priorities_are_set_and_adjusted(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a", "b", "c"]).await;
    let set = |keys, options: [(&str, Value); 1]| {
        let [(option, value)] = options;
        vec![text("s"), map([("work_unit_keys", keys), (option, value)])]
    };
    c.ok(
        "prioritize_work_units",
        set(texts(["c", "x"]), [("priority", int(2))]),
    )
    .await;
    c.ok(
        "prioritize_work_units",
        set(texts(["b"]), [("adjustment", Value::Float(2.5))]),
    )
    .await;
    c.ok(
        "prioritize_work_units",
        set(texts(["a"]), [("adjustment", int(-1))]),
    )
    .await;
    let neither = map([("work_unit_keys", texts(["a"])), ("priority", Value::Null)]);
    c.ok("prioritize_work_units", vec![text("s"), neither])
        .await;
    let both = map([
        ("work_unit_keys", texts(["c"])),
        ("priority", int(1)),
        ("adjustment", int(99)),
    ]);
    c.ok("prioritize_work_units", vec![text("s"), both]).await;
    assert_eq!(c.take_many("w", 9).await, ["b", "c", "a"]);
    let missing = c
        .pair("prioritize_work_units", vec![text("s"), map([])])
        .await;
    assert_eq!(
        missing,
        (
            Value::Bool(false),
            Some("missing work_unit_keys".to_owned())
        )
    );
    let (refused, why) = c
        .pair(
            "prioritize_work_units",
            vec![text("x"), map([("work_unit_keys", texts(["a"]))])],
        )
        .await;
    assert_eq!(
        (refused, why.as_deref()),
        (Value::Bool(false), Some("no such work spec: x"))
    );
}

pub async fn deletes_take_what_they_name_and_no_more(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a", "b", "c", "d"]).await;
    c.set_status("s", "b", 4).await.unwrap();
    c.set_status("s", "c", 5).await.unwrap();
    let none = c.pair("del_work_units", vec![text("s"), map([])]).await;
    assert_eq!(
        none,
        (
            int(0),
            Some("no usable options to del_work_units".to_owned())
        )
    );
    let empty = map([("work_unit_keys", list([]))]);
    assert_eq!(c.ok("del_work_units", vec![text("s"), empty]).await, int(0));
    let both = map([
        ("work_unit_keys", texts(["a", "b", "x"])),
        ("state", int(4)),
    ]);
    assert_eq!(c.ok("del_work_units", vec![text("s"), both]).await, int(1));
    assert_eq!(c.keys("s", []).await, ["a", "c", "d"]);
    let states = map([("state", list([int(4), int(5), int(2)]))]);
    assert_eq!(
        c.ok("del_work_units", vec![text("s"), states]).await,
        int(1)
    );
    c.take("w").await;
    let all = map([("all", Value::Bool(true))]);
    assert_eq!(
        c.ok("del_work_units", vec![text("s"), all.clone()]).await,
        int(2)
    );
    assert_eq!(c.counts("s").await, [0, 0, 0, 0]);
    let (zero, why) = c.pair("del_work_units", vec![text("x"), all]).await;
    assert_eq!(
        (zero, why.as_deref()),
        (int(0), Some("no such work spec: x"))
    );
}

pub async fn counts_are_kept_through_every_change(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a", "b", "c", "d"]).await;
    assert_eq!(c.counts("s").await, [4, 0, 0, 0]);
    assert_eq!(c.take_many("w", 3).await, ["a", "b", "c"]);
    assert_eq!(c.counts("s").await, [1, 3, 0, 0]);
    c.finish("s", "a").await;
    c.set_status("s", "b", 5).await.unwrap();
    assert_eq!(c.counts("s").await, [1, 1, 1, 1]);
    w.advance(301.0);
    assert_eq!(
        c.counts("s").await,
        [2, 0, 1, 1],
        "the lease ran out, whoever looks"
    );
    c.set_status("s", "b", 1).await.unwrap();
    assert_eq!(c.counts("s").await, [3, 0, 1, 0]);
    let counts = c.pair("count_work_units", vec![text("x")]).await;
    assert_eq!(
        counts,
        (Value::Null, Some("no such work spec: x".to_owned()))
    );
}
