//! What everything else costs: the first call of a daemon, workers, locks.

use serde_cbor::Value;

use super::{ROUNDS, costs, output};
use crate::{
    proxy::Traffic,
    support::{has, int, list, map, text, texts},
    watched::{Watched, keys},
};

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
        assert!(has(&children, s));
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
