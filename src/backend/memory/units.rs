//! One spec's units and the indexes that find them.
//!
//! **Invariant:** every index agrees with the units' fields. [`Units::insert`],
//! [`Units::update`] and [`Units::remove`] are the only code that changes either,
//! and `Units::check` asserts that they did it right.
//!
//! # Cost
//!
//! With n units, each costs O(log n) for every index that changes. Measured at ten
//! million units with keys of 20 bytes (`cargo bench --bench memory -- 10000000`):
//! 185 bytes for a queued unit and 187 for a finished one, beside its key and data (168
//! and 213 if they were added in random order),
//! and under a microsecond for a claim and its finish together.

use super::{
    arena::Arena,
    index::Index,
    keys::Keys,
    unit::{Slot, Unit},
};
use crate::{
    backend::Retention,
    clock::Timestamp,
    model::{AttemptId, UnitId, WorkerName},
};

/// The units of one spec.
#[derive(Debug)]
pub(super) struct Units {
    arena: Arena,
    keys: Keys,
    index: Index,
    /// Attempts remembered for each unit, beyond the current one.
    history_max: usize,
}

impl Units {
    pub(super) fn new(retention: &Retention) -> Units {
        let archives = retention.completed_count.is_some() || retention.completed_age.is_some();
        Units {
            arena: Arena::default(),
            keys: Keys::new(),
            index: Index::new(archives),
            history_max: retention.attempt_history,
        }
    }

    /// Takes all units out. No id of theirs is given out again.
    pub(super) fn take(&mut self) -> Units {
        let empty = Units {
            arena: self.arena.successor(),
            keys: Keys::new(),
            index: Index::new(self.index.completed.is_some()),
            history_max: self.history_max,
        };
        std::mem::replace(self, empty)
    }

