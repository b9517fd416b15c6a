//! What an update does to a unit: semantics.md §7 as one table.
//!
//! [`decide`] is the table. It needs to know only the phase of a unit; what depends
//! on the clock (whether a lease has run out) is settled by the backend in the same
//! step as the change, because an answer may not rest on an older look at the unit.

use std::time::Duration;

use crate::limits::{LEASE_DEFAULT, LEASE_MAX};

/// The state of a unit as far as updates go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No current attempt: never attempted, or cleared.
    Idle,
    /// The current attempt has not ended: it is pending, or its lease has run out
    /// and nobody has claimed the unit since.
    Open,
    /// The current attempt finished.
    Finished,
    /// The current attempt failed.
    Failed,
}

/// The status an update asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedStatus {
    /// 1
    Available,
    /// 3
    Pending,
    /// 4
    Finished,
    /// 5
    Failed,
}

impl AskedStatus {
    /// The status behind a number from the wire; `None` for 2, which cannot be asked
    /// for, and for numbers that are no status.
    #[must_use]
    pub fn from_wire(number: u64) -> Option<AskedStatus> {
        match number {
            1 => Some(AskedStatus::Available),
            3 => Some(AskedStatus::Pending),
            4 => Some(AskedStatus::Finished),
            5 => Some(AskedStatus::Failed),
            _ => None,
        }
    }
}

/// What an update asks for, besides data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ask {
    /// The status to move to.
    pub status: Option<AskedStatus>,
    /// How long the lease shall last from now. Zero stands for anything not above it.
    pub lease: Option<Duration>,
    /// Whether the update carries data.
    pub has_data: bool,
    /// With [`AskedStatus::Available`]: nobody may claim the unit for this long.
    pub delay: Duration,
}

/// A change of one unit, made only if the unit is still in the phase and has the
/// attempt that it was decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Idle: the unit's data is replaced, and its not-before time if `delay` is
    /// above zero.
    Prepare {
        /// How long from now the unit may not be claimed.
        delay: Duration,
    },
    /// Idle: an attempt is made for a worker and moved to its outcome. Refused if a
    /// pending one would bring the spec above its `max_running`.
    Start(Outcome),
    /// Open: the lease ends this long from now. Without a lease a live one is left
    /// alone, and one that has run out lasts [`LEASE_DEFAULT`] again. Refused if a
    /// lease that has run out would bring the spec above its `max_running`.
    Renew {
        /// The lease from now.
        lease: Option<Duration>,
    },
    /// Open, finished or failed: the current attempt is cleared. One that was open
    /// ends as expired, or as retryable if there is a delay.
    Clear {
        /// How long from now the unit may not be claimed.
        delay: Duration,
    },
    /// Open or failed: the attempt finishes, and its output is chained (§6).
    Finish,
    /// Open: the attempt fails.
    Fail,
}

/// What becomes of an attempt that is made by an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds the unit for this long.
    Pending(Duration),
    /// It has finished; its output is chained.
    Finished,
    /// It has failed.
    Failed,
}

