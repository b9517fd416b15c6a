//! One connection through the proxy: its messages, as far as they matter here.

use std::collections::HashMap;

use super::Watch;

/// How statements begin that a daemon sends beside calls, and for none of them: the look
/// for units before the one at which claims begin.
const ASIDES: &[&str] = &["select priority, key from unit"];

/// What a connection has asked and was answered.
#[derive(Default)]
pub(super) struct Line {
    /// Whether the session has begun; before that, everything passes at once.
    is_begun: bool,
    /// Whether the message that begins a session has passed, the only one without a type.
    is_introduced: bool,
    /// Whether a flight is under way.
    is_flying: bool,
    /// Whether it belongs to no call.
    is_aside: bool,
    /// Times that the server will say that it is ready.
    outstanding: usize,
    /// What the server said last of the transaction that is open: `I` for none.
    transaction: u8,
    /// What happened since it said so.
    since: Since,
    /// SQL of prepared statements, and which of them are bound to portals, by name.
    prepared: HashMap<Vec<u8>, String>,
    bound: HashMap<Vec<u8>, String>,
    /// Parts of messages.
    asking: Vec<u8>,
    answering: Vec<u8>,
    /// On its way.
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    /// Held back until the flight has landed.
    held: Vec<u8>,
}

#[derive(Default)]
struct Since {
    commands: usize,
    has_ended: bool,
    has_failed: bool,
}

impl Line {
    /// Takes in what the client sent. Whether it may pass: if not, nothing more may.
    pub(super) fn asked(&mut self, bytes: &[u8], watch: &Watch) -> bool {
        self.asking.extend_from_slice(bytes);
        while let Some(message) = self.next_question() {
            if self.is_begun && !self.is_flying {
                self.is_aside = is_aside(&self.sql(&message));
                if !watch.may_begin(self.is_aside) {
                    return false;
                }
                self.is_flying = true;
            }
            self.note_question(&message, watch);
            self.to_server.extend_from_slice(&message);
        }
        true
    }

    fn next_question(&mut self) -> Option<Vec<u8>> {
        let type_bytes = usize::from(self.is_introduced);
        let message = cut(&mut self.asking, type_bytes)?;
        self.is_introduced = true;
        Some(message)
    }

    /// The text of the statement that a message is about, if it is about one.
    fn sql(&self, message: &[u8]) -> String {
        let body = &message[5..];
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let known = |sql: Option<&String>| sql.cloned().unwrap_or_default();
        match message[0] {
            b'P' => text(string(string(body).1).0),
            b'B' => known(self.prepared.get(string(string(body).1).0)),
            b'E' => known(self.bound.get(string(body).0)),
            b'Q' => text(string(body).0),
            _ => String::new(),
        }
    }

    fn note_question(&mut self, message: &[u8], watch: &Watch) {
        if !self.is_begun {
            return;
        }
        let sql = self.sql(message);
        let name = || string(&message[5..]).0.to_vec();
        match message[0] {
            b'P' => {
                self.prepared.insert(name(), sql);
                if !self.is_aside {
                    watch.seen().traffic.prepares();
                }
            }
            b'B' => drop(self.bound.insert(name(), sql)),
            b'E' if !self.is_aside => watch.seen().traffic.statement(&sql),
            b'Q' => {
                self.outstanding += 1;
                watch.seen().traffic.statement(&sql);
            }
            b'S' => self.outstanding += 1,
            _ => {}
        }
    }

    /// Takes in what the server sent.
    pub(super) fn answered(&mut self, bytes: &[u8], watch: &Watch) {
        self.answering.extend_from_slice(bytes);
        while let Some(message) = cut(&mut self.answering, 1) {
            self.note_answer(&message, watch);
            match self.is_flying {
                true => self.held.extend_from_slice(&message),
                false => self.to_client.extend_from_slice(&message),
            }
        }
    }

    fn note_answer(&mut self, message: &[u8], watch: &Watch) {
        let mut seen = watch.seen();
        let body = &message[5..];
        match message[0] {
            b'C' => match string(body).0 {
                b"BEGIN" => {}
                b"COMMIT" => {
                    seen.traffic.commits += 1;
                    self.since.has_ended = true;
                }
                b"ROLLBACK" => {
                    seen.traffic.rollbacks += 1;
                    self.since.has_ended = true;
                }
                _ => self.since.commands += 1,
            },
            b'E' => {
                self.since.has_failed = true;
                seen.traffic.errors.push(sqlstate(body));
            }
            // The client is to send what it copies.
            b'G' => self.outstanding = 0,
            b'Z' => {
                let was_alone = self.transaction == b'I' && body[0] == b'I';
                if was_alone && !self.since.has_ended && !self.is_aside {
                    match (self.since.has_failed, self.since.commands) {
                        (true, _) => seen.traffic.rollbacks += 1,
                        (false, 0) => {}
                        (false, _) => seen.traffic.commits += 1,
                    }
                }
                self.since = Since::default();
                self.transaction = body[0];
                self.outstanding = self.outstanding.saturating_sub(1);
                self.is_begun = true;
            }
            _ => {}
        }
    }

    /// Whether the client has all the answers to come once the flight has landed.
    pub(super) fn is_answered(&self) -> bool {
        self.is_flying
            && self.outstanding == 0
            && self.to_server.is_empty()
            && !self.held.is_empty()
    }

    /// Hands the answers over. What is sent from now on may depend on them.
    pub(super) fn land(&mut self) {
        self.to_client.append(&mut self.held);
        self.is_flying = false;
    }

    pub(super) fn to_server(&self) -> &[u8] {
        &self.to_server
    }

    pub(super) fn wrote_to_server(&mut self, bytes: usize) {
        self.to_server.drain(..bytes);
    }

    pub(super) fn to_client(&self) -> &[u8] {
        &self.to_client
    }

    pub(super) fn wrote_to_client(&mut self, bytes: usize) {
        self.to_client.drain(..bytes);
    }

    /// What the client is still to get after the server has gone.
    pub(super) fn all_to_client(&mut self) -> &[u8] {
        self.land();
        &self.to_client
    }
}

/// Whether a statement belongs to no call.
fn is_aside(sql: &str) -> bool {
    let is_it = |aside: &&str| {
        sql.split_whitespace()
            .zip(aside.split(' '))
            .all(|(a, b)| a == b)
    };
    !sql.is_empty() && ASIDES.iter().any(is_it)
}

/// Takes a whole message off the front: its type, its length, which counts itself, and what
/// is in it.
fn cut(bytes: &mut Vec<u8>, type_bytes: usize) -> Option<Vec<u8>> {
    let length = bytes.get(type_bytes..type_bytes + 4)?;
    let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + type_bytes;
    if bytes.len() < length {
        return None;
    }
    let rest = bytes.split_off(length);
    Some(std::mem::replace(bytes, rest))
}

/// A string that ends with a zero, and what comes after it.
fn string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap();
    (&bytes[..end], &bytes[end + 1..])
}

/// The code of an error, which is a list of fields, each with a letter in front.
fn sqlstate(mut fields: &[u8]) -> String {
    while let [letter, rest @ ..] = fields {
        let (value, others) = string(rest);
        if *letter == b'C' {
            return String::from_utf8_lossy(value).into_owned();
        }
        fields = others;
    }
    panic!("an error without a code");
}
