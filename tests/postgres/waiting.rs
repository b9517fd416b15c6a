//! `get_work` with `wait`, and work that comes through another daemon. The daemons' clocks
//! stand still, so nothing here is found because time has passed, unless a test says so.

use std::{future::Future, pin::Pin, time::Duration};

use coordinated::{
    backend::{Backend as _, Retention, postgres::Postgres},
    clock::Clock as _,
    limits::SAFETY_INTERVAL,
    model::{KeyRef, NamespaceName, NewUnit, Priority, RawData, StringType, UnitKey},
};
use serde_cbor::Value;
use tokio::{task::JoinSet, time::timeout};

use crate::support::{World, int, items, list, map, on_schema, postgres::Schema, settings, text};

/// What "well within a second" is, on a machine that has other things to do.
const SOON: Duration = Duration::from_millis(900);

/// A daemon that heeds what others announce.
struct Daemon {
    world: World<Postgres>,
    _heeding: JoinSet<()>,
}

async fn daemon(schema: &Schema) -> Daemon {
    let backend = on_schema(schema, Retention::default()).await;
    // Once it has heard that it may have missed something, it listens.
    let hints = backend.hints().unwrap();
    assert!(hints.take().await.all);
    let in_progress = backend.in_progress();
    let mut world = World::on(backend, 1024, settings()).await;
    world.in_progress = in_progress;
    let mut heeding = JoinSet::new();
    let server = world.server.clone();
    heeding.spawn(async move { server.heed_hints().await });
    Daemon {
        world,
        _heeding: heeding,
    }
}

type Request = Pin<Box<dyn Future<Output = Value>>>;

/// A request for a unit, polled until it waits.
async fn wait(daemon: &Daemon) -> Request {
    let mut client = daemon.world.client();
    let mut request: Request = Box::pin(async move {
        let wait = map([("wait", int(60))]);
        client.ok("get_work", vec![text("w"), wait]).await
    });
    assert!(!is_answered(daemon, &mut request).await);
    request
}

/// Whether the request is answered by the time at which it waits for nothing but work.
async fn is_answered(daemon: &Daemon, request: &mut Request) -> bool {
    let mut quiet = 0;
    while quiet < 8 {
        tokio::select! {
            biased;
            _ = &mut *request => return true,
            () = tokio::task::yield_now() => {}
        }
        quiet = match daemon.world.in_progress.count() {
            0 => quiet + 1,
            _ => 0,
        };
    }
    false
}

async fn set_spec(daemon: &Daemon, more: [(&str, Value); 1]) {
    let mut definition = map(more);
    if let Value::Map(definition) = &mut definition {
        definition.insert(text("name"), text("s"));
    }
    let mut client = daemon.world.client();
    client.ok("set_work_spec", vec![definition]).await;
}

async fn add(daemon: &Daemon, key: &str) {
    let unit = list([text(key), map([])]);
    let mut client = daemon.world.client();
    client
        .ok("add_work_units", vec![text("s"), list([unit])])
        .await;
}

/// The key of the unit that the request was answered with, soon.
async fn key(request: Request) -> Value {
    let answer = timeout(SOON, request).await.expect("answered soon");
    items(answer).remove(1)
}

#[tokio::test]
async fn a_unit_added_through_one_daemon_wakes_who_waits_at_another() {
    let schema = crate::support::postgres::schema().await;
    let (one, other) = (daemon(&schema).await, daemon(&schema).await);
    set_spec(&one, [("min_gb", int(0))]).await;
    for key in ["a", "b"] {
        let waiting = wait(&other).await;
        add(&one, key).await;
        assert_eq!(self::key(waiting).await, text(key));
    }
}

#[tokio::test]
async fn a_finish_through_one_daemon_makes_room_for_who_waits_at_another() {
    let schema = crate::support::postgres::schema().await;
    let (one, other) = (daemon(&schema).await, daemon(&schema).await);
    set_spec(&one, [("max_running", int(1))]).await;
    add(&one, "a").await;
    add(&one, "b").await;
    let mut client = one.world.client();
    let work = client.ok("get_work", vec![text("v"), map([])]).await;
    assert_eq!(items(work)[1], text("a"));
    let waiting = wait(&other).await;
    let finish = map([("status", int(4)), ("worker_id", text("v"))]);
    client
        .ok("update_work_unit", vec![text("s"), text("a"), finish])
        .await;
    assert_eq!(key(waiting).await, text("b"));
}

#[tokio::test]
async fn a_unit_that_nobody_told_of_is_found_by_the_next_look() {
    let schema = crate::support::postgres::schema().await;
    let daemon = daemon(&schema).await;
    set_spec(&daemon, [("min_gb", int(0))]).await;
    let mut waiting = wait(&daemon).await;
    // The backend of a daemon that ends before it can announce anything.
    let silent = on_schema(&schema, Retention::default()).await;
    let namespace = silent.namespace(&NamespaceName::new("").unwrap()).await;
    let spec = silent.find_spec(namespace.unwrap(), "s").await.unwrap();
    let key = KeyRef {
        bytes: b"a",
        string_type: StringType::Text,
    };
    let unit = NewUnit {
        key: UnitKey::new(key).unwrap(),
        data: RawData::new(&[0xa0]),
        priority: Priority::ZERO,
        delay: Duration::ZERO,
    };
    let now = daemon.world.clock.now();
    silent.put_units(now, spec.unwrap(), &[unit]).await.unwrap();
    assert!(!is_answered(&daemon, &mut waiting).await, "nobody told");
    daemon.world.clock.advance(SAFETY_INTERVAL);
    assert_eq!(self::key(waiting).await, text("a"));
}

#[tokio::test]
async fn nothing_is_asked_of_the_database_while_nobody_waits() {
    const SESSIONS: &str = "select sum(extract(epoch from state_change))::float8
        from pg_stat_activity where application_name = $1 and pid <> pg_backend_pid()";
    let schema = crate::support::postgres::schema().await;
    let daemon = daemon(&schema).await;
    let client = schema.client().await;
    let last_used = async || {
        let row = client.query_one(SESSIONS, &[&schema.name()]).await.unwrap();
        row.get::<_, f64>(0)
    };
    let before = last_used().await;
    for _ in 0..10 {
        daemon.world.clock.advance(SAFETY_INTERVAL);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(last_used().await, before);
}
