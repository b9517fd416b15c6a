//! What is done without being asked, and when: upkeep, for any backend.
//!
//! Nothing here polls. A round of upkeep comes
//!
//! * when something comes due that a waiting request wants to hear of: the *alarm*, which
//!   is never later than the next such instant. Whatever makes something due earlier sets
//!   it earlier, here and through hints from other daemons; when it has rung, the backend
//!   is asked for the next one;
//! * [`UPKEEP_INTERVAL`] after calls have changed something, to clear up behind them;
//! * [`UPKEEP_STEP_PAUSE`] after a round that left something to do;
//! * and every [`UPKEEP_SAFETY_INTERVAL`], since a hint may be lost.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::Notify;

use super::JobServer;
use crate::{
    backend::{Backend, Error},
    clock::{Clock, Timestamp},
    limits::{UPKEEP_INTERVAL, UPKEEP_PAUSE_MIN, UPKEEP_SAFETY_INTERVAL, UPKEEP_STEP_PAUSE},
    wire::Call,
};

/// What a round of upkeep came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// There is more to do, after a pause.
    More,
    /// All is done that is due. If someone waits, something they want to hear of comes due
    /// at this instant, or earlier.
    Until(Option<Timestamp>),
}

/// When the next round of upkeep is wanted.
#[derive(Debug)]
pub(super) struct Alarm {
    /// Not after the next instant at which something becomes available by itself.
    at: AtomicI64,
    /// Whether calls have changed something since the last round.
    is_stirred: AtomicBool,
    /// Told when a round may be wanted earlier than before.
    earlier: Notify,
}

impl Default for Alarm {
    /// Nothing is known yet of what comes due.
    fn default() -> Alarm {
        Alarm {
            at: AtomicI64::new(Timestamp::EPOCH.as_micros()),
            is_stirred: AtomicBool::new(false),
            earlier: Notify::new(),
        }
    }
}

impl Alarm {
    /// Sets the alarm to this instant, if that is earlier.
    pub(super) fn set(&self, at: Timestamp) {
        if at < self.at() {
            self.at.fetch_min(at.as_micros(), Ordering::SeqCst);
            self.earlier.notify_one();
        }
    }

    /// Notes that a call changes something.
    pub(super) fn stir(&self) {
        if !self.is_stirred.load(Ordering::Relaxed)
            && !self.is_stirred.swap(true, Ordering::Relaxed)
        {
            self.earlier.notify_one();
        }
    }

    /// Notes that a round may be wanted earlier, for another reason.
    pub(super) fn ring_earlier(&self) {
        self.earlier.notify_one();
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.at.load(Ordering::SeqCst))
    }
}

/// Whether the call may leave something to clear up. A request for work counts even if it
/// finds none: a backend may leave it to upkeep to find what it overlooked.
pub(super) fn is_change(call: &Call<'_>) -> bool {
    match call {
        Call::Now
        | Call::Hello(_)
        | Call::GetConfig
        | Call::GetWorkSpec(_)
        | Call::GetWorkSpecMeta(_)
        | Call::ListWorkSpecs(_)
        | Call::CountWorkUnits(_)
        | Call::GetWorkUnits(..)
        | Call::GetWorkUnitStatus(..)
        | Call::ListWorkerModes
        | Call::ModeCounts
        | Call::GetWorkerInfo(_)
        | Call::WorkerStats
        | Call::GetChildWorkUnits(_)
        | Call::ReadLock(_) => false,
        Call::GetWork(_)
        | Call::SetWorkSpec(_)
        | Call::ControlWorkSpec(..)
        | Call::DelWorkSpec(_)
        | Call::Clear
        | Call::AddWorkUnits(..)
        | Call::PrioritizeWorkUnits(_)
        | Call::DelWorkUnits(_)
        | Call::Archive(_)
        | Call::UpdateWorkUnit(_)
        | Call::UpdateWorkUnits(_)
        | Call::WorkerHeartbeat(_)
        | Call::WorkerUnregister(_)
        | Call::Lock(_)
        | Call::LockSome(_)
        | Call::Renew(_)
        | Call::Unlock(..)
        | Call::DeleteNamespace(_) => true,
    }
}

impl<B: Backend, C: Clock> JobServer<B, C> {
    /// Does what has come due by itself, in one step that holds up nobody, and wakes the
    /// requests that wait for what it made available.
    ///
    /// # Errors
    /// Those of the backend; the call may be repeated.
    pub async fn upkeep(&self, steps_max: usize) -> Result<Upkeep, Error> {
        // First, so that what is changed meanwhile asks for another round.
        let was_stirred = self.alarm.is_stirred.swap(false, Ordering::Relaxed);
        let outcome = self.round(steps_max).await;
        if outcome.is_err() && was_stirred {
            self.alarm.stir();
        }
        outcome
    }

