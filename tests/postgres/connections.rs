//! Many clients, few connections to the database.

use std::sync::Arc;

use serde_cbor::Value;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use super::{
    proxy::Proxy,
    watched::{Watched, behind, keys},
};
use crate::support::{
    Client, World, int, list, map,
    postgres::{OwnCluster, schema},
    settings, text, texts,
};
use coordinated::backend::postgres::Postgres;

const CLIENTS: usize = 400;

/// What a client is told that may come back.
const BUSY: &str = "the backend is busy or restarting; try again";

/// Times that a client comes back.
const TRIES: usize = 50;

/// Calls of several kinds that one client makes, some of which cannot share a statement
/// with those of others. It comes back when it is told to; the messages of other errors.
async fn calls(client: usize, mut calls: Client<Postgres>) -> Vec<String> {
    let name = format!("worker {client}");
    let locks = list([texts([name.as_str()])]);
    let all = [
        ("worker_heartbeat", vec![text(&name), text("RUN")]),
        ("get_work", vec![text(&name), map([])]),
        ("lock", vec![text(&name), int(60), locks]),
        ("count_work_units", vec![text("s")]),
        ("get_worker_info", vec![text(&name)]),
    ];
    let mut errors = Vec::new();
    for (method, params) in all {
        for tries_left in (0..TRIES).rev() {
            match calls.try_call(method, params.clone()).await {
                Err(message) if message == BUSY && tries_left > 0 => {}
                answer => {
                    errors.extend(answer.err());
                    break;
                }
            }
        }
    }
    errors
}

/// Has so many clients call at once; the messages of errors.
async fn crowd(world: &World<Postgres>, clients: usize) -> Vec<String> {
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        tasks.spawn(calls(client, world.client()));
    }
    tasks.join_all().await.concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_hundred_clients_share_four_connections() {
    const SESSIONS: &str = "select count(*) from pg_stat_activity where application_name = $1";
    let schema = schema().await;
    let mut daemon = Watched::on(&schema, 4).await;
    daemon.spec("s", []).await;
    daemon.add("s", &keys("a", CLIENTS)).await;
    let witness = schema.client().await;
    let name = format!("{}_p", schema.name());
    let world = Arc::new(daemon.world);
    let mut crowd = tokio::spawn({
        let world = world.clone();
        async move { crowd(&world, CLIENTS).await }
    });
    let mut sessions = Vec::new();
    let errors = loop {
        let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[&name];
        tokio::select! {
            biased;
            errors = &mut crowd => break errors.unwrap(),
            row = witness.query_one(SESSIONS, params) => {
                sessions.push(row.unwrap().get::<_, i64>(0));
            }
        }
    };
    assert_eq!(errors, [""; 0]);
    assert!(sessions.iter().all(|&count| count <= 4), "{sessions:?}");
    assert_eq!(
        daemon.proxy.connections_peak(),
        4,
        "none is left out either"
    );
}

/// Nothing but the daemon's own waits passes while the runtime's clock is stopped.
#[tokio::test]
async fn clients_for_whom_no_connection_is_free_in_time_are_told_to_come_back() {
    let schema = schema().await;
    let daemon = Watched::on(&schema, 2).await;
    while daemon.proxy.connections_peak() < 2 {
        let (mut one, mut other) = (daemon.world.client(), daemon.world.client());
        tokio::join!(
            one.call("worker_stats", Vec::new()),
            other.call("worker_stats", Vec::new())
        );
    }
    daemon.proxy.wall_after(0); // the database hangs
    let mut tasks = JoinSet::new();
    for client in 0..CLIENTS {
        let mut client_of_it = daemon.world.client();
        let name = format!("worker {client}");
        tasks.spawn(async move {
            let beat = vec![text(&name), text("RUN")];
            client_of_it.try_call("worker_heartbeat", beat).await
        });
    }
    daemon.proxy.at_wall().await;
    tokio::time::pause();
    let mut told = Vec::new();
    while told.len() < CLIENTS - 2 {
        told.push(tasks.join_next().await.unwrap().unwrap());
    }
    tokio::time::resume();
    let is_busy = |answer: &Result<Value, String>| answer.as_ref() == Err(&BUSY.to_owned());
    assert!(told.iter().all(is_busy), "{told:?}");
    assert!(daemon.proxy.connections_peak() <= 2);
}

/// The server's own words are "sorry, too many clients already".
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_of_a_server_without_free_connections_are_told_to_come_back() {
    let cluster = OwnCluster::new(|_| {
        "max_connections = 6\nsuperuser_reserved_connections = 0\nmax_wal_senders = 0\nautovacuum = off\n".to_owned()
    });
    let connection = cluster.connection();
    let proxy = Proxy::before(&connection, "few").await;
    let world = World::on(
        behind(&proxy, &connection, "public", 100).await,
        1024,
        settings(),
    )
    .await;
    let definition = map([("name", text("s"))]);
    world.client().ok("set_work_spec", vec![definition]).await;
    // Somebody else takes what is left.
    let mut others = Vec::new();
    while let Ok(other) = tokio_postgres::connect(&connection, NoTls).await {
        others.push(other);
    }
    assert!(!others.is_empty());
    proxy.take();
    assert_eq!(crowd(&world, 40).await, [""; 0]);
    let refused = proxy.take().errors;
    assert!(refused.contains(&"53300".to_owned()), "{refused:?}");
}
