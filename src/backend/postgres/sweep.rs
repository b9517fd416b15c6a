//! What is due, and in what order upkeep does it.
//!
//! A lease or delay that has ended is over for every reader at once; writing it down
//! only makes the unit's row say so. Whoever claims from the spec does it first, and
//! upkeep does it for specs that nobody claims from.
//!
//! A round of upkeep asks one question, which finds all that there is to do: with nothing
//! to do, that is all it costs. What it does then are statements over a bounded number of
//! rows; they skip rows that others have locked, so any number of daemons may do all of
//! this at the same time. Once they have touched as many rows as a round may, the round
//! ends and says that there is more.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio_postgres::Row;

use super::{
    Store,
    archive::{OVER, Step},
    error::is_in_doubt,
    floors::Position,
    pool::Params,
    row::{self, get, unexpected},
    specs::Known,
    statement::Statement,
};
use crate::{
    backend::{Result, Swept},
    clock::Timestamp,
    limits::{CLEAR_ROWS_MAX, EXPIRE_BATCH_MAX, EXPIRE_ROUNDS_MAX, FOLD_ROWS_MIN},
    model::{NamespaceId, SpecId},
};

const HELD: &str = "no panic while counts are locked";

/// `$1` spec, `$2` now, `$3` most of each kind, `$4` when it ended at the earliest. A second
/// run does not find what the first one has written down.
pub(super) static EXPIRE: Statement = Statement::resolved("expire", include_str!("sql/expire.sql"));

/// `$1` now, `$2` counts worth folding, `$3` most finished or failed units, or null, `$4`
/// since when and `$5` until when those ended that are too old; `$5` may be null.
static SURVEY: Statement = Statement::repeatable("survey", include_str!("sql/survey.sql"));

/// The next instant at which something ends, and at which each continuous spec is due.
static NEXT_DUE: Statement = Statement::repeatable(
    "next_due",
    "select s.id, least(
        (select due from unit u where u.shelf_id = s.shelf_id and u.status = 3 order by due limit 1),
        (select due from unit u where u.shelf_id = s.shelf_id and u.status = 2 order by due limit 1)
     ), s.continuous and not s.paused
        and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 1)
        and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 2)
        and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 3),
     s.next_continuous
     from spec s",
);

/// Units that became available because their time came, and of which upkeep has not
/// told those who wait; and until when each spec's next continuous unit was told of.
#[derive(Debug, Default)]
pub(super) struct Untold {
    units: Mutex<HashMap<SpecId, (NamespaceId, usize)>>,
    told_continuous: Mutex<HashMap<SpecId, Option<i64>>>,
}

impl Untold {
    /// Notes that so many units of the spec became available.
    pub(super) fn add(&self, known: &Known, units: usize) {
        if units > 0 {
            self.give_back(known.namespace, known.id, units);
        }
    }

    fn take(&self) -> Vec<(NamespaceId, SpecId, usize)> {
        let untold = std::mem::take(&mut *self.units.lock().expect(HELD));
        untold
            .into_iter()
            .map(|(spec, (namespace, units))| (namespace, spec, units))
            .collect()
    }

    fn give_back(&self, namespace: NamespaceId, spec: SpecId, units: usize) {
        let mut untold = self.units.lock().expect(HELD);
        let entry = untold.entry(spec).or_insert((namespace, 0));
        entry.1 = entry.1.saturating_add(units);
    }

    fn is_empty(&self) -> bool {
        self.units.lock().expect(HELD).is_empty()
    }

    /// Whether it is news that the spec may make a unit from then on.
    fn tell_continuous(&self, spec: SpecId, from: Option<i64>) -> bool {
        self.told_continuous.lock().expect(HELD).insert(spec, from) != Some(from)
    }

    fn told_continuous(&self, spec: SpecId, from: Option<i64>) -> bool {
        self.told_continuous.lock().expect(HELD).get(&spec) == Some(&from)
    }

    /// Notes that a spec is set anew: what was told of it is news again.
    pub(super) fn forget(&self, spec: SpecId) {
        self.told_continuous.lock().expect(HELD).remove(&spec);
    }
}

/// Which spec is first to be cleared up, in turn.
pub(super) type Turn = AtomicUsize;

/// What a round of upkeep has done, and may still do.
struct Round {
    steps: usize,
    swept: Swept,
}

