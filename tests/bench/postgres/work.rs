//! What is worked on: the same keys and the same data for everyone.

use std::time::Duration;

use coordinated::model::{
    Claimed, Effect, KeyRef, NewSpec, NewUnit, Phase, Priority, RawData, StringType, UnitKey,
};
use coordinated::{
    backend::UnitChange,
    model::{NamespaceName, WorkerName},
};

use crate::support::{map, text};

/// Clients, callers, connections: whoever works.
pub const WORKERS: usize = 64;

/// Units that are added at a time.
pub const ADDED_AT_A_TIME: usize = 10_000;

/// Longer than any measurement, so that no lease ends.
pub const LEASE: Duration = Duration::from_secs(3_600);

/// The work spec's name.
pub const SPEC: &str = "s";

/// A map of 138 bytes, as real units have them.
pub fn data() -> RawData {
    let filler = "x".repeat(129);
    RawData::new(&serde_cbor::to_vec(&map([("field", text(&filler))])).unwrap())
}

/// Keys of 15 bytes that sort by their number.
pub fn key(number: usize) -> String {
    format!("unit {number:010}")
}

/// A unit of this key.
pub fn unit(key: &str, data: &RawData) -> NewUnit {
    NewUnit {
        key: UnitKey::new(KeyRef {
            bytes: key.as_bytes(),
            string_type: StringType::Text,
        })
        .unwrap(),
        data: data.clone(),
        priority: Priority::ZERO,
        delay: Duration::ZERO,
    }
}

/// So many units from this number on, in the order of their keys.
pub fn units(from: usize, count: usize) -> Vec<NewUnit> {
    let data = data();
    (from..from + count)
        .map(|number| unit(&key(number), &data))
        .collect()
}

/// The work spec, with nothing but a name.
pub fn spec() -> NewSpec {
    NewSpec::read(&serde_cbor::to_vec(&map([("name", text(SPEC))])).unwrap()).unwrap()
}

/// The namespace that connections start in.
pub fn namespace() -> NamespaceName {
    NamespaceName::new("").unwrap()
}

/// A worker's name.
pub fn worker(number: usize) -> WorkerName {
    WorkerName::new(&format!("worker {number}")).unwrap()
}

/// The finish of a unit, with data of the attempt as workers send it.
pub fn finish(unit: &Claimed) -> UnitChange {
    UnitChange {
        unit: unit.unit,
        phase: Phase::Open,
        attempt: Some(unit.attempt),
        effect: Effect::Finish,
        worker: None,
        data: Some(unit.data.clone()),
    }
}
