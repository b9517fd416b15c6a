//! What `get_work` costs.

use coordinated::limits::FLOOR_AGE_MAX;
use serde_cbor::Value;

use super::{ROUNDS, costs};
use crate::{
    support::{int, items, map, text, texts},
    watched::{Watched, keys},
};

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
        costs(s, &daemon.work(s).await.1, 1, 2, 1);
        // A lease has ended: the board, a claim that finds that out, the end of the lease,
        // and the claim again.
        daemon.world.advance(301.0);
        costs(s, &daemon.work(s).await.1, 4, 6, 4);
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
        costs(s, &traffic, 1, 3, 1);
        costs(s, &daemon.finish(s, &key).await, 1, 1, 1);
        // The board is looked at again, as that was the spec's only unit.
        costs(s, &daemon.work(s).await.1, 2, 4, 2);
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

/// Or what the other tests count as nothing could be anything.
#[tokio::test]
async fn what_is_looked_for_beside_claims_is_seen_and_counted_apart() {
    let mut daemon = Watched::alone().await;
    daemon.spec("s", []).await;
    daemon.add("s", &keys("a", 10)).await;
    daemon.work("s").await;
    tokio::time::pause();
    tokio::time::advance(FLOOR_AGE_MAX).await;
    tokio::time::resume();
    let (_, mut traffic) = daemon.work("s").await;
    assert_eq!(traffic.statements(), 1, "{traffic:?}");
    while traffic.asides == 0 {
        tokio::task::yield_now().await;
        traffic = daemon.proxy.take();
        assert_eq!(traffic.round_trips(), 0, "{traffic:?}");
    }
}
