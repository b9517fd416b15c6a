//! Handing units out (semantics.md §4, steps 4 and 5, and §5).
//!
//! One statement claims for any number of callers. It holds the spec's row shared, so
//! that pausing or deleting the spec waits for it, and what was acknowledged holds. If
//! a lease or a delay has ended that nobody has written down yet, it claims nothing and
//! says so; the ended ones are written down first ([`expire`](super::sweep)).
//!
//! Specs with `max_running` or continuous units pass one at a time, on the lock of their
//! row, which makes both exact over all daemons.

use super::{
    Store,
    change::LOCK_SPEC,
    error::contended,
    floors::{Position, Start},
    pool::Params,
    row::{self, get, unexpected},
    specs::Known,
    statement::Statement,
};
use crate::{
    backend::{Claim, Claims, Result},
    clock::Timestamp,
    limits::{
        CLAIM_BYTES_MAX, CLAIM_UNITS_MAX, CONTINUOUS_KEYS_MAX, EXHAUSTED_UNITS_MAX,
        STALE_ROUNDS_MAX,
    },
    model::{AttemptId, Claimed, SpecId, TOO_MANY_RETRIES, WorkerName, with_traceback},
};
use tokio_postgres::{Row, types::ToSql};

/// `$1` spec, `$2` its version, `$3` now, `$4` workers, `$5` for each unit which of them
/// gets it, `$6` ends of their leases, `$7` most units, `$8` most attempts or 0, `$9` most
/// bytes for a caller, `$10` history kept, `$11` max_running or 0, `$12` whether to look
/// for what has ended, `$13` priority and `$14` key to begin at, `$15` when what is looked
/// for ended at the earliest.
static CLAIM: Statement = Statement::once("claim", include_str!("sql/claim.sql"));

/// `$1` now; for each unit `$2` id, `$3` attempts, `$4` data; `$5` worker, `$6` history kept.
static EXHAUST: Statement = Statement::repeatable("exhaust", include_str!("sql/exhaust.sql"));

/// `$1` spec, `$2` now, `$3` when the next one may be made, `$4` keys to try, a
/// millisecond apart, `$5` version. The caller holds the spec.
static MAKE_CONTINUOUS: Statement = Statement::once(
    "make_continuous",
    "with source as materialized (
        select shelf_id from spec s
        where id = $1 and version = $5 and (next_continuous is null or next_continuous <= $2)
            and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 1)
            and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 2)
            and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 3)
    ), free as (
        select convert_to(div(ms, 1000)::text || '.' || lpad(mod(ms, 1000)::text, 3, '0'), 'UTF8') as key
        from generate_series($2 / 1000, $2 / 1000 + $4::bigint - 1) ms
        where not exists (
            select from unit
            where shelf_id = (select shelf_id from source) and key = convert_to(
                div(ms, 1000)::text || '.' || lpad(mod(ms, 1000)::text, 3, '0'), 'UTF8')
        )
        order by ms limit 1
    ), made as (
        insert into unit (shelf_id, priority, status, is_text, key, data)
        select source.shelf_id, 0, 1, true, free.key, '\\xa0' from source cross join free
        on conflict do nothing
        returning shelf_id
    ), counted as (
        insert into tally (shelf_id, available) select shelf_id, 1 from made
    )
    update spec set next_continuous = $3 where id = $1 and exists (select from made)",
);

/// What a claim asks for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) now: Timestamp,
    pub(super) worker: WorkerName,
    pub(super) units_max: usize,
    pub(super) ends: Timestamp,
}

impl Asked {
    pub(super) fn new(now: Timestamp, claim: &Claim) -> Asked {
        Asked {
            now,
            worker: claim.worker.clone(),
            units_max: claim.units_max,
            ends: now.after(claim.lease),
        }
    }
}

/// A unit that has been attempted too often.
struct Exhausted {
    unit: i64,
    tries: i32,
    data: Vec<u8>,
}

/// What one statement found.
#[derive(Default)]
struct Found {
    /// By caller.
    given: Vec<Vec<Claimed>>,
    exhausted: Vec<Exhausted>,
    /// How many units were looked at.
    picked: usize,
    /// Whether there were fewer units than asked for.
    is_empty: bool,
}

