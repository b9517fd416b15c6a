//! A unit as it is stored, and the attempts it has had.
//!
//! Small on purpose: there are tens of millions. What only attempted units have is
//! in a box of its own, and what few units have (more than one attempt) in another.

use std::collections::VecDeque;

use crate::{
    backend::ActiveAttempt,
    clock::Timestamp,
    model::{
        AttemptId, CurrentAttempt, Phase, Priority, RawData, Unit as UnitView, UnitId, UnitKey,
        UnitStatus, WorkerName,
    },
};

/// Where a unit is in the arena.
pub(super) type Slot = u32;

/// The not-before time of a unit that may be claimed at any time.
pub(super) const ANY_TIME: Timestamp = Timestamp::from_micros(i64::MIN);

/// One work unit.
///
/// **Invariant:** a pending, finished or failed unit has a current attempt. An
/// available or delayed one has a current attempt exactly if that attempt's lease
/// ran out and nobody has claimed the unit since.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) key: UnitKey,
    pub(super) data: RawData,
    pub(super) priority: Priority,
    /// Not claimed before this.
    pub(super) not_before: Timestamp,
    /// `None` if it was never attempted.
    pub(super) attempts: Option<Box<Attempts>>,
    /// Which unit of its slot this is; set by the arena.
    pub(super) generation: u32,
    pub(super) status: UnitStatus,
}

/// The attempts of a unit, of which there was at least one.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    current: Option<Attempt>,
    /// Those that are over; `None` if none is.
    history: Option<Box<History>>,
}

/// The attempts of a unit that are over.
#[derive(Debug, Default)]
struct History {
    /// Oldest first.
    past: VecDeque<PastAttempt>,
    /// How many were forgotten, so that their number stays exact.
    forgotten: u32,
}

/// The attempt that a unit answers to.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) worker: WorkerName,
    pub(super) started: Timestamp,
    /// The end of the lease, or when it finished or failed.
    pub(super) ends: Timestamp,
    /// Data of its own, which overrides the unit's.
    pub(super) data: Option<RawData>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its lease ran out, or it was given back.
    Expired,
    /// It was given back to be tried again later.
    Retryable,
    /// It succeeded.
    Finished,
    /// It failed.
    Failed,
}

/// An attempt that its unit no longer answers to.
#[derive(Debug, Clone)]
pub struct PastAttempt {
    /// Its id.
    pub id: AttemptId,
    /// Whose it was.
    pub worker: WorkerName,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The data it had of its own.
    pub data: Option<RawData>,
    /// How it ended.
    pub how: Ended,
    /// Whether its worker still counts as having the unit: another claim took the
    /// unit over, and nobody told the worker.
    pub(super) held: bool,
}

/// Where a unit stands in the indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Can be claimed; the rank of its priority.
    Ready(u64),
    /// Waits until then.
    Delayed(Timestamp),
    /// Leased until then.
    Leased(Timestamp),
    /// Finished then.
    Finished(Timestamp),
    /// Failed then.
    Failed(Timestamp),
}

impl Unit {
    pub(super) fn new(key: UnitKey, data: RawData, priority: Priority) -> Unit {
        Unit {
            key,
            data,
            priority,
            not_before: ANY_TIME,
            attempts: None,
            generation: 0,
            status: UnitStatus::Available,
        }
    }

    pub(super) fn current(&self) -> Option<&Attempt> {
        self.attempts.as_ref()?.current.as_ref()
    }

    /// The current attempt of a unit that is not idle.
    pub(super) fn current_mut(&mut self) -> &mut Attempt {
        let attempts = self.attempts.as_mut();
        attempts
            .and_then(|attempts| attempts.current.as_mut())
            .expect("a unit that is not idle has a current attempt")
    }

    /// Attempts that are over, oldest first.
    pub(super) fn history(&self) -> impl DoubleEndedIterator<Item = &PastAttempt> {
        let attempts = self.attempts.as_ref();
        let history = attempts.and_then(|attempts| attempts.history.as_ref());
        history.into_iter().flat_map(|history| history.past.iter())
    }

    /// Forgets the oldest attempt, if more than `keep` are over.
    pub(super) fn forget_attempt(&mut self, keep: usize) -> Option<PastAttempt> {
        let history = self.attempts.as_mut()?.history.as_mut()?;
        if history.past.len() <= keep {
            return None;
        }
        history.forgotten = history.forgotten.saturating_add(1);
        history.past.pop_front()
    }

