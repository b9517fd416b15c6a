//! What calls cost: round trips to the database, statements, and transactions, through
//! the whole job server, with the cache on and statements prepared (`watched.rs` says what
//! is not counted, and why).
//!
//! Each line is an upper bound. A smaller one is progress: make it the bound.

use serde_cbor::Value;

use super::{
    proxy::Traffic,
    watched::{Watched, keys},
};
use crate::support::{int, items, list, map, text, texts};

/// Two daemons on one schema, and two rounds: what is made in the first round prepares all
/// statements, and only the second counts.
const ROUNDS: [&str; 2] = ["first", "second"];

/// Checks what a call cost, once all statements are prepared.
#[track_caller]
fn costs(round: &str, traffic: &Traffic, round_trips: usize, statements: usize, commits: usize) {
    if round == "second" {
        assert_eq!(traffic.preparations(), 0, "{traffic:?}");
        traffic.costs_at_most(round_trips, statements, commits);
    }
}

fn some(keys: &[String]) -> Value {
    Value::Array(keys.iter().map(|key| text(key)).collect())
}

/// Data whose output is two units.
fn output() -> Value {
    map([("output", texts(["x", "y"]))])
}

#[tokio::test]
async fn a_statement_is_prepared_once_for_each_connection() {
    let mut daemon = Watched::alone().await;
    daemon.spec("s", []).await;
    let first = daemon.add("s", &keys("a", 1)).await;
    assert_eq!((first.round_trips(), first.preparations()), (2, 1));
    let again = daemon.add("s", &keys("b", 1)).await;
    assert_eq!((again.round_trips(), again.preparations()), (1, 0));
}

#[tokio::test]
async fn get_work_is_one_round_trip_when_the_board_is_warm() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        daemon.spec(s, []).await;
        daemon.add(s, &keys("a", 100)).await;
        // Who sets a spec makes the daemon look at the board again.
        costs(s, &daemon.work(s).await.1, 2, 2, 2);
        let (key, traffic) = daemon.work(s).await;
        costs(s, &traffic, 1, 1, 1);
        let options = map([("max_jobs", int(50)), ("work_spec_names", texts([s]))]);
        let (work, traffic) = daemon.ok("get_work", vec![text("w"), options]).await;
        assert_eq!(items(work).len(), 50);
        costs(s, &traffic, 1, 1, 1);
        // What this daemon itself changes keeps the board warm.
        daemon.finish(s, &key).await;
        daemon.add(s, &keys("b", 1)).await;
        costs(s, &daemon.work(s).await.1, 1, 1, 1);
        // That there is nothing is known without asking.
        let options = map([("work_spec_names", texts(["none"]))]);
        let (_, traffic) = daemon.ok("get_work", vec![text("w"), options]).await;
        assert_eq!(traffic.round_trips(), 0, "{traffic:?}");
    }
}

#[tokio::test]
async fn get_work_is_one_round_trip_also_where_specs_have_limits() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        daemon.spec(s, [("max_running", int(3))]).await;
        daemon.add(s, &keys("a", 10)).await;
        daemon.work(s).await;
        costs(s, &daemon.work(s).await.1, 1, 3, 1);
        // A lease has ended, and the board knows of it.
        daemon.world.advance(301.0);
        costs(s, &daemon.work(s).await.1, 2, 4, 2);
    }
}

#[tokio::test]
async fn get_work_makes_a_continuous_unit_in_one_round_trip() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        daemon.spec(s, [("continuous", Value::Bool(true))]).await;
        let options = map([("work_spec_names", texts(["none"]))]);
        daemon.ok("get_work", vec![text("w"), options]).await; // warms the board
        let (key, traffic) = daemon.work(s).await;
        costs(s, &traffic, 1, 4, 1);
        costs(s, &daemon.finish(s, &key).await, 1, 1, 1);
        // The board is looked at again, as that was the spec's only unit.
        costs(s, &daemon.work(s).await.1, 2, 5, 2);
    }
}

