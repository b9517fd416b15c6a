//! What the daemon needs from storage.
//!
//! A [`Backend`] speaks ids of work specs and units, not names: turning a name into
//! an id is the cache's work. Workers have no ids, because nothing is found through
//! them that is not found by their name. Every method is one atomic step unless it
//! says otherwise, and takes the time it should believe: whatever is over by `now`
//! counts as over, whether or not anyone has looked at it since. Leases, workers and
//! locks still hold at their deadline and are over after it; a delay is over at its end.

pub mod memory;
pub mod postgres;

mod error;
mod hints;
mod types;

use std::{future::Future, sync::Arc};

pub use error::{Conflict, Error, Kind, Result};
pub use hints::{Hinted, Hints};
pub use types::{
    ActiveAttempt, Board, Candidate, Changed, Claim, Claims, LockConflict, LockRequest, Registered,
    Retention, Spec, SupervisedAttempt, Swept, UnitChange, UnitPage, UnitSelection,
    WorkerSelection,
};

use crate::{
    clock::Timestamp,
    model::{
        Heartbeat, HeldUnit, LockPath, NamespaceId, NamespaceName, NewSpec, NewUnit,
        PriorityChange, SpecChange, SpecId, Unit, UnitCounts, Worker, WorkerName,
    },
};

