//! Changing units, if they still are as the changes were decided on (semantics.md §7).
//!
//! One statement makes any number of changes of one spec's units, each on its own
//! condition, with the units that finished ones lead to (§6). What a finish leaves in
//! the unit is read by the daemon; if the change does not bring that data with it, it
//! is looked up first, and the change is conditional on its being the same still.

use std::collections::HashSet;

use tokio_postgres::Row;

use super::{
    Store,
    chain::Chains,
    change_columns::ChangeColumns,
    error::{contended, is_in_doubt, shared},
    floors::{Floors, Position},
    pool::{Params, Pool},
    row::{self, get, unexpected},
    settle::are_plain,
    specs::Known,
    statement::Statement,
};
use crate::{
    backend::{ActiveAttempt, Changed, Conflict, Result, UnitChange},
    clock::Timestamp,
    limits::{CHANGE_BATCH_MAX, STALE_ROUNDS_MAX},
    model::{Effect, Outcome, SpecId, UnitId},
};

/// `$1` spec, `$2` its version, `$3` now, `$4` max_running or 0; for each change `$5`
/// unit, `$6` phase, `$7` attempt, `$8` kind, `$9` status it starts with, `$10` its time,
/// `$11` worker, `$12` data, `$13` data there must be; `$14` leases that end by then may
/// count as ended elsewhere; `$15` null, or true if the caller holds the spec; `$16` end
/// of a lease that is renewed without one, `$17` history kept.
pub(super) static CHANGE: Statement = Statement::resolved(
    "change",
    concat!(
        include_str!("sql/change_head.sql"),
        include_str!("sql/change_locked.sql"),
        include_str!("sql/change_body.sql"),
        include_str!("sql/change_tail.sql")
    ),
);

/// As [`CHANGE`], and for each chained unit `$18` key, `$19` whether it is text, `$20`
/// data, `$21` priority or null to inherit it, `$22` not before, `$23` the change (from 1)
/// it comes with.
static CHANGE_AND_CHAIN: Statement = Statement::resolved(
    "change_and_chain",
    concat!(
        include_str!("sql/change_head.sql"),
        include_str!("sql/chain_locked.sql"),
        include_str!("sql/change_body.sql"),
        include_str!("sql/chain_links.sql"),
        include_str!("sql/put_present.sql"),
        include_str!("sql/put_insert.sql"),
        include_str!("sql/chain_new.sql"),
        include_str!("sql/put_replace.sql"),
        include_str!("sql/chain_tail.sql")
    ),
);

/// `$1` spec, `$2` version.
pub(super) static LOCK_SPEC: Statement = Statement::repeatable(
    "lock_spec",
    "select from spec where id = $1 and version = $2 for no key update",
);

/// A change and the time of the call that asks for it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) now: Timestamp,
    pub(super) change: UnitChange,
}

/// What came of one change.
#[derive(Debug)]
pub(super) enum Verdict {
    Made(Made),
    Refused(Conflict),
    /// It makes a unit pending, and whether there is room under `max_running` can be
    /// told only by who holds the spec.
    NeedsRoom,
}

/// A change that was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) active: ActiveAttempt,
    pub(super) target: Option<SpecId>,
    /// The status it had, and has; 1 to 5.
    pub(super) was: i16,
    pub(super) is_now: i16,
    pub(super) due: Option<i64>,
}

impl Made {
    /// An attempt that was pending and is over.
    pub(super) fn ended(active: ActiveAttempt, status: i16) -> Made {
        Made {
            active,
            target: None,
            was: 3,
            is_now: status,
            due: None,
        }
    }
}

/// Whether the change ends in a finished unit, whose output is chained.
pub(super) fn finishes(effect: &Effect) -> bool {
    matches!(effect, Effect::Finish | Effect::Start(Outcome::Finished))
}

