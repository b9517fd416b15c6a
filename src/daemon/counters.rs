//! What is counted about connections, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Plain numbers, each right on its own: they are read and changed without any order
/// between them.
#[derive(Debug, Default)]
pub struct Counters {
    connections_open: AtomicU64,
    connections_accepted: AtomicU64,
    connections_panicked: AtomicU64,
    accepts_failed: AtomicU64,
    frames_refused: AtomicU64,
    large_frame_bytes: AtomicU64,
}

impl Counters {
    /// Connections open now.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        self.connections_open.load(Relaxed)
    }

    /// Connections accepted since the start.
    #[must_use]
    pub fn connections_accepted(&self) -> u64 {
        self.connections_accepted.load(Relaxed)
    }

    /// Connections that ended because their task panicked.
    #[must_use]
    pub fn connections_panicked(&self) -> u64 {
        self.connections_panicked.load(Relaxed)
    }

    /// Times that the system could not give us the next connection.
    #[must_use]
    pub fn accepts_failed(&self) -> u64 {
        self.accepts_failed.load(Relaxed)
    }

    /// Connections dropped because of something malformed: a stream that cannot be split
    /// into frames, a frame that is not well-formed CBOR, or messages without a request.
    #[must_use]
    pub fn frames_refused(&self) -> u64 {
        self.frames_refused.load(Relaxed)
    }

    /// Bytes that large frames take now, counted from when they are admitted until they
    /// are answered.
    #[must_use]
    pub fn large_frame_bytes(&self) -> u64 {
        self.large_frame_bytes.load(Relaxed)
    }

    pub(super) fn connection_opened(&self) {
        self.connections_accepted.fetch_add(1, Relaxed);
        self.connections_open.fetch_add(1, Relaxed);
    }

    pub(super) fn connection_closed(&self) {
        self.connections_open.fetch_sub(1, Relaxed);
    }

    pub(super) fn connection_panicked(&self) {
        self.connections_panicked.fetch_add(1, Relaxed);
    }

    pub(super) fn accept_failed(&self) {
        self.accepts_failed.fetch_add(1, Relaxed);
    }

    pub(super) fn frame_refused(&self) {
        self.frames_refused.fetch_add(1, Relaxed);
    }

    pub(super) fn large_frame_admitted(&self, bytes: u64) {
        self.large_frame_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn large_frame_answered(&self, bytes: u64) {
        self.large_frame_bytes.fetch_sub(bytes, Relaxed);
    }
}
