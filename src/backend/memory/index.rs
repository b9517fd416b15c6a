//! The orders in which a spec's units are found.
//!
//! A unit is in exactly the indexes that its [`Place`] says:
//!
//! | place    | `ready` | `delayed` | `leases` | `completed` | `lists` |
//! |----------|---------|-----------|----------|-------------|---------|
//! | Ready    | yes     |           |          |             | 0       |
//! | Delayed  |         | yes       |          |             | 0       |
//! | Leased   |         |           | yes      |             | 1       |
//! | Finished |         |           |          | 0           | 2       |
//! | Failed   |         |           |          | 1           | 3       |
//!
//! `completed` exists only if units are archived. `open` has the attempts that
//! count as held: see [`Unit::held`] and [`PastAttempt::held`].
//!
//! [`Unit::held`]: super::unit::Unit::held
//! [`PastAttempt::held`]: super::unit::PastAttempt

use std::collections::{BTreeMap, BTreeSet};

use super::unit::{Place, Slot};
use crate::{
    clock::Timestamp,
    model::{AttemptId, UnitKey, WorkerName},
};

/// The attempts that count as held, by worker.
pub(super) type Open = BTreeMap<(WorkerName, AttemptId), Slot>;

/// The indexes of one spec. [`Units`](super::units::Units) keeps them.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By key: available and delayed, pending, finished, failed. Clients have one
    /// number for the first two, so they are listed together.
    pub(super) lists: [BTreeMap<UnitKey, Slot>; 4],
    /// As they are claimed.
    pub(super) ready: BTreeMap<(u64, UnitKey), Slot>,
    /// By not-before time.
    pub(super) delayed: BTreeSet<(Timestamp, Slot)>,
    /// By end of lease.
    pub(super) leases: BTreeSet<(Timestamp, Slot)>,
    /// Finished and failed, by when; `None` if that is never asked.
    pub(super) completed: Option<[BTreeSet<(Timestamp, Slot)>; 2]>,
    pub(super) open: Open,
}

impl Place {
    /// Which of the lists by key it is in.
    pub(super) fn list(self) -> usize {
        match self {
            Place::Ready(_) | Place::Delayed(_) => 0,
            Place::Leased(_) => 1,
            Place::Finished(_) => 2,
            Place::Failed(_) => 3,
        }
    }
}

impl Index {
    /// No units; `archives` if completed ones will be looked for.
    pub(super) fn new(archives: bool) -> Index {
        Index {
            completed: archives.then(Default::default),
            ..Index::default()
        }
    }

    pub(super) fn enter(&mut self, key: &UnitKey, slot: Slot, place: Place) {
        let other = self.lists[place.list()].insert(key.clone(), slot);
        assert_eq!(other, None, "unit {key:?} was listed already");
        self.enter_order(key, slot, place);
    }

    pub(super) fn leave(&mut self, key: &UnitKey, slot: Slot, place: Place) {
        let removed = self.lists[place.list()].remove(key);
        assert_eq!(removed, Some(slot), "unit {key:?} was not listed");
        self.leave_order(key, slot, place);
    }

    /// Moves a unit from the indexes of `before` to those of `after`.
    pub(super) fn relocate(&mut self, key: &UnitKey, slot: Slot, before: Place, after: Place) {
        if before == after {
            return;
        }
        if before.list() != after.list() {
            let removed = self.lists[before.list()].remove_entry(key);
            let (key, listed) = removed.expect("a unit is listed");
            assert_eq!(listed, slot, "unit {key:?} was listed as another");
            self.lists[after.list()].insert(key, slot);
        }
        self.leave_order(key, slot, before);
        self.enter_order(key, slot, after);
    }

    fn enter_order(&mut self, key: &UnitKey, slot: Slot, place: Place) {
        let absent = match place {
            Place::Ready(rank) => self.ready.insert((rank, key.clone()), slot).is_none(),
            Place::Delayed(until) => self.delayed.insert((until, slot)),
            Place::Leased(until) => self.leases.insert((until, slot)),
            Place::Finished(at) | Place::Failed(at) => match &mut self.completed {
                None => true,
                Some(by_time) => by_time[place.list() - 2].insert((at, slot)),
            },
        };
        assert!(absent, "unit {key:?} was in the index of {place:?} already");
    }

    fn leave_order(&mut self, key: &UnitKey, slot: Slot, place: Place) {
        let present = match place {
            Place::Ready(rank) => self.ready.remove(&(rank, key.clone())).is_some(),
            Place::Delayed(until) => self.delayed.remove(&(until, slot)),
            Place::Leased(until) => self.leases.remove(&(until, slot)),
            Place::Finished(at) | Place::Failed(at) => match &mut self.completed {
                None => true,
                Some(by_time) => by_time[place.list() - 2].remove(&(at, slot)),
            },
        };
        assert!(present, "unit {key:?} was not in the index of {place:?}");
    }
}