    /// The attempt that counts as held by its worker: the current one, until it is
    /// finished or failed.
    pub(super) fn held(&self) -> Option<&Attempt> {
        self.current()
            .filter(|_| !matches!(self.status, UnitStatus::Finished | UnitStatus::Failed))
    }

    /// How many attempts it has had, forgotten ones included.
    pub(super) fn tries(&self) -> u32 {
        let Some(attempts) = &self.attempts else {
            return 0;
        };
        let over = attempts.history.as_ref().map_or(0, |history| {
            let past = u32::try_from(history.past.len()).unwrap_or(u32::MAX);
            history.forgotten.saturating_add(past)
        });
        over.saturating_add(u32::from(attempts.current.is_some()))
    }

    pub(super) fn place(&self) -> Place {
        let ends = || {
            self.current()
                .expect("a pending, finished or failed unit has an attempt")
                .ends
        };
        match self.status {
            UnitStatus::Available => Place::Ready(self.priority.rank()),
            UnitStatus::Delayed => Place::Delayed(self.not_before),
            UnitStatus::Pending => Place::Leased(ends()),
            UnitStatus::Finished => Place::Finished(ends()),
            UnitStatus::Failed => Place::Failed(ends()),
        }
    }

    /// Which updates are open to it.
    pub(super) fn phase(&self) -> Phase {
        match self.status {
            UnitStatus::Finished => Phase::Finished,
            UnitStatus::Failed => Phase::Failed,
            _ if self.current().is_some() => Phase::Open,
            _ => Phase::Idle,
        }
    }

    /// The status a reader sees.
    pub(super) fn status_at(&self, now: Timestamp) -> UnitStatus {
        match self.status {
            // Its time has come, and the queue just has not been caught up yet.
            UnitStatus::Delayed if self.not_before <= now => UnitStatus::Available,
            status => status,
        }
    }

    /// The data a reader sees: the current attempt's own, else the unit's.
    pub(super) fn effective_data(&self) -> &RawData {
        self.current()
            .and_then(|attempt| attempt.data.as_ref())
            .unwrap_or(&self.data)
    }

    /// Makes the unit available, or delayed if its not-before time lies ahead.
    pub(super) fn release(&mut self, now: Timestamp) {
        self.status = if self.not_before > now {
            UnitStatus::Delayed
        } else {
            UnitStatus::Available
        };
    }

    /// Gives the unit a new current attempt; one that it had is superseded.
    pub(super) fn begin(&mut self, attempt: Attempt, status: UnitStatus) {
        let superseded = self.current().map(|current| current.ends);
        if let Some(ended) = superseded {
            self.end(Ended::Expired, ended, true);
        }
        self.attempts.get_or_insert_default().current = Some(attempt);
        self.status = status;
    }

    /// Moves the current attempt to the history. The caller sets the status.
    pub(super) fn end(&mut self, how: Ended, ended: Timestamp, held: bool) {
        let attempts = self.attempts.as_mut().expect("the unit was attempted");
        let attempt = attempts.current.take().expect("a current attempt ends");
        let past = PastAttempt {
            id: attempt.id,
            worker: attempt.worker,
            started: attempt.started,
            ended,
            data: attempt.data,
            how,
            held,
        };
        let history = attempts.history.get_or_insert_default();
        if history.past.is_empty() {
            history.past.reserve_exact(1); // mostly the only one
        }
        history.past.push_back(past);
    }

    /// The unit as a reader sees it.
    pub(super) fn view(&self, now: Timestamp) -> UnitView {
        UnitView {
            key: self.key.clone(),
            data: self.effective_data().clone(),
            status: self.status_at(now),
            priority: self.priority,
            attempts: self.tries(),
            current: self.current().map(|attempt| CurrentAttempt {
                id: attempt.id,
                worker: attempt.worker.clone(),
                ends: attempt.ends,
            }),
        }
    }

    /// How the unit stands, for the cache.
    pub(super) fn active(&self, unit: UnitId) -> ActiveAttempt {
        ActiveAttempt {
            unit,
            phase: self.phase(),
            attempt: self
                .current()
                .map(|attempt| (attempt.id, attempt.worker.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_and_its_attempts_take_no_more_memory_than_they_are_allowed() {
        assert!(size_of::<Unit>() <= 48, "{}", size_of::<Unit>());
        assert!(size_of::<Attempts>() <= 48, "{}", size_of::<Attempts>());
        assert!(
            size_of::<PastAttempt>() <= 48,
            "{}",
            size_of::<PastAttempt>()
        );
    }
}
