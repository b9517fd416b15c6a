//! Large frames share one budget.

use tokio::io::AsyncWriteExt;

use super::*;

const FRAME_BYTES: usize = 40 << 20;

fn limits() -> ServerLimits {
    ServerLimits {
        large_frames_bytes_max: 64 << 20,
        ..ServerLimits::default()
    }
}

/// A request of `FRAME_BYTES`, answered with that number.
fn large() -> Vec<u8> {
    frames([vec![b'#'; FRAME_BYTES]])
}

#[tokio::test]
async fn two_large_frames_that_do_not_fit_together_are_both_answered() {
    let server = Running::start(limits());
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    let frame = large();
    let (head, rest) = frame.split_at(1 << 20);
    first.socket.write_all(head).await.unwrap();
    until(|| server.counters.large_frame_bytes() > 0).await;
    let sending = tokio::spawn({
        let frame = frame.clone();
        async move {
            second.socket.write_all(&frame).await.unwrap();
            second.receives([FRAME_BYTES.to_string()]).await;
        }
    });
    // A small call needs no room.
    let mut small = server.connect().await;
    small.send([b"hello"]).await;
    small.receives([b"hello"]).await;
    assert_eq!(*server.fake.answered.borrow(), 1);
    first.socket.write_all(rest).await.unwrap();
    first.receives([FRAME_BYTES.to_string()]).await;
    sending.await.unwrap();
    assert_eq!(server.counters.large_frame_bytes(), 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_inside_a_large_frame_makes_room_for_the_next() {
    let server = Running::start(limits());
    let mut first = server.connect().await;
    let frame = large();
    first.socket.write_all(&frame[..1 << 20]).await.unwrap();
    until(|| server.counters.large_frame_bytes() > 0).await;
    drop(first);
    let mut second = server.connect().await;
    second.socket.write_all(&frame).await.unwrap();
    second.receives([FRAME_BYTES.to_string()]).await;
}

#[tokio::test]
async fn what_follows_a_large_frame_is_answered_after_it() {
    let server = Running::start(limits());
    let mut client = server.connect().await;
    let mut stream = frames([&b"before"[..]]);
    stream.extend(large());
    stream.extend(frames([&b"between"[..]]));
    stream.extend(large());
    stream.extend(frames([&b"after"[..]]));
    client.socket.write_all(&stream).await.unwrap();
    let length = FRAME_BYTES.to_string();
    client
        .receives(["before", &length, "between", &length, "after"])
        .await;
}

#[tokio::test]
async fn a_large_frame_that_does_not_tell_its_length_is_answered_too() {
    let server = Running::start(limits());
    let mut client = server.connect().await;
    let mut item = vec![0x9f];
    item.extend(vec![0x00; 300_000]);
    client.socket.write_all(&item).await.unwrap();
    until(|| server.counters.large_frame_bytes() > 0).await;
    item.push(0xff);
    client.socket.write_all(&[0xff]).await.unwrap();
    client.send([b"next"]).await;
    client.receives([&item[..], b"next"]).await;
    assert_eq!(server.counters.large_frame_bytes(), 0);
}

#[tokio::test]
async fn stopping_does_not_wait_for_room() {
    let server = Running::start(limits());
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    let start = &large()[..1 << 20];
    for client in [&mut first, &mut second] {
        client.socket.write_all(start).await.unwrap();
    }
    until(|| server.counters.large_frame_bytes() > 0).await;
    server.stop.cancel();
    server.task.await.unwrap();
    first.meets_reset().await;
    second.meets_reset().await;
}
