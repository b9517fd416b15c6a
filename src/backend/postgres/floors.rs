//! Where claims begin to look.
//!
//! A queue's index keeps an entry for every unit that was ever at its head until the
//! database has vacuumed, which it cannot do while anybody holds an older snapshot. A
//! claim that walks past all of them takes longer and longer: after 100,000 claims it
//! read 1,700 pages for a single unit, and 51,700 while a snapshot was held. So each
//! daemon remembers, for each spec, the last unit it took, and claims look from there.
//!
//! # Invariants
//!
//! * What this daemon makes available is never behind the floor: whatever may do so
//!   lowers it, before anyone is told.
//! * What others make available behind it, or what somebody had locked when a claim came
//!   by, is found by a look from the beginning beside the claims, at most
//!   [`FLOOR_AGE_MAX`] later, or as soon as they say so. A claim that finds nothing from
//!   the floor on looks from the beginning itself: "there is no work" is never a guess.
//! * Leases and delays that end behind the other floor, of time, are noticed by upkeep,
//!   which knows no floor.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::time::Instant;

use super::{
    Store,
    row::{self, get},
    statement::Statement,
};
use crate::{
    backend::Result,
    clock::Timestamp,
    limits::{FLOOR_AGE_MAX, FLOOR_LOOK_PAUSE, FLOOR_TIME_MARGIN},
    model::SpecId,
};

const HELD: &str = "no panic while floors are locked";

/// `$1` spec. Its first available unit.
static FIRST: Statement = Statement::repeatable(
    "first",
    "select priority, key from unit
     where shelf_id = (select shelf_id from spec where id = $1) and status = 1
     order by -priority, key limit 1",
);

/// A unit's place in its spec's queue.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Position {
    /// Not NaN.
    pub(super) priority: f64,
    pub(super) key: Vec<u8>,
}

impl Position {
    /// The place of an available unit.
    pub(super) fn new(priority: f64, key: &[u8]) -> Position {
        Position {
            priority,
            key: key.to_vec(),
        }
    }

    fn is_before(&self, other: &Position) -> bool {
        self.priority > other.priority || (self.priority == other.priority && self.key < other.key)
    }
}

/// From where one claim looks.
#[derive(Debug, Clone)]
pub(super) struct Start {
    /// `None` is the beginning.
    pub(super) from: Option<Position>,
    /// Of what has ended, only what ended after this.
    pub(super) due_after: i64,
    /// When the floor had last been lowered.
    lowered: u64,
}

/// All floors, as a statement has them.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) specs: Vec<i64>,
    pub(super) priorities: Vec<Option<f64>>,
    pub(super) keys: Vec<Option<Vec<u8>>>,
    pub(super) due_after: Vec<i64>,
}

#[derive(Debug)]
struct Floor {
    from: Option<Position>,
    due_after: i64,
    /// The count of all that has lowered any floor, when this was lowered last.
    lowered: u64,
    /// The next look from the beginning; `None` while there is one.
    look_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    floors: HashMap<SpecId, Floor>,
    lowered: u64,
}

/// The floors of all specs that were claimed from.
#[derive(Debug, Default)]
pub(super) struct Floors(Mutex<State>);

