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
//! costs O(depth). No allocation, no recursion: the state is 648 bytes.

use std::str;

use super::{
    Error,
    head::{ARRAY, BYTES, Head, MAP, NEGATIVE, SIMPLE, TAG, TEXT, UNSIGNED},
};
use crate::limits::MESSAGE_DEPTH_MAX;

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

/// What a container waits for: this many more items, up to [`ITEMS_CAP`] …
type Waits = u64;
/// … or items up to a break, …
const ITEMS: Waits = Waits::MAX;
/// … or a key or a break, …
const KEY: Waits = Waits::MAX - 1;
/// … or a value.
const VALUE: Waits = Waits::MAX - 2;
/// Counts above this are as good as this: an item has at least one byte, and no
/// buffer has this many.
const ITEMS_CAP: Waits = 1 << 62;

/// The state of a check that can stop wherever the bytes do.
#[derive(Debug, Clone)]
pub struct Scan {
    position: usize,
    depth: usize,
    depth_max: usize,
    /// What the innermost open container waits for. At depth 0 that is the scan
    /// itself, which waits for one item.
    waits: Waits,
    /// What the `depth` containers around it wait for, outermost first.
    around: [Waits; MESSAGE_DEPTH_MAX],
    /// Inside a chunked string: its major type.
    chunks: Option<u8>,
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
            depth_max: MESSAGE_DEPTH_MAX,
            waits: 1,
            around: [0; MESSAGE_DEPTH_MAX],
            chunks: None,
        }
    }

    /// How many bytes of the item have been checked; after an error, where the bad
    /// part of it starts.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Checks on from where the last call stopped. `item` is all that has arrived of
    /// the item, from its first byte, and may go on after the item's end. Once the
    /// item is complete, the scan is at the start of another.
    ///
    /// # Errors
    /// [`Error::Malformed`] and [`Error::TooDeep`], as soon as the offending head, or
    /// the whole of an offending text string, is there; the same again if called again.
    #[inline]
    pub fn advance(&mut self, item: &[u8]) -> Result<Progress, Error> {
        // In locals the state stays in registers.
        let mut rest = item.get(self.position..).unwrap_or_default();
        let (mut depth, mut waits) = (self.depth, self.waits);
        let stop = loop {
            let step = match self.chunks {
                None => step(rest),
                Some(major) => chunk(rest, major),
            };
            let (step, after) = match step {
                Ok(step) => step,
                Err(stop) => break stop,
            };
            match step {
                Step::Complete => {}
                Step::Chunks(chunks) => {
                    self.chunks = chunks;
                    if chunks.is_some() {
                        rest = after;
                        continue;
                    }
                }
                Step::Break if matches!(waits, ITEMS | KEY) => waits = 1, // for its own end
                Step::Break => break Stop::Error(Error::Malformed),
                Step::Open(items) => {
                    let outer = self
                        .around
                        .get_mut(depth)
                        .filter(|_| depth < self.depth_max);
                    let Some(outer) = outer else {
                        break Stop::Error(Error::TooDeep);
                    };
                    if items > 0 {
                        *outer = waits;
                        depth += 1;
                        waits = items;
                        rest = after;
                        continue;
                    }
                }
            }
            // An item is complete, and perhaps with it some of the containers it is in.
            rest = after;
            while waits == 1 {
                let outer = depth.checked_sub(1).and_then(|d| self.around.get(d));
                let Some(&outer) = outer else {
                    let bytes = item.len() - rest.len();
                    (self.position, self.depth, self.waits) = (0, 0, 1);
                    return Ok(Progress::Complete { bytes });
                };
                depth -= 1;
                waits = outer;
            }
            waits = match waits {
                ITEMS => ITEMS,
                KEY => VALUE,
                VALUE => KEY,
                items => items - 1,
            };
        };
        self.position = item.len() - rest.len();
        (self.depth, self.waits) = (depth, waits);
        match stop {
            Stop::Needs(bytes) => Ok(self.need_more(bytes)),
            Stop::Error(error) => Err(error),
        }
    }

    /// The next step needs `bytes` after the position; after that, every counted item
    /// still to come has at least one byte.
    #[cold]
    fn need_more(&self, bytes: u64) -> Progress {
        let step = bytes.saturating_add(self.position as u64);
        let open = self.around.iter().take(self.depth).chain([&self.waits]);
        let bytes_min = open
            .filter(|&&waits| waits <= ITEMS_CAP)
            .fold(step, |sum, &items| sum.saturating_add(items - 1));
        Progress::NeedMore { bytes_min }
    }
}