impl Found {
    /// The last unit, if all that were looked at were given.
    fn last(&self) -> Option<Position> {
        let given: usize = self.given.iter().map(Vec::len).sum();
        let last = self.given.iter().rev().find_map(|units| units.last());
        let last = last.filter(|_| given == self.picked)?;
        Some(Position::new(last.priority.get(), last.key.as_bytes()))
    }
}

enum Outcome {
    Found(Found),
    /// The spec is not what is known of it.
    Stale,
    /// Something has ended and is to be written down first.
    Due,
}

impl Store {
    /// Claims for several callers; one answer for each, in order.
    ///
    /// # Errors
    /// [`Error::Gone`](crate::backend::Error::Gone) if the spec was deleted.
    pub(super) async fn claim_all(&self, spec: SpecId, asked: &[Asked]) -> Result<Vec<Claims>> {
        let mut claims: Vec<Claims> = asked.iter().map(|_| Claims::default()).collect();
        let mut bytes = vec![0; asked.len()];
        let mut exhausted = 0;
        loop {
            let mut known = self.known(spec).await?;
            if known.options.paused {
                known = self.fresh(spec).await?;
            }
            if known.options.paused {
                break;
            }
            let limit = most(known.options.max_getwork);
            let wanted = asked
                .iter()
                .zip(&claims)
                .zip(&bytes)
                .map(|((asked, claims), &bytes)| {
                    let left = asked
                        .units_max
                        .min(limit)
                        .saturating_sub(claims.units.len());
                    if bytes < CLAIM_BYTES_MAX { left } else { 0 }
                });
            let wanted: Vec<usize> = wanted.collect();
            let seen = self.boards.generation();
            let found = match self.claim_known(&known, asked, &wanted).await {
                Ok(found) => found,
                Err(error) => {
                    // What others skipped because of this may be available again.
                    self.floors.reset(spec);
                    if claims.iter().all(|claims| claims.units.is_empty()) {
                        return Err(error);
                    }
                    break; // what was claimed before is to reach its workers
                }
            };
            let count: usize = found.given.iter().map(Vec::len).sum();
            let due = asked.iter().map(|asked| asked.ends).min();
            self.boards
                .claimed(known.id, count, found.is_empty, seen, due);
            for (i, units) in found.given.into_iter().enumerate() {
                bytes[i] += units.iter().map(|unit| unit.data.len()).sum::<usize>();
                claims[i].units.extend(units);
            }
            if found.exhausted.is_empty() {
                break;
            }
            let worker = &asked[0].worker;
            let now = latest(asked);
            exhausted += found.exhausted.len();
            if self.exhaust(now, worker, found.exhausted).await.is_err() {
                break; // they are found again
            }
            let is_done = |i: usize| claims[i].units.len() >= asked[i].units_max.min(limit);
            if exhausted >= EXHAUSTED_UNITS_MAX || (0..asked.len()).all(is_done) {
                break;
            }
        }
        claims
            .iter_mut()
            .for_each(|claims| claims.exhausted = exhausted);
        Ok(claims)
    }

    /// Claims as the spec's options say, once it is known what they are.
    async fn claim_known(&self, known: &Known, asked: &[Asked], wanted: &[usize]) -> Result<Found> {
        let (now, spec) = (latest(asked), known.id);
        let mut refreshed = None;
        for round in 0..STALE_ROUNDS_MAX {
            let known = refreshed.as_deref().unwrap_or(known);
            if known.options.paused {
                return Ok(Found::default());
            }
            let mut statement = ClaimStatement {
                known,
                now,
                asked,
                wanted,
                history: row::bounded(self.retention.attempt_history),
                start: self.floors.start(spec),
            };
            let outcome = match self.claim_once(&statement, true).await? {
                Outcome::Due => {
                    self.expire_all(now, known, statement.start.due_after)
                        .await?;
                    statement.start = self.floors.start(spec);
                    self.claim_once(&statement, false).await?
                }
                Outcome::Found(found) => {
                    self.floors.nothing_due(spec, now);
                    Outcome::Found(found)
                }
                Outcome::Stale => Outcome::Stale,
            };
            match outcome {
                Outcome::Found(found) => {
                    if let Some(last) = found.last() {
                        self.floors.raise(spec, &statement.start, last);
                    }
                    return Ok(found);
                }
                Outcome::Due => return Err(unexpected("answer")),
                Outcome::Stale => {
                    debug_assert!(round < STALE_ROUNDS_MAX, "bounded");
                    self.directory.forget(spec);
                    refreshed = Some(self.fresh(spec).await?);
                }
            }
        }
        Err(contended("the work spec is changed all the time"))
    }

