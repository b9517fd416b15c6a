//! A job server: workers lease work units over TCP, report results and coordinate through locks.

pub mod backend;
pub mod cache;
pub mod cbor;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod jobserver;
pub mod limits;
pub mod model;
pub mod wire;
