//! Conversations over streams in memory, which tell exactly what was read and written.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};

use super::*;
use crate::daemon::{
    ServerLimits,
    tests::{Fake, frame_head, frames},
};

/// An in-memory stream that counts what is written to it.
struct Observed {
    stream: DuplexStream,
    writes: usize,
}

impl Transport for Observed {
    async fn sent(&self) {}

    fn peer(&self) -> Option<std::net::SocketAddr> {
        None
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes += 1;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        panic!("a connection is never closed in order");
    }
}

/// A client, and the stream of its connection; each side holds `bytes` in flight.
fn connection(bytes: usize) -> (DuplexStream, Observed) {
    let (client, stream) = duplex(bytes);
    (client, Observed { stream, writes: 0 })
}

fn shared(fake: &Arc<Fake>) -> Shared<Fake> {
    Shared::new(Arc::clone(fake), ServerLimits::default())
}

/// Lets the conversation go as far as it can with what its client has sent. Says how it
/// ended, if it did.
async fn go_on(conversation: &mut Conversation<'_, Observed, Fake>) -> Option<Ended> {
    let leave = conversation.leave;
    let mut stopped = pin!(leave.cancelled());
    let mut run = pin!(conversation.run(stopped.as_mut()));
    let step = tokio::task::unconstrained(poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx))));
    match step.await {
        Poll::Ready(Err(ended)) => Some(ended),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn requests_that_arrive_together_are_answered_in_order_with_one_write() {
    let (mut client, stream) = connection(1 << 20);
    let (fake, leave) = (Fake::new(), CancellationToken::new());
    let shared = shared(&fake);
    let requests = frames((0..1_000).map(|n| format!("{n}")));
    client.write_all(&requests).await.unwrap();
    let mut conversation = Conversation::new(stream, &shared, &leave);
    assert!(go_on(&mut conversation).await.is_none());
    assert_eq!(conversation.stream.writes, 1);
    let mut replies = vec![0; requests.len()];
    client.read_exact(&mut replies).await.unwrap();
    assert!(replies == requests);
}

#[tokio::test]
async fn a_client_that_sends_much_at_once_lets_others_have_their_turn() {
    let (mut client, stream) = connection(1 << 20);
    let fake = Fake::new();
    let requests = frames(["request"; 1_000]);
    client.write_all(&requests).await.unwrap();
    let serving = tokio::spawn({
        let shared = shared(&fake);
        async move { serve(stream, &shared, CancellationToken::new()).await }
    });
    tokio::task::yield_now().await;
    assert!((1..1_000).contains(&*fake.answered.borrow()));
    client
        .read_exact(&mut vec![0; requests.len()])
        .await
        .unwrap();
    drop(client);
    assert!(matches!(serving.await.unwrap(), Ended::HungUp));
}

#[tokio::test]
async fn long_replies_are_written_before_the_rest_is_answered() {
    let (mut client, stream) = connection(1 << 20);
    let (fake, leave) = (Fake::new(), CancellationToken::new());
    let shared = shared(&fake);
    client
        .write_all(&frames(["L70000", "first", "wait"]))
        .await
        .unwrap();
    let mut conversation = Conversation::new(stream, &shared, &leave);
    assert!(go_on(&mut conversation).await.is_none());
    assert_eq!(
        conversation.stream.writes, 2,
        "the long one, then what was due when a request waited"
    );
    let mut reply = vec![0; frame_head(0).len() + 70_000];
    client.read_exact(&mut reply).await.unwrap();
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let (mut client, stream) = connection(1);
    let fake = Fake::new();
    let serving = tokio::spawn({
        let shared = shared(&fake);
        async move { serve(stream, &shared, CancellationToken::new()).await }
    });
    for payload in ["one", "two"] {
        let request = frames([payload]);
        client.write_all(&request).await.unwrap();
        let mut reply = vec![0; request.len()];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, request);
    }
    drop(client);
    assert!(matches!(serving.await.unwrap(), Ended::HungUp));
}

