//! Hierarchical locks: a path is locked with everything below it (semantics.md §9).

use bytes::BytesMut;

use crate::{
    cbor::{self, Number, Reader, Writer},
    limits::LOCK_PATH_BYTES_MAX,
    model::field::BadField,
};

/// A string: text and bytes of the same content are one label.
const STRING: u8 = 1;
/// Any other item.
const OTHER: u8 = 2;

/// The tag of a Python tuple, which is the same label as a list.
const TAG_TUPLE: u64 = 128;

/// A path from the root of the lock tree, as bytes that sort and nest.
///
/// **Invariant:** `b` is at or below `a` exactly when `a.as_bytes() <= b.as_bytes()
/// && b.as_bytes() < a.end()`. Both backends find descendants with one range scan
/// and ancestors by looking up [`prefixes`](LockPath::prefixes); neither keeps a
/// tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockPath(Vec<u8>);

impl LockPath {
    /// Reads a list (or tuple) of labels, whose form was checked before. No labels is
    /// the root, which is above every other path.
    ///
    /// # Errors
    /// [`BadField`] if it is no list, or is longer than [`LOCK_PATH_BYTES_MAX`] when
    /// encoded.
    pub fn read(item: &[u8]) -> Result<LockPath, BadField> {
        let bad = |error: cbor::Error| BadField::new("lock path", item, error);
        let mut reader = Reader::new(item);
        let mut left = reader.array().map_err(bad)?;
        let mut path = LockPath(Vec::new());
        while reader.more(&mut left).map_err(bad)? {
            path.push(reader.raw().map_err(bad)?).map_err(bad)?;
            if path.0.len() > LOCK_PATH_BYTES_MAX {
                let why = format_args!("must be at most {LOCK_PATH_BYTES_MAX} bytes long");
                return Err(BadField::new("lock path", item, why));
            }
        }
        Ok(path)
    }

    /// The path of one label.
    ///
    /// # Errors
    /// As [`read`](LockPath::read).
    pub fn root(label: &[u8]) -> Result<LockPath, BadField> {
        LockPath::read(&[&[0x81], label].concat())
    }

    /// The bytes that are stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first bytes, in sort order, that are past everything below this path.
    #[must_use]
    pub fn end(&self) -> Vec<u8> {
        match self.0.split_last() {
            None => vec![OTHER + 1],
            // A label ends in 00 00, so what comes after it is below 00 01.
            Some((_, stem)) => [stem, &[1]].concat(),
        }
    }

    /// This path and every path above it, the root first.
    pub fn prefixes(&self) -> impl Iterator<Item = &[u8]> {
        let mut ends = vec![0];
        let mut at = 0;
        while at < self.0.len() {
            // A label is its kind, escaped content, and 00 00.
            at += 1;
            while self.0[at..at + 2] != [0, 0] {
                at += if self.0[at] == 0 { 2 } else { 1 };
            }
            at += 2;
            ends.push(at);
        }
        ends.into_iter().map(|end| &self.0[..end])
    }

    fn push(&mut self, label: &[u8]) -> Result<(), cbor::Error> {
        match Reader::new(label).string() {
            Ok(string) => self.push_label(STRING, string.as_bytes()),
            Err(_) => {
                let mut canonical = BytesMut::new();
                canonicalize(&mut Reader::new(label), &mut canonical)?;
                self.push_label(OTHER, &canonical);
            }
        }
        Ok(())
    }

    fn push_label(&mut self, kind: u8, content: &[u8]) {
        self.0.push(kind);
        for &byte in content {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(1); // so that 00 00 can end a label
            }
        }
        self.0.extend([0, 0]);
    }
}

