//! What the scheduler and the background look at: which specs may hand something
//! out, what is due, and what is kept no longer.

use std::sync::Arc;

use super::{
    Memory,
    directory::{Entry, lock},
};
use crate::{
    backend::{Board, Candidate, Result, Swept},
    clock::Timestamp,
    model::NamespaceId,
};

impl Memory {
    /// [`Backend::board`](crate::backend::Backend::board). Locks only specs in which
    /// something has become due.
    pub(super) fn make_board(&self, now: Timestamp, namespace: NamespaceId) -> Result<Board> {
        let namespace = self.namespace_by_id(namespace)?;
        let mut board = Board::default();
        let mut due = Vec::new();
        for entry in namespace.specs.get().values() {
            if entry.next_due() <= now {
                due.push(Arc::clone(entry));
            } else {
                board.candidates.extend(candidate(now, entry));
            }
        }
        // A spec that is busy must not hold up the directory, so they wait their turn.
        for entry in due {
            if let Ok(mut shard) = entry.lock() {
                shard.catch_up(now);
            }
            board.candidates.extend(candidate(now, &entry));
        }
        Ok(board)
    }

    /// [`Backend::sweep`](crate::backend::Backend::sweep).
    pub(super) fn sweep_some(&self, now: Timestamp, steps_max: usize) -> Swept {
        let mut swept = Swept::default();
        let mut steps = steps_max.max(1);
        for entry in self.entries() {
            let became_available = self.sweep_spec(now, &entry, &mut steps, &mut swept.more);
            if became_available > 0 {
                let told = (entry.namespace, entry.id, became_available);
                swept.available.push(told);
            }
        }
        for namespace in self.namespaces.get().all() {
            lock(&namespace.workers).expire(now);
            lock(&namespace.locks).expire(now);
        }
        swept
    }

    /// Works off what is due in one spec; says how many units became available since
    /// the last time.
    fn sweep_spec(
        &self,
        now: Timestamp,
        entry: &Entry,
        steps: &mut usize,
        more: &mut bool,
    ) -> usize {
        let may_make = entry
            .continuous_from(&entry.meta().options)
            .is_some_and(|at| at <= now);
        let is_due = entry.next_due() <= now || entry.has_untold();
        if !is_due && !self.archives() && (!may_make || entry.told_continuous()) {
            return 0;
        }
        let Ok(mut shard) = entry.lock() else {
            return 0; // deleted meanwhile
        };
        *steps -= shard.end_leases(now, *steps);
        *steps -= shard.end_delays(now, *steps);
        *steps -= shard.archive(now, *steps);
        *more |= shard.units.next_due() <= now || (*steps == 0 && self.archives());
        let mut told = std::mem::take(&mut shard.untold);
        let from = shard.next_continuous.unwrap_or(Timestamp::EPOCH);
        if may_make && shard.is_idle() && from <= now && !entry.told_continuous() {
            shard.tell_continuous();
            told += 1;
        }
        told
    }

    /// [`Backend::next_due`](crate::backend::Backend::next_due). An instant that has
    /// passed means that `sweep` has something to tell.
    pub(super) fn earliest_due(&self) -> Option<Timestamp> {
        let due = self.entries().into_iter().map(|entry| {
            if entry.has_untold() {
                return Timestamp::EPOCH;
            }
            let continuous = entry.continuous_from(&entry.meta().options);
            let continuous = continuous.filter(|_| !entry.told_continuous());
            let due = entry.next_due();
            continuous.map_or(due, |from| from.min(due))
        });
        due.min().filter(|&due| due < Timestamp::MAX)
    }
}

/// The spec as the scheduler sees it, if there is something it could hand out.
fn candidate(now: Timestamp, entry: &Entry) -> Option<Candidate> {
    // Most specs have nothing, and that is cheap to see.
    if !entry.has_available() && !entry.is_idle() {
        return None;
    }
    let meta = entry.meta();
    let options = &meta.options;
    let pending = entry.pending();
    let has_room = options.max_running == 0 || pending < options.max_running;
    let may_make = || entry.continuous_from(options).is_some_and(|at| at <= now);
    if options.paused || !has_room || !(entry.has_available() || may_make()) {
        return None;
    }
    Some(Candidate {
        spec: entry.id,
        name: entry.name.clone(),
        options: Arc::clone(options),
        pending,
    })
}