impl Store {
    /// [`Backend::change_units`](crate::backend::Backend::change_units), for several calls
    /// in order.
    pub(super) async fn change_all(
        &self,
        spec: SpecId,
        changes: &[&Asked],
    ) -> Result<Vec<Result<Result<Changed, Conflict>>>> {
        let mut answers = Vec::with_capacity(changes.len());
        if changes.is_empty() {
            self.known(spec).await?;
        }
        while answers.len() < changes.len() {
            let wave = distinct(&changes[answers.len()..]);
            match self.change_distinct(spec, wave, &mut answers).await {
                Ok(()) => {}
                Err(error) if answers.is_empty() => return Err(error),
                Err(error) => {
                    // Those before are made, and are not to be made again.
                    let error = shared(error);
                    answers.resize_with(changes.len(), || Err(error()));
                }
            }
        }
        Ok(answers)
    }

    /// Changes units that are all different, and appends what came of it.
    async fn change_distinct(
        &self,
        spec: SpecId,
        changes: &[&Asked],
        answers: &mut Vec<Result<Result<Changed, Conflict>>>,
    ) -> Result<()> {
        for _ in 0..STALE_ROUNDS_MAX {
            let known = self.known(spec).await?;
            let chains = self.read_chains(&known, changes).await?;
            let change = Change::new(self, &known, changes, &chains);
            let verdicts = if chains.are_none() && are_plain(changes) {
                self.change_plain(change).await?
            } else {
                self.make_surely(change).await?
            };
            let Some(verdicts) = verdicts else {
                self.directory.forget(spec);
                continue;
            };
            for ((index, asked), verdict) in changes.iter().enumerate().zip(verdicts) {
                let verdict = match verdict {
                    Ok(Verdict::NeedsRoom) => self.change_guarded(spec, asked).await,
                    verdict => verdict,
                };
                let answer = verdict.and_then(|verdict| match verdict {
                    Verdict::Made(made) => Ok(Ok(self.note(&known, made, &chains, index))),
                    Verdict::Refused(conflict) => Ok(Err(conflict)),
                    Verdict::NeedsRoom => Err(unexpected("answer")),
                });
                answers.push(answer);
            }
            return Ok(());
        }
        Err(contended("the work spec is changed all the time"))
    }

    /// Makes these changes, and finds out what became of them if the answer is lost. `None`
    /// if the spec is not what is known of it.
    async fn make_surely(&self, change: Change<'_>) -> Result<Option<Vec<Result<Verdict>>>> {
        match self.make(&change).await {
            Ok(verdicts) => Ok(verdicts.map(|all| all.into_iter().map(Ok).collect())),
            Err(error) if is_in_doubt(&error) => Ok(Some(self.resolve(change, error).await)),
            Err(error) => Err(error),
        }
    }

    /// Ends attempts, and judges those that are not as expected. `None` if the spec is not
    /// what is known of it.
    async fn change_plain(&self, change: Change<'_>) -> Result<Option<Vec<Result<Verdict>>>> {
        let made = match self.settle(change.known, change.changes).await {
            Ok(Some(made)) => made,
            Ok(None) => return Ok(None),
            Err(error) if is_in_doubt(&error) => {
                return Ok(Some(self.resolve(change, error).await));
            }
            Err(error) => return Err(error),
        };
        let all = change.changes.iter().zip(&made);
        let left = all.filter(|(_, made)| made.is_none());
        let left: Vec<&Asked> = left.map(|(asked, _)| *asked).collect();
        // Those that are made are not made again, whatever becomes of these.
        let judged = self.judge(change.known.id, &left).await.map_err(shared);
        let mut judged = judged.map(Vec::into_iter);
        let verdicts = made.into_iter().map(|made| match (made, &mut judged) {
            (Some(made), _) => Ok(Verdict::Made(made)),
            (None, Ok(judged)) => judged.next().unwrap_or_else(|| Err(unexpected("answer"))),
            (None, Err(error)) => Err(error()),
        });
        Ok(Some(verdicts.collect()))
    }

