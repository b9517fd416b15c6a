//! Updates, row by row of the table in semantics.md §7, and fencing.

use coordinated::backend::Backend;
use serde_cbor::Value;

use crate::support::{World, get, int, items, list, map, text};

/// Data that tells where it came from.
fn data(n: i32) -> Value {
    map([("n", int(n))])
}

pub async fn a_unit_without_an_attempt_follows_the_table(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a", "b", "c", "d", "e"]).await;
    assert_eq!(
        c.update("s", "a", []).await,
        Err("nothing to do".to_owned())
    );
    c.update("s", "a", [("worker_id", text("w"))])
        .await
        .unwrap_err();
    c.update("s", "a", [("data", data(1))]).await.unwrap();
    assert_eq!(c.data("s", "a").await, data(1));
    c.update("s", "b", [("status", int(1)), ("data", data(2))])
        .await
        .unwrap();
    assert_eq!(
        (c.status_number("s", "b").await, c.data("s", "b").await),
        (1, data(2))
    );
    let lease = [
        ("status", int(3)),
        ("worker_id", text("w")),
        ("lease_time", int(10)),
    ];
    c.update("s", "c", lease).await.unwrap();
    let status = c.status("s", "c").await;
    assert_eq!(get(&status, "worker_id"), text("w"));
    assert_eq!(get(&status, "expiration"), Value::Float(1_700_000_010.0));
    c.update("s", "d", [("status", int(4)), ("data", data(4))])
        .await
        .unwrap();
    assert_eq!(
        (c.status_number("s", "d").await, c.data("s", "d").await),
        (4, data(4))
    );
    assert_eq!(get(&c.status("s", "d").await, "worker_id"), text(""));
    c.set_status("s", "e", 5).await.unwrap();
    assert_eq!(c.counts("s").await, [2, 1, 1, 1]);
    for status in [0, 2, 6] {
        assert!(c.bad_update("s", "a", status).await.contains("status"));
    }
    assert_eq!(
        c.counts("s").await,
        [2, 1, 1, 1],
        "an error makes no attempt"
    );
    assert!(
        c.update("s", "x", [])
            .await
            .unwrap_err()
            .contains("no such work unit: x")
    );
}

pub async fn a_pending_unit_follows_the_table(w: World<impl Backend>) {
    let mut c = w.client();
    let end = |c: &Value| get(c, "expiration");
    c.spec("s", []).await;
    c.add("s", ["a"]).await;
    c.take_for("w", 60).await;
    w.advance(10.0);
    assert_eq!(
        c.update("s", "a", []).await,
        Err("nothing to do".to_owned())
    );
    c.update("s", "a", [("data", data(1))]).await.unwrap();
    assert_eq!(
        end(&c.status("s", "a").await),
        Value::Float(1_700_000_060.0),
        "as it was"
    );
    assert_eq!(c.data("s", "a").await, data(1));
    c.update("s", "a", [("lease_time", Value::Float(0.5))])
        .await
        .unwrap();
    assert_eq!(
        end(&c.status("s", "a").await),
        Value::Float(1_700_000_010.5)
    );
    c.update("s", "a", [("status", int(3)), ("lease_time", int(90_000))])
        .await
        .unwrap();
    assert_eq!(
        end(&c.status("s", "a").await),
        Value::Float(1_700_000_310.0),
        "too long"
    );
    c.update("s", "a", [("lease_time", int(-1))]).await.unwrap();
    assert_eq!(c.counts("s").await, [1, 0, 0, 0], "given back at once");
    c.take("w").await.unwrap();
    c.update("s", "a", [("lease_time", int(0))]).await.unwrap();
    assert_eq!(c.counts("s").await, [1, 0, 0, 0]);
    c.take("w").await.unwrap();
    c.set_status("s", "a", 1).await.unwrap();
    c.take("w").await.unwrap();
    c.update("s", "a", [("status", int(5)), ("data", data(5))])
        .await
        .unwrap();
    assert_eq!(
        (c.status_number("s", "a").await, c.data("s", "a").await),
        (5, data(5))
    );
}

pub async fn a_unit_whose_lease_ran_out_follows_the_table(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    let keys = ["a", "b", "c", "d", "e", "f"];
    c.add("s", keys).await;
    for _ in keys {
        c.take_for("w", 10).await.unwrap();
    }
    w.advance(11.0);
    assert_eq!(c.counts("s").await, [6, 0, 0, 0]);
    c.update("s", "a", [("data", data(1))]).await.unwrap();
    let status = c.status("s", "a").await;
    assert_eq!(
        (get(&status, "status"), get(&status, "attempts")),
        (int(3), int(1))
    );
    assert_eq!(get(&status, "expiration"), Value::Float(1_700_000_311.0));
    c.update("s", "b", [("status", int(3)), ("lease_time", int(7))])
        .await
        .unwrap();
    assert_eq!(
        get(&c.status("s", "b").await, "expiration"),
        Value::Float(1_700_000_018.0)
    );
    c.finish("s", "c").await;
    c.set_status("s", "d", 5).await.unwrap();
    c.set_status("s", "e", 1).await.unwrap();
    c.update("s", "f", [("lease_time", int(0))]).await.unwrap();
    assert_eq!(c.counts("s").await, [2, 2, 1, 1]);
    // Cleared units have no attempt that a late worker could still mean.
    assert!(
        c.set_status("s", "e", 4)
            .await
            .unwrap_err()
            .starts_with("lease lost")
    );
}

