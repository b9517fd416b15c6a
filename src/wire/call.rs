//! Calls: each method of protocol.md §5 with its parameters, typed.
//!
//! Everything borrows from the frame, except what is stored anyway: the data and
//! keys of units, which a backend keeps, are copied here once. Which values are
//! allowed is decided here, so that whoever carries out a call only meets values
//! that have a meaning; which names exist is decided there.

mod locks;
mod methods;
mod specs;
#[cfg(test)]
mod tests;
mod units;
mod work;
mod workers;

use std::time::Duration;

pub use methods::METHODS;

use crate::{
    model::{Ask, AttemptId, KeyRef, NewSpec, NewUnit, PriorityChange, SpecChange, StatusSet},
    wire::{BadCall, Envelope, params::Params},
};

/// Most characters of an unknown method's name that its caller is shown.
const METHOD_CHARS_MAX: usize = 60;

/// A request, ready to be carried out.
#[derive(Debug)]
pub enum Call<'a> {
    /// `set_work_spec(work_spec)`
    SetWorkSpec(NewSpec),
    /// `get_work_spec(work_spec_name)`
    GetWorkSpec(&'a str),
    /// `get_work_spec_meta(work_spec_name)`
    GetWorkSpecMeta(&'a str),
    /// `control_work_spec(work_spec_name, options)`
    ControlWorkSpec(&'a str, SpecChange),
    /// `list_work_specs(options)`
    ListWorkSpecs(ListWorkSpecs<'a>),
    /// `del_work_spec(work_spec_name)`
    DelWorkSpec(&'a str),
    /// `clear()`
    Clear,
    /// `add_work_units(work_spec_name, work_unit_key_vals)`
    AddWorkUnits(&'a str, Vec<NewUnit>),
    /// `count_work_units(work_spec_name)`
    CountWorkUnits(&'a str),
    /// `get_work_units(work_spec_name, options)`
    GetWorkUnits(&'a str, UnitListing<'a>),
    /// `get_work_unit_status(work_spec_name, work_unit_keys)`
    GetWorkUnitStatus(&'a str, Vec<KeyRef<'a>>),
    /// `prioritize_work_units(work_spec_name, options)`
    PrioritizeWorkUnits(PrioritizeWorkUnits<'a>),
    /// `del_work_units(work_spec_name, options)`
    DelWorkUnits(DelWorkUnits<'a>),
    /// `archive(options)`; the names of the specs to archive, or all.
    Archive(Option<Vec<&'a str>>),
    /// `get_work(worker_id, options)`
    GetWork(GetWork<'a>),
    /// `update_work_unit(work_spec_name, work_unit_key, options)`
    UpdateWorkUnit(UpdateWorkUnit<'a>),
    /// `update_work_units(updates)`
    UpdateWorkUnits(Vec<UpdateWorkUnit<'a>>),
    /// `worker_heartbeat(worker_id, mode, expire_seconds, data, parent)`
    WorkerHeartbeat(WorkerHeartbeat<'a>),
    /// `worker_unregister(worker_id)`
    WorkerUnregister(&'a str),
    /// `list_worker_modes()`
    ListWorkerModes,
    /// `mode_counts()`
    ModeCounts,
    /// `get_worker_info(worker_id)`
    GetWorkerInfo(&'a str),
    /// `worker_stats()`
    WorkerStats,
    /// `get_child_work_units(worker_id)`
    GetChildWorkUnits(&'a str),
    /// `get_config()`
    GetConfig,
    /// `now()`
    Now,
    /// `lock(locker_id, timeout, keys)`
    Lock(LockCall<'a>),
    /// `locksome(locker_id, timeout, keys)`
    LockSome(LockCall<'a>),
    /// `renew(locker_id, timeout, keys)`
    Renew(LockCall<'a>),
    /// `readlock(keys)`
    ReadLock(Vec<Path<'a>>),
    /// `unlock(locker_id, keys)`
    Unlock(&'a str, Vec<Path<'a>>),
    /// `delete_namespace(prefix)`; the path of one label.
    DeleteNamespace(Path<'a>),
    /// `hello(options)`
    Hello(Hello<'a>),
}

impl<'a> Call<'a> {
    /// Reads the parameters that the method of this envelope takes.
    ///
    /// # Errors
    /// [`BadCall`] if there is no such method, or it is not called with what it takes.
    pub fn read(envelope: &Envelope<'a>) -> Result<Call<'a>, BadCall> {
        let method = methods::find(envelope.method).ok_or_else(|| {
            let name = envelope.method.chars().take(METHOD_CHARS_MAX);
            BadCall::NoSuchMethod(name.flat_map(char::escape_debug).collect())
        })?;
        (method.read)(Params::read(method, envelope.params)?)
    }
}

/// Parameters of `list_work_specs`.
#[derive(Debug, Default)]
pub struct ListWorkSpecs<'a> {
    /// The first name to list; names before it are left out.
    pub start: Option<&'a str>,
    /// Most specs in the reply; anything not above zero is zero. No limit if absent.
    pub limit: Option<usize>,
}

/// Which units `get_work_units` lists.
#[derive(Debug)]
pub enum UnitListing<'a> {
    /// These, in this order.
    Keys(Vec<KeyRef<'a>>),
    /// Those in these statuses after this key, at most so many (already held within
    /// [`LIST_LIMIT_MAX`](crate::limits::LIST_LIMIT_MAX)).
    Page {
        /// Statuses to list.
        statuses: StatusSet,
        /// Only keys after this one.
        after: Option<&'a [u8]>,
        /// Most units.
        limit: usize,
    },
}

/// Parameters of `prioritize_work_units`.
#[derive(Debug)]
pub struct PrioritizeWorkUnits<'a> {
    /// The spec's name.
    pub spec: &'a str,
    /// The units; required, but its absence is answered in band.
    pub keys: Option<Vec<KeyRef<'a>>>,
    /// What to do to their priorities; `None` is nothing.
    pub change: Option<PriorityChange>,
}

/// Parameters of `del_work_units`.
#[derive(Debug)]
pub struct DelWorkUnits<'a> {
    /// The spec's name.
    pub spec: &'a str,
    /// Everything.
    pub all: bool,
    /// Only these keys.
    pub keys: Option<Vec<KeyRef<'a>>>,
    /// Only units in these statuses.
    pub statuses: Option<StatusSet>,
}

/// Parameters of `get_work`.
#[derive(Debug)]
pub struct GetWork<'a> {
    /// Who asks.
    pub worker: &'a str,
    /// The lease asked for, in seconds; finite, but perhaps out of bounds.
    pub lease_seconds: Option<f64>,
    /// How many units, and in which shape they are answered.
    pub jobs: Jobs,
    /// Only specs of these names; none given, or none in the list, is all.
    pub specs: Vec<&'a str>,
    /// Memory the worker has, in gigabytes.
    pub available_gb: Option<f64>,
    /// Only specs of these runtimes; not given is only the empty one.
    pub runtimes: Option<Vec<&'a str>>,
    /// How long the reply may wait for work; zero is not at all, held within
    /// [`WAIT_MAX`](crate::limits::WAIT_MAX).
    pub wait: Duration,
    /// Whether the reply tells of the attempts.
    pub with_attempt: bool,
}

/// How many units `get_work` asks for, which decides the shape of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// `max_jobs` absent or 1: one tuple.
    One,
    /// Any other `max_jobs`: a list of up to this many tuples, at least one.
    UpTo(usize),
}

/// Parameters of `update_work_unit`.
#[derive(Debug)]
pub struct UpdateWorkUnit<'a> {
    /// The spec's name.
    pub spec: &'a str,
    /// The unit's key.
    pub key: KeyRef<'a>,
    /// What is asked, besides data.
    pub ask: Ask,
    /// New data: a map, checked.
    pub data: Option<&'a [u8]>,
    /// Who says so.
    pub worker: Option<&'a str>,
    /// The attempt that the update is meant for.
    pub attempt: Option<AttemptId>,
}

/// Parameters of `worker_heartbeat`.
#[derive(Debug)]
pub struct WorkerHeartbeat<'a> {
    /// The worker.
    pub worker: &'a str,
    /// What it is doing.
    pub mode: &'a str,
    /// Seconds until it counts as gone; finite, but perhaps out of bounds.
    pub expire_seconds: Option<f64>,
    /// A map, checked.
    pub data: Option<&'a [u8]>,
    /// Its parent; never empty.
    pub parent: Option<&'a str>,
}

/// Parameters of `lock`, `locksome` and `renew`.
#[derive(Debug)]
pub struct LockCall<'a> {
    /// Who asks.
    pub locker: &'a str,
    /// How long the locks last; already held within its bounds.
    pub timeout: Duration,
    /// What to lock.
    pub paths: Vec<Path<'a>>,
}

/// A lock path as it was sent, and what it means.
#[derive(Debug)]
pub struct Path<'a> {
    /// The item, which `locksome` sends back.
    pub item: &'a [u8],
    /// The path.
    pub path: crate::model::LockPath,
}

/// Parameters of `hello`.
#[derive(Debug, Default)]
pub struct Hello<'a> {
    /// The namespace that this connection uses from now on.
    pub namespace: Option<&'a str>,
    /// The secret that authenticates the connection.
    pub token: Option<&'a [u8]>,
}
