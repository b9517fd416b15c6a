//! Reads what clients have recorded, and says what cannot be if the daemon keeps its
//! promises.
//!
//! It shares nothing with the daemon: no line here names the crate under test, which a
//! test sees to. Only what is certain counts. A request may take effect at any instant
//! between `sent` and `received`; so a lease of L is certainly held from when the reply
//! was received until L after the request was *sent*, less [`SLACK`], and ends at the
//! latest when whoever holds it *sends* the request that ends it. Whatever follows from
//! less than that is no finding.
//!
//! | file | what must hold |
//! | --- | --- |
//! | `ownership.rs` | one owner at a time, rising attempts, fences, `max_running`, leases as long as asked |
//! | `outcome.rs` | every unit finished once and finally, as its finishing attempt said |
//! | `chains.rs` | units come from an add or from one finish, whole, with their data, not early |
//! | `locks.rs` | overlapping locks have one owner, and are not lost |
//! | `state.rs` | counts are right, daemons agree, made units keep their interval |

mod chains;
pub mod history;
mod holds;
mod index;
mod locks;
mod outcome;
mod ownership;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;

use history::{History, Micros};

/// How far the clocks of daemons and clients may be apart, all on one machine.
pub const SLACK: Micros = 200_000;

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Two attempts of a unit were live at one instant.
    OneOwner,
    /// Attempt ids of a unit do not rise, or are given twice.
    AttemptsRise,
    /// An attempt that was superseded changed something.
    Fenced,
    /// An attempt that was certainly current was refused.
    HolderIsHeard,
    /// More units of a spec were pending than may be.
    MaxRunning,
    /// Leases are not as long as asked, or daemons' clocks disagree.
    LeaseLength,
    /// A unit is lost, or was never finished.
    NoneLost,
    /// A unit was finished twice, or went on after it was finished.
    FinishIsFinal,
    /// Data is not what the finishing attempt, or whoever added the unit, said.
    Data,
    /// A finish and the units it chains are not one step.
    ChainIsOneStep,
    /// A unit is there that nobody added.
    NothingFromNowhere,
    /// Some units of one call were added, others not.
    AddIsOneStep,
    /// A unit was handed out before its time.
    NotEarly,
    /// Two owners held locks that overlap.
    LockIsExclusive,
    /// A lock was gone before its time.
    LockIsKept,
    /// A lock was refused that nobody can have held.
    LockIsFreed,
    /// Counts are not those of a recount, or daemons disagree.
    CountsAreExact,
    /// More than one unit was made in an interval.
    OnePerInterval,
}

/// Something that cannot be.
#[derive(Debug, Clone)]
pub struct Finding {
    pub rule: Rule,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// Where findings are gathered.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, rule: Rule, what: impl Into<String>) {
        let what = what.into();
        self.0.push(Finding { rule, what });
    }

    fn unless(&mut self, holds: bool, rule: Rule, what: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, what());
        }
    }
}

/// Everything that is wrong with a history.
pub fn check(history: &History) -> Vec<Finding> {
    let mut findings = Findings::default();
    let index = index::Index::new(history, &mut findings);
    ownership::check(&index, &mut findings);
    outcome::check(&index, &mut findings);
    chains::check(&index, &mut findings);
    locks::check(history, &mut findings);
    state::check(history, &mut findings);
    findings.0
}
