//! The conversation with one client.
//!
//! # Invariants
//!
//! * Requests are answered in order, one at a time. All that were received together are
//!   answered before anything is written, unless their replies reach `REPLY_BYTES_HIGH`
//!   or an answer takes time (it waits for work, say): what is due is written meanwhile.
//! * While a reply is being written nothing is read, and while a request is being answered
//!   at most `READ_AHEAD_BYTES_MAX`: a client that sends faster than it takes replies is
//!   held back by TCP.
//! * A request that was received whole is answered, also when the daemon stops or the
//!   client has shut down its side; only a reset or a malformed neighbour prevents it.
//! * More than `LARGE_FRAME_BYTES_MIN` of one frame, and of what came with its start, is
//!   buffered only with the budget's leave.
//!
//! # Cost
//!
//! A request that is answered at once costs no allocation, timer, lock or task of ours. A
//! wake-up of the task costs one read, one write and an uncontended lock (of the stop token).
//! An idle connection keeps its task and at most two buffers of `IDLE_BUFFER_BYTES_MAX`:
//! 3 KiB in all, besides what a session and an answer take (measured with 10,000).

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadBuf},
    task::coop::consume_budget,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tracing::warn;

use super::{Answer, Flow, budget::Admitted, server::Shared, transport::Transport};
use crate::{
    limits::{
        IDLE_BUFFER_BYTES_MAX, LARGE_FRAME_BYTES_MIN, LARGE_FRAME_STALL_MAX, OTHER_MESSAGES_MAX,
        READ_AHEAD_BYTES_MAX, RECEIVE_BYTES_MAX, REFUSAL_QUIET, REFUSAL_WAIT_MAX, REPLY_BYTES_HIGH,
    },
    wire::{FrameCodec, FrameError},
};

/// Why a conversation is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The client shut down the connection after a whole request.
    #[error("client hung up")]
    HungUp,
    /// The client shut down the connection in the middle of a request.
    #[error("client hung up inside a frame")]
    HungUpInsideFrame,
    /// The daemon is stopping.
    #[error("stopping")]
    Stopped,
    /// The client sent something that is not a frame.
    #[error(transparent)]
    Malformed(#[from] FrameError),
    /// The client sent a frame whose content is not well-formed CBOR, for this reason.
    #[error("message is refused: {0}")]
    NotWellFormed(String),
    /// The peer sent messages of every kind but requests; the last one was none for this
    /// reason.
    #[error("{OTHER_MESSAGES_MAX} messages and no request, the last time: {0}")]
    NoClient(String),
    /// The client held memory for a large frame that it did not go on sending.
    #[error("large frame stalled")]
    Stalled,
    /// The connection was reset, or failed otherwise.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// Answers the requests of one client until it hangs up, sends something malformed, or
/// `leave` is cancelled, which must be this connection's own token. When this returns,
/// what was written has left, and `stream` has been dropped.
pub(super) async fn serve<A: Answer>(
    stream: impl Transport,
    shared: &Shared<A>,
    leave: CancellationToken,
) -> Ended {
    let mut conversation = Conversation::new(stream, shared, &leave);
    match conversation.run(pin!(leave.cancelled())).await {
        Err(ended) => conversation.part(ended).await,
    }
}

/// What is known of the client's side of the connection.
enum Client {
    /// It may send more.
    Sending,
    /// It has shut down its side, and may still take replies.
    Silent,
    /// The connection is gone.
    Gone(io::Error),
}

struct Conversation<'a, S, A: Answer> {
    stream: S,
    shared: &'a Shared<A>,
    session: A::Session,
    codec: FrameCodec,
    /// Received and not answered yet.
    requests: BytesMut,
    /// Answered and not written yet.
    replies: BytesMut,
    /// The reply in progress, while there are others before it.
    late: BytesMut,
    /// Room for the large frame that is being received or answered.
    admitted: Option<Admitted<'a>>,
    client: Client,
    /// Messages that were no requests, until the first one that was.
    other_messages: Option<u32>,
    leave: &'a CancellationToken,
}

impl<'a, S: Transport, A: Answer> Conversation<'a, S, A> {
    fn new(stream: S, shared: &'a Shared<A>, leave: &'a CancellationToken) -> Self {
        Conversation {
            stream,
            shared,
            session: shared.answer.open(),
            codec: FrameCodec::new(shared.frame_bytes_max),
            requests: BytesMut::new(),
            replies: BytesMut::new(),
            late: BytesMut::new(),
            admitted: None,
            client: Client::Sending,
            other_messages: Some(0),
            leave,
        }
    }

