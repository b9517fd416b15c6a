//! Taking units away: deleted, or archived because retention says so.

use super::{shard::Shard, unit::Slot, units::Units};
use crate::{
    clock::Timestamp,
    limits::FREE_UNITS_MAX,
    model::{StatusSet, UnitKey},
};

/// Frees units that nobody can find any more. Many are freed in a thread of their
/// own, because ten million take seconds that a runtime thread does not have.
pub(super) fn free(units: Units) {
    if units.len() > FREE_UNITS_MAX {
        let thread = std::thread::Builder::new().name("free units".to_owned());
        // If there can be no thread, the units are freed here and now.
        let _ = thread.spawn(move || drop(units));
    }
}

/// What a step of deleting by status did.
pub(super) struct Deleted {
    /// How many units were deleted.
    pub(super) count: usize,
    /// The last key; `None` if there is nothing more to delete.
    pub(super) last: Option<UnitKey>,
}

impl Shard {
    /// Takes everything out, the counts of archived units too.
    pub(super) fn take_all(&mut self) -> Units {
        (self.archived_finished, self.archived_failed) = (0, 0);
        self.units.take()
    }

    /// Deletes the unit of this key, if it is in one of the statuses.
    pub(super) fn delete(&mut self, now: Timestamp, key: &[u8], statuses: StatusSet) -> bool {
        let slot = self.units.find(key);
        let slot = slot.filter(|&slot| self.is_in(now, slot, statuses));
        slot.map(|slot| self.units.remove(slot)).is_some()
    }

    /// Deletes up to `max` units in these statuses whose keys come after `after`.
    pub(super) fn delete_some(
        &mut self,
        now: Timestamp,
        statuses: StatusSet,
        after: Option<&[u8]>,
        max: usize,
    ) -> Deleted {
        self.catch_up(now);
        let slots: Vec<Slot> = self.matching(now, statuses, after).take(max).collect();
        let (count, mut last) = (slots.len(), None);
        for slot in slots {
            last = Some(self.units.remove(slot).key);
        }
        if count < max {
            last = None;
        }
        Deleted { count, last }
    }

    /// Removes up to `max` finished and failed units that are not kept any longer,
    /// the oldest first; says how many. They stay in the counts.
    pub(super) fn archive(&mut self, now: Timestamp, max: usize) -> usize {
        let mut archived = 0;
        while archived < max
            && let Some((slot, list)) = self.first_unkept(now)
        {
            self.units.remove(slot);
            match list {
                0 => self.archived_finished += 1,
                _ => self.archived_failed += 1,
            }
            archived += 1;
        }
        archived
    }

    /// The oldest finished (0) or failed (1) unit, if it is one too many or too old.
    fn first_unkept(&self, now: Timestamp) -> Option<(Slot, usize)> {
        let by_time = self.units.index().completed.as_ref()?;
        let kept_count = self.retention.completed_count.unwrap_or(u64::MAX);
        let kept_age = self.retention.completed_age;
        by_time.iter().enumerate().find_map(|(list, completed)| {
            let &(ended, slot) = completed.first()?;
            let too_many = completed.len() as u64 > kept_count;
            let too_old = kept_age.is_some_and(|age| ended.after(age) < now);
            (too_many || too_old).then_some((slot, list))
        })
    }
}
