//! The network side, with an answerer that shows what it is asked.

mod ending;
mod large;
mod serving;

use std::{net::SocketAddr, sync::Arc};

use bytes::{BufMut, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Answer, Counters, Flow, Listener, Server, ServerLimits};
use crate::wire::FrameError;

/// Answers each request with itself, except that the first byte may ask for more:
///
/// | first byte | |
/// |---|---|
/// | `w` | waits for [`Fake::work`] or `leave`, and says which it was |
/// | `L` | replies with as many bytes as the number that follows says |
/// | `#` | replies with its own length |
/// | `?` | says that it was no request |
/// | `x` | asks for the connection to be dropped |
/// | `p` | panics |
pub(super) struct Fake {
    pub(super) work: Semaphore,
    pub(super) sessions: watch::Sender<usize>,
    pub(super) waiting: watch::Sender<usize>,
    pub(super) answered: watch::Sender<usize>,
}

impl Fake {
    pub(super) fn new() -> Arc<Fake> {
        Arc::new(Fake {
            work: Semaphore::new(0),
            sessions: watch::Sender::new(0),
            waiting: watch::Sender::new(0),
            answered: watch::Sender::new(0),
        })
    }
}

/// Waits until one of the counts of a [`Fake`] is `wanted`.
pub(super) async fn reaches(count: &watch::Sender<usize>, wanted: usize) {
    let mut count = count.subscribe();
    count.wait_for(|&count| count == wanted).await.unwrap();
}

/// Counted for as long as it lives.
pub(super) struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: &watch::Sender<usize>) -> Counted {
        count.send_modify(|count| *count += 1);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Answer for Fake {
    type Session = Counted;

    fn open(&self) -> Counted {
        Counted::new(&self.sessions)
    }

    async fn answer(
        &self,
        _: &mut Counted,
        request: &[u8],
        leave: &CancellationToken,
        replies: &mut BytesMut,
    ) -> Flow {
        let mut flow = Flow::Continue;
        match request.split_first() {
            Some((b'w', _)) => {
                let _waiting = Counted::new(&self.waiting);
                tokio::select! {
                    biased;
                    () = leave.cancelled() => put_frame(replies, b"left"),
                    permit = self.work.acquire() => {
                        permit.unwrap().forget();
                        put_frame(replies, b"work");
                    }
                }
            }
            Some((b'L', bytes)) => {
                let bytes = std::str::from_utf8(bytes).unwrap().parse().unwrap();
                put_frame(replies, &vec![b'L'; bytes]);
            }
            Some((b'#', _)) => put_frame(replies, request.len().to_string().as_bytes()),
            Some((b'?', _)) => {
                put_frame(replies, b"no request");
                flow = Flow::NoRequest("no request".to_owned());
            }
            Some((b'x', _)) => {
                put_frame(replies, b"not cbor");
                flow = Flow::Drop("not cbor".to_owned());
            }
            Some((b'p', _)) => panic!("the request asked for it"),
            _ => put_frame(replies, request),
        }
        self.answered.send_modify(|answered| *answered += 1);
        flow
    }

    fn refuse(&self, _: &FrameError, replies: &mut BytesMut) {
        put_frame(replies, b"refused");
    }
}

fn put_frame(out: &mut BytesMut, payload: &[u8]) {
    out.put_slice(&frame_head(payload.len()));
    out.put_slice(payload);
}

/// The head of a frame around `payload_bytes`.
pub(super) fn frame_head(payload_bytes: usize) -> Vec<u8> {
    let mut head = vec![0xd8, 0x18, 0x5a];
    head.put_u32(u32::try_from(payload_bytes).unwrap());
    head
}

/// One frame around each of `payloads`, one after the other.
pub(super) fn frames<T: AsRef<[u8]>>(payloads: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = BytesMut::new();
    for payload in payloads {
        put_frame(&mut out, payload.as_ref());
    }
    out.to_vec()
}

/// A server on loopback, with all its limits as they are by default, or not.
pub(super) struct Running {
    pub(super) fake: Arc<Fake>,
    pub(super) address: SocketAddr,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(limits: ServerLimits) -> Running {
        let fake = Fake::new();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let server = Server::new(listener, Arc::clone(&fake), limits);
        let stop = CancellationToken::new();
        Running {
            fake,
            address: server.address(),
            counters: server.counters(),
            stop: stop.clone(),
            task: tokio::spawn(server.run(stop)),
        }
    }

    pub(super) async fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Client { socket }
    }
}

/// Waits until `condition` holds, which something else is about to bring about.
pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// The other end of a connection.
pub(super) struct Client {
    pub(super) socket: TcpStream,
}

impl Client {
    pub(super) async fn send<T: AsRef<[u8]>>(&mut self, payloads: impl IntoIterator<Item = T>) {
        self.socket.write_all(&frames(payloads)).await.unwrap();
    }

    /// Checks that exactly these replies come next.
    pub(super) async fn receives<T: AsRef<[u8]>>(&mut self, payloads: impl IntoIterator<Item = T>) {
        let wanted = frames(payloads);
        let mut received = vec![0; wanted.len()];
        self.socket.read_exact(&mut received).await.unwrap();
        assert!(received == wanted, "other replies than expected");
    }

    /// Checks that nothing more comes, and that the connection ends as it must.
    pub(super) async fn meets_reset(mut self) {
        let end = self.socket.read_u8().await;
        assert_eq!(
            end.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionReset,
            "an old client hangs on an orderly close"
        );
    }

    /// Ends the connection with a reset instead of an orderly close.
    pub(super) fn reset(self) {
        let linger = Some(std::time::Duration::ZERO);
        SockRef::from(&self.socket).set_linger(linger).unwrap();
    }
}
