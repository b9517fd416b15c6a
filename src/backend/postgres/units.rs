//! Showing and counting units, and changing their priorities.

use super::{
    Store,
    row::{self, get, unexpected, unit_columns},
    specs::name,
    statement::Statement,
};
use crate::{
    backend::{ActiveAttempt, Error, Kind, Result, SupervisedAttempt, UnitPage},
    clock::Timestamp,
    model::{
        HeldUnit, NamespaceId, Priority, PriorityChange, SpecId, StatusSet, Unit, UnitCounts,
        UnitId, UnitStatus, WorkerName,
    },
};

/// `$1` spec, `$2` keys.
static ACTIVE: Statement = Statement::repeatable(
    "active",
    "select k.ord, u.id, u.status, u.attempt_id, u.worker
     from spec s left join unnest($2::bytea[]) with ordinality k(key, ord) on true
     left join lateral (
        select * from unit where shelf_id = s.shelf_id and key = k.key offset 0
     ) u on true
     where s.id = $1",
);

/// `$1` spec, `$2` keys, `$3` now.
static SUPERVISED: Statement = Statement::repeatable(
    "supervised",
    "select k.ord, u.id, u.status, u.attempt_id, u.worker, w.parent
     from spec s left join unnest($2::bytea[]) with ordinality k(key, ord) on true
     left join lateral (
        select * from unit where shelf_id = s.shelf_id and key = k.key offset 0
     ) u on true
     left join lateral (
        select parent from worker
        where namespace_id = s.namespace_id and name = u.worker and expires >= $3 offset 0
     ) w on true
     where s.id = $1",
);

/// `$1` spec, `$2` keys.
static UNITS: Statement = Statement::repeatable(
    "units",
    concat!(
        "select ",
        unit_columns!(),
        ", k.ord from spec s left join unnest($2::bytea[]) with ordinality k(key, ord) on true
         left join lateral (
            select * from unit where shelf_id = s.shelf_id and key = k.key offset 0
         ) u on true
         where s.id = $1"
    ),
);

/// `$1` spec, `$2` keys after this one, or null, `$3` most.
static PAGE_ALL: Statement = Statement::repeatable(
    "page_all",
    concat!(
        "select ",
        unit_columns!(),
        " from spec s left join lateral (
            select * from unit
            where shelf_id = s.shelf_id and ($2::bytea is null or key > $2::bytea)
            order by key limit $3
         ) u on true
         where s.id = $1 order by u.key"
    ),
);

/// Finds units by status: `$1` spec, `$2` after, `$3` most, `$4` now, `$5` to `$9` whether
/// available, delayed, pending, finished and failed ones are wanted. Each status is read
/// in the order of its own index, as far as it is needed; only of the pending ones all
/// are looked at.
macro_rules! matching {
    () => {
        "source as materialized (
            select shelf_id from spec where id = $1
        ), open as materialized (
            select id, key, due, not_before from unit
            where shelf_id = (select shelf_id from source) and status = 3
                and ($5::boolean or $6::boolean or $7::boolean)
        ), matching as materialized (
            select id, key from (
                (select id, key from unit
                where shelf_id = (select shelf_id from source) and status = 1 and $5::boolean
                    and key >= coalesce($2::bytea, '') and key is distinct from $2::bytea
                order by key limit $3::bigint)
                union all
                (select id, key from unit
                where shelf_id = (select shelf_id from source) and status = 2
                    and ($5::boolean or $6::boolean)
                    and case when due <= $4::bigint then $5::boolean else $6::boolean end
                    and key >= coalesce($2::bytea, '') and key is distinct from $2::bytea
                order by key limit $3::bigint)
                union all
                (select id, key from open
                where key >= coalesce($2::bytea, '') and key is distinct from $2::bytea
                    and case when due <= $4::bigint
                        then case when not_before > $4::bigint then $6::boolean else $5::boolean end
                        else $7::boolean end
                order by key limit $3::bigint)
                union all
                (select id, key from unit
                where shelf_id = (select shelf_id from source) and status = 4 and $8::boolean
                    and key >= coalesce($2::bytea, '') and key is distinct from $2::bytea
                order by key limit $3::bigint)
                union all
                (select id, key from unit
                where shelf_id = (select shelf_id from source) and status = 5 and $9::boolean
                    and key >= coalesce($2::bytea, '') and key is distinct from $2::bytea
                order by key limit $3::bigint)
            ) found
            order by key limit $3::bigint
        )"
    };
}
pub(super) use matching;

static PAGE_SOME: Statement = Statement::repeatable(
    "page_some",
    concat!(
        "with ",
        matching!(),
        " select ",
        unit_columns!(),
        " from source left join (
            select m.key as place, l.* from matching m
            cross join lateral (select * from unit where id = m.id offset 0) l
         ) u on true order by u.place"
    ),
);

