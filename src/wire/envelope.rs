//! From a frame's payload to single requests, and from a request to its envelope:
//! who asks for what, not yet whether that makes sense (protocol.md §3).
//!
//! # Cost
//!
//! [`Message::read`] checks every byte of the payload once, and is the only thing
//! here that can find fault with the CBOR itself. Nothing allocates but errors.

use std::borrow::Cow;

use crate::{
    cbor::{self, Fields, Kind, Left, Reader, Str},
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
    /// [`MESSAGE_DEPTH_MAX`](crate::limits::MESSAGE_DEPTH_MAX) levels, and nothing after it.
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
        if items.peek_kind() == Ok(Kind::Map) {
            return Ok(Message::One(item));
        }
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
    #[inline]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limits::MESSAGE_DEPTH_MAX,
        wire::notation::{cbor, other_dialect},
    };

    fn envelope(notation: &str) -> Result<String, (u64, String)> {
        Envelope::read(&cbor(notation))
            .map(|e| {
                let params = e.params.map(|params| cbor::diagnose(params, 100));
                let params = params.as_deref().unwrap_or("none");
                format!("{} {} {params} {:?}", e.id, e.method, e.dialect)
            })
            .map_err(|(id, error)| (id, error.to_string()))
    }

    fn requests(payload: &[u8]) -> Vec<Vec<u8>> {
        match Message::read(payload).unwrap() {
            Message::One(item) => vec![item.to_vec()],
            Message::Many(requests) => requests.map(<[u8]>::to_vec).collect(),
            Message::Refused(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_example_of_the_protocol_is_read() {
        // protocol.md §7, without the frame
        let payload = b"\xa3\x42id\x01\x46method\x4flist_work_specs\x46params\x81\xa0";
        let Ok(Message::One(item)) = Message::read(payload) else {
            panic!("one request");
        };
        let envelope = Envelope::read(item).unwrap();
        assert_eq!((envelope.id, envelope.method), (1, "list_work_specs"));
        assert_eq!(envelope.params, Some(&b"\x81\xa0"[..]));
        assert_eq!(envelope.dialect, Dialect::Bytes);
    }

    #[test]
    fn a_message_is_one_request_or_a_list_or_tuple_of_them() {
        assert_eq!(requests(&cbor("{1: 2}")), [cbor("{1: 2}")]);
        assert_eq!(requests(&cbor("7")), [[7]], "not a request, but one item");
        for list in ["[{1: 2}, 'x']", "T[{1: 2}, 'x']", "[_ {1: 2}, 'x']"] {
            let payload = cbor(list);
            assert_eq!(requests(&payload), [cbor("{1: 2}"), cbor("'x'")], "{list}");
            let Ok(Message::Many(mut many)) = Message::read(&payload) else {
                panic!("many requests");
            };
            assert_eq!(many.len(), 2);
            many.next();
            assert_eq!(many.len(), 1);
        }
        assert!(requests(&cbor("[]")).is_empty());
    }

    #[test]
    fn bytes_that_are_no_item_or_more_than_one_are_no_message() {
        let deep = [&[0x81; MESSAGE_DEPTH_MAX + 1][..], &[0]].concat();
        for (payload, error) in [
            (&b""[..], cbor::Error::Truncated),
            (b"\xa1\x01", cbor::Error::Truncated),
            (b"\xa0\xa0", cbor::Error::Malformed),
            (b"\xff", cbor::Error::Malformed),
            (b"\xa1\x61\xff\x01", cbor::Error::Malformed),
            (&deep, cbor::Error::TooDeep),
            (
                b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
                cbor::Error::Truncated,
            ),
        ] {
            assert_eq!(Message::read(payload).unwrap_err(), error, "{payload:02x?}");
        }
        assert_eq!(requests(&deep[1..]).len(), 1);
    }

    #[test]
    fn a_list_of_too_many_requests_is_refused_and_the_longest_is_not() {
        let longest = vec![0; LIST_ITEMS_MAX];
        let list = |items: &[u8]| [b"\x9f", items, b"\xff"].concat();
        assert_eq!(requests(&list(&longest)).len(), LIST_ITEMS_MAX);
        let more = list(&[&longest[..], &[0]].concat());
        let Ok(Message::Refused(error)) = Message::read(&more) else {
            panic!("refused");
        };
        assert!(error.to_string().contains("1048576"), "{error}");
    }

    #[test]
    fn keys_come_in_any_order_and_either_string_type() {
        for (request, read) in [
            ("{'params': [], 'id': 7, 'method': 'now'}", "7 now [] Bytes"),
            (
                "{\"id\": 7, \"method\": \"now\", \"params\": {}}",
                "7 now {} Text",
            ),
            ("{'id': 7, \"method\": 'now'}", "7 now none Text"),
            ("{\"id\": 7, 'method': \"now\"}", "7 now none Bytes"),
            (
                "{'id': 7, 'method': 'now', 'params': null}",
                "7 now none Bytes",
            ),
            (
                "{_ 'method': 'now', 'extra': [1], 3: 4, 'id': 18446744073709551615}",
                "18446744073709551615 now none Bytes",
            ),
            (
                "{'id': 1, 'method': 'x', \"id\": 2, \"method\": 'now'}",
                "2 now none Text",
            ),
            ("{'id': 1, 'method': ''}", "1  none Bytes"),
        ] {
            assert_eq!(envelope(request).as_deref(), Ok(read), "{request}");
        }
    }

    #[test]
    fn a_wrong_envelope_is_told_under_its_id_if_it_has_one() {
        for (request, id, error) in [
            ("[]", 0, "request is []: expected a map, found a list"),
            ("7", 0, "request is 7: expected a map, found an integer"),
            ("{}", 0, "request has no id"),
            ("{'id': 7}", 7, "request has no method"),
            ("{'method': 'now'}", 0, "request has no id"),
            ("{'id': -1, 'method': 'now'}", 0, "id is -1: "),
            ("{'id': 7.0, 'method': 'now'}", 0, "id is "),
            ("{'id': '7', 'method': 'now'}", 0, "id is "),
            ("{'id': null, 'method': 'now'}", 0, "id is null: "),
            ("{'id': (c24101), 'method': 'now'}", 0, "id is "),
            (
                "{'method': 5, 'id': 7}",
                7,
                "method is 5: expected a string",
            ),
            ("{'method': null, 'id': 7}", 7, "method is null: "),
            ("{'method': h'ff', 'id': 7}", 7, "method is "),
            ("{'method': (7f 61 61 ff), 'id': 7}", 7, "method is "),
        ] {
            for request in [request.to_owned(), other_dialect(request)] {
                let (found, message) = envelope(&request).unwrap_err();
                assert_eq!(found, id, "{request}");
                assert!(message.starts_with(error), "{request}: {message}");
            }
        }
    }
}