    /// Makes changes that lead to nothing.
    async fn judge(&self, spec: SpecId, changes: &[&Asked]) -> Result<Vec<Result<Verdict>>> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        for _ in 0..STALE_ROUNDS_MAX {
            let known = self.known(spec).await?;
            let none = Chains::default();
            let change = Change::new(self, &known, changes, &none);
            if let Some(verdicts) = self.make_surely(change).await? {
                return Ok(verdicts);
            }
            self.directory.forget(spec);
        }
        Err(contended("the work spec is changed all the time"))
    }

    /// Makes these changes; `None` if the spec is not what is known of it.
    pub(super) async fn make(&self, change: &Change<'_>) -> Result<Option<Vec<Verdict>>> {
        let known = change.known;
        let is_own = known.options.then.as_ref() == Some(&known.name);
        let made = if is_own && !change.chains.is_empty() {
            let made = self.change_within(change).await;
            self.floors.reset(known.id);
            made
        } else {
            change.run(&self.pool).await
        };
        if made.is_err() {
            self.floors.reset_all(); // nobody knows what was chained, and to where
        }
        made
    }

    /// Makes one change that needs room under the spec's `max_running`, while no other
    /// daemon can make a unit pending. One round trip: if the first step finds another
    /// version, it locks nothing, and the other changes nothing.
    async fn change_guarded(&self, spec: SpecId, asked: &Asked) -> Result<Verdict> {
        let changes = &[asked];
        for _ in 0..STALE_ROUNDS_MAX {
            let known = self.known(spec).await?;
            let none = Chains::default();
            let change = Change::new(self, &known, changes, &none);
            let columns = ChangeColumns::of(&change, Some(true));
            let steps: [(&'static Statement, Params<'_>); 2] = [
                (&LOCK_SPEC, &[&columns.spec, &known.version]),
                (&CHANGE, &columns.params()),
            ];
            let answers = self.pool.pipeline("change_guarded", &steps).await;
            let verdict = match answers.and_then(|rows| change.verdicts(last(&rows), false)) {
                Ok(verdicts) => verdicts.and_then(|mut verdicts| verdicts.pop()).map(Ok),
                Err(error) if is_in_doubt(&error) => self.resolve(change, error).await.pop(),
                Err(error) => {
                    self.floors.reset(spec);
                    Some(Err(error))
                }
            };
            match verdict {
                None => self.directory.forget(spec),
                // It was not made, and when it was sent again, it was without holding the spec.
                Some(Ok(Verdict::NeedsRoom)) => {}
                Some(verdict) => return verdict,
            }
        }
        Err(contended("the work spec is changed all the time"))
    }

    /// Keeps the board in step with a change, and gives the answer to it.
    fn note(&self, known: &Known, made: Made, chains: &Chains, index: usize) -> Changed {
        let pending = i64::from(made.is_now == 3) - i64::from(made.was == 3);
        let due = made.due.map(Timestamp::from_micros);
        self.boards.changed(known, pending, made.is_now == 1, due);
        let count = chains.count(index);
        let target = made.target.filter(|_| count > 0);
        if let Some(target) = target {
            self.boards.added(target, chains.earliest());
        }
        Changed {
            active: made.active,
            chained: target.map(|target| (target, count)),
        }
    }
}

/// Changes that one statement makes.
pub(super) struct Change<'a> {
    pub(super) known: &'a Known,
    pub(super) now: Timestamp,
    pub(super) changes: &'a [&'a Asked],
    pub(super) chains: &'a Chains,
    pub(super) history: i64,
    /// Which of them are not to be made after all, by place. Empty if all are.
    pub(super) resolved: Vec<bool>,
    floors: &'a Floors,
}

