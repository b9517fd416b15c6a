//! What is remembered for one connection.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

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

/// The attempts that a connection was given last, up to [`FENCE_UNITS_MAX`]: what
/// fences workers that name neither themselves nor an attempt (semantics.md §7).
///
/// Found by the names of spec and unit, because those are what the worker will
/// send, whatever became of the unit since.
///
/// Most workers report on what they were given just now, which a look at the latest few
/// finds; only others make it keep an index. So a claim costs one push, and thousands
/// of workers do not drive each other's indexes out of the processor's caches.
#[derive(Debug, Default)]
pub(super) struct GivenAttempts {
    /// Grows to its limit, then is a ring.
    given: Vec<Given>,
    /// How many were given, forgotten ones included: attempt number n is in
    /// `given[n % FENCE_UNITS_MAX]`.
    count: usize,
    /// Attempts with lower numbers are in `by_name`, the latest of each unit.
    indexed: usize,
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

impl Given {
    fn is(&self, spec: &str, key: &[u8]) -> bool {
        self.key.as_bytes() == key && self.spec.as_str() == spec
    }
}

impl GivenAttempts {
    /// How many of the latest attempts are looked at one by one.
    const LATEST: usize = 8;

    /// Remembers an attempt; it comes before an earlier one on the same unit.
    pub(super) fn insert(&mut self, spec: SpecName, key: UnitKey, attempt: AttemptId) {
        let given = Given { spec, key, attempt };
        let at = self.count % FENCE_UNITS_MAX;
        self.count += 1;
        let Some(place) = self.given.get_mut(at) else {
            self.given.push(given);
            return;
        };
        let old = std::mem::replace(place, given);
        // It may have been indexed, unless a later one on its unit took its place.
        let hash = hash(&self.hasher, old.spec.as_str(), old.key.as_bytes());
        if let Ok(entry) = self.by_name.find_entry(hash, |&i| i as usize == at) {
            entry.remove();
        }
    }

    /// The attempt that the connection was last given on this unit.
    pub(super) fn get(&mut self, spec: &str, key: &[u8]) -> Option<AttemptId> {
        let oldest = self
            .count
            .saturating_sub(self.given.len().min(Self::LATEST));
        for number in (oldest..self.count).rev() {
            let given = &self.given[number % FENCE_UNITS_MAX];
            if given.is(spec, key) {
                return Some(given.attempt);
            }
        }
        if self.given.len() <= Self::LATEST {
            return None;
        }
        self.index();
        let (given, hash) = (&self.given, hash(&self.hasher, spec, key));
        let at = self
            .by_name
            .find(hash, |&i| given[i as usize].is(spec, key))?;
        Some(given[*at as usize].attempt)
    }

    /// Puts what was given since the last time into the index.
    fn index(&mut self) {
        let (given, hasher) = (&self.given, &self.hasher);
        let of = |i: &u32| {
            let given = &given[*i as usize];
            hash(hasher, given.spec.as_str(), given.key.as_bytes())
        };
        let first = self.indexed.max(self.count.saturating_sub(given.len()));
        for number in first..self.count {
            let at = u32::try_from(number % FENCE_UNITS_MAX).expect("far smaller than u32");
            let new = &given[at as usize];
            let same = |i: &u32| given[*i as usize].is(new.spec.as_str(), new.key.as_bytes());
            match self.by_name.entry(of(&at), same, of) {
                Entry::Occupied(mut entry) => *entry.get_mut() = at,
                Entry::Vacant(entry) => drop(entry.insert(at)),
            }
        }
        self.indexed = self.count;
    }
}

fn hash(hasher: &DefaultHashBuilder, spec: &str, key: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    spec.hash(&mut state);
    key.hash(&mut state);
    state.finish()
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

    fn get(given: &mut GivenAttempts, unit: usize) -> Option<u64> {
        given
            .get("s", unit.to_string().as_bytes())
            .map(AttemptId::get)
    }

    #[test]
    fn a_later_attempt_on_a_unit_takes_the_place_of_an_earlier_one() {
        let mut given = GivenAttempts::default();
        assert_eq!(get(&mut given, 1), None);
        insert(&mut given, 1, 10);
        insert(&mut given, 1, 11);
        assert_eq!(get(&mut given, 1), Some(11));
        assert_eq!(
            given.get("other", b"1"),
            None,
            "another spec's unit is another unit"
        );
        for unit in 2..50 {
            insert(&mut given, unit, 20);
        }
        assert_eq!(
            get(&mut given, 1),
            Some(11),
            "also when it is found by the index"
        );
        insert(&mut given, 1, 30);
        for unit in 2..50 {
            insert(&mut given, unit, 40);
        }
        assert_eq!(
            get(&mut given, 1),
            Some(30),
            "and when the index knew the earlier one"
        );
    }

    #[test]
    fn exactly_the_latest_attempts_are_remembered_however_often_they_are_asked_for() {
        for asked_every in [1, 7, 1_000, usize::MAX] {
            let mut given = GivenAttempts::default();
            let last = FENCE_UNITS_MAX * 2 + 7;
            for unit in 0..last {
                insert(&mut given, unit, unit as u64);
                if unit % asked_every == asked_every - 1 {
                    let old = unit.saturating_sub(FENCE_UNITS_MAX / 2);
                    assert_eq!(get(&mut given, old), Some(old as u64));
                }
            }
            let first = last - FENCE_UNITS_MAX;
            assert_eq!(get(&mut given, first - 1), None);
            for unit in first..last {
                assert_eq!(get(&mut given, unit), Some(unit as u64));
            }
            assert_eq!(given.by_name.len(), FENCE_UNITS_MAX);
        }
    }
}
