//! The listening socket, and the options of the sockets it accepts.
//!
//! # Invariants
//!
//! * Accepting never ends: whatever the system lacks just now, it is tried again, after
//!   pauses from `ACCEPT_PAUSE_MIN` to `ACCEPT_PAUSE_MAX`.
//! * Every accepted socket is reset when it is dropped, also by a panic or the end of the
//!   process (protocol.md §1: an old client hangs on an orderly close).

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, info, warn};

use super::Counters;
use crate::limits::{
    ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN, ACCEPT_QUEUE_MAX, ACCEPTS_AGAIN_MIN, KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL, KEEPALIVE_PROBES,
};

/// Why the daemon cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

/// A listening socket. Dropping it resets the connections that were not accepted yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    failures: Failures,
}

impl Listener {
    /// Listens on `address`; port 0 takes a free one. The IPv6 wildcard also takes IPv4
    /// connections. Must be called inside a runtime.
    ///
    /// # Errors
    /// The address is taken, not one of this machine, or not permitted.
    pub fn bind(address: SocketAddr) -> Result<Listener, ListenError> {
        let cannot = |source| ListenError { address, source };
        let socket = listen(address).map_err(cannot)?;
        Ok(Listener {
            address: socket.local_addr().map_err(cannot)?,
            socket,
            failures: Failures::default(),
        })
    }

    /// Where it listens, with the port that was chosen for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection and its peer. Dropping the future loses none.
    pub(super) async fn accept(&mut self, counters: &Counters) -> (TcpStream, SocketAddr) {
        loop {
            let failed = match self.socket.accept().await {
                Ok((socket, peer)) => {
                    if self.failures.end() {
                        info!("accepting connections again");
                    }
                    match set_options(&socket) {
                        Ok(()) => return (socket, canonical(peer)),
                        // Its peer has gone already.
                        Err(error) => debug!(%peer, %error, "connection dropped"),
                    }
                    continue;
                }
                Err(error) => error,
            };
            counters.accept_failed();
            if self.failures.begin() {
                warn!(error = %failed, "cannot accept connections, trying again");
            }
            tokio::time::sleep(self.failures.pause()).await; // reason: trying at once fails again
        }
    }
}

/// A time in which attempts to accept fail. While clients come and go at the limit of open
/// files, attempts succeed in between; that is one such time all the same, and two lines
/// in the log.
#[derive(Debug, Default)]
struct Failures {
    /// Whether it is such a time.
    lasts: bool,
    /// The pause after the last failure, if no attempt has succeeded since.
    pause: Option<Duration>,
    /// Successes since the last failure.
    successes: u32,
}

impl Failures {
    /// Notes a failure, and says whether it is the first.
    fn begin(&mut self) -> bool {
        self.successes = 0;
        !std::mem::replace(&mut self.lasts, true)
    }

    /// How long to wait before the next attempt; longer each time.
    fn pause(&mut self) -> Duration {
        let pause = match self.pause {
            Some(last) => (last * 2).min(ACCEPT_PAUSE_MAX),
            None => ACCEPT_PAUSE_MIN,
        };
        self.pause = Some(pause);
        pause
    }

    /// Notes a success, and says whether failures are over with it.
    fn end(&mut self) -> bool {
        self.pause = None;
        if !self.lasts {
            return false;
        }
        self.successes += 1;
        self.lasts = self.successes < ACCEPTS_AGAIN_MIN;
        !self.lasts
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    // So that a restarted daemon need not wait for the connections of its predecessor.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_QUEUE_MAX)?;
    TcpListener::from_std(socket.into())
}

/// The peer's own address, where an IPv6 socket shows an IPv4 one as a part of IPv6.
pub(super) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn set_options(socket: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[tokio::test]
    async fn an_accepted_socket_has_all_its_options() {
        let mut listener = Listener::bind(loopback()).unwrap();
        let client = TcpStream::connect(listener.address()).await.unwrap();
        let (socket, peer) = listener.accept(&Counters::default()).await;
        assert_eq!(peer, client.local_addr().unwrap());
        let socket = SockRef::from(&socket);
        assert_eq!(socket.linger().unwrap(), Some(Duration::ZERO));
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    }

    #[tokio::test]
    async fn a_taken_address_is_an_error_that_names_it() {
        let first = Listener::bind(loopback()).unwrap();
        let error = Listener::bind(first.address()).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {}", first.address())
        );
    }

    #[tokio::test]
    async fn an_address_whose_connections_were_dropped_can_be_taken_at_once() {
        let mut first = Listener::bind(loopback()).unwrap();
        let address = first.address();
        let client = TcpStream::connect(address).await.unwrap();
        let (socket, _) = first.accept(&Counters::default()).await;
        // The server's side closes first and in order: only then is something left over.
        SockRef::from(&socket).set_linger(None).unwrap();
        drop(socket);
        client.readable().await.unwrap();
        drop((client, first));
        Listener::bind(address).unwrap();
    }

    #[tokio::test]
    async fn the_ipv6_wildcard_takes_ipv4_connections_too() {
        let mut listener = Listener::bind("[::]:0".parse().unwrap()).unwrap();
        for address in ["127.0.0.1", "::1"] {
            let address = SocketAddr::new(address.parse().unwrap(), listener.address().port());
            let client = TcpStream::connect(address).await.unwrap();
            let (_socket, peer) = listener.accept(&Counters::default()).await;
            assert_eq!(peer, client.local_addr().unwrap());
        }
    }

    #[test]
    fn pauses_double_up_to_a_second_and_start_anew_after_a_success() {
        let mut failures = Failures::default();
        let pauses: Vec<_> = (0..9).map(|_| failures.pause().as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        failures.end();
        assert_eq!(failures.pause(), ACCEPT_PAUSE_MIN);
    }

    /// At the limit of open files every client that leaves lets one in; the log had two
    /// lines for each.
    #[test]
    fn failures_and_successes_in_turn_are_one_time_of_failures() {
        let mut failures = Failures::default();
        assert!(!failures.end());
        assert!(failures.begin());
        for _ in 0..100 {
            assert!(!failures.begin());
            assert!(!failures.end());
        }
        for _ in 2..ACCEPTS_AGAIN_MIN {
            assert!(!failures.end());
        }
        assert!(failures.end(), "so many in a row");
        assert!(!failures.end());
        assert!(failures.begin(), "another time");
    }
}
