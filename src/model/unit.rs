//! Work units: what goes in, what comes out, and how many there are.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    model::{AttemptId, RawData, UnitId, UnitKey, WorkerName},
};

/// Where a unit stands (semantics.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnitStatus {
    /// Can be claimed now.
    Available,
    /// Waits for its not-before time. Clients see it as available.
    Delayed,
    /// A worker holds the lease.
    Pending,
    /// Its last attempt succeeded.
    Finished,
    /// Its last attempt failed for good.
    Failed,
}

impl UnitStatus {
    /// Every status, in the order of [`UnitCounts`].
    pub const ALL: [UnitStatus; 5] = [
        UnitStatus::Available,
        UnitStatus::Delayed,
        UnitStatus::Pending,
        UnitStatus::Finished,
        UnitStatus::Failed,
    ];

    /// The number clients see (protocol.md §4).
    #[must_use]
    pub fn wire(self) -> u64 {
        match self {
            UnitStatus::Available | UnitStatus::Delayed => 1,
            UnitStatus::Pending => 3,
            UnitStatus::Finished => 4,
            UnitStatus::Failed => 5,
        }
    }
}

/// A set of statuses, as the `state` filters of the protocol give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusSet(u8);

impl StatusSet {
    /// Every status.
    pub const ALL: StatusSet = StatusSet(0b11111);

    /// No status.
    pub const NONE: StatusSet = StatusSet(0);

    /// Adds the statuses behind a number from the wire; 1 is available and delayed,
    /// 2 and unknown numbers are no status (protocol.md §5).
    #[must_use]
    pub fn with_wire(self, number: u64) -> StatusSet {
        UnitStatus::ALL
            .into_iter()
            .filter(|status| status.wire() == number)
            .fold(self, |set, status| StatusSet(set.0 | 1 << status as u8))
    }

    /// Whether `status` is in the set.
    #[must_use]
    pub fn contains(self, status: UnitStatus) -> bool {
        self.0 & 1 << status as u8 != 0
    }
}

/// Higher runs sooner. Finite, so it has a total order, and never minus zero, so
/// that equal priorities have equal bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Priority(f64);

impl Priority {
    /// The priority of a unit that was given none.
    pub const ZERO: Priority = Priority(0.0);

    /// `None` for NaN and the infinities, which are errors on the wire.
    #[must_use]
    pub fn new(value: f64) -> Option<Priority> {
        value.is_finite().then_some(Priority(value + 0.0))
    }

    /// The value clients see.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// This priority moved by `adjustment`, held within the finite numbers.
    #[must_use]
    pub fn adjusted(self, adjustment: f64) -> Priority {
        Priority((self.0 + adjustment).clamp(f64::MIN, f64::MAX) + 0.0)
    }

    /// Bits that sort ascending as units run: highest priority first.
    #[must_use]
    pub fn rank(self) -> u64 {
        // IEEE 754 bits sort like the numbers once negatives are inverted and
        // positives offset; the outer `!` turns ascending into descending.
        let bits = self.0.to_bits();
        let ascending = if bits >> 63 == 1 {
            !bits
        } else {
            bits | 1 << 63
        };
        !ascending
    }
}

/// A change of priorities (`prioritize_work_units`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PriorityChange {
    /// To this priority.
    Set(Priority),
    /// By this much; finite.
    Adjust(f64),
}

impl PriorityChange {
    /// The priority after the change.
    #[must_use]
    pub fn apply(self, priority: Priority) -> Priority {
        match self {
            PriorityChange::Set(to) => to,
            PriorityChange::Adjust(by) => priority.adjusted(by),
        }
    }
}

/// A unit as a client adds it, or as another unit's `output` does.
#[derive(Debug, Clone, PartialEq)]
pub struct NewUnit {
    /// Unique in the spec; an existing unit of this key is replaced.
    pub key: UnitKey,
    /// What the worker needs: a map.
    pub data: RawData,
    /// Order among the spec's available units.
    pub priority: Priority,
    /// The unit is not claimed before this long after it was added.
    pub delay: Duration,
}

/// A unit handed to a worker.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its id.
    pub unit: UnitId,
    /// Its key.
    pub key: UnitKey,
    /// What the worker needs.
    pub data: RawData,
    /// The attempt that holds the lease.
    pub attempt: AttemptId,
    /// How many attempts the unit has had, this one included.
    pub number: u32,
    /// The end of the lease.
    pub expires: Timestamp,
    /// Its priority.
    pub priority: Priority,
}

/// A unit as a reader sees it.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its key, with the string type it was first stored with.
    pub key: UnitKey,
    /// The current attempt's own data if it has some, else the unit's.
    pub data: RawData,
    /// Where it stands now.
    pub status: UnitStatus,
    /// Its priority.
    pub priority: Priority,
    /// How many attempts it has had, exact even where history was forgotten.
    pub attempts: u32,
    /// The current attempt, if there is one: pending, expired but not superseded,
    /// finished or failed.
    pub current: Option<CurrentAttempt>,
}

/// The attempt that a unit answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentAttempt {
    /// Its id.
    pub id: AttemptId,
    /// Whose it is.
    pub worker: WorkerName,
    /// The end of its lease, or when it finished or failed.
    pub ends: Timestamp,
}

/// A unit that a worker has claimed and neither finished, failed nor given back
/// (`get_child_work_units`).
#[derive(Debug, Clone)]
pub struct HeldUnit {
    /// The worker whose attempt it is about.
    pub worker: WorkerName,
    /// The spec's name.
    pub spec: crate::model::SpecName,
    /// The unit's key.
    pub key: UnitKey,
    /// The unit's data as a reader sees it.
    pub data: RawData,
    /// Who holds the unit's live lease and until when; nobody if it has run out.
    pub holder: Option<(WorkerName, Timestamp)>,
}

/// How many units a spec has in each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitCounts {
    /// Can be claimed now.
    pub available: u64,
    /// Wait for their not-before time.
    pub delayed: u64,
    /// Leased.
    pub pending: u64,
    /// Finished, archived ones included.
    pub finished: u64,
    /// Failed, archived ones included.
    pub failed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_sort_as_units_run() {
        let ordered = [
            f64::MAX,
            3.5,
            1.0,
            f64::MIN_POSITIVE,
            0.0,
            -f64::MIN_POSITIVE,
            -7.0,
            f64::MIN,
        ];
        for pair in ordered.windows(2) {
            let ranks: Vec<_> = pair
                .iter()
                .map(|&p| Priority::new(p).unwrap().rank())
                .collect();
            assert!(ranks[0] < ranks[1], "{pair:?}");
        }
        assert_eq!(Priority::new(-0.0).unwrap().rank(), Priority::ZERO.rank());
        assert!(Priority::new(f64::NAN).is_none() && Priority::new(f64::INFINITY).is_none());
        assert_eq!(
            Priority::new(f64::MAX).unwrap().adjusted(f64::MAX).get(),
            f64::MAX
        );
    }

    #[test]
    fn state_numbers_select_statuses_and_unknown_ones_none() {
        let available = StatusSet::NONE.with_wire(1);
        assert!(
            available.contains(UnitStatus::Available) && available.contains(UnitStatus::Delayed)
        );
        assert_eq!(StatusSet::NONE.with_wire(2).with_wire(77), StatusSet::NONE);
        let all = [1, 3, 4, 5]
            .into_iter()
            .fold(StatusSet::NONE, StatusSet::with_wire);
        assert_eq!(all, StatusSet::ALL);
    }
}
