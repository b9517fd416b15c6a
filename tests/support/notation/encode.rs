//! From notation to bytes.

use super::{BREAK, BYTES, LIST, MAP, NEGATIVE, SIMPLE, TAG, TAG_TUPLE, TEXT, UNSIGNED, half};

type Result<T> = std::result::Result<T, String>;

/// The bytes that `notation`, one item, stands for.
pub fn encode(notation: &str) -> Result<Vec<u8>> {
    let mut parser = Parser::new(notation);
    if parser.is_end() {
        return Err("nothing there".to_owned());
    }
    let item = parser.item()?;
    parser.end()?;
    Ok(item)
}

/// The bytes that pairs of hexadecimal digits stand for, with or without spaces.
pub fn hex_bytes(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        let is_hex = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        u8::from_str_radix(pair, 16).ok().filter(|_| is_hex)
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| format!("not pairs of hexadecimal digits: {text}"))
}

/// Reads notation from the front.
pub struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    pub fn new(notation: &'a str) -> Parser<'a> {
        Parser { rest: notation }
    }

    /// Whether nothing but blanks and comments is left.
    pub fn is_end(&mut self) -> bool {
        self.skip();
        self.rest.is_empty()
    }

    pub fn end(&mut self) -> Result<()> {
        if self.is_end() {
            Ok(())
        } else {
            Err(format!("not expected: {}", self.rest))
        }
    }

    /// Takes `token` off the front, if it is there.
    pub fn take(&mut self, token: &str) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub fn expect(&mut self, token: &str) -> Result<()> {
        if self.take(token) {
            return Ok(());
        }
        Err(format!("expected {token} before: {}", self.rest))
    }

    /// Takes a word (letters, digits, `_`) off the front; perhaps an empty one.
    pub fn word(&mut self) -> &'a str {
        self.skip();
        self.front(|char| char.is_ascii_alphanumeric() || char == '_')
    }

    /// Takes `name=` off the front, if it is there.
    pub fn name(&mut self) -> Option<&'a str> {
        let mut ahead = Parser { rest: self.rest };
        let name = ahead.word();
        if name.is_empty() || !ahead.take("=") {
            return None;
        }
        self.rest = ahead.rest;
        Some(name)
    }

    /// The next item.
    pub fn item(&mut self) -> Result<Vec<u8>> {
        self.skip();
        if self.take("raw'") {
            return hex_bytes(self.until('\'')?);
        }
        if self.take("b'") {
            let content = self.quoted('\'')?;
            return self.string(BYTES, &content);
        }
        if self.take("h'") {
            let content = hex_bytes(self.until('\'')?)?;
            return self.string(BYTES, &content);
        }
        if self.take("\"") {
            let content = self.quoted('"')?;
            return self.string(TEXT, &content);
        }
        if self.take("<<") {
            let mut content = Vec::new();
            while !self.take(">>") {
                content.extend(self.item()?);
            }
            return self.string(BYTES, &content);
        }
        if self.take("(_") {
            return self.chunks();
        }
        if self.take("[") {
            return self.container(LIST, "]");
        }
        if self.take("{") {
            return self.container(MAP, "}");
        }
        if self.take("T(") {
            let tag = head(TAG, TAG_TUPLE, None)?;
            return Ok([tag, self.container(LIST, ")")?].concat());
        }
        let mut ahead = Parser { rest: self.rest };
        let simple = match ahead.word() {
            "false" => 20,
            "true" => 21,
            "nil" => 22,
            "undefined" => 23,
            "simple" => {
                ahead.expect("(")?;
                let value = ahead.word().parse().map_err(|_| "no number in simple()")?;
                ahead.expect(")")?;
                value
            }
            _ => return self.number(),
        };
        self.rest = ahead.rest;
        head(SIMPLE, simple, None)
    }

    fn number(&mut self) -> Result<Vec<u8>> {
        let token = self.front(|char| char.is_ascii_alphanumeric() || "+-.".contains(char));
        let width = self.width()?;
        let bad = || format!("not an item: {token}{}", self.rest);
        if let Ok(number) = token.parse::<i128>() {
            let (major, argument) = if number < 0 {
                (NEGATIVE, !number)
            } else {
                (UNSIGNED, number)
            };
            let argument = u64::try_from(argument).map_err(|_| bad())?;
            if self.rest.starts_with('(') && major == UNSIGNED {
                self.expect("(")?;
                let tagged = self.item()?;
                self.expect(")")?;
                return Ok([head(TAG, argument, width)?, tagged].concat());
            }
            return head(major, argument, width);
        }
        let number: f64 = token.parse().map_err(|_| bad())?;
        let found = match width {
            Some(1) => (0..=u16::MAX)
                .find(|&bits| {
                    half(bits).to_bits() == number.to_bits()
                        || half(bits).is_nan() && number.is_nan()
                })
                .map(|bits| bits.to_be_bytes().to_vec()),
            Some(2) if f64::from(number as f32).to_bits() == number.to_bits() => {
                Some((number as f32).to_be_bytes().to_vec())
            }
            None | Some(3) => Some(number.to_be_bytes().to_vec()),
            _ => None,
        };
        let bytes = found.ok_or_else(|| format!("{token} is no float of that width"))?;
        Ok([vec![(SIMPLE << 5) | (24 + width.unwrap_or(3))], bytes].concat())
    }

    /// The items after an opening bracket.
    fn container(&mut self, major: u8, close: &str) -> Result<Vec<u8>> {
        let width = self.width()?;
        let is_indefinite = width.is_none() && self.take("_");
        let (mut items, mut count) = (Vec::new(), 0);
        while !self.take(close) {
            if count > 0 {
                self.expect(",")?;
            }
            items.extend(self.item()?);
            if major == MAP {
                self.expect(":")?;
                items.extend(self.item()?);
            }
            count += 1;
        }
        if is_indefinite {
            return Ok([vec![major << 5 | 31], items, vec![BREAK]].concat());
        }
        Ok([head(major, count, width)?, items].concat())
    }

    /// The chunks of a string of indefinite length. Without one it is of bytes.
    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut chunks = Vec::new();
        while !self.take(")") {
            if !chunks.is_empty() {
                self.expect(",")?;
            }
            chunks.extend(self.item()?);
        }
        let major = chunks.first().map_or(BYTES, |first| first >> 5);
        Ok([vec![major << 5 | 31], chunks, vec![BREAK]].concat())
    }

    fn string(&mut self, major: u8, content: &[u8]) -> Result<Vec<u8>> {
        let width = self.width()?;
        Ok([head(major, content.len() as u64, width)?, content.to_vec()].concat())
    }

    /// The content up to the closing quote, which is taken too.
    fn quoted(&mut self, quote: char) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let mut chars = self.rest.chars();
            let char = chars.next().ok_or_else(|| format!("no closing {quote}"))?;
            self.rest = chars.as_str();
            match char {
                char if char == quote => return Ok(content),
                '\\' => self.escape(&mut content)?,
                char => content.extend(char.to_string().bytes()),
            }
        }
    }

    fn escape(&mut self, content: &mut Vec<u8>) -> Result<()> {
        let mut chars = self.rest.chars();
        let char = chars.next();
        self.rest = chars.as_str();
        match char {
            Some(char @ ('\\' | '\'' | '"')) => content.extend(char.to_string().bytes()),
            Some('n') => content.push(b'\n'),
            Some('x') => {
                let digits = self.rest.get(..2).unwrap_or_default();
                content.extend(hex_bytes(digits)?);
                self.rest = &self.rest[digits.len()..];
            }
            Some('u') if self.rest.starts_with('{') => {
                let digits = self.until('}')?;
                let char = u32::from_str_radix(&digits[1..], 16)
                    .ok()
                    .and_then(char::from_u32);
                let char = char.ok_or_else(|| format!("no such character: {digits}"))?;
                content.extend(char.to_string().bytes());
            }
            other => return Err(format!("no such escape: {other:?}")),
        }
        Ok(())
    }

    /// `_0` to `_3`, if that is next.
    fn width(&mut self) -> Result<Option<u8>> {
        let mut chars = self.rest.chars();
        match (chars.next(), chars.next()) {
            (Some('_'), Some(digit @ '0'..='3')) => {
                self.rest = chars.as_str();
                Ok(Some(digit as u8 - b'0'))
            }
            (Some('_'), Some(other)) if other.is_ascii_alphanumeric() => {
                Err(format!("no such width: _{other}"))
            }
            _ => Ok(None),
        }
    }

    fn until(&mut self, end: char) -> Result<&'a str> {
        let (content, rest) = self
            .rest
            .split_once(end)
            .ok_or_else(|| format!("no closing {end}"))?;
        self.rest = rest;
        Ok(content)
    }

    fn front(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self
            .rest
            .find(|char| !belongs(char))
            .unwrap_or(self.rest.len());
        let (front, rest) = self.rest.split_at(end);
        self.rest = rest;
        front
    }

    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.strip_prefix('#') {
                Some(comment) => self.rest = comment.split_once('\n').map_or("", |(_, rest)| rest),
                None => return,
            }
        }
    }
}

/// A head in its shortest form, or in the one asked for.
fn head(major: u8, argument: u64, width: Option<u8>) -> Result<Vec<u8>> {
    let shortest = match argument {
        0..=23 => None,
        24..=0xff => Some(0),
        0x100..=0xffff => Some(1),
        0x1_0000..=0xffff_ffff => Some(2),
        _ => Some(3),
    };
    if width.is_some() && width < shortest {
        return Err(format!("{argument} is too large for its width"));
    }
    let major = major << 5;
    Ok(match width.or(shortest) {
        None => vec![major | u8::try_from(argument).map_err(|error| error.to_string())?],
        Some(width) => {
            let bytes = argument.to_be_bytes();
            [&[major | (24 + width)][..], &bytes[8 - (1 << width)..]].concat()
        }
    })
}
