//! How fast the PostgreSQL backend is: additions, then claims and finishes by many callers.
//!
//!     cargo bench --bench postgres -- [units] [callers…]
//!
//! 100008 is 8 callers who take up to 100 units each.
//! Uses the server named in `COORDINATED_TEST_POSTGRES`, whose settings decide most of what
//! comes out; without it, the tests' throw-away cluster, which does not wait for its disk.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

#[path = "../support/mod.rs"]
mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coordinated::{
    backend::{Backend as _, Claim, Retention, UnitChange, UnitPage, postgres::Postgres},
    clock::{Clock as _, SystemClock, Timestamp},
    model::{
        Claimed, Effect, KeyRef, NamespaceId, NamespaceName, NewSpec, NewUnit, Phase, Priority,
        RawData, SpecId, StatusSet, StringType, UnitKey, WorkerName,
    },
};
use support::{map, text};

/// A map of 138 bytes, as real units have them.
fn data() -> RawData {
    let filler = "x".repeat(129);
    RawData::new(&serde_cbor::to_vec(&map([("field", text(&filler))])).unwrap())
}

fn units(from: usize, count: usize) -> Vec<NewUnit> {
    let unit = |i: usize| NewUnit {
        key: UnitKey::new(KeyRef {
            bytes: format!("unit {i:010}").as_bytes(),
            string_type: StringType::Text,
        })
        .unwrap(),
        data: data(),
        priority: Priority::ZERO,
        delay: Duration::ZERO,
    };
    (from..from + count).map(unit).collect()
}

async fn add(daemon: &Postgres, spec: SpecId, count: usize) {
    let clock = SystemClock::default();
    let begun = Instant::now();
    for from in (0..count).step_by(10_000) {
        let some = units(from, (count - from).min(10_000));
        daemon.put_units(clock.now(), spec, &some).await.unwrap();
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("added {count} units: {rate:.0}/s");
}

/// Claims and finishes by so many callers for a while.
async fn drain(
    daemon: &Arc<Postgres>,
    spec: SpecId,
    callers: usize,
    units_max: usize,
    span: Duration,
) {
    let clock = Arc::new(SystemClock::default());
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (daemon, clock) = (daemon.clone(), clock.clone());
            let claim = Claim {
                spec,
                worker: WorkerName::new(&format!("worker {caller}")).unwrap(),
                units_max,
                lease: Duration::from_secs(300),
            };
            tokio::spawn(async move {
                let (mut times, mut finish_times, mut jobs) = (Vec::new(), Vec::new(), 0);
                while begun.elapsed() < span {
                    let asked = Instant::now();
                    let claims = daemon.claim(clock.now(), &claim).await.unwrap();
                    times.push(asked.elapsed());
                    assert!(!claims.units.is_empty(), "there are too few units");
                    let finish = |unit: &Claimed| UnitChange {
                        unit: unit.unit,
                        phase: Phase::Open,
                        attempt: Some(unit.attempt),
                        effect: Effect::Finish,
                        worker: None,
                        data: Some(unit.data.clone()),
                    };
                    let changes = claims.units.iter().map(finish).collect();
                    let made = daemon
                        .change_units(clock.now(), spec, changes)
                        .await
                        .unwrap();
                    assert!(made.iter().all(Result::is_ok));
                    finish_times.push(asked.elapsed());
                    jobs += made.len();
                }
                (times, finish_times, jobs)
            })
        })
        .collect();
    let (mut claims, mut finishes, mut jobs) = (Vec::new(), Vec::new(), 0);
    for task in tasks {
        let (claimed, finished, done) = task.await.unwrap();
        claims.extend(claimed);
        finishes.extend(finished);
        jobs += done;
    }
    let rate = jobs as f64 / begun.elapsed().as_secs_f64();
    let (claims, finishes) = (spread(claims), spread(finishes));
    println!(
        "{callers:4} callers of {units_max}: {rate:8.0} jobs/s; claims {claims}; finishes {finishes}"
    );
}

/// The median and the slowest of a hundred.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    format!("{:?}, p99 {:?}", at(50), at(99))
}

/// How long it takes to look at many units, or at few among many.
async fn looks(daemon: &Postgres, namespace: NamespaceId, spec: SpecId, now: Timestamp) {
    let begun = Instant::now();
    let counts = daemon.count_units(now, spec).await.unwrap();
    println!("counted {counts:?} in {:?}", begun.elapsed());
    let begun = Instant::now();
    daemon
        .board(now.after(Duration::from_secs(1)), namespace)
        .await
        .unwrap();
    println!("board in {:?}", begun.elapsed());
    for status in [1, 3, 4, 5] {
        let page = UnitPage {
            statuses: StatusSet::NONE.with_wire(status),
            after: Some(b"unit 0000100000"),
            limit: 100,
        };
        let begun = Instant::now();
        let units = daemon.page_units(now, spec, page).await.unwrap().len();
        println!("{units} units of state {status} in {:?}", begun.elapsed());
    }
    let begun = Instant::now();
    daemon.sweep(now, 1_000).await.unwrap();
    println!("upkeep in {:?}", begun.elapsed());
    let begun = Instant::now();
    daemon.next_due().await.unwrap();
    println!("next due in {:?}", begun.elapsed());
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let count = numbers.next().unwrap_or(200_000);
    let mut callers: Vec<usize> = numbers.collect();
    if callers.is_empty() {
        callers = vec![1, 8, 64];
    }
    let schema = support::postgres::schema().await;
    let daemon = Arc::new(support::on_schema(&schema, Retention::default()).await);
    let namespace = daemon
        .namespace(&NamespaceName::new("").unwrap())
        .await
        .unwrap();
    let definition = serde_cbor::to_vec(&map([("name", text("s"))])).unwrap();
    let spec = NewSpec::read(&definition).unwrap();
    let spec = daemon.put_spec(namespace, &spec).await.unwrap();
    add(&daemon, spec, count).await;
    for callers in callers {
        let (callers, units) = (callers % 1_000, callers / 1_000);
        drain(&daemon, spec, callers, units.max(1), Duration::from_secs(4)).await;
    }
    let clock = SystemClock::default();
    for _ in 0..2 {
        looks(&daemon, namespace, spec, clock.now()).await;
    }
}
