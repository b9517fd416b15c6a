//! What the memory backend costs: bytes for each unit beside its key and data, and
//! microseconds for each thing done to one.
//!
//! ```text
//! cargo bench --bench memory -- [units]          every scenario, each in a process of its own
//! cargo bench --bench memory -- units ordered|random lease|finish
//! ```
//!
//! Memory is the resident set, so it includes what the allocator rounds up.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "measures, and ends if it cannot"
)]

use std::{
    env, fs,
    process::Command,
    time::{Duration, Instant},
};

use coordinated::{
    backend::{Backend, Claim, Retention, UnitChange, memory::Memory},
    clock::{Clock, ManualClock, Timestamp},
    model::{
        Claimed, Effect, KeyRef, NamespaceName, NewSpec, NewUnit, Phase, Priority, RawData, SpecId,
        SpecName, SpecOptions, StringType, UnitKey, WorkerName,
    },
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEY_BYTES: usize = 20;
const DATA_BYTES: usize = 138;
const UNITS_DEFAULT: usize = 100_000;
const BATCH: usize = 1_000;
const LEASE: Duration = Duration::from_secs(300);

fn main() {
    let mut args: Vec<String> = env::args().skip(1).collect();
    args.retain(|arg| !arg.starts_with("--"));
    let units = args.first().map_or(UNITS_DEFAULT, |n| n.parse().unwrap());
    if let [_, order, scenario] = args.as_slice() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let run = run(units, order == "random", scenario == "finish");
        return runtime.unwrap().block_on(run);
    }
    for order in ["ordered", "random"] {
        for scenario in ["lease", "finish"] {
            let mut child = Command::new(env::current_exe().unwrap());
            let status = child.args([&units.to_string(), order, scenario]).status();
            assert!(status.unwrap().success());
        }
    }
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

struct Report {
    units: usize,
    empty: usize,
    started: Instant,
}

impl Report {
    /// Prints the time for each unit since the last line, and the memory it takes.
    fn line(&mut self, what: &str) {
        let micros = self.started.elapsed().as_secs_f64() * 1e6 / self.units as f64;
        let bytes = resident_bytes().saturating_sub(self.empty) / self.units;
        let beside = bytes as i64 - (KEY_BYTES + DATA_BYTES) as i64;
        println!("  {what:8} {micros:6.2} µs   {beside:4} bytes");
        self.started = Instant::now();
    }
}

/// A key of [`KEY_BYTES`] whose order is that of `number`.
fn key(number: u64) -> UnitKey {
    let text = format!("unit {number:0>15x}");
    let bytes = text.as_bytes();
    assert_eq!(bytes.len(), KEY_BYTES);
    let string_type = StringType::Bytes;
    UnitKey::new(KeyRef { bytes, string_type }).unwrap()
}

async fn run(units: usize, random: bool, finish: bool) {
    let order = if random { "random" } else { "in order" };
    println!("{units} units, keys {order}");
    let memory = Memory::new(Retention::default());
    let namespace = memory.namespace(&NamespaceName::new("").unwrap()).await;
    let spec = NewSpec {
        name: SpecName::new("s").unwrap(),
        definition: RawData::empty_map(),
        options: SpecOptions::default(),
    };
    let spec = memory.put_spec(namespace.unwrap(), &spec).await.unwrap();
    let now = ManualClock::default().now();
    let mut report = Report {
        units,
        empty: resident_bytes(),
        started: Instant::now(),
    };
    put(&memory, now, spec, units, random).await;
    report.line("put");
    for number in 0..units {
        let claimed = claim(&memory, now, spec, number).await;
        if finish {
            finish_one(&memory, now, spec, claimed).await;
        }
    }
    report.line(if finish { "cycle" } else { "claim" });
    if !finish {
        let later = now.after(LEASE * 2);
        memory.count_units(later, spec).await.unwrap();
        report.line("expire");
        for number in 0..units {
            claim(&memory, later, spec, number).await;
        }
        report.line("reclaim");
    }
    memory.delete_spec(spec).await.unwrap();
}

async fn put(memory: &Memory, now: Timestamp, spec: SpecId, units: usize, random: bool) {
    let mut data = vec![0; DATA_BYTES];
    data[0] = 0xa0;
    for first in (0..units as u64).step_by(BATCH) {
        let last = (first + BATCH as u64).min(units as u64);
        let one = |number: u64| NewUnit {
            // An odd factor goes through all numbers, each once.
            key: key(match random {
                true => number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 4,
                false => number,
            }),
            data: RawData::new(&data),
            priority: Priority::ZERO,
            delay: Duration::ZERO,
        };
        let some: Vec<NewUnit> = (first..last).map(one).collect();
        memory.put_units(now, spec, &some).await.unwrap();
    }
}

async fn claim(memory: &Memory, now: Timestamp, spec: SpecId, number: usize) -> Claimed {
    let claim = Claim {
        spec,
        // Each request brings a copy of its worker's name.
        worker: WorkerName::new(&format!("worker-{}", number % 1_000)).unwrap(),
        units_max: 1,
        lease: LEASE,
    };
    let mut claims = memory.claim(now, &claim).await.unwrap();
    claims.units.pop().expect("there are units left")
}

async fn finish_one(memory: &Memory, now: Timestamp, spec: SpecId, claimed: Claimed) {
    let change = UnitChange {
        unit: claimed.unit,
        phase: Phase::Open,
        attempt: Some(claimed.attempt),
        effect: Effect::Finish,
        worker: None,
        data: None,
    };
    let changed = memory.change_units(now, spec, vec![change]).await.unwrap();
    assert!(changed[0].is_ok());
}