#[tokio::test]
async fn get_work_writes_down_what_has_ended_before_it_claims() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        daemon.spec(s, []).await;
        daemon.add(s, &keys("a", 10)).await;
        daemon.work(s).await;
        daemon.world.advance(301.0);
        let options = map([("work_spec_names", texts(["none"]))]);
        daemon.ok("get_work", vec![text("w"), options]).await; // warms the board
        // The first claim after the end of a lease; the next one is as any other.
        costs(s, &daemon.work(s).await.1, 3, 3, 3);
        costs(s, &daemon.work(s).await.1, 1, 1, 1);
    }
}

#[tokio::test]
async fn update_work_unit_is_one_round_trip_on_a_cache_hit() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        daemon.spec(s, [("then", text("missing"))]).await;
        daemon.add(s, &keys("a", 10)).await;
        let (key, _) = daemon.work(s).await;
        let renew = [("lease_time", int(60))];
        costs(s, &daemon.update(s, &key, renew.clone()).await, 1, 1, 1);
        let renew = [("lease_time", int(60)), ("data", map([("n", int(1))]))];
        costs(s, &daemon.update(s, &key, renew).await, 1, 1, 1);
        let finish = [("status", int(4)), ("data", map([]))];
        costs(s, &daemon.update(s, &key, finish).await, 1, 1, 1);
        let (key, _) = daemon.work(s).await;
        costs(
            s,
            &daemon.update(s, &key, [("status", int(5))]).await,
            1,
            1,
            1,
        );
        let (key, _) = daemon.work(s).await;
        costs(
            s,
            &daemon.update(s, &key, [("status", int(1))]).await,
            1,
            1,
            1,
        );
        let (key, _) = daemon.work(s).await;
        let retry = [("status", int(1)), ("delay", int(5))];
        costs(s, &daemon.update(s, &key, retry).await, 1, 1, 1);
        // One that nobody was given, but which this daemon has added.
        costs(
            s,
            &daemon.update(s, "a000009", [("status", int(3))]).await,
            1,
            1,
            1,
        );
    }
}

#[tokio::test]
async fn a_finish_without_data_is_one_round_trip_where_nothing_follows() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        daemon.spec(s, []).await;
        daemon.add(s, &keys("a", 10)).await;
        let (key, _) = daemon.work(s).await;
        costs(s, &daemon.finish(s, &key).await, 1, 1, 1);
        // Workers report twice. That it is finished wants a look, and no change.
        costs(s, &daemon.finish(s, &key).await, 1, 1, 1);
    }
}

#[tokio::test]
async fn update_work_unit_is_two_round_trips_for_a_unit_that_the_cache_does_not_know() {
    let mut daemon = Watched::alone().await;
    let schema = daemon.world.schema.take().unwrap();
    let mut other = Watched::on(&schema, 1).await;
    for s in ROUNDS {
        daemon.spec(s, [("then", text("missing"))]).await;
        daemon.add(s, &keys("a", 10)).await;
        let mut claimed = Vec::new();
        for _ in 0..6 {
            claimed.push(daemon.work(s).await.0);
        }
        // The first time, a daemon learns of the spec too.
        let finish = [("status", int(4)), ("data", map([]))];
        let first = other.update(s, &claimed[0], finish.clone()).await;
        costs(s, &first, 3, 3, 3);
        costs(s, &other.update(s, &claimed[1], finish).await, 2, 2, 2);
        costs(
            s,
            &other.update(s, &claimed[2], [("status", int(5))]).await,
            2,
            2,
            2,
        );
        costs(
            s,
            &other.update(s, &claimed[3], [("status", int(1))]).await,
            2,
            2,
            2,
        );
        let renew = [("lease_time", int(60))];
        costs(s, &other.update(s, &claimed[4], renew).await, 2, 2, 2);
    }
}

