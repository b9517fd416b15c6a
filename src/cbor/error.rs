//! Why an item could not be read.

use std::fmt;

use crate::limits::MESSAGE_DEPTH_MAX;

/// Why an item could not be read.
///
/// The first three say that the bytes are not an item that this server takes; the
/// others that it is one, but not what the reader asked for.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Error {
    /// The buffer ends inside an item.
    #[error("item is cut short")]
    Truncated,
    /// Not CBOR: a stray break, a reserved head, a bad chunk or bad UTF-8 in a text
    /// string.
    #[error("not well-formed CBOR")]
    Malformed,
    /// Arrays, maps and tags nested deeper than [`MESSAGE_DEPTH_MAX`].
    #[error("nested deeper than {MESSAGE_DEPTH_MAX} levels")]
    TooDeep,
    /// A well-formed item of another type than asked for.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What was asked for, with its article.
        expected: &'static str,
        /// What is there.
        found: Kind,
    },
    /// A byte string where text is needed, and its bytes are no UTF-8.
    #[error("byte string is not UTF-8")]
    NotUtf8,
    /// A number that must be finite is infinite or no number.
    #[error("{0} is not a finite number")]
    NotFinite(f64),
    /// A number that must be whole has a fraction.
    #[error("{0} is not a whole number")]
    NotWhole(f64),
}

/// The type of an item, as far as its first byte tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An unsigned or a negative integer.
    Integer,
    /// A byte string, whole or in chunks.
    Bytes,
    /// A text string, whole or in chunks.
    Text,
    /// An array.
    Array,
    /// A map.
    Map,
    /// A tag; the item it is about comes next.
    Tag,
    /// True or false.
    Bool,
    /// Null or undefined.
    Null,
    /// A float of any width.
    Float,
    /// A simple value that has no meaning yet.
    Simple,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Integer => "an integer",
            Kind::Bytes => "a byte string",
            Kind::Text => "a text string",
            Kind::Array => "a list",
            Kind::Map => "a map",
            Kind::Tag => "a tag",
            Kind::Bool => "a boolean",
            Kind::Null => "null",
            Kind::Float => "a float",
            Kind::Simple => "a simple value",
        })
    }
}
