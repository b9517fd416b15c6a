//! What the daemon needs from storage.
//!
//! A [`Backend`] speaks ids of work specs and units, not names: turning a name into
//! an id is the cache's work. Workers have no ids, because nothing is found through
//! them that is not found by their name. Every method is one atomic step unless it
//! says otherwise, and takes the time it should believe: whatever is due by `now`
//! (a lease, a delay, a worker, a lock) counts as over, whether or not anyone has
//! looked at it since.

pub mod memory;

mod error;

use std::{future::Future, sync::Arc, time::Duration};

pub use error::{Conflict, Error, Kind, Result};

use crate::{
    clock::Timestamp,
    model::{
        AttemptId, Claimed, Effect, Heartbeat, HeldUnit, LockPath, NamespaceId, NamespaceName,
        NewSpec, NewUnit, Phase, PriorityChange, RawData, SpecChange, SpecId, SpecName,
        SpecOptions, StatusSet, Unit, UnitCounts, UnitId, Worker, WorkerName,
    },
};

/// A work spec as it is stored.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its id.
    pub id: SpecId,
    /// Its name.
    pub name: SpecName,
    /// The map it was set to.
    pub definition: RawData,
    /// The metadata derived from the definition and changed since.
    pub options: Arc<SpecOptions>,
    /// When the next continuous unit may be made; `None` if none was made yet.
    pub next_continuous: Option<Timestamp>,
}

/// A work spec that may have something to hand out.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The spec.
    pub spec: SpecId,
    /// Its name.
    pub name: SpecName,
    /// Its options.
    pub options: Arc<SpecOptions>,
    /// How many of its units are pending.
    pub pending: u64,
}

/// What the scheduler looks at.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// The specs that are not paused, are below their `max_running`, and have an
    /// available unit or could make a continuous one. The list only proposes; what
    /// [`Backend::claim`] finds is what counts.
    pub candidates: Vec<Candidate>,
}

/// A request for work from one spec.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The spec to take units from.
    pub spec: SpecId,
    /// Who will do the work.
    pub worker: WorkerName,
    /// Most units to take, at least 1; the spec's own limits apply besides.
    pub units_max: usize,
    /// How long the worker has before others may try.
    pub lease: Duration,
}

/// What a claim found.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// The units handed out, best first.
    pub units: Vec<Claimed>,
    /// How many units were not handed out but failed, because they had as many
    /// attempts as the spec allows. If nothing was handed out and this is above
    /// zero, there may be more: the caller schedules again.
    pub exhausted: usize,
}

/// The attempt that a unit answers to, found by the unit's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveAttempt {
    /// The unit.
    pub unit: UnitId,
    /// Which changes are open to it.
    pub phase: Phase,
    /// Its current attempt and whose it is; `None` exactly if the phase is idle.
    pub attempt: Option<(AttemptId, WorkerName)>,
}

impl ActiveAttempt {
    /// The id of the current attempt.
    #[must_use]
    pub fn attempt_id(&self) -> Option<AttemptId> {
        self.attempt.as_ref().map(|(id, _)| *id)
    }
}

/// A change of one unit, made only if the unit still is as it was decided on.
#[derive(Debug, Clone)]
pub struct UnitChange {
    /// The unit.
    pub unit: UnitId,
    /// The phase that the change was decided on.
    pub phase: Phase,
    /// The current attempt that the change was decided on.
    pub attempt: Option<AttemptId>,
    /// The change.
    pub effect: Effect,
    /// Whose attempt [`Effect::Start`] makes; otherwise unused.
    pub worker: Option<WorkerName>,
    /// New data, for the unit if it is idle, else for the attempt.
    pub data: Option<RawData>,
}

/// What became of a unit that was changed.
#[derive(Debug, Clone)]
pub struct Changed {
    /// How the unit stands now, for the cache.
    pub active: ActiveAttempt,
    /// The spec that received units from this one's output, and how many.
    pub chained: Option<(SpecId, usize)>,
}

/// Which of a spec's units a listing shows, by key.
#[derive(Debug, Clone, Copy)]
pub struct UnitPage<'a> {
    /// Only units in these statuses.
    pub statuses: StatusSet,
    /// Only keys after this one.
    pub after: Option<&'a [u8]>,
    /// Most units.
    pub limit: usize,
}

/// Which of a spec's units are deleted.
#[derive(Debug, Clone)]
pub enum UnitSelection<'a> {
    /// All, and the counts of archived ones are forgotten too.
    All,
    /// Those in these statuses.
    Statuses(StatusSet),
    /// Those of these keys that are in these statuses.
    Keys(Vec<&'a [u8]>, StatusSet),
}

/// Which workers are listed.
#[derive(Debug, Clone, Copy)]
pub enum WorkerSelection<'a> {
    /// Every live worker.
    All,
    /// The live workers whose parent this is.
    ChildrenOf(&'a WorkerName),
}

/// What a heartbeat came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The worker is registered.
    Yes,
    /// The parent is the worker itself or one of its descendants; nothing changed.
    ParentCycle,
}

/// A request for locks.
#[derive(Debug, Clone)]
pub struct LockRequest<'a> {
    /// Who asks.
    pub owner: &'a WorkerName,
    /// When the locks end unless they are renewed.
    pub deadline: Timestamp,
    /// What to lock.
    pub paths: &'a [LockPath],
}

/// The lock that stands in the way of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockConflict {
    /// Index of the path that could not be had.
    pub path: usize,
    /// Who holds it, an ancestor or a descendant; `None` if nobody does (a lock that
    /// was to be renewed or given up), or if it overlaps an earlier path of the
    /// same request.
    pub holder: Option<WorkerName>,
}

/// What a step of upkeep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Specs in which units became available, and how many.
    pub available: Vec<(NamespaceId, SpecId, usize)>,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// What is kept of attempts and units that are over (semantics.md §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Ended attempts kept for each unit beyond the current one.
    pub attempt_history: usize,
    /// Most finished, and most failed, units kept in a spec.
    pub completed_count: Option<u64>,
    /// How long finished and failed units are kept.
    pub completed_age: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            attempt_history: 16,
            completed_count: None,
            completed_age: None,
        }
    }
}

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

    /// Adds units, all or none; their ids, in order. A unit whose key exists is
    /// replaced as semantics.md §3 says; of several with one key the last counts.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    fn put_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        units: &[NewUnit],
    ) -> impl Future<Output = Result<Vec<UnitId>>> + Send;

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
}