impl<'a> Change<'a> {
    pub(super) fn new(
        store: &'a Store,
        known: &'a Known,
        changes: &'a [&'a Asked],
        chains: &'a Chains,
    ) -> Change<'a> {
        let now = changes.iter().map(|asked| asked.now).max();
        Change {
            known,
            now: now.unwrap_or(Timestamp::EPOCH),
            changes,
            chains,
            history: row::bounded(store.retention.attempt_history),
            resolved: Vec::new(),
            floors: &store.floors,
        }
    }

    /// Runs it, without chained units if there are none; `None` if the spec is not what
    /// is known of it.
    async fn run(&self, pool: &Pool) -> Result<Option<Vec<Verdict>>> {
        let columns = ChangeColumns::of(self, None);
        let with_chains = !self.chains.is_empty();
        let rows = if with_chains {
            let chained = self.chains.columns();
            let params = [&columns.params()[..], &chained.params()].concat();
            pool.query(&CHANGE_AND_CHAIN, &params).await?
        } else {
            pool.query(&CHANGE, &columns.params()).await?
        };
        self.verdicts(&rows, with_chains)
    }

    /// What [`CHANGE`] answered.
    pub(super) fn verdicts(&self, rows: &[Row], with_chains: bool) -> Result<Option<Vec<Verdict>>> {
        let first = rows.first().ok_or_else(|| unexpected("answer"))?;
        if !get::<bool>(first, 0)? {
            return Ok(None);
        }
        let mut verdicts: Vec<Option<Verdict>> = self.changes.iter().map(|_| None).collect();
        for row in rows {
            let index = place(row, 1, verdicts.len())?;
            let verdict = verdict(row, self.changes[index].change.unit, with_chains)?;
            // Claims have skipped it meanwhile, even if it is as it was.
            self.lower(row, 8, Some(self.known.id))?;
            if with_chains && index == 0 {
                let target = get::<Option<i64>>(row, 10)?;
                let target = target.map(row::unsigned).transpose()?;
                self.lower(row, 11, target.map(SpecId::new))?;
            }
            verdicts[index] = Some(verdict);
        }
        let all: Option<Vec<Verdict>> = verdicts.into_iter().collect();
        all.map(Some).ok_or_else(|| unexpected("answer"))
    }

    /// Lets claims find the unit whose priority and key are in the columns from `column`
    /// on, if there is one.
    fn lower(&self, row: &Row, column: usize, spec: Option<SpecId>) -> Result<()> {
        if let (Some(spec), Some(priority)) = (spec, get::<Option<f64>>(row, column)?) {
            let position = Position::new(priority, get(row, column + 1)?);
            self.floors.lower(spec, &position);
        }
        Ok(())
    }
}

/// A place among `count`, which the database counts from 1.
pub(super) fn place(row: &Row, column: usize, count: usize) -> Result<usize> {
    let place = usize::try_from(get::<i64>(row, column)? - 1).ok();
    let place = place.filter(|&place| place < count);
    place.ok_or_else(|| unexpected("answer"))
}

/// What the last step of a pipeline gave.
fn last(answers: &[Vec<Row>]) -> &[Row] {
    answers.last().map_or(&[], |rows| &rows[..])
}

fn verdict(row: &Row, unit: UnitId, with_chains: bool) -> Result<Verdict> {
    Ok(match get::<i32>(row, 2)? {
        0 => {
            let is_now: i16 = get(row, 3)?;
            let attempt = row::attempt(row, 4, 5)?;
            let target: Option<i64> = if with_chains { get(row, 10)? } else { None };
            Verdict::Made(Made {
                active: ActiveAttempt {
                    unit,
                    phase: row::phase(is_now, attempt.is_some()),
                    attempt,
                },
                target: target.map(row::unsigned).transpose()?.map(SpecId::new),
                was: i16::try_from(get::<i32>(row, 7)?).map_err(|_| unexpected("status"))?,
                is_now,
                due: get(row, 6)?,
            })
        }
        1 => Verdict::Refused(Conflict::Gone),
        2 => Verdict::Refused(Conflict::Changed),
        3 => Verdict::Refused(Conflict::Full),
        _ => Verdict::NeedsRoom,
    })
}

/// The changes from the first on whose units are all different, as many as one
/// statement makes.
fn distinct<'a, 'b>(changes: &'a [&'b Asked]) -> &'a [&'b Asked] {
    let mut seen = HashSet::new();
    let some = changes.iter().take(CHANGE_BATCH_MAX);
    let count = some
        .take_while(|asked| seen.insert(asked.change.unit))
        .count();
    &changes[..count]
}
