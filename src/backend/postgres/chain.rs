//! The units that finished ones lead to (semantics.md §6).

use std::collections::HashMap;

use tokio_postgres::{Row, types::ToSql};

use super::{
    Store,
    change::{Asked, CHANGE, Change, LOCK_SPEC, Verdict, finishes},
    change_columns::ChangeColumns,
    pool::Params,
    row::{self, get, unexpected},
    specs::Known,
    statement::Statement,
};
use crate::{
    backend::{ActiveAttempt, Result},
    clock::Timestamp,
    model::{NewUnit, Priority, RawData, SpecId, chained_units},
};

/// `$1` units. The data that readers see.
static SHOWN: Statement = Statement::repeatable(
    "shown",
    "select id, coalesce(attempt_data, data) from unit where id = any ($1)",
);

/// `$1` spec, `$2` units, `$3` keys. Locks them in the order in which everyone does.
static LOCK_UNITS: Statement = Statement::repeatable(
    "lock_units",
    "select from (
        select u.id, u.key from unit u where u.id = any ($2)
        union
        select u.id, k.key from spec s cross join unnest($3::bytea[]) k(key)
        cross join lateral (
            select id from unit where shelf_id = s.shelf_id and key = k.key offset 0
        ) u where s.id = $1
        order by key
     ) touched cross join lateral (select from unit u where u.id = touched.id offset 0 for update) l",
);

/// `$1` spec, `$2` now, `$3` history kept, `$4` the spec's version, `$5` units, of which those
/// that this transaction has finished lead to others; of these `$6` key, `$7` whether it is
/// text, `$8` data, `$9` priority or null to inherit it, `$10` not before, `$11` the unit (from
/// 1) it comes with.
static PUT_OWN: Statement = Statement::resolved(
    "put_own",
    concat!(
        include_str!("sql/put_own.sql"),
        include_str!("sql/put_present.sql"),
        include_str!("sql/put_insert.sql"),
        include_str!("sql/chain_new.sql"),
        include_str!("sql/put_replace.sql"),
        "select case when (select count(*) from links) <> (select count(*) from put) then again() end"
    ),
);

/// `$1` units.
static STANDING: Statement = Statement::repeatable(
    "standing",
    "select id, status, attempt_id, worker from unit where id = any ($1)",
);

/// A chained unit.
#[derive(Debug)]
struct Link {
    now: Timestamp,
    unit: NewUnit,
    /// Whether it has the priority of the unit that leads to it.
    inherits: bool,
    /// Index of the change.
    change: usize,
}

/// What the changes of one statement lead to.
#[derive(Debug, Default)]
pub(super) struct Chains {
    links: Vec<Link>,
    /// By change, the data that was read to find out.
    expected: HashMap<usize, RawData>,
}

/// [`Chains`], as the statement has them.
pub(super) struct Columns<'a> {
    keys: Vec<&'a [u8]>,
    are_text: Vec<bool>,
    data: Vec<&'a [u8]>,
    priorities: Vec<Option<f64>>,
    not_before: Vec<Option<i64>>,
    changes: Vec<i64>,
}

impl Columns<'_> {
    pub(super) fn params(&self) -> [&(dyn ToSql + Sync); 6] {
        [
            &self.keys,
            &self.are_text,
            &self.data,
            &self.priorities,
            &self.not_before,
            &self.changes,
        ]
    }
}

impl Chains {
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether nothing follows, whatever the units' data.
    pub(super) fn are_none(&self) -> bool {
        self.links.is_empty() && self.expected.is_empty()
    }

    /// When the first of those that are delayed may be claimed.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        earliest(self.links.iter().map(|link| (link.now, &link.unit)))
    }

    /// How many units a change leads to.
    pub(super) fn count(&self, change: usize) -> usize {
        self.links
            .iter()
            .filter(|link| link.change == change)
            .count()
    }

    /// What a unit's data must be for what was read of it to hold.
    pub(super) fn expected(&self, change: usize) -> Option<&[u8]> {
        self.expected.get(&change).map(|data| &data[..])
    }

    pub(super) fn columns(&self) -> Columns<'_> {
        let links = || self.links.iter();
        Columns {
            keys: links().map(|link| link.unit.key.as_bytes()).collect(),
            are_text: links().map(|link| row::is_text(&link.unit.key)).collect(),
            data: links().map(|link| &link.unit.data[..]).collect(),
            priorities: links()
                .map(|link| (!link.inherits).then(|| link.unit.priority.get()))
                .collect(),
            not_before: links()
                .map(|link| not_before(link.now, &link.unit))
                .collect(),
            changes: links().map(|link| row::bounded(link.change) + 1).collect(),
        }
    }

    fn read(&mut self, now: Timestamp, change: usize, data: &[u8], known: &Known) {
        let one = Priority::new(1.0).expect("finite");
        let units = chained_units(data, Priority::ZERO, |bad| {
            tracing::warn!(spec = %known.name, "skipped an item of a unit's output");
            tracing::debug!(spec = %known.name, %bad, "skipped an item of a unit's output");
        });
        // The inherited priority is known where the unit is; a unit that follows
        // whatever is put in its place inherits it.
        let others = match units.is_empty() {
            true => Vec::new(),
            false => chained_units(data, one, |_| {}),
        };
        self.links
            .extend(units.into_iter().zip(others).map(|(unit, other)| Link {
                now,
                inherits: unit.priority != other.priority,
                unit,
                change,
            }));
    }
}

