//! Several daemons on one database: each a backend of its own on the same schema, and all
//! of them at work at the same time.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code"
)]

#[path = "../support/mod.rs"]
mod support;

mod chains;
mod claims;
mod clearing;
mod floors;
mod limits;
mod locks;
mod retention;

use std::{sync::Arc, time::Duration};

use coordinated::{
    backend::{Backend as _, Claim, Claims, Retention, UnitChange, postgres::Postgres},
    clock::{ManualClock, Timestamp},
    model::{
        Claimed, Effect, KeyRef, NamespaceId, NamespaceName, NewSpec, NewUnit, Phase, Priority,
        RawData, SpecId, StringType, UnitCounts, UnitKey, WorkerName,
    },
};
use serde_cbor::Value;
use support::{map, postgres::Schema, text};

/// Several daemons on one schema.
struct Daemons {
    daemons: Vec<Arc<Postgres>>,
    namespace: NamespaceId,
    schema: Schema,
}

const LEASE: Duration = Duration::from_secs(60);

impl Daemons {
    async fn start(count: usize) -> Daemons {
        let schema = support::postgres::schema().await;
        let mut daemons = Vec::new();
        for _ in 0..count {
            let daemon = support::on_schema(&schema, Retention::default()).await;
            daemons.push(Arc::new(daemon));
        }
        let name = NamespaceName::new("").unwrap();
        let namespace = daemons[0].namespace(&name).await.unwrap();
        Daemons {
            daemons,
            namespace,
            schema,
        }
    }

    /// The daemon that a caller of this number speaks to.
    fn of(&self, caller: usize) -> Arc<Postgres> {
        self.daemons[caller % self.daemons.len()].clone()
    }

    async fn spec<const N: usize>(&self, name: &str, keys: [(&str, Value); N]) -> SpecId {
        let mut definition = map(keys);
        if let Value::Map(map) = &mut definition {
            map.insert(text("name"), text(name));
        }
        let spec = NewSpec::read(&serde_cbor::to_vec(&definition).unwrap()).unwrap();
        self.of(0).put_spec(self.namespace, &spec).await.unwrap()
    }

    async fn add(&self, spec: SpecId, count: usize) {
        let units: Vec<NewUnit> = (0..count).map(|i| unit(&format!("{i:06}"))).collect();
        self.of(0).put_units(now(), spec, &units).await.unwrap();
    }

    async fn count(&self, spec: SpecId) -> UnitCounts {
        let counts = self.of(0).count_units(now(), spec).await.unwrap();
        for daemon in &self.daemons {
            assert_eq!(daemon.count_units(now(), spec).await.unwrap(), counts);
        }
        counts
    }
}

/// The time at which nothing ends.
fn now() -> Timestamp {
    ManualClock::START
}

fn after(seconds: u64) -> Timestamp {
    now().after(Duration::from_secs(seconds))
}

fn worker(name: &str) -> WorkerName {
    WorkerName::new(name).unwrap()
}

fn unit(key: &str) -> NewUnit {
    NewUnit {
        key: UnitKey::new(KeyRef {
            bytes: key.as_bytes(),
            string_type: StringType::Text,
        })
        .unwrap(),
        data: RawData::empty_map(),
        priority: Priority::ZERO,
        delay: Duration::ZERO,
    }
}

/// Claims up to `units_max` units.
async fn claim(daemon: &Postgres, now: Timestamp, spec: SpecId, units_max: usize) -> Claims {
    let claim = Claim {
        spec,
        worker: worker("w"),
        units_max,
        lease: LEASE,
    };
    daemon.claim(now, &claim).await.unwrap()
}

/// A change of the attempt that was handed out.
fn change(claimed: &Claimed, effect: Effect, data: Option<RawData>) -> UnitChange {
    UnitChange {
        unit: claimed.unit,
        phase: Phase::Open,
        attempt: Some(claimed.attempt),
        effect,
        worker: None,
        data,
    }
}

/// Data whose output names these units.
fn output(keys: &[String]) -> RawData {
    let keys = keys.iter().map(|key| text(key)).collect();
    RawData::new(&serde_cbor::to_vec(&map([("output", Value::Array(keys))])).unwrap())
}
