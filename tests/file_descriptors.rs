//! The server without file descriptors. Alone in its process, because the limit it lowers
//! is the process's.
//!
//! The older server ended when accepting failed (known fault 4).

use std::{future::Future, net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use coordinated::{
    daemon::{Answer, Flow, Listener, Server, ServerLimits},
    wire::FrameError,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};
use tokio_util::sync::CancellationToken;

/// Answers everything with one byte.
struct Ok;

impl Answer for Ok {
    type Session = ();

    fn open(&self) {}

    fn answer(
        &self,
        (): &mut (),
        _: &[u8],
        _: &CancellationToken,
        replies: &mut BytesMut,
    ) -> impl Future<Output = Flow> + Send {
        replies.extend_from_slice(b"!");
        std::future::ready(Flow::Continue)
    }

    fn refuse(&self, reason: &FrameError, _: &mut BytesMut) {
        panic!("{reason}");
    }
}

#[tokio::test]
async fn connections_that_find_no_file_descriptor_are_served_when_there_is_one() {
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let server = Server::new(
        Listener::bind(loopback).unwrap(),
        Arc::new(Ok),
        ServerLimits::default(),
    );
    let (address, counters) = (server.address(), server.counters());
    let clients = [(); 3].map(|()| TcpSocket::new_v4().unwrap());
    tokio::spawn(server.run(CancellationToken::new()));

    let usual = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..usual
    };
    setrlimit(Resource::Nofile, none).unwrap();
    let mut connected = Vec::new();
    for client in clients {
        connected.push(client.connect(address).await.unwrap());
    }
    while counters.accepts_failed() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counters.connections_accepted(), 0);

    setrlimit(Resource::Nofile, usual).unwrap();
    for mut client in connected {
        client.write_all(&[0xd8, 0x18, 0x40]).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
    }
    assert_eq!(counters.connections_accepted(), 3);
}
