//! Reads scenarios: the lines that the header of `main.rs` describes.

use crate::notation::{Parser, encode, hex_bytes};

/// One scenario.
#[derive(Debug)]
pub struct Script {
    /// Where it stands.
    pub name: String,
    pub steps: Vec<Step>,
}

/// One line that does something.
#[derive(Debug)]
pub struct Step {
    pub line: usize,
    pub action: Action,
}

#[derive(Debug, PartialEq)]
pub enum Action {
    /// `@ config`: the CBOR of the global configuration.
    Config(Vec<u8>),
    EnforceMinGb,
    /// `@ keep`
    KeepCompleted(u64),
    Connection(String),
    Advance(f64),
    /// `>`
    Send(Frames),
    /// `<`
    Expect(Frames),
    ExpectWaiting,
    ExpectClosed,
}

/// Bytes on the wire, and whether they were written as bytes.
#[derive(Debug, PartialEq)]
pub struct Frames {
    pub bytes: Vec<u8>,
    pub is_hex: bool,
}

type Result<T> = std::result::Result<T, String>;

impl Script {
    /// Reads all lines; an error names the file and the line.
    pub fn read(name: &str, text: &str) -> Result<Script> {
        let mut lines: Vec<(usize, String)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
                let (_, last) = lines
                    .last_mut()
                    .ok_or_else(|| format!("{name}:{number}: there is no line to continue"))?;
                last.push('\n');
                last.push_str(line);
            } else if !line.trim().is_empty() && !line.starts_with('#') {
                lines.push((number, line.to_owned()));
            }
        }
        let mut steps: Vec<Step> = Vec::new();
        for (line, text) in lines {
            let action = action(&text).map_err(|error| format!("{name}:{line}: {error}"))?;
            match (steps.last_mut().map(|step| &mut step.action), action) {
                (Some(Action::Expect(first)), Action::Expect(next)) => {
                    first.bytes.extend(next.bytes);
                    first.is_hex &= next.is_hex;
                }
                (_, action) => steps.push(Step { line, action }),
            }
        }
        Ok(Script {
            name: name.to_owned(),
            steps,
        })
    }
}

