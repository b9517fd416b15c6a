//! Maps by their string keys.

use super::{Error, Left, Reader, Str};

/// Walks the entries of a map whose keys are strings; entries with keys of other
/// types are passed over.
///
/// Callers match keys by content, whichever string type they came as, and let a
/// later entry with the same key win over an earlier one.
#[derive(Debug)]
pub struct Fields<'a> {
    reader: Reader<'a>,
    left: Left,
}

impl<'a> Fields<'a> {
    /// Enters the map that `item` is.
    ///
    /// # Errors
    /// [`Error::Expected`] if it is not a map.
    pub fn new(item: &'a [u8]) -> Result<Fields<'a>, Error> {
        let mut reader = Reader::new(item);
        let left = reader.map()?;
        Ok(Fields { reader, left })
    }

    /// The next entry: its key and, as an item, its value.
    ///
    /// # Errors
    /// Those of [`Reader::raw`]; none if the map was checked before.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator could not end at an error"
    )]
    #[inline]
    pub fn next(&mut self) -> Result<Option<(Str<'a>, &'a [u8])>, Error> {
        while self.reader.more(&mut self.left)? {
            match self.reader.string() {
                Ok(key) => return Ok(Some((key, self.reader.raw()?))),
                Err(_) => {
                    self.reader.raw()?;
                    self.reader.raw()?;
                }
            }
        }
        Ok(None)
    }
}

/// The value of one key of a map, the last if there are several; `None` if the item
/// is not a map, or has no such key, or nil there.
#[must_use]
pub fn field<'a>(item: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut fields = Fields::new(item).ok()?;
    let mut found = None;
    while let Ok(Some((name, value))) = fields.next() {
        if name.as_bytes() == key {
            found = Some(value);
        }
    }
    found.filter(|value| !Reader::new(value).null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_content_whatever_surrounds_it() {
        // {b"a": 1, 7: [], "a": 2, "n": nil, -1: {}}
        let map = b"\xbf\x41a\x01\x07\x80\x61a\x02\x61n\xf6\x20\xa0\xff";
        assert_eq!(field(map, b"a"), Some(&[2][..]), "the last one wins");
        assert_eq!(field(map, b"n"), None);
        assert_eq!(field(map, b"x"), None);
        assert_eq!(field(b"\x80", b"a"), None);
    }
}