    async fn round(&self, steps_max: usize) -> Result<Upkeep, Error> {
        let now = self.clock.now();
        let swept = self.cache.backend().sweep(now, steps_max).await?;
        for (namespace, _, units) in swept.available {
            self.available(namespace, units);
        }
        if swept.more {
            return Ok(Upkeep::More);
        }
        if self.waiting.is_empty() {
            return Ok(Upkeep::Until(None));
        }
        if self.alarm.at() <= now {
            // Before the question, so that what is set while it is answered counts.
            let rang = self.alarm.at.swap(i64::MAX, Ordering::SeqCst);
            let due = match self.cache.backend().next_due().await {
                Ok(due) => due,
                Err(error) => {
                    self.alarm.set(Timestamp::from_micros(rang));
                    return Err(error);
                }
            };
            self.alarm.set(due.unwrap_or(Timestamp::MAX));
        }
        let due = Some(self.alarm.at()).filter(|&at| at < Timestamp::MAX);
        Ok(Upkeep::Until(due))
    }

    /// When to call [`upkeep`](JobServer::upkeep) again after a round that began at `last`;
    /// [`due_earlier`](JobServer::due_earlier) tells when that may have become too late.
    pub fn next_upkeep(&self, last: Timestamp, outcome: Upkeep) -> Timestamp {
        if outcome == Upkeep::More {
            return self.clock.now().after(UPKEEP_STEP_PAUSE);
        }
        let alarm = match self.waiting.is_empty() {
            true => Timestamp::MAX,
            false => self.alarm.at().max(last.after(UPKEEP_PAUSE_MIN)),
        };
        let interval = match self.alarm.is_stirred.load(Ordering::Relaxed) {
            true => UPKEEP_INTERVAL,
            false => UPKEEP_SAFETY_INTERVAL,
        };
        alarm.min(last.after(interval))
    }

    /// Resolves when [`next_upkeep`](JobServer::next_upkeep) may give an earlier instant
    /// than it did. For one caller at a time.
    pub async fn due_earlier(&self) {
        self.alarm.earlier.notified().await;
    }

    /// Tells that something becomes available at this instant, here and through other
    /// daemons.
    pub(super) fn will_be_due(&self, at: Timestamp) {
        self.alarm.set(at);
        self.cache.backend().announce_due(at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        backend::{Retention, memory::Memory},
        cache::Cache,
        clock::ManualClock,
        jobserver::{Settings, waiting::Wishes},
        model::NamespaceName,
    };

    async fn server() -> JobServer<Memory, ManualClock> {
        let settings = Settings {
            namespace: NamespaceName::new("").unwrap(),
            global_config: None,
            enforce_min_gb: false,
            random: fastrand::Rng::with_seed(1),
        };
        let cache = Cache::new(Memory::new(Retention::default()).into(), 0);
        let clock = ManualClock::default();
        JobServer::new(cache, clock.into(), settings).await.unwrap()
    }

    fn wishes(server: &JobServer<Memory, ManualClock>) -> Wishes {
        Wishes {
            namespace: server.start.0,
            specs: Vec::new(),
            runtimes: Vec::new(),
            memory: None,
        }
    }

    #[tokio::test]
    async fn upkeep_comes_when_something_is_due_or_was_changed_and_else_hardly_ever() {
        let server = server().await;
        let now = ManualClock::START;
        let idle = server.upkeep(1).await.unwrap();
        let slow = now.after(UPKEEP_SAFETY_INTERVAL);
        assert_eq!(server.next_upkeep(now, idle), slow);
        server.alarm.stir();
        server.due_earlier().await;
        let soon = now.after(UPKEEP_INTERVAL);
        assert_eq!(server.next_upkeep(now, idle), soon);
        assert_eq!(server.upkeep(1).await.unwrap(), idle);
        assert_eq!(server.next_upkeep(now, idle), slow);
        let due = now.after(Duration::from_millis(200));
        let left = now.after(UPKEEP_STEP_PAUSE);
        assert_eq!(server.next_upkeep(now, Upkeep::More), left);
        // Nobody waits for what is due, at first.
        server.upkeep(1).await.unwrap();
        server.alarm.set(due);
        assert_eq!(server.next_upkeep(now, idle), slow);
        let member = server.waiting.join(wishes(&server));
        // It was never asked what is due, so that comes at once.
        assert_eq!(server.next_upkeep(now, idle), now.after(UPKEEP_PAUSE_MIN));
        assert_eq!(server.upkeep(1).await.unwrap(), Upkeep::Until(None));
        assert_eq!(server.next_upkeep(now, idle), slow, "nothing will be due");
        server.will_be_due(due);
        server.due_earlier().await;
        assert_eq!(server.upkeep(1).await.unwrap(), Upkeep::Until(Some(due)));
        assert_eq!(server.next_upkeep(now, idle), due);
        server.alarm.set(slow);
        assert_eq!(server.next_upkeep(now, idle), due, "a later one waits");
        drop(member);
        assert_eq!(server.next_upkeep(now, idle), slow);
    }
}