/// What an update comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// True, and nothing changes.
    Accept,
    /// False with this message, and nothing changes.
    Refuse(&'static str),
    /// An error with this message, and nothing changes.
    Impossible(&'static str),
    /// The unit changes.
    Change(Effect),
}

/// The lease that an update gets when it asks for this one (semantics.md §7).
#[must_use]
pub fn granted_lease(asked: Duration) -> Duration {
    if asked > LEASE_MAX {
        LEASE_DEFAULT
    } else {
        asked
    }
}

/// The table of semantics.md §7.
#[must_use]
pub fn decide(phase: Phase, ask: &Ask) -> Decision {
    use AskedStatus as Asked;
    if ask.status.is_none() && ask.lease.is_none() && !ask.has_data {
        return Decision::Refuse("nothing to do");
    }
    let lease = ask.lease.map(granted_lease);
    let start = |outcome| Decision::Change(Effect::Start(outcome));
    let clear = Decision::Change(Effect::Clear { delay: ask.delay });
    match (phase, ask.status) {
        (Phase::Idle, None) => Decision::Change(Effect::Prepare {
            delay: Duration::ZERO,
        }),
        (Phase::Idle, Some(Asked::Available)) => {
            Decision::Change(Effect::Prepare { delay: ask.delay })
        }
        (Phase::Idle, Some(Asked::Pending)) => {
            start(Outcome::Pending(lease.unwrap_or(LEASE_DEFAULT)))
        }
        (Phase::Idle, Some(Asked::Finished)) => start(Outcome::Finished),
        (Phase::Idle, Some(Asked::Failed)) => start(Outcome::Failed),

        (Phase::Open, None) if ask.lease == Some(Duration::ZERO) => clear,
        (Phase::Open, None | Some(Asked::Pending)) => Decision::Change(Effect::Renew { lease }),
        (Phase::Open, Some(Asked::Available)) => clear,
        (Phase::Open, Some(Asked::Finished)) => Decision::Change(Effect::Finish),
        (Phase::Open, Some(Asked::Failed)) => Decision::Change(Effect::Fail),

        (Phase::Finished, None) if ask.has_data => {
            Decision::Refuse("the work unit is finished; its data cannot be changed")
        }
        (Phase::Finished, None | Some(Asked::Finished)) => Decision::Accept,
        (Phase::Finished, Some(Asked::Available)) => clear,
        (Phase::Finished, Some(Asked::Failed)) => {
            Decision::Refuse("the work unit is finished; it cannot fail any more")
        }
        (Phase::Finished, Some(Asked::Pending)) => {
            Decision::Impossible("a finished work unit cannot become pending")
        }

        (Phase::Failed, None | Some(Asked::Failed)) => Decision::Accept,
        (Phase::Failed, Some(Asked::Finished)) => Decision::Change(Effect::Finish),
        (Phase::Failed, Some(Asked::Available)) => clear,
        (Phase::Failed, Some(Asked::Pending)) => {
            Decision::Impossible("a failed work unit cannot become pending")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Ask = Ask {
        status: None,
        lease: None,
        has_data: true,
        delay: Duration::ZERO,
    };

    fn ask(number: u64) -> Ask {
        Ask {
            status: AskedStatus::from_wire(number),
            ..Ask::default()
        }
    }

    fn lease(seconds: u64) -> Ask {
        Ask {
            lease: Some(Duration::from_secs(seconds)),
            ..Ask::default()
        }
    }

    /// One letter for each kind of decision, so that the table can be read as one.
    fn kind(phase: Phase, ask: &Ask) -> &'static str {
        match decide(phase, ask) {
            Decision::Accept => "true",
            Decision::Refuse(_) => "false",
            Decision::Impossible(_) => "error",
            Decision::Change(Effect::Prepare { .. }) => "prepare",
            Decision::Change(Effect::Start(Outcome::Pending(_))) => "start",
            Decision::Change(Effect::Start(Outcome::Finished)) => "start+finish",
            Decision::Change(Effect::Start(Outcome::Failed)) => "start+fail",
            Decision::Change(Effect::Renew { .. }) => "renew",
            Decision::Change(Effect::Clear { .. }) => "clear",
            Decision::Change(Effect::Finish) => "finish",
            Decision::Change(Effect::Fail) => "fail",
        }
    }

    #[test]
    fn every_row_of_the_table_is_as_semantics_says() {
        let asks = [
            Ask::default(),
            DATA,
            lease(10),
            lease(0),
            ask(1),
            ask(3),
            ask(4),
            ask(5),
        ];
        let row = |phase| asks.each_ref().map(|ask| kind(phase, ask));
        // asked:               nothing  data       lease      lease≤0    1        3        4               5
        assert_eq!(
            row(Phase::Idle),
            [
                "false",
                "prepare",
                "prepare",
                "prepare",
                "prepare",
                "start",
                "start+finish",
                "start+fail"
            ]
        );
        assert_eq!(
            row(Phase::Open),
            [
                "false", "renew", "renew", "clear", "clear", "renew", "finish", "fail"
            ]
        );
        assert_eq!(
            row(Phase::Finished),
            [
                "false", "false", "true", "true", "clear", "error", "true", "false"
            ]
        );
        assert_eq!(
            row(Phase::Failed),
            [
                "false", "true", "true", "true", "clear", "error", "finish", "true"
            ]
        );
    }

    #[test]
    fn a_delay_counts_only_where_the_unit_is_given_back() {
        let delay = Duration::from_millis(900);
        let back = Ask { delay, ..ask(1) };
        assert_eq!(
            decide(Phase::Open, &back),
            Decision::Change(Effect::Clear { delay })
        );
        assert_eq!(
            decide(Phase::Idle, &back),
            Decision::Change(Effect::Prepare { delay })
        );
        let data = Ask { delay, ..DATA };
        assert_eq!(
            decide(Phase::Idle, &data),
            Decision::Change(Effect::Prepare {
                delay: Duration::ZERO
            })
        );
    }

    #[test]
    fn a_lease_over_a_day_is_the_default_and_fractions_are_kept() {
        assert_eq!(granted_lease(LEASE_MAX), LEASE_MAX);
        assert_eq!(
            granted_lease(LEASE_MAX + Duration::from_micros(1)),
            LEASE_DEFAULT
        );
        let half = Duration::from_millis(500);
        assert_eq!(granted_lease(half), half);
        assert_eq!(
            decide(Phase::Idle, &ask(3)),
            Decision::Change(Effect::Start(Outcome::Pending(LEASE_DEFAULT)))
        );
    }

    #[test]
    fn blocked_and_unknown_numbers_cannot_be_asked_for() {
        assert!(
            [0, 2, 6, u64::MAX]
                .into_iter()
                .all(|n| AskedStatus::from_wire(n).is_none())
        );
    }
}