    pub(super) fn len(&self) -> usize {
        self.arena.len()
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    pub(super) fn get(&self, slot: Slot) -> &Unit {
        self.arena.get(slot)
    }

    pub(super) fn id(&self, slot: Slot) -> UnitId {
        self.arena.id(slot)
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<Slot> {
        self.keys.find(&self.arena, key)
    }

    /// The slot of a unit that may be gone.
    pub(super) fn resolve(&self, unit: UnitId) -> Option<Slot> {
        self.arena.resolve(unit)
    }

    /// The next unit to be claimed.
    pub(super) fn first_ready(&self) -> Option<Slot> {
        self.index.ready.first_key_value().map(|(_, &slot)| slot)
    }

    /// The pending unit whose lease ended first, before `now`: a lease still holds
    /// at its last instant.
    pub(super) fn first_ended(&self, now: Timestamp) -> Option<Slot> {
        let &(ends, slot) = self.index.leases.first()?;
        (ends < now).then_some(slot)
    }

    /// The delayed unit whose time came first, by `now`.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<Slot> {
        let &(until, slot) = self.index.delayed.first()?;
        (until <= now).then_some(slot)
    }

    /// The first instant at which [`first_ended`](Units::first_ended) or
    /// [`first_due`](Units::first_due) has something.
    pub(super) fn next_due(&self) -> Timestamp {
        let lease = self.index.leases.first().map(|&(ends, _)| ends);
        let lease = lease.map(|ends| Timestamp::from_micros(ends.as_micros().saturating_add(1)));
        let delay = self.index.delayed.first().map(|&(until, _)| until);
        lease
            .into_iter()
            .chain(delay)
            .min()
            .unwrap_or(Timestamp::MAX)
    }

    /// Adds a unit that was never attempted and whose key is new.
    pub(super) fn insert(&mut self, unit: Unit) -> Slot {
        let (key, place) = (unit.key.clone(), unit.place());
        let slot = self.arena.insert(unit);
        self.keys.insert(&self.arena, slot);
        self.index.enter(&key, slot, place);
        slot
    }

    /// Changes a unit, all but its key.
    pub(super) fn update<R>(&mut self, slot: Slot, change: impl FnOnce(&mut Unit) -> R) -> R {
        let unit = self.arena.get_mut(slot);
        let (before, held_before) = (unit.place(), held(unit));
        let result = change(unit);
        let (after, held_after) = (unit.place(), held(unit));
        self.index.relocate(&unit.key, slot, before, after);
        if held_before != held_after {
            if let Some(gone) = held_before {
                let superseded = unit.history().next_back();
                if !superseded.is_some_and(|past| past.held && past.id == gone.1) {
                    self.index.open.remove(&gone);
                }
            }
            if let Some(new) = held_after {
                self.index.open.insert(new, slot);
            }
        }
        while let Some(past) = unit.forget_attempt(self.history_max) {
            if past.held {
                self.index.open.remove(&(past.worker, past.id));
            }
        }
        result
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Unit {
        let mut unit = self.arena.remove(slot);
        self.keys.remove(&self.arena, slot, &unit);
        self.index.leave(&unit.key, slot, unit.place());
        if let Some(held) = held(&unit) {
            self.index.open.remove(&held);
        }
        while let Some(past) = unit.forget_attempt(0) {
            if past.held {
                self.index.open.remove(&(past.worker, past.id));
            }
        }
        unit
    }

    /// Asserts every invariant of this type and of what it is made of. For tests: it
    /// visits every unit.
    #[cfg(test)]
    pub(super) fn check(&self) {
        use super::unit::Place;
        use crate::model::UnitStatus as Status;

        let slots = self.arena.check();
        let (index, mut open, mut placed) = (&self.index, 0, [0; 5]);
        for &slot in &slots {
            let unit = self.get(slot);
            assert_eq!(self.find(unit.key.as_bytes()), Some(slot));
            assert_eq!(self.resolve(self.id(slot)), Some(slot));
            placed[unit.status as usize] += 1;
            let place = unit.place();
            for (list, units) in index.lists.iter().enumerate() {
                let listed = units.get(&unit.key) == Some(&slot);
                assert_eq!(listed, place.list() == list, "{unit:?} in list {list}");
            }
            match place {
                Place::Ready(rank) => {
                    assert_eq!(index.ready.get(&(rank, unit.key.clone())), Some(&slot));
                }
                Place::Delayed(until) => assert!(index.delayed.contains(&(until, slot))),
                Place::Leased(until) => assert!(index.leases.contains(&(until, slot))),
                Place::Finished(at) | Place::Failed(at) => {
                    let by_time = index.completed.as_ref();
                    assert!(by_time.is_none_or(|c| c[place.list() - 2].contains(&(at, slot))));
                }
            }
            let past = unit.history().filter(|past| past.held);
            let past = past.map(|past| (past.worker.clone(), past.id));
            for held in past.chain(held(unit)) {
                assert_eq!(index.open.get(&held), Some(&slot), "{held:?} of {unit:?}");
                open += 1;
            }
            let history = unit.history().count();
            assert!(history <= self.history_max);
            assert!(unit.tries() as usize >= history + usize::from(unit.current().is_some()));
            let ids: Vec<_> = unit.history().map(|past| past.id).collect();
            assert!(ids.is_sorted(), "history is not in order: {ids:?}");
        }
        let count = |status: Status| placed[status as usize];
        assert_eq!(index.ready.len(), count(Status::Available));
        assert_eq!(index.delayed.len(), count(Status::Delayed));
        assert_eq!(index.leases.len(), count(Status::Pending));
        let lists = index.lists.each_ref().map(|list| list.len());
        let idle = count(Status::Available) + count(Status::Delayed);
        let (finished, failed) = (count(Status::Finished), count(Status::Failed));
        assert_eq!(lists, [idle, count(Status::Pending), finished, failed]);
        if let Some(completed) = &index.completed {
            assert_eq!(completed.each_ref().map(|c| c.len()), [finished, failed]);
        }
        assert_eq!(index.open.len(), open);
        assert_eq!(self.keys.len(), slots.len());
    }
}

/// The key under which the unit's current attempt is listed as held.
fn held(unit: &Unit) -> Option<(WorkerName, AttemptId)> {
    unit.held()
        .map(|attempt| (attempt.worker.clone(), attempt.id))
}
