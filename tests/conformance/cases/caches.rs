//! Several job servers on one backend: whatever one of them changes, the caches of the
//! others know nothing of, and nobody may notice (design: a wrong entry costs time,
//! never correctness).

use coordinated::backend::Backend;
use serde_cbor::Value;

use crate::support::{World, get, int, list, map, text, texts};

pub async fn a_stale_attempt_finishes_nobody_elses_work(w: World<impl Backend>) {
    let there = w.beside(1024).await;
    let (mut here, mut elsewhere) = (w.client(), there.client());
    here.spec("s", []).await;
    here.add("s", ["a"]).await;
    here.take_for("one", 10).await.unwrap();
    w.advance(11.0);
    elsewhere.take("two").await.unwrap();
    let late = [("status", int(4)), ("worker_id", text("one"))];
    // A connection that was given nothing, on the server whose cache still has one's attempt.
    let why = w.client().update("s", "a", late).await.unwrap_err();
    assert!(why.contains("two"), "{why} names the present holder");
    assert_eq!(here.counts("s").await, [0, 1, 0, 0]);
    elsewhere.finish("s", "a").await;
}

pub async fn an_update_decided_on_a_stale_attempt_is_decided_again(w: World<impl Backend>) {
    let there = w.beside(1024).await;
    let (mut here, mut elsewhere) = (w.client(), there.client());
    here.spec("s", []).await;
    here.add("s", ["a"]).await;
    here.take("one").await.unwrap();
    // Here the cache has the attempt as open; there it is finished, retried and claimed.
    let mut there = there.client();
    there.finish("s", "a").await;
    there.set_status("s", "a", 1).await.unwrap();
    elsewhere.take("two").await.unwrap();
    w.client()
        .update("s", "a", [("status", int(5))])
        .await
        .unwrap();
    let status = here.status("s", "a").await;
    assert_eq!(
        (get(&status, "status"), get(&status, "worker_id")),
        (int(5), text("two"))
    );
}

pub async fn an_answer_without_a_change_is_never_a_stale_one(w: World<impl Backend>) {
    let there = w.beside(1024).await;
    let (mut here, mut elsewhere) = (w.client(), there.client());
    here.spec("s", []).await;
    here.add("s", ["a", "b"]).await;
    elsewhere.finish("s", "a").await;
    elsewhere.set_status("s", "b", 5).await.unwrap();
    // Here the cache has both as never attempted.
    assert!(here.update("s", "a", [("data", map([]))]).await.is_err());
    assert!(here.bad_update("s", "b", 3).await.contains("failed"));
    here.finish("s", "a").await;
    elsewhere.set_status("s", "a", 1).await.unwrap();
    here.update("s", "a", [("status", int(4))]).await.unwrap();
    assert_eq!(
        elsewhere.counts("s").await,
        [0, 0, 1, 1],
        "it was to be done again, and was"
    );
    assert_eq!(get(&here.status("s", "a").await, "attempts"), int(2));
}

pub async fn a_unit_deleted_and_added_elsewhere_is_found_anew(w: World<impl Backend>) {
    let there = w.beside(1024).await;
    let (mut here, mut elsewhere) = (w.client(), there.client());
    here.spec("s", []).await;
    here.add("s", ["a"]).await;
    here.take("one").await.unwrap();
    let all = map([("all", Value::Bool(true))]);
    elsewhere.ok("del_work_units", vec![text("s"), all]).await;
    let gone = w.client().set_status("s", "a", 4).await.unwrap_err();
    assert!(gone.contains("no such work unit"), "{gone}");
    elsewhere
        .add_items("s", list([list([text("a"), map([("n", int(2))])])]))
        .await;
    w.client().finish("s", "a").await;
    assert_eq!(here.counts("s").await, [0, 0, 1, 0]);
    assert_eq!(here.data("s", "a").await, map([("n", int(2))]));
}

pub async fn a_spec_deleted_and_made_elsewhere_is_found_anew(w: World<impl Backend>) {
    let there = w.beside(1024).await;
    let (mut here, mut elsewhere) = (w.client(), there.client());
    here.spec("s", [("then", text("t"))]).await;
    here.spec("t", []).await;
    here.add("s", ["a"]).await;
    here.take("one").await.unwrap();
    for spec in ["s", "t"] {
        elsewhere.ok("del_work_spec", vec![text(spec)]).await;
    }
    assert!(
        here.set_status("s", "a", 4)
            .await
            .unwrap_err()
            .contains("no such work spec")
    );
    for spec in ["s", "t"] {
        elsewhere.spec(spec, [("then", text("t"))]).await;
    }
    assert_eq!(here.counts("s").await, [0, 0, 0, 0]);
    here.add("s", ["b"]).await;
    let output = map([("output", texts(["x"]))]);
    here.update("s", "b", [("status", int(4)), ("data", output)])
        .await
        .unwrap();
    assert_eq!(elsewhere.counts("t").await, [1, 0, 0, 0]);
}

pub async fn max_running_and_continuous_hold_over_several_servers(w: World<impl Backend>) {
    let there = w.beside(0).await;
    let (mut here, mut elsewhere) = (w.client(), there.client());
    here.spec("s", [("max_running", int(3))]).await;
    here.add("s", ["a", "b", "c", "d", "e"]).await;
    assert_eq!(here.take_many("one", 2).await.len(), 2);
    assert_eq!(elsewhere.take_many("two", 9).await.len(), 1);
    assert_eq!(here.take_many("one", 9).await.len(), 0);
    here.ok("del_work_spec", vec![text("s")]).await;
    here.spec(
        "c",
        [("continuous", Value::Bool(true)), ("interval", int(10))],
    )
    .await;
    let made = [here.take("one").await, elsewhere.take("two").await];
    assert_eq!(
        made.iter().flatten().count(),
        1,
        "one unit for one interval"
    );
}