/// The lines of the blocks tagged `exchange` of a document, every one where it stands
/// there.
pub fn blocks(document: &str) -> String {
    let mut in_block = false;
    let lines = document.lines().map(|line| {
        let is_fence = line.starts_with("```");
        let keep = in_block && !is_fence;
        in_block = if is_fence {
            !in_block && line.trim() == "```exchange"
        } else {
            in_block
        };
        if keep { line } else { "" }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn action(line: &str) -> Result<Action> {
    let line = line.replace("$version", env!("CARGO_PKG_VERSION"));
    let (kind, rest) = line.split_at(1);
    let text = rest.trim();
    match (kind, text) {
        ("<", "waiting") => Ok(Action::ExpectWaiting),
        ("<", "closed") => Ok(Action::ExpectClosed),
        (">", _) => frames(text, request).map(Action::Send),
        ("<", _) => frames(text, reply).map(Action::Expect),
        ("@", _) => directive(text),
        _ => Err("a line begins with >, <, @, # or a blank".to_owned()),
    }
}

fn directive(text: &str) -> Result<Action> {
    let (name, value) = text.split_once(' ').unwrap_or((text, ""));
    let bad = || format!("not a directive: @ {text}");
    Ok(match name {
        "config" => Action::Config(encode(value)?),
        "enforce_min_gb" => Action::EnforceMinGb,
        "keep" => Action::KeepCompleted(value.parse().map_err(|_| bad())?),
        "connection" if !value.is_empty() => Action::Connection(value.to_owned()),
        "advance" => Action::Advance(value.parse().map_err(|_| bad())?),
        _ => return Err(bad()),
    })
}

/// The bytes that are meant by a `>` or `<` line; `short` reads the forms that only
/// one of the two has, or gives `None`.
fn frames(text: &str, short: fn(&str) -> Result<Option<Vec<u8>>>) -> Result<Frames> {
    if let Some(payload) = short(text)? {
        return Ok(Frames {
            bytes: frame(&payload),
            is_hex: false,
        });
    }
    if let Some(payload) = text.strip_prefix("payload ") {
        return Ok(Frames {
            bytes: frame(&uncommented(payload)?),
            is_hex: true,
        });
    }
    if let Some(item) = text.strip_prefix("bare ") {
        return Ok(Frames {
            bytes: encode(item)?,
            is_hex: false,
        });
    }
    if hex_bytes(text.split_whitespace().next().unwrap_or_default()).is_ok() {
        return Ok(Frames {
            bytes: uncommented(text)?,
            is_hex: true,
        });
    }
    Ok(Frames {
        bytes: frame(&encode(text)?),
        is_hex: false,
    })
}

/// `text 7 method(parameters)`, `bytes 7 method(parameters)`
fn request(text: &str) -> Result<Option<Vec<u8>>> {
    let is_text = match text.split_once(' ') {
        Some(("text", _)) => true,
        Some(("bytes", _)) => false,
        _ => return Ok(None),
    };
    let key = |key: &str| {
        if is_text {
            format!("\"{key}\"")
        } else {
            format!("b'{key}'")
        }
    };
    let mut parser = Parser::new(text);
    parser.word();
    let (id, method) = (parser.word(), key(parser.word()));
    let id = encode(id)?;
    parser.expect("(")?;
    let (mut items, mut names) = (Vec::new(), 0);
    let mut count: u8 = 0;
    while !parser.take(")") {
        if count > 0 {
            parser.expect(",")?;
        }
        if let Some(name) = parser.name() {
            items.extend(encode(&key(name))?);
            names += 1;
        }
        items.extend(parser.item()?);
        count += 1;
    }
    parser.end()?;
    let major = match names {
        0 => 4,
        names if names == count => 5,
        _ => return Err("parameters are all named, or none is".to_owned()),
    };
    assert!(count < 24, "fits into the head");
    let id = [encode(&key("id"))?, id].concat();
    let method = [encode(&key("method"))?, encode(&method)?].concat();
    let params = [encode(&key("params"))?, vec![major << 5 | count], items].concat();
    let entries = if is_text {
        [id, method, params]
    } else {
        [params, id, method]
    };
    Ok(Some([&[0xa3][..], &entries.concat()].concat()))
}

/// `7 = result`, `7 ! "message"`
fn reply(text: &str) -> Result<Option<Vec<u8>>> {
    let mut parser = Parser::new(text);
    let id = parser.word();
    let (key, wrap) = match (parser.take("="), parser.take("!")) {
        _ if id.is_empty() => return Ok(None),
        (true, false) => ("\"result\"", false),
        (false, true) => ("\"error\"", true),
        _ => return Ok(None),
    };
    let mut item = parser.item()?;
    parser.end()?;
    if wrap {
        item = [vec![0xa1], encode("\"message\"")?, item].concat();
    }
    let id = [encode("\"id\"")?, encode(id)?].concat();
    Ok(Some([vec![0xa2], id, encode(key)?, item].concat()))
}

/// Tag 24 around the payload.
fn frame(payload: &[u8]) -> Vec<u8> {
    let bytes = payload.len();
    let head = match bytes {
        0..=23 => vec![0x40 | bytes as u8],
        24..=0xff => vec![0x58, bytes as u8],
        0x100..=0xffff => [&[0x59], &(bytes as u16).to_be_bytes()[..]].concat(),
        _ => [&[0x5a], &u32::try_from(bytes).unwrap().to_be_bytes()[..]].concat(),
    };
    [&[0xd8, 0x18][..], &head, payload].concat()
}

/// The bytes of lines of hex, without what they say besides.
fn uncommented(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        for column in line.split("  ") {
            match hex_bytes(column) {
                Ok(more) => bytes.extend(more),
                Err(error) if column == line => return Err(error),
                Err(_) => break,
            }
        }
    }
    Ok(bytes)
}

#[test]
fn lines_mean_what_the_header_says() {
    let both = [
        ("> payload 80  an empty list", "> d8 18 41 80"),
        ("> []", "> d818 41\n  80  an empty list"),
        ("> bare {}", "> a0"),
        (
            "> text 7 now()",
            "> {\"id\": 7, \"method\": \"now\", \"params\": []}",
        ),
        (
            "> bytes 7 f(1)",
            "> {b'params': [1], b'id': 7, b'method': b'f'}",
        ),
        (
            "> text 7 f(x=1, y=[])",
            "> {\"id\": 7, \"method\": \"f\", \"params\": {\"x\": 1, \"y\": []}}",
        ),
        ("< 12 = nil  # none", "< {\"id\": 12, \"result\": nil}"),
        (
            "< 0 ! \"why\"",
            "< payload a2 62 6964 00 65 6572726f72 a1 67 6d657373616765 63 776879",
        ),
    ];
    for (line, same) in both {
        let bytes = |line| match action(line).unwrap() {
            Action::Send(frames) | Action::Expect(frames) => frames.bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(bytes(line), bytes(same), "{line}");
    }
    for bad in [
        "> text 7 f(1, x=2)",
        "> d8 1",
        "< 7 = ",
        "@ wait 5",
        "what",
        "> a0 q0  ",
    ] {
        assert!(action(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_document_s_blocks_keep_their_lines() {
    let document = "text\n```exchange\n> 80\n```\n```\n> 81\n```\n```exchange\n< 82\n```";
    let script = Script::read("d", &blocks(document)).unwrap();
    let lines: Vec<_> = script.steps.iter().map(|step| step.line).collect();
    assert_eq!(lines, [3, 9]);
}
