//! What holds for every item and for every byte string, by second opinion.
//!
//! `naive` is the check written the obvious way, straight from RFC 8949 appendix C:
//! recursive, and ignorant of how the real one works.

use std::str;

use proptest::{collection::vec, prelude::*};

use super::{
    Error, Progress, Reader, Scan,
    arbitrary::{damaged, item},
    diagnose,
};
use crate::limits::MESSAGE_DEPTH_MAX;

/// What follows the first item of `buffer`, `levels` of nesting inside it allowed.
fn naive(buffer: &[u8], levels: usize) -> Result<&[u8], Error> {
    let (first, argument, rest) = naive_head(buffer)?;
    let Some(argument) = argument else {
        return naive_indefinite(first, rest, levels);
    };
    match first >> 5 {
        2 | 3 => naive_string(first, argument, rest),
        4 => naive_items(u128::from(argument), rest, levels),
        5 => naive_items(2 * u128::from(argument), rest, levels),
        6 => naive_items(1, rest, levels),
        7 if first == 0xf8 && argument < 32 => Err(Error::Malformed),
        _ => Ok(rest),
    }
}

fn naive_head(buffer: &[u8]) -> Result<(u8, Option<u64>, &[u8]), Error> {
    let [first, rest @ ..] = buffer else {
        return Err(Error::Truncated);
    };
    let bytes = match first & 0x1f {
        info @ 0..=23 => return Ok((*first, Some(u64::from(info)), rest)),
        info @ 24..=27 => 1usize << (info - 24),
        31 => return Ok((*first, None, rest)),
        _ => return Err(Error::Malformed),
    };
    let argument = rest.get(..bytes).ok_or(Error::Truncated)?;
    let argument = argument
        .iter()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    Ok((*first, Some(argument), &rest[bytes..]))
}

fn naive_items(items: u128, mut rest: &[u8], levels: usize) -> Result<&[u8], Error> {
    let levels = levels.checked_sub(1).ok_or(Error::TooDeep)?;
    for _ in 0..items {
        rest = naive(rest, levels)?;
    }
    Ok(rest)
}

fn naive_string(first: u8, length: u64, rest: &[u8]) -> Result<&[u8], Error> {
    if length > rest.len() as u64 {
        return Err(Error::Truncated);
    }
    let (content, rest) = rest.split_at(length as usize);
    match first >> 5 == 3 && str::from_utf8(content).is_err() {
        true => Err(Error::Malformed),
        false => Ok(rest),
    }
}

fn naive_indefinite(first: u8, mut rest: &[u8], levels: usize) -> Result<&[u8], Error> {
    let major = first >> 5;
    if !(2..=5).contains(&major) {
        return Err(Error::Malformed);
    }
    let levels = match (major, levels.checked_sub(1)) {
        (4 | 5, None) => return Err(Error::TooDeep),
        (_, levels) => levels.unwrap_or(0),
    };
    loop {
        match rest {
            [0xff, rest @ ..] => return Ok(rest),
            _ if major >= 4 => {
                rest = naive(rest, levels)?;
                if major == 5 {
                    rest = naive(rest, levels)?;
                }
            }
            _ => match naive_head(rest)? {
                (0xf8, Some(..), _) | (_, None, _) => return Err(Error::Malformed),
                (chunk, Some(length), tail) if chunk >> 5 == major => {
                    rest = naive_string(chunk, length, tail)?;
                }
                _ => return Err(Error::Malformed),
            },
        }
    }
}

fn raw(buffer: &[u8]) -> Result<&[u8], Error> {
    Reader::new(buffer).raw()
}

fn naive_raw(buffer: &[u8]) -> Result<&[u8], Error> {
    naive(buffer, MESSAGE_DEPTH_MAX).map(|rest| &buffer[..buffer.len() - rest.len()])
}

/// What is valid is taken by `serde_cbor` too; what it takes is well-formed.
fn serde_cbor_takes(buffer: &[u8]) -> bool {
    serde_cbor::from_slice::<serde::de::IgnoredAny>(buffer).is_ok()
}

