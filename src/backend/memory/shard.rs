//! One spec's units and everything that must change together with them.
//!
//! What is done to a shard is in a file for each kind of thing: [`put`](super::put),
//! [`claim`](super::claim), [`change`](super::change), [`list`](super::list) and
//! [`remove`](super::remove). All of it is synchronous and a function of the shard
//! and the time that is passed in.
//!
//! # Time
//!
//! There are no timers. What depends on time begins with [`Shard::catch_up`], which
//! brings the shard to where it would be if someone had looked at every instant, so
//! results depend on `now` alone and never on when [`sweep`](super::upkeep) came by.
//! With one exception that no client can see: of very many delays that end together
//! only some are worked off at once. A unit whose delay has ended but that is still
//! in `delayed` counts under the same number as an available one, is listed as
//! available, and is claimed as soon as the queue has nothing better that was moved
//! before it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{recent::RecentWorkers, unit::Slot, units::Units};
use crate::{
    backend::{ActiveAttempt, Retention},
    clock::Timestamp,
    limits::DELAY_BATCH_MAX,
    model::{AttemptId, UnitCounts, UnitStatus},
};

/// One spec, as far as it is behind a lock.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) units: Units,
    pub(super) retention: Retention,
    /// Finished units that were archived; they stay in the counts.
    pub(super) archived_finished: u64,
    /// Failed units that were archived.
    pub(super) archived_failed: u64,
    /// When the next continuous unit may be made.
    pub(super) next_continuous: Option<Timestamp>,
    /// Units that became available because their time came, and of which
    /// `sweep` has not told.
    pub(super) untold: usize,
    /// The spec is deleted: whoever still has the shard must not use it.
    pub(super) deleted: bool,
    pub(super) workers: RecentWorkers,
    /// The id of the latest attempt of any spec; 0 if there was none.
    attempts: Arc<AtomicU64>,
}

impl Shard {
    pub(super) fn new(retention: Retention, attempts: Arc<AtomicU64>) -> Shard {
        Shard {
            units: Units::new(&retention),
            retention,
            archived_finished: 0,
            archived_failed: 0,
            next_continuous: None,
            untold: 0,
            deleted: false,
            workers: RecentWorkers::default(),
            attempts,
        }
    }

    /// The id of a new attempt. The first is the time in microseconds, so that a
    /// worker that outlives the daemon does not find its attempt's id in use by the
    /// next one.
    pub(super) fn next_attempt(&self, now: Timestamp) -> AttemptId {
        if self.attempts.load(Ordering::Relaxed) == 0 {
            let first = u64::try_from(now.as_micros()).unwrap_or_default();
            // If another was faster, its number is as good.
            let _ = self
                .attempts
                .compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
        }
        AttemptId::new(self.attempts.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Ends what has ended by `now`: all leases, because each was paid for by a claim
    /// and counts must be exact, and up to [`DELAY_BATCH_MAX`] delays.
    pub(super) fn catch_up(&mut self, now: Timestamp) {
        self.end_leases(now, usize::MAX);
        self.end_delays(now, DELAY_BATCH_MAX);
    }

    /// Ends up to `max` leases that ended before `now`; says how many.
    pub(super) fn end_leases(&mut self, now: Timestamp, max: usize) -> usize {
        let mut ended = 0;
        while ended < max
            && let Some(slot) = self.units.first_ended(now)
        {
            self.release(slot, now);
            ended += 1;
        }
        ended
    }

    /// Ends up to `max` delays that ended by `now`; says how many.
    pub(super) fn end_delays(&mut self, now: Timestamp, max: usize) -> usize {
        let mut ended = 0;
        while ended < max
            && let Some(slot) = self.units.first_due(now)
        {
            self.release(slot, now);
            ended += 1;
        }
        ended
    }

    fn release(&mut self, slot: Slot, now: Timestamp) {
        let status = self.units.update(slot, |unit| {
            unit.release(now);
            unit.status
        });
        self.untold += usize::from(status == UnitStatus::Available);
    }

    /// The attempts that units answer to. It does not depend on time.
    pub(super) fn active(&self, key: &[u8]) -> Option<ActiveAttempt> {
        let slot = self.units.find(key)?;
        Some(self.units.get(slot).active(self.units.id(slot)))
    }

    pub(super) fn count(&mut self, now: Timestamp) -> UnitCounts {
        self.catch_up(now);
        let index = self.units.index();
        let [_, _, finished, failed] = index.lists.each_ref().map(|list| list.len() as u64);
        UnitCounts {
            available: index.ready.len() as u64,
            delayed: index.delayed.len() as u64,
            pending: index.leases.len() as u64,
            finished: finished + self.archived_finished,
            failed: failed + self.archived_failed,
        }
    }

    /// How many units are leased. Exact after [`catch_up`](Shard::catch_up).
    pub(super) fn pending(&self) -> u64 {
        self.units.index().leases.len() as u64
    }

    /// Whether no unit is available, delayed or pending.
    pub(super) fn is_idle(&self) -> bool {
        let [idle, pending, ..] = &self.units.index().lists;
        idle.is_empty() && pending.is_empty()
    }
}
