//! How fast the PostgreSQL backend is: additions, then claims and finishes by many callers.
//!
//!     cargo bench --bench postgres -- [units] [callers…]
//!
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
    backend::{Backend as _, Claim, Retention, UnitChange, postgres::Postgres},
    clock::{Clock as _, SystemClock},
    model::{
        Effect, KeyRef, NamespaceName, NewSpec, NewUnit, Phase, Priority, RawData, SpecId,
        StringType, UnitKey, WorkerName,
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

/// Claims and finishes by so many callers for a while; jobs a second, and the time of the
/// slowest claim of a hundred.
async fn drain(daemon: &Arc<Postgres>, spec: SpecId, callers: usize, span: Duration) {
    let clock = Arc::new(SystemClock::default());
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (daemon, clock) = (daemon.clone(), clock.clone());
            let claim = Claim {
                spec,
                worker: WorkerName::new(&format!("worker {caller}")).unwrap(),
                units_max: 1,
                lease: Duration::from_secs(300),
            };
            tokio::spawn(async move {
                let mut times = Vec::new();
                while begun.elapsed() < span {
                    let asked = Instant::now();
                    let claims = daemon.claim(clock.now(), &claim).await.unwrap();
                    times.push(asked.elapsed());
                    let Some(unit) = claims.units.first() else {
                        panic!("there are too few units");
                    };
                    let finish = UnitChange {
                        unit: unit.unit,
                        phase: Phase::Open,
                        attempt: Some(unit.attempt),
                        effect: Effect::Finish,
                        worker: None,
                        data: Some(unit.data.clone()),
                    };
                    let made = daemon.change_units(clock.now(), spec, vec![finish]).await;
                    made.unwrap().remove(0).unwrap();
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    times.sort_unstable();
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    let (median, slow) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{callers:4} callers: {rate:8.0} jobs/s; claims {median:?}, p99 {slow:?}");
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
        drain(&daemon, spec, callers, Duration::from_secs(4)).await;
    }
    let clock = SystemClock::default();
    let begun = Instant::now();
    let counts = daemon.count_units(clock.now(), spec).await.unwrap();
    println!("counted {counts:?} in {:?}", begun.elapsed());
}