impl Round {
    /// How many rows the next statement may touch; none if the round is over, and then
    /// there is more.
    fn left(&mut self) -> Option<usize> {
        self.swept.more |= self.steps == 0;
        (self.steps > 0).then_some(self.steps)
    }

    fn did(&mut self, rows: usize) {
        self.steps = self.steps.saturating_sub(rows);
    }

    fn tell(&mut self, spec: &Surveyed, units: usize) {
        if units > 0 {
            let told = (spec.namespace, spec.id, units);
            self.swept.available.push(told);
        }
    }
}

/// What there is to do.
struct Survey {
    all: Everywhere,
    specs: Vec<Surveyed>,
}

/// What there is to do that belongs to no spec.
struct Everywhere {
    /// A worker's or a lock's time is over.
    is_outlived: bool,
    /// Units of a spec are left that was deleted.
    is_buried: bool,
}

/// A spec in which there is something to do.
struct Surveyed {
    id: SpecId,
    namespace: NamespaceId,
    /// A lease or a delay has ended.
    is_due: bool,
    /// A continuous unit may be made.
    may_make: bool,
    next_continuous: Option<i64>,
    /// Its counts are worth folding.
    is_long: bool,
    /// There are more finished, and more failed, units than are kept.
    has_surplus: [bool; 2],
    /// Units have ended too long ago.
    has_old: bool,
}

impl Surveyed {
    fn has_surplus(&self, status: i16) -> bool {
        let place = OVER.iter().position(|&over| over == status);
        self.has_old || place.is_some_and(|place| self.has_surplus[place])
    }
}

impl Survey {
    fn read(rows: &[Row]) -> Result<Survey> {
        let first = rows.first().ok_or_else(|| unexpected("answer"))?;
        let all = Everywhere {
            is_outlived: get(first, 0)?,
            is_buried: get(first, 1)?,
        };
        let mut specs = Vec::new();
        for row in rows {
            if get::<Option<i64>>(row, 2)?.is_some() {
                specs.push(Surveyed {
                    id: SpecId::new(row::id(row, 2)?),
                    namespace: NamespaceId::new(row::id(row, 3)?),
                    is_due: get(row, 4)?,
                    may_make: get(row, 5)?,
                    next_continuous: get(row, 6)?,
                    is_long: get(row, 7)?,
                    has_surplus: [get(row, 8)?, get(row, 9)?],
                    has_old: get(row, 10)?,
                });
            }
        }
        Ok(Survey { all, specs })
    }
}

/// What [`EXPIRE`] did.
#[derive(Debug, Default)]
pub(super) struct Expired {
    /// Units that it wrote down.
    moved: usize,
    /// Those of them that became available.
    available: usize,
    /// The one of those that is handed out first.
    first: Option<Position>,
}

impl Expired {
    /// From the statement's answer.
    pub(super) fn read(rows: &[Row]) -> Result<Expired> {
        let row = rows.first().ok_or_else(|| unexpected("answer"))?;
        let count = |column| {
            let count = row::count(row, column)?;
            usize::try_from(count).map_err(|_| unexpected("count"))
        };
        let first = match get::<Option<f64>>(row, 2)? {
            Some(priority) => Some(Position::new(priority, get(row, 3)?)),
            None => None,
        };
        Ok(Expired {
            moved: count(0)?,
            available: count(1)?,
            first,
        })
    }
}

impl Store {
    /// Writes down what has ended in one spec after `due_after`, as far as one call may.
    pub(super) async fn expire_all(
        &self,
        now: Timestamp,
        known: &Known,
        due_after: i64,
    ) -> Result<()> {
        for _ in 0..EXPIRE_ROUNDS_MAX {
            let expired = self.expire_some(now, known.id, EXPIRE_BATCH_MAX, due_after);
            let expired = expired.await?;
            self.untold.add(known, expired.available);
            if expired.moved < EXPIRE_BATCH_MAX {
                break;
            }
        }
        Ok(())
    }