    /// Receives and answers until there is a reason not to.
    async fn run(
        &mut self,
        mut stopped: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> Result<Infallible, Ended> {
        loop {
            self.receive(stopped.as_mut()).await?;
            self.answer_received().await?;
            self.write_replies().await?;
            if let Client::Silent = self.client {
                return Err(self.hung_up());
            }
        }
    }

    /// Waits for more from the client.
    async fn receive(
        &mut self,
        mut stopped: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> Result<(), Ended> {
        if self.expects_large_frame() {
            tokio::select! {
                biased;
                () = stopped => return Err(Ended::Stopped),
                received = self.receive_large() => return received,
            }
        }
        self.release_idle_memory();
        let received_bytes = poll_fn(|cx| {
            if stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Ended::Stopped));
            }
            let received = poll_receive(&mut self.stream, cx, &mut self.requests);
            received.map_err(Ended::Failed)
        })
        .await?;
        match received_bytes {
            0 => Err(self.hung_up()),
            _ => Ok(()),
        }
    }

    /// Whether what is being received needs the budget's leave to be buffered further.
    fn expects_large_frame(&self) -> bool {
        self.codec.needed().max(self.requests.len()) > LARGE_FRAME_BYTES_MIN
    }

    /// Receives some more of a large frame, and little or nothing of what comes after it.
    async fn receive_large(&mut self) -> Result<(), Ended> {
        // The length of other frames is known at their end, so they need room for any.
        let is_exact = announces_its_length(&self.requests);
        let frame_bytes = match is_exact {
            true => self.codec.needed(),
            false => self.shared.frame_bytes_max,
        };
        if self.admitted.is_none() {
            self.admitted = Some(self.shared.budget.admit(frame_bytes).await);
            let mut whole = BytesMut::with_capacity(frame_bytes);
            whole.extend_from_slice(&self.requests);
            self.requests = whole;
        }
        let missing_bytes = frame_bytes.saturating_sub(self.requests.len()).max(1);
        let (least_bytes, most_bytes) = match is_exact {
            true => (missing_bytes.min(LARGE_FRAME_BYTES_MIN), missing_bytes),
            false => (1, missing_bytes.min(LARGE_FRAME_BYTES_MIN)),
        };
        let step = async {
            let mut rest = (&mut self.requests).limit(most_bytes);
            let mut received_bytes = 0;
            while received_bytes < least_bytes {
                match self.stream.read_buf(&mut rest).await? {
                    0 => return Err(Ended::HungUpInsideFrame),
                    read_bytes => received_bytes += read_bytes,
                }
            }
            Ok(())
        };
        timeout(LARGE_FRAME_STALL_MAX, step)
            .await
            .unwrap_or(Err(Ended::Stalled))
    }

    /// Answers every request that was received whole.
    async fn answer_received(&mut self) -> Result<(), Ended> {
        while let Some(frame) = self.codec.decode(&mut self.requests)? {
            if self.admitted.is_some() {
                // What follows the frame must not keep the memory of the frame.
                self.requests = BytesMut::from(&self.requests[..]);
            }
            let flow = self.answer(&frame).await;
            drop(frame);
            self.append_late().await?;
            // One that sends a lot at once lets others have their turn.
            consume_budget().await;
            self.admitted = None;
            if let Client::Gone(_) = self.client {
                // The rest was asked by somebody who will never know.
                return Err(self.hung_up());
            }
            match flow {
                Flow::Continue => self.other_messages = None,
                Flow::NoRequest(why) => self.note_other_message(why)?,
                Flow::Drop(why) => return Err(Ended::NotWellFormed(why)),
            }
            if self.replies.len() >= REPLY_BYTES_HIGH {
                self.write_replies().await?;
            }
        }
        Ok(())
    }

    /// Notes a message that was no request. The first one of a peer that has not sent any
    /// request is worth a line in the log; more than a few are not worth a reply.
    fn note_other_message(&mut self, why: String) -> Result<(), Ended> {
        let Some(messages) = &mut self.other_messages else {
            return Ok(());
        };
        *messages += 1;
        match *messages {
            1 => {
                let peer = self.stream.peer().map(tracing::field::display);
                warn!(peer, why, "message is no request");
                Ok(())
            }
            OTHER_MESSAGES_MAX => Err(Ended::NoClient(why)),
            _ => Ok(()),
        }
    }

    /// Answers one request. If that takes time, writes the replies that are due, and reads
    /// ahead, so that a client that hangs up meanwhile is noticed at once; the answer is
    /// then awaited all the same.
    async fn answer(&mut self, request: &[u8]) -> Flow {
        let (reply, due) = match self.replies.is_empty() {
            true => (&mut self.replies, None),
            false => (&mut self.late, Some(&mut self.replies)),
        };
        let answer = &self.shared.answer;
        let answering = answer.answer(&mut self.session, request, self.leave, reply);
        let (mut answering, mut due) = (pin!(answering), due);
        poll_fn(|cx| {
            if let Poll::Ready(flow) = answering.as_mut().poll(cx) {
                return Poll::Ready(flow);
            }
            if let Some(due) = &mut due
                && let Poll::Ready(Err(error)) = poll_write_all(&mut self.stream, cx, due)
            {
                self.client = Client::Gone(error);
                self.leave.cancel();
            }
            while let Client::Sending = self.client
                && self.requests.len() < READ_AHEAD_BYTES_MAX
            {
                match ready!(poll_receive(&mut self.stream, cx, &mut self.requests)) {
                    Ok(0) => self.client = Client::Silent,
                    Ok(_) => continue,
                    Err(error) => self.client = Client::Gone(error),
                }
                self.leave.cancel(); // wakes this task, if that ends the answer's wait
            }
            Poll::Pending
        })
        .await
    }

    /// Puts a reply that was kept apart behind those before it.
    async fn append_late(&mut self) -> io::Result<()> {
        if self.late.is_empty() {
            return Ok(());
        }
        if self.late.len() >= REPLY_BYTES_HIGH {
            // Too long to be copied.
            self.write_replies().await?;
            std::mem::swap(&mut self.replies, &mut self.late);
        } else {
            self.replies.extend_from_slice(&self.late);
            self.late.clear();
        }
        Ok(())
    }

    /// Writes all replies; does nothing if there are none.
    async fn write_replies(&mut self) -> io::Result<()> {
        if self.replies.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.replies).await?;
        self.replies.clear();
        if self.replies.capacity() > REPLY_BYTES_HIGH {
            self.replies = BytesMut::new();
        }
        Ok(())
    }

    /// Gives back what a burst needed and single calls do not.
    fn release_idle_memory(&mut self) {
        for replies in [&mut self.replies, &mut self.late] {
            if replies.capacity() > IDLE_BUFFER_BYTES_MAX {
                *replies = BytesMut::new();
            }
        }
        if self.requests.is_empty() && self.requests.try_reclaim(IDLE_BUFFER_BYTES_MAX + 1) {
            self.requests = BytesMut::new();
        }
    }

    /// How the conversation ended, now that the client sends nothing more.
    fn hung_up(&mut self) -> Ended {
        match std::mem::replace(&mut self.client, Client::Silent) {
            Client::Gone(error) => Ended::Failed(error),
            _ if self.requests.is_empty() => Ended::HungUp,
            _ => Ended::HungUpInsideFrame,
        }
    }

    /// Sees to it that the client can read all replies before the connection is reset.
    async fn part(&mut self, ended: Ended) -> Ended {
        match &ended {
            Ended::HungUp | Ended::HungUpInsideFrame | Ended::Stopped => self.stream.sent().await,
            Ended::Malformed(_) | Ended::NotWellFormed(_) | Ended::NoClient(_) => {
                if let Ended::Malformed(reason) = &ended {
                    self.shared.answer.refuse(reason, &mut self.replies);
                }
                // A client that does not take the reply in time goes without.
                let _ = timeout(REFUSAL_WAIT_MAX, self.refuse()).await;
            }
            Ended::Stalled | Ended::Failed(_) => {}
        }
        ended
    }

    /// Writes the last reply. Then takes in, and forgets, what the client is sending: one
    /// that is in the middle of a frame which is too long looks for a reply only when it
    /// has sent all of it, and would otherwise meet the reset first.
    async fn refuse(&mut self) -> io::Result<()> {
        self.write_replies().await?;
        self.stream.sent().await;
        loop {
            self.requests.clear();
            let next = poll_fn(|cx| poll_receive(&mut self.stream, cx, &mut self.requests));
            match timeout(REFUSAL_QUIET, next).await {
                Ok(Ok(1..)) => {}
                _ => return Ok(()),
            }
        }
    }
}

