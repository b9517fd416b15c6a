//! What is remembered for one connection.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::{
    limits::FENCE_UNITS_MAX,
    model::{AttemptId, BadName, NamespaceId, SpecName, UnitKey, WorkerName},
};

/// What is remembered for one connection, from when it opens until it is gone.
#[derive(Debug)]
pub struct Session {
    /// The namespace that its calls are about.
    pub(super) namespace: NamespaceId,
    /// The name of that namespace.
    pub(super) namespace_name: String,
    /// Draws the scheduler's lots.
    pub(super) random: fastrand::Rng,
    /// The attempts it was given.
    pub(super) given: GivenAttempts,
    worker: Option<WorkerName>,
    bad_lease: bool,
}

impl Session {
    pub(super) fn new(
        namespace: NamespaceId,
        namespace_name: String,
        random: fastrand::Rng,
    ) -> Session {
        Session {
            namespace,
            namespace_name,
            random,
            given: GivenAttempts::default(),
            worker: None,
            bad_lease: false,
        }
    }

    /// Moves the connection to another namespace, whose units it was never given.
    pub(super) fn enter(&mut self, namespace: NamespaceId, name: String) {
        if self.namespace != namespace {
            self.given = GivenAttempts::default();
        }
        self.namespace = namespace;
        self.namespace_name = name;
    }

    /// Whether this is the first time the connection asks for a lease out of bounds.
    pub(super) fn first_bad_lease(&mut self) -> bool {
        !std::mem::replace(&mut self.bad_lease, true)
    }

    /// The name as a value to keep. A connection mostly speaks for one worker, so its
    /// attempts share one copy of the name.
    pub(super) fn worker(&mut self, name: &str) -> Result<WorkerName, BadName> {
        match &self.worker {
            Some(worker) if worker.as_str() == name => Ok(worker.clone()),
            _ => {
                let worker = WorkerName::new(name)?;
                self.worker = Some(worker.clone());
                Ok(worker)
            }
        }
    }
}

/// The attempts that a connection was given, of the latest [`FENCE_UNITS_MAX`] units:
/// what fences workers that name neither themselves nor an attempt (semantics.md §7).
///
/// Found by the names of spec and unit, because those are what the worker will
/// send, whatever became of the unit since.
#[derive(Debug, Default)]
pub(super) struct GivenAttempts {
    /// Grows to its limit, then is a ring.
    given: Vec<Given>,
    /// The oldest entry, once the ring is full.
    next: usize,
    /// Indexes into `given`.
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Given {
    spec: SpecName,
    key: UnitKey,
    attempt: AttemptId,
}

impl GivenAttempts {
    /// Remembers an attempt, in place of an earlier one on the same unit.
    pub(super) fn insert(&mut self, spec: SpecName, key: UnitKey, attempt: AttemptId) {
        let hash = hash(&self.hasher, spec.as_str(), key.as_bytes());
        if let Some(at) = self.find(hash, spec.as_str(), key.as_bytes()) {
            self.given[at].attempt = attempt;
            return;
        }
        let given = Given { spec, key, attempt };
        let at = if self.given.len() < FENCE_UNITS_MAX {
            self.given.push(given);
            self.given.len() - 1
        } else {
            let at = self.next;
            self.next = (at + 1) % FENCE_UNITS_MAX;
            let old = std::mem::replace(&mut self.given[at], given);
            let old_hash = hash_of(&self.hasher, &old);
            if let Ok(entry) = self.by_name.find_entry(old_hash, |&i| i as usize == at) {
                entry.remove();
            }
            at
        };
        let (given, hasher) = (&self.given, &self.hasher);
        let index = u32::try_from(at).expect("the ring is far smaller than u32");
        let rehash = |&i: &u32| hash_of(hasher, &given[i as usize]);
        self.by_name.insert_unique(hash, index, rehash);
    }

    /// The attempt that the connection was last given on this unit.
    pub(super) fn get(&self, spec: &str, key: &[u8]) -> Option<AttemptId> {
        if self.given.is_empty() {
            return None;
        }
        let at = self.find(hash(&self.hasher, spec, key), spec, key)?;
        Some(self.given[at].attempt)
    }

    fn find(&self, hash: u64, spec: &str, key: &[u8]) -> Option<usize> {
        let same = |&i: &u32| {
            let given = &self.given[i as usize];
            given.key.as_bytes() == key && given.spec.as_str() == spec
        };
        self.by_name.find(hash, same).map(|&i| i as usize)
    }
}

fn hash(hasher: &DefaultHashBuilder, spec: &str, key: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    spec.hash(&mut state);
    key.hash(&mut state);
    state.finish()
}

fn hash_of(hasher: &DefaultHashBuilder, given: &Given) -> u64 {
    hash(hasher, given.spec.as_str(), given.key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyRef, StringType};

    fn insert(given: &mut GivenAttempts, unit: usize, attempt: u64) {
        let key = unit.to_string();
        let key = KeyRef {
            bytes: key.as_bytes(),
            string_type: StringType::Text,
        };
        let (spec, key) = (SpecName::new("s").unwrap(), UnitKey::new(key).unwrap());
        given.insert(spec, key, AttemptId::new(attempt));
    }

    fn get(given: &GivenAttempts, unit: usize) -> Option<u64> {
        given
            .get("s", unit.to_string().as_bytes())
            .map(AttemptId::get)
    }

    #[test]
    fn a_later_attempt_on_a_unit_takes_the_place_of_an_earlier_one() {
        let mut given = GivenAttempts::default();
        assert_eq!(get(&given, 1), None);
        insert(&mut given, 1, 10);
        insert(&mut given, 1, 11);
        assert_eq!(get(&given, 1), Some(11));
        assert_eq!(
            given.get("other", b"1"),
            None,
            "another spec's unit is another unit"
        );
    }

    #[test]
    fn exactly_the_latest_units_are_remembered() {
        let mut given = GivenAttempts::default();
        for unit in 0..FENCE_UNITS_MAX * 2 + 7 {
            insert(&mut given, unit, unit as u64);
        }
        let first = FENCE_UNITS_MAX + 7;
        assert_eq!(get(&given, first - 1), None);
        for unit in first..FENCE_UNITS_MAX * 2 + 7 {
            assert_eq!(get(&given, unit), Some(unit as u64));
        }
        assert_eq!(given.by_name.len(), FENCE_UNITS_MAX);
    }
}
