//! Tests of the backend through its trait, one file for each kind of thing.

mod changes;
mod claims;
mod histories;
mod specs;
mod stress;
mod units;

use std::time::Duration;

use super::{Memory, directory::Entry};
use crate::{
    backend::{Backend, Changed, Claim, Claims, Conflict, Retention, UnitChange},
    clock::{ManualClock, Timestamp},
    model::{
        Claimed, Effect, KeyRef, NamespaceId, NamespaceName, NewSpec, NewUnit, Priority, RawData,
        SpecId, SpecName, SpecOptions, StringType, Unit, UnitCounts, UnitKey, UnitStatus,
        WorkerName,
    },
};

const LEASE: Duration = Duration::from_secs(60);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn worker(name: &str) -> WorkerName {
    WorkerName::new(name).unwrap()
}

fn key(name: &str) -> UnitKey {
    let bytes = name.as_bytes();
    let string_type = StringType::Bytes;
    UnitKey::new(KeyRef { bytes, string_type }).unwrap()
}

fn unit(name: &str) -> NewUnit {
    NewUnit {
        key: key(name),
        data: RawData::empty_map(),
        priority: Priority::ZERO,
        delay: Duration::ZERO,
    }
}

/// The map {1: n}, for small n.
fn data(n: u8) -> RawData {
    RawData::new(&[0xa1, 1, n])
}

/// A map whose `output` lists these keys, of one byte each.
fn output(keys: &[&str]) -> RawData {
    let mut item = b"\xa1\x46output".to_vec();
    item.push(0x80 + keys.len() as u8);
    for key in keys {
        item.push(0x40 + key.len() as u8);
        item.extend(key.as_bytes());
    }
    RawData::new(&item)
}

/// A backend with one namespace, and a clock that is moved by hand.
struct World {
    memory: Memory,
    namespace: NamespaceId,
    now: Timestamp,
}

impl World {
    async fn new() -> World {
        World::keeping(Retention::default()).await
    }

    async fn keeping(retention: Retention) -> World {
        let memory = Memory::new(retention);
        let name = NamespaceName::new("").unwrap();
        World {
            namespace: memory.namespace(&name).await.unwrap(),
            memory,
            now: ManualClock::START,
        }
    }

    fn advance(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    async fn spec_with(&self, name: &str, options: SpecOptions) -> SpecId {
        let name = SpecName::new(name).unwrap();
        let definition = RawData::empty_map();
        let spec = NewSpec {
            name,
            definition,
            options,
        };
        self.memory.put_spec(self.namespace, &spec).await.unwrap()
    }

    /// A spec with units of these keys.
    async fn spec(&self, name: &str, units: &[&str]) -> SpecId {
        let spec = self.spec_with(name, SpecOptions::default()).await;
        self.put(spec, units).await;
        spec
    }

    async fn put(&self, spec: SpecId, keys: &[&str]) {
        let units = keys.iter().map(|key| unit(key)).collect();
        self.put_units(spec, units).await;
    }

    async fn put_units(&self, spec: SpecId, units: Vec<NewUnit>) {
        self.memory.put_units(self.now, spec, &units).await.unwrap();
        self.check();
    }

    async fn claims(&self, spec: SpecId, who: &str, units_max: usize) -> Claims {
        let claim = Claim {
            spec,
            worker: worker(who),
            units_max,
            lease: LEASE,
        };
        let claims = self.memory.claim(self.now, &claim).await.unwrap();
        self.check();
        claims
    }

    async fn claim(&self, spec: SpecId, who: &str) -> Option<Claimed> {
        self.claims(spec, who, 1).await.units.pop()
    }

    /// The keys of all claimed units, with a space between.
    async fn claimed(&self, spec: SpecId, who: &str, units_max: usize) -> String {
        let claims = self.claims(spec, who, units_max).await;
        let keys = claims.units.iter();
        let keys: Vec<_> = keys.map(|c| c.key.as_bytes().to_vec()).collect();
        String::from_utf8(keys.join(&b' ')).unwrap()
    }

    /// A change of the unit as it stands, for the worker "w" if it starts an attempt.
    async fn decided(&self, spec: SpecId, key: &str, effect: Effect) -> UnitChange {
        let keys = [key.as_bytes()];
        let active = self.memory.active_attempts(self.now, spec, &keys).await;
        let active = active.unwrap().remove(0).expect("the unit exists");
        UnitChange {
            unit: active.unit,
            phase: active.phase,
            attempt: active.attempt_id(),
            effect,
            worker: Some(worker("w")),
            data: None,
        }
    }

    async fn make(&self, spec: SpecId, change: UnitChange) -> Result<Changed, Conflict> {
        let changes = vec![change];
        let made = self.memory.change_units(self.now, spec, changes).await;
        self.check();
        made.unwrap().remove(0)
    }

    async fn change(&self, spec: SpecId, key: &str, effect: Effect) -> Result<Changed, Conflict> {
        self.make(spec, self.decided(spec, key, effect).await).await
    }

    async fn change_with(
        &self,
        spec: SpecId,
        key: &str,
        effect: Effect,
        data: RawData,
    ) -> Result<Changed, Conflict> {
        let change = self.decided(spec, key, effect).await;
        let data = Some(data);
        self.make(spec, UnitChange { data, ..change }).await
    }

    async fn unit(&self, spec: SpecId, key: &str) -> Option<Unit> {
        let keys = [key.as_bytes()];
        let units = self.memory.units(self.now, spec, &keys).await;
        units.unwrap().remove(0)
    }

    async fn status(&self, spec: SpecId, key: &str) -> UnitStatus {
        self.unit(spec, key).await.expect("the unit exists").status
    }

    async fn counts(&self, spec: SpecId) -> UnitCounts {
        self.memory.count_units(self.now, spec).await.unwrap()
    }

    fn check(&self) {
        self.memory.check();
    }
}

impl Memory {
    /// Asserts every invariant of every spec, and that what is published is true.
    fn check(&self) {
        for entry in self.entries() {
            entry.check();
        }
    }
}

impl Entry {
    fn check(&self) {
        let Ok(shard) = self.lock() else { return };
        shard.units.check();
        let available = shard.units.index().ready.len();
        assert_eq!(self.has_available(), available > 0);
        assert_eq!(self.pending(), shard.pending());
        assert_eq!(self.next_due(), shard.units.next_due());
        assert_eq!(self.has_untold(), shard.untold > 0);
    }
}
