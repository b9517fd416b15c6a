//! Adding units.

use super::{
    shard::Shard,
    unit::{ANY_TIME, Ended, Unit},
};
use crate::{
    clock::Timestamp,
    model::{NewUnit, UnitStatus},
};

impl Shard {
    /// Adds a unit, or replaces the one of its key as semantics.md §3 says: a unit
    /// that is finished or failed becomes available again, any other keeps its state.
    pub(super) fn put(&mut self, now: Timestamp, new: &NewUnit) {
        let not_before = if new.delay.is_zero() {
            ANY_TIME
        } else {
            now.after(new.delay)
        };
        match self.units.find(new.key.as_bytes()) {
            None => {
                let mut unit = Unit::new(new.key.clone(), new.data.clone(), new.priority);
                unit.not_before = not_before;
                unit.release(now);
                self.units.insert(unit);
            }
            Some(slot) => {
                self.units.update(slot, |unit| {
                    unit.data = new.data.clone();
                    unit.priority = new.priority;
                    unit.not_before = not_before;
                    let ended = unit.current().map(|attempt| attempt.ends);
                    match (unit.status, ended) {
                        (UnitStatus::Pending, _) => return,
                        (UnitStatus::Finished, Some(at)) => unit.end(Ended::Finished, at, false),
                        (UnitStatus::Failed, Some(at)) => unit.end(Ended::Failed, at, false),
                        _ => {}
                    }
                    unit.release(now);
                });
            }
        }
    }
}
