//! Appends items to a buffer in their shortest form.
//!
//! What is written has definite lengths only. That a container gets as many items as
//! it announced is the caller's part.

use bytes::{BufMut, BytesMut};

use super::{
    Str,
    head::{
        ARRAY, BYTES, FALSE, HEAD_BYTES_MAX, MAP, NEGATIVE, NULL, TAG, TEXT, TRUE, UNSIGNED,
        shortest,
    },
};

/// The tag of a byte string that holds CBOR (RFC 8949 §3.4.5.1).
const TAG_CBOR: u64 = 24;

/// Room left in front of a frame's payload: the head for 64 KiB to 4 GiB, so that
/// no payload that is costly to move has to be.
const FRAME_HEAD_BYTES: usize = 7;

/// Appends CBOR to a connection's output buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut BytesMut) -> Writer<'a> {
        Writer { out }
    }

    /// Appends one frame: tag 24 around a byte string that holds what `write`
    /// appends. The payload is written where it stays, unless it is under 64 KiB,
    /// when it moves by up to four bytes. Returns what `write` does.
    pub fn frame<T>(&mut self, write: impl FnOnce(&mut Writer<'_>) -> T) -> T {
        let frame = begin_frame(self.out);
        let result = write(&mut Writer { out: self.out });
        frame.finish(self.out);
        result
    }

    /// How many bytes the buffer holds, with what was there before this writer.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.out.len()
    }

    /// An unsigned integer.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.head(UNSIGNED, value)
    }

    /// An integer.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.head(UNSIGNED, value),
            Err(_) => self.head(NEGATIVE, !value.cast_unsigned()),
        }
    }

    /// A float, in eight bytes whatever its value: some clients read no others.
    pub fn f64(&mut self, value: f64) -> &mut Self {
        self.out.put_u8(0xfb);
        self.out.put_f64(value);
        self
    }

    /// A byte string.
    pub fn bytes(&mut self, content: &[u8]) -> &mut Self {
        self.head(BYTES, content.len() as u64).raw(content)
    }

    /// A text string.
    pub fn text(&mut self, content: &str) -> &mut Self {
        self.head(TEXT, content.len() as u64)
            .raw(content.as_bytes())
    }

    /// A string of the type it came as.
    pub fn string(&mut self, content: &Str<'_>) -> &mut Self {
        match content {
            Str::Bytes(bytes) => self.bytes(bytes),
            Str::Text(text) => self.text(text),
        }
    }

    /// The start of an array of `items`.
    pub fn array(&mut self, items: u64) -> &mut Self {
        self.head(ARRAY, items)
    }

    /// The start of a map of `pairs`.
    pub fn map(&mut self, pairs: u64) -> &mut Self {
        self.head(MAP, pairs)
    }

    /// A tag for the item that follows.
    pub fn tag(&mut self, tag: u64) -> &mut Self {
        self.head(TAG, tag)
    }

    /// True or false.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.out.put_u8(if value { TRUE } else { FALSE });
        self
    }

    /// Null.
    pub fn null(&mut self) -> &mut Self {
        self.out.put_u8(NULL);
        self
    }

    /// One item that is CBOR already, such as a unit's data.
    pub fn raw(&mut self, item: &[u8]) -> &mut Self {
        self.out.put_slice(item);
        self
    }

    fn head(&mut self, major: u8, argument: u64) -> &mut Self {
        let (head, bytes) = shortest(major, argument);
        self.raw(&head[..bytes])
    }
}

/// Begins a frame, for a payload that is not written in one go ([`Writer::frame`]).
/// What is appended to `out` from now on is the payload, until
/// [`FrameStart::finish`].
pub fn begin_frame(out: &mut BytesMut) -> FrameStart {
    let start = out.len();
    out.put_bytes(0, FRAME_HEAD_BYTES);
    FrameStart { start }
}

/// A frame in a buffer whose payload is still being written. Until it is finished,
/// nothing may be taken from the front of that buffer.
#[derive(Debug)]
#[must_use = "a frame that is not finished has no head"]
pub struct FrameStart {
    start: usize,
}

