//! Adding units.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::{Row, types::ToSql};

use super::{
    Store,
    chain::{earliest, not_before},
    floors::Position,
    lease::Run,
    pool::{Params, Pool},
    row::{self, get, unexpected},
    statement::Statement,
};
use crate::{
    backend::{Error, Kind, Result, Retention},
    clock::Timestamp,
    limits::PUT_BATCH_MAX,
    model::{NewUnit, SpecId, StringType, UnitId},
};

/// `$1` spec, `$2` now, `$3` history kept; for each unit, in the order of their keys, `$4`
/// key, `$5` whether it is text, `$6` data, `$7` priority, `$8` not before.
static PUT: Statement = Statement::once(
    "put",
    concat!(
        "with context as (
    select $2::bigint as now, $3::bigint as history
), target as materialized (
    select id, shelf_id from spec where id = $1 for key share
), links as materialized (
    select * from unnest($4::bytea[], $5::boolean[], $6::bytea[], $7::double precision[], $8::bigint[])
        with ordinality as k(key, is_text, data, priority, not_before, ord)
    where exists (select from target)
), locked as materialized (
    select l.* from unnest($4::bytea[]) k(key) cross join lateral (
        select u.* from unit u
        where u.shelf_id = (select shelf_id from target) and u.key = k.key
        offset 0 for update
    ) l
",
        include_str!("sql/put.sql"),
        "select exists (select from target), p.ord, p.id,
    case when (select count(*) from links) <> (select count(*) from put) then again() end
from (select 1) one left join put p on true"
    ),
);

impl Store {
    /// [`Backend::put_units`](crate::backend::Backend::put_units), for several calls in
    /// order.
    pub(super) async fn put_all(
        &self,
        spec: SpecId,
        units: &[(Timestamp, &NewUnit)],
    ) -> Result<Vec<UnitId>> {
        let put = PutStatement::new(spec, units, self.retention);
        let ids = put.run_all(&self.pool).await;
        // Also if nobody knows whether they were put.
        if let Some(first) = put.first() {
            self.floors.lower(spec, &first);
        }
        let ids = ids?;
        if !units.is_empty() {
            self.boards.added(spec, earliest(units.iter().copied()));
        }
        Ok(put.places.iter().map(|&place| ids[place]).collect())
    }
}

/// A unit that is put.
struct Entry<'a> {
    unit: &'a NewUnit,
    /// The string type that its key came with first.
    string_type: StringType,
    not_before: Option<i64>,
}

/// Units of different keys.
pub(super) struct PutStatement<'a> {
    now: Timestamp,
    spec: SpecId,
    history: i64,
    /// In the order of their keys.
    entries: Vec<Entry<'a>>,
    /// For each unit asked for, its place among the entries.
    places: Vec<usize>,
}

