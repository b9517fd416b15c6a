//! Chaining (semantics.md §6).

use coordinated::backend::Backend;
use serde_cbor::Value;

use crate::support::{Client, World, int, list, map, text, texts};

async fn chained<B: Backend>(w: &World<B>) -> Client<B> {
    let mut c = w.client();
    c.spec("s", [("then", text("t"))]).await;
    c.spec("t", []).await;
    c
}

fn output(units: Value) -> Value {
    map([("output", units)])
}

pub async fn output_of_every_form_becomes_units(w: World<impl Backend>) {
    let mut c = chained(&w).await;
    c.add_items("s", list([list([text("a"), map([]), Value::Null, int(7)])]))
        .await;
    c.add("s", ["b"]).await;
    c.take_many("w", 2).await;
    let units = list([
        text("key"),
        list([text("data"), map([("n", int(1))])]),
        list([
            text("meta"),
            map([]),
            map([("priority", int(9)), ("delay", int(5))]),
        ]),
        list([text("fourth"), map([]), map([("priority", int(9))]), int(8)]),
        int(5),
        list([text("key"), map([("later", int(1))])]),
    ]);
    c.update("s", "a", [("status", int(4)), ("data", output(units))])
        .await
        .unwrap();
    assert_eq!(c.counts("t").await, [4, 0, 0, 0]);
    assert_eq!(
        c.data("t", "key").await,
        map([("later", int(1))]),
        "later items win"
    );
    let by_key = output(map([
        ("data", map([("n", int(2))])),
        ("other", Value::Null),
    ]));
    c.update("s", "b", [("status", int(4)), ("data", by_key)])
        .await
        .unwrap();
    assert_eq!(c.data("t", "data").await, map([("n", int(2))]));
    // 8 was given; 7 was inherited from a; b passed on its 0.
    assert_eq!(
        c.take_many("w", 9).await,
        ["fourth", "key", "data", "other"]
    );
    w.advance(5.0);
    assert_eq!(c.take("w").await.unwrap(), "meta");
}

pub async fn a_repeated_finish_chains_once(w: World<impl Backend>) {
    let mut c = chained(&w).await;
    c.add("s", ["a"]).await;
    c.take("w").await;
    let data = output(texts(["x"]));
    c.update("s", "a", [("status", int(4)), ("data", data.clone())])
        .await
        .unwrap();
    assert_eq!(c.take("w").await.unwrap(), "x");
    c.finish("t", "x").await;
    c.finish("s", "a").await;
    c.update("s", "a", [("status", int(4)), ("data", data)])
        .await
        .unwrap();
    assert_eq!(c.counts("t").await, [0, 0, 1, 0]);
}

pub async fn a_refused_finish_chains_nothing(w: World<impl Backend>) {
    let mut late = chained(&w).await;
    late.add("s", ["a"]).await;
    late.take_for("w", 10).await;
    w.advance(11.0);
    w.client().take("other").await.unwrap();
    let finish = [("status", int(4)), ("data", output(texts(["x"])))];
    late.update("s", "a", finish).await.unwrap_err();
    assert_eq!(late.counts("t").await, [0, 0, 0, 0]);
}

pub async fn a_missing_then_spec_is_no_error(w: World<impl Backend>) {
    let mut c = chained(&w).await;
    c.ok("del_work_spec", vec![text("t")]).await;
    c.add("s", ["a"]).await;
    c.take("w").await;
    c.update(
        "s",
        "a",
        [("status", int(4)), ("data", output(texts(["x"])))],
    )
    .await
    .unwrap();
    assert_eq!(c.counts("s").await, [0, 0, 1, 0]);
}

pub async fn output_of_an_earlier_update_is_chained_by_a_bare_finish(w: World<impl Backend>) {
    let mut c = chained(&w).await;
    c.add("s", ["a"]).await;
    c.add_items("s", list([list([text("b"), output(texts(["from b"]))])]))
        .await;
    c.take_many("w", 2).await;
    c.update("s", "a", [("data", output(texts(["from a"])))])
        .await
        .unwrap();
    c.finish("s", "a").await;
    c.finish("s", "b").await;
    assert_eq!(c.keys("t", []).await, ["from a", "from b"]);
}

pub async fn output_onto_an_existing_key_replaces_it(w: World<impl Backend>) {
    let mut c = chained(&w).await;
    c.add("t", ["held", "done", "free"]).await;
    c.set_status("t", "held", 3).await.unwrap();
    c.set_status("t", "done", 4).await.unwrap();
    c.add("s", ["a"]).await;
    let data = output(texts(["held", "done", "free"]));
    c.update("s", "a", [("status", int(4)), ("data", data)])
        .await
        .unwrap();
    assert_eq!(c.counts("t").await, [2, 1, 0, 0]);
    assert_eq!(c.take_many("w", 9).await, ["done", "free"], "each once");
}

pub async fn a_spec_may_chain_to_itself(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", [("then", text("s"))]).await;
    c.add("s", ["a"]).await;
    c.take("w").await;
    let data = output(texts(["a", "b"]));
    c.update("s", "a", [("status", int(4)), ("data", data)])
        .await
        .unwrap();
    assert_eq!(c.counts("s").await, [2, 0, 0, 0], "a is to be done again");
}

pub async fn a_failed_unit_that_finishes_after_all_chains(w: World<impl Backend>) {
    let mut c = chained(&w).await;
    c.add("s", ["a", "b"]).await;
    c.set_status("s", "a", 5).await.unwrap();
    c.update(
        "s",
        "a",
        [("status", int(4)), ("data", output(texts(["x"])))],
    )
    .await
    .unwrap();
    c.update(
        "s",
        "b",
        [("status", int(4)), ("data", output(texts(["y"])))],
    )
    .await
    .unwrap();
    assert_eq!(c.keys("t", []).await, ["x", "y"]);
}
