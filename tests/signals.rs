//! Signals. Alone in its process, because signals are the process's.

use coordinated::daemon::stop_on_signals;
use rustix::process::{Signal, getpid, kill_process};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn the_first_signal_stops_the_daemon_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let stop = CancellationToken::new();
        // Not the second signal of another round: each round's handlers are its own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let stopped = stop.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                stop_on_signals(stopped.clone()).unwrap();
                kill_process(getpid(), signal).unwrap();
                stopped.cancelled().await;
            });
        })
        .join()
        .unwrap();
        assert!(stop.is_cancelled());
    }
}
