//! User data as bytes.

use std::{fmt, ops::Deref};

use triomphe::ThinArc;

use crate::cbor;

/// One well-formed CBOR item, exactly as a client sent it (semantics.md §1).
///
/// One word wide; clones share the bytes, so a reply can be written from one after
/// the lock under which it was found is gone.
#[derive(Clone, PartialEq, Eq)]
pub struct RawData(ThinArc<(), u8>);

impl RawData {
    /// Copies an item whose form was checked, as every item in a request is.
    #[must_use]
    pub fn new(item: &[u8]) -> RawData {
        debug_assert!(!item.is_empty(), "an item has at least one byte");
        RawData(ThinArc::from_header_and_slice((), item))
    }

    /// The map without entries, which is the data of a unit that was given none.
    #[must_use]
    pub fn empty_map() -> RawData {
        RawData::new(&[0xa0])
    }
}

impl Deref for RawData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.slice
    }
}

impl fmt::Debug for RawData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&cbor::diagnose(self, 200))
    }
}
