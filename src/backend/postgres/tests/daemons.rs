//! What several daemons on one database share: its clock, and hints.

use std::sync::Arc;

use super::{
    super::{Options, Postgres, Statements, dbclock, listen::Exchange},
    options, pool, support,
};
use crate::{
    backend::Backend as _,
    clock::{Clock, ManualClock, SyncedClock, SystemClock, Timestamp},
    model::NamespaceId,
};

/// A clock that is off.
struct Skewed(SystemClock, i64);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.now().as_micros() + self.1)
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let instant = Timestamp::from_micros(instant.as_micros() - self.1);
        self.0.sleep_until(instant).await;
    }
}

#[tokio::test]
async fn daemons_with_skewed_clocks_agree() {
    let schema = support::schema().await;
    let pool = pool(&schema, 1, Statements::Cached);
    let mut clocks = Vec::new();
    for hours in [-30, 0, 5] {
        let local = Skewed(SystemClock::default(), hours * 3_600_000_000);
        let first = dbclock::measure(&pool, &local).await.unwrap();
        clocks.push((SyncedClock::new(local, first), first.round_trip()));
    }
    let (reference, uncertain) = &clocks[1];
    for (clock, also_uncertain) in &clocks {
        let (before, time, after) = (reference.now(), clock.now(), reference.now());
        // Half a round trip of each, and what passes between two looks.
        let apart = time.since(after).max(before.since(time));
        assert!(apart <= *uncertain + *also_uncertain, "{apart:?}");
    }
}

#[tokio::test]
async fn the_clock_is_the_databases() {
    let schema = support::schema().await;
    let postgres = Postgres::connect(options(&schema)).await.unwrap();
    let local = ManualClock::default(); // some time in 2023
    let clock = postgres.clock(local).await.unwrap();
    let client = schema.client().await;
    let now = "select extract(epoch from clock_timestamp())::float8";
    let database: f64 = client.query_one(now, &[]).await.unwrap().get(0);
    let apart = (clock.now().as_seconds() - database).abs();
    assert!(apart < 60.0, "{apart}");
}

#[tokio::test]
async fn a_daemon_hears_what_others_announce_but_not_itself() {
    let schema = support::schema().await;
    let one = Postgres::connect(options(&schema)).await.unwrap();
    let other = Postgres::connect(options(&schema)).await.unwrap();
    // Both listen once they are told that they may have missed something.
    for daemon in [&one, &other] {
        assert!(daemon.hints().unwrap().take().await.all);
    }
    one.announce(NamespaceId::new(7));
    let heard = other.hints().unwrap().take().await;
    assert!(!heard.all && heard.namespaces.contains(&NamespaceId::new(7)));
    // The answer comes after what the first one would have heard of itself.
    other.announce(NamespaceId::new(8));
    let heard = one.hints().unwrap().take().await;
    assert_eq!(heard.namespaces, [NamespaceId::new(8)].into());
}

#[tokio::test]
async fn many_announcements_are_few_notifications() {
    let schema = support::schema().await;
    let one = Postgres::connect(options(&schema)).await.unwrap();
    let exchange = Arc::new(Exchange::new(Arc::default(), Arc::default()));
    assert!(one.hints().unwrap().take().await.all);
    let counted = count_notifications(&schema, &exchange).await;
    for _ in 0..1_000 {
        one.announce(NamespaceId::new(7));
    }
    exchange.incoming.take().await;
    assert_eq!(counted(), 1);
}

/// Listens as a daemon does, and counts.
async fn count_notifications(schema: &support::Schema, exchange: &Exchange) -> impl Fn() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let count = Arc::new(AtomicUsize::new(0));
    let hear = {
        let (count, incoming) = (count.clone(), exchange.incoming.clone());
        move |notification: tokio_postgres::Notification| {
            count.fetch_add(1, Ordering::Relaxed);
            incoming.give(NamespaceId::new(notification.payload().parse().unwrap()));
        }
    };
    let listening = super::connector(schema)
        .connect_listening(hear)
        .await
        .unwrap();
    let listen = format!("listen {}", schema.name());
    listening.client.batch_execute(&listen).await.unwrap();
    move || {
        let _ = &listening;
        count.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_lost_listener_comes_back_and_says_that_it_may_have_missed_something() {
    let schema = support::schema().await;
    let daemon = Postgres::connect(options(&schema)).await.unwrap();
    let hints = daemon.hints().unwrap();
    assert!(hints.take().await.all);
    let client = schema.client().await;
    let terminate = "select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = $1 and query like 'set synchronous_commit to off; listen%'";
    let ended = client.execute(terminate, &[&schema.name()]).await.unwrap();
    assert_eq!(ended, 1);
    assert!(hints.take().await.all && hints.is_deaf());
    assert!(hints.take().await.all && !hints.is_deaf());
    client
        .batch_execute(&format!("notify {}, '7'", schema.name()))
        .await
        .unwrap();
    assert!(hints.take().await.namespaces.contains(&NamespaceId::new(7)));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_without_where_it_is() {
    let options = Options {
        connection: "host=/nowhere/secret user=me password=secret".to_owned(),
        ..options(&support::schema().await)
    };
    let error = Postgres::connect(options).await.unwrap_err();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    assert!(
        text.starts_with("cannot connect to the database: "),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}
