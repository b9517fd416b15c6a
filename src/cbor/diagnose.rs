//! Shows an item to people: diagnostic notation (RFC 8949 §8), cut short.
//!
//! For error messages and logs, so it takes any bytes: what cannot be read is shown
//! as bytes, and nothing that could disturb a terminal gets through. Costs O(the
//! characters shown), whatever the length of the item.

use super::{
    Kind, Left, Number, Reader,
    head::{BREAK, BYTES, Head},
};
use crate::limits::CBOR_DEPTH_MAX;

/// Stands for what is left out.
const ELLIPSIS: char = '…';

/// Most bytes of a character in UTF-8.
const CHAR_BYTES_MAX: usize = 4;

/// The first item of `item` in diagnostic notation, in at most `chars_max`
/// characters; the last of them is `…` if there is more.
///
/// Byte strings that are printable ASCII are shown as `'text'`, others as `h'00ff'`.
/// Where the bytes stop being CBOR, the next few are shown as `<not CBOR: h'…'>`;
/// where they stop, there is a `…`.
#[must_use]
pub fn diagnose(item: &[u8], chars_max: usize) -> String {
    let mut shown = Shown {
        text: String::new(),
        chars: 0,
        chars_max,
    };
    // A full `Shown` ends the walk; what is in it is the answer then too.
    let _ = shown.item(&mut Reader::new(item), 0);
    shown.text
}

/// The walk over the item ends here.
struct End;

struct Shown {
    text: String,
    chars: usize,
    chars_max: usize,
}

impl Shown {
    fn char(&mut self, char: char) -> Result<(), End> {
        if self.chars < self.chars_max {
            self.text.push(char);
            self.chars += 1;
            return Ok(());
        }
        if self.text.pop().is_some() {
            self.text.push(ELLIPSIS);
        }
        Err(End)
    }

    fn str(&mut self, text: &str) -> Result<(), End> {
        text.chars().try_for_each(|char| self.char(char))
    }

    /// Shows one item. Recursion ends at `CBOR_DEPTH_MAX`.
    fn item(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), End> {
        if depth > CBOR_DEPTH_MAX || reader.is_end() {
            return self.cut();
        }
        let Ok(kind) = reader.peek_kind() else {
            return self.not_cbor(reader);
        };
        match kind {
            Kind::Integer | Kind::Float => match reader.number() {
                Ok(Number::Integer(integer)) => self.str(&integer.to_string()),
                Ok(Number::Float(float)) if float.is_infinite() => {
                    self.str(if float > 0.0 { "Infinity" } else { "-Infinity" })
                }
                Ok(Number::Float(float)) => self.str(&format!("{float:?}")),
                Err(_) => self.not_cbor(reader),
            },
            Kind::Bytes | Kind::Text => self.string(reader),
            Kind::Bool | Kind::Null | Kind::Simple => self.simple(reader),
            Kind::Tag => match reader.tag() {
                Ok(tag) => {
                    self.str(&format!("{tag}("))?;
                    self.item(reader, depth + 1)?;
                    self.char(')')
                }
                Err(_) => self.not_cbor(reader),
            },
            Kind::Array => match reader.array() {
                Ok(left) => self.container(reader, left, depth, ['[', ']']),
                Err(_) => self.not_cbor(reader),
            },
            Kind::Map => match reader.map() {
                Ok(left) => self.container(reader, left, depth, ['{', '}']),
                Err(_) => self.not_cbor(reader),
            },
        }
    }

    fn container(
        &mut self,
        reader: &mut Reader<'_>,
        mut left: Left,
        depth: usize,
        [open, close]: [char; 2],
    ) -> Result<(), End> {
        self.char(open)?;
        let mut separator = if left == Left::UntilBreak { "_ " } else { "" };
        loop {
            match reader.more(&mut left) {
                Ok(true) => {
                    self.str(separator)?;
                    self.item(reader, depth + 1)?;
                    if open == '{' {
                        self.str(": ")?;
                        self.item(reader, depth + 1)?;
                    }
                    separator = ", ";
                }
                Ok(false) => return self.char(close),
                Err(_) => {
                    self.str(separator)?;
                    return self.cut();
                }
            }
        }
    }

    fn simple(&mut self, reader: &mut Reader<'_>) -> Result<(), End> {
        let Ok(head) = Head::parse(reader.rest) else {
            return self.not_cbor(reader);
        };
        match head.argument {
            Some(20) => self.str("false")?,
            Some(21) => self.str("true")?,
            Some(22) => self.str("null")?,
            Some(23) => self.str("undefined")?,
            value => self.str(&format!("simple({})", value.unwrap_or_default()))?,
        }
        self.pass(reader, head.bytes as u64)
    }

    fn string(&mut self, reader: &mut Reader<'_>) -> Result<(), End> {
        let Ok(head) = Head::parse(reader.rest) else {
            return self.not_cbor(reader);
        };
        self.pass(reader, head.bytes as u64)?;
        if let Some(length) = head.argument {
            return self.content(reader, head.major, length);
        }
        let mut separator = "(_ ";
        loop {
            if reader.rest.first() == Some(&BREAK) {
                self.str(if separator == ", " { ")" } else { "(_ )" })?;
                return self.pass(reader, 1);
            }
            self.str(separator)?;
            separator = ", ";
            match Head::parse(reader.rest) {
                Ok(chunk) if chunk.major == head.major => match chunk.argument {
                    Some(length) => {
                        self.pass(reader, chunk.bytes as u64)?;
                        self.content(reader, head.major, length)?;
                    }
                    None => return self.not_cbor(reader),
                },
                _ => return self.not_cbor(reader),
            }
        }
    }

