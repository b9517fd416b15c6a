//! Showing units. Replies are made of copies that share their bytes with the units,
//! so nothing is read from a shard after its lock is gone.

use std::ops::Bound;

use super::{
    shard::Shard,
    unit::{PastAttempt, Slot},
};
use crate::{
    backend::UnitPage,
    clock::Timestamp,
    model::{
        AttemptId, HeldUnit, PriorityChange, SpecName, StatusSet, Unit, UnitStatus, WorkerName,
    },
};

/// The list of [`Index::lists`](super::index::Index) that units of a status are in.
const LISTS: [&[UnitStatus]; 4] = [
    &[UnitStatus::Available, UnitStatus::Delayed],
    &[UnitStatus::Pending],
    &[UnitStatus::Finished],
    &[UnitStatus::Failed],
];

impl Shard {
    /// The unit of this key. The shard was caught up with `now`.
    pub(super) fn unit(&self, now: Timestamp, key: &[u8]) -> Option<Unit> {
        let slot = self.units.find(key)?;
        Some(self.units.get(slot).view(now))
    }

    /// [`Backend::page_units`](crate::backend::Backend::page_units), at a cost of
    /// O(log n) for each unit that is shown.
    pub(super) fn page(&mut self, now: Timestamp, page: &UnitPage<'_>) -> Vec<Unit> {
        self.catch_up(now);
        let matching = self.matching(now, page.statuses, page.after);
        matching
            .take(page.limit)
            .map(|slot| self.units.get(slot).view(now))
            .collect()
    }

    /// The units in these statuses whose keys come after `after`, in the order of
    /// their keys. The shard was caught up with `now`.
    pub(super) fn matching(
        &self,
        now: Timestamp,
        statuses: StatusSet,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Slot> {
        let lists = self.units.index().lists.iter().zip(LISTS);
        let mut sources: Vec<_> = lists
            .filter(|(_, listed)| listed.iter().any(|&status| statuses.contains(status)))
            .map(|(list, _)| {
                let start = after.map_or(Bound::Unbounded, Bound::Excluded);
                list.range::<[u8], _>((start, Bound::Unbounded)).peekable()
            })
            .collect();
        let merged = std::iter::from_fn(move || {
            let heads = sources.iter_mut().enumerate();
            let heads = heads.filter_map(|(i, source)| Some((source.peek()?.0, i)));
            let (_, first) = heads.min()?;
            let (_, &slot) = sources[first].next()?;
            Some(slot)
        });
        merged.filter(move |&slot| self.is_in(now, slot, statuses))
    }

    /// Whether the unit is in one of the statuses.
    pub(super) fn is_in(&self, now: Timestamp, slot: Slot, statuses: StatusSet) -> bool {
        statuses.contains(self.units.get(slot).status_at(now))
    }

    /// The units that these workers' attempts are on, appended in the order of their
    /// keys.
    pub(super) fn held(
        &mut self,
        now: Timestamp,
        spec: &SpecName,
        workers: &[WorkerName],
        held: &mut Vec<HeldUnit>,
    ) {
        self.catch_up(now);
        let start = held.len();
        for worker in workers {
            let (first, last) = (AttemptId::new(0), AttemptId::new(u64::MAX));
            let attempts = (worker.clone(), first)..=(worker.clone(), last);
            let mut slots: Vec<Slot> = self
                .units
                .index()
                .open
                .range(attempts)
                .map(|o| *o.1)
                .collect();
            // A worker may have let a lease run out and claimed the unit again.
            slots.sort_unstable();
            slots.dedup();
            for slot in slots {
                let unit = self.units.get(slot);
                let holder = unit
                    .current()
                    .filter(|_| unit.status == UnitStatus::Pending);
                held.push(HeldUnit {
                    worker: worker.clone(),
                    spec: spec.clone(),
                    key: unit.key.clone(),
                    data: unit.effective_data().clone(),
                    holder: holder.map(|attempt| (attempt.worker.clone(), attempt.ends)),
                });
            }
        }
        held[start..].sort_by(|a, b| (&a.key, &a.worker).cmp(&(&b.key, &b.worker)));
    }

    /// Attempts of a unit that are over, oldest first.
    pub(super) fn history(&self, key: &[u8]) -> Option<Vec<PastAttempt>> {
        let slot = self.units.find(key)?;
        Some(self.units.get(slot).history().cloned().collect())
    }

    /// Changes the priority of a unit, if there is one.
    pub(super) fn prioritize(&mut self, key: &[u8], change: PriorityChange) {
        if let Some(slot) = self.units.find(key) {
            self.units
                .update(slot, |unit| unit.priority = change.apply(unit.priority));
        }
    }
}
