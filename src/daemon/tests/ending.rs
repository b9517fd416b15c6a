//! How the server stops.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::*;

#[tokio::test]
async fn stopping_resets_idle_connections_and_closes_the_listener() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    client.send([b"hello"]).await;
    client.receives([b"hello"]).await;
    server.stop.cancel();
    client.meets_reset().await;
    server.task.await.unwrap();
    let refused = TcpStream::connect(server.address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(server.counters.connections_open(), 0);
}

#[tokio::test]
async fn stopping_ends_a_wait_for_work_and_answers_what_was_received_with_it() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    let requests: Vec<_> = (0..50).map(|n| format!("{n}")).collect();
    let mut sent = vec!["wait".to_owned()];
    sent.extend_from_slice(&requests);
    client.send(&sent).await;
    reaches(&server.fake.waiting, 1).await;
    server.stop.cancel();
    server.task.await.unwrap();
    client.receives(["left"]).await;
    client.receives(&requests).await;
    client.meets_reset().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_the_rest_of_a_half_received_frame() {
    for payload_bytes in [1_000, 1_000_000] {
        let server = Running::start(ServerLimits::default());
        let mut client = server.connect().await;
        let half = &frames([vec![0; payload_bytes]])[..payload_bytes / 2];
        client.send([b"hello"]).await;
        client.socket.write_all(half).await.unwrap();
        client.receives([b"hello"]).await;
        server.stop.cancel();
        server.task.await.unwrap();
        client.meets_reset().await;
    }
}

#[tokio::test]
async fn a_long_reply_leaves_whole_although_the_server_is_stopping() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    client.send(["L20000000"]).await;
    reaches(&server.fake.answered, 1).await;
    server.stop.cancel();
    client.receives([vec![b'L'; 20_000_000]]).await;
    client.meets_reset().await;
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_reply_in_the_kernel_leaves_whole_although_the_server_is_stopping() {
    let server = Running::start(ServerLimits::default());
    let mut client = server.connect().await;
    // More than the client's kernel takes unread, less than the server's takes unsent.
    client.send(["L600000"]).await;
    reaches(&server.fake.answered, 1).await;
    server.stop.cancel();
    client.receives([vec![b'L'; 600_000]]).await;
    client.meets_reset().await;
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_meets_reset_when_the_drain_is_over() {
    let server = Running::start(ServerLimits {
        drain: Duration::ZERO,
        ..ServerLimits::default()
    });
    let mut client = server.connect().await;
    client.send(["L30000000"]).await;
    reaches(&server.fake.answered, 1).await;
    server.stop.cancel();
    server.task.await.unwrap();
    assert_eq!(*server.fake.sessions.borrow(), 0);
    assert_eq!(server.counters.connections_open(), 0);
    let mut received = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut client.socket, &mut received).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(received.len() < 30_000_000);
}
