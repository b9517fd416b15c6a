//! What reporting on units costs.

use serde_cbor::Value;

use super::{ROUNDS, costs, output};
use crate::{
    support::{int, items, list, map, text, texts},
    watched::{Watched, keys},
};

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
        // One that nobody was given is looked for first.
        costs(
            s,
            &daemon.update(s, "a000009", [("status", int(3))]).await,
            2,
            2,
            2,
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
async fn a_finish_and_the_units_it_leads_to_are_one_transaction() {
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
                // Where the target is the spec itself, a transaction of several statements.
                false => costs(s, &traffic, 8, 6, 1),
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
            6,
            4,
            3,
        );
    }
}