impl<'a> PutStatement<'a> {
    /// Of several units with one key the last counts, under the key as it came first.
    pub(super) fn new(
        spec: SpecId,
        units: &[(Timestamp, &'a NewUnit)],
        retention: Retention,
    ) -> PutStatement<'a> {
        let mut by_key: BTreeMap<&[u8], Entry<'a>> = BTreeMap::new();
        for &(now, unit) in units {
            let not_before = not_before(now, unit);
            by_key
                .entry(unit.key.as_bytes())
                .and_modify(|entry| (entry.unit, entry.not_before) = (unit, not_before))
                .or_insert(Entry {
                    unit,
                    string_type: unit.key.as_ref().string_type,
                    not_before,
                });
        }
        let ranks: HashMap<&[u8], usize> = by_key.keys().copied().zip(0..).collect();
        let places = units.iter().map(|(_, unit)| ranks[unit.key.as_bytes()]);
        PutStatement {
            now: units
                .iter()
                .map(|&(now, _)| now)
                .max()
                .unwrap_or(Timestamp::EPOCH),
            spec,
            history: row::bounded(retention.attempt_history),
            places: places.collect(),
            entries: by_key.into_values().collect(),
        }
    }

    /// The one that is handed out before the others.
    fn first(&self) -> Option<Position> {
        // They are in the order of their keys: the first of several is the one.
        let units = self.entries.iter().map(|entry| entry.unit);
        let first =
            units.reduce(
                |first, unit| match unit.priority.get() > first.priority.get() {
                    true => unit,
                    false => first,
                },
            )?;
        Some(Position::new(first.priority.get(), first.key.as_bytes()))
    }

    /// Adds them, so many in a statement, all or none, and in one round trip; their ids, in
    /// the order of the entries.
    async fn run_all(&self, pool: &Pool) -> Result<Vec<UnitId>> {
        if self.entries.len() <= PUT_BATCH_MAX {
            return self.run(pool).await;
        }
        let parts: Vec<Columns<'_>> = self.parts().map(|part| self.columns(part)).collect();
        let params: Vec<[&(dyn ToSql + Sync); 8]> = parts.iter().map(Columns::params).collect();
        let steps = params.iter().map(|params| (&PUT, &params[..]));
        let steps: Vec<(&'static Statement, Params<'_>)> = steps.collect();
        let answers = pool.pipeline("put_many", &steps).await?;
        let mut ids = Vec::with_capacity(self.entries.len());
        for (part, rows) in self.parts().zip(answers) {
            read_ids(&rows, part.len(), &mut ids)?;
        }
        Ok(ids)
    }

    /// The same, one statement after the other.
    pub(super) async fn run(&self, on: &impl Run) -> Result<Vec<UnitId>> {
        let mut ids = Vec::with_capacity(self.entries.len());
        for part in self.parts() {
            let rows = on.run(&PUT, &self.columns(part).params()).await?;
            read_ids(&rows, part.len(), &mut ids)?;
        }
        Ok(ids)
    }

    /// What one statement adds each. No entries are one part: the spec must exist all the
    /// same.
    fn parts(&self) -> impl Iterator<Item = &[Entry<'a>]> {
        let none = self.entries.is_empty().then_some(&[][..]);
        none.into_iter().chain(self.entries.chunks(PUT_BATCH_MAX))
    }

    fn columns<'e>(&self, entries: &'e [Entry<'a>]) -> Columns<'e> {
        let units = || entries.iter().map(|entry| entry.unit);
        let is_text = |entry: &Entry<'_>| entry.string_type == StringType::Text;
        Columns {
            spec: row::signed(self.spec.get()),
            now: self.now.as_micros(),
            history: self.history,
            keys: units().map(|unit| unit.key.as_bytes()).collect(),
            are_text: entries.iter().map(is_text).collect(),
            data: units().map(|unit| &unit.data[..]).collect(),
            priorities: units().map(|unit| unit.priority.get()).collect(),
            times: entries.iter().map(|entry| entry.not_before).collect(),
        }
    }
}

/// The parameters of [`PUT`].
struct Columns<'a> {
    spec: i64,
    now: i64,
    history: i64,
    keys: Vec<&'a [u8]>,
    are_text: Vec<bool>,
    data: Vec<&'a [u8]>,
    priorities: Vec<f64>,
    times: Vec<Option<i64>>,
}

impl Columns<'_> {
    fn params(&self) -> [&(dyn ToSql + Sync); 8] {
        [
            &self.spec,
            &self.now,
            &self.history,
            &self.keys,
            &self.are_text,
            &self.data,
            &self.priorities,
            &self.times,
        ]
    }
}

/// Appends the ids of the `count` units that were put.
fn read_ids(rows: &[Row], count: usize, ids: &mut Vec<UnitId>) -> Result<()> {
    let first = rows.first().ok_or_else(|| unexpected("answer"))?;
    if !get::<bool>(first, 0)? {
        return Err(Error::Gone(Kind::Spec));
    }
    let start = ids.len();
    ids.resize(start + count, UnitId::new(0));
    for row in rows {
        if let Some(ord) = get::<Option<i64>>(row, 1)? {
            let place = usize::try_from(ord - 1)
                .ok()
                .and_then(|at| ids.get_mut(start + at));
            *place.ok_or_else(|| unexpected("answer"))? = row::unit_id(row, 2)?;
        }
    }
    Ok(())
}
