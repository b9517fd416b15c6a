//! Checks that one item is well-formed, and finds its end, while it arrives.
//!
//! # Invariants
//!
//! `position` is always the start of a head, and everything before it has been
//! checked and is never looked at again. The containers that are open there are in
//! `open[..depth]`, each with what it waits for.
//!
//! # Cost
//!
//! O(bytes) in total, however the bytes arrive; a call that brings nothing new
//! costs O(depth). No allocation, no recursion: the state is 544 bytes.

use std::str;

use super::{
    Error,
    head::{ARRAY, BYTES, Head, MAP, NEGATIVE, SIMPLE, TAG, TEXT, UNSIGNED},
};
use crate::limits::CBOR_DEPTH_MAX;

/// What a [`Scan`] has found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The item is whole and well-formed.
    Complete {
        /// Its length.
        bytes: usize,
    },
    /// The item goes on after the bytes given so far, and they are well-formed.
    NeedMore {
        /// The item has at least this many bytes in all. Exact as soon as the heads
        /// that are known leave nothing open, as for one long string.
        bytes_min: u64,
    },
}

/// An open container waits for: this many more items, up to [`ITEMS_CAP`] …
type Open = u64;
/// … or items up to a break, …
const ITEMS: Open = Open::MAX;
/// … or a key or a break, …
const KEY: Open = Open::MAX - 1;
/// … or a value.
const VALUE: Open = Open::MAX - 2;
/// Counts above this are as good as this: an item has at least one byte, and no
/// buffer has this many.
const ITEMS_CAP: Open = 1 << 62;

/// The state of a check that can stop wherever the bytes do.
#[derive(Debug, Clone)]
pub struct Scan {
    position: usize,
    depth: usize,
    /// Inside a chunked string: its major type.
    chunks: Option<u8>,
    open: [Open; CBOR_DEPTH_MAX],
}

impl Default for Scan {
    fn default() -> Scan {
        Scan::new()
    }
}

impl Scan {
    /// At the start of an item.
    #[must_use]
    pub const fn new() -> Scan {
        Scan {
            position: 0,
            depth: 0,
            chunks: None,
            open: [0; CBOR_DEPTH_MAX],
        }
    }

    /// Back to the start, for another item.
    pub fn reset(&mut self) {
        self.position = 0;
        self.depth = 0;
        self.chunks = None;
    }

    /// How many bytes have been checked; after an error, where the bad item starts.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Checks on from where the last call stopped. `item` is all that has arrived of
    /// the item, from its first byte, and may go on after the item's end.
    ///
    /// # Errors
    /// [`Error::Malformed`] and [`Error::TooDeep`], as soon as the offending head, or
    /// the whole of an offending text string, is there; the same again if called again.
    pub fn advance(&mut self, item: &[u8]) -> Result<Progress, Error> {
        loop {
            let rest = item.get(self.position..).unwrap_or_default();
            let head = match Head::parse(rest) {
                Ok(head) => head,
                Err(Error::Truncated) => return Ok(self.need_more(Head::bytes_announced(rest), 0)),
                Err(error) => return Err(error),
            };
            let mut end = head.bytes;
            let completes = match (head.major, head.argument, self.chunks) {
                (BYTES | TEXT, Some(length), chunks) => {
                    if chunks.is_some_and(|major| major != head.major) {
                        return Err(Error::Malformed);
                    }
                    let Some(content) = string(rest, head.bytes, length) else {
                        return Ok(self.need_more(head.bytes, length));
                    };
                    if head.major == TEXT {
                        str::from_utf8(content).map_err(|_| Error::Malformed)?;
                    }
                    end += content.len();
                    chunks.is_none()
                }
                (SIMPLE, None, Some(_)) => {
                    self.chunks = None;
                    true
                }
                (.., Some(_)) => return Err(Error::Malformed), // neither a chunk nor a break
                (UNSIGNED | NEGATIVE, ..) | (SIMPLE, Some(_), _) => true,
                (BYTES | TEXT, None, _) => {
                    self.chunks = Some(head.major);
                    false
                }
                (SIMPLE, None, _) => {
                    self.leave()?;
                    true
                }
                (ARRAY, Some(items), _) => self.enter(items.min(ITEMS_CAP))?,
                (MAP, Some(pairs), _) => self.enter(pairs.min(ITEMS_CAP / 2) * 2)?,
                (TAG, ..) => self.enter(1)?,
                (ARRAY, None, _) => self.enter(ITEMS)?,
                (MAP, None, _) => self.enter(KEY)?,
                _ => return Err(Error::Malformed), // heads that are never parsed
            };
            self.position += end;
            if completes && self.completes_all() {
                return Ok(Progress::Complete {
                    bytes: self.position,
                });
            }
        }
    }