/// Whether `item` is well-formed and its arrays, maps and tags are nested at most
/// `levels` deep, which is no more than [`MESSAGE_DEPTH_MAX`].
#[must_use]
pub fn nests_within(item: &[u8], levels: usize) -> bool {
    let mut scan = Scan {
        depth_max: levels,
        ..Scan::new()
    };
    matches!(scan.advance(item), Ok(Progress::Complete { bytes }) if bytes == item.len())
}

/// What the head at the front of the rest, and a string's content, amount to.
enum Step {
    /// A whole item that has no others in it.
    Complete,
    /// A container that waits for this, or an empty one.
    Open(Waits),
    /// The end of the innermost container.
    Break,
    /// The start or a chunk of a chunked string of this major type, or its end.
    Chunks(Option<u8>),
}

/// Why the check stops before the item is complete.
enum Stop {
    /// The next step needs this many bytes after the position.
    Needs(u64),
    Error(Error),
}

/// Takes one step over `rest`, outside of a chunked string.
#[inline(always)]
fn step(rest: &[u8]) -> Result<(Step, &[u8]), Stop> {
    let head = parse(rest)?;
    let tail = rest.get(head.bytes..).unwrap_or_default();
    let step = match (head.major, head.argument) {
        (BYTES | TEXT, Some(length)) => {
            return string(&head, length, tail).map(|after| (Step::Complete, after));
        }
        (UNSIGNED | NEGATIVE, _) | (SIMPLE, Some(_)) => Step::Complete,
        (MAP, Some(pairs)) => Step::Open(pairs.min(ITEMS_CAP / 2) * 2),
        (ARRAY, Some(items)) => Step::Open(items.min(ITEMS_CAP)),
        (TAG, _) => Step::Open(1),
        (BYTES | TEXT, None) => Step::Chunks(Some(head.major)),
        (ARRAY, None) => Step::Open(ITEMS),
        (MAP, None) => Step::Open(KEY),
        _ => Step::Break,
    };
    Ok((step, tail))
}

/// Takes one step over `rest`, inside a chunked string of type `major`.
#[cold]
fn chunk(rest: &[u8], major: u8) -> Result<(Step, &[u8]), Stop> {
    let head = parse(rest)?;
    let tail = rest.get(head.bytes..).unwrap_or_default();
    match (head.major, head.argument) {
        (SIMPLE, None) => Ok((Step::Chunks(None), tail)),
        (kind, Some(length)) if kind == major => {
            string(&head, length, tail).map(|after| (Step::Chunks(Some(major)), after))
        }
        _ => Err(Stop::Error(Error::Malformed)),
    }
}

#[inline(always)]
fn parse(rest: &[u8]) -> Result<Head, Stop> {
    Head::parse(rest).map_err(|error| match error {
        Error::Truncated => Stop::Needs(Head::bytes_announced(rest) as u64),
        error => Stop::Error(error),
    })
}

/// Passes the content of a string of `length` bytes.
#[inline(always)]
fn string<'a>(head: &Head, length: u64, tail: &'a [u8]) -> Result<&'a [u8], Stop> {
    let split = usize::try_from(length).map(|length| tail.split_at_checked(length));
    let Ok(Some((content, after))) = split else {
        return Err(Stop::Needs(length.saturating_add(head.bytes as u64)));
    };
    if head.major == TEXT && str::from_utf8(content).is_err() {
        return Err(Stop::Error(Error::Malformed));
    }
    Ok(after)
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
            let bytes = MESSAGE_DEPTH_MAX + 1;
            assert!(matches!(
                scan(&nested(MESSAGE_DEPTH_MAX)),
                Ok(Progress::NeedMore { .. })
            ));
            assert_eq!(scan(&nested(bytes)), Err(Error::TooDeep));
            assert_eq!(scan(&nested(1_000_000)), Err(Error::TooDeep));
        }
        let mut item = vec![0x81; MESSAGE_DEPTH_MAX];
        item.push(0x00);
        let bytes = item.len();
        assert_eq!(scan(&item), Ok(Progress::Complete { bytes }));
        item[MESSAGE_DEPTH_MAX] = 0x80;
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
    fn a_scan_knows_nothing_of_the_item_before() {
        let mut scan = Scan::new();
        let chunked = [0x82, 0x7f, 0x60, 0xff, 0x9f, 0xff];
        assert!(matches!(
            scan.advance(&chunked[..3]),
            Ok(Progress::NeedMore { .. })
        ));
        assert_eq!(scan.advance(&chunked), Ok(Progress::Complete { bytes: 6 }));
        for _ in 0..2 {
            assert_eq!(
                scan.advance(&[0x81, 0x00, 0xff]),
                Ok(Progress::Complete { bytes: 2 })
            );
        }
    }
}