/// Appends the one encoding that stands for every encoding of the same value: strings
/// by content, lists and tuples alike, shortest lengths, maps sorted, floats wide.
///
/// Recursive, but never deeper than an item may be nested, which was checked when the
/// request was read.
fn canonicalize(reader: &mut Reader<'_>, out: &mut BytesMut) -> Result<(), cbor::Error> {
    if let Ok(string) = reader.string() {
        Writer::new(out).bytes(string.as_bytes());
    } else if let Ok(number) = reader.number() {
        match number {
            // As integers of any size (tags 2 and 3) of one length.
            Number::Integer(integer @ 0..) => {
                Writer::new(out).tag(2).bytes(&integer.to_be_bytes());
            }
            Number::Integer(integer) => {
                Writer::new(out).tag(3).bytes(&(-1 - integer).to_be_bytes());
            }
            Number::Float(float) if float.is_nan() => drop(Writer::new(out).f64(f64::NAN)),
            Number::Float(float) => drop(Writer::new(out).f64(float)),
        }
    } else if reader.null() {
        Writer::new(out).null();
    } else if let Ok(mut left) = reader.map() {
        let mut pairs = Vec::new();
        while reader.more(&mut left)? {
            let mut pair = BytesMut::new();
            canonicalize(reader, &mut pair)?;
            canonicalize(reader, &mut pair)?;
            pairs.push(pair);
        }
        pairs.sort_unstable();
        Writer::new(out).map(pairs.len() as u64);
        pairs.iter().for_each(|pair| out.extend_from_slice(pair));
    } else if let Ok(tag) = reader.tag() {
        if tag != TAG_TUPLE {
            Writer::new(out).tag(tag);
        }
        canonicalize(reader, out)?;
    } else if let Ok(mut left) = reader.array() {
        let (mut count, mut items) = (0, BytesMut::new());
        while reader.more(&mut left)? {
            canonicalize(reader, &mut items)?;
            count += 1;
        }
        Writer::new(out).array(count);
        out.extend_from_slice(&items);
    } else {
        Writer::new(out).raw(reader.raw()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
        let byte = prop_oneof![Just(0u8), Just(1), Just(0xff), Just(b'a')];
        prop::collection::vec((any::<bool>(), prop::collection::vec(byte, 0..3)), 0..4)
    }

    fn path(labels: &[(bool, Vec<u8>)]) -> LockPath {
        let mut path = LockPath(Vec::new());
        for (is_string, content) in labels {
            path.push_label(if *is_string { STRING } else { OTHER }, content);
        }
        path
    }

    proptest! {
        #[test]
        fn a_path_covers_exactly_the_paths_below_it(above in labels(), below in labels()) {
            let (a, b) = (path(&above), path(&below));
            let in_range = a.as_bytes() <= b.as_bytes() && b.as_bytes() < &a.end()[..];
            prop_assert_eq!(in_range, below.starts_with(&above));
            let is_prefix = b.prefixes().any(|p| p == a.as_bytes());
            prop_assert_eq!(is_prefix, below.starts_with(&above));
        }
    }

    fn read(item: &[u8]) -> LockPath {
        LockPath::read(item).unwrap()
    }

    #[test]
    fn labels_are_compared_as_values() {
        for (why, one, other) in [
            ("text and bytes", &b"\x81\x41a"[..], &b"\x81\x61a"[..]),
            ("list and tuple", b"\x81\x07", b"\xd8\x80\x81\x07"),
            ("number widths", b"\x81\x07", b"\x9f\x19\x00\x07\xff"),
            (
                "float widths",
                b"\x81\xf9\x3e\x00",
                b"\x81\xfb\x3f\xf8\0\0\0\0\0\0",
            ),
            (
                "a nested tuple of a text",
                b"\x81\x81\x41a",
                b"\x81\xd8\x80\x9f\x61a\xff",
            ),
            (
                "the order of a map",
                b"\x81\xa2\x01\x02\x03\x04",
                b"\x81\xa2\x03\x04\x01\x02",
            ),
        ] {
            assert_eq!(read(one), read(other), "{why}");
        }
        for (why, one, other) in [
            (
                "a number and a float",
                &b"\x81\x01"[..],
                &b"\x81\xf9\x3c\x00"[..],
            ),
            ("a string and a list of it", b"\x81\x41a", b"\x81\x81\x41a"),
            ("signs", b"\x81\x00", b"\x81\x20"),
            ("tags", b"\x81\xc1\x00", b"\x81\x00"),
        ] {
            assert_ne!(read(one), read(other), "{why}");
        }
    }

    #[test]
    fn a_path_is_a_list_and_has_a_length_limit() {
        assert_eq!(LockPath::read(b"\x80").unwrap().as_bytes(), b"");
        assert!(LockPath::read(b"\x41a").is_err());
        let long = [&[0x81, 0x59, 0x08, 0x00][..], &[b'x'; 0x800]].concat();
        assert!(LockPath::read(&long).is_err());
        assert_eq!(LockPath::root(b"\x61a"), LockPath::read(b"\x81\x41a"));
    }
}
