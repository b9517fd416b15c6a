//! Calls whose answer is lost, and what others do before the daemon finds out: it is neither
//! undone nor taken for what the call did.

use std::pin::Pin;

use coordinated::backend::{Retention, postgres::Postgres};
use serde_cbor::Value;

use crate::{
    lost::{Answer, Daemons, NOBODY_KNOWS, add, set_spec, status, take, update, updating},
    support::{Client, int, items, list, map, text, texts},
};

async fn daemons() -> Daemons {
    Daemons::start(1024, Retention::default()).await
}

/// Makes the call, one of whose answers is lost, after so many that arrive; before anything
/// is sent again, `others` do theirs through another daemon.
async fn call(
    daemons: &Daemons,
    client: &mut Client<Postgres>,
    (method, params): (&str, Vec<Value>),
    after: usize,
    others: impl AsyncFnOnce(&mut Client<Postgres>),
) -> Answer {
    let mut other = daemons.other.client();
    let call: Pin<Box<dyn Future<Output = Answer>>> = Box::pin(client.try_call(method, params));
    let others: Pin<Box<dyn Future<Output = ()>>> = Box::pin(others(&mut other));
    let answer = daemons.lossy.lose_while(after, call, others).await;
    daemons.lossy.lose_nothing();
    answer
}

/// How many answers arrive before the last one that such an update of a unit that nobody
/// has takes: it is looked up first.
async fn answers_before(daemons: &Daemons, keys: &[(&str, Value)], update: &Value) -> usize {
    let mut client = daemons.one.client();
    set_spec(&mut client, "twin", keys).await;
    add(&mut client, "twin", "a").await;
    let before = daemons.lossy.answered();
    client
        .ok("update_work_unit", updating("twin", update))
        .await;
    daemons.lossy.answered() - before - 1
}

fn yes() -> Answer {
    Ok(list([Value::Bool(true), Value::Null]))
}

fn nobody_knows() -> Answer {
    Err(NOBODY_KNOWS.to_owned())
}

fn with_output() -> (&'static str, Value) {
    ("data", map([("output", texts(["b", "c"]))]))
}

/// Status, number of attempts, holder and data of the unit "a" of the spec "s".
async fn unit(daemons: &Daemons) -> (i128, i128, Value, Value) {
    let mut client = daemons.other.client();
    let units = client
        .ok("get_work_unit_status", vec![text("s"), texts(["a"])])
        .await;
    let Value::Map(mut unit) = items(units).remove(0) else {
        panic!("there is no unit");
    };
    let mut number = |key| match unit.remove(&text(key)) {
        Some(Value::Integer(number)) => number,
        other => panic!("{key} is {other:?}"),
    };
    let (status, attempts) = (number("status"), number("attempts"));
    let holder = unit.remove(&text("worker_id")).unwrap_or(Value::Null);
    let keys = map([("work_unit_keys", texts(["a"]))]);
    let units = client.ok("get_work_units", vec![text("s"), keys]).await;
    let data = items(items(units).remove(0)).remove(1);
    (status, attempts, holder, data)
}

fn units_own() -> Value {
    map([("data", text("the unit's"))])
}

/// The spec "s" with the unit "a", whose output goes to "t"; the unit is taken.
async fn held(daemons: &Daemons) -> Client<Postgres> {
    let mut client = daemons.one.client();
    set_spec(&mut client, "t", &[]).await;
    set_spec(&mut client, "s", &[("then", text("t"))]).await;
    add(&mut client, "s", "a").await;
    take(&mut client, "s", "w").await;
    client
}

/// The number of units that are available in the spec "t".
async fn chained(daemons: &Daemons) -> Value {
    let counts = daemons
        .other
        .client()
        .ok("count_work_units", vec![text("t")])
        .await;
    match counts {
        Value::Map(mut counts) => counts.remove(&int(1)).unwrap_or(int(0)),
        other => panic!("{other:?}"),
    }
}

