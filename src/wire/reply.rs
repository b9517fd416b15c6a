//! Replies, in exactly the shapes that protocol.md §5 lists: tuples where tuples,
//! pairs where pairs, and a result also where it is nil.

mod user_data;
mod write;

#[cfg(test)]
mod tests;

pub use write::{TooLong, write_reply};

use crate::{
    clock::Timestamp,
    model::{AttemptId, Priority, RawData, SpecName, SpecOptions, UnitCounts, UnitKey, WorkerName},
};

/// The result of a call.
#[derive(Debug)]
pub enum Reply<'a> {
    /// The value alone.
    Bare(Value<'a>),
    /// `(value, message)`; the message is nil on success.
    Pair(Value<'a>, Option<String>),
}

/// What a call comes to.
#[derive(Debug)]
pub enum Value<'a> {
    /// Nil.
    Nil,
    /// True or false.
    Bool(bool),
    /// A count, or a time in whole seconds.
    Unsigned(u64),
    /// The map without entries.
    EmptyMap,
    /// A work spec's definition; its `module` and `run_function` go out in the string
    /// type of the caller's dialect.
    Definition(RawData),
    /// `([definition …], next name or nil)`
    Definitions(Vec<RawData>, Option<SpecName>),
    /// What `get_work_spec_meta` shows.
    SpecMeta(SpecMeta),
    /// `{status: count}`, zero counts left out, delayed counted as available.
    Counts(UnitCounts),
    /// `[(key, data or nil) …]`
    Units(Vec<(ListedKey<'a>, Option<RawData>)>),
    /// `[{status …} or nil …]`
    Statuses(Vec<Option<Status>>),
    /// `(spec, key, data)`, or three nils.
    OneJob(Option<Job>),
    /// `[(spec, key, data) …]`
    Jobs(Vec<Job>),
    /// `[(bool, message or nil) …]`
    Pairs(Vec<(bool, Option<String>)>),
    /// `{worker: mode}`
    Modes(Vec<(WorkerName, Box<str>)>),
    /// `{mode: count}`
    ModeCounts(Vec<(Box<str>, u64)>),
    /// A worker's data with `age_seconds` added unless it has that key.
    WorkerInfo(Option<RawData>, f64),
    /// `{num_workers, num_children, num_expirable}`
    WorkerStats {
        /// Live workers.
        workers: u64,
        /// Live workers with a parent.
        children: u64,
    },
    /// `{child: [unit …]}`
    ChildUnits(Vec<(WorkerName, Vec<ChildUnit>)>),
    /// One CBOR item as it is.
    Item(&'a [u8]),
    /// The items as they were sent, or nil: `[path or nil …]`.
    Items(Vec<Option<&'a [u8]>>),
    /// `[owner or nil …]`
    Owners(Vec<Option<WorkerName>>),
    /// What `hello` answers.
    Hello {
        /// The namespace the connection is in.
        namespace: String,
    },
}

/// A key in a listing: the one asked for if there is no such unit, else the stored
/// one with the string type it was first stored with.
#[derive(Debug)]
pub enum ListedKey<'a> {
    /// As it is stored.
    Stored(UnitKey),
    /// As it was asked for.
    Asked(crate::model::KeyRef<'a>),
}

/// What `get_work_spec_meta` shows.
#[derive(Debug)]
pub struct SpecMeta {
    /// The spec's options.
    pub options: std::sync::Arc<SpecOptions>,
    /// When the next continuous unit may be made.
    pub next_continuous: Option<Timestamp>,
}

/// A unit handed to a worker.
#[derive(Debug)]
pub struct Job {
    /// The spec's name.
    pub spec: SpecName,
    /// The unit's key.
    pub key: UnitKey,
    /// The unit's data.
    pub data: RawData,
    /// Told if the worker asked for it.
    pub attempt: Option<JobAttempt>,
}

/// The fourth member of a job: `{attempt_id, attempt, expires, priority}`.
#[derive(Debug)]
pub struct JobAttempt {
    /// The attempt's id.
    pub id: AttemptId,
    /// The how-many-eth attempt of the unit it is, from 1.
    pub number: u32,
    /// The end of the lease.
    pub expires: Timestamp,
    /// The unit's priority.
    pub priority: Priority,
}

/// What `get_work_unit_status` shows of a unit.
#[derive(Debug)]
pub struct Status {
    /// The status as a number.
    pub status: u64,
    /// The end of the lease if pending, of the attempt if finished or failed.
    pub expiration: Option<Timestamp>,
    /// Whose attempt it is, if pending, finished or failed.
    pub worker: Option<WorkerName>,
    /// The unit's data, for its `traceback`.
    pub data: RawData,
    /// How many attempts the unit has had.
    pub attempts: u32,
    /// The current attempt.
    pub attempt: Option<AttemptId>,
}

/// A unit in `get_child_work_units`.
#[derive(Debug)]
pub struct ChildUnit {
    /// The spec's name.
    pub spec: SpecName,
    /// The unit's key.
    pub key: UnitKey,
    /// The unit's data.
    pub data: RawData,
    /// Who holds it, and until when; nobody is two nils.
    pub holder: Option<(WorkerName, Timestamp)>,
}
