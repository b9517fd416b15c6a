//! What daemons ask of the database when nothing happens, and that what comes due is
//! found all the same. Takes seconds, for a server of its own that logs every statement.
//! The daemons' clocks are moved by hand.

use std::{sync::Arc, time::Duration};

use coordinated::{
    backend::{Backend as _, Retention, postgres::Postgres},
    clock::{Clock as _, ManualClock},
    daemon::keep_up,
    jobserver::Upkeep,
    limits::{UPKEEP_INTERVAL, UPKEEP_SAFETY_INTERVAL},
};
use serde_cbor::Value;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{
    World, int, items, list, map,
    postgres::{OwnCluster, Schema, schema},
    postgres_options, settings, text,
};

/// What "within a second" is, on a machine that has other things to do.
const SOON: Duration = Duration::from_millis(900);

/// A daemon with everything that it does by itself.
struct Daemon {
    world: World<Postgres>,
    tasks: JoinSet<()>,
}

impl Daemon {
    async fn start(connection: &str, schema: &str, retention: Retention) -> Daemon {
        let mut options = postgres_options(connection, schema);
        options.retention = retention;
        let backend = Postgres::connect(options).await.unwrap();
        // Once it has heard that it may have missed something, it listens.
        let hints = backend.hints().unwrap();
        assert!(hints.take().await.all && !hints.is_deaf());
        hints.give_all();
        let in_progress = backend.in_progress();
        let mut world = World::on(backend, 1024, settings()).await;
        world.in_progress = in_progress;
        let mut tasks = JoinSet::new();
        let server = world.server.clone();
        tasks.spawn(async move { server.heed_hints().await });
        let (server, clock) = (world.server.clone(), world.clock.clone());
        tasks.spawn(async move { keep_up(&*server, &*clock, CancellationToken::new()).await });
        Daemon { world, tasks }
    }

    async fn on(schema: &Schema) -> Daemon {
        Daemon::start(schema.connection(), schema.name(), Retention::default()).await
    }

    /// As `kill -9` does: nothing more is said to anyone.
    fn kill(mut self) {
        self.tasks.abort_all();
    }

    /// Lets everything happen that happens by now.
    async fn settle(&self) {
        let mut quiet = 0;
        while quiet < 20 {
            tokio::task::yield_now().await;
            quiet = match self.world.in_progress.count() {
                0 => quiet + 1,
                _ => 0,
            };
        }
    }

    async fn set_up(&self, spec: &str, units: &[Value]) {
        let mut client = self.world.client();
        let definition = map([("name", text(spec))]);
        client.ok("set_work_spec", vec![definition]).await;
        let units = Value::Array(units.to_vec());
        client.ok("add_work_units", vec![text(spec), units]).await;
    }