/// What it did before: the unit was given back, found without an attempt, and the data that
/// was the attempt's became the unit's own; or its next worker's attempt was taken away.
#[tokio::test]
async fn a_unit_that_was_given_back_stays_with_who_takes_it_next() {
    let daemons = daemons().await;
    let mut client = held(&daemons).await;
    let release = map([("status", int(1)), with_output()]);
    let release = ("update_work_unit", updating("s", &release));
    let answer = call(&daemons, &mut client, release, 0, async |other| {
        take(other, "s", "v").await;
    });
    assert_eq!(answer.await, yes());
    assert_eq!(unit(&daemons).await, (3, 2, text("v"), units_own()));
}

#[tokio::test]
async fn a_finish_stays_one_finish_if_its_unit_is_reset_at_once() {
    let daemons = daemons().await;
    let mut client = held(&daemons).await;
    let finish = map([("status", int(4)), with_output()]);
    let finish = ("update_work_unit", updating("s", &finish));
    let answer = call(&daemons, &mut client, finish, 0, async |other| {
        update(other, "s", status(1)).await;
    });
    assert_eq!(answer.await, yes());
    assert_eq!(unit(&daemons).await, (1, 1, Value::Null, units_own()));
    assert_eq!(chained(&daemons).await, int(2));
}

#[tokio::test]
async fn each_of_many_ends_in_one_statement_is_known_by_itself() {
    let daemons = daemons().await;
    let mut client = daemons.one.client();
    set_spec(&mut client, "s", &[]).await;
    for key in ["a", "b", "c"] {
        add(&mut client, "s", key).await;
    }
    let several = map([("max_jobs", int(3))]);
    let work = client.ok("get_work", vec![text("w"), several]).await;
    assert_eq!(items(work).len(), 3);
    let of = |key: &str, number: u8| list([text("s"), text(key), status(number)]);
    let updates = list([of("a", 4), of("b", 5), of("c", 4)]);
    let updates = ("update_work_units", vec![updates]);
    let answer = call(&daemons, &mut client, updates, 0, async |other| {
        update(other, "s", status(1)).await; // of "a"
    });
    let each = list([Value::Bool(true), Value::Null]);
    assert_eq!(answer.await, Ok(list([each.clone(), each.clone(), each])));
    assert_eq!(unit(&daemons).await, (1, 1, Value::Null, units_own()));
    let mut other = daemons.other.client();
    let counts = other.ok("count_work_units", vec![text("s")]).await;
    let one_each = [1, 4, 5].map(|number| (int(number), int(1)));
    assert_eq!(counts, Value::Map(one_each.into()));
}

#[tokio::test]
async fn an_attempt_that_an_update_made_is_not_made_twice() {
    for number in [3, 4, 5] {
        let daemons = daemons().await;
        let mut client = daemons.one.client();
        let limit = [("max_running", int(1))];
        let start = map([("status", int(number)), ("worker_id", text("w"))]);
        let after = answers_before(&daemons, &limit, &start).await;
        set_spec(&mut client, "s", &limit).await;
        add(&mut client, "s", "a").await;
        let start = ("update_work_unit", updating("s", &start));
        let answer = call(&daemons, &mut client, start, after, async |other| {
            update(other, "s", status(1)).await;
        });
        assert_eq!(answer.await, yes());
        let expected = (1, 1, Value::Null, units_own());
        assert_eq!(unit(&daemons).await, expected, "{number}");
    }
}

#[tokio::test]
async fn a_failure_that_someone_makes_good_is_not_made_again() {
    let daemons = daemons().await;
    let mut client = held(&daemons).await;
    let fail = ("update_work_unit", updating("s", &status(5)));
    let answer = call(&daemons, &mut client, fail, 0, async |other| {
        update(other, "s", status(1)).await;
        take(other, "s", "v").await;
    });
    assert_eq!(answer.await, yes());
    assert_eq!(unit(&daemons).await, (3, 2, text("v"), units_own()));
}

