//! The CBOR-RPC protocol (protocol.md) as bytes. No I/O.

mod frame;

pub use frame::{Frame, FrameCodec, FrameError};
