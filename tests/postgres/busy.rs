//! What clients are told while the database has no room or cannot be written to: that they
//! may try again, and nothing of what the database said. Takes seconds, for a server of
//! its own and for the time that calls wait.

use std::fs;

use coordinated::backend::postgres::Postgres;
use tokio_postgres::NoTls;

use crate::support::{
    Client, World, list, map, postgres::OwnCluster, postgres_options, settings, text,
};

const BUSY: &str = "the backend is busy or restarting; try again";
const FAILED: &str = "the backend failed; the daemon's log says why";
const CONNECTIONS: usize = 10;

async fn add(client: &mut Client<Postgres>, key: &str) -> Result<(), String> {
    let units = list([list([text(key), map([])])]);
    let added = client
        .try_call("add_work_units", vec![text("s"), units])
        .await;
    added.map(drop)
}

async fn count(client: &mut Client<Postgres>) -> Result<(), String> {
    client
        .try_call("count_work_units", vec![text("s")])
        .await
        .map(drop)
}

/// Calls that read and calls that write are told the same.
async fn both_are_busy(world: &World<Postgres>) {
    let (mut reader, mut writer) = (world.client(), world.client());
    let told = tokio::join!(count(&mut reader), add(&mut writer, "x"));
    assert_eq!(told, (Err(BUSY.to_owned()), Err(BUSY.to_owned())));
}

async fn session(cluster: &OwnCluster) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, task) = tokio_postgres::connect(&cluster.connection(), NoTls).await?;
    tokio::spawn(task);
    Ok(client)
}

#[tokio::test]
async fn who_meets_a_database_that_is_full_or_restarts_or_only_reads_may_try_again() {
    let cluster = OwnCluster::new(|_| {
        format!("max_connections = {CONNECTIONS}\nsuperuser_reserved_connections = 0\n")
    });
    let options = postgres_options(&cluster.connection(), "jobs");
    let world = World::on(Postgres::connect(options).await.unwrap(), 0, settings()).await;
    let mut client = world.client();
    client
        .ok("set_work_spec", vec![map([("name", text("s"))])])
        .await;
    add(&mut client, "a").await.unwrap();

    // Full (53300): others have taken every place, the daemon's own too.
    let first = session(&cluster).await.unwrap();
    let terminate = "select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'coordinated'";
    let mut others = vec![first];
    while others.len() < CONNECTIONS {
        others[0].batch_execute(terminate).await.unwrap();
        others.extend(session(&cluster).await);
    }
    both_are_busy(&world).await;
    drop(others);
    add(&mut client, "b").await.unwrap();

    // It only reads (25006), as a server does whose place another has taken.
    let read_only = async |value: &str| {
        let admin = session(&cluster).await.unwrap();
        let set = format!("alter system set default_transaction_read_only = {value}");
        admin
            .batch_execute("set default_transaction_read_only = off")
            .await
            .unwrap();
        admin.batch_execute(&set).await.unwrap();
        admin
            .batch_execute("select pg_reload_conf()")
            .await
            .unwrap();
    };
    read_only("on").await;
    let settled = async |expected: Result<(), String>| {
        let mut outcome = add(&mut world.client(), "c").await;
        while outcome != expected {
            // Its sessions hear of it soon.
            assert!(
                outcome == Ok(()) || outcome == Err(BUSY.to_owned()),
                "{outcome:?}"
            );
            outcome = add(&mut world.client(), "c").await;
        }
    };
    settled(Err(BUSY.to_owned())).await;
    count(&mut client).await.expect("reading goes on");
    read_only("off").await;
    settled(Ok(())).await;

    // It is not there.
    cluster.stop();
    both_are_busy(&world).await;

    // It recovers, and lets nobody in meanwhile (57P03).
    let settings = cluster.data().join("postgresql.auto.conf");
    fs::write(&settings, "hot_standby = off\n").unwrap();
    let signal = cluster.data().join("standby.signal");
    fs::write(&signal, "").unwrap();
    cluster.start();
    let refused = session(&cluster).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "57P03");
    both_are_busy(&world).await;
    cluster.stop();
    fs::remove_file(signal).unwrap();
    fs::remove_file(settings).unwrap();
    cluster.start();
    add(&mut client, "d").await.unwrap();

    // It is told to stop while a call is under way (57P01).
    let holder = session(&cluster).await.unwrap();
    let lock = "begin; lock table jobs.unit in access exclusive mode";
    holder.batch_execute(lock).await.unwrap();
    let admin = session(&cluster).await.unwrap();
    let stop = async {
        let stop = "select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = 'coordinated' and wait_event_type = 'Lock'";
        while admin.query(stop, &[]).await.unwrap().is_empty() {}
        holder.batch_execute("rollback").await.unwrap();
    };
    let (added, ()) = tokio::join!(add(&mut client, "e"), stop);
    // What had been sent may have been carried out: that is no "try again".
    assert!(
        added == Ok(()) || added == Err(FAILED.to_owned()),
        "{added:?}"
    );
}