/// Whether a frame that starts like this tells its length in its head, as the frames of
/// all known clients do: tag 24 and a byte string in one piece.
fn announces_its_length(frame: &[u8]) -> bool {
    matches!(frame, [0xd8, 0x18, 0x40..=0x5b, ..])
}

/// Appends what has arrived, up to `RECEIVE_BYTES_MAX`, to `requests`; 0 at the end of the
/// stream.
///
/// It goes through the stack, so that no connection needs a large buffer to wait with, and
/// so that the read is seldom a full one, which would have to be repeated to find that
/// there is no more.
fn poll_receive(
    stream: &mut impl Transport,
    cx: &mut Context<'_>,
    requests: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut space = [const { MaybeUninit::uninit() }; RECEIVE_BYTES_MAX];
    let mut received = ReadBuf::uninit(&mut space);
    ready!(Pin::new(stream).poll_read(cx, &mut received))?;
    requests.extend_from_slice(received.filled());
    Poll::Ready(Ok(received.filled().len()))
}

/// Writes some of `due`, and takes it off the front; ready once there is none.
fn poll_write_all(
    stream: &mut impl Transport,
    cx: &mut Context<'_>,
    due: &mut BytesMut,
) -> Poll<io::Result<()>> {
    while !due.is_empty() {
        match ready!(Pin::new(&mut *stream).poll_write(cx, due))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written_bytes => due.advance(written_bytes),
        }
    }
    Poll::Ready(Ok(()))
}

#[cfg(test)]
mod tests;