impl FrameStart {
    /// How long the payload in `out` is so far.
    #[must_use]
    pub fn payload_bytes(&self, out: &BytesMut) -> usize {
        out.len()
            .checked_sub(self.start + FRAME_HEAD_BYTES)
            .expect("nothing is taken from the buffer while a frame is written")
    }

    /// Puts the head, tag 24 and the length of a byte string, in front of the payload.
    pub fn finish(self, out: &mut BytesMut) {
        let (head, head_bytes) = frame_head(self.payload_bytes(out) as u64);
        replace_front(out, self.start, FRAME_HEAD_BYTES, &head[..head_bytes]);
    }
}

/// Tag 24 and the head of a byte string, and the length of both.
fn frame_head(payload_bytes: u64) -> ([u8; 2 + HEAD_BYTES_MAX], usize) {
    let mut head = [0; 2 + HEAD_BYTES_MAX];
    let (tag, tag_bytes) = shortest(TAG, TAG_CBOR);
    let (string, string_bytes) = shortest(BYTES, payload_bytes);
    let bytes = tag_bytes + string_bytes;
    head[..tag_bytes].copy_from_slice(&tag[..tag_bytes]);
    head[tag_bytes..bytes].copy_from_slice(&string[..string_bytes]);
    (head, bytes)
}

/// Replaces the `old_bytes` at `start` by `new`, moving what follows.
fn replace_front(out: &mut BytesMut, start: usize, old_bytes: usize, new: &[u8]) {
    let (from, to) = (start + old_bytes, start + new.len());
    let end = out.len();
    if to > from {
        out.put_bytes(0, to - from);
    }
    if to != from {
        out.copy_within(from..end, to);
        out.truncate(to + (end - from));
    }
    out[start..to].copy_from_slice(new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::{Number, Reader};

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> BytesMut {
        let mut out = BytesMut::new();
        write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn numbers_are_read_back() {
        for value in [i64::MIN, -25, -24, -1, 0, 23, 24, 1 << 32, i64::MAX] {
            let item = written(|w| {
                w.i64(value);
            });
            let read = Reader::new(&item).number();
            assert_eq!(read, Ok(Number::Integer(value.into())));
        }
        let item = written(|w| {
            w.f64(1.0);
        });
        assert_eq!(&item[..], [0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_frame_has_the_shortest_head_for_its_payload() {
        for (payload_bytes, head) in [
            (0, &[0xd8, 0x18, 0x40][..]),
            (23, &[0xd8, 0x18, 0x57]),
            (24, &[0xd8, 0x18, 0x58, 24]),
            (0xff, &[0xd8, 0x18, 0x58, 0xff]),
            (0x100, &[0xd8, 0x18, 0x59, 1, 0]),
            (0xffff, &[0xd8, 0x18, 0x59, 0xff, 0xff]),
            (0x1_0000, &[0xd8, 0x18, 0x5a, 0, 1, 0, 0]),
        ] {
            let payload: Vec<u8> = (0..payload_bytes).map(|i| i as u8).collect();
            let out = written(|w| {
                w.null();
                assert_eq!(
                    w.frame(|w| w.raw(&payload).buffered_bytes()),
                    8 + payload_bytes
                );
                w.null();
            });
            let expected = [&[0xf6], head, &payload[..], &[0xf6]].concat();
            assert!(out == expected[..], "{payload_bytes} bytes");
        }
    }

    #[test]
    fn a_head_over_the_room_left_for_it_moves_the_payload_back() {
        let mut out = BytesMut::from(&b"-..payload"[..]);
        replace_front(&mut out, 1, 2, b"four");
        assert_eq!(&out[..], b"-fourpayload");
        let (head, bytes) = frame_head(1 << 32);
        assert_eq!(&head[..bytes], [0xd8, 0x18, 0x5b, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn strings_keep_the_type_they_came_as() {
        for item in [&b"\x42ab"[..], b"\x62ab"] {
            let string = Reader::new(item).string().unwrap();
            assert_eq!(
                &written(|w| {
                    w.string(&string);
                })[..],
                item
            );
        }
    }
}