    async fn expire_some(
        &self,
        now: Timestamp,
        spec: SpecId,
        max: usize,
        due_after: i64,
    ) -> Result<Expired> {
        let (id, now, most) = (row::signed(spec.get()), now.as_micros(), row::bounded(max));
        let params: Params<'_> = &[&id, &now, &most, &due_after];
        let rows = self.pool.query(&EXPIRE, params).await;
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                self.floors.reset(spec);
                return match is_in_doubt(&error) {
                    // There may have been as many, and there may be more.
                    true => Ok(Expired {
                        moved: max,
                        available: max,
                        first: None,
                    }),
                    false => Err(error),
                };
            }
        };
        let expired = Expired::read(&rows)?;
        if let Some(first) = &expired.first {
            self.floors.lower(spec, first);
        }
        Ok(expired)
    }

    /// [`Backend::sweep`](crate::backend::Backend::sweep).
    pub(super) async fn sweep_some(&self, now: Timestamp, steps_max: usize) -> Result<Swept> {
        let mut round = Round {
            steps: steps_max.max(1),
            swept: Swept {
                available: self.untold.take(),
                more: false,
            },
        };
        self.watch_snapshots(now).await;
        match self.do_round(now, &mut round).await {
            Ok(()) => Ok(round.swept),
            Err(error) => {
                // They are told in the next round.
                for (namespace, spec, units) in round.swept.available {
                    self.untold.give_back(namespace, spec, units);
                }
                Err(error)
            }
        }
    }

    async fn do_round(&self, now: Timestamp, round: &mut Round) -> Result<()> {
        let Survey { all, mut specs } = self.survey(now).await?;
        for spec in &specs {
            if spec.is_due {
                self.expire_due(now, spec, round).await?;
            }
            if spec.may_make && self.untold.tell_continuous(spec.id, spec.next_continuous) {
                round.tell(spec, 1);
            }
        }
        if all.is_outlived {
            round.swept.more |= self.forget_some(now, round.steps).await?;
        }
        if all.is_buried {
            round.swept.more |= self.clear_some(round.steps.min(CLEAR_ROWS_MAX)).await?;
        }
        for spec in specs.iter().filter(|spec| spec.is_long) {
            self.fold_counts(spec.id).await?;
        }
        // Another one first each time, or a large backlog would keep all others waiting.
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % specs.len().max(1);
        specs.rotate_left(first);
        for spec in &specs {
            for status in OVER.into_iter().filter(|&status| spec.has_surplus(status)) {
                self.archive_some(now, spec.id, status, round).await?;
            }
        }
        Ok(())
    }

    /// Looks what there is to do.
    async fn survey(&self, now: Timestamp) -> Result<Survey> {
        let kept = self.retention.completed_count.map(row::signed);
        let cutoff = self.cutoff(now);
        let since = self.archiving.looked_until();
        let rows = self
            .pool
            .query(
                &SURVEY,
                &[&now.as_micros(), &FOLD_ROWS_MIN, &kept, &since, &cutoff],
            )
            .await?;
        let survey = Survey::read(&rows)?;
        if !survey.specs.iter().any(|spec| spec.has_old) {
            self.archiving.looked(cutoff);
        }
        Ok(survey)
    }

    /// Writes down what has ended in one spec.
    async fn expire_due(&self, now: Timestamp, spec: &Surveyed, round: &mut Round) -> Result<()> {
        let Some(max) = round.left() else {
            return Ok(());
        };
        let expired = self.expire_some(now, spec.id, max, i64::MIN).await?;
        round.did(expired.moved);
        round.swept.more |= expired.moved >= max;
        round.tell(spec, expired.available);
        Ok(())
    }

    async fn archive_some(
        &self,
        now: Timestamp,
        spec: SpecId,
        status: i16,
        round: &mut Round,
    ) -> Result<()> {
        let Some(max) = round.left() else {
            return Ok(());
        };
        match self.archive_step(now, spec, status, max).await? {
            Step::Done(gone) => round.did(gone),
            Step::More(gone) => {
                round.did(gone);
                round.swept.more = true;
            }
            Step::Taken => {}
        }
        Ok(())
    }

    /// [`Backend::next_due`](crate::backend::Backend::next_due).
    pub(super) async fn earliest_due(&self) -> Result<Option<Timestamp>> {
        if !self.untold.is_empty() {
            return Ok(Some(Timestamp::EPOCH));
        }
        let mut earliest = None;
        for row in self.pool.query(&NEXT_DUE, &[]).await? {
            let spec = SpecId::new(row::id(&row, 0)?);
            let mut due: Option<i64> = get(&row, 1)?;
            let from: Option<i64> = get(&row, 3)?;
            if get::<bool>(&row, 2)? && !self.untold.told_continuous(spec, from) {
                due = due.into_iter().chain([from.unwrap_or(0)]).min();
            }
            earliest = earliest.into_iter().chain(due).min();
        }
        Ok(earliest.map(Timestamp::from_micros))
    }
}
