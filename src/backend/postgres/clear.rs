//! What nobody can see any more and what counts are made of: workers, locks and receipts
//! whose time is over, the units of deleted specs, rows of differences.
//!
//! Each step is one statement over a bounded number of rows that skips what others have
//! locked, so it waits for nobody and nobody waits for it long; several daemons may do
//! it at the same time.

use std::sync::Mutex;

use super::{
    Store,
    pool::Params,
    row::{self, get, unexpected},
    statement::Statement,
};
use crate::{
    backend::Result,
    clock::Timestamp,
    limits::{FOLD_ROWS_MAX, FOLD_ROWS_MIN},
    model::SpecId,
};

/// No panic can leave what is behind the lock half changed.
const HELD: &str = "no panic while this is locked";

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
    select greatest((select count(*) from workers), (select count(*) from locks),
        (select count(*) from receipts))",
);

/// `$1` most rows, `$2` shelf and `$3` key to go on from, `$4` whether nothing was skipped
/// before that. Clears the first shelf that no spec has any more and nobody else clears.
static CLEAR_SHELF: Statement =
    Statement::repeatable("clear_shelf", include_str!("sql/clear_shelf.sql"));

/// `$1` spec, `$2` fewest rows worth folding, `$3` most. Makes one row of those of a shelf.
static FOLD: Statement = Statement::repeatable(
    "fold",
    "with rows as materialized (
        select t.ctid as at from tally t where t.shelf_id = (select shelf_id from spec where id = $1)
        limit $3 for update skip locked
    ), gone as (
        delete from tally t
        where t.ctid = any (array(select at from rows)) and (select count(*) from rows) >= $2
        returning t.*
    )
    insert into tally (shelf_id, available, delayed, pending, finished, failed, archived_finished, archived_failed)
    select shelf_id, sum(available), sum(delayed), sum(pending), sum(finished), sum(failed), sum(archived_finished), sum(archived_failed)
    from gone group by shelf_id",
);

/// How far the shelf has been cleared that was cleared last.
#[derive(Debug, Default)]
pub(super) struct Clearing(Mutex<Option<Cleared>>);

#[derive(Debug, Clone)]
struct Cleared {
    shelf: i64,
    /// The last key that was looked at.
    key: Vec<u8>,
    /// Whether everything up to there is gone.
    is_clean: bool,
}

impl Store {
    /// Removes some workers, locks and receipts whose time is over; whether there may be more.
    pub(super) async fn forget_some(&self, now: Timestamp, rows_max: usize) -> Result<bool> {
        let rows_max = row::bounded(rows_max);
        let rows = self
            .pool
            .query(&FORGET, &[&now.as_micros(), &rows_max])
            .await?;
        let row = rows.first().ok_or_else(|| unexpected("answer"))?;
        Ok(get::<i64>(row, 0)? >= rows_max)
    }

    /// Removes some units of specs that were deleted; whether there are more, and nobody
    /// else is at them.
    pub(super) async fn clear_some(&self, rows_max: usize) -> Result<bool> {
        let before = self.clearing.0.lock().expect(HELD).take();
        let before = before.unwrap_or(Cleared {
            shelf: 0,
            key: Vec::new(),
            is_clean: true,
        });
        let rows = self
            .pool
            .query(
                &CLEAR_SHELF,
                &[
                    &row::bounded(rows_max),
                    &before.shelf,
                    &before.key,
                    &before.is_clean,
                ],
            )
            .await?;
        let Some(row) = rows.first() else {
            return Ok(false); // there is none, or others clear them
        };
        let shelf: i64 = get(row, 0)?;
        let is_clean = get::<bool>(row, 3)? && (before.is_clean || before.shelf != shelf);
        let last = get::<Option<Vec<u8>>>(row, 1)?;
        if let (Some(key), true) = (last, get(row, 2)?) {
            *self.clearing.0.lock().expect(HELD) = Some(Cleared {
                shelf,
                key,
                is_clean,
            });
        }
        Ok(true)
    }

    /// Makes one of many counts of the spec's units.
    pub(super) async fn fold_counts(&self, spec: SpecId) -> Result<()> {
        let spec = row::signed(spec.get());
        let rows_max = row::bounded(FOLD_ROWS_MAX);
        let params: Params<'_> = &[&spec, &FOLD_ROWS_MIN, &rows_max];
        self.pool.query(&FOLD, params).await.map(drop)
    }
}
