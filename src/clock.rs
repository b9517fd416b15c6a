//! Time as a value.
//!
//! Rules that depend on time take a [`Timestamp`]; only the outermost code asks
//! a [`Clock`] for one, once per request. A request therefore sees one instant,
//! and a test sets that instant instead of sleeping.

use std::{
    future::Future,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

/// Microseconds since the Unix epoch, which is the resolution PostgreSQL keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// Later than every instant a daemon will live to see.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// A timestamp this many microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Timestamp {
        Timestamp(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, as clients see times.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// This instant plus `span`; saturates at the end of time rather than wrapping.
    #[must_use]
    pub fn after(self, span: Duration) -> Timestamp {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(micros))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }
}

/// Where the daemon gets the current time, and how it waits for a later one.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// Resolves once [`now`](Clock::now) has reached `instant`. Dropping the future
    /// gives up the wait.
    fn sleep_until(&self, instant: Timestamp) -> impl Future<Output = ()> + Send;
}

/// The monotonic clock of this machine, anchored to wall time when it was first
/// read (semantics.md §11): a step of the wall clock neither ends leases early nor
/// makes them eternal.
#[derive(Debug, Default)]
pub struct SystemClock {
    anchor: OnceLock<(Instant, Timestamp)>,
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    fn now(&self) -> Timestamp {
        let (started, wall) = self.anchor.get_or_init(|| {
            let since_epoch = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            (Instant::now(), Timestamp::EPOCH.after(since_epoch))
        });
        wall.after(started.elapsed())
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let mut left = instant.since(self.now());
        while !left.is_zero() {
            tokio::time::sleep(left).await; // reason: the one place that waits for the clock
            // Timers have millisecond resolution and may end a little early.
            left = instant.since(self.now());
        }
    }
}

/// A clock that moves only when told to. It starts at a fixed instant in 2023, so
/// that subtractions do not run into the epoch and replies are the same every run.
#[derive(Debug)]
pub struct ManualClock(watch::Sender<Timestamp>);

impl ManualClock {
    /// Where the clock starts: 2023-11-14T22:13:20Z.
    pub const START: Timestamp = Timestamp(1_700_000_000_000_000);

    /// Moves the clock forward and wakes whoever waits for an instant it has now reached.
    pub fn advance(&self, span: Duration) {
        self.0.send_modify(|now| *now = now.after(span));
    }
}

impl Default for ManualClock {
    fn default() -> ManualClock {
        ManualClock(watch::Sender::new(Self::START))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let reached = self
            .0
            .subscribe()
            .wait_for(|&now| now >= instant)
            .await
            .is_ok();
        assert!(reached, "the sender lives as long as the clock");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_saturate_instead_of_wrapping() {
        assert_eq!(Timestamp::MAX.after(Duration::MAX), Timestamp::MAX);
        assert_eq!(
            Timestamp::EPOCH.since(ManualClock::START),
            Duration::ZERO,
            "the past is no time away"
        );
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_those_whose_time_has_come() {
        let clock = ManualClock::default();
        let due = clock.now().after(Duration::from_secs(5));
        let mut waiting = std::pin::pin!(clock.sleep_until(due));
        let early = tokio::select! { biased; () = &mut waiting => true, () = std::future::ready(()) => false };
        assert!(!early);
        clock.advance(Duration::from_secs(5));
        waiting.await;
    }
}
