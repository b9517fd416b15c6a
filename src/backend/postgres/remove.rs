//! Deleting units.

use super::{
    Store,
    pool::Params,
    row::{self, get},
    statement::Statement,
    units::{matching, wanted},
};
use crate::{
    backend::{Error, Kind, Result, UnitSelection},
    clock::Timestamp,
    limits::DELETE_BATCH_MAX,
    model::{SpecId, StatusSet},
};

/// `$1` spec. Waits for the claims and additions that are under way.
static LOCK_SHELF: Statement =
    Statement::repeatable("lock_shelf", "select from spec where id = $1 for update");

/// `$1` spec. Gives it an empty shelf. The lock is taken by a statement before this one,
/// so that this one sees all that it counts.
static TAKE_ALL: Statement = Statement::once(
    "take_all",
    "with old as materialized (
        select id, shelf_id from spec where id = $1
    ), taken as (
        update spec s set shelf_id = nextval('shelf_id'), version = version + 1
        from old where s.id = old.id
    ), buried as (
        insert into buried_shelf (shelf_id) select shelf_id from old
    )
    select coalesce((
        select sum(available + delayed + pending + finished + failed
            - archived_finished - archived_failed)
        from tally where shelf_id = old.shelf_id
    ), 0)::bigint from old",
);

/// Deletes the locked ones and counts them off.
macro_rules! delete_locked {
    () => {
        "gone as (
            delete from unit u using locked l
            where u.id = l.id and u.id = any (array(select id from locked))
            returning u.shelf_id, u.status, u.key
        ), counted as (
            insert into tally (shelf_id, available, delayed, pending, finished, failed)
            select shelf_id, -count(*) filter (where status = 1), -count(*) filter (where status = 2),
                -count(*) filter (where status = 3), -count(*) filter (where status = 4),
                -count(*) filter (where status = 5)
            from gone group by shelf_id
        )"
    };
}

/// `$1` spec, `$2` keys in order, `$3` now, `$4` to `$8` wanted statuses.
static DELETE_KEYS: Statement = Statement::once(
    "delete_keys",
    concat!(
        "with locked as materialized (
            select l.id from spec s cross join unnest($2::bytea[]) k(key) cross join lateral (
                select u.* from unit u where u.shelf_id = s.shelf_id and u.key = k.key
                offset 0 for update
            ) l
            where s.id = $1 and case
                when l.status = 3 and l.due <= $3
                    then case when l.not_before > $3 then $5::boolean else $4::boolean end
                when l.status = 1 or l.status = 2 and l.due <= $3 then $4::boolean
                when l.status = 2 then $5::boolean
                when l.status = 3 then $6::boolean
                when l.status = 4 then $7::boolean
                else $8::boolean
            end
        ), ",
        delete_locked!(),
        " select (select count(*) from gone) from spec where id = $1"
    ),
);

/// As `matching!`; deletes what it finds.
static DELETE_SOME: Statement = Statement::once(
    "delete_some",
    concat!(
        "with ",
        matching!(),
        ", locked as materialized (
            select l.id from (select * from matching order by key) m cross join lateral (
                select u.* from unit u where u.id = m.id offset 0 for update
            ) l
            where case
                when l.status = 3 and l.due <= $4
                    then case when l.not_before > $4 then $6::boolean else $5::boolean end
                when l.status = 1 or l.status = 2 and l.due <= $4 then $5::boolean
                when l.status = 2 then $6::boolean
                when l.status = 3 then $7::boolean
                when l.status = 4 then $8::boolean
                else $9::boolean
            end
        ), ",
        delete_locked!(),
        " select (select count(*) from gone), (select count(*) from matching),
            (select key from matching order by key desc limit 1)
          from source"
    ),
);

impl Store {
    /// [`Backend::delete_units`](crate::backend::Backend::delete_units).
    pub(super) async fn delete(
        &self,
        now: Timestamp,
        spec: SpecId,
        selection: UnitSelection<'_>,
    ) -> Result<u64> {
        let count = match selection {
            UnitSelection::All => {
                let id = row::signed(spec.get());
                let steps: [(&'static Statement, Params<'_>); 2] =
                    [(&LOCK_SHELF, &[&id]), (&TAKE_ALL, &[&id])];
                let mut answers = self.pool.pipeline("delete_all", &steps).await?;
                let rows = answers.pop().unwrap_or_default();
                self.directory.forget(spec);
                row::count(rows.first().ok_or(Error::Gone(Kind::Spec))?, 0)?
            }
            UnitSelection::Statuses(statuses) => self.delete_statuses(now, spec, statuses).await?,
            UnitSelection::Keys(mut keys, statuses) => {
                keys.sort_unstable();
                keys.dedup();
                self.delete_keys(now, spec, &keys, statuses).await?
            }
        };
        self.boards.invalidate_all();
        self.floors.reset_all();
        Ok(count)
    }

    async fn delete_keys(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
        statuses: StatusSet,
    ) -> Result<u64> {
        let [available, delayed, pending, finished, failed] = wanted(statuses);
        let rows = self
            .pool
            .query(
                &DELETE_KEYS,
                &[
                    &row::signed(spec.get()),
                    &keys,
                    &now.as_micros(),
                    &available,
                    &delayed,
                    &pending,
                    &finished,
                    &failed,
                ],
            )
            .await?;
        row::count(rows.first().ok_or(Error::Gone(Kind::Spec))?, 0)
    }

    /// Deletes the units in these statuses; no more than there were at first, or it might
    /// never catch up with a client that adds some.
    async fn delete_statuses(
        &self,
        now: Timestamp,
        spec: SpecId,
        statuses: StatusSet,
    ) -> Result<u64> {
        let counts = self.count(now, spec).await?;
        let mut left =
            counts.available + counts.delayed + counts.pending + counts.finished + counts.failed;
        let [available, delayed, pending, finished, failed] = wanted(statuses);
        let (mut count, mut after) = (0, None::<Vec<u8>>);
        while left > 0 {
            let max = i64::try_from(left)
                .unwrap_or(i64::MAX)
                .min(row::bounded(DELETE_BATCH_MAX));
            let rows = self
                .pool
                .query(
                    &DELETE_SOME,
                    &[
                        &row::signed(spec.get()),
                        &after,
                        &max,
                        &now.as_micros(),
                        &available,
                        &delayed,
                        &pending,
                        &finished,
                        &failed,
                    ],
                )
                .await?;
            let row = rows.first().ok_or(Error::Gone(Kind::Spec))?;
            let deleted = row::count(row, 0)?;
            count += deleted;
            left = left.saturating_sub(deleted);
            if get::<i64>(row, 1)? < max {
                break;
            }
            after = Some(get(row, 2)?);
        }
        Ok(count)
    }
}
