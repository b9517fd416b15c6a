//! SIGTERM and SIGINT: the first one stops the daemon in order, the second at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Starts a task that cancels `stop` at the first SIGTERM or SIGINT and ends the process
/// at the second, with 128 plus the number of the signal as shells report it: 143 or 130.
/// Connections are then reset as they are; clients repeat what they did not get a reply to.
///
/// # Errors
/// The operating system refused to register a handler.
pub fn stop_on_signals(stop: CancellationToken) -> io::Result<()> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    tokio::spawn(async move {
        let kind = signals.next().await;
        info!(signal = name(kind), "stopping");
        stop.cancel();
        let kind = signals.next().await;
        warn!(signal = name(kind), "second signal, ending at once");
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            Some(()) = self.terminate.recv() => SignalKind::terminate(),
            Some(()) = self.interrupt.recv() => SignalKind::interrupt(),
            else => unreachable!("signals do not end while the runtime lives"),
        }
    }
}

fn name(kind: SignalKind) -> &'static str {
    if kind == SignalKind::terminate() {
        "SIGTERM"
    } else {
        "SIGINT"
    }
}
