//! A client as a task: any of several daemons, a new connection when one is lost.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_cbor::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{checker::history::Call, client, record::Recorder};

/// Longest time for a reply. A daemon gives its database up after nine seconds.
const REPLY_MAX: Duration = Duration::from_secs(15);

/// Where daemons listen; nothing for one that is dead.
#[derive(Debug)]
pub struct Addresses(Mutex<Vec<Option<SocketAddr>>>);

impl Addresses {
    pub fn new(daemons: usize) -> Addresses {
        Addresses(Mutex::new(vec![None; daemons]))
    }

    pub fn set(&self, daemon: usize, address: Option<SocketAddr>) {
        self.0.lock().unwrap()[daemon] = address;
    }

    pub fn get(&self, daemon: usize) -> Option<SocketAddr> {
        self.0.lock().unwrap()[daemon]
    }

    /// One of those that live.
    fn any(&self, random: &mut fastrand::Rng) -> Option<SocketAddr> {
        let living: Vec<SocketAddr> = self.0.lock().unwrap().iter().flatten().copied().collect();
        random.choice(living)
    }
}

/// What became of a request.
#[derive(Debug)]
pub enum Reply {
    Result(Value),
    /// It may have been carried out or not.
    Error(String),
    /// It may have been carried out or not; the connection is gone.
    Lost,
}

/// A client.
pub struct Rpc {
    pub random: fastrand::Rng,
    recorder: Arc<Recorder>,
    addresses: Arc<Addresses>,
    /// The only daemon that it may speak to, if not all.
    only: Option<usize>,
    stream: Option<BufReader<TcpStream>>,
    /// Counts connections.
    pub connection: u64,
    id: u64,
}

impl Rpc {
    pub fn new(recorder: Arc<Recorder>, addresses: Arc<Addresses>, random: fastrand::Rng) -> Rpc {
        Rpc {
            random,
            recorder,
            addresses,
            only: None,
            stream: None,
            connection: 0,
            id: 0,
        }
    }

    /// Speaks to no other daemon.
    pub fn only(mut self, daemon: usize) -> Rpc {
        self.only = Some(daemon);
        self
    }

    /// Whether the next request goes over this connection, or none.
    pub fn is_still(&self, connection: u64) -> bool {
        self.stream.is_some() && self.connection == connection
    }

    /// Drops the connection, whatever is on its way.
    pub fn hang_up(&mut self) {
        self.stream = None;
    }

    /// Calls a method; what came back, and when.
    pub async fn call<const N: usize>(
        &mut self,
        method: &str,
        params: [Value; N],
    ) -> (Reply, Call) {
        self.id += 1;
        let request = client::call(self.id, method, params);
        let connected = self.connected().await;
        let sent = self.recorder.now();
        let reply = match connected {
            Ok(()) => timeout(REPLY_MAX, self.exchange(&request)).await,
            Err(error) => Ok(Err(error)),
        };
        let received = self.recorder.now();
        let Ok(Ok((id, result))) = reply else {
            self.stream = None;
            self.recorder.lost_reply();
            let received = None;
            return (Reply::Lost, Call { sent, received });
        };
        assert_eq!(id, self.id, "replies come in the order of requests");
        let received = Some(received);
        let reply = match result {
            Ok(result) => Reply::Result(result),
            Err(message) => Reply::Error(message),
        };
        (reply, Call { sent, received })
    }

    /// Sends a request and hangs up before there can be a reply, or after the daemon has
    /// had time to carry it out.
    pub async fn send_and_leave<const N: usize>(
        &mut self,
        method: &str,
        params: [Value; N],
    ) -> Call {
        self.id += 1;
        let request = client::call(self.id, method, params);
        let connected = self.connected().await;
        let sent = self.recorder.now();
        if let (Ok(()), Some(stream)) = (connected, &mut self.stream)
            && stream.write_all(&request).await.is_ok()
        {
            let pause = Duration::from_millis(self.random.u64(0..20));
            sleep(pause).await; // reason: a real daemon does it meanwhile, or does not
        }
        self.stream = None;
        self.recorder.lost_reply();
        let received = None;
        Call { sent, received }
    }

    async fn connected(&mut self) -> io::Result<()> {
        while self.stream.is_none() {
            let address = match self.only {
                Some(daemon) => self.addresses.get(daemon),
                None => self.addresses.any(&mut self.random),
            };
            let pause = Duration::from_millis(20);
            let Some(address) = address else {
                sleep(pause).await; // reason: nobody listens; a client tries again
                if self.recorder.is_over() {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                continue;
            };
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    self.stream = Some(BufReader::new(stream));
                    self.connection += 1;
                }
                Err(_) => sleep(pause).await, // reason: it was killed; a client tries again
            }
        }
        Ok(())
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<client::Reply> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(request).await?;
        let mut head = [0; 3];
        stream.read_exact(&mut head).await?;
        assert_eq!((head[0], head[1], head[2] >> 5), (0xd8, 0x18, 2), "a frame");
        let additional = usize::from(head[2] & 31);
        let length = if additional < 24 {
            additional
        } else {
            let mut length = [0; 8];
            let wide = 1 << (additional - 24);
            stream.read_exact(&mut length[8 - wide..]).await?;
            usize::try_from(u64::from_be_bytes(length)).unwrap()
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        Ok(client::read_reply(
            serde_cbor::from_slice(&payload).unwrap(),
        ))
    }
}