#[tokio::test]
async fn where_there_is_no_trace_nobody_claims_to_know() {
    // New data of a unit that someone takes looks like that of any other request.
    let daemons = daemons().await;
    let mut client = daemons.one.client();
    let prepare = map([("status", int(1)), with_output()]);
    let after = answers_before(&daemons, &[], &prepare).await;
    set_spec(&mut client, "s", &[]).await;
    add(&mut client, "s", "a").await;
    let prepare = ("update_work_unit", updating("s", &prepare));
    let answer = call(&daemons, &mut client, prepare, after, async |other| {
        take(other, "s", "v").await;
    });
    assert_eq!(answer.await, nobody_knows());
    let (status, attempts, holder, _) = unit(&daemons).await;
    assert_eq!((status, attempts, holder), (3, 1, text("v")));

    // A unit without history that was reset does not tell that it was finished.
    let forgetful = Retention {
        attempt_history: 0,
        ..Retention::default()
    };
    let daemons = Daemons::start(1024, forgetful).await;
    let mut client = held(&daemons).await;
    let finish = map([("status", int(4)), with_output()]);
    let finish = ("update_work_unit", updating("s", &finish));
    let answer = call(&daemons, &mut client, finish, 0, async |other| {
        update(other, "s", crate::lost::status(1)).await;
    });
    assert_eq!(answer.await, nobody_knows());
    assert_eq!(unit(&daemons).await, (1, 1, Value::Null, units_own()));
    assert_eq!(chained(&daemons).await, int(2));
}

#[tokio::test]
async fn a_spec_that_someone_has_paused_is_not_set_again() {
    let daemons = daemons().await;
    let mut client = daemons.one.client();
    let control = |number: u8| vec![text("s"), map([("status", int(number))])];
    let set = ("set_work_spec", vec![map([("name", text("s"))])]);
    let answer = call(&daemons, &mut client, set, 0, async |other| {
        other.ok("control_work_spec", control(2)).await;
    });
    assert_eq!(answer.await, nobody_knows());
    let paused = async || {
        let mut other = daemons.other.client();
        let meta = other.ok("get_work_spec_meta", vec![text("s")]).await;
        crate::support::get(&meta, "status") == int(2)
    };
    assert!(paused().await);
    client.ok("control_work_spec", control(1)).await;
    let pause = ("control_work_spec", control(2));
    let answer = call(&daemons, &mut client, pause, 0, async |other| {
        other.ok("control_work_spec", control(1)).await;
    });
    assert_eq!(answer.await, nobody_knows());
    assert!(!paused().await);
}

#[tokio::test]
async fn who_waits_hears_of_a_lease_that_ended_although_the_answer_to_noting_it_was_lost() {
    let daemons = daemons().await;
    held(&daemons).await;
    let mut waiting = daemons.one.client();
    let wait = vec![text("v"), map([("wait", int(60))])];
    let request = waiting.ok("get_work", wait);
    let upkeep = async {
        let mut quiet = 0;
        while quiet < 8 {
            tokio::task::yield_now().await;
            quiet = match daemons.one.in_progress.count() {
                0 => quiet + 1,
                _ => 0,
            };
        }
        daemons.one.advance(11.0);
        // What is due comes first.
        daemons.lossy.lose_answer(1);
        daemons.one.server.upkeep(1_000).await.unwrap();
        assert!(daemons.lossy.lose_nothing());
    };
    let soon = std::time::Duration::from_secs(5);
    let both = async { tokio::join!(request, upkeep).0 };
    let answer = tokio::time::timeout(soon, both).await.expect("woken");
    assert_eq!(items(answer)[1], text("a"));
}

/// Paths below "x", as the calls have them.
fn paths<const N: usize>(labels: [&str; N]) -> Value {
    list(labels.map(|label| texts(["x", label])))
}

async fn owners(daemons: &Daemons) -> Value {
    let mut client = daemons.other.client();
    client.call("readlock", vec![paths(["a", "b"])]).await
}