impl Floors {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect(HELD)
    }

    /// Where a claim begins.
    pub(super) fn start(&self, spec: SpecId) -> Start {
        let mut state = self.state();
        let lowered = state.lowered;
        let floor = state.floors.entry(spec).or_insert_with(|| Floor {
            from: None,
            due_after: i64::MIN,
            lowered,
            look_at: Some(Instant::now() + FLOOR_AGE_MAX),
        });
        Start {
            from: floor.from.clone(),
            due_after: floor.due_after,
            lowered: floor.lowered,
        }
    }

    /// Notes that a claim took everything it found, up to there, unless something may have
    /// come behind it meanwhile.
    pub(super) fn raise(&self, spec: SpecId, start: &Start, to: Position) {
        if let Some(floor) = self.state().floors.get_mut(&spec)
            && floor.lowered == start.lowered
        {
            floor.from = Some(to);
        }
    }

    /// Notes that what had ended by `now` was written down.
    pub(super) fn nothing_due(&self, spec: SpecId, now: Timestamp) {
        if let Some(floor) = self.state().floors.get_mut(&spec) {
            let by = now.before(FLOOR_TIME_MARGIN).as_micros();
            floor.due_after = floor.due_after.max(by);
        }
    }

    /// Notes a unit that is available.
    pub(super) fn lower(&self, spec: SpecId, to: &Position) {
        self.change(spec, |from| {
            if from.as_ref().is_some_and(|from| to.is_before(from)) {
                *from = Some(to.clone());
            }
        });
    }

    /// Notes that any unit of the spec may be available.
    pub(super) fn reset(&self, spec: SpecId) {
        self.change(spec, |from| *from = None);
    }

    fn change(&self, spec: SpecId, change: impl FnOnce(&mut Option<Position>)) {
        let mut state = self.state();
        state.lowered += 1;
        let lowered = state.lowered;
        if let Some(floor) = state.floors.get_mut(&spec) {
            floor.lowered = lowered;
            change(&mut floor.from);
        }
    }

    /// Notes that any unit may be available, and any spec gone.
    pub(super) fn reset_all(&self) {
        let mut state = self.state();
        state.lowered += 1;
        state.floors.clear();
    }

    /// Notes that another daemon has made something available: it is to be looked for.
    pub(super) fn look_soon(&self) {
        let now = Instant::now();
        for floor in self.state().floors.values_mut() {
            floor.look_at = floor.look_at.map(|at| at.min(now));
        }
    }

    /// All floors.
    pub(super) fn columns(&self) -> Columns {
        let mut columns = Columns::default();
        for (spec, floor) in &self.state().floors {
            columns.specs.push(row::signed(spec.get()));
            let from = floor.from.as_ref();
            columns.priorities.push(from.map(|from| from.priority));
            columns.keys.push(from.map(|from| from.key.clone()));
            columns.due_after.push(floor.due_after);
        }
        columns
    }

    /// Whether it is time to look from the beginning; if so, the caller does it.
    fn begins_to_look(&self, spec: SpecId) -> bool {
        let mut state = self.state();
        let Some(floor) = state.floors.get_mut(&spec) else {
            return false;
        };
        let is_time = floor.from.is_some() && floor.look_at.is_some_and(|at| at <= Instant::now());
        if is_time {
            floor.look_at = None;
        }
        is_time
    }

    /// Notes what a look that began then has found to be the first. Claims that are under
    /// way have not seen it.
    fn looked(&self, spec: SpecId, begun: Instant, first: Option<&Position>) {
        if let Some(first) = first {
            self.lower(spec, first);
        }
        if let Some(floor) = self.state().floors.get_mut(&spec) {
            let pause = begun.elapsed().saturating_mul(FLOOR_LOOK_PAUSE);
            floor.look_at = Some(Instant::now() + pause.max(FLOOR_AGE_MAX));
        }
    }
}

impl Store {
    /// Looks whether something has come behind the floor, if it is time to, while claims
    /// go on.
    pub(super) fn look_behind(self: &Arc<Self>, spec: SpecId) {
        if !self.floors.begins_to_look(spec) {
            return;
        }
        let store = self.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            let first = store.first(spec).await.unwrap_or_else(|error| {
                tracing::debug!(%spec, %error, "could not look for units behind the floor");
                None
            });
            store.floors.looked(spec, begun, first.as_ref());
        });
    }

    async fn first(&self, spec: SpecId) -> Result<Option<Position>> {
        let rows = self.pool.query(&FIRST, &[&row::signed(spec.get())]).await?;
        let position = |row| Ok(Position::new(get(row, 0)?, get::<&[u8]>(row, 1)?));
        rows.first().map(position).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: SpecId = SpecId::new(1);

    fn position(key: &str) -> Position {
        Position::new(0.0, key.as_bytes())
    }

    #[tokio::test]
    async fn what_a_look_found_is_not_forgotten_by_a_claim_that_was_under_way() {
        let floors = Floors::default();
        let claim = floors.start(SPEC);
        floors.raise(SPEC, &claim, position("m"));
        let under_way = floors.start(SPEC);
        floors.looked(SPEC, Instant::now(), Some(&position("b")));
        floors.raise(SPEC, &under_way, position("n"));
        assert_eq!(floors.start(SPEC).from, Some(position("b")));
    }

    #[tokio::test]
    async fn a_floor_rises_with_claims_unless_something_came_behind_it_meanwhile() {
        let floors = Floors::default();
        let claim = floors.start(SPEC);
        floors.raise(SPEC, &claim, position("m"));
        floors.lower(SPEC, &position("z"));
        assert_eq!(
            floors.start(SPEC).from,
            Some(position("m")),
            "z is after it"
        );
        let under_way = floors.start(SPEC);
        floors.reset_all();
        let later = floors.start(SPEC);
        floors.raise(SPEC, &under_way, position("n"));
        assert_eq!(floors.start(SPEC).from, None, "the floor is a new one");
        floors.raise(SPEC, &later, position("o"));
        assert_eq!(floors.start(SPEC).from, Some(position("o")));
    }
}