/// `$1` spec, `$2` now.
static COUNT: Statement = Statement::repeatable(
    "count",
    "select t.available + o.available, t.delayed + o.delayed,
        t.pending - o.available - o.delayed, t.finished, t.failed
     from spec s cross join lateral (
        select coalesce(sum(available), 0)::bigint as available,
            coalesce(sum(delayed), 0)::bigint as delayed,
            coalesce(sum(pending), 0)::bigint as pending,
            coalesce(sum(finished), 0)::bigint as finished,
            coalesce(sum(failed), 0)::bigint as failed
        from tally where shelf_id = s.shelf_id
     ) t cross join lateral (
        select count(*) filter (where not_before > $2) as delayed,
            count(*) filter (where not_before is null or not_before <= $2) as available
        from unit where shelf_id = s.shelf_id and status = 3 and due <= $2
     ) o
     where s.id = $1",
);

/// `$1` spec, `$2` keys in order, `$3` priority or null, `$4` adjustment or null, `$5`
/// the largest finite number.
static PRIORITIZE: Statement = Statement::once(
    "prioritize",
    "with locked as materialized (
        select l.id from spec s cross join unnest($2::bytea[]) k(key) cross join lateral (
            select u.id from unit u where u.shelf_id = s.shelf_id and u.key = k.key
            offset 0 for update
        ) l
        where s.id = $1
     ), changed as (
        update unit set priority = case
            when $3::double precision is not null then $3::double precision
            when $4::double precision > 0 and priority > $5::double precision - $4::double precision
                then $5::double precision
            when $4::double precision < 0 and priority < -$5::double precision - $4::double precision
                then -$5::double precision
            else priority + $4::double precision + 0.0
        end
        where id = any (array(select id from locked))
     )
     select from spec where id = $1",
);

/// `$1` namespace, `$2` workers, `$3` now.
static HELD: Statement = Statement::repeatable(
    "held",
    "select w.name, s.name, u.key, u.is_text, coalesce(u.attempt_data, u.data),
        case when u.status = 3 and coalesce(u.due > $3, true) then u.worker end, u.ends
     from (select distinct name from unnest($2::bytea[]) w(name)) w cross join lateral (
        select id from unit where worker = w.name and attempt_id is not null and status < 4
        union
        select unit_id from attempt a where a.worker = w.name and a.held
     ) h cross join lateral (select * from unit where id = h.id offset 0) u
     cross join lateral (select * from spec where shelf_id = u.shelf_id offset 0) s
     where s.namespace_id = $1
     order by s.name, u.key, w.name",
);