    async fn claim_once(&self, claim: &ClaimStatement<'_>, look_for_due: bool) -> Result<Outcome> {
        let options = &claim.known.options;
        if options.max_running > 0 || options.continuous {
            self.claim_guarded(claim, look_for_due).await
        } else {
            let columns = claim.columns(look_for_due);
            claim.outcome(&self.pool.query(&CLAIM, &columns.params()).await?)
        }
    }

    /// Claims while no other daemon can, from the spec or for its next unit. One round trip:
    /// if the first step finds another version, it locks nothing, and the others do nothing.
    async fn claim_guarded(
        &self,
        claim: &ClaimStatement<'_>,
        look_for_due: bool,
    ) -> Result<Outcome> {
        let known = claim.known;
        let (spec, now) = (row::signed(known.id.get()), claim.now.as_micros());
        let next = claim.now.after(known.options.interval).as_micros();
        let columns = claim.columns(look_for_due);
        let make: Params<'_> = &[&spec, &now, &next, &CONTINUOUS_KEYS_MAX, &known.version];
        let steps: [(&'static Statement, Params<'_>); 3] = [
            (&LOCK_SPEC, &[&spec, &known.version]),
            (&MAKE_CONTINUOUS, make),
            (&CLAIM, &columns.params()),
        ];
        // Without the step that only continuous specs need.
        let all = match known.options.continuous {
            true => steps.to_vec(),
            false => [steps[0], steps[2]].to_vec(),
        };
        let answers = self.pool.pipeline("claim_guarded", &all).await?;
        claim.outcome(answers.last().map_or(&[], |rows| &rows[..]))
    }

    /// Fails units that have been attempted too often.
    async fn exhaust(
        &self,
        now: Timestamp,
        worker: &WorkerName,
        units: Vec<Exhausted>,
    ) -> Result<()> {
        let (mut ids, mut tries, mut data) = (Vec::new(), Vec::new(), Vec::new());
        for unit in &units {
            ids.push(unit.unit);
            tries.push(unit.tries);
            data.push(with_traceback(&unit.data, TOO_MANY_RETRIES));
        }
        let data: Vec<&[u8]> = data.iter().map(|data| &data[..]).collect();
        let history = row::bounded(self.retention.attempt_history);
        let worker = worker.as_str().as_bytes();
        self.pool
            .query(
                &EXHAUST,
                &[&now.as_micros(), &ids, &tries, &data, &worker, &history],
            )
            .await?;
        Ok(())
    }
}

/// The parameters of [`CLAIM`].
struct Columns<'a> {
    spec: i64,
    version: i64,
    now: i64,
    workers: Vec<&'a [u8]>,
    /// For each unit, which of the callers gets it, from 1.
    takers: Vec<i32>,
    ends: Vec<i64>,
    total: i64,
    tries_max: i64,
    bytes_max: i64,
    history: i64,
    running_max: i64,
    look_for_due: bool,
    priority: Option<f64>,
    key: Option<&'a [u8]>,
    due_after: i64,
}

impl Columns<'_> {
    fn params(&self) -> [&(dyn ToSql + Sync); 15] {
        [
            &self.spec,
            &self.version,
            &self.now,
            &self.workers,
            &self.takers,
            &self.ends,
            &self.total,
            &self.tries_max,
            &self.bytes_max,
            &self.history,
            &self.running_max,
            &self.look_for_due,
            &self.priority,
            &self.key,
            &self.due_after,
        ]
    }
}

/// One claim of so many units for each caller.
struct ClaimStatement<'a> {
    known: &'a Known,
    now: Timestamp,
    asked: &'a [Asked],
    wanted: &'a [usize],
    history: i64,
    start: Start,
}

