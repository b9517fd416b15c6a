//! From a frame's payload to single requests, and from a request to its envelope:
//! who asks for what, not yet whether that makes sense (protocol.md §3).
//!
//! # Cost
//!
//! [`Message::read`] checks every byte of the payload once, and is the only thing
//! here that can find fault with the CBOR itself. Nothing allocates but errors.

use std::borrow::Cow;

use crate::{
    cbor::{self, Fields, Left, Reader, Str},
    limits::LIST_ITEMS_MAX,
    model::{BadField, read_field},
    wire::BadCall,
};

/// What one frame asks.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// One request; the answer is one reply.
    One(&'a [u8]),
    /// A list (or tuple) of requests; the answer is a list of as many replies.
    Many(Requests<'a>),
    /// A list of more requests than are taken; the answer is one error with id 0.
    Refused(BadCall),
}

impl<'a> Message<'a> {
    /// Checks the payload: one well-formed item, nested at most
    /// [`CBOR_DEPTH_MAX`](crate::limits::CBOR_DEPTH_MAX) levels, and nothing after it.
    ///
    /// # Errors
    /// What is wrong with the bytes; they get one error reply with id 0, and the
    /// connection is dropped.
    pub fn read(payload: &'a [u8]) -> Result<Message<'a>, cbor::Error> {
        let mut reader = Reader::new(payload);
        let item = reader.raw()?;
        if !reader.is_end() {
            return Err(cbor::Error::Malformed);
        }
        let mut items = Reader::new(item);
        let Ok(left) = items.array() else {
            return Ok(Message::One(item));
        };
        let count = count(&items, left)?;
        if count > LIST_ITEMS_MAX {
            let why = format_args!("must have at most {LIST_ITEMS_MAX} requests");
            return Ok(Message::Refused(BadField::new("message", item, why).into()));
        }
        Ok(Message::Many(Requests {
            reader: items,
            left: count,
        }))
    }
}

/// How many items a list has, whose first one is next in `reader`.
fn count(reader: &Reader<'_>, mut left: Left) -> Result<usize, cbor::Error> {
    if let Left::Items(items) = left {
        return usize::try_from(items).map_err(|_| cbor::Error::Truncated);
    }
    let (mut reader, mut items) = (reader.clone(), 0);
    while reader.more(&mut left)? {
        reader.raw()?;
        items += 1;
    }
    Ok(items)
}

/// The requests of one message, in order; knows how many are left.
#[derive(Debug, Clone)]
pub struct Requests<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Requests<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        Some(
            self.reader
                .raw()
                .expect("the message was checked and its items counted"),
        )
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Requests<'_> {}

/// Which string types a client reads best (protocol.md §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Byte strings, as Python 2 sends them for nearly everything.
    Bytes,
    /// Text.
    Text,
}

/// A request, taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// What the reply is known by; chosen by the client.
    pub id: u64,
    /// The method's name.
    pub method: &'a str,
    /// The parameters, not looked at yet; `None` is no parameters.
    pub params: Option<&'a [u8]>,
    /// How the caller writes strings.
    pub dialect: Dialect,
}

impl<'a> Envelope<'a> {
    /// Takes apart one request of a [`Message`]. Keys may come in any order and as
    /// either string type; unknown ones are ignored, and the last of several counts.
    ///
    /// # Errors
    /// What is wrong, and the id to say so under: the request's, or 0 if that is what
    /// is wrong.
    pub fn read(item: &'a [u8]) -> Result<Envelope<'a>, (u64, BadCall)> {
        let bad = |error| (0, BadField::new("request", item, error).into());
        let (mut id, mut method, mut params) = (None, None, None);
        let mut fields = Fields::new(item).map_err(bad)?;
        while let Some((key, value)) = fields.next().map_err(bad)? {
            match key.as_bytes() {
                b"id" => id = Some(value),
                b"method" => method = Some((value, dialect(&key))),
                b"params" => params = Some(value),
                _ => {}
            }
        }
        let id = read_id(id).map_err(|error| (0, error))?;
        let (method, dialect) = method.ok_or((id, BadCall::Missing("method")))?;
        Ok(Envelope {
            id,
            method: read_method(method).map_err(|error| (id, error))?,
            params: params.filter(|params| !Reader::new(params).null()),
            dialect,
        })
    }
}

fn dialect(key: &Str<'_>) -> Dialect {
    if key.is_text() {
        Dialect::Text
    } else {
        Dialect::Bytes
    }
}

fn read_id(item: Option<&[u8]>) -> Result<u64, BadCall> {
    let item = item.ok_or(BadCall::Missing("id"))?;
    Ok(read_field("id", item, Reader::u64)?)
}

fn read_method(item: &[u8]) -> Result<&str, BadCall> {
    match read_field("method", item, Reader::text)? {
        Cow::Borrowed(method) => Ok(method),
        Cow::Owned(_) => {
            let why = "must be a string of definite length";
            Err(BadField::new("method", item, why).into())
        }
    }
}
