//! Adding units.

use std::collections::BTreeMap;

use tokio_postgres::{Row, types::ToSql};

use super::{
    Store,
    chain::{earliest, not_before},
    floors::Position,
    pool::{Params, Pool},
    row::{self, get, unexpected},
    statement::Statement,
};
use crate::{
    backend::{Error, Kind, Result, Retention},
    clock::Timestamp,
    limits::PUT_BATCH_MAX,
    model::{NewUnit, SpecId, StringType},
};

/// `$1` spec, `$2` now, `$3` history kept; for each unit, in the order of their keys, `$4`
/// key, `$5` whether it is text, `$6` data, `$7` priority, `$8` not before.
///
/// Most units are new, so all are inserted, and only for those whose keys exist there is a
/// look at what they replace. It waits for nobody's row while it holds new keys, on which
/// others may wait who hold rows: then it begins again.
static PUT: Statement = Statement::once(
    "put",
    concat!(
        include_str!("sql/put_head.sql"),
        include_str!("sql/put_insert.sql"),
        include_str!("sql/put_missing.sql"),
        include_str!("sql/put_present.sql"),
        include_str!("sql/put_replace.sql"),
        include_str!("sql/put_tail.sql"),
    ),
);

impl Store {
    /// [`Backend::put_units`](crate::backend::Backend::put_units), for several calls in
    /// order.
    pub(super) async fn put_all(
        &self,
        spec: SpecId,
        units: &[(Timestamp, &NewUnit)],
    ) -> Result<()> {
        let put = PutStatement::new(spec, units, self.retention);
        let done = put.run_all(&self.pool).await;
        // Also if nobody knows whether they were put.
        if let Some(first) = put.first() {
            self.floors.lower(spec, &first);
        }
        done?;
        if !units.is_empty() {
            self.boards.added(spec, earliest(units.iter().copied()));
        }
        Ok(())
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
struct PutStatement<'a> {
    now: Timestamp,
    spec: SpecId,
    history: i64,
    /// In the order of their keys.
    entries: Vec<Entry<'a>>,
}

impl<'a> PutStatement<'a> {
    /// Of several units with one key the last counts, under the key as it came first.
    fn new(
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
        PutStatement {
            now: units
                .iter()
                .map(|&(now, _)| now)
                .max()
                .unwrap_or(Timestamp::EPOCH),
            spec,
            history: row::bounded(retention.attempt_history),
            entries: by_key.into_values().collect(),
        }
    }

    /// The one that is handed out before the others.
    fn first(&self) -> Option<Position> {
        // They are in the order of their keys: the first of several is the one.
        let mut units = self.entries.iter().map(|entry| entry.unit);
        let mut first = units.next()?;
        for unit in units {
            if unit.priority.get() > first.priority.get() {
                first = unit;
            }
        }
        Some(Position::new(first.priority.get(), first.key.as_bytes()))
    }

    /// Adds them, so many in a statement, all or none, and in one round trip.
    async fn run_all(&self, pool: &Pool) -> Result<()> {
        let parts: Vec<Columns<'_>> = self.parts().map(|part| self.columns(part)).collect();
        let params: Vec<[&(dyn ToSql + Sync); 8]> = parts.iter().map(Columns::params).collect();
        let steps = params.iter().map(|params| (&PUT, &params[..]));
        let steps: Vec<(&'static Statement, Params<'_>)> = steps.collect();
        if let [(put, params)] = steps[..] {
            return check(&pool.query(put, params).await?);
        }
        let answers = pool.pipeline("put_many", &steps).await?;
        answers.iter().try_for_each(|rows| check(rows))
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

/// Whether there was a spec to add them to.
fn check(rows: &[Row]) -> Result<()> {
    let row = rows.first().ok_or_else(|| unexpected("answer"))?;
    match get::<bool>(row, 0)? {
        true => Ok(()),
        false => Err(Error::Gone(Kind::Spec)),
    }
}