fn locking(method: &'static str, owner: &str) -> (&'static str, Vec<Value>) {
    let timeout = (method != "unlock").then(|| int(60));
    let params = [text(owner)].into_iter().chain(timeout);
    (method, params.chain([paths(["a", "b"])]).collect())
}

#[tokio::test]
async fn a_lock_that_was_given_up_stays_with_who_takes_it_next() {
    for next in ["me", "you"] {
        let daemons = daemons().await;
        let mut client = daemons.one.client();
        let (method, params) = locking("lock", "me");
        client.ok(method, params).await;
        let unlock = locking("unlock", "me");
        let answer = call(&daemons, &mut client, unlock, 0, async |other| {
            let (method, params) = locking("lock", next);
            other.ok(method, params).await;
        });
        assert_eq!(answer.await, yes());
        assert_eq!(owners(&daemons).await, texts([next, next]));
    }
}

#[tokio::test]
async fn a_lock_that_was_taken_and_given_up_is_not_taken_again() {
    for method in ["lock", "locksome"] {
        let daemons = daemons().await;
        let mut client = daemons.one.client();
        let answer = call(
            &daemons,
            &mut client,
            locking(method, "me"),
            0,
            async |other| {
                let (method, params) = locking("unlock", "me");
                other.ok(method, params).await;
                let params = vec![text("you"), int(60), paths(["b"])];
                other.ok("lock", params).await;
            },
        );
        let expected = match method {
            "lock" => yes(),
            _ => Ok(list([paths(["a", "b"]), Value::Null])),
        };
        assert_eq!(answer.await, expected);
        assert_eq!(owners(&daemons).await, list([Value::Null, text("you")]));
    }
}

#[tokio::test]
async fn a_lock_that_became_free_by_a_drop_is_not_dropped_with_it() {
    let daemons = daemons().await;
    let mut client = daemons.one.client();
    let (method, params) = locking("lock", "me");
    client.ok(method, params).await;
    let drop = ("delete_namespace", vec![text("x")]);
    let answer = call(&daemons, &mut client, drop, 0, async |other| {
        let (method, params) = locking("lock", "you");
        other.ok(method, params).await;
    });
    assert_eq!(answer.await, nobody_knows());
    assert_eq!(owners(&daemons).await, texts(["you", "you"]));
}

#[tokio::test]
async fn calls_for_locks_answer_the_same_whatever_is_lost() {
    let daemons = daemons().await;
    let calls = [
        locking("lock", "me"),
        locking("lock", "you"),
        locking("lock", "me"),
        locking("locksome", "you"),
        locking("renew", "me"),
        locking("renew", "you"),
        locking("unlock", "you"),
        locking("unlock", "me"),
        locking("unlock", "me"),
        locking("locksome", "you"),
        locking("unlock", "you"),
    ];
    let run = async |lose: Option<fn(&crate::lossy::Lossy)>| {
        let mut client = daemons.one.client();
        let mut seen = Vec::new();
        for (method, params) in calls.clone() {
            if let Some(lose) = lose {
                lose(&daemons.lossy);
            }
            let answer = client.try_call(method, params).await;
            assert_eq!(
                daemons.lossy.lose_nothing(),
                lose.is_some(),
                "one round trip"
            );
            seen.push((method, answer, owners(&daemons).await));
        }
        seen
    };
    let expected = run(None).await;
    assert_eq!(run(Some(|lossy| lossy.lose_answer(0))).await, expected);
    assert_eq!(run(Some(|lossy| lossy.lose_request(0))).await, expected);
    // Receipts are not kept for ever.
    let receipts = async || {
        let count = "select count(*) from receipt";
        let row = daemons.client.query_one(count, &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    assert!(receipts().await > 0);
    daemons.one.advance(61.0);
    daemons.one.server.upkeep(1_000).await.unwrap();
    assert_eq!(receipts().await, 0);
}
