//! Time as a value.
//!
//! Rules that depend on time take a [`Timestamp`]; only the outermost code asks
//! a [`Clock`] for one, once per request. A request therefore sees one instant,
//! and a test sets that instant instead of sleeping.
//!
//! Daemons that share a database share its clock too ([`SyncedClock`]).

use std::{
    future::Future,
    sync::{Mutex, OnceLock},
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

    /// This instant less `span`; saturates at the beginning of time.
    #[must_use]
    pub fn before(self, span: Duration) -> Timestamp {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_sub(micros))
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

/// A difference between two clocks that is made up for at once, not gradually.
const STEP_MIN: Duration = Duration::from_secs(1);

/// The clock of a server, kept on this machine: a local clock and how far it is off.
///
/// Measured again, the difference is made up for gradually: the clock runs half as fast
/// or half as fast again until it is right, so callers see no time twice. Only a
/// difference of a second or more, as when another server takes over, is made up for at
/// once, backwards if need be.
#[derive(Debug)]
pub struct SyncedClock<C = SystemClock> {
    local: C,
    course: Mutex<Course>,
}

/// How far the local clock is taken to be off, in microseconds, from some instant on.
#[derive(Debug, Clone, Copy)]
struct Course {
    /// By the local clock.
    since: Timestamp,
    /// At that instant.
    offset: i64,
    /// Where the offset is going.
    goal: i64,
}

impl Course {
    fn offset(&self, local: Timestamp) -> i64 {
        let elapsed = i64::try_from(local.since(self.since).as_micros()).unwrap_or(i64::MAX);
        let missing = self.goal.saturating_sub(self.offset);
        let made_up = missing.clamp(-(elapsed / 2), elapsed / 2);
        self.offset.saturating_add(made_up)
    }
}

/// One look at the server's clock, between two at the local one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// The local clock's time when the server was asked.
    pub asked: Timestamp,
    /// The server's answer.
    pub server: Timestamp,
    /// The local clock's time when the answer came.
    pub answered: Timestamp,
}

impl Measurement {
    /// How long the server took to answer. The measurement is at most half of that wrong.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.answered.since(self.asked)
    }

    fn offset(&self) -> i64 {
        let half = i64::try_from(self.round_trip().as_micros() / 2).unwrap_or(i64::MAX);
        let middle = self.asked.0.saturating_add(half);
        self.server.0.saturating_sub(middle)
    }
}

/// What came of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjusted {
    /// Nothing: the clock is as right as could be measured.
    Agrees,
    /// The clock makes up for the difference gradually.
    Gradually,
    /// The clock was set, by so much forward or backward, in microseconds.
    Set(i64),
}

impl<C: Clock> SyncedClock<C> {
    /// The clock of the server that the measurement was made of, with the local clock it
    /// was made by.
    pub fn new(local: C, first: Measurement) -> SyncedClock<C> {
        let course = Course {
            since: first.answered,
            offset: first.offset(),
            goal: first.offset(),
        };
        SyncedClock {
            local,
            course: Mutex::new(course),
        }
    }

    /// The local clock, which measurements are made by.
    pub fn local(&self) -> &C {
        &self.local
    }

    /// Whether the clock is as right as this measurement can tell.
    pub fn agrees(&self, measured: Measurement) -> bool {
        let offset = self.offset(self.local.now());
        let missing = Duration::from_micros(measured.offset().abs_diff(offset));
        missing <= measured.round_trip() / 2
    }

    /// Takes a further measurement into account.
    pub fn adjust(&self, measured: Measurement) -> Adjusted {
        if self.agrees(measured) {
            return Adjusted::Agrees;
        }
        let local = self.local.now();
        let goal = measured.offset();
        let mut course = self.course.lock().expect("no panic while it is locked");
        let offset = course.offset(local);
        let missing = Duration::from_micros(goal.abs_diff(offset));
        let (offset, adjusted) = match missing < STEP_MIN {
            true => (offset, Adjusted::Gradually),
            false => (goal, Adjusted::Set(goal.saturating_sub(offset))),
        };
        *course = Course {
            since: local,
            offset,
            goal,
        };
        adjusted
    }

