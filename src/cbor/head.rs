//! The head of an item: its major type and its argument (RFC 8949 §3).
//!
//! The one place that knows how heads are laid out, for reading and for writing.

use super::{Error, Kind};

pub(super) const UNSIGNED: u8 = 0;
pub(super) const NEGATIVE: u8 = 1;
pub(super) const BYTES: u8 = 2;
pub(super) const TEXT: u8 = 3;
pub(super) const ARRAY: u8 = 4;
pub(super) const MAP: u8 = 5;
pub(super) const TAG: u8 = 6;
pub(super) const SIMPLE: u8 = 7;

/// The byte that ends an indefinite item.
pub(super) const BREAK: u8 = 0xff;

pub(super) const FALSE: u8 = 0xf4;
pub(super) const TRUE: u8 = 0xf5;
pub(super) const NULL: u8 = 0xf6;
pub(super) const UNDEFINED: u8 = 0xf7;

/// Most bytes of a head.
pub(super) const HEAD_BYTES_MAX: usize = 9;

/// The head of one item.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Major type, 0 to 7.
    pub(super) major: u8,
    /// The argument: a value, a length, a count, a tag, or the bits of a float;
    /// `None` for an indefinite length and for a break.
    pub(super) argument: Option<u64>,
    /// How many bytes the head takes. For major type 7 this tells a float from a
    /// simple value.
    pub(super) bytes: usize,
}

impl Head {
    /// Reads the head at the front of `rest`. A break is a head of major type 7
    /// without an argument.
    ///
    /// # Errors
    /// [`Error::Truncated`] if there is less than a whole head, [`Error::Malformed`]
    /// if RFC 8949 reserves it.
    #[inline]
    pub(super) fn parse(rest: &[u8]) -> Result<Head, Error> {
        let (&first, tail) = rest.split_first().ok_or(Error::Truncated)?;
        let (major, info) = (first >> 5, first & 0x1f);
        let (argument, bytes) = match info {
            // First, and alone: nearly every head is of this kind.
            0..=23 => (Some(u64::from(info)), 1),
            _ => long(major, info, tail)?,
        };
        Ok(Head {
            major,
            argument,
            bytes,
        })
    }

    /// How many bytes the head at the front of `rest` takes, of which perhaps only
    /// the first, or none, is there yet.
    pub(super) fn bytes_announced(rest: &[u8]) -> usize {
        match rest.first().map(|first| first & 0x1f) {
            Some(24) => 2,
            Some(25) => 3,
            Some(26) => 5,
            Some(27) => 9,
            _ => 1,
        }
    }

    /// What the head says the item is; `None` for a break.
    pub(super) fn kind(&self) -> Option<Kind> {
        Some(match (self.major, self.argument, self.bytes) {
            (UNSIGNED | NEGATIVE, ..) => Kind::Integer,
            (BYTES, ..) => Kind::Bytes,
            (TEXT, ..) => Kind::Text,
            (ARRAY, ..) => Kind::Array,
            (MAP, ..) => Kind::Map,
            (TAG, ..) => Kind::Tag,
            (_, None, _) => return None,
            (.., 3..) => Kind::Float,
            (_, Some(20 | 21), 1) => Kind::Bool,
            (_, Some(22 | 23), 1) => Kind::Null,
            _ => Kind::Simple,
        })
    }
}

/// The shortest head for `argument`, and its length.
#[inline]
pub(super) fn shortest(major: u8, argument: u64) -> ([u8; HEAD_BYTES_MAX], usize) {
    let mut head = [0; HEAD_BYTES_MAX];
    let (info, bytes) = match argument {
        0..=23 => (argument as u8, 1),
        24..=0xff => (24, 2),
        0x100..=0xffff => (25, 3),
        0x1_0000..=0xffff_ffff => (26, 5),
        _ => (27, 9),
    };
    head[0] = major << 5 | info;
    head[1..bytes].copy_from_slice(&argument.to_be_bytes()[9 - bytes..]);
    (head, bytes)
}

/// The argument and the length of a head that is not the shortest there is.
fn long(major: u8, info: u8, tail: &[u8]) -> Result<(Option<u64>, usize), Error> {
    Ok(match info {
        24 => match u8::from_be_bytes(front(tail)?) {
            0..32 if major == SIMPLE => return Err(Error::Malformed), // RFC 8949 §3.3
            byte => (Some(u64::from(byte)), 2),
        },
        25 => (Some(u64::from(u16::from_be_bytes(front(tail)?))), 3),
        26 => (Some(u64::from(u32::from_be_bytes(front(tail)?))), 5),
        27 => (Some(u64::from_be_bytes(front(tail)?)), 9),
        31 if matches!(major, BYTES..=MAP | SIMPLE) => (None, 1),
        _ => return Err(Error::Malformed),
    })
}

fn front<const N: usize>(tail: &[u8]) -> Result<[u8; N], Error> {
    tail.first_chunk().copied().ok_or(Error::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_head_is_read_back() {
        for (argument, bytes) in [
            (0, 1),
            (23, 1),
            (24, 2),
            (0xff, 2),
            (0x100, 3),
            (0xffff, 3),
            (0x1_0000, 5),
            (0xffff_ffff, 5),
            (0x1_0000_0000, 9),
            (u64::MAX, 9),
        ] {
            let (head, length) = shortest(TAG, argument);
            assert_eq!(length, bytes, "{argument}");
            let head = Head::parse(&head[..length]).unwrap();
            assert_eq!(
                (head.major, head.argument, head.bytes),
                (TAG, Some(argument), bytes)
            );
        }
    }

    #[test]
    fn a_head_cut_short_announces_its_length() {
        for first in 0..=u8::MAX {
            let whole = [&[first][..], &[0x20; 8]].concat();
            let announced = Head::bytes_announced(&whole);
            match Head::parse(&whole) {
                Ok(head) => assert_eq!(head.bytes, announced, "{first:02x}"),
                Err(error) => assert_eq!(error, Error::Malformed, "{first:02x}"),
            }
        }
    }
}
