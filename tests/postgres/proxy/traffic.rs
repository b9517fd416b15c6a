//! What went through a proxy.

use std::fmt;

/// Characters of a statement that are shown.
const SHOWN: usize = 72;

/// Everything that went through in some time.
#[derive(Clone, Default)]
pub struct Traffic {
    flights: Vec<Flight>,
    /// Round trips that belong to no call.
    pub asides: usize,
    /// Transactions that were committed, each statement outside of a transaction included.
    pub commits: usize,
    /// Transactions that were undone.
    pub rollbacks: usize,
    /// SQLSTATEs.
    pub errors: Vec<String>,
}

/// What was sent before the answer to any of it was known.
#[derive(Clone, Default)]
struct Flight {
    has_prepared: bool,
    /// Also those that begin and end transactions.
    statements: Vec<String>,
}

impl Traffic {
    pub(super) fn begin_flight(&mut self) {
        self.flights.push(Flight::default());
    }

    pub(super) fn prepares(&mut self) {
        if let Some(flight) = self.flights.last_mut() {
            flight.has_prepared = true;
        }
    }

    pub(super) fn statement(&mut self, sql: &str) {
        let words: Vec<&str> = sql.split_whitespace().collect();
        let shown = words.join(" ").chars().take(SHOWN).collect();
        if let Some(flight) = self.flights.last_mut() {
            flight.statements.push(shown);
        }
    }

    /// What went through several proxies.
    pub fn of_all(parts: impl Iterator<Item = Traffic>) -> Traffic {
        parts.fold(Traffic::default(), |mut all, part| {
            all.flights.extend(part.flights);
            all.errors.extend(part.errors);
            all.asides += part.asides;
            all.commits += part.commits;
            all.rollbacks += part.rollbacks;
            all
        })
    }

    /// How often somebody waited for the server.
    pub fn round_trips(&self) -> usize {
        self.flights.len()
    }

    /// Of these, those in which statements were only prepared.
    pub fn preparations(&self) -> usize {
        let only_prepare = |flight: &&Flight| flight.has_prepared && flight.statements.is_empty();
        self.flights.iter().filter(only_prepare).count()
    }

    /// Statements that were sent, apart from those that begin and end transactions.
    pub fn statements(&self) -> usize {
        let all = self.flights.iter().flat_map(|flight| &flight.statements);
        all.filter(|sql| !matches!(sql.as_str(), "begin" | "commit" | "rollback"))
            .count()
    }

    /// Errors of the class that says that two transactions were in each other's way.
    pub fn conflicts(&self) -> usize {
        let is_conflict = |code: &&String| code.starts_with("40");
        self.errors.iter().filter(is_conflict).count()
    }

    /// Checks that something was asked of the server, that it was all well, and that it cost
    /// no more than so many round trips, statements and transactions.
    #[track_caller]
    pub fn costs_at_most(&self, round_trips: usize, statements: usize, commits: usize) {
        let cost = (self.round_trips(), self.statements(), self.commits);
        let is_within = cost.0 <= round_trips && cost.1 <= statements && cost.2 <= commits;
        assert!(
            cost.0 > 0 && is_within,
            "not within {:?}: {self:#?}",
            (round_trips, statements, commits)
        );
        assert!(self.errors.is_empty(), "{self:#?}");
    }
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flights: Vec<_> = self
            .flights
            .iter()
            .map(|flight| &flight.statements)
            .collect();
        f.debug_struct("Traffic")
            .field("round_trips", &self.round_trips())
            .field("preparations", &self.preparations())
            .field("asides", &self.asides)
            .field("statements", &self.statements())
            .field("commits", &self.commits)
            .field("rollbacks", &self.rollbacks)
            .field("errors", &self.errors)
            .field("flights", &flights)
            .finish()
    }
}
