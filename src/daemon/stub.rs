//! stub
use bytes::{Buf, Bytes, BytesMut};
#[derive(Debug, thiserror::Error)]
/// .
pub enum FrameError {
    /// .
    #[error("expected a tag-24 byte string, found byte 0x{found:02x}")]
    NotAFrame {
        /// .
        found: u8,
    },
    /// .
    #[error("frame of {bytes} bytes is over the limit")]
    TooLong {
        /// .
        bytes: u64,
    },
}
/// .
#[derive(Debug)]
pub(super) struct FrameCodec {
    max: usize,
    needed: Option<usize>,
}
impl FrameCodec {
    /// .
    pub(super) fn new(max: usize) -> Self {
        FrameCodec { max, needed: None }
    }
    /// .
    pub(super) fn needed(&self) -> Option<usize> {
        self.needed
    }
    /// .
    pub(super) fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some((head_bytes, body_bytes)) = frame_head(src)? else {
            return Ok(None);
        };
        if body_bytes > self.max as u64 {
            return Err(FrameError::TooLong { bytes: body_bytes });
        }
        let frame_bytes = head_bytes + body_bytes as usize;
        if src.len() < frame_bytes {
            self.needed = Some(frame_bytes);
            return Ok(None);
        }
        self.needed = None;
        let mut frame = src.split_to(frame_bytes);
        frame.advance(head_bytes);
        Ok(Some(frame.freeze()))
    }
}
fn frame_head(src: &[u8]) -> Result<Option<(usize, u64)>, FrameError> {
    for (i, want) in [0xd8, 0x18].into_iter().enumerate() {
        match src.get(i) {
            Some(&found) if found != want => return Err(FrameError::NotAFrame { found }),
            Some(_) => {}
            None => return Ok(None),
        }
    }
    let Some((&head, rest)) = src[2..].split_first() else {
        return Ok(None);
    };
    let width = match head {
        0x40..=0x57 => return Ok(Some((3, u64::from(head - 0x40)))),
        0x58..=0x5b => 1usize << (head - 0x58),
        found => return Err(FrameError::NotAFrame { found }),
    };
    let Some(length) = rest.get(..width) else {
        return Ok(None);
    };
    let body_bytes = length
        .iter()
        .fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
    Ok(Some((3 + width, body_bytes)))
}