pub async fn a_finished_unit_follows_the_table(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add_items("s", list([list([text("a"), data(0)])])).await;
    c.take("w").await;
    c.update("s", "a", [("status", int(4)), ("data", data(1))])
        .await
        .unwrap();
    assert!(c.update("s", "a", [("data", data(2))]).await.is_err());
    c.update("s", "a", [("lease_time", int(5))]).await.unwrap();
    c.finish("s", "a").await;
    c.update("s", "a", [("status", int(4)), ("data", data(2))])
        .await
        .unwrap();
    assert_eq!(
        c.data("s", "a").await,
        data(1),
        "a repeated finish changes nothing"
    );
    assert!(
        c.set_status("s", "a", 5)
            .await
            .unwrap_err()
            .contains("finished")
    );
    assert!(c.bad_update("s", "a", 3).await.contains("pending"));
    assert_eq!(c.counts("s").await, [0, 0, 1, 0]);
    c.set_status("s", "a", 1).await.unwrap();
    assert_eq!(c.data("s", "a").await, data(0), "its original data");
    assert_eq!(c.counts("s").await, [1, 0, 0, 0]);
}

pub async fn a_failed_unit_follows_the_table(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add_items(
        "s",
        list([list([text("a"), data(0)]), list([text("b"), data(0)])]),
    )
    .await;
    c.take_many("w", 2).await;
    c.update("s", "a", [("status", int(5)), ("data", data(1))])
        .await
        .unwrap();
    c.set_status("s", "a", 5).await.unwrap();
    c.update("s", "a", [("lease_time", int(5)), ("data", data(9))])
        .await
        .unwrap();
    assert_eq!(c.data("s", "a").await, data(1));
    assert!(c.bad_update("s", "a", 3).await.contains("pending"));
    c.update("s", "a", [("status", int(4)), ("data", data(2))])
        .await
        .unwrap();
    assert_eq!(
        (c.status_number("s", "a").await, c.data("s", "a").await),
        (4, data(2))
    );
    c.update("s", "b", [("status", int(5)), ("data", data(3))])
        .await
        .unwrap();
    c.set_status("s", "b", 1).await.unwrap();
    assert_eq!(c.data("s", "b").await, data(0));
}

pub async fn a_late_renewal_beyond_max_running_is_refused(w: World<impl Backend>) {
    let (mut one, mut other) = (w.client(), w.client());
    one.spec("s", [("max_running", int(1))]).await;
    one.add("s", ["a"]).await;
    one.take_for("one", 10).await.unwrap();
    w.advance(11.0);
    one.add_items("s", list([list([text("0"), map([]), Value::Null, int(1)])]))
        .await;
    assert_eq!(other.take("other").await.unwrap(), "0");
    let why = one
        .update("s", "a", [("lease_time", int(60))])
        .await
        .unwrap_err();
    assert!(
        why.starts_with("lease lost") && why.contains("max_running"),
        "{why}"
    );
    other.finish("s", "0").await;
    one.update("s", "a", [("lease_time", int(60))])
        .await
        .unwrap();
    assert_eq!(one.counts("s").await, [0, 1, 1, 0]);
}

pub async fn a_retry_brings_the_original_data_back(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add_items("s", list([list([text("a"), data(0)])])).await;
    c.take("w").await;
    c.update("s", "a", [("status", int(1)), ("data", data(1))])
        .await
        .unwrap();
    assert_eq!(
        c.data("s", "a").await,
        data(0),
        "what it was given stays with the attempt"
    );
    assert_eq!(c.take_with("w", []).await.unwrap().data, data(0));
}

pub async fn a_release_with_a_delay_holds_the_unit_back(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a"]).await;
    c.take("w").await;
    c.update("s", "a", [("status", int(1)), ("delay", Value::Float(2.5))])
        .await
        .unwrap();
    assert_eq!(c.counts("s").await, [1, 0, 0, 0]);
    w.advance(2.4);
    assert_eq!(c.take("w").await, None);
    w.advance(0.1);
    assert_eq!(c.take("w").await.unwrap(), "a");
}

pub async fn a_unit_moved_without_a_claim_is_not_handed_out(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a", "b", "c", "d"]).await;
    for (key, status) in [("a", 3), ("b", 4), ("c", 5)] {
        c.set_status("s", key, status).await.unwrap();
    }
    assert_eq!(c.take_many("w", 9).await, ["d"]);
}

