//! Changing one unit, if it still is as the change was decided on.

use super::{
    shard::Shard,
    unit::{ANY_TIME, Attempt, Ended, Slot, Unit},
};
use crate::{
    backend::{Conflict, UnitChange},
    clock::Timestamp,
    limits::LEASE_DEFAULT,
    model::{Effect, Outcome, Phase, Priority, RawData, SpecOptions, UnitStatus, WorkerName},
};

/// Whether the change ends in a finished unit, whose output is chained.
pub(super) fn finishes(effect: &Effect) -> bool {
    matches!(effect, Effect::Finish | Effect::Start(Outcome::Finished))
}

impl Shard {
    /// Makes the change, all but the chaining of output. The shard was
    /// [caught up](Shard::catch_up) with `now`.
    ///
    /// # Errors
    /// [`Conflict`], and then nothing was changed.
    pub(super) fn change(
        &mut self,
        now: Timestamp,
        change: &UnitChange,
        options: &SpecOptions,
    ) -> Result<Slot, Conflict> {
        let slot = self.changed_slot(change)?;
        let (unit, data) = (self.units.get(slot), change.data.clone());
        let is_full = options.max_running > 0 && self.pending() >= options.max_running;
        match change.effect {
            Effect::Prepare { delay } => self.units.update(slot, |unit| {
                if let Some(data) = data {
                    unit.data = data;
                }
                if !delay.is_zero() {
                    unit.not_before = now.after(delay);
                }
                unit.release(now);
            }),
            Effect::Start(outcome) => {
                let (ends, status) = match outcome {
                    Outcome::Pending(_) if is_full => return Err(Conflict::Full),
                    Outcome::Pending(lease) => (now.after(lease), UnitStatus::Pending),
                    Outcome::Finished => (now, UnitStatus::Finished),
                    Outcome::Failed => (now, UnitStatus::Failed),
                };
                let attempt = Attempt {
                    id: self.next_attempt(now),
                    worker: self.starting_worker(change),
                    started: now,
                    ends,
                    data,
                };
                self.units.update(slot, |unit| unit.begin(attempt, status));
            }
            Effect::Renew { lease } => {
                let has_ended = unit.status != UnitStatus::Pending;
                if has_ended && is_full {
                    return Err(Conflict::Full);
                }
                let lease = lease.or(has_ended.then_some(LEASE_DEFAULT));
                self.units.update(slot, |unit| {
                    unit.status = UnitStatus::Pending;
                    let attempt = unit.current_mut();
                    if let Some(lease) = lease {
                        attempt.ends = now.after(lease);
                    }
                    attempt.data = data.or(attempt.data.take());
                });
            }
            Effect::Clear { delay } => self.units.update(slot, |unit| {
                clear(unit, now, !delay.is_zero(), data);
                unit.not_before = if delay.is_zero() {
                    ANY_TIME
                } else {
                    now.after(delay)
                };
                unit.release(now);
            }),
            Effect::Finish => self.end(now, slot, UnitStatus::Finished, data),
            Effect::Fail => self.end(now, slot, UnitStatus::Failed, data),
        }
        Ok(slot)
    }

    /// What a change that [`finishes`] leaves as the unit's data, and the priority that
    /// chained units inherit.
    ///
    /// # Errors
    /// [`Conflict`] if the change could not be made.
    pub(super) fn outcome(&self, change: &UnitChange) -> Result<(RawData, Priority), Conflict> {
        let unit = self.units.get(self.changed_slot(change)?);
        let data = change.data.as_ref().unwrap_or(unit.effective_data());
        Ok((data.clone(), unit.priority))
    }

    fn changed_slot(&self, change: &UnitChange) -> Result<Slot, Conflict> {
        let slot = self.units.resolve(change.unit).ok_or(Conflict::Gone)?;
        let unit = self.units.get(slot);
        let attempt = unit.current().map(|attempt| attempt.id);
        if unit.phase() != change.phase || attempt != change.attempt {
            return Err(Conflict::Changed);
        }
        // An effect that the table does not allow would break what the unit promises.
        let is_allowed = match change.effect {
            Effect::Prepare { .. } | Effect::Start(_) => change.phase == Phase::Idle,
            Effect::Renew { .. } | Effect::Fail => change.phase == Phase::Open,
            Effect::Clear { .. } => change.phase != Phase::Idle,
            Effect::Finish => matches!(change.phase, Phase::Open | Phase::Failed),
        };
        assert!(
            is_allowed,
            "{:?} of a unit that is {:?}",
            change.effect, change.phase
        );
        Ok(slot)
    }

    fn starting_worker(&mut self, change: &UnitChange) -> WorkerName {
        match &change.worker {
            Some(worker) => self.workers.share(worker),
            None => WorkerName::new("").expect("short"),
        }
    }

    fn end(&mut self, now: Timestamp, slot: Slot, status: UnitStatus, data: Option<RawData>) {
        self.units.update(slot, |unit| {
            unit.status = status;
            let attempt = unit.current_mut();
            attempt.ends = now;
            attempt.data = data.or(attempt.data.take());
        });
    }
}

/// Moves the current attempt to the history. Data that came with it stays with it
/// there, unless it had ended before with data of its own.
fn clear(unit: &mut Unit, now: Timestamp, retry: bool, data: Option<RawData>) {
    let status = unit.status;
    let attempt = unit.current_mut();
    let ends = attempt.ends;
    let (how, ended) = match status {
        UnitStatus::Finished => (Ended::Finished, ends),
        UnitStatus::Failed => (Ended::Failed, ends),
        UnitStatus::Pending if retry => (Ended::Retryable, now),
        UnitStatus::Pending => (Ended::Expired, now),
        UnitStatus::Available | UnitStatus::Delayed => (Ended::Expired, ends),
    };
    if matches!(how, Ended::Expired | Ended::Retryable) {
        attempt.data = data.or(attempt.data.take());
    }
    unit.end(how, ended, false);
}
