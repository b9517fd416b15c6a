//! The domain: what a job is and which changes are legal. Pure: no I/O, no async, no
//! clock and no randomness that is not an argument.

mod attempt;
mod field;
mod id;
mod lock;
mod name;
mod output;
mod raw;
mod schedule;
mod spec;
mod unit;
mod worker;

pub use attempt::{Ask, AskedStatus, Decision, Effect, Outcome, Phase, decide, granted_lease};
pub use field::{BadField, count, duration, flag, kept_map, read_field, span, whole_between};
pub use id::{AttemptId, NamespaceId, SpecId, UnitId};
pub use lock::LockPath;
pub use name::{BadName, KeyRef, NamespaceName, SpecName, StringType, UnitKey, WorkerName};
pub use output::{TOO_MANY_RETRIES, TRACEBACK, chained_units, each_unit, key_ref, with_traceback};
pub use raw::RawData;
pub use schedule::{Share, choose};
pub use spec::{NewSpec, SpecChange, SpecOptions};
pub use unit::{
    Claimed, CurrentAttempt, HeldUnit, NewUnit, Priority, PriorityChange, StatusSet, Unit,
    UnitCounts, UnitStatus,
};
pub use worker::{Heartbeat, Worker, lifetime};
