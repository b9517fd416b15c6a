//! What the scenarios must show of every method (protocol.md §5).

use std::collections::HashSet;

use bytes::BytesMut;
use coordinated::{
    limits::FRAME_BYTES_MAX,
    wire::{Dialect, Envelope, FrameCodec, METHODS, Message},
};
use serde_cbor::Value;

use crate::run::Exchange;

/// What no exchange shows, in words; empty if nothing is missing.
pub fn gaps<'a>(exchanges: impl Iterator<Item = &'a Exchange>) -> Vec<String> {
    let mut shown = HashSet::new();
    for exchange in exchanges {
        let (requests, replies) = (payloads(&exchange.request), payloads(&exchange.reply));
        for (request, reply) in requests.iter().zip(&replies) {
            if let Some((method, dialect)) = call(request) {
                shown.insert(format!("{method}: a call in the {dialect:?} dialect"));
                if exchange.is_hex {
                    shown.insert(format!("{method}: a call in hex"));
                }
                let what = if is_refusal(reply) {
                    "a refusal or an error"
                } else {
                    "a success"
                };
                shown.insert(format!("{method}: {what}"));
            }
        }
    }
    let wanted = METHODS.iter().flat_map(|method| {
        [Dialect::Bytes, Dialect::Text]
            .map(|dialect| format!("a call in the {dialect:?} dialect"))
            .into_iter()
            .chain(["a call in hex", "a refusal or an error", "a success"].map(str::to_owned))
            .map(|what| format!("{}: {what}", method.name))
    });
    wanted.filter(|wanted| !shown.contains(wanted)).collect()
}

fn payloads(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut codec, mut rest) = (FrameCodec::new(FRAME_BYTES_MAX), BytesMut::from(stream));
    let mut payloads = Vec::new();
    while let Ok(Some(frame)) = codec.decode(&mut rest) {
        payloads.push(frame.to_vec());
    }
    payloads
}

/// The method that a request, if it is one, calls, and in which dialect.
fn call(payload: &[u8]) -> Option<(String, Dialect)> {
    let Ok(Message::One(request)) = Message::read(payload) else {
        return None;
    };
    let envelope = Envelope::read(request).ok()?;
    Some((envelope.method.to_owned(), envelope.dialect))
}

/// Whether a reply is an error, or a pair whose message is not nil.
fn is_refusal(reply: &[u8]) -> bool {
    let key = |key: &str| Value::Text(key.to_owned());
    let Ok(Value::Map(reply)) = serde_cbor::from_slice(reply) else {
        return false;
    };
    match reply.get(&key("result")) {
        None => reply.contains_key(&key("error")),
        Some(Value::Array(pair)) => matches!(&pair[..], [_, Value::Text(_)]),
        Some(_) => false,
    }
}
