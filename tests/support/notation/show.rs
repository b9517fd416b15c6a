//! From bytes to notation.

use std::fmt::Write;

use super::{
    BREAK, BYTES, LIST, MAP, NEGATIVE, SIMPLE, TAG, TAG_TUPLE, TEXT, UNSIGNED, encode, half,
};

/// What `bytes` are, so that it can be written as notation. What is no single
/// well-formed item, or has no notation of its own, is `raw'…'`.
pub fn show(bytes: &[u8]) -> String {
    let mut rest = bytes;
    match item(&mut rest) {
        Some(shown) if rest.is_empty() && encode(&shown).as_deref() == Ok(bytes) => shown,
        _ => format!("raw'{}'", hex(bytes).replace(' ', "")),
    }
}

/// `d8 18 41 a0`
pub fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

/// A head: its major type, what its first byte says of its width, and its argument.
struct Head {
    major: u8,
    info: u8,
    argument: u64,
}

impl Head {
    fn read(rest: &mut &[u8]) -> Option<Head> {
        let (&first, after) = rest.split_first()?;
        let info = first & 31;
        let more = match info {
            0..=23 | 31 => 0,
            24..=27 => 1 << (info - 24),
            _ => return None,
        };
        let argument = after
            .get(..more)?
            .iter()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        *rest = &after[more..];
        let argument = if more == 0 { u64::from(info) } else { argument };
        Some(Head {
            major: first >> 5,
            info,
            argument,
        })
    }

    /// `_0` to `_3` if the head is longer than it had to be.
    fn suffix(&self) -> String {
        let bytes = match self.argument {
            0..=23 => 0,
            24..=0xff => 1,
            0x100..=0xffff => 2,
            0x1_0000..=0xffff_ffff => 4,
            _ => 8,
        };
        let width = self.info.saturating_sub(24);
        if self.info < 24 || 1 << width == bytes {
            String::new()
        } else {
            format!("_{width}")
        }
    }
}

fn item(rest: &mut &[u8]) -> Option<String> {
    let start = *rest;
    let head = Head::read(rest)?;
    let suffix = head.suffix();
    let is_indefinite = head.info == 31;
    Some(match head.major {
        UNSIGNED if !is_indefinite => format!("{}{suffix}", head.argument),
        NEGATIVE if !is_indefinite => format!("{}{suffix}", -1 - i128::from(head.argument)),
        BYTES | TEXT if is_indefinite => {
            let mut chunks = Vec::new();
            while rest.first() != Some(&BREAK) {
                let is_chunk = rest.first()? >> 5 == head.major && rest.first()? & 31 != 31;
                chunks.push(item(rest).filter(|_| is_chunk)?);
            }
            *rest = &rest[1..];
            format!("(_ {})", chunks.join(", "))
        }
        BYTES => bytes(content(rest, &head)?) + &suffix,
        TEXT => text(std::str::from_utf8(content(rest, &head)?).ok()?) + &suffix,
        LIST => container(rest, &head, ["[", "]"])?,
        MAP => container(rest, &head, ["{", "}"])?,
        TAG if head.argument == TAG_TUPLE && suffix.is_empty() => match rest.first()? {
            0x80..=0x9b => {
                let list = Head::read(rest)?;
                container(rest, &list, ["T(", ")"])?
            }
            _ => format!("{TAG_TUPLE}({})", item(rest)?),
        },
        TAG if head.argument == 24 && suffix.is_empty() => {
            let before = *rest;
            let string = Head::read(rest)?;
            let embedded = if string.major == BYTES && string.info != 31 {
                content(rest, &string)
                    .map(|inside| format!("<<{}>>{}", show(inside), string.suffix()))
            } else {
                None
            };
            let shown = embedded.or_else(|| {
                *rest = before;
                item(rest)
            });
            format!("24({})", shown?)
        }
        TAG if !is_indefinite => format!("{}{suffix}({})", head.argument, item(rest)?),
        SIMPLE => simple(&head, &start[..start.len() - rest.len()])?,
        _ => return None,
    })
}

fn content<'a>(rest: &mut &'a [u8], head: &Head) -> Option<&'a [u8]> {
    let bytes = usize::try_from(head.argument).ok()?;
    let content = rest.get(..bytes)?;
    *rest = &rest[bytes..];
    Some(content)
}

fn container(rest: &mut &[u8], head: &Head, [open, close]: [&str; 2]) -> Option<String> {
    let mut items = Vec::new();
    let mut left = (head.info != 31).then_some(head.argument);
    while left != Some(0) {
        if left.is_none() && rest.first() == Some(&BREAK) {
            *rest = &rest[1..];
            break;
        }
        let mut shown = item(rest)?;
        if head.major == MAP {
            write!(shown, ": {}", item(rest)?).ok()?;
        }
        items.push(shown);
        left = left.map(|left| left - 1);
    }
    let width = match head.info {
        31 => "_ ".to_owned(),
        _ if head.suffix().is_empty() => String::new(),
        _ => head.suffix() + " ",
    };
    Some(format!("{open}{width}{}{close}", items.join(", ")))
}

fn bytes(content: &[u8]) -> String {
    if !content
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\n'))
    {
        return format!("h'{}'", hex(content).replace(' ', ""));
    }
    let text: String = content.iter().map(|&byte| char::from(byte)).collect();
    format!("b'{}'", escaped(&text, '\''))
}

fn text(content: &str) -> String {
    format!("\"{}\"", escaped(content, '"'))
}

fn escaped(text: &str, quote: char) -> String {
    let escaped = text.chars().map(|char| match char {
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        char if char == quote => format!("\\{char}"),
        char if char.is_control() => format!("\\u{{{:x}}}", u32::from(char)),
        char => char.to_string(),
    });
    escaped.collect()
}

fn simple(head: &Head, all: &[u8]) -> Option<String> {
    let float = |number: f64| {
        let shown = format!("{number:?}");
        shown.replace("inf", "Infinity")
    };
    Some(match (head.info, head.argument) {
        (20, _) => "false".to_owned(),
        (21, _) => "true".to_owned(),
        (22, _) => "nil".to_owned(),
        (23, _) => "undefined".to_owned(),
        (0..=19 | 24, value) => format!("simple({value})"),
        (25, _) => float(half(u16::from_be_bytes(all[1..].try_into().ok()?))) + "_1",
        (26, _) => float(f32::from_be_bytes(all[1..].try_into().ok()?).into()) + "_2",
        (27, _) => float(f64::from_be_bytes(all[1..].try_into().ok()?)),
        _ => return None,
    })
}
