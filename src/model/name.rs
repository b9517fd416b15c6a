//! Names chosen by clients, checked when they are made (semantics.md §1).

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    str,
    sync::Arc,
};

use triomphe::ThinArc;

use crate::limits::{KEY_BYTES_MAX, NAME_BYTES_MAX};

/// Why a name is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Longer than the protocol allows.
    #[error("name of {bytes} bytes is longer than {max} bytes")]
    TooLong {
        /// Length of the refused name.
        bytes: usize,
        /// The limit it broke.
        max: usize,
    },
    /// A work spec needs a name of at least one byte.
    #[error("name is empty")]
    Empty,
}

fn check_length(bytes: usize, max: usize) -> Result<(), BadName> {
    if bytes <= max {
        Ok(())
    } else {
        Err(BadName::TooLong { bytes, max })
    }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_name!(
    /// The name of a namespace: text of at most 1,024 bytes, may be empty.
    NamespaceName
);
text_name!(
    /// The name of a work spec: text of 1 to 1,024 bytes, unique in its namespace.
    ///
    /// Listings are in the byte order of these names, which is the order of this type.
    SpecName
);

impl NamespaceName {
    /// Checks and copies a name.
    ///
    /// # Errors
    /// [`BadName::TooLong`].
    pub fn new(name: &str) -> Result<NamespaceName, BadName> {
        check_length(name.len(), NAME_BYTES_MAX)?;
        Ok(NamespaceName(name.into()))
    }
}

impl SpecName {
    /// Checks and copies a name from a request.
    ///
    /// # Errors
    /// [`BadName`] if it is empty or too long.
    pub fn new(name: &str) -> Result<SpecName, BadName> {
        if name.is_empty() {
            return Err(BadName::Empty);
        }
        check_length(name.len(), NAME_BYTES_MAX)?;
        Ok(SpecName(name.into()))
    }
}

/// The name of a worker, or of whoever else holds a lock: text of at most 1,024
/// bytes, may be empty.
///
/// Every attempt carries one, so it is one word wide, and its clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerName(ThinArc<(), u8>);

impl WorkerName {
    /// Checks and copies a name from a request.
    ///
    /// # Errors
    /// [`BadName::TooLong`].
    pub fn new(name: &str) -> Result<WorkerName, BadName> {
        check_length(name.len(), NAME_BYTES_MAX)?;
        Ok(WorkerName(ThinArc::from_header_and_slice(
            (),
            name.as_bytes(),
        )))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0.slice).expect("made from text")
    }
}

impl fmt::Debug for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of CBOR's string types a key came as. It goes back to clients as the type
/// it was first stored with, because a Python 2 worker may tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringType {
    /// A byte string.
    Bytes,
    /// A text string; its content is UTF-8.
    Text,
}

/// A work unit key in a request, not copied yet.
#[derive(Debug, Clone, Copy)]
pub struct KeyRef<'a> {
    /// The bytes that identify the unit.
    pub bytes: &'a [u8],
    /// The string type it came as; not part of the identity.
    pub string_type: StringType,
}

/// The key of a work unit: at most 2,048 bytes of any kind, unique in its spec.
///
/// Keys are equal if their bytes are, whichever string type they came as. Units of
/// equal priority run in the byte order of their keys, so the order of this type is
/// part of the protocol. One word wide; clones share the bytes.
#[derive(Clone)]
pub struct UnitKey(ThinArc<StringType, u8>);

impl UnitKey {
    /// Checks and copies a key from a request.
    ///
    /// # Errors
    /// [`BadName::TooLong`].
    pub fn new(key: KeyRef<'_>) -> Result<UnitKey, BadName> {
        check_length(key.bytes.len(), KEY_BYTES_MAX)?;
        Ok(UnitKey(ThinArc::from_header_and_slice(
            key.string_type,
            key.bytes,
        )))
    }

    /// The bytes that identify the unit.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// The key as a request would carry it.
    #[must_use]
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef {
            bytes: &self.0.slice,
            string_type: self.0.header.header,
        }
    }
}

impl PartialEq for UnitKey {
    fn eq(&self, other: &UnitKey) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for UnitKey {}

impl PartialOrd for UnitKey {
    fn partial_cmp(&self, other: &UnitKey) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnitKey {
    fn cmp(&self, other: &UnitKey) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for UnitKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Borrow<[u8]> for UnitKey {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for UnitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_key_and_a_byte_key_of_the_same_bytes_are_the_same_unit() {
        let bytes = UnitKey::new(KeyRef {
            bytes: b"a",
            string_type: StringType::Bytes,
        })
        .unwrap();
        let text = UnitKey::new(KeyRef {
            bytes: b"a",
            string_type: StringType::Text,
        })
        .unwrap();
        assert_eq!(bytes, text);
        assert_eq!(text.as_ref().string_type, StringType::Text);
        assert_eq!(std::mem::size_of::<Option<UnitKey>>(), 8);
    }

    #[test]
    fn names_outside_their_bounds_are_refused() {
        assert_eq!(SpecName::new(""), Err(BadName::Empty));
        assert!(SpecName::new(&"x".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(SpecName::new(&"x".repeat(NAME_BYTES_MAX + 1)).is_err());
        assert!(NamespaceName::new("").is_ok());
        let long = vec![0xff; KEY_BYTES_MAX + 1];
        assert!(
            UnitKey::new(KeyRef {
                bytes: &long,
                string_type: StringType::Bytes
            })
            .is_err()
        );
    }
}