#[tokio::test]
async fn update_work_unit_is_a_round_trip_more_for_a_unit_that_another_daemon_has_changed() {
    let mut daemon = Watched::alone().await;
    let schema = daemon.world.schema.take().unwrap();
    let mut other = Watched::on(&schema, 1).await;
    for s in ROUNDS {
        daemon.spec(s, []).await;
        daemon.add(s, &keys("a", 2)).await;
        daemon.work(s).await; // learns of the spec, which it has set itself
        other.update(s, "a000001", [("status", int(3))]).await;
        // The change of what it was, a look, and the change of what it is.
        costs(s, &daemon.finish(s, "a000001").await, 3, 3, 3);
    }
}

#[tokio::test]
async fn a_parent_that_reports_for_its_child_costs_two_round_trips() {
    let mut daemon = Watched::alone().await;
    let schema = daemon.world.schema.take().unwrap();
    let mut other = Watched::on(&schema, 1).await;
    for s in ROUNDS {
        daemon.spec(s, []).await;
        daemon.add(s, &keys("a", 10)).await;
        let beat = |name: &str, parent| vec![text(name), text("RUN"), int(60), map([]), parent];
        daemon.ok("worker_heartbeat", beat("w", text("p"))).await;
        let mut claimed = Vec::new();
        for _ in 0..3 {
            claimed.push(daemon.work(s).await.0);
        }
        daemon.join(); // the parent has a connection of its own
        let fail = [("status", int(5)), ("worker_id", text("p"))];
        costs(
            s,
            &daemon.update(s, &claimed[0], fail.clone()).await,
            2,
            2,
            2,
        );
        other.update(s, &claimed[1], fail.clone()).await; // learns of the spec
        costs(s, &other.update(s, &claimed[2], fail).await, 2, 2, 2);
        daemon.join();
    }
}

#[tokio::test]
async fn a_finish_and_the_units_it_leads_to_are_one_round_trip() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        let (other, own) = (format!("{s} other"), format!("{s} own"));
        daemon.spec(&other, []).await;
        daemon.spec(s, [("then", text(&other))]).await;
        daemon.spec(&own, [("then", text(&own))]).await;
        let finish = [("status", int(4)), ("data", output())];
        for spec in [s, &own] {
            daemon.add(spec, &keys("a", 2)).await;
            let (key, _) = daemon.work(spec).await;
            let traffic = daemon.update(spec, &key, finish.clone()).await;
            match spec == s {
                true => costs(s, &traffic, 1, 1, 1),
                false => costs(s, &traffic, 1, 5, 1),
            }
        }
        for (spec, counts) in [(&other, &[(1, 2)][..]), (&own, &[(1, 3), (4, 1)])] {
            let (counted, _) = daemon.ok("count_work_units", vec![text(spec)]).await;
            let counts = counts
                .iter()
                .map(|&(status, units)| (int(status), int(units)));
            assert_eq!(counted, Value::Map(counts.collect()), "{spec}");
        }
    }
}

/// The data that the unit has may have an output: it is looked at first.
#[tokio::test]
async fn a_finish_without_data_is_a_round_trip_more_where_something_may_follow() {
    let mut daemon = Watched::alone().await;
    let schema = daemon.world.schema.take().unwrap();
    let mut other = Watched::on(&schema, 1).await;
    for s in ROUNDS {
        daemon.spec(s, [("then", text("missing"))]).await;
        daemon.add(s, &keys("a", 4)).await;
        let mut claimed = Vec::new();
        for _ in 0..3 {
            claimed.push(daemon.work(s).await.0);
        }
        let keep = [("lease_time", int(60)), ("data", output())];
        daemon.update(s, &claimed[0], keep).await;
        costs(s, &daemon.finish(s, &claimed[0]).await, 2, 2, 2);
        other.finish(s, &claimed[1]).await; // learns of the spec
        costs(s, &other.finish(s, &claimed[2]).await, 3, 3, 3);
    }
}

