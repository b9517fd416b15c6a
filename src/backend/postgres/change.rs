//! Changing units, if they still are as the changes were decided on (semantics.md §7).
//!
//! One statement makes any number of changes of one spec's units, each on its own
//! condition, with the units that finished ones lead to (§6). What a finish leaves in
//! the unit is read by the daemon; if the change does not bring that data with it, it
//! is looked up first, and the change is conditional on its being the same still.

use std::collections::HashSet;

use tokio_postgres::{Row, types::ToSql};

use super::{
    Store,
    chain::Chains,
    error::{contended, shared},
    floors::{Floors, Position},
    lease::Run,
    row::{self, get, unexpected},
    settle::are_plain,
    specs::Known,
    statement::{Repeat, Statement},
};
use crate::{
    backend::{ActiveAttempt, Changed, Conflict, Result, UnitChange},
    clock::Timestamp,
    limits::{CHANGE_BATCH_MAX, CLOCKS_APART_MAX, LEASE_DEFAULT, STALE_ROUNDS_MAX},
    model::{Effect, Outcome, Phase, SpecId, UnitId},
};

/// `$1` spec, `$2` its version, `$3` now, `$4` max_running or 0; for each change `$5`
/// unit, `$6` phase, `$7` attempt, `$8` kind, `$9` status it starts with, `$10` its time,
/// `$11` worker, `$12` data, `$13` data there must be; `$14` leases that end by then may
/// count as ended elsewhere; `$15` null, or true if the caller holds the spec; `$16` end
/// of a lease that is renewed without one, `$17` history kept.
static CHANGE: Statement = Statement::repeatable(
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
static CHANGE_AND_CHAIN: Statement = Statement::repeatable(
    "change_and_chain",
    concat!(
        include_str!("sql/change_head.sql"),
        include_str!("sql/chain_locked.sql"),
        include_str!("sql/change_body.sql"),
        include_str!("sql/chain_links.sql"),
        include_str!("sql/put_present.sql"),
        include_str!("sql/chain_insert.sql"),
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
    was: i16,
    is_now: i16,
    due: Option<i64>,
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
            let is_own = known.options.then.as_ref() == Some(&known.name);
            let verdicts = if is_own && !chains.is_empty() {
                let verdicts = self.change_within(&known, changes, &chains).await;
                self.floors.reset(spec);
                verdicts.map(certain)
            } else if chains.are_none() && are_plain(changes) {
                self.change_plain(&known, changes).await
            } else {
                let statement = Change::new(self, &known, changes, &chains);
                statement.run(&*self.pool, None).await.map(certain)
            };
            if verdicts.is_err() {
                self.floors.reset_all(); // nobody knows what was chained, and to where
            }
            let verdicts = verdicts?;
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

    /// Ends attempts, and judges those that are not as expected. `None` if the spec is not
    /// what is known of it.
    async fn change_plain(
        &self,
        known: &Known,
        changes: &[&Asked],
    ) -> Result<Option<Vec<Result<Verdict>>>> {
        let Some(made) = self.settle(known, changes).await? else {
            return Ok(None);
        };
        let left = || changes.iter().zip(&made).filter(|(_, made)| made.is_none());
        let left: Vec<&Asked> = left().map(|(asked, _)| *asked).collect();
        // Those that are made are not made again, whatever becomes of these.
        let judged = self.judge(known.id, &left).await.map_err(shared);
        let mut judged = judged.map(Vec::into_iter);
        let verdicts = made.into_iter().map(|made| match (made, &mut judged) {
            (Some(made), _) => Ok(Verdict::Made(made)),
            (None, Ok(judged)) => judged.next().ok_or_else(|| unexpected("answer")),
            (None, Err(error)) => Err(error()),
        });
        Ok(Some(verdicts.collect()))
    }

    /// Makes changes that lead to nothing.
    async fn judge(&self, spec: SpecId, changes: &[&Asked]) -> Result<Vec<Verdict>> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        for _ in 0..STALE_ROUNDS_MAX {
            let known = self.known(spec).await?;
            let none = Chains::default();
            let statement = Change::new(self, &known, changes, &none);
            if let Some(verdicts) = statement.run(&*self.pool, None).await? {
                return Ok(verdicts);
            }
            self.directory.forget(spec);
        }
        Err(contended("the work spec is changed all the time"))
    }

    /// Makes one change that needs room under the spec's `max_running`, while no other
    /// daemon can make a unit pending.
    async fn change_guarded(&self, spec: SpecId, asked: &Asked) -> Result<Verdict> {
        let changes = &[asked];
        for _ in 0..STALE_ROUNDS_MAX {
            let known = self.known(spec).await?;
            let none = Chains::default();
            let statement = &Change::new(self, &known, changes, &none);
            let (id, version) = (&row::signed(spec.get()), &known.version);
            let verdicts = self
                .pool
                .transaction("change_guarded", Repeat::Never, |transaction| {
                    Box::pin(async move {
                        let locked = transaction.query(&LOCK_SPEC, &[id, version]).await?;
                        match locked.is_empty() {
                            true => Ok(None),
                            false => statement.run(transaction, Some(true)).await,
                        }
                    })
                })
                .await?;
            if let Some(verdict) = verdicts.and_then(|mut verdicts| verdicts.pop()) {
                return Ok(verdict);
            }
            self.directory.forget(spec);
        }
        Err(super::error::contended(
            "the work spec is changed all the time",
        ))
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

/// One statement that makes these changes.
pub(super) struct Change<'a> {
    known: &'a Known,
    now: Timestamp,
    changes: &'a [&'a Asked],
    chains: &'a Chains,
    history: i64,
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
            floors: &store.floors,
        }
    }

    /// Runs it without chained units if there are none; `None` if the spec is not what
    /// is known of it.
    pub(super) async fn run(
        &self,
        on: &impl Run,
        holds_spec: Option<bool>,
    ) -> Result<Option<Vec<Verdict>>> {
        self.run_with(on, holds_spec, !self.chains.is_empty()).await
    }

    pub(super) async fn run_with(
        &self,
        on: &impl Run,
        holds_spec: Option<bool>,
        with_chains: bool,
    ) -> Result<Option<Vec<Verdict>>> {
        let n = self.changes.len();
        let mut units: Vec<i64> = Vec::with_capacity(n);
        let mut phases: Vec<i16> = Vec::with_capacity(n);
        let mut attempts: Vec<Option<i64>> = Vec::with_capacity(n);
        let mut kinds: Vec<i16> = Vec::with_capacity(n);
        let mut outcomes: Vec<Option<i16>> = Vec::with_capacity(n);
        let mut times: Vec<Option<i64>> = Vec::with_capacity(n);
        let mut workers: Vec<Option<&[u8]>> = Vec::with_capacity(n);
        let mut data: Vec<Option<&[u8]>> = Vec::with_capacity(n);
        let mut expected: Vec<Option<&[u8]>> = Vec::with_capacity(n);
        for (index, asked) in self.changes.iter().enumerate() {
            let change = &asked.change;
            check(change);
            units.push(row::signed(change.unit.get()));
            phases.push(change.phase as i16);
            attempts.push(change.attempt.map(|attempt| row::signed(attempt.get())));
            let (kind, outcome, time) = encode(&change.effect, asked.now);
            kinds.push(kind);
            outcomes.push(outcome);
            times.push(time.map(Timestamp::as_micros));
            let worker = change.worker.as_ref().map_or("", |worker| worker.as_str());
            workers.push((kind == START).then_some(worker.as_bytes()));
            data.push(change.data.as_deref());
            expected.push(self.chains.expected(index));
        }
        let spec = row::signed(self.known.id.get());
        let now = self.now.as_micros();
        let doubtful = match holds_spec {
            Some(_) => i64::MAX,
            None => self.now.after(CLOCKS_APART_MAX).as_micros(),
        };
        let room = row::signed(self.known.options.max_running);
        let renewed = self.now.after(LEASE_DEFAULT).as_micros();
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![
            &spec,
            &self.known.version,
            &now,
            &room,
            &units,
            &phases,
            &attempts,
            &kinds,
            &outcomes,
            &times,
            &workers,
            &data,
            &expected,
            &doubtful,
            &holds_spec,
            &renewed,
            &self.history,
        ];
        let columns = self.chains.columns();
        let rows = if with_chains {
            params.extend(columns.params());
            on.run(&CHANGE_AND_CHAIN, &params).await?
        } else {
            on.run(&CHANGE, &params).await?
        };
        self.verdicts(&rows, with_chains)
    }

    fn verdicts(&self, rows: &[Row], with_chains: bool) -> Result<Option<Vec<Verdict>>> {
        let first = rows.first().ok_or_else(|| unexpected("answer"))?;
        if !get::<bool>(first, 0)? {
            return Ok(None);
        }
        let mut verdicts: Vec<Option<Verdict>> = self.changes.iter().map(|_| None).collect();
        for row in rows {
            let index = usize::try_from(get::<i64>(row, 1)? - 1).ok();
            let index = index.filter(|&index| index < verdicts.len());
            let index = index.ok_or_else(|| unexpected("answer"))?;
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

const START: i16 = 2;

/// An effect as the statement has it: its kind, the status an attempt starts with, and
/// when the unit's lease or delay ends.
fn encode(effect: &Effect, now: Timestamp) -> (i16, Option<i16>, Option<Timestamp>) {
    let delayed = |delay: std::time::Duration| (!delay.is_zero()).then(|| now.after(delay));
    match *effect {
        Effect::Prepare { delay } => (1, None, delayed(delay)),
        Effect::Start(Outcome::Pending(lease)) => (START, Some(3), Some(now.after(lease))),
        Effect::Start(Outcome::Finished) => (START, Some(4), Some(now)),
        Effect::Start(Outcome::Failed) => (START, Some(5), Some(now)),
        Effect::Renew { lease } => (3, None, lease.map(|lease| now.after(lease))),
        Effect::Clear { delay } => (4, None, delayed(delay)),
        Effect::Finish => (5, None, None),
        Effect::Fail => (6, None, None),
    }
}

/// An effect that the table does not allow would break what the unit promises.
fn check(change: &UnitChange) {
    let is_allowed = match change.effect {
        Effect::Prepare { .. } | Effect::Start(_) => change.phase == Phase::Idle,
        Effect::Renew { .. } | Effect::Fail => change.phase == Phase::Open,
        Effect::Clear { .. } => change.phase != Phase::Idle,
        Effect::Finish => matches!(change.phase, Phase::Open | Phase::Failed),
    };
    let (effect, phase) = (&change.effect, change.phase);
    assert!(is_allowed, "{effect:?} of a unit that is {phase:?}");
}

/// What became of each of the changes of one statement.
fn certain(verdicts: Option<Vec<Verdict>>) -> Option<Vec<Result<Verdict>>> {
    verdicts.map(|verdicts| verdicts.into_iter().map(Ok).collect())
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
