//! A job server: workers lease work units over TCP, report results and coordinate through locks.

pub mod cbor;
pub mod clock;
pub mod daemon;
pub mod limits;
pub mod wire;