    fn offset(&self, local: Timestamp) -> i64 {
        let course = self.course.lock().expect("no panic while it is locked");
        course.offset(local)
    }
}

impl<C: Clock> Clock for SyncedClock<C> {
    fn now(&self) -> Timestamp {
        let local = self.local.now();
        Timestamp(local.0.saturating_add(self.offset(local)))
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let mut now = self.now();
        while now < instant {
            // The offset may change meanwhile; an end that was too early is noticed here,
            // and one that is late is late by less than was made up for.
            let local = self.local.now().after(instant.since(now));
            self.local.sleep_until(local).await;
            now = self.now();
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

    /// An answer of a server that is `ahead` microseconds ahead, half a round trip away.
    fn measured(local: &ManualClock, ahead: i64, round_trip: Duration) -> Measurement {
        let asked = local.now();
        local.advance(round_trip / 2);
        let server = Timestamp(local.now().0 + ahead);
        local.advance(round_trip / 2);
        Measurement {
            asked,
            server,
            answered: local.now(),
        }
    }

    /// How far a clock is ahead of its local clock, in microseconds.
    fn ahead(clock: &SyncedClock<ManualClock>) -> i64 {
        clock.now().0 - clock.local().now().0
    }

    const SECOND: Duration = Duration::from_secs(1);
    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn daemons_with_skewed_clocks_agree_on_the_servers_time() {
        for skew in [-86_400_000_000, 0, 3_600_000_000] {
            let local = ManualClock::default();
            let first = measured(&local, skew, 10 * MILLISECOND);
            let clock = SyncedClock::new(local, first);
            assert_eq!(ahead(&clock), skew);
        }
    }

    #[test]
    fn small_differences_are_made_up_for_gradually_and_never_backwards() {
        for drift in [-400_000, 400_000] {
            let local = ManualClock::default();
            let first = measured(&local, 0, Duration::ZERO);
            let clock = SyncedClock::new(local, first);
            let second = measured(clock.local(), drift, 2 * MILLISECOND);
            assert_eq!(clock.adjust(second), Adjusted::Gradually);
            assert_eq!(ahead(&clock), 0);
            let mut before = clock.now();
            for _ in 0..800 {
                clock.local().advance(MILLISECOND);
                assert!(clock.now() > before);
                before = clock.now();
            }
            assert_eq!(ahead(&clock), drift, "twice the difference later");
            clock.local().advance(SECOND);
            assert_eq!(ahead(&clock), drift);
        }
    }

    #[test]
    fn a_measurement_changes_nothing_that_it_is_too_coarse_to_tell() {
        let local = ManualClock::default();
        let first = measured(&local, 0, Duration::ZERO);
        let clock = SyncedClock::new(local, first);
        let coarse = measured(clock.local(), 5_000, 10 * MILLISECOND);
        assert_eq!(clock.adjust(coarse), Adjusted::Agrees);
        let fine = measured(clock.local(), 5_000, 2 * MILLISECOND);
        assert_eq!(clock.adjust(fine), Adjusted::Gradually);
    }

    #[test]
    fn the_clock_of_another_server_counts_at_once() {
        for jump in [-60_000_000, 60_000_000] {
            let local = ManualClock::default();
            let first = measured(&local, 0, Duration::ZERO);
            let clock = SyncedClock::new(local, first);
            let second = measured(clock.local(), jump, MILLISECOND);
            assert_eq!(clock.adjust(second), Adjusted::Set(jump));
            assert_eq!(ahead(&clock), jump);
        }
    }

    #[tokio::test]
    async fn sleepers_wait_for_the_servers_time() {
        let local = ManualClock::default();
        let first = measured(&local, -5_000_000, Duration::ZERO);
        let clock = SyncedClock::new(local, first);
        let due = clock.now().after(SECOND);
        let mut waiting = std::pin::pin!(clock.sleep_until(due));
        for part in 0..4 {
            let early = tokio::select! { biased; () = &mut waiting => true, () = std::future::ready(()) => false };
            assert!(!early, "after {part} quarters");
            clock.local().advance(SECOND / 4);
        }
        waiting.await;
    }
}
