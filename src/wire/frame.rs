//! Frames (protocol.md §1): a message is one CBOR item, either tag 24 around a byte
//! string that holds the request, or the request itself.
//!
//! # Invariants
//!
//! Bytes that are whole frames come out as those frames, however they arrive. No
//! frame is longer than the codec's limit; one that announces more is refused from
//! its head. Nothing is allocated for a length that is only announced.
//!
//! # Cost
//!
//! Under tag 24 a frame is cut from its head, without a look at its payload; other
//! items are checked once while they arrive. Both are O(bytes) in all, and neither
//! copies, except that the chunks of an indefinite byte string are joined.

use std::{borrow::Cow, ops::Deref};

use bytes::{Buf, Bytes, BytesMut};

use crate::cbor::{self, Kind, Progress, Reader, Scan, Str, diagnose};

/// The tag of a byte string that holds CBOR (RFC 8949 §3.4.5.1).
const TAG_CBOR: u64 = 24;

/// How much of a bad item is shown in an error.
const FOUND_CHARS_MAX: usize = 40;

/// Why a stream cannot be split into frames; the connection is of no more use.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than is allowed here.
    #[error("frame of {bytes} bytes or more is over the limit of {max}")]
    TooLong {
        /// What is known of its length; exact for a tag 24 frame in one piece.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// The bytes are no CBOR, or nested too deep.
    #[error("{source} at byte {offset} of the message: {found}")]
    NotCbor {
        /// What is wrong.
        source: cbor::Error,
        /// Where, in bytes from the start of the message.
        offset: usize,
        /// What is there, in diagnostic notation, cut short.
        found: String,
    },
}

/// One message: the bytes of a request or of an array of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    payload: Bytes,
    is_checked: bool,
}

impl Frame {
    /// The payload.
    #[must_use]
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// Whether the payload is known to be exactly one well-formed item. So it is for a
    /// bare item, which was checked to find its end; what is under tag 24 may be
    /// anything.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.is_checked
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.payload
    }
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct FrameCodec {
    frame_bytes_max: usize,
    /// How far the frame at the front of the stream was looked at. Tag 24 and its byte
    /// string are an item like any other to it, and one it need not look into.
    scan: Scan,
    bytes_needed: u64,
}

impl FrameCodec {
    /// Takes frames of up to `frame_bytes_max` bytes, heads included.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> FrameCodec {
        FrameCodec {
            frame_bytes_max,
            scan: Scan::new(),
            bytes_needed: 0,
        }
    }

    /// At least how many bytes the frame that is being received will have in all, as
    /// far as the last call of [`decode`](FrameCodec::decode) could tell; never over
    /// the limit. Exact once the head of a tag 24 frame in one piece has arrived;
    /// grows with what arrives of another. 0 between frames.
    #[must_use]
    pub fn needed(&self) -> usize {
        usize::try_from(self.bytes_needed)
            .unwrap_or(usize::MAX)
            .min(self.frame_bytes_max)
    }

    /// Cuts the next frame off the front of `src`; `None` if it is not all there yet.
    /// Until then nothing is taken off, and `src` must only grow. It is not reserved
    /// either: how large it may become is the caller's business, see
    /// [`needed`](FrameCodec::needed).
    ///
    /// # Errors
    /// [`FrameError`]; the same again if called again.
    pub fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if let Some((head_bytes, bytes)) = plain_frame(src)
            && bytes <= self.frame_bytes_max.min(src.len())
            && self.scan.position() == 0
        {
            let mut payload = src.split_to(bytes).freeze();
            payload.advance(head_bytes);
            return Ok(Some(Frame {
                payload,
                is_checked: false,
            }));
        }
        if src.is_empty() {
            return Ok(None);
        }
        let progress = self
            .scan
            .advance(src)
            .map_err(|source| self.not_cbor(source, src))?;
        let bytes = match progress {
            Progress::Complete { bytes } => bytes as u64,
            Progress::NeedMore { bytes_min } => bytes_min,
        };
        if bytes > self.frame_bytes_max as u64 {
            return Err(FrameError::TooLong {
                bytes,
                max: self.frame_bytes_max,
            });
        }
        let Progress::Complete { bytes } = progress else {
            self.bytes_needed = bytes;
            return Ok(None);
        };
        self.bytes_needed = 0;
        Ok(Some(unwrap(src.split_to(bytes).freeze())))
    }

    fn not_cbor(&self, source: cbor::Error, src: &[u8]) -> FrameError {
        let offset = self.scan.position();
        FrameError::NotCbor {
            source,
            offset,
            found: diagnose(src.get(offset..).unwrap_or_default(), FOUND_CHARS_MAX),
        }
    }
}

