//! Clients that behave, and those that do not, while the server goes on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::limits::OTHER_MESSAGES_MAX;

#[tokio::test]
async fn a_client_that_hangs_up_while_it_waits_for_work_is_forgotten_at_once() {
    let server = Running::start(ServerLimits::default());
    for reset in [false, true] {
        let mut client = server.connect().await;
        client.send([&b"wait"[..], b"sent ahead"]).await;
        reaches(&server.fake.waiting, 1).await;
        assert_eq!(*server.fake.sessions.borrow(), 1);
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        reaches(&server.fake.waiting, 0).await;
        reaches(&server.fake.sessions, 0).await;
    }
    let answered = *server.fake.answered.borrow();
    assert!(answered >= 2, "the answers that waited came to their end");
    until(|| server.counters.connections_open() == 0).await;
}

#[tokio::test]
async fn a_waiting_client_gets_work_and_goes_on() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    client.send([&b"wait"[..], b"next"]).await;
    reaches(&server.fake.waiting, 1).await;
    client.send([b"sent meanwhile"]).await;
    server.fake.work.add_permits(1);
    client
        .receives([&b"work"[..], b"next", b"sent meanwhile"])
        .await;
}

/// A call that waited for work held back the replies to those sent with it.
#[tokio::test]
async fn replies_that_are_due_are_written_while_a_later_request_waits() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    client
        .send([&b"one"[..], b"L8000000", b"wait", b"last"])
        .await;
    client.receives([b"one"]).await;
    client.receives([&vec![b'L'; 8_000_000][..]]).await;
    reaches(&server.fake.waiting, 1).await;
    client.send([&b"two"[..], b"wait"]).await;
    server.fake.work.add_permits(1);
    client.receives([&b"work"[..], b"last", b"two"]).await;
    reaches(&server.fake.waiting, 1).await;
    server.fake.work.add_permits(1);
    client.receives([b"work"]).await;
}

#[tokio::test]
async fn a_half_closed_client_gets_all_its_replies_and_then_a_reset() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    client.send([&b"one"[..], b"L8000000", b"three"]).await;
    client.socket.shutdown().await.unwrap();
    client.receives([b"one"]).await;
    client
        .receives([&vec![b'L'; 8_000_000][..], b"three"])
        .await;
    client.meets_reset().await;
}

#[tokio::test]
async fn a_half_closed_client_that_waits_for_work_gets_an_answer_at_once() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    client.send([&b"wait"[..], b"wait again", b"last"]).await;
    client.socket.shutdown().await.unwrap();
    client.receives([&b"left"[..], b"left", b"last"]).await;
    client.meets_reset().await;
}

#[tokio::test]
async fn a_client_that_never_reads_holds_up_nobody_else() {
    let server = Running::start(ServerLimits::default());
    let mut deaf = server.connect().await;
    deaf.send(["L30000000"; 100]).await;
    reaches(&server.fake.answered, 1).await;
    let mut other = server.connect().await;
    other.send([b"hello"]).await;
    other.receives([b"hello"]).await;
    assert_eq!(
        *server.fake.answered.borrow(),
        2,
        "no second reply is made for somebody who does not take the first"
    );
    drop(deaf);
    reaches(&server.fake.sessions, 1).await;
}

#[tokio::test]
async fn a_half_sent_frame_holds_up_nobody_else() {
    let server = Running::start(ServerLimits::default());
    let mut stuck = server.connect().await;
    let frame = frames([[b's'; 1000]]);
    stuck.socket.write_all(&frame[..500]).await.unwrap();
    let mut other = server.connect().await;
    other.send([b"hello"]).await;
    other.receives([b"hello"]).await;
    stuck.socket.write_all(&frame[500..]).await.unwrap();
    stuck.receives([[b's'; 1000]]).await;
}

#[tokio::test]
async fn beyond_the_limit_a_connection_is_served_once_another_leaves() {
    let server = Running::start(ServerLimits {
        connections_max: 2,
        ..ServerLimits::default()
    });
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    let mut third = server.connect().await;
    third.send([b"third"]).await;
    for client in [&mut first, &mut second] {
        client.send([b"hello"]).await;
        client.receives([b"hello"]).await;
    }
    assert_eq!(server.counters.connections_accepted(), 2);
    drop(first);
    third.receives([b"third"]).await;
    assert_eq!(server.counters.connections_open(), 2);
    second.send([b"still here"]).await;
    second.receives([b"still here"]).await;
}

#[tokio::test]
async fn a_stream_without_frames_is_refused_then_reset() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    let mut stream = frames([b"good"]);
    stream.extend([0xff; 200_000]);
    client.socket.write_all(&stream).await.unwrap();
    client.receives([&b"good"[..], b"refused"]).await;
    client.meets_reset().await;
    until(|| server.counters.connections_open() == 0).await;
    assert_eq!(server.counters.frames_refused(), 1);
}

#[tokio::test]
async fn a_client_can_send_all_of_a_frame_over_the_limit_and_read_why_it_was_refused() {
    let server = Running::start(ServerLimits {
        frame_bytes_max: 1 << 20,
        ..ServerLimits::default()
    });
    let mut client = server.connect().await;
    client.send([vec![0; 20 << 20]]).await;
    client.receives([b"refused"]).await;
    client.meets_reset().await;
    assert_eq!(server.counters.large_frame_bytes(), 0);
}

#[tokio::test]
async fn a_request_that_is_not_cbor_gets_its_reply_then_a_reset() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    client.send([&b"good"[..], b"x", b"never looked at"]).await;
    client.receives([&b"good"[..], b"not cbor"]).await;
    client.meets_reset().await;
    assert_eq!(*server.fake.answered.borrow(), 2);
    until(|| server.counters.connections_open() == 0).await;
    assert_eq!(server.counters.frames_refused(), 1);
}

/// A megabyte of spaces is a million messages, and each reply is 70 times as long.
#[tokio::test]
async fn a_peer_that_never_sends_a_request_is_dropped_after_some_replies() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    client.send(vec!["?"; 1_000]).await;
    let replies = OTHER_MESSAGES_MAX as usize;
    client.receives(vec!["no request"; replies]).await;
    client.meets_reset().await;
    assert_eq!(*server.fake.answered.borrow(), replies);
}

#[tokio::test]
async fn a_client_that_has_sent_a_request_may_send_anything_else() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    let before = OTHER_MESSAGES_MAX as usize - 1;
    client.send(vec!["?"; before]).await;
    client.send(["request"]).await;
    client.send(vec!["?"; 1_000]).await;
    client.receives(vec!["no request"; before]).await;
    client.receives(["request"]).await;
    client.receives(vec!["no request"; 1_000]).await;
}

#[tokio::test]
async fn a_panic_resets_its_connection_and_no_other() {
    let server = Running::start(ServerLimits::default());
    let mut other = server.connect().await;
    let mut client = server.connect().await;
    client.send([b"panic"]).await;
    client.meets_reset().await;
    other.send([b"hello"]).await;
    other.receives([b"hello"]).await;
    reaches(&server.fake.sessions, 1).await;
    until(|| server.counters.connections_open() == 1).await;
    assert_eq!(server.counters.connections_panicked(), 1);
}

#[tokio::test]
async fn a_client_that_closes_in_order_meets_reset_all_the_same() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    client.socket.shutdown().await.unwrap();
    let end = client.socket.read_u8().await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}