pub async fn who_names_another_worker_is_fenced_unless_it_is_the_parent(w: World<impl Backend>) {
    let (mut child, mut c) = (w.client(), w.client());
    c.spec("s", []).await;
    c.add("s", ["a", "b"]).await;
    child.beat("child", text("parent"), 600).await;
    child.take_many("child", 2).await;
    let by = |worker: &str| [("status", int(5)), ("worker_id", text(worker))];
    let why = c.update("s", "a", by("stranger")).await.unwrap_err();
    assert!(
        why.starts_with("lease lost") && why.contains("child"),
        "{why}"
    );
    assert_eq!(c.counts("s").await, [0, 2, 0, 0]);
    c.update("s", "a", by("parent")).await.unwrap();
    c.update("s", "b", by("child")).await.unwrap();
    assert_eq!(c.counts("s").await, [0, 0, 0, 2]);
}

pub async fn who_names_an_older_attempt_is_fenced(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a"]).await;
    let mut attempts = Vec::new();
    for _ in 0..2 {
        c.take_for("w", 10).await.unwrap();
        attempts.push(get(&c.status("s", "a").await, "attempt_id"));
        w.advance(11.0);
    }
    let meant = |attempt: &Value| [("status", int(4)), ("attempt_id", attempt.clone())];
    let why = c.update("s", "a", meant(&attempts[0])).await.unwrap_err();
    assert!(why.starts_with("lease lost"), "{why}");
    assert_eq!(c.counts("s").await, [1, 0, 0, 0]);
    w.client()
        .update("s", "a", meant(&attempts[1]))
        .await
        .unwrap();
    c.update("s", "a", meant(&attempts[1])).await.unwrap();
    assert!(
        c.update("s", "a", meant(&attempts[0])).await.is_err(),
        "finished or not"
    );
}

pub async fn an_old_client_is_fenced_by_its_connection(w: World<impl Backend>) {
    let (mut late, mut next) = (w.client(), w.client());
    late.spec("s", []).await;
    late.add("s", ["a"]).await;
    late.take_for("same", 10).await.unwrap();
    w.advance(11.0);
    assert_eq!(next.take_for("same", 60).await.unwrap(), "a");
    for options in [
        [("status", int(4)), ("data", data(1))],
        [("status", int(5)), ("data", data(1))],
        [("status", int(1)), ("data", data(1))],
        [("lease_time", int(100)), ("data", data(1))],
    ] {
        let why = late.update("s", "a", options).await.unwrap_err();
        assert!(
            why.starts_with("lease lost") && why.contains("same"),
            "{why}"
        );
    }
    let status = next.status("s", "a").await;
    assert_eq!(get(&status, "expiration"), Value::Float(1_700_000_071.0));
    assert_eq!(next.data("s", "a").await, map([]));
    next.finish("s", "a").await;
    assert!(late.set_status("s", "a", 4).await.is_err(), "not even now");
    // Once it has the unit itself, it may.
    next.set_status("s", "a", 1).await.unwrap();
    assert_eq!(late.take("same").await.unwrap(), "a");
    late.finish("s", "a").await;
}

pub async fn a_connection_that_never_claimed_is_not_fenced(w: World<impl Backend>) {
    let (mut worker, mut other) = (w.client(), w.client());
    worker.spec("s", []).await;
    worker.add("s", ["a"]).await;
    worker.take("w").await.unwrap();
    other.set_status("s", "a", 5).await.unwrap();
    assert_eq!(worker.counts("s").await, [0, 0, 0, 1]);
}

pub async fn a_batch_answers_each_update_as_if_it_came_alone(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.spec("t", []).await;
    c.add("s", ["a", "b"]).await;
    c.add("t", ["a"]).await;
    c.take_many("w", 9).await;
    c.take_many("w", 9).await;
    let update = |spec: &str, key: &str, options: Value| list([text(spec), text(key), options]);
    let status = |number: i32| map([("status", int(number))]);
    let updates = list([
        update("s", "a", status(4)),
        update("s", "x", status(4)),
        update("s", "a", status(4)),
        update(
            "t",
            "a",
            map([("status", int(4)), ("worker_id", text("stranger"))]),
        ),
        update("x", "a", status(4)),
        update("s", "a", status(5)),
        update("s", "a", status(3)),
        update("s", "b", map([])),
        update(
            "s",
            "b",
            map([("status", int(4)), ("worker_id", text("w"))]),
        ),
    ]);
    let answers = items(c.call("update_work_units", vec![updates]).await);
    let answers: Vec<_> = answers.into_iter().map(items).collect();
    let done: Vec<_> = answers
        .iter()
        .map(|pair| pair[0] == Value::Bool(true))
        .collect();
    assert_eq!(
        done,
        [true, false, true, false, false, false, false, false, true]
    );
    assert!(
        answers
            .iter()
            .zip(&done)
            .all(|(pair, done)| *done == (pair[1] == Value::Null))
    );
    assert_eq!(answers[4][1], text("no such work spec: x"));
    assert_eq!(c.counts("s").await, [0, 0, 2, 0]);
    assert_eq!(c.counts("t").await, [0, 1, 0, 0]);
    assert_eq!(c.call("update_work_units", vec![list([])]).await, list([]));
}