/// The length of the heads, and of all, of a frame as every known client sends them:
/// tag 24 and a byte string in one piece, under 64 KiB. Others are cut the long way.
#[inline]
fn plain_frame(src: &[u8]) -> Option<(usize, usize)> {
    match *src {
        [0xd8, 0x18, short @ 0x40..=0x57, ..] => Some((3, 3 + usize::from(short - 0x40))),
        [0xd8, 0x18, 0x58, length, ..] => Some((4, 4 + usize::from(length))),
        [0xd8, 0x18, 0x59, high, low, ..] => {
            Some((5, 5 + usize::from(u16::from_be_bytes([high, low]))))
        }
        _ => None,
    }
}

/// The frame in `item`, which is one whole item: what is under tag 24, or all of it.
fn unwrap(mut item: Bytes) -> Frame {
    let payload = match under_tag_24(&item) {
        None => {
            return Frame {
                payload: item,
                is_checked: true,
            };
        }
        Some(Cow::Owned(joined)) => Bytes::from(joined),
        Some(Cow::Borrowed(payload)) => {
            let head_bytes = item.len() - payload.len();
            item.advance(head_bytes);
            item
        }
    };
    Frame {
        payload,
        is_checked: false,
    }
}

/// The content of the byte string under tag 24, if `item` is one.
fn under_tag_24(item: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut reader = Reader::new(item);
    match (reader.tag().ok()?, reader.peek_kind().ok()?) {
        (TAG_CBOR, Kind::Bytes) => reader.string().ok().map(Str::into_bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;
    use crate::{
        cbor::{Writer, arbitrary},
        limits::{FRAME_BYTES_MAX, MESSAGE_DEPTH_MAX},
    };

    /// Every frame of a stream that arrives in `parts`.
    fn frames<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Frame>, FrameError> {
        let (mut codec, mut src, mut frames) = (
            FrameCodec::new(FRAME_BYTES_MAX),
            BytesMut::new(),
            Vec::new(),
        );
        for part in parts {
            src.extend_from_slice(part);
            while let Some(frame) = codec.decode(&mut src)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn only_frame(stream: &[u8]) -> Frame {
        let mut frames = frames([stream]).unwrap();
        assert_eq!(frames.len(), 1, "{stream:02x?}");
        frames.remove(0)
    }

    fn tag_24(payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        Writer::new(&mut out).frame(|w| {
            w.raw(payload);
        });
        out.to_vec()
    }

    fn refusal(max: usize, stream: &[u8]) -> FrameError {
        let mut src = BytesMut::from(stream);
        let mut codec = FrameCodec::new(max);
        let error = codec.decode(&mut src).unwrap_err();
        assert_eq!(
            codec.decode(&mut src),
            Err(error.clone()),
            "the second time"
        );
        assert!(
            src.capacity() <= stream.len().max(64),
            "nothing is reserved"
        );
        error
    }

    #[test]
    fn a_frame_is_what_is_under_tag_24_in_heads_of_any_width() {
        for stream in [
            &[0xd8, 0x18, 0x41, 0xa0][..],
            &[0xd9, 0, 0x18, 0x58, 1, 0xa0],
            &[0xda, 0, 0, 0, 0x18, 0x59, 0, 1, 0xa0],
            &[0xdb, 0, 0, 0, 0, 0, 0, 0, 0x18, 0x5a, 0, 0, 0, 1, 0xa0],
            &[0xd8, 0x18, 0x5b, 0, 0, 0, 0, 0, 0, 0, 1, 0xa0],
            &[0xd8, 0x18, 0x5f, 0x40, 0x41, 0xa0, 0xff],
        ] {
            let frame = only_frame(stream);
            assert_eq!(&frame[..], [0xa0], "{stream:02x?}");
            assert!(!frame.is_checked());
        }
    }

    #[test]
    fn any_other_item_is_a_frame_by_itself() {
        for stream in [
            &[0xa1, 0x62, b'i', b'd', 0x01][..],
            &[0xbf, 0xff],
            &[0x80],
            &[0x41, 0xa0],
            &[0xd8, 0x18, 0x61, b'a'],
            &[0xd8, 0x19, 0x41, 0xa0],
        ] {
            let frame = only_frame(stream);
            assert!(frame.is_checked());
            assert_eq!(frame.into_payload(), stream);
        }
        let empty = only_frame(&[0xd8, 0x18, 0x5f, 0xff]);
        assert!(empty.is_empty() && !empty.is_checked());
    }

    #[test]
    fn a_payload_is_cut_out_and_not_copied() {
        for stream in [tag_24(&[0xa0; 300]), vec![0x80]] {
            let mut src = BytesMut::from(&stream[..]);
            let buffered = src.as_ptr_range();
            let frame = FrameCodec::new(1 << 10).decode(&mut src).unwrap().unwrap();
            assert!(buffered.contains(&frame.as_ptr()));
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_from_its_head() {
        let huge = [
            0xd8, 0x18, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ];
        assert_eq!(
            refusal(FRAME_BYTES_MAX, &huge),
            FrameError::TooLong {
                bytes: u64::MAX,
                max: FRAME_BYTES_MAX
            }
        );
        let stream = tag_24(&[0; 200]);
        assert_eq!(
            refusal(203, &stream[..4]),
            FrameError::TooLong {
                bytes: 204,
                max: 203
            }
        );
        let exactly = FrameCodec::new(204).decode(&mut BytesMut::from(&stream[..]));
        assert_eq!(exactly.unwrap().unwrap().len(), 200);
    }

    #[test]
    fn an_item_over_the_limit_is_refused_as_soon_as_it_must_be() {
        assert!(matches!(
            refusal(
                FRAME_BYTES_MAX,
                &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
            ),
            FrameError::TooLong { .. }
        ));
        let endless = [&[0x9f][..], &[0x00; 100]].concat();
        let mut codec = FrameCodec::new(100);
        let mut src = BytesMut::from(&endless[..99]);
        assert_eq!(codec.decode(&mut src), Ok(None));
        src.extend_from_slice(&endless[99..]);
        assert_eq!(
            codec.decode(&mut src),
            Err(FrameError::TooLong {
                bytes: 102,
                max: 100
            })
        );
        let whole = [&[0x98, 200][..], &[0x00; 200]].concat();
        assert_eq!(
            refusal(201, &whole),
            FrameError::TooLong {
                bytes: 202,
                max: 201
            }
        );
    }

    #[test]
    fn what_is_no_cbor_is_refused_with_what_was_found() {
        let error = refusal(FRAME_BYTES_MAX, &[0x82, 0x01, 0x1c, 0xaa]);
        assert_eq!(
            error.to_string(),
            "not well-formed CBOR at byte 2 of the message: <not CBOR: h'1caa'>"
        );
        let bad_text = refusal(FRAME_BYTES_MAX, b"\xa1\x62i\xff\x01");
        assert!(
            matches!(bad_text, FrameError::NotCbor { offset: 1, .. }),
            "{bad_text}"
        );
    }

    #[test]
    fn a_million_levels_are_refused_at_the_first_one_too_many() {
        for container in [0x81, 0xa1, 0xc1, 0x9f] {
            let mut stream = vec![container; 1_000_000];
            if container == 0xa1 {
                stream = [0xa1, 0x00].repeat(1_000_000);
            }
            let FrameError::NotCbor { source, offset, .. } = refusal(FRAME_BYTES_MAX, &stream)
            else {
                panic!("refused for another reason");
            };
            assert_eq!(source, cbor::Error::TooDeep);
            assert!(offset <= 2 * MESSAGE_DEPTH_MAX);
        }
    }

    #[test]
    fn what_is_needed_is_known_from_the_head() {
        let stream = tag_24(&[0; 70_000]);
        let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
        assert_eq!(codec.needed(), 0);
        let mut src = BytesMut::new();
        for (arrived, needed) in [(1, 2), (2, 3), (3, 7), (7, 70_007), (70_006, 70_007)] {
            src.extend_from_slice(&stream[src.len()..arrived]);
            assert_eq!(codec.decode(&mut src), Ok(None));
            assert_eq!(codec.needed(), needed, "after {arrived} bytes");
        }
        src.extend_from_slice(&[0, 0x82]);
        assert!(codec.decode(&mut src).unwrap().is_some());
        assert_eq!(codec.needed(), 0);
        assert_eq!(codec.decode(&mut src), Ok(None));
        assert_eq!(codec.needed(), 3, "a list of two is three bytes or more");
    }

    #[test]
    fn frames_that_arrive_byte_by_byte_are_looked_at_once() {
        // Quadratic work would be 10^11 steps here, and hours.
        let bare = [&[0x9f][..], &[0x61, b'a', 0x00].repeat(100_000), &[0xff]].concat();
        let chunked = [
            &[0xd8, 0x18, 0x5f][..],
            &[0x42, 1, 2].repeat(100_000),
            &[0xff],
        ]
        .concat();
        let stream = [&bare[..], &tag_24(&vec![7; 300_000]), &chunked].concat();
        let lengths: Vec<_> = frames(stream.chunks(1))
            .unwrap()
            .iter()
            .map(|f| f.len())
            .collect();
        assert_eq!(lengths, [bare.len(), 300_000, 200_000]);
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        let chunked = vec(vec(any::<u8>(), 0..9), 0..4).prop_map(|chunks| {
            let mut out = BytesMut::from(&[0xd8, 0x18, 0x5f][..]);
            for chunk in chunks {
                Writer::new(&mut out).bytes(&chunk);
            }
            out.extend_from_slice(&[0xff]);
            out.to_vec()
        });
        prop_oneof![
            arbitrary::item(),
            vec(any::<u8>(), 0..300).prop_map(|payload| tag_24(&payload)),
            chunked
        ]
    }

    proptest! {
        #[test]
        fn a_stream_split_anywhere_is_the_same_frames(
            messages in vec(message(), 1..5),
            cuts in vec(any::<Index>(), 0..6),
        ) {
            let stream = messages.concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let one_by_one: Vec<_> = messages.iter().map(|message| only_frame(message)).collect();
            prop_assert_eq!(frames([&stream[..]]), Ok(one_by_one.clone()));
            prop_assert_eq!(frames(cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]])), Ok(one_by_one.clone()));
            prop_assert_eq!(frames(stream.chunks(1)), Ok(one_by_one));
        }

        /// Only how soon a stream is refused depends on how it arrives: for a length
        /// that it announces, before the bytes that are wrong were there.
        #[test]
        fn a_damaged_stream_fails_however_it_arrives(
            message in message(),
            damaged in arbitrary::damaged(),
        ) {
            let stream = [message, damaged].concat();
            match (frames(stream.chunks(1)), frames([&stream[..]])) {
                (Err(FrameError::NotCbor { source, offset, .. }), Err(at_once)) => {
                    let FrameError::NotCbor { source: again, offset: there, .. } = at_once else {
                        return Err(TestCaseError::fail(format!("{at_once}, but {source} at {offset}")));
                    };
                    prop_assert_eq!((source, offset), (again, there));
                }
                (by_byte, at_once) => prop_assert_eq!(by_byte.ok(), at_once.ok()),
            }
        }
    }
}