/// Bytes of which many are heads that open, end or nearly end something.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let head = prop::sample::select(
        &[
            0x00, 0x20, 0x40, 0x41, 0x5f, 0x60, 0x61, 0x7f, 0x80, 0x81, 0x82, 0x9f, 0xa0, 0xa1,
            0xbf, 0xc1, 0xf6, 0xf8, 0xff,
        ][..],
    );
    vec(prop_oneof![4 => head, 1 => any::<u8>()], 0..120)
}

proptest! {
    #[test]
    fn raw_takes_exactly_one_well_formed_item(item in item(), tail in vec(any::<u8>(), 0..9)) {
        let stream = [&item[..], &tail].concat();
        prop_assert_eq!(raw(&stream), Ok(&item[..]));
    }

    #[test]
    fn raw_agrees_with_the_naive_check_on_damaged_items(buffer in damaged()) {
        prop_assert_eq!(raw(&buffer), naive_raw(&buffer));
    }

    #[test]
    fn raw_agrees_with_the_naive_check_on_heads(buffer in heads()) {
        prop_assert_eq!(raw(&buffer), naive_raw(&buffer));
    }

    #[test]
    fn raw_agrees_with_the_naive_check_on_noise(buffer in vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(raw(&buffer), naive_raw(&buffer));
    }

    #[test]
    fn raw_takes_what_serde_cbor_takes(buffer in prop_oneof![damaged(), heads(), vec(any::<u8>(), 0..64)]) {
        if serde_cbor_takes(&buffer) {
            prop_assert_eq!(raw(&buffer), Ok(&buffer[..]));
        }
    }

    /// An item cut into parts is checked like the whole, and every lower bound that
    /// is told on the way holds.
    #[test]
    fn a_scan_in_parts_finds_what_a_scan_of_the_whole_does(
        buffer in prop_oneof![item(), damaged(), heads()],
        step in 1..20usize,
    ) {
        let whole = Scan::new().advance(&buffer);
        let mut scan = Scan::new();
        let mut known = 0;
        for end in (0..buffer.len()).step_by(step).chain([buffer.len()]) {
            match scan.advance(&buffer[..end]) {
                Ok(Progress::NeedMore { bytes_min }) => {
                    prop_assert!(bytes_min > end as u64);
                    prop_assert!(bytes_min >= known, "a bound was taken back");
                    known = bytes_min;
                }
                outcome => {
                    prop_assert_eq!(outcome, whole);
                    if let Ok(Progress::Complete { bytes }) = outcome {
                        prop_assert!(known <= bytes as u64, "{} was needed of {}", known, bytes);
                    }
                    return Ok(());
                }
            }
        }
        prop_assert_eq!(whole, Ok(Progress::NeedMore { bytes_min: known }));
    }

    #[test]
    fn strings_read_one_way_are_checked_like_any_other(buffer in prop_oneof![item(), damaged()]) {
        let mut reader = Reader::new(&buffer);
        match reader.string() {
            Ok(_) => prop_assert_eq!(raw(&buffer).map(<[u8]>::len), Ok(buffer.len() - reader.rest().len())),
            Err(Error::Expected { .. }) => prop_assert!(!matches!(buffer[0] >> 5, 2 | 3)),
            Err(error) => prop_assert_eq!(raw(&buffer), Err(error)),
        }
    }

    #[test]
    fn diagnose_shows_something_of_anything(buffer in prop_oneof![item(), damaged(), heads()], chars_max in 1..100usize) {
        let shown = diagnose(&buffer, chars_max);
        prop_assert!((1..=chars_max).contains(&shown.chars().count()), "{}", shown);
        prop_assert!(!shown.contains(char::is_control), "{}", shown);
        let full = diagnose(&buffer, 100_000);
        prop_assert!(shown == full || full.starts_with(shown.strip_suffix('…').unwrap_or("?")));
        if raw(&buffer).is_ok() {
            prop_assert!(!full.ends_with(['…', '>']), "{}", full);
        }
    }
}
