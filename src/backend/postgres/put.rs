//! Adding units.

use std::collections::BTreeMap;

use super::{
    Store,
    chain::{earliest, not_before},
    floors::Position,
    lease::Run,
    row::{self, get, unexpected},
    statement::{Repeat, Statement},
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
        let done = if put.entries.len() <= PUT_BATCH_MAX {
            put.run(&*self.pool).await
        } else {
            let put = &put;
            self.pool
                .transaction("put_many", Repeat::Never, |transaction| {
                    Box::pin(async move { put.run(transaction).await })
                })
                .await
        };
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
pub(super) struct PutStatement<'a> {
    now: Timestamp,
    spec: SpecId,
    history: i64,
    /// In the order of their keys.
    entries: Vec<Entry<'a>>,
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

    /// Adds them, so many in a statement.
    pub(super) async fn run(&self, on: &impl Run) -> Result<()> {
        if self.entries.is_empty() {
            return self.run_some(on, &[]).await;
        }
        for some in self.entries.chunks(PUT_BATCH_MAX) {
            self.run_some(on, some).await?;
        }
        Ok(())
    }

    async fn run_some(&self, on: &impl Run, entries: &[Entry<'_>]) -> Result<()> {
        let units = || entries.iter().map(|entry| entry.unit);
        let keys: Vec<&[u8]> = units().map(|unit| unit.key.as_bytes()).collect();
        let data: Vec<&[u8]> = units().map(|unit| &unit.data[..]).collect();
        let priorities: Vec<f64> = units().map(|unit| unit.priority.get()).collect();
        let is_text = |entry: &Entry<'_>| entry.string_type == StringType::Text;
        let are_text: Vec<bool> = entries.iter().map(is_text).collect();
        let times: Vec<Option<i64>> = entries.iter().map(|entry| entry.not_before).collect();
        let rows = on
            .run(
                &PUT,
                &[
                    &row::signed(self.spec.get()),
                    &self.now.as_micros(),
                    &self.history,
                    &keys,
                    &are_text,
                    &data,
                    &priorities,
                    &times,
                ],
            )
            .await?;
        let first = rows.first().ok_or_else(|| unexpected("answer"))?;
        match get::<bool>(first, 0)? {
            true => Ok(()),
            false => Err(Error::Gone(Kind::Spec)),
        }
    }
}
