//! The backend as a library: what a daemon does to the database, without its sockets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use coordinated::{
    backend::{
        Backend as _, Claim, Retention,
        postgres::{Options, Postgres, Statements},
    },
    clock::{Clock, SyncedClock, SystemClock, Timestamp},
    limits::{UPKEEP_INTERVAL, UPKEEP_STEPS_MAX},
    model::{NamespaceId, NewUnit, SpecId},
};
use tokio::task::JoinSet;

use crate::{
    server::Server,
    work::{self, ADDED_AT_A_TIME, LEASE, units},
};

/// The settings' default.
const CONNECTIONS: usize = 16;

/// Calls whose units are made before the clock runs.
const CALLS_AHEAD: usize = 100;

/// A backend on a schema of its own, with the upkeep that a daemon does.
pub struct Store {
    pub daemon: Arc<Postgres>,
    pub namespace: NamespaceId,
    pub spec: SpecId,
    clock: Arc<SyncedClock<SystemClock>>,
    upkeep: JoinSet<()>,
}

/// Claims and finishes, and how long the callers waited for them.
#[derive(Default)]
pub struct Drained {
    pub jobs: usize,
    pub elapsed: Duration,
    pub claims: Vec<Duration>,
    pub finishes: Vec<Duration>,
}

impl Drained {
    /// Jobs in a second.
    pub fn rate(&self) -> f64 {
        self.jobs as f64 / self.elapsed.as_secs_f64()
    }

    /// Takes in what another caller did at the same time.
    pub fn add(&mut self, other: Drained) {
        self.jobs += other.jobs;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.claims.extend(other.claims);
        self.finishes.extend(other.finishes);
    }
}

/// How long so many of a hundred took at most, in milliseconds.
pub fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times
        .get(at)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

impl Store {
    /// An empty one, in a schema of this name.
    pub async fn fresh(server: &Server, schema: &str) -> Store {
        server.drop_schema(schema).await;
        let store = Store::open(server, schema).await;
        server.checkpoint().await;
        store
    }

    /// The one in this schema.
    pub async fn open(server: &Server, schema: &str) -> Store {
        let options = Options {
            connection: server.connection(),
            direct: None,
            schema: schema.parse().unwrap(),
            connections_max: CONNECTIONS,
            statements: Statements::Cached,
            retention: Retention::default(),
            random: fastrand::Rng::new(),
        };
        let daemon = Arc::new(Postgres::connect(options).await.unwrap());
        let clock = daemon.clock(SystemClock::default()).await.unwrap();
        let namespace = daemon.namespace(&work::namespace()).await.unwrap();
        let spec = daemon.put_spec(namespace, &work::spec()).await.unwrap();
        let mut upkeep = JoinSet::new();
        upkeep.spawn(keep_up(daemon.clone(), clock.clone()));
        Store {
            daemon,
            namespace,
            spec,
            clock,
            upkeep,
        }
    }

    /// The database's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Adds so many units, numbered from `from` on, by so many callers; how many in a
    /// second.
    pub async fn add(&self, from: usize, count: usize, callers: usize) -> f64 {
        // Made some calls ahead and off the clock; ten million at once would need memory.
        let mut busy = Duration::ZERO;
        let mut next = from;
        while next < from + count {
            let mut shares = vec![Vec::new(); callers];
            for number in 0..CALLS_AHEAD {
                let some = (from + count - next).min(ADDED_AT_A_TIME);
                if some > 0 {
                    shares[number % callers].push(units(next, some));
                    next += some;
                }
            }
            busy += self.add_shares(shares).await;
        }
        count as f64 / busy.as_secs_f64()
    }

    /// Adds what each caller has, one list after the other; how long it took.
    pub async fn add_shares(&self, shares: Vec<Vec<Vec<NewUnit>>>) -> Duration {
        let begun = Instant::now();
        let mut callers = JoinSet::new();
        for share in shares {
            let (daemon, clock, spec) = (self.daemon.clone(), self.clock.clone(), self.spec);
            callers.spawn(async move {
                for some in share {
                    daemon.put_units(clock.now(), spec, &some).await.unwrap();
                }
            });
        }
        callers.join_all().await;
        begun.elapsed()
    }

    /// Claims and finishes one unit at a time by so many callers, for a while or until so
    /// many units are done; there must be as many.
    pub async fn drain(&self, callers: usize, span: Duration, jobs_max: usize) -> Drained {
        drain(
            (0..callers).map(|number| self.caller(number)),
            span,
            jobs_max,
        )
        .await
    }

    /// One who claims and finishes.
    pub fn caller(&self, number: usize) -> Caller {
        Caller {
            daemon: self.daemon.clone(),
            clock: self.clock.clone(),
            claim: Claim {
                spec: self.spec,
                worker: work::worker(number),
                units_max: 1,
                lease: LEASE,
            },
        }
    }

    /// Ends the upkeep and lets go of all connections.
    pub async fn close(mut self) {
        self.upkeep.shutdown().await;
    }
}

/// One who claims and finishes.
pub struct Caller {
    daemon: Arc<Postgres>,
    clock: Arc<SyncedClock<SystemClock>>,
    claim: Claim,
}

/// Whoever takes one unit after the other.
pub trait Works: Send + 'static {
    /// Claims one unit and finishes it.
    fn work(&mut self, drained: &mut Drained) -> impl Future<Output = ()> + Send;
}

/// Lets all of them work at the same time, for a while or until so many units are done.
pub async fn drain(
    all: impl IntoIterator<Item = impl Works>,
    span: Duration,
    jobs_max: usize,
) -> Drained {
    let begun = Instant::now();
    let taken = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for mut works in all {
        let taken = taken.clone();
        tasks.spawn(async move {
            let mut drained = Drained::default();
            while begun.elapsed() < span && taken.fetch_add(1, Ordering::Relaxed) < jobs_max {
                works.work(&mut drained).await;
            }
            drained.elapsed = begun.elapsed();
            drained
        });
    }
    let mut all = Drained::default();
    while let Some(drained) = tasks.join_next().await {
        all.add(drained.unwrap());
    }
    all
}

impl Works for Caller {
    async fn work(&mut self, drained: &mut Drained) {
        let asked = Instant::now();
        let claims = self.daemon.claim(self.clock.now(), &self.claim).await;
        drained.claims.push(asked.elapsed());
        let claims = claims.unwrap();
        assert_eq!(claims.units.len(), 1, "there are too few units (--units)");
        let asked = Instant::now();
        let changes = claims.units.iter().map(work::finish).collect();
        let changed = self
            .daemon
            .change_units(self.clock.now(), self.claim.spec, changes)
            .await;
        drained.finishes.push(asked.elapsed());
        assert!(changed.unwrap().iter().all(Result::is_ok));
        drained.jobs += 1;
    }
}

/// What a daemon does without being asked.
async fn keep_up(daemon: Arc<Postgres>, clock: Arc<SyncedClock<SystemClock>>) {
    let mut rounds = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        rounds.tick().await;
        daemon.sweep(clock.now(), UPKEEP_STEPS_MAX).await.unwrap();
    }
}
