//! Accepts connections, runs one task for each, and drains them when told to stop.
//!
//! # Invariants
//!
//! * A connection is accepted only when it may be served: beyond the limit new ones wait
//!   in the kernel's queue.
//! * Nothing that happens to one connection, a panic included, ends the server.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    Answer, Counters, Listener,
    budget::Budget,
    connection::{Ended, serve},
};
use crate::limits::{
    CONNECTIONS_DEFAULT, CONNECTIONS_FEW_DIVISOR, DRAIN_DEFAULT, FRAME_BYTES_MAX,
    LARGE_FRAMES_BYTES_MAX,
};

/// What an operator may set about the network.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Most connections at a time; further ones wait to be accepted.
    pub connections_max: usize,
    /// Longest frame accepted.
    pub frame_bytes_max: usize,
    /// Most bytes that large frames of all connections together may take.
    pub large_frames_bytes_max: usize,
    /// Time for connections to end on their own when the server stops.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            connections_max: CONNECTIONS_DEFAULT,
            frame_bytes_max: FRAME_BYTES_MAX,
            large_frames_bytes_max: LARGE_FRAMES_BYTES_MAX,
            drain: DRAIN_DEFAULT,
        }
    }
}

/// Serves the clients of one listener.
#[derive(Debug)]
pub struct Server<A> {
    listener: Listener,
    slots: Arc<Semaphore>,
    /// Whether a connection had to wait for a slot, and few have been free since.
    full: bool,
    /// More free slots than this end that.
    few_slots: usize,
    drain: Duration,
    shared: Arc<Shared<A>>,
}

/// What connections share.
#[derive(Debug)]
pub(super) struct Shared<A> {
    pub(super) answer: Arc<A>,
    pub(super) budget: Budget,
    pub(super) counters: Arc<Counters>,
    pub(super) frame_bytes_max: usize,
}

impl<A> Shared<A> {
    pub(super) fn new(answer: Arc<A>, limits: ServerLimits) -> Shared<A> {
        let counters = Arc::new(Counters::default());
        Shared {
            answer,
            budget: Budget::new(limits.large_frames_bytes_max, Arc::clone(&counters)),
            counters,
            frame_bytes_max: limits.frame_bytes_max,
        }
    }
}

impl<A: Answer> Server<A> {
    /// A server for `listener` whose requests are answered by `answer`.
    pub fn new(listener: Listener, answer: Arc<A>, limits: ServerLimits) -> Server<A> {
        Server {
            listener,
            slots: Arc::new(Semaphore::new(
                limits.connections_max.min(Semaphore::MAX_PERMITS),
            )),
            full: false,
            few_slots: limits.connections_max / CONNECTIONS_FEW_DIVISOR,
            drain: limits.drain,
            shared: Arc::new(Shared::new(answer, limits)),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// What is counted about its connections.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Serves clients until `stop` is cancelled, then drains: the listening socket is
    /// closed, each connection answers the requests that it has received, waits until the
    /// replies have left, and is reset. Connections that take longer than the drain time
    /// are reset as they are. All have ended when this returns.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {} // its guard has told how it ended
                (socket, guard) = self.accept() => {
                    let shared = Arc::clone(&self.shared);
                    connections.spawn(converse(shared, socket, guard, stop.child_token()));
                }
            }
        }
        let Server {
            listener, drain, ..
        } = self;
        drop(listener);
        while connections.try_join_next().is_some() {}
        info!(
            connections = connections.len(),
            drain_seconds = drain.as_secs_f64(),
            "draining"
        );
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(drain, drained).await.is_err() {
            warn!(
                connections = connections.len(),
                "drain time is over, resetting connections"
            );
            connections.shutdown().await;
        }
        info!("stopped");
    }

    /// The next connection, once it may be served.
    async fn accept(&mut self) -> (TcpStream, Open) {
        let slots = Arc::clone(&self.slots);
        let slot = match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => {
                self.full &= self.slots.available_permits() <= self.few_slots;
                Ok(slot)
            }
            Err(_) => {
                if !std::mem::replace(&mut self.full, true) {
                    warn!("connection limit reached, new connections wait");
                }
                slots.acquire_owned().await
            }
        };
        let slot = slot.expect("the semaphore is never closed");
        let (socket, peer) = self.listener.accept(&self.shared.counters).await;
        (
            socket,
            Open::new(peer, slot, Arc::clone(&self.shared.counters)),
        )
    }
}

/// The task of one connection.
async fn converse<A: Answer>(
    shared: Arc<Shared<A>>,
    socket: TcpStream,
    open: Open,
    leave: CancellationToken,
) {
    let ended = serve(socket, &*shared, leave).await;
    open.ended(&ended);
}

/// An open connection: takes one slot and is counted until it is dropped.
struct Open {
    peer: SocketAddr,
    counters: Arc<Counters>,
    _slot: OwnedSemaphorePermit,
}

impl Open {
    fn new(peer: SocketAddr, slot: OwnedSemaphorePermit, counters: Arc<Counters>) -> Open {
        debug!(%peer, "connection opened");
        counters.connection_opened();
        Open {
            peer,
            counters,
            _slot: slot,
        }
    }

    fn ended(&self, ended: &Ended) {
        let peer = self.peer;
        match ended {
            Ended::HungUp | Ended::Stopped => debug!(%peer, %ended, "connection closed"),
            Ended::HungUpInsideFrame | Ended::Failed(_) => {
                debug!(%peer, cause = %ended, "connection lost");
            }
            Ended::Stalled => warn!(%peer, cause = %ended, "connection dropped"),
            Ended::Malformed(_) | Ended::NotWellFormed(_) => {
                self.counters.frame_refused();
                warn!(%peer, cause = %ended, "malformed input, connection dropped");
            }
            Ended::NoClient(_) => {
                self.counters.frame_refused();
                warn!(%peer, cause = %ended, "peer is no client, connection dropped");
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counters.connection_closed();
        if std::thread::panicking() {
            self.counters.connection_panicked();
            error!(peer = %self.peer, "panic in a connection's task, connection dropped");
        }
    }
}