    /// The content of a string or chunk, of which perhaps not all is there.
    fn content(&mut self, reader: &mut Reader<'_>, major: u8, length: u64) -> Result<(), End> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let there = reader.rest.get(..length).unwrap_or(reader.rest);
        // Bytes beyond these would be cut off again.
        let chars_left = (self.chars_max - self.chars).saturating_add(1);
        let visible = chars_left.saturating_mul(CHAR_BYTES_MAX);
        let visible = there.get(..visible).unwrap_or(there);
        let printable = |byte: &u8| matches!(byte, b' '..=b'~');
        if major != BYTES {
            self.quoted(visible, '"')?;
        } else if !visible.is_empty() && visible.iter().all(printable) {
            self.quoted(visible, '\'')?;
        } else {
            self.hex(visible)?;
        }
        if there.len() < length {
            return self.cut();
        }
        self.pass(reader, length as u64)
    }

    fn quoted(&mut self, text: &[u8], quote: char) -> Result<(), End> {
        self.char(quote)?;
        for chunk in text.utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '\\' => self.str("\\\\")?,
                    char if char == quote => {
                        self.char('\\')?;
                        self.char(quote)?;
                    }
                    '"' | '\'' => self.char(char)?,
                    char => char.escape_debug().try_for_each(|char| self.char(char))?,
                }
            }
            for byte in chunk.invalid() {
                self.str(&format!("\\x{byte:02x}"))?;
            }
        }
        self.char(quote)
    }

    fn hex(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.str("h'")?;
        for byte in bytes {
            self.str(&format!("{byte:02x}"))?;
        }
        self.char('\'')
    }

    /// Ends at bytes that are no CBOR, or at a head that is cut short.
    fn not_cbor(&mut self, reader: &Reader<'_>) -> Result<(), End> {
        const BYTES_SHOWN: usize = 8;
        let rest = reader.rest;
        self.str("<not CBOR: ")?;
        self.hex(rest.get(..BYTES_SHOWN).unwrap_or(rest))?;
        self.char('>')?;
        Err(End)
    }

    /// Ends where the bytes do, or where they nest too deep.
    fn cut(&mut self) -> Result<(), End> {
        self.char(ELLIPSIS)?;
        Err(End)
    }

    fn pass(&mut self, reader: &mut Reader<'_>, bytes: u64) -> Result<(), End> {
        let bytes = usize::try_from(bytes).map_err(|_| End)?;
        reader.pass(bytes).map_err(|_| End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(item: &[u8], shown: &str) {
        assert_eq!(diagnose(item, 60), shown, "{item:02x?}");
    }

    #[test]
    fn items_are_shown_as_in_the_standard() {
        check(&[0x18, 0x2a], "42");
        check(
            &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "-18446744073709551616",
        );
        check(&[0xf9, 0x3c, 0x00], "1.0");
        check(&[0xf9, 0xfc, 0x00], "-Infinity");
        check(&[0xf9, 0x7e, 0x00], "NaN");
        check(
            &[0x85, 0xf4, 0xf5, 0xf6, 0xf7, 0xf0],
            "[false, true, null, undefined, simple(16)]",
        );
        check(b"\x43abc", "'abc'");
        check(b"\x44a'\\b", "'a\\'\\\\b'");
        check(&[0x42, 0x00, 0xff], "h'00ff'");
        check(&[0x40], "h''");
        check("\u{67}\"ä'\u{202e}".as_bytes(), "\"\\\"ä'\\u{202e}\"");
        check(b"\x64a\n\x1b\"", r#""a\n\u{1b}\"""#);
        check(
            &[
                0xa2, 0x61, b'a', 0x01, 0x41, b'b', 0xd8, 0x80, 0x82, 0x02, 0x80,
            ],
            r#"{"a": 1, 'b': 128([2, []])}"#,
        );
        check(&[0xbf, 0x01, 0x9f, 0x02, 0xff, 0xff], "{_ 1: [_ 2]}");
        check(b"\x5f\x41a\x41\x00\xff", "(_ 'a', h'00')");
        check(b"\x7f\xff", "(_ )");
        check(&[0x01, 0x02], "1");
    }

    #[test]
    fn bad_input_is_shown_as_far_as_it_goes() {
        check(&[], "…");
        check(&[0x82, 0x01], "[1, …");
        check(&[0xa1, 0x61, b'k'], "{\"k\": …");
        check(&[0x82, 0x01, 0x1c, 0xaa], "[1, <not CBOR: h'1caa'>");
        check(&[0x81, 0xff], "[<not CBOR: h'ff'>");
        check(&[0x19, 0x01], "<not CBOR: h'1901'>");
        check(&[0x5f, 0x61, 0x61, 0xff], "(_ <not CBOR: h'6161ff'>");
        check(b"\x63a\xffb", "\"a\\xffb\"");
        check(b"\x5b\xff\xff\xff\xff\xff\xff\xff\xffabc", "'abc'…");
        let deep = diagnose(&vec![0x81; 1_000_000], usize::MAX);
        assert_eq!(deep, "[".repeat(CBOR_DEPTH_MAX + 1) + "…");
    }

    #[test]
    fn what_is_too_long_is_cut_at_the_limit() {
        let items = [&[0x98, 0xff][..], &[0x07; 255]].concat();
        assert_eq!(diagnose(&items, 8), "[7, 7, …");
        assert_eq!(diagnose(&items, 1), "…");
        assert_eq!(diagnose(&items, 0), "");
        let text = [&[0x7a, 0, 0x10, 0, 0][..], &vec![b'x'; 1 << 20]].concat();
        assert_eq!(diagnose(&text, 6), "\"xxxx…");
        assert_eq!(diagnose(&[0x18, 0x2a], 2), "42", "fits exactly");
        assert_eq!(diagnose(b"\x41a", usize::MAX), "'a'");
    }
}
