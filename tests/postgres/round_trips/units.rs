//! What adding units and looking at them costs.

use serde_cbor::Value;

use super::{ROUNDS, costs};
use crate::{
    support::{int, items, map, text},
    watched::{Watched, keys},
};

/// The keys as a list.
fn some(keys: &[String]) -> Value {
    Value::Array(keys.iter().map(|key| text(key)).collect())
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
