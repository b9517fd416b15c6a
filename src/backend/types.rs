//! What goes into a backend and what comes out.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    model::{
        AttemptId, Claimed, Effect, LockPath, NamespaceId, Phase, RawData, SpecId, SpecName,
        SpecOptions, StatusSet, UnitId, WorkerName,
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
    /// [`Backend::claim`](super::Backend::claim) finds is what counts.
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

/// An [`ActiveAttempt`], and who may report on it besides its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisedAttempt {
    /// The attempt.
    pub active: ActiveAttempt,
    /// The parent of the attempt's worker, if that is live and has one.
    pub parent: Option<WorkerName>,
}

impl From<ActiveAttempt> for SupervisedAttempt {
    fn from(active: ActiveAttempt) -> SupervisedAttempt {
        SupervisedAttempt {
            active,
            parent: None,
        }
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
