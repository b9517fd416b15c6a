//! What a connection needs of its socket, besides reading and writing.

use std::{future::Future, io, net::SocketAddr};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest},
    net::TcpStream,
};

use super::listener::canonical;

/// A stream that is reset, not closed, when it is dropped. A reset throws away what has
/// not been sent, so one can wait for that first.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    /// Resolves once everything that was written has been sent, or never will be. To be
    /// called last: writing afterwards is slow.
    fn sent(&self) -> impl Future<Output = ()> + Send;

    /// Who is at the other end, for the log.
    fn peer(&self) -> Option<SocketAddr>;
}

impl Transport for TcpStream {
    async fn sent(&self) {
        // With this option a socket is writable only while nothing waits to be sent.
        if SockRef::from(self).set_tcp_notsent_lowat(1).is_err() {
            return;
        }
        // The runtime remembers the socket as writable from before; asking the kernel
        // corrects that, and has it report when the last byte has gone.
        let sent = self.async_io(Interest::WRITABLE, || {
            let mut socket = [PollFd::new(self, PollFlags::OUT)];
            match rustix::event::poll(&mut socket, Some(&Timespec::default()))? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        if let Err(error) = sent.await {
            tracing::debug!(%error, "cannot tell whether all replies were sent");
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer_addr().ok().map(canonical)
    }
}
