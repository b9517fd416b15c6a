//! From the bytes of a message to the bytes of its reply.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::atomic::Ordering,
};

use bytes::BytesMut;
use tokio::task::coop::consume_budget;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::{CallError, CallResult, JobServer, Session};
use crate::{
    backend::Backend,
    cbor::{self, FrameStart, Writer, begin_frame},
    clock::Clock,
    wire::{BadCall, Call, Dialect, Envelope, Message, TooLong, write_reply},
};

/// What a message was.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered {
    /// A request, or several; whether or not they made sense, they were answered.
    Message,
    /// Well-formed CBOR, but nothing in it has what makes a request, for this reason; the
    /// error reply says so too.
    NoRequest(String),
    /// Not one well-formed item. The error reply says so; what comes after it on the
    /// same connection cannot be trusted (protocol.md §3).
    Malformed(cbor::Error),
}

impl<B: Backend, C: Clock> JobServer<B, C> {
    /// Appends the reply to `message`, the content of one frame, to `replies`: a map
    /// for a request, an array of maps for an array of requests.
    ///
    /// Never fails: what goes wrong is a reply too, also if it is a fault of ours.
    pub async fn answer(
        &self,
        session: &mut Session,
        message: &[u8],
        leave: &CancellationToken,
        replies: &mut BytesMut,
    ) -> Answered {
        let message = match Message::read(message) {
            Ok(message) => message,
            Err(error) => {
                self.refuse(&error.to_string(), replies);
                return Answered::Malformed(error);
            }
        };
        let frame = begin_frame(replies);
        let answered = match message {
            Message::One(request) => {
                self.answer_one(session, request, leave, &frame, replies)
                    .await
            }
            Message::Many(requests) => {
                Writer::new(replies).array(requests.len() as u64);
                let mut answered = Answered::NoRequest("no request in the list".to_owned());
                for request in requests {
                    let one = self
                        .answer_one(session, request, leave, &frame, replies)
                        .await;
                    if one == Answered::Message {
                        answered = one;
                    }
                    // A long list lets others have their turn.
                    consume_budget().await;
                }
                answered
            }
            Message::Refused(bad) => {
                say(replies, &frame, 0, &bad.to_string());
                Answered::Message
            }
        };
        frame.finish(replies);
        answered
    }

    /// Appends an error reply that belongs to no request.
    pub fn refuse(&self, why: &str, replies: &mut BytesMut) {
        let frame = begin_frame(replies);
        say(replies, &frame, 0, why);
        frame.finish(replies);
    }

    /// How many calls ended in a panic, each answered as an internal error.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    async fn answer_one(
        &self,
        session: &mut Session,
        request: &[u8],
        leave: &CancellationToken,
        frame: &FrameStart,
        replies: &mut BytesMut,
    ) -> Answered {
        let envelope = match Envelope::read(request) {
            Ok(envelope) => envelope,
            Err((id, bad)) => {
                let why = bad.to_string();
                debug!(id, why, "request refused");
                say(replies, frame, id, &why);
                return Answered::NoRequest(why);
            }
        };
        let Envelope { id, dialect, .. } = envelope;
        let result = self.guarded(session, &envelope, leave).await;
        match &result {
            // Known methods only: other names may be as long as a frame.
            Ok(_) => debug!(method = envelope.method, id, "answered"),
            Err(error) => debug!(id, %error, "refused"),
        }
        reply(replies, frame, id, dialect, result);
        Answered::Message
    }

    /// Reads and carries out the call; a panic is an error like any other, with a
    /// reference to what the log says of it.
    async fn guarded<'a>(
        &'a self,
        session: &mut Session,
        envelope: &Envelope<'a>,
        leave: &CancellationToken,
    ) -> CallResult<'a> {
        let mut call = pin!(async {
            let call = Call::read(envelope)?;
            self.call(session, call, leave).await
        });
        // Whatever a panic leaves half done is behind a lock, which it poisons.
        let caught = poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
                Ok(poll) => poll.map(Ok),
                Err(panic) => std::task::Poll::Ready(Err(panic)),
            }
        });
        match caught.await {
            Ok(result) => result,
            Err(panic) => {
                let reference = self.panics.fetch_add(1, Ordering::Relaxed) + 1;
                let cause = panic_message(&*panic);
                error!(reference, cause, "call panicked");
                Err(CallError(format!("internal error (ref {reference})")))
            }
        }
    }
}

/// Appends the reply, or an error if it would be too long.
fn reply(
    replies: &mut BytesMut,
    frame: &FrameStart,
    id: u64,
    dialect: Dialect,
    result: CallResult<'_>,
) {
    let written = match &result {
        Ok(reply) => write_reply(replies, frame, id, dialect, Ok(reply)),
        Err(error) => return say(replies, frame, id, &error.to_string()),
    };
    if let Err(too_long) = written {
        say(replies, frame, id, &too_long.to_string());
    }
}

/// Appends an error reply.
fn say(replies: &mut BytesMut, frame: &FrameStart, id: u64, why: &str) {
    // An error has no strings but text, in either dialect, and is never too long.
    let written: Result<(), TooLong> = write_reply(replies, frame, id, Dialect::Text, Err(why));
    debug_assert_eq!(written, Ok(()));
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

impl From<BadCall> for CallError {
    fn from(bad: BadCall) -> CallError {
        CallError(bad.to_string())
    }
}