    /// Opens a container that waits for `open`, or, if it is empty, says that it is
    /// complete already.
    #[inline]
    fn enter(&mut self, open: Open) -> Result<bool, Error> {
        let innermost = self.open.get_mut(self.depth).ok_or(Error::TooDeep)?;
        if open == 0 {
            return Ok(true);
        }
        *innermost = open;
        self.depth += 1;
        Ok(false)
    }

    /// Ends the innermost container at a break.
    fn leave(&mut self) -> Result<(), Error> {
        match self.innermost() {
            Some(&mut (ITEMS | KEY)) => {
                self.depth -= 1;
                Ok(())
            }
            _ => Err(Error::Malformed),
        }
    }

    /// One item is complete: tells the containers around it, of which it may complete
    /// some, and says whether it completes all.
    #[inline]
    fn completes_all(&mut self) -> bool {
        while let Some(open) = self.innermost() {
            match *open {
                ITEMS => {}
                KEY => *open = VALUE,
                VALUE => *open = KEY,
                1 => {
                    self.depth -= 1;
                    continue;
                }
                _ => *open -= 1,
            }
            return false;
        }
        true
    }

    #[inline]
    fn innermost(&mut self) -> Option<&mut Open> {
        self.open.get_mut(self.depth.checked_sub(1)?)
    }

    /// The next step needs `head_bytes` and `content_bytes` after the position; after
    /// that, every counted item still to come has at least one byte.
    #[cold]
    fn need_more(&self, head_bytes: usize, content_bytes: u64) -> Progress {
        let step = (self.position as u64)
            .saturating_add(head_bytes as u64)
            .saturating_add(content_bytes);
        let bytes_min = self.open[..self.depth]
            .iter()
            .filter(|&&open| open <= ITEMS_CAP)
            .fold(step, |sum, &items| sum.saturating_add(items - 1));
        Progress::NeedMore { bytes_min }
    }
}

