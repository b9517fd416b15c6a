//! The CBOR-RPC protocol of the Python `coordinate` package: frames, calls and
//! replies as bytes. No I/O and no state.

mod call;
mod reply;

pub use call::{
    Call, DelWorkUnits, GetWork, Hello, Jobs, ListWorkSpecs, LockCall, Path, PrioritizeWorkUnits,
    UnitListing, UpdateWorkUnit, WorkerHeartbeat,
};
pub use reply::{ChildUnit, Job, JobAttempt, ListedKey, Reply, SpecMeta, Status, Value};
