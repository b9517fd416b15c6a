//! What is due, and what is kept no longer.
//!
//! A lease or delay that has ended is over for every reader at once; writing it down
//! only makes the unit's row say so. Whoever claims from the spec does it first, and
//! upkeep does it for specs that nobody claims from. Rows that another daemon is about
//! to write are skipped, so any number of daemons may do all of this at the same time.

use std::{collections::HashMap, sync::Mutex};

use tokio_postgres::Row;

use super::{
    Store,
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
    limits::{EXPIRE_BATCH_MAX, EXPIRE_ROUNDS_MAX, FOLD_ROWS_MIN},
    model::{NamespaceId, SpecId},
};

const HELD: &str = "no panic while counts are locked";

/// `$1` spec, `$2` now, `$3` most of each kind, `$4` when it ended at the earliest. A second
/// run does not find what the first one has written down.
pub(super) static EXPIRE: Statement = Statement::resolved("expire", include_str!("sql/expire.sql"));

/// `$1` now. Specs in which something has ended or a unit may be made.
static DUE_SPECS: Statement = Statement::repeatable(
    "due_specs",
    "select s.id, s.namespace_id, d.is_due, m.may_make, s.next_continuous
     from spec s cross join lateral (
        select exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 3 and u.due <= $1)
            or exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 2 and u.due <= $1)
            as is_due
     ) d cross join lateral (
        select s.continuous and not s.paused and coalesce(s.next_continuous <= $1, true)
            and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 1)
            and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 2)
            and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 3)
            as may_make
     ) m
     where d.is_due or m.may_make",
);

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

/// `$1` now, `$2` most of each kind. Workers, locks and receipts whose time is over.
static FORGET: Statement = Statement::repeatable(
    "forget",
    "with workers as (
        delete from worker where ctid = any (array(
            select ctid from worker where expires < $1 order by expires limit $2
            for update skip locked
        )) returning 1
    ), locks as (
        delete from lock where ctid = any (array(
            select ctid from lock where deadline < $1 order by deadline limit $2
            for update skip locked
        )) returning 1
    ), receipts as (
        delete from receipt where ctid = any (array(
            select ctid from receipt where until < $1 order by until limit $2
            for update skip locked
        )) returning 1
    )
    select (select count(*) from workers) + (select count(*) from locks)
        + (select count(*) from receipts)",
);

/// `$1` most units. Clears shelves that no spec has any more.
static CLEAR_SHELF: Statement = Statement::repeatable(
    "clear_shelf",
    "with buried as materialized (
        select shelf_id from buried_shelf order by shelf_id limit 1 for update skip locked
    ), old as materialized (
        select id from unit where shelf_id = (select shelf_id from buried) limit $1
    ), gone as (
        delete from unit u where u.id = any (array(select id from old)) returning 1
    ), uncounted as (
        delete from tally where shelf_id = (select shelf_id from buried)
            and (select count(*) from old) < $1
    ), done as (
        delete from buried_shelf where shelf_id = (select shelf_id from buried)
            and (select count(*) from old) < $1
    )
    select (select count(*) from old), exists (select from buried)",
);

/// `$1` fewest rows worth folding. Makes one row of those of a shelf.
static FOLD: Statement = Statement::repeatable(
    "fold",
    "with many as materialized (
        select shelf_id from tally group by shelf_id having count(*) >= $1
    ), rows as materialized (
        select t.ctid as at, t.* from tally t where t.shelf_id in (select shelf_id from many)
        for update skip locked
    ), gone as (
        delete from tally t where t.ctid = any (array(select at from rows)) returning t.*
    )
    insert into tally (shelf_id, available, delayed, pending, finished, failed, archived_finished, archived_failed)
    select shelf_id, sum(available), sum(delayed), sum(pending), sum(finished), sum(failed), sum(archived_finished), sum(archived_failed)
    from gone group by shelf_id",
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
            let mut untold = self.units.lock().expect(HELD);
            let entry = untold.entry(known.id).or_insert((known.namespace, 0));
            entry.1 = entry.1.saturating_add(units);
        }
    }

    fn take(&self) -> Vec<(NamespaceId, SpecId, usize)> {
        let untold = std::mem::take(&mut *self.units.lock().expect(HELD));
        untold
            .into_iter()
            .map(|(spec, (namespace, units))| (namespace, spec, units))
            .collect()
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
        let mut swept = Swept {
            available: self.untold.take(),
            more: false,
        };
        let mut told = |namespace, spec, units| swept.available.push((namespace, spec, units));
        let mut steps = steps_max.max(1);
        let mut more = false;
        for row in self.pool.query(&DUE_SPECS, &[&now.as_micros()]).await? {
            let spec = SpecId::new(row::id(&row, 0)?);
            let namespace = NamespaceId::new(row::id(&row, 1)?);
            if get(&row, 2)? {
                let expired = self.expire_some(now, spec, steps.max(1), i64::MIN).await?;
                more |= expired.moved >= steps.max(1);
                steps = steps.saturating_sub(expired.moved);
                if expired.available > 0 {
                    told(namespace, spec, expired.available);
                }
            }
            if get(&row, 3)? && self.untold.tell_continuous(spec, get(&row, 4)?) {
                told(namespace, spec, 1);
            }
        }
        let steps_max = row::bounded(steps_max.max(1));
        let forgotten = self
            .pool
            .query(&FORGET, &[&now.as_micros(), &steps_max])
            .await?;
        for row in &forgotten {
            more |= get::<i64>(row, 0)? >= steps_max;
        }
        for row in self.pool.query(&CLEAR_SHELF, &[&steps_max]).await? {
            more |= get::<bool>(&row, 1)?;
        }
        self.pool.query(&FOLD, &[&FOLD_ROWS_MIN]).await?;
        more |= self.archive_some(now, steps_max).await?;
        swept.more = more;
        Ok(swept)
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
