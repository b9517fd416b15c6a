//! Items as tests write them: diagnostic notation (RFC 8949 §8), encoded by other code
//! than the one under test.
//!
//! `1`, `-2`, `1.5`, `true`, `null`, `'bytes'`, `"text"`, `[…]`, `{k: v}`, `T[…]` for
//! a tuple, `h'00ff'`, and `(81a0)` for bytes of CBOR as they are. Containers followed
//! by `_` (`[_ …]`, `{_ …}`) are indefinite. Strings have no escapes.

/// The bytes of an item.
pub(super) fn cbor(notation: &str) -> Vec<u8> {
    let mut parser = Parser {
        rest: notation,
        out: Vec::new(),
    };
    parser.item();
    assert_eq!(parser.rest.trim(), "", "after the item in {notation}");
    parser.out
}

/// The same item with each `'…'` and `"…"` as the other string type.
pub(super) fn other_dialect(notation: &str) -> String {
    let hex = notation.replace("h'", "h`");
    let mut in_hex = false;
    hex.chars()
        .map(|char| match char {
            '`' => {
                in_hex = true;
                '\''
            }
            '\'' if in_hex => {
                in_hex = false;
                '\''
            }
            '\'' => '"',
            '"' => '\'',
            char => char,
        })
        .collect()
}

struct Parser<'a> {
    rest: &'a str,
    out: Vec<u8>,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn until(&mut self, end: char) -> &'a str {
        let (content, rest) = self.rest.split_once(end).unwrap();
        self.rest = rest;
        content
    }

    fn head(&mut self, major: u8, argument: u64) {
        let (info, bytes) = match argument {
            0..24 => (argument as u8, 0),
            24..0x100 => (24, 1),
            0x100..0x1_0000 => (25, 2),
            0x1_0000..0x1_0000_0000 => (26, 4),
            _ => (27, 8),
        };
        self.out.push(major << 5 | info);
        self.out
            .extend_from_slice(&argument.to_be_bytes()[8 - bytes..]);
    }

    fn hex(&mut self, digits: &str) -> Vec<u8> {
        let digits: String = digits.chars().filter(|c| !c.is_whitespace()).collect();
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    /// A container that has been entered, up to `end`.
    fn container(&mut self, major: u8, end: &str) {
        let indefinite = self.eat("_");
        let mut inner = Parser {
            rest: self.rest,
            out: Vec::new(),
        };
        let mut count = 0;
        while !inner.eat(end) {
            inner.item();
            if major == 5 {
                assert!(inner.eat(":"), "a colon at {}", inner.rest);
                inner.item();
            }
            count += 1;
            inner.eat(",");
        }
        self.rest = inner.rest;
        if indefinite {
            self.out.push(major << 5 | 31);
        } else {
            self.head(major, count);
        }
        self.out.append(&mut inner.out);
        if indefinite {
            self.out.push(0xff);
        }
    }

    fn item(&mut self) {
        for (word, byte) in [("false", 0xf4), ("true", 0xf5), ("null", 0xf6)] {
            if self.eat(word) {
                self.out.push(byte);
                return;
            }
        }
        if self.eat("h'") {
            let content = self.until('\'');
            let content = self.hex(content);
            self.head(2, content.len() as u64);
            self.out.extend(content);
        } else if self.eat("(") {
            let raw = self.until(')');
            let raw = self.hex(raw);
            self.out.extend(raw);
        } else if self.eat("'") {
            let content = self.until('\'').as_bytes();
            self.head(2, content.len() as u64);
            self.out.extend_from_slice(content);
        } else if self.eat("\"") {
            let content = self.until('"').as_bytes();
            self.head(3, content.len() as u64);
            self.out.extend_from_slice(content);
        } else if self.eat("T[") {
            self.out.extend_from_slice(&[0xd8, 0x80]);
            self.container(4, "]");
        } else if self.eat("[") {
            self.container(4, "]");
        } else if self.eat("{") {
            self.container(5, "}");
        } else {
            self.number();
        }
    }

    fn number(&mut self) {
        self.rest = self.rest.trim_start();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)))
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let Ok(number) = digits.parse::<i128>() {
            match u64::try_from(number) {
                Ok(number) => self.head(0, number),
                Err(_) => self.head(1, u64::try_from(-1 - number).unwrap()),
            }
        } else {
            let number: f64 = digits.parse().unwrap();
            self.out.push(0xfb);
            self.out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

#[test]
fn notation_means_the_bytes_of_the_standard() {
    for (notation, bytes) in [
        ("23", &[0x17][..]),
        ("-500", &[0x39, 0x01, 0xf3]),
        ("1.5", &[0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]),
        ("'id'", b"\x42id"),
        ("\"id\"", b"\x62id"),
        ("h'00 ff'", &[0x42, 0, 0xff]),
        ("(f9 3e00)", &[0xf9, 0x3e, 0]),
        (
            "T[1, {}, [true, null]]",
            &[0xd8, 0x80, 0x83, 1, 0xa0, 0x82, 0xf5, 0xf6],
        ),
        (
            "{_ 1: [_ ], 2: false}",
            &[0xbf, 1, 0x9f, 0xff, 2, 0xf4, 0xff],
        ),
    ] {
        assert_eq!(cbor(notation), bytes, "{notation}");
    }
    assert_eq!(
        other_dialect("['a', \"b\", h'00', 'c']"),
        "[\"a\", 'b', h'00', \"c\"]"
    );
}
