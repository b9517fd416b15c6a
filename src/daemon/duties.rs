//! What the daemon does without being asked: upkeep, once a second and whenever
//! something comes due that a waiting request wants to hear of.

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    backend::Backend,
    clock::{Clock, Timestamp},
    jobserver::{JobServer, Upkeep},
    limits::{UPKEEP_INTERVAL, UPKEEP_PAUSE_MIN, UPKEEP_STEPS_MAX},
};

/// Does upkeep until `stop`.
pub(super) async fn keep_up<B: Backend, C: Clock>(
    server: &JobServer<B, C>,
    clock: &C,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let due = match server.upkeep(UPKEEP_STEPS_MAX).await {
            Ok(Upkeep::More) => {
                tokio::task::yield_now().await;
                continue;
            }
            Ok(Upkeep::Until(due)) => due,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "upkeep failed, trying again"
                );
                None
            }
        };
        let next = next_round(clock.now(), due);
        tokio::select! {
            () = stop.cancelled() => {}
            () = clock.sleep_until(next) => {}
            () = server.due_earlier() => {}
        }
    }
}

/// When something is due, within bounds.
fn next_round(now: Timestamp, due: Option<Timestamp>) -> Timestamp {
    due.unwrap_or(Timestamp::MAX)
        .clamp(now.after(UPKEEP_PAUSE_MIN), now.after(UPKEEP_INTERVAL))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn upkeep_comes_when_something_is_due_and_once_a_second_anyway() {
        let now = ManualClock::START;
        let soon = now.after(Duration::from_millis(20));
        assert_eq!(next_round(now, Some(soon)), soon);
        assert_eq!(next_round(now, None), now.after(UPKEEP_INTERVAL));
        assert_eq!(
            next_round(now, Some(Timestamp::EPOCH)),
            now.after(UPKEEP_PAUSE_MIN)
        );
    }
}
