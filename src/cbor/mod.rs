//! CBOR (RFC 8949) as bytes: reading without allocating, writing without a tree.
//!
//! This module knows the format and nothing of the protocol: no tag but the one
//! around a frame has a meaning here, no key has a name. What it does that a serde
//! library cannot is hand out the bytes of a nested item, checked; work unit data
//! must stay those bytes.
//!
//! * [`Reader`] pulls items from the front of a buffer; [`Reader::raw`] takes one
//!   item of any type as bytes.
//! * [`Scan`] is the check behind it, for an item that is still arriving.
//! * [`Writer`] appends items, in their shortest form, to a reply.
//! * [`diagnose`] shows an item to people.
//!
//! # Invariants
//!
//! No input panics, recurses or allocates more than a small multiple of the bytes
//! that are really there: an announced length is compared, never reserved. What
//! [`Scan`] calls complete is well-formed by RFC 8949 §5.3.1, has valid UTF-8 in
//! every text string and chunk, and is nested at most
//! [`MESSAGE_DEPTH_MAX`](crate::limits::MESSAGE_DEPTH_MAX) levels.

mod diagnose;
mod error;
mod fields;
mod head;
mod number;
mod reader;
mod scan;
mod string;
mod writer;

pub use diagnose::diagnose;
pub use error::{Error, Kind};
pub use fields::{Fields, field};
pub use number::Number;
pub use reader::{Left, Reader};
pub use scan::{Progress, Scan, nests_within};
pub use string::Str;
pub use writer::{FrameStart, Writer, begin_frame};

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod properties;