#[tokio::test]
async fn updates_of_n_units_cost_as_much_as_one() {
    let mut daemon = Watched::alone().await;
    let schema = daemon.world.schema.take().unwrap();
    let mut other = Watched::on(&schema, 1).await;
    for s in ROUNDS {
        daemon.spec(s, []).await;
        daemon.add(s, &keys("a", 200)).await;
        let options = map([("max_jobs", int(200)), ("work_spec_names", texts([s]))]);
        let (work, _) = daemon.ok("get_work", vec![text("w"), options]).await;
        let finish = |work: Value| {
            let key = items(work).remove(1);
            list([text(s), key, map([("status", int(4))])])
        };
        let mut updates: Vec<Value> = items(work).into_iter().map(finish).collect();
        let elsewhere = updates.split_off(100);
        for (daemon, updates, cost) in [(&mut daemon, updates, 1), (&mut other, elsewhere, 2)] {
            daemon
                .ok("get_work_unit_status", vec![text(s), texts([])])
                .await;
            daemon.add(s, &[]).await;
            let call = daemon
                .client
                .call("update_work_units", vec![Value::Array(updates)]);
            let (done, traffic) = daemon.proxy.during(Box::pin(call)).await;
            let all_done = |pair: Value| items(pair) == [Value::Bool(true), Value::Null];
            assert!(items(done).into_iter().all(all_done));
            costs(s, &traffic, cost, cost, cost);
        }
    }
}

/// The faults of another server: one transaction for each added unit, and nine for a
/// claim and a finish.
#[tokio::test]
async fn n_units_are_added_in_one_transaction_and_a_cycle_takes_two() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        daemon.spec(s, []).await;
        costs(s, &daemon.add(s, &keys("a", 1)).await, 1, 1, 1);
        costs(s, &daemon.add(s, &keys("b", 1_000)).await, 1, 1, 1);
        costs(s, &daemon.add(s, &keys("c", 10_000)).await, 1, 1, 1);
        costs(s, &daemon.add(s, &keys("d", 25_000)).await, 1, 3, 1);
        daemon.work(s).await;
        let (key, claim) = daemon.work(s).await;
        let finish = daemon.finish(s, &key).await;
        costs(s, &claim, 1, 1, 1);
        costs(s, &finish, 1, 1, 1);
    }
}

#[tokio::test]
async fn looking_at_units_is_one_round_trip_however_many_they_are() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        daemon.spec(s, []).await;
        let keys = keys("a", 1_000);
        daemon.add(s, &keys).await;
        let (statuses, traffic) = daemon
            .ok("get_work_unit_status", vec![text(s), some(&keys)])
            .await;
        assert_eq!(items(statuses).len(), 1_000);
        costs(s, &traffic, 1, 1, 1);
        let named = map([("work_unit_keys", some(&keys))]);
        let page = map([("limit", int(100))]);
        let of_state = map([("limit", int(100)), ("state", int(1))]);
        for options in [named.clone(), page, of_state] {
            let (_, traffic) = daemon.ok("get_work_units", vec![text(s), options]).await;
            costs(s, &traffic, 1, 1, 1);
        }
        let (_, traffic) = daemon.ok("count_work_units", vec![text(s)]).await;
        costs(s, &traffic, 1, 1, 1);
        let change = map([("work_unit_keys", some(&keys)), ("priority", int(5))]);
        let (_, traffic) = daemon
            .ok("prioritize_work_units", vec![text(s), change])
            .await;
        costs(s, &traffic, 1, 1, 1);
        let (_, traffic) = daemon.ok("del_work_units", vec![text(s), named]).await;
        costs(s, &traffic, 1, 1, 1);
        let all = map([("all", Value::Bool(true))]);
        let (_, traffic) = daemon.ok("del_work_units", vec![text(s), all]).await;
        costs(s, &traffic, 1, 2, 1);
    }
}

