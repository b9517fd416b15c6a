//! The CBOR-RPC protocol of the Python `coordinate` package: frames, calls and
//! replies as bytes. No I/O and no state beyond one frame.

mod call;
mod frame;
mod reply;

pub use call::{
    Call, DelWorkUnits, GetWork, Hello, Jobs, ListWorkSpecs, LockCall, Path, PrioritizeWorkUnits,
    UnitListing, UpdateWorkUnit, WorkerHeartbeat,
};
pub use frame::{Frame, FrameCodec, FrameError};
pub use reply::{ChildUnit, Job, JobAttempt, ListedKey, Reply, SpecMeta, Status, Value};
