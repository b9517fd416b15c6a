//! A pull reader over one buffer.
//!
//! # Invariants
//!
//! A method that fails, or says that the next item is something else, leaves the
//! reader in front of that item, so the caller can show it (`diagnose`).
//! What the typed methods skip or enter is checked as far as they look at it;
//! [`Reader::raw`] checks all of its item.

use std::str;

use super::{
    Error, Kind, Number, Progress, Scan, Str,
    head::{
        ARRAY, BREAK, BYTES, FALSE, Head, MAP, NEGATIVE, NULL, SIMPLE, TAG, TEXT, TRUE, UNDEFINED,
        UNSIGNED,
    },
    number::from_half,
};

/// The tag of a byte string that is an unsigned number, the most significant byte first.
const TAG_BIG: u64 = 2;
/// The same of −1 minus the number.
const TAG_BIG_NEGATIVE: u64 = 3;

/// What a container still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// This many items; of a map, this many pairs.
    Items(u64),
    /// Items up to a break.
    UntilBreak,
}

/// Reads items from the front of a buffer.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the front of `buffer`.
    #[must_use]
    pub fn new(buffer: &'a [u8]) -> Reader<'a> {
        Reader { rest: buffer }
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The type of the next item, which is not read.
    ///
    /// # Errors
    /// [`Error::Truncated`] at the end, [`Error::Malformed`] at a break.
    pub fn peek_kind(&self) -> Result<Kind, Error> {
        Head::parse(self.rest)?.kind().ok_or(Error::Malformed)
    }

    /// Whether the next item is null or undefined; if so, reads it.
    pub fn null(&mut self) -> bool {
        match self.rest.split_first() {
            Some((&(NULL | UNDEFINED), rest)) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// True or false.
    ///
    /// # Errors
    /// [`Error::Expected`].
    pub fn bool(&mut self) -> Result<bool, Error> {
        match self.rest.split_first() {
            Some((&simple @ (FALSE | TRUE), rest)) => {
                self.rest = rest;
                Ok(simple == TRUE)
            }
            _ => Err(self.expected("true or false")),
        }
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// [`Error::Expected`], also for a float or a negative integer.
    pub fn u64(&mut self) -> Result<u64, Error> {
        match Head::parse(self.rest)? {
            head @ Head {
                major: UNSIGNED,
                argument: Some(value),
                ..
            } => {
                self.pass(head.bytes)?;
                Ok(value)
            }
            _ => Err(self.expected("an unsigned integer")),
        }
    }

    /// A number of any form. An integer of any size (tags 2 and 3, as Python 2 sends
    /// those from 2⁶³ on) saturates where it does not fit.
    ///
    /// # Errors
    /// [`Error::Expected`].
    pub fn number(&mut self) -> Result<Number, Error> {
        let head = Head::parse(self.rest)?;
        let number = match (head.major, head.argument, head.bytes) {
            (UNSIGNED, Some(value), _) => Number::Integer(i128::from(value)),
            (NEGATIVE, Some(value), _) => Number::Integer(-1 - i128::from(value)),
            (SIMPLE, Some(bits), 3) => Number::Float(from_half(bits as u16)),
            (SIMPLE, Some(bits), 5) => Number::Float(f64::from(f32::from_bits(bits as u32))),
            (SIMPLE, Some(bits), 9) => Number::Float(f64::from_bits(bits)),
            (TAG, Some(tag @ (TAG_BIG | TAG_BIG_NEGATIVE)), bytes) => {
                return self.big_number(tag, bytes);
            }
            _ => return Err(self.expected("a number")),
        };
        self.pass(head.bytes)?;
        Ok(number)
    }

    /// A number of any form that is finite ([`Number::finite`]).
    ///
    /// # Errors
    /// [`Error::Expected`], [`Error::NotFinite`].
    pub fn finite(&mut self) -> Result<f64, Error> {
        self.checked(Number::finite)
    }

    /// A number of any form that is whole ([`Number::whole`]).
    ///
    /// # Errors
    /// [`Error::Expected`], [`Error::NotFinite`], [`Error::NotWhole`].
    pub fn whole(&mut self) -> Result<i128, Error> {
        self.checked(Number::whole)
    }

    /// A tag number; the tagged item is next.
    ///
    /// # Errors
    /// [`Error::Expected`].
    pub fn tag(&mut self) -> Result<u64, Error> {
        match Head::parse(self.rest)? {
            head @ Head {
                major: TAG,
                argument: Some(tag),
                ..
            } => {
                self.pass(head.bytes)?;
                Ok(tag)
            }
            _ => Err(self.expected("a tag")),
        }
    }

    /// Enters an array; one tag in front of it (a Python tuple) is dropped.
    ///
    /// # Errors
    /// [`Error::Expected`].
    pub fn array(&mut self) -> Result<Left, Error> {
        let before = self.rest;
        let mut head = Head::parse(self.rest)?;
        if head.major == TAG {
            self.pass(head.bytes)?;
            head = match Head::parse(self.rest) {
                Ok(head) => head,
                Err(error) => {
                    self.rest = before;
                    return Err(error);
                }
            };
        }
        if head.major != ARRAY {
            self.rest = before;
            return Err(self.expected("a list"));
        }
        self.pass(head.bytes)?;
        Ok(head.argument.map_or(Left::UntilBreak, Left::Items))
    }

    /// Enters a map. [`more`](Reader::more) then counts keys.
    ///
    /// # Errors
    /// [`Error::Expected`].
    pub fn map(&mut self) -> Result<Left, Error> {
        let head = Head::parse(self.rest)?;
        if head.major != MAP {
            return Err(self.expected("a map"));
        }
        self.pass(head.bytes)?;
        Ok(head.argument.map_or(Left::UntilBreak, Left::Items))
    }

    /// Whether the container has another item (of a map, another key), which the
    /// caller must then read (and the key's value too). After it has said no once it
    /// says no for ever.
    ///
    /// # Errors
    /// [`Error::Truncated`] if neither an item nor the end of the container follows.
    pub fn more(&mut self, left: &mut Left) -> Result<bool, Error> {
        match left {
            Left::Items(0) => Ok(false),
            Left::Items(items) if !self.rest.is_empty() => {
                *items -= 1;
                Ok(true)
            }
            Left::Items(_) => Err(Error::Truncated),
            Left::UntilBreak => match self.rest.split_first() {
                Some((&BREAK, rest)) => {
                    self.rest = rest;
                    *left = Left::Items(0);
                    Ok(false)
                }
                Some(_) => Ok(true),
                None => Err(Error::Truncated),
            },
        }
    }

    /// Reads one item of any type, checks all of it, and returns its bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Malformed`], [`Error::TooDeep`].
    // Always inlined: taking requests apart is mostly this, and a slice that is
    // returned through memory stalls the copy that follows (measured: 15 % of a call).
    #[inline(always)]
    pub fn raw(&mut self) -> Result<&'a [u8], Error> {
        let bytes = match self.leaf_bytes()? {
            Some(bytes) => bytes,
            None => self.scanned_bytes()?,
        };
        let (item, rest) = self.split(bytes)?;
        self.rest = rest;
        Ok(item)
    }

    /// The length of the next item, checked.
    #[inline(never)]
    fn scanned_bytes(&self) -> Result<usize, Error> {
        match Scan::new().advance(self.rest)? {
            Progress::Complete { bytes } => Ok(bytes),
            Progress::NeedMore { .. } => Err(Error::Truncated),
        }
    }

    /// The length of the next item, checked, if it is one that holds no others. Most
    /// are, and they need none of the state of a [`Scan`].
    #[inline]
    fn leaf_bytes(&self) -> Result<Option<usize>, Error> {
        let head = Head::parse(self.rest)?;
        Ok(match (head.major, head.argument) {
            (BYTES | TEXT, Some(length)) => {
                let (content, _) = self.content(head.bytes, length)?;
                if head.major == TEXT {
                    str::from_utf8(content).map_err(|_| Error::Malformed)?;
                }
                Some(head.bytes + content.len())
            }
            (UNSIGNED | NEGATIVE | SIMPLE, Some(_)) | (ARRAY | MAP, Some(0)) => Some(head.bytes),
            _ => None,
        })
    }

    #[cold]
    fn big_number(&mut self, tag: u64, head_bytes: usize) -> Result<Number, Error> {
        let mut content = self.clone();
        content.pass(head_bytes)?;
        let Ok(Str::Bytes(digits)) = content.string() else {
            return Err(self.expected("a number"));
        };
        self.rest = content.rest;
        let magnitude = digits.iter().try_fold(0i128, |sum, &digit| {
            sum.checked_mul(256)?.checked_add(digit.into())
        });
        let magnitude = magnitude.unwrap_or(i128::MAX);
        Ok(Number::Integer(match tag {
            TAG_BIG_NEGATIVE => -1 - magnitude,
            _ => magnitude,
        }))
    }

    fn checked<T>(&mut self, check: impl FnOnce(Number) -> Result<T, Error>) -> Result<T, Error> {
        let before = self.rest;
        check(self.number()?).inspect_err(|_| self.rest = before)
    }

    #[cold]
    pub(super) fn expected(&self, expected: &'static str) -> Error {
        match self.peek_kind() {
            Ok(found) => Error::Expected { expected, found },
            Err(error) => error,
        }
    }

    #[inline]
    pub(super) fn content(
        &self,
        head_bytes: usize,
        length: u64,
    ) -> Result<(&'a [u8], &'a [u8]), Error> {
        let length = usize::try_from(length).map_err(|_| Error::Truncated)?;
        let (_, tail) = self.split(head_bytes)?;
        tail.split_at_checked(length).ok_or(Error::Truncated)
    }

    #[inline]
    pub(super) fn pass(&mut self, bytes: usize) -> Result<(), Error> {
        self.rest = self.split(bytes)?.1;
        Ok(())
    }

    #[inline]
    fn split(&self, bytes: usize) -> Result<(&'a [u8], &'a [u8]), Error> {
        self.rest.split_at_checked(bytes).ok_or(Error::Truncated)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs `read` and checks that a failure left the reader where it was.
    pub(in crate::cbor) fn read<'a, T>(
        item: &'a [u8],
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut reader = Reader::new(item);
        let result = read(&mut reader);
        match result {
            Ok(_) => assert!(reader.is_end(), "{:02x?} is left", reader.rest()),
            Err(_) => assert_eq!(reader.rest(), item),
        }
        result
    }

    #[test]
    fn numbers_come_in_any_form_without_overflow() {
        for (item, number) in [
            (&[0x18, 0x2a][..], Number::Integer(42)),
            (
                &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Number::Integer(u64::MAX.into()),
            ),
            (
                &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Number::Integer(-(1 << 64)),
            ),
            (&[0x20], Number::Integer(-1)),
            (&[0xf9, 0x5c, 0xb0], Number::Float(300.0)),
            (&[0xfa, 0x3f, 0xc0, 0, 0], Number::Float(1.5)),
            (&[0xfb, 0xc0, 0, 0, 0, 0, 0, 0, 0], Number::Float(-2.0)),
            (b"\xc2\x43\x01\0\0", Number::Integer(65_536)),
            (b"\xc3\x41\x00", Number::Integer(-1)),
            (b"\xc2\x51aaaaaaaaaaaaaaaaa", Number::Integer(i128::MAX)),
        ] {
            assert_eq!(read(item, Reader::number), Ok(number));
        }
        let fraction = [0xf9, 0x3e, 0x00];
        assert_eq!(read(&fraction, Reader::finite), Ok(1.5));
        assert_eq!(read(&fraction, Reader::whole), Err(Error::NotWhole(1.5)));
        let infinite = [0xf9, 0x7c, 0x00];
        assert_eq!(
            read(&infinite, Reader::finite),
            Err(Error::NotFinite(f64::INFINITY))
        );
        assert_eq!(
            read(&[0xf5], Reader::number),
            Err(Error::Expected {
                expected: "a number",
                found: Kind::Bool
            })
        );
    }

    #[test]
    fn a_tuple_is_a_list() {
        assert_eq!(read(&[0x82], Reader::array), Ok(Left::Items(2)));
        assert_eq!(read(&[0xd8, 0x80, 0x82], Reader::array), Ok(Left::Items(2)));
        assert_eq!(
            read(&[0xd8, 0x80, 0x9f], Reader::array),
            Ok(Left::UntilBreak)
        );
        assert_eq!(read(&[0xd8, 0x80], Reader::array), Err(Error::Truncated));
        for no_list in [&[0xd8, 0x80, 0xd8, 0x80, 0x82][..], &[0xc1, 0xa0]] {
            assert!(matches!(
                read(no_list, Reader::array),
                Err(Error::Expected { .. })
            ));
        }
    }

    #[test]
    fn containers_of_both_kinds_are_walked_the_same_way() {
        for item in [
            &[0xa2, 0x01, 0x02, 0x03, 0x04][..],
            &[0xbf, 1, 2, 3, 4, 0xff],
        ] {
            let pairs = read(item, |reader| {
                let (mut left, mut pairs) = (reader.map()?, Vec::new());
                while reader.more(&mut left)? {
                    pairs.push((reader.u64()?, reader.u64()?));
                }
                assert_eq!(reader.more(&mut left), Ok(false));
                Ok(pairs)
            });
            assert_eq!(pairs, Ok(vec![(1, 2), (3, 4)]));
        }
        let mut cut = Reader::new(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let mut left = cut.array().unwrap();
        assert_eq!(cut.more(&mut left), Err(Error::Truncated));
    }

    #[test]
    fn undefined_is_null_and_nothing_else_is() {
        for (item, is_null) in [
            (&[0xf6][..], true),
            (&[0xf7], true),
            (&[0xf4], false),
            (&[0x00], false),
            (&[], false),
        ] {
            let mut reader = Reader::new(item);
            assert_eq!(reader.null(), is_null);
            assert_eq!(reader.is_end(), is_null || item.is_empty());
        }
    }

    #[test]
    fn kinds_are_told_from_the_head_alone() {
        for (first, kind) in [
            (0x00, Ok(Kind::Integer)),
            (0x20, Ok(Kind::Integer)),
            (0x40, Ok(Kind::Bytes)),
            (0x7f, Ok(Kind::Text)),
            (0x9f, Ok(Kind::Array)),
            (0xa0, Ok(Kind::Map)),
            (0xc1, Ok(Kind::Tag)),
            (0xe0, Ok(Kind::Simple)),
            (0xf4, Ok(Kind::Bool)),
            (0xf7, Ok(Kind::Null)),
            (0xf9, Err(Error::Truncated)),
            (0xff, Err(Error::Malformed)),
        ] {
            assert_eq!(Reader::new(&[first]).peek_kind(), kind, "{first:02x}");
        }
        let half = [0xf9, 0xf7, 0x00];
        assert_eq!(Reader::new(&half).peek_kind(), Ok(Kind::Float));
    }
}