impl Store {
    /// [`Backend::active_attempts`](crate::backend::Backend::active_attempts).
    pub(super) async fn active(
        &self,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<ActiveAttempt>>> {
        let rows = self
            .pool
            .query(&ACTIVE, &[&row::signed(spec.get()), &keys])
            .await?;
        let mut found = in_order(keys, &rows)?;
        for row in &rows {
            if let Some((place, active)) = active(row)? {
                *found.get_mut(place).ok_or_else(|| unexpected("answer"))? = Some(active);
            }
        }
        Ok(found)
    }

    /// [`Backend::supervised_attempts`](crate::backend::Backend::supervised_attempts).
    pub(super) async fn supervised(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<SupervisedAttempt>>> {
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&row::signed(spec.get()), &keys, &now.as_micros()];
        let rows = self.pool.query(&SUPERVISED, &params).await?;
        let mut found = in_order(keys, &rows)?;
        for row in &rows {
            if let Some((place, active)) = active(row)? {
                let parent = get::<Option<&[u8]>>(row, 5)?.map(row::worker).transpose()?;
                let place = found.get_mut(place).ok_or_else(|| unexpected("answer"))?;
                *place = Some(SupervisedAttempt { active, parent });
            }
        }
        Ok(found)
    }

    /// [`Backend::units`](crate::backend::Backend::units).
    pub(super) async fn show(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Unit>>> {
        let rows = self
            .pool
            .query(&UNITS, &[&row::signed(spec.get()), &keys])
            .await?;
        let mut found = in_order(keys, &rows)?;
        for row in &rows {
            let (Some(place), Some(_)) = (place(row, 11)?, get::<Option<&[u8]>>(row, 0)?) else {
                continue;
            };
            *found.get_mut(place).ok_or_else(|| unexpected("answer"))? = Some(row::unit(row, now)?);
        }
        Ok(found)
    }

    /// [`Backend::page_units`](crate::backend::Backend::page_units).
    pub(super) async fn page(
        &self,
        now: Timestamp,
        spec: SpecId,
        page: UnitPage<'_>,
    ) -> Result<Vec<Unit>> {
        let (spec, limit) = (row::signed(spec.get()), row::bounded(page.limit));
        let rows = if page.statuses == StatusSet::ALL {
            self.pool
                .query(&PAGE_ALL, &[&spec, &page.after, &limit])
                .await?
        } else {
            let [available, delayed, pending, finished, failed] = wanted(page.statuses);
            let now = now.as_micros();
            self.pool
                .query(
                    &PAGE_SOME,
                    &[
                        &spec,
                        &page.after,
                        &limit,
                        &now,
                        &available,
                        &delayed,
                        &pending,
                        &finished,
                        &failed,
                    ],
                )
                .await?
        };
        if rows.is_empty() {
            return Err(Error::Gone(Kind::Spec));
        }
        let mut units = Vec::with_capacity(rows.len());
        for row in &rows {
            if get::<Option<&[u8]>>(row, 0)?.is_some() {
                units.push(row::unit(row, now)?);
            }
        }
        Ok(units)
    }

    /// [`Backend::count_units`](crate::backend::Backend::count_units).
    pub(super) async fn count(&self, now: Timestamp, spec: SpecId) -> Result<UnitCounts> {
        let rows = self
            .pool
            .query(&COUNT, &[&row::signed(spec.get()), &now.as_micros()])
            .await?;
        let row = rows.first().ok_or(Error::Gone(Kind::Spec))?;
        Ok(UnitCounts {
            available: row::count(row, 0)?,
            delayed: row::count(row, 1)?,
            pending: row::count(row, 2)?,
            finished: row::count(row, 3)?,
            failed: row::count(row, 4)?,
        })
    }

    /// [`Backend::prioritize_units`](crate::backend::Backend::prioritize_units).
    pub(super) async fn prioritize(
        &self,
        spec: SpecId,
        keys: &[&[u8]],
        change: PriorityChange,
    ) -> Result<()> {
        let (to, by) = match change {
            PriorityChange::Set(to) => (Some(to.get()), None),
            PriorityChange::Adjust(by) => (None, Some(by)),
        };
        let largest = Priority::new(f64::MAX).expect("finite").get();
        // A key that is named twice is adjusted twice.
        for keys in rounds(keys) {
            let rows = self
                .pool
                .query(
                    &PRIORITIZE,
                    &[&row::signed(spec.get()), &keys, &to, &by, &largest],
                )
                .await;
            self.floors.reset(spec);
            rows?.first().ok_or(Error::Gone(Kind::Spec))?;
        }
        Ok(())
    }

    /// [`Backend::held_units`](crate::backend::Backend::held_units).
    pub(super) async fn held(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        workers: &[WorkerName],
    ) -> Result<Vec<HeldUnit>> {
        let workers: Vec<&[u8]> = workers
            .iter()
            .map(|worker| worker.as_str().as_bytes())
            .collect();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&row::signed(namespace.get()), &workers, &now.as_micros()];
        let rows = self.pool.query(&HELD, &params).await?;
        let held = rows.iter().map(|row| {
            let holder = get::<Option<&[u8]>>(row, 5)?.map(row::worker).transpose()?;
            let ends = get::<Option<i64>>(row, 6)?.map(Timestamp::from_micros);
            Ok(HeldUnit {
                worker: row::worker(get(row, 0)?)?,
                spec: name(get(row, 1)?)?,
                key: row::key(row, 2, 3)?,
                data: row::data(row, 4)?,
                holder: holder.zip(ends),
            })
        });
        held.collect()
    }
}

/// Which statuses are wanted, as `matching!` has them.
pub(super) fn wanted(statuses: StatusSet) -> [bool; 5] {
    UnitStatus::ALL.map(|status| statuses.contains(status))
}

/// Reads the columns of [`ACTIVE`]; nothing if there is no such unit.
fn active(row: &tokio_postgres::Row) -> Result<Option<(usize, ActiveAttempt)>> {
    let (Some(place), Some(unit)) = (place(row, 0)?, get::<Option<i64>>(row, 1)?) else {
        return Ok(None);
    };
    let attempt = row::attempt(row, 3, 4)?;
    let active = ActiveAttempt {
        unit: UnitId::new(row::unsigned(unit)?),
        phase: row::phase(get(row, 2)?, attempt.is_some()),
        attempt,
    };
    Ok(Some((place, active)))
}

/// An empty place for each key, if the spec of these rows exists.
fn in_order<T>(keys: &[&[u8]], rows: &[tokio_postgres::Row]) -> Result<Vec<Option<T>>> {
    if rows.is_empty() {
        return Err(Error::Gone(Kind::Spec));
    }
    Ok(keys.iter().map(|_| None).collect())
}

/// A place among what was asked for, which the database counts from 1.
fn place(row: &tokio_postgres::Row, column: usize) -> Result<Option<usize>> {
    let ord: Option<i64> = get(row, column)?;
    Ok(ord.and_then(|ord| usize::try_from(ord - 1).ok()))
}

/// The keys in order, each once in a round; a key that is named n times is in n rounds.
/// No keys are one round.
fn rounds<'a>(keys: &[&'a [u8]]) -> Vec<Vec<&'a [u8]>> {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    let mut rounds: Vec<Vec<&[u8]>> = vec![Vec::new()];
    let mut nth = 0;
    for (i, &key) in sorted.iter().enumerate() {
        nth = if i > 0 && sorted[i - 1] == key {
            nth + 1
        } else {
            0
        };
        if nth == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[nth].push(key);
    }
    rounds
}