/// The content of a string of `length` bytes after its head; `None` if it is not
/// all there.
#[inline]
fn string(rest: &[u8], head_bytes: usize, length: u64) -> Option<&[u8]> {
    let length = usize::try_from(length).ok()?;
    rest.get(head_bytes..)?.get(..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(item: &[u8]) -> Result<Progress, Error> {
        Scan::new().advance(item)
    }

    fn bytes_min(item: &[u8]) -> u64 {
        match scan(item) {
            Ok(Progress::NeedMore { bytes_min }) => bytes_min,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_would_poison_a_worker_is_refused() {
        for (why, item) in [
            ("break as an element", &[0x81, 0xff][..]),
            ("break as a value", &[0xbf, 0x01, 0xff]),
            ("break under a tag", &[0x9f, 0xc1, 0xff]),
            ("bare break", &[0xff]),
            ("two-byte simple value under 32", &[0xf8, 0x1f]),
            ("reserved head", &[0x1c]),
            ("indefinite integer", &[0x1f]),
            ("indefinite tag", &[0xdf]),
            ("text chunk in a byte string", &[0x5f, 0x61, 0x61, 0xff]),
            ("chunked chunk", &[0x5f, 0x5f, 0xff, 0xff]),
            ("integer chunk", &[0x5f, 0x01, 0xff]),
            ("bad UTF-8", &[0x61, 0xff]),
            (
                "character split over chunks",
                &[0x7f, 0x61, 0xc3, 0x61, 0xa4, 0xff],
            ),
        ] {
            assert_eq!(scan(item), Err(Error::Malformed), "{why}");
        }
    }

    #[test]
    fn depth_is_bounded_and_costs_no_stack() {
        for container in [0x81, 0xc1, 0x9f] {
            let nested = |levels: usize| vec![container; levels];
            let bytes = CBOR_DEPTH_MAX + 1;
            assert!(matches!(
                scan(&nested(CBOR_DEPTH_MAX)),
                Ok(Progress::NeedMore { .. })
            ));
            assert_eq!(scan(&nested(bytes)), Err(Error::TooDeep));
            assert_eq!(scan(&nested(1_000_000)), Err(Error::TooDeep));
        }
        let mut item = vec![0x81; CBOR_DEPTH_MAX];
        item.push(0x00);
        let bytes = item.len();
        assert_eq!(scan(&item), Ok(Progress::Complete { bytes }));
        item[CBOR_DEPTH_MAX] = 0x80;
        assert_eq!(scan(&item), Err(Error::TooDeep), "empty, but a level");
    }

    #[test]
    fn announced_lengths_are_told_and_not_believed() {
        assert_eq!(bytes_min(&[]), 1);
        assert_eq!(bytes_min(&[0x5a, 0, 0]), 5, "the head first");
        assert_eq!(bytes_min(&[0x5a, 0, 1, 0, 0]), 5 + 0x1_0000);
        assert_eq!(bytes_min(&[0xd8, 0x18, 0x58, 0xc8]), 4 + 200);
        assert_eq!(bytes_min(&[0x82, 0x83]), 2 + 3 + 1);
        assert_eq!(bytes_min(&[0xa3, 0x01]), 2 + 5);
        assert_eq!(bytes_min(&[0x9f, 0xbf, 0x00]), 3 + 1);
        assert_eq!(bytes_min(&[0x7f, 0x62]), 2 + 2);
        for major in [0x5b, 0x7b, 0x9b, 0xbb] {
            let huge = [&[major][..], &[0xff; 8]].concat();
            assert!(bytes_min(&huge) > 1 << 60, "{major:02x}");
            let inside_many = [
                &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00].repeat(60),
                &huge[..],
            ]
            .concat();
            assert!(bytes_min(&inside_many) > 1 << 60, "{major:02x}");
        }
    }

    #[test]
    fn an_item_that_arrives_byte_by_byte_is_looked_at_once() {
        // Quadratic work would be 10^11 steps here, and hours.
        let text_head = &[0x82, 0x7a, 0, 4, 0, 0][..];
        let map_head = &[0xba, 0, 1, 0x86, 0xa0][..];
        let item = [
            text_head,
            &vec![b'x'; 0x4_0000],
            map_head,
            &[0x61, b'k', 0x00].repeat(100_000),
        ]
        .concat();
        let mut scan = Scan::new();
        for end in 0..item.len() {
            let progress = scan.advance(&item[..end]).unwrap();
            assert!(matches!(progress, Progress::NeedMore { bytes_min } if bytes_min > end as u64));
        }
        let bytes = item.len();
        assert_eq!(scan.advance(&item), Ok(Progress::Complete { bytes }));
    }

    #[test]
    fn a_scan_that_was_reset_knows_nothing_of_the_last_item() {
        let mut scan = Scan::new();
        assert!(scan.advance(&[0x82, 0x7f]).is_ok());
        scan.reset();
        assert_eq!(
            scan.advance(&[0x00, 0xff]),
            Ok(Progress::Complete { bytes: 1 })
        );
        scan.reset();
        assert_eq!(
            scan.advance(&[0x01, 0x1c]),
            Ok(Progress::Complete { bytes: 1 })
        );
    }
}
