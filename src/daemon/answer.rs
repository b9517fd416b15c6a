//! What the job server offers to connections. The network side knows nothing else of it.

use std::future::Future;

use bytes::BytesMut;
use tokio_util::sync::CancellationToken;

use crate::wire::FrameError;

/// Answers the requests of all clients.
pub trait Answer: Send + Sync + 'static {
    /// What is remembered for one connection, and forgotten with it.
    type Session: Send;

    /// The session of a connection that was just accepted.
    fn open(&self) -> Self::Session;

    /// Appends the reply to `request`, the CBOR of one message without its frame, to
    /// `replies`, as a frame. Never fails: what goes wrong is a reply too.
    ///
    /// A session has one request in progress at a time. The future is never dropped
    /// before it is done, except when the daemon stops and the drain is over.
    ///
    /// `leave` is cancelled when the client hung up or the daemon is stopping: a request
    /// that waits for work then ends its wait and answers. It stays cancelled for the
    /// requests of this connection that are answered afterwards.
    fn answer(
        &self,
        session: &mut Self::Session,
        request: &[u8],
        leave: &CancellationToken,
        replies: &mut BytesMut,
    ) -> impl Future<Output = Flow> + Send;

    /// Appends the one reply, with id 0, that a stream gets which cannot be split into
    /// frames (protocol.md §3).
    fn refuse(&self, reason: &FrameError, replies: &mut BytesMut);
}

/// What becomes of a connection after a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// It goes on.
    Continue,
    /// It goes on, although nothing in the message was a request, for this reason. Clients
    /// have bugs; a peer that never sends a request is none, though.
    NoRequest(String),
    /// The message was not well-formed CBOR, for this reason, so nothing that follows it can
    /// be trusted: the reply is written, then the connection is dropped.
    Drop(String),
}