#[tokio::test]
async fn a_daemon_that_has_just_started_learns_of_a_spec_in_one_round_trip_more() {
    let mut daemon = Watched::alone().await;
    let schema = daemon.world.schema.take().unwrap();
    daemon.spec("s", [("then", text("t"))]).await;
    daemon.spec("t", []).await;
    daemon.add("s", &keys("a", 10)).await;
    let (key, _) = daemon.work("s").await;
    let cost = |traffic: &Traffic| traffic.round_trips() - traffic.preparations();
    let mut fresh = Watched::on(&schema, 1).await;
    assert_eq!(
        cost(&fresh.work("s").await.1),
        2,
        "the board, which has all specs"
    );
    let mut fresh = Watched::on(&schema, 1).await;
    assert_eq!(cost(&fresh.add("s", &keys("b", 10)).await), 2);
    let mut fresh = Watched::on(&schema, 1).await;
    let statuses = fresh.ok("get_work_unit_status", vec![text("s"), texts(["a000000"])]);
    assert_eq!(cost(&statuses.await.1), 2);
    let mut fresh = Watched::on(&schema, 1).await;
    let finish = [("status", int(4)), ("data", output())];
    let finish = fresh.update("s", &key, finish).await;
    assert_eq!(
        cost(&finish),
        3,
        "the spec, the unit, the change: {finish:?}"
    );
}

#[tokio::test]
async fn a_renewal_that_may_be_too_late_asks_for_room_while_nobody_else_can() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        daemon.spec(s, [("max_running", int(3))]).await;
        daemon.add(s, &keys("a", 10)).await;
        let (key, _) = daemon.work(s).await;
        let renew = [("lease_time", int(60))];
        costs(s, &daemon.update(s, &key, renew.clone()).await, 1, 1, 1);
        costs(s, &daemon.finish(s, &key).await, 1, 1, 1);
        let (key, _) = daemon.work(s).await;
        daemon.world.advance(301.0);
        costs(s, &daemon.update(s, &key, renew).await, 5, 3, 2);
        // Nor can a unit be started without a claim otherwise.
        costs(
            s,
            &daemon.update(s, "a000008", [("status", int(3))]).await,
            5,
            3,
            2,
        );
    }
}

#[tokio::test]
async fn a_heartbeat_is_one_round_trip_and_the_first_with_a_parent_two() {
    let mut daemon = Watched::alone().await;
    for s in ROUNDS {
        let beat = |name: &str, parent| vec![text(name), text("RUN"), int(60), map([]), parent];
        let (_, alone) = daemon.ok("worker_heartbeat", beat("p", Value::Null)).await;
        costs(s, &alone, 1, 1, 1);
        let (_, first) = daemon.ok("worker_heartbeat", beat(s, text("p"))).await;
        costs(s, &first, 2, 3, 2);
        let (_, again) = daemon.ok("worker_heartbeat", beat(s, text("p"))).await;
        costs(s, &again, 1, 1, 1);
        let (children, traffic) = daemon.ok("get_child_work_units", vec![text("p")]).await;
        assert!(crate::support::has(&children, s));
        costs(s, &traffic, 2, 2, 2);
        let (_, traffic) = daemon.ok("worker_unregister", vec![text(s)]).await;
        costs(s, &traffic, 1, 1, 1);
    }
}

#[tokio::test]
async fn locks_are_taken_renewed_and_given_up_in_few_round_trips() {
    let mut daemon = Watched::alone().await;
    let lock = || vec![text("o"), int(60), list([texts(["a", "b"]), texts(["c"])])];
    let unlock = || vec![text("o"), list([texts(["a", "b"]), texts(["c"])])];
    for s in ROUNDS {
        for (method, params) in [
            ("lock", lock()),
            ("renew", lock()),
            ("unlock", unlock()),
            ("locksome", lock()),
        ] {
            let (_, traffic) = daemon.ok(method, params).await;
            costs(s, &traffic, 6, 4, 1);
        }
        let paths = vec![list([texts(["a", "b"]), texts(["c"])])];
        let owners = Box::pin(daemon.client.call("readlock", paths));
        let (owners, traffic) = daemon.proxy.during(owners).await;
        assert_eq!(owners, texts(["o", "o"]));
        costs(s, &traffic, 1, 1, 1);
        daemon.ok("unlock", unlock()).await;
    }
}