#[tokio::test]
async fn a_client_that_hangs_up_inside_a_frame_is_told_from_one_that_has_finished() {
    for (sent_bytes, inside) in [(0, false), (5, true), (100_000, true)] {
        let (mut client, stream) = connection(1 << 20);
        let fake = Fake::new();
        let request = frames([vec![b'#'; 200_000]]);
        client.write_all(&frames(["before"])).await.unwrap();
        client.write_all(&request[..sent_bytes]).await.unwrap();
        client.shutdown().await.unwrap();
        let ended = serve(stream, &shared(&fake), CancellationToken::new()).await;
        match ended {
            Ended::HungUp => assert!(!inside),
            Ended::HungUpInsideFrame => assert!(inside),
            ended => panic!("{ended:?}"),
        }
        assert_eq!((*fake.answered.borrow(), *fake.sessions.borrow()), (1, 0));
    }
}

#[tokio::test]
async fn nothing_is_answered_for_a_client_that_does_not_take_its_replies() {
    let (mut client, stream) = connection(100_000);
    let (fake, leave) = (Fake::new(), CancellationToken::new());
    let shared = shared(&fake);
    client.write_all(&frames(["L200000"; 1_000])).await.unwrap();
    let mut conversation = Conversation::new(stream, &shared, &leave);
    assert!(go_on(&mut conversation).await.is_none());
    assert_eq!(*fake.answered.borrow(), 1);
    assert!(conversation.requests.len() < RECEIVE_BYTES_MAX);
}

#[tokio::test]
async fn a_waiting_client_may_send_ahead_only_so_much() {
    let (mut client, stream) = connection(1 << 20);
    let (fake, leave) = (Fake::new(), CancellationToken::new());
    let shared = shared(&fake);
    client.write_all(&frames(["wait"])).await.unwrap();
    client.write_all(&[0; 500_000]).await.unwrap();
    let mut conversation = Conversation::new(stream, &shared, &leave);
    assert!(go_on(&mut conversation).await.is_none());
    let ahead_bytes = conversation.requests.len();
    assert!(ahead_bytes >= READ_AHEAD_BYTES_MAX);
    assert!(ahead_bytes < READ_AHEAD_BYTES_MAX + RECEIVE_BYTES_MAX);
}

#[tokio::test]
async fn buffers_are_small_again_after_large_frames_and_replies() {
    let (mut client, stream) = connection(16 << 20);
    let (fake, leave) = (Fake::new(), CancellationToken::new());
    let shared = shared(&fake);
    let mut conversation = Conversation::new(stream, &shared, &leave);
    for request in [
        frames([vec![b'#'; 4 << 20]]),
        frames(["L4000000"]),
        frames(["small"; 5_000]),
    ] {
        client.write_all(&request).await.unwrap();
        while *fake.answered.borrow() == 0 || !conversation.requests.is_empty() {
            assert!(go_on(&mut conversation).await.is_none());
        }
        fake.answered.send_replace(0);
        assert!(conversation.replies.capacity() <= IDLE_BUFFER_BYTES_MAX);
        assert!(conversation.requests.capacity() <= IDLE_BUFFER_BYTES_MAX);
        assert_eq!(shared.counters.large_frame_bytes(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_that_stalls_gives_its_room_back() {
    let (mut client, stream) = connection(1 << 20);
    let fake = Fake::new();
    let shared = shared(&fake);
    let request = frames([vec![b'#'; 400_000]]);
    client.write_all(&request[..300_000]).await.unwrap();
    let ended = serve(stream, &shared, CancellationToken::new()).await;
    assert!(matches!(ended, Ended::Stalled), "{ended}");
    assert_eq!(shared.counters.large_frame_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_kept_however_long_it_is_silent() {
    let (mut client, stream) = connection(1 << 20);
    let fake = Fake::new();
    let serving = tokio::spawn({
        let shared = shared(&fake);
        async move { serve(stream, &shared, CancellationToken::new()).await }
    });
    let request = frames(["hello"]);
    let mut reply = vec![0; request.len()];
    let (start, rest) = request.split_at(5);
    for part in [start, rest] {
        // Lets the paused clock jump to any timer there may be.
        tokio::time::advance(std::time::Duration::from_secs(100_000)).await;
        client.write_all(part).await.unwrap();
    }
    client.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply, request);
    drop(client);
    assert!(matches!(serving.await.unwrap(), Ended::HungUp));
}