/// Storage for specs, units, attempts, workers and locks.
pub trait Backend: Send + Sync + 'static {
    // Names.

    /// The namespace of this name, made if it is new.
    fn namespace(&self, name: &NamespaceName) -> impl Future<Output = Result<NamespaceId>> + Send;

    /// Looks a spec up by name. `None` if there is none.
    fn find_spec(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> impl Future<Output = Result<Option<SpecId>>> + Send;

    /// Finds the attempts that units answer to, in the order of `keys`; `None` where
    /// there is no unit.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    fn active_attempts(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> impl Future<Output = Result<Vec<Option<ActiveAttempt>>>> + Send;

    /// As [`active_attempts`](Backend::active_attempts), each with the parent that its
    /// worker has.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    fn supervised_attempts(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> impl Future<Output = Result<Vec<Option<SupervisedAttempt>>>> + Send {
        async move {
            let mut found = Vec::with_capacity(keys.len());
            for active in self.active_attempts(now, spec, keys).await? {
                let mut supervised = active.map(SupervisedAttempt::from);
                if let Some(SupervisedAttempt { active, parent }) = &mut supervised
                    && let Some((_, worker)) = &active.attempt
                {
                    let worker = self.worker(now, namespace, worker).await?;
                    *parent = worker.and_then(|worker| worker.parent);
                }
                found.push(supervised);
            }
            Ok(found)
        }
    }

    // Work specs.

    /// Makes the spec, or replaces the definition of the one of that name and resets
    /// its options to it, all but the time of the next continuous unit.
    fn put_spec(
        &self,
        namespace: NamespaceId,
        spec: &NewSpec,
    ) -> impl Future<Output = Result<SpecId>> + Send;

    /// The spec.
    ///
    /// # Errors
    /// [`Error::Gone`] if it was deleted.
    fn spec(&self, spec: SpecId) -> impl Future<Output = Result<Spec>> + Send;

    /// Up to `limit` specs from the name `start` on, in the order of their names.
    fn specs(
        &self,
        namespace: NamespaceId,
        start: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Spec>>> + Send;

    /// Changes a spec's options, all of `change` or nothing. `false`, and nothing
    /// changed, if it would be continuous and its definition does not allow that.
    ///
    /// # Errors
    /// [`Error::Gone`] if it was deleted.
    fn change_spec(
        &self,
        now: Timestamp,
        spec: SpecId,
        change: &SpecChange,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Deletes the spec and everything in it.
    ///
    /// # Errors
    /// [`Error::Gone`] if it was deleted already.
    fn delete_spec(&self, spec: SpecId) -> impl Future<Output = Result<()>> + Send;

    /// Deletes every spec of the namespace; says how many.
    fn delete_specs(&self, namespace: NamespaceId) -> impl Future<Output = Result<u64>> + Send;

    /// What the scheduler looks at. Costs O(specs), never O(units).
    fn board(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
    ) -> impl Future<Output = Result<Board>> + Send;

    // Work units.

    /// Adds units, all or none. A unit whose key exists is replaced as semantics.md §3
    /// says; of several with one key the last counts.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    fn put_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        units: &[NewUnit],
    ) -> impl Future<Output = Result<()>> + Send;

    /// The units of these keys, in order; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    fn units(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> impl Future<Output = Result<Vec<Option<Unit>>>> + Send;

    /// A page of the spec's units in the order of their keys, the earliest that
    /// match.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    fn page_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        page: UnitPage<'_>,
    ) -> impl Future<Output = Result<Vec<Unit>>> + Send;

    /// Counts the spec's units by status, without visiting them.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    fn count_units(
        &self,
        now: Timestamp,
        spec: SpecId,
    ) -> impl Future<Output = Result<UnitCounts>> + Send;

    /// Changes the priority of the units of these keys; unknown keys are passed over.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    fn prioritize_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
        change: PriorityChange,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Deletes units; says how many. A selection by status is not one atomic step:
    /// it may be worked off in several, between which other calls see part of it.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    fn delete_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        selection: UnitSelection<'_>,
    ) -> impl Future<Output = Result<u64>> + Send;

    /// Removes the finished and failed units that the retention settings no longer
    /// keep, of the named specs or of all; they stay in the counts. Names that are
    /// no spec are passed over.
    fn archive(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        specs: Option<&[&str]>,
    ) -> impl Future<Output = Result<()>> + Send;

    // Attempts.

    /// Leases units of one spec, highest priority first, then lowest key, as
    /// semantics.md §4 steps 4 and 5 and §5 say: as many as `claim` and the spec's
    /// `max_getwork` and `max_running` allow, at most
    /// [`CLAIM_UNITS_MAX`](crate::limits::CLAIM_UNITS_MAX) and, beyond the first,
    /// [`CLAIM_BYTES_MAX`](crate::limits::CLAIM_BYTES_MAX) of data. Makes the unit of
    /// a continuous spec if one is due. No two calls, on this or any other daemon,
    /// get the same unit until its lease has ended. Nothing if the spec is paused, is
    /// full or has nothing.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    fn claim(&self, now: Timestamp, claim: &Claim) -> impl Future<Output = Result<Claims>> + Send;

    /// Makes each change whose unit still is as it was decided on, in order, and says
    /// for each what came of it. One change never affects another, and each is one
    /// atomic step, a finish with its chained units included.
    ///
    /// # Errors
    /// Per change: [`Conflict`]. For the call: [`Error::Gone`] if the spec was
    /// deleted; [`Error::Unavailable`], and then any of them may have happened.
    fn change_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        changes: Vec<UnitChange>,
    ) -> impl Future<Output = Result<Vec<Result<Changed, Conflict>>>> + Send;

    /// The units that these workers' attempts are on, as `get_child_work_units`
    /// says: until the attempt is finished, failed or cleared, also after its lease
    /// has run out or another worker has claimed the unit (as long as the unit's
    /// history remembers the attempt).
    fn held_units(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        workers: &[WorkerName],
    ) -> impl Future<Output = Result<Vec<HeldUnit>>> + Send;

    // Workers.

    /// Registers or refreshes a worker.
    fn heartbeat(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        beat: &Heartbeat,
    ) -> impl Future<Output = Result<Registered>> + Send;

    /// Forgets a worker; `false` if there was no live one of that name.
    fn unregister(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &WorkerName,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// The live worker of this name.
    fn worker(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &WorkerName,
    ) -> impl Future<Output = Result<Option<Worker>>> + Send;

    /// Live workers, in the order of their names.
    fn workers(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        which: WorkerSelection<'_>,
    ) -> impl Future<Output = Result<Vec<Worker>>> + Send;

    // Locks (semantics.md §9).

    /// Locks all the paths, or none and says which could not be had, first in order.
    fn lock(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> impl Future<Output = Result<Result<(), LockConflict>>> + Send;

    /// Locks those of the paths that can be had, in order, and says for each whether
    /// it was.
    fn lock_some(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> impl Future<Output = Result<Vec<bool>>> + Send;

    /// Moves the deadlines of locks the owner holds, of all the paths or none.
    fn renew_locks(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> impl Future<Output = Result<Result<(), LockConflict>>> + Send;

    /// Gives up locks the owner holds, all the paths or none.
    fn unlock(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        owner: &WorkerName,
        paths: &[LockPath],
    ) -> impl Future<Output = Result<Result<(), LockConflict>>> + Send;

    /// Who holds each of the paths itself, not an ancestor or a descendant.
    fn lock_owners(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        paths: &[LockPath],
    ) -> impl Future<Output = Result<Vec<Option<WorkerName>>>> + Send;

    /// Drops every lock at or below the path, whoever holds it.
    fn drop_locks(
        &self,
        namespace: NamespaceId,
        below: &LockPath,
    ) -> impl Future<Output = Result<()>> + Send;

    // Upkeep.

    /// Works off what is due by `now` (leases, delays, workers, locks, retention), at
    /// most about `steps_max` steps of it. How late it is called changes no result;
    /// it bounds memory and finds units that waiting workers should hear of.
    fn sweep(&self, now: Timestamp, steps_max: usize)
    -> impl Future<Output = Result<Swept>> + Send;

    /// The next instant at which something becomes available without a call that makes
    /// it so: a delay ends, a lease has ended (just after its deadline, at which it
    /// still holds), a continuous unit is due. One that has passed means that
    /// [`sweep`](Backend::sweep) has something to tell.
    fn next_due(&self) -> impl Future<Output = Result<Option<Timestamp>>> + Send;

    // Other daemons on the same storage.

    /// Tells the other daemons that something may have become available in the namespace,
    /// some time soon: a hint that may be lost. Costs nothing where there are no others.
    fn announce(&self, _namespace: NamespaceId) {}

    /// Tells the other daemons that something becomes available by itself at `at`, as
    /// [`next_due`](Backend::next_due) says: a hint like that of
    /// [`announce`](Backend::announce).
    fn announce_due(&self, _at: Timestamp) {}

    /// What the other daemons announce. `None` if there can be no others.
    fn hints(&self) -> Option<Arc<Hints>> {
        None
    }
}
