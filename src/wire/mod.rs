//! The CBOR-RPC protocol of the Python `coordinate` package: frames, calls and
//! replies as bytes. No I/O and no state beyond one frame.

mod args;
mod call;
mod envelope;
mod error;
mod frame;
#[cfg(test)]
mod notation;
mod params;
mod reply;

pub use call::{
    Call, DelWorkUnits, GetWork, Hello, Jobs, ListWorkSpecs, LockCall, METHODS, Path,
    PrioritizeWorkUnits, UnitListing, UpdateWorkUnit, WorkerHeartbeat,
};
pub use envelope::{Dialect, Envelope, Message, Requests};
pub use error::BadCall;
pub use frame::{Frame, FrameCodec, FrameError};
pub use params::Method;
pub use reply::{
    ChildUnit, Job, JobAttempt, ListedKey, Reply, SpecMeta, Status, TooLong, Value, write_reply,
};