    /// Takes a unit.
    async fn claim(&self, spec: &str, lease_seconds: i32) -> String {
        let options = map([
            ("work_spec_names", list([text(spec)])),
            ("lease_time", int(lease_seconds)),
        ]);
        let mut client = self.world.client();
        let work = client.ok("get_work", vec![text("w"), options]).await;
        match items(work).remove(1) {
            Value::Text(key) => key,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for a unit of the spec; the key of what comes, if any does.
    fn wait(&self, spec: &str) -> impl Future<Output = Value> + Send + 'static {
        let mut client = self.world.client();
        let options = map([("work_spec_names", list([text(spec)])), ("wait", int(60))]);
        async move {
            let work = client.ok("get_work", vec![text("v"), options]).await;
            items(work).remove(1)
        }
    }
}

fn unit(key: &str) -> Value {
    list([text(key), map([])])
}

/// The statements in the log from this many bytes on.
fn statements(cluster: &OwnCluster, from: usize) -> Vec<String> {
    let log = cluster.log();
    let is_statement =
        |line: &&str| line.contains("LOG:  execute") || line.contains("LOG:  statement");
    let lines = log[from..].lines().filter(is_statement);
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn idle_daemons_ask_the_database_next_to_nothing() {
    const MINUTES: usize = 10;
    let cluster = OwnCluster::new(|_| "log_statement = 'all'\n".to_owned());
    let retention = Retention {
        completed_count: Some(5),
        completed_age: Some(Duration::from_secs(86_400)),
        ..Retention::default()
    };
    let connection = cluster.connection();
    let one = Daemon::start(&connection, "jobs", retention).await;
    let other = Daemon::start(&connection, "jobs", retention).await;
    for i in 0..5 {
        let units = [unit("pending"), unit("available")];
        one.set_up(&format!("spec {i}"), &units).await;
        one.claim(&format!("spec {i}"), 80_000).await;
    }
    one.set_up("waited for", &[unit("pending")]).await;
    one.claim("waited for", 80_000).await;
    let daemons = [one, other];
    let mut waiting = JoinSet::new();
    let mut counted = 0;
    for minute in 0..=MINUTES {
        // Those who wait come back each minute, which costs a look, and a round of upkeep.
        waiting.shutdown().await;
        for daemon in &daemons {
            for _ in 0..10 {
                waiting.spawn(daemon.wait("waited for"));
            }
            daemon.settle().await;
        }
        let from = cluster.log().len();
        for _ in 0..60 {
            for daemon in &daemons {
                daemon.world.clock.advance(Duration::from_secs(1));
                daemon.settle().await;
            }
        }
        // The first minute clears up what was done before.
        if minute > 0 {
            counted += statements(&cluster, from).len();
        }
    }
    let each = counted as f64 / (MINUTES * daemons.len()) as f64;
    assert!(each <= 5.0, "{each} statements a minute");
    assert!(
        counted > 0,
        "they look now and then, in case they missed something"
    );
}

#[tokio::test]
async fn a_lease_that_was_given_by_a_daemon_which_died_ends_on_time_at_another() {
    let schema = schema().await;
    let (one, other) = (Daemon::on(&schema).await, Daemon::on(&schema).await);
    one.set_up("s", &[unit("a")]).await;
    one.claim("s", 300).await;
    let request = tokio::spawn(other.wait("s"));
    for _ in 0..3 {
        other.settle().await;
        other.world.clock.advance(Duration::from_millis(100));
    }
    other.settle().await;
    // The round that is asked for by whoever asks for work.
    other.settle().await;
    other.world.clock.advance(UPKEEP_INTERVAL);
    other.settle().await;
    // The other knows of that one; now comes one that it cannot know of by itself.
    let idle = Upkeep::Until(None);
    let clock = &other.world.clock;
    let first = clock.now().after(UPKEEP_SAFETY_INTERVAL);
    assert_eq!(other.world.server.next_upkeep(clock.now(), idle), first);
    let lease = map([("lease_time", int(5))]);
    let update = vec![text("s"), text("a"), lease];
    one.world.client().ok("update_work_unit", update).await;
    // What was announced arrives some time soon.
    let due = ManualClock::START.after(Duration::from_secs(5));
    let heard = async {
        while other.world.server.next_upkeep(clock.now(), idle) > due {
            tokio::task::yield_now().await;
        }
    };
    timeout(10 * SOON, heard).await.expect("announced soon");
    one.kill();
    clock.advance(due.since(clock.now()));
    other.settle().await;
    assert!(
        !request.is_finished(),
        "at its deadline the lease still holds"
    );
    clock.advance(Duration::from_millis(100));
    let key = timeout(SOON, request).await;
    assert_eq!(key.expect("claimed soon").unwrap(), text("a"));
}

#[tokio::test]
async fn what_came_due_while_nobody_waited_is_there_for_whoever_comes() {
    let schema = schema().await;
    let daemon = Daemon::on(&schema).await;
    daemon.set_up("s", &[unit("a")]).await;
    daemon.claim("s", 5).await;
    daemon.settle().await;
    daemon.world.clock.advance(Duration::from_secs(6));
    assert_eq!(timeout(SOON, daemon.wait("s")).await.unwrap(), text("a"));
}

#[tokio::test]
async fn counts_of_a_busy_daemon_are_folded_within_a_second() {
    let schema = schema().await;
    let daemon = Arc::new(Daemon::on(&schema).await);
    daemon.set_up("s", &[unit("a")]).await;
    for i in 0..100 {
        daemon.set_up("s", &[unit(&format!("{i}"))]).await;
    }
    let client = schema.client().await;
    let rows = async || {
        let row = client.query_one("select count(*) from tally", &[]).await;
        row.unwrap().get::<_, i64>(0)
    };
    assert!(rows().await > 64);
    daemon.world.clock.advance(Duration::from_secs(1));
    let folded = timeout(SOON, async { while rows().await > 64 {} });
    folded.await.expect("folded soon");
}
