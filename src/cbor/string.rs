//! Strings as they came: bytes or text, in one piece or in chunks.

use std::{borrow::Cow, str};

use super::{
    Error, Left, Reader,
    head::{BYTES, Head, TEXT},
};

/// A byte or text string. Owned only if it came in chunks.
///
/// `==` tells the two types apart; what is to be matched by content, whichever type
/// it came as, is compared with [`as_bytes`](Str::as_bytes).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Str<'a> {
    /// A byte string.
    Bytes(Cow<'a, [u8]>),
    /// A text string.
    Text(Cow<'a, str>),
}

impl<'a> Str<'a> {
    /// The content, whichever the type.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Str::Bytes(bytes) => bytes,
            Str::Text(text) => text.as_bytes(),
        }
    }

    /// The content, whichever the type.
    #[must_use]
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Str::Bytes(bytes) => bytes,
            Str::Text(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            Str::Text(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        }
    }

    /// The content as text, whichever the type.
    ///
    /// # Errors
    /// [`Error::NotUtf8`].
    pub fn into_text(self) -> Result<Cow<'a, str>, Error> {
        match self {
            Str::Text(text) => Ok(text),
            Str::Bytes(Cow::Borrowed(bytes)) => str::from_utf8(bytes)
                .map(Cow::Borrowed)
                .map_err(|_| Error::NotUtf8),
            Str::Bytes(Cow::Owned(bytes)) => String::from_utf8(bytes)
                .map(Cow::Owned)
                .map_err(|_| Error::NotUtf8),
        }
    }

    /// Whether it came as text.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self, Str::Text(_))
    }
}

impl<'a> Reader<'a> {
    /// A byte or text string; Python 2 sends either for either. Text is checked.
    ///
    /// # Errors
    /// [`Error::Expected`], [`Error::Malformed`].
    #[inline]
    pub fn string(&mut self) -> Result<Str<'a>, Error> {
        let head = Head::parse(self.rest)?;
        match (head.major, head.argument) {
            (BYTES | TEXT, None) => self.chunked(head.major),
            (BYTES, Some(length)) => {
                let (content, rest) = self.content(head.bytes, length)?;
                self.rest = rest;
                Ok(Str::Bytes(Cow::Borrowed(content)))
            }
            (TEXT, Some(length)) => {
                let (content, rest) = self.content(head.bytes, length)?;
                let text = str::from_utf8(content).map_err(|_| Error::Malformed)?;
                self.rest = rest;
                Ok(Str::Text(Cow::Borrowed(text)))
            }
            _ => Err(self.expected("a string")),
        }
    }

    /// Like [`string`](Reader::string), as text.
    ///
    /// # Errors
    /// [`Error::Expected`], [`Error::Malformed`], [`Error::NotUtf8`].
    pub fn text(&mut self) -> Result<Cow<'a, str>, Error> {
        let before = self.rest;
        self.string()?
            .into_text()
            .inspect_err(|_| self.rest = before)
    }

    /// A string in chunks of type `major`, each of which must be valid by itself.
    #[cold]
    fn chunked(&mut self, major: u8) -> Result<Str<'a>, Error> {
        let mut chunks = self.clone();
        chunks.pass(1)?;
        let (mut bytes, mut text) = (Vec::new(), String::new());
        let mut left = Left::UntilBreak;
        while chunks.more(&mut left)? {
            match (Head::parse(chunks.rest)?, major) {
                (
                    Head {
                        major: BYTES,
                        argument: Some(_),
                        ..
                    },
                    BYTES,
                )
                | (
                    Head {
                        major: TEXT,
                        argument: Some(_),
                        ..
                    },
                    TEXT,
                ) => {}
                _ => return Err(Error::Malformed),
            }
            match chunks.string()? {
                Str::Bytes(chunk) => bytes.extend_from_slice(&chunk),
                Str::Text(chunk) => text.push_str(&chunk),
            }
        }
        *self = chunks;
        Ok(if major == BYTES {
            Str::Bytes(Cow::Owned(bytes))
        } else {
            Str::Text(Cow::Owned(text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::reader::tests::read;

    #[test]
    fn strings_are_borrowed_unless_they_come_in_chunks() {
        let bytes = read(b"\x42ab", Reader::string).unwrap();
        assert!(matches!(bytes, Str::Bytes(Cow::Borrowed(b"ab"))));
        let text = read(b"\x62ab", Reader::string).unwrap();
        assert!(matches!(text, Str::Text(Cow::Borrowed("ab"))));
        assert_eq!(
            read(b"\x5f\x41a\x40\x41b\xff", Reader::string),
            Ok(Str::Bytes(b"ab".into()))
        );
        assert_eq!(
            read(b"\x7f\x61a\x61b\xff", Reader::string),
            Ok(Str::Text("ab".into()))
        );
        assert_eq!(
            read(b"\x5f\xff", Reader::string),
            Ok(Str::Bytes([][..].into()))
        );
        for bad in [
            &b"\x61\xff"[..],
            b"\x7f\x41a\xff",
            b"\x5f\x5f\xff\xff",
            b"\x5f\x00\xff",
            b"\x7f\x61\xc3\x61\xa4\xff",
        ] {
            assert_eq!(read(bad, Reader::string), Err(Error::Malformed));
        }
        assert_eq!(read(b"\x5f\x41a", Reader::string), Err(Error::Truncated));
    }

    #[test]
    fn text_may_come_as_bytes_if_it_is_utf_8() {
        assert_eq!(read(b"\x42\xc3\xa4", Reader::text).unwrap(), "ä");
        assert_eq!(
            read(b"\x5f\x41\xc3\x41\xa4\xff", Reader::text).unwrap(),
            "ä"
        );
        assert_eq!(read(b"\x41\xff", Reader::text), Err(Error::NotUtf8));
        assert_eq!(read(b"\x5f\x41\xff\xff", Reader::text), Err(Error::NotUtf8));
    }
}
