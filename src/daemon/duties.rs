//! What the daemon does without being asked: upkeep, whenever the job server wants it.

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    backend::Backend,
    clock::Clock,
    jobserver::{JobServer, Upkeep},
    limits::{UPKEEP_INTERVAL, UPKEEP_STEPS_MAX},
};

/// Does upkeep until `stop`, whenever [`JobServer::next_upkeep`] says.
pub async fn keep_up<B: Backend, C: Clock>(
    server: &JobServer<B, C>,
    clock: &C,
    stop: CancellationToken,
) {
    let mut has_failed = false;
    while !stop.is_cancelled() {
        let last = clock.now();
        let outcome = match server.upkeep(UPKEEP_STEPS_MAX).await {
            Ok(outcome) => {
                if std::mem::take(&mut has_failed) {
                    info!("upkeep works again");
                }
                Some(outcome)
            }
            Err(error) => {
                if !std::mem::replace(&mut has_failed, true) {
                    let error = &error as &dyn std::error::Error;
                    warn!(error, "upkeep failed, trying again");
                }
                None
            }
        };
        loop {
            let next = match outcome {
                Some(outcome) => server.next_upkeep(last, outcome),
                None => last.after(UPKEEP_INTERVAL),
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = clock.sleep_until(next) => break,
                // A step that is left is not taken earlier for anything.
                () = server.due_earlier(), if outcome != Some(Upkeep::More) => {}
            }
        }
    }
}