/// When the first of those of these units that are delayed may be claimed.
pub(super) fn earliest<'a>(
    units: impl Iterator<Item = (Timestamp, &'a NewUnit)>,
) -> Option<Timestamp> {
    let delayed = units.filter(|(_, unit)| !unit.delay.is_zero());
    delayed.map(|(now, unit)| now.after(unit.delay)).min()
}

/// When a unit that is added now may be claimed; `None` is at any time.
pub(super) fn not_before(now: Timestamp, unit: &NewUnit) -> Option<i64> {
    (!unit.delay.is_zero()).then(|| now.after(unit.delay).as_micros())
}

impl Store {
    /// What the changes that finish a unit lead to, if the spec's output goes anywhere.
    pub(super) async fn read_chains(&self, known: &Known, changes: &[&Asked]) -> Result<Chains> {
        let mut chains = Chains::default();
        if known.options.then.is_none() {
            return Ok(chains);
        }
        let finishing = || {
            changes
                .iter()
                .enumerate()
                .filter(|(_, c)| finishes(&c.change.effect))
        };
        let without = finishing().filter(|(_, asked)| asked.change.data.is_none());
        let unread: Vec<i64> = without
            .map(|(_, c)| row::signed(c.change.unit.get()))
            .collect();
        let mut shown = HashMap::new();
        if !unread.is_empty() {
            for row in self.pool.query(&SHOWN, &[&unread]).await? {
                shown.insert(row::unit_id(&row, 0)?, row::data(&row, 1)?);
            }
        }
        for (index, asked) in finishing() {
            if let Some(data) = &asked.change.data {
                chains.read(asked.now, index, data, known);
            } else if let Some(data) = shown.remove(&asked.change.unit) {
                chains.read(asked.now, index, &data, known);
                chains.expected.insert(index, data);
            }
        }
        Ok(chains)
    }

    /// Makes changes of a spec whose output goes to itself, in one round trip. What is
    /// finished may be named by the output, and no row changes twice in a statement.
    pub(super) async fn change_within(&self, change: &Change<'_>) -> Result<Option<Vec<Verdict>>> {
        let columns = ChangeColumns::of(change, None);
        let (spec, units, version) = (&columns.spec, &columns.units, &change.known.version);
        let links = change.chains.columns();
        let now = change.now.as_micros();
        let put: Params<'_> = &[spec, &now, &change.history, version, units];
        let put = [put, &links.params()].concat();
        let steps: [(&'static Statement, Params<'_>); 5] = [
            (&LOCK_SPEC, &[spec, version]),
            (&LOCK_UNITS, &[spec, units, &links.keys]),
            (&CHANGE, &columns.params()),
            (&PUT_OWN, &put),
            (&STANDING, &[units]),
        ];
        let answers = self.pool.pipeline("change_within", &steps).await?;
        let [_, _, changed, _, standing] = &answers[..] else {
            return Err(unexpected("answer"));
        };
        let Some(mut verdicts) = change.verdicts(changed, false)? else {
            return Ok(None);
        };
        for row in standing {
            stand(row, change.known.id, &mut verdicts)?;
        }
        Ok(Some(verdicts))
    }
}

/// Puts how a unit stands after all into what came of its change.
fn stand(row: &Row, target: SpecId, verdicts: &mut [Verdict]) -> Result<()> {
    let unit = row::unit_id(row, 0)?;
    let attempt = row::attempt(row, 2, 3)?;
    let phase = row::phase(get(row, 1)?, attempt.is_some());
    for verdict in verdicts {
        if let Verdict::Made(made) = verdict
            && made.active.unit == unit
        {
            made.target = Some(target);
            made.active = ActiveAttempt {
                unit,
                phase,
                attempt: attempt.clone(),
            };
        }
    }
    Ok(())
}