impl ClaimStatement<'_> {
    fn total(&self) -> usize {
        let sum = self
            .wanted
            .iter()
            .fold(0usize, |sum, &n| sum.saturating_add(n));
        sum.min(CLAIM_UNITS_MAX)
    }

    fn columns(&self, look_for_due: bool) -> Columns<'_> {
        let options = &self.known.options;
        let asked = || self.asked.iter();
        let takers = (1..).zip(self.wanted);
        let takers = takers.flat_map(|(taker, &n)| std::iter::repeat_n(taker, n));
        // What is made for a continuous spec may come before what there was.
        let from = self.start.from.as_ref().filter(|_| !options.continuous);
        Columns {
            spec: row::signed(self.known.id.get()),
            version: self.known.version,
            now: self.now.as_micros(),
            workers: asked()
                .map(|asked| asked.worker.as_str().as_bytes())
                .collect(),
            takers: takers.take(self.total()).collect(),
            ends: asked().map(|asked| asked.ends.as_micros()).collect(),
            total: row::bounded(self.total()),
            tries_max: row::signed(options.max_retries),
            bytes_max: row::bounded(CLAIM_BYTES_MAX / self.asked.len().max(1)),
            history: self.history,
            running_max: row::signed(options.max_running),
            look_for_due,
            priority: from.map(|from| from.priority),
            key: from.map(|from| &from.key[..]),
            due_after: self.start.due_after,
        }
    }

    fn outcome(&self, rows: &[Row]) -> Result<Outcome> {
        let first = rows.first().ok_or_else(|| unexpected("answer"))?;
        if !get::<bool>(first, 0)? {
            return Ok(Outcome::Stale);
        }
        if get::<bool>(first, 1)? {
            return Ok(Outcome::Due);
        }
        let picked: i64 = get(first, 2)?;
        let mut found = Found {
            given: self.asked.iter().map(|_| Vec::new()).collect(),
            exhausted: Vec::new(),
            // With `max_running`, it may be room that there is too little of.
            picked: usize::try_from(picked).unwrap_or(usize::MAX),
            is_empty: self.known.options.max_running == 0 && picked < row::bounded(self.total()),
        };
        let mut exhausted_bytes = 0usize;
        for row in rows {
            match get::<Option<bool>>(row, 3)? {
                None => {}
                Some(true) => {
                    let caller = usize::try_from(get::<i32>(row, 4)? - 1).ok();
                    let caller = caller.filter(|&caller| caller < self.asked.len());
                    let caller = caller.ok_or_else(|| unexpected("answer"))?;
                    found.given[caller].push(claimed(row, self.asked[caller].ends)?);
                }
                // Copies their data, and may go on for as long as there are units.
                Some(false)
                    if found.exhausted.len() < EXHAUSTED_UNITS_MAX
                        && exhausted_bytes <= CLAIM_BYTES_MAX =>
                {
                    let data: Vec<u8> = get(row, 9)?;
                    exhausted_bytes = exhausted_bytes.saturating_add(data.len());
                    found.exhausted.push(Exhausted {
                        unit: get(row, 6)?,
                        tries: get(row, 11)?,
                        data,
                    });
                }
                Some(false) => {}
            }
        }
        Ok(Outcome::Found(found))
    }
}

fn claimed(row: &Row, expires: Timestamp) -> Result<Claimed> {
    Ok(Claimed {
        unit: row::unit_id(row, 6)?,
        key: row::key(row, 7, 8)?,
        data: row::data(row, 9)?,
        attempt: AttemptId::new(row::id(row, 10)?),
        number: row::tries(row, 11)?,
        expires,
        priority: row::priority(row, 12)?,
    })
}

/// A limit of which 0 is none.
fn most(limit: u64) -> usize {
    match limit {
        0 => CLAIM_UNITS_MAX,
        limit => usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(CLAIM_UNITS_MAX),
    }
}

/// The time of a statement that serves several calls.
fn latest(asked: &[Asked]) -> Timestamp {
    asked
        .iter()
        .map(|asked| asked.now)
        .max()
        .unwrap_or(Timestamp::EPOCH)
}
