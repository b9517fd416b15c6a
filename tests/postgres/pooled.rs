//! A daemon whose connections go through PgBouncer in transaction mode. The conformance
//! suite goes through one too, as a column of its own.

use std::time::Duration;

use coordinated::{
    backend::{
        Backend as _,
        postgres::{Options, Postgres, Statements},
    },
    clock::SystemClock,
};
use tokio::{task::JoinSet, time::timeout};

use crate::support::{
    World, int, items, list, map,
    pooler::{Pooler, statements},
    postgres::{Schema, schema},
    postgres_options, settings, text,
};

const SOON: Duration = Duration::from_secs(5);

fn options(schema: &Schema, pooler: &Pooler) -> Options {
    Options {
        direct: Some(schema.connection().to_owned()),
        statements: Statements::Unnamed,
        ..postgres_options(&pooler.connection(), schema.name())
    }
}

async fn world(options: Options) -> World<Postgres> {
    let backend = Postgres::connect(options).await.unwrap();
    World::on(backend, 1024, settings()).await
}

async fn set_up(world: &World<Postgres>, units: usize) {
    let mut client = world.client();
    let definition = map([("name", text("s"))]);
    client.ok("set_work_spec", vec![definition]).await;
    let units = (0..units).map(|i| list([text(&format!("{i:03}")), map([])]));
    let units = serde_cbor::Value::Array(units.collect());
    client.ok("add_work_units", vec![text("s"), units]).await;
}

/// Claims and finishes until nothing is left; how many.
async fn work_all(world: &World<Postgres>) -> usize {
    let mut client = world.client();
    let mut done = 0;
    loop {
        let worker = vec![text("w"), map([])];
        let Ok(work) = client.try_call("get_work", worker).await else {
            continue; // it lost its connection, and a worker tries again
        };
        let Some(serde_cbor::Value::Text(key)) = items(items(work).remove(0)).get(1).cloned()
        else {
            return done;
        };
        loop {
            let finish = vec![text("s"), text(&key), map([("status", int(4))])];
            if client.try_call("update_work_unit", finish).await.is_ok() {
                break;
            }
        }
        done += 1;
    }
}

#[tokio::test]
async fn a_daemon_works_through_a_pooler_with_statements_that_are_not_prepared() {
    let schema = schema().await;
    let pooler = Pooler::start(&schema);
    let world = world(options(&schema, &pooler)).await;
    set_up(&world, 100).await;
    let all = tokio::join!(work_all(&world), work_all(&world), work_all(&world));
    assert_eq!(all.0 + all.1 + all.2, 100);
}

#[tokio::test]
async fn a_daemon_works_through_a_pooler_that_knows_prepared_statements() {
    let schema = schema().await;
    let pooler = Pooler::start(&schema);
    let options = Options {
        statements: statements(), // those of Debian 12 know of none
        ..options(&schema, &pooler)
    };
    let world = world(options).await;
    set_up(&world, 100).await;
    let all = tokio::join!(work_all(&world), work_all(&world), work_all(&world));
    assert_eq!(all.0 + all.1 + all.2, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_ended_behind_the_pooler_lose_nothing() {
    const END: &str =
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1";
    let schema = schema().await;
    let pooler = Pooler::start(&schema);
    let world = world(options(&schema, &pooler)).await;
    set_up(&world, 200).await;
    let client = schema.client().await;
    let end_some = async {
        let mut ended = 0;
        while ended < 20 {
            ended += client.query(END, &[&pooler.name()]).await.unwrap().len();
        }
    };
    tokio::join!(work_all(&world), work_all(&world), end_some);
    // A unit that was claimed by a call whose answer was lost comes back with its lease.
    world.advance(301.0);
    work_all(&world).await;
    let mut client = world.client();
    let counts = client.ok("count_work_units", vec![text("s")]).await;
    let finished = serde_cbor::Value::Map([(int(4), int(200))].into());
    assert_eq!(counts, finished);
}

#[tokio::test]
async fn hints_and_the_clock_come_by_the_direct_connection() {
    let schema = schema().await;
    let pooler = Pooler::start(&schema);
    let one = Postgres::connect(options(&schema, &pooler)).await.unwrap();
    let other = Postgres::connect(options(&schema, &pooler)).await.unwrap();
    for daemon in [&one, &other] {
        let hints = daemon.hints().unwrap();
        assert!(timeout(SOON, hints.take()).await.unwrap().all);
        assert!(!hints.is_deaf());
    }
    let namespace = coordinated::model::NamespaceId::new(7);
    one.announce(namespace);
    let heard = timeout(SOON, other.hints().unwrap().take()).await.unwrap();
    assert!(heard.namespaces.contains(&namespace));
    one.clock(SystemClock::default()).await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_can_hear_nothing_through_the_pooler_notices() {
    let schema = schema().await;
    let pooler = Pooler::start(&schema);
    // The tables are made directly; then nothing else is.
    Postgres::migrate(&options(&schema, &pooler)).await.unwrap();
    let options = Options {
        direct: None,
        ..options(&schema, &pooler)
    };
    let daemon = Postgres::connect(options).await.unwrap();
    let hints = daemon.hints().unwrap();
    let mut tasks = JoinSet::new();
    let heard = hints.clone();
    tasks.spawn(async move { heard.take().await });
    let outcome = timeout(coordinated::limits::ECHO_WAIT_MAX, tasks.join_next()).await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(hints.is_deaf());
}
