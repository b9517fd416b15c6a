//! Work specs, and what a daemon remembers of them.
//!
//! A daemon keeps the options of the specs it has seen, each with the version they are
//! of. Statements that depend on options name that version and do nothing if it is no
//! longer the spec's, so options that another daemon has changed are never used; what
//! is remembered saves round trips and decides nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_postgres::Row;

use super::{
    Store,
    row::{self, get, unexpected},
    statement::Statement,
};
use crate::{
    backend::{Error, Kind, Result, Spec},
    clock::Timestamp,
    limits::KNOWN_SPECS_MAX,
    model::{NamespaceId, NamespaceName, NewSpec, SpecChange, SpecId, SpecName, SpecOptions},
};

/// The map holds plain values; no panic can leave it half changed.
const HELD: &str = "no panic while what is known is locked";

macro_rules! known_columns {
    () => {
        "s.id, s.namespace_id, s.name, s.version, s.paused, s.priority, s.weight, s.continuous, \
         s.can_be_continuous, s.interval_seconds, s.interval_nanoseconds, s.max_running, \
         s.max_getwork, s.max_retries, s.next_name, s.runtime, s.min_gb"
    };
}
pub(super) use known_columns;

/// How many columns [`known`] reads.
pub(super) const KNOWN_COLUMNS: usize = 17;

/// `$1` name. A namespace comes with its gates.
static MAKE_NAMESPACE: Statement = Statement::repeatable(
    "make_namespace",
    "with made as (
        insert into namespace (name) values ($1) on conflict (name) do nothing returning id
    ), gates as (
        insert into lock_gate (namespace_id, gate) select id, generate_series(0, 64) from made
    )
    select id from made",
);

static FIND_NAMESPACE: Statement =
    Statement::repeatable("find_namespace", "select id from namespace where name = $1");

/// `$1` namespace, `$2` name. Who looks for a spec is about to use it.
static FIND_SPEC: Statement = Statement::repeatable(
    "find_spec",
    concat!(
        "select ",
        known_columns!(),
        " from namespace n left join spec s on s.namespace_id = n.id and s.name = $2
         where n.id = $1"
    ),
);

static KNOW_SPEC: Statement = Statement::repeatable(
    "know_spec",
    concat!("select ", known_columns!(), " from spec s where s.id = $1"),
);

static SPEC: Statement = Statement::repeatable(
    "spec",
    concat!(
        "select ",
        known_columns!(),
        ", s.definition, s.next_continuous from spec s where s.id = $1"
    ),
);

/// `$1` namespace, `$2` first name, `$3` most.
static SPECS: Statement = Statement::repeatable(
    "specs",
    concat!(
        "select ",
        known_columns!(),
        ", s.definition, s.next_continuous
         from namespace n left join lateral (
            select * from spec where namespace_id = n.id and name >= $2 order by name limit $3
         ) s on true
         where n.id = $1 order by s.name"
    ),
);

/// `$1` namespace, `$2` name, `$3` definition, `$4`.. options in the order of the columns. Not
/// repeatable: someone may have paused the spec in between.
static PUT_SPEC: Statement = Statement::once(
    "put_spec",
    "insert into spec (namespace_id, name, definition, paused, priority, weight, continuous,
        can_be_continuous, interval_seconds, interval_nanoseconds, max_running, max_getwork,
        max_retries, next_name, runtime, min_gb)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
     on conflict (namespace_id, name) do update set version = spec.version + 1,
        definition = $3, paused = $4, priority = $5, weight = $6, continuous = $7,
        can_be_continuous = $8, interval_seconds = $9, interval_nanoseconds = $10,
        max_running = $11, max_getwork = $12, max_retries = $13, next_name = $14, runtime = $15,
        min_gb = $16
     returning id",
);

/// `$1` spec, `$2`.. changes, null where the option stays. Not repeatable: it could undo what
/// someone has changed in between, and was told so.
static CHANGE_SPEC: Statement = Statement::once(
    "change_spec",
    "with changed as (
        update spec set version = version + 1, paused = coalesce($2, paused),
            priority = coalesce($3, priority), weight = coalesce($4, weight),
            continuous = coalesce($5, continuous),
            interval_seconds = coalesce($6, interval_seconds),
            interval_nanoseconds = coalesce($7, interval_nanoseconds),
            max_running = coalesce($8, max_running), max_getwork = coalesce($9, max_getwork),
            max_retries = coalesce($10, max_retries)
        where id = $1 and (can_be_continuous or $5 is not true)
        returning id
    )
    select exists (select from changed) from spec where id = $1",
);

/// `$1` spec. Waits for the claims and additions that are under way; its units are
/// cleared away later.
static DELETE_SPEC: Statement = Statement::once(
    "delete_spec",
    "with gone as (delete from spec where id = $1 returning shelf_id)
     insert into buried_shelf (shelf_id) select shelf_id from gone returning 1",
);

/// `$1` namespace.
static DELETE_SPECS: Statement = Statement::once(
    "delete_specs",
    "with found as materialized (
        select id from spec where namespace_id = $1 order by id for update
    ), gone as (
        delete from spec s using found where s.id = found.id returning s.shelf_id
    ), buried as (
        insert into buried_shelf (shelf_id) select shelf_id from gone
    )
    select (select count(*) from gone) from namespace where id = $1",
);

/// What a daemon knows of a spec.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: SpecId,
    pub(super) namespace: NamespaceId,
    pub(super) name: SpecName,
    pub(super) version: i64,
    pub(super) options: Arc<SpecOptions>,
}

/// The specs that this daemon has seen.
#[derive(Debug, Default)]
pub(super) struct Directory(Mutex<HashMap<SpecId, Arc<Known>>>);

impl Directory {
    fn find(&self, spec: SpecId) -> Option<Arc<Known>> {
        self.0.lock().expect(HELD).get(&spec).cloned()
    }

    /// Remembers a spec; what is known already is shared.
    pub(super) fn learn(&self, known: Known) -> Arc<Known> {
        let mut specs = self.0.lock().expect(HELD);
        match specs.get(&known.id) {
            Some(old) if old.version >= known.version => return old.clone(),
            _ => {}
        }
        if specs.len() >= KNOWN_SPECS_MAX {
            specs.clear();
        }
        let known = Arc::new(known);
        specs.insert(known.id, known.clone());
        known
    }

    /// Forgets a spec that turned out not to be what is known of it.
    pub(super) fn forget(&self, spec: SpecId) {
        self.0.lock().expect(HELD).remove(&spec);
    }
}

impl Store {
    /// What is known of the spec, looked up if it is not known.
    pub(super) async fn known(&self, spec: SpecId) -> Result<Arc<Known>> {
        match self.directory.find(spec) {
            Some(known) => Ok(known),
            None => self.fresh(spec).await,
        }
    }

    /// The spec as it is in the database now.
    pub(super) async fn fresh(&self, spec: SpecId) -> Result<Arc<Known>> {
        let rows = self
            .pool
            .query(&KNOW_SPEC, &[&row::signed(spec.get())])
            .await?;
        let Some(row) = rows.first() else {
            self.directory.forget(spec);
            return Err(Error::Gone(Kind::Spec));
        };
        Ok(self.directory.learn(known(row)?))
    }

    pub(super) async fn find_or_make_namespace(&self, name: &NamespaceName) -> Result<NamespaceId> {
        let name = name.as_str().as_bytes();
        // Both may miss while another daemon makes it; then it is there the next time.
        loop {
            for statement in [&FIND_NAMESPACE, &MAKE_NAMESPACE] {
                if let Some(row) = self.pool.query(statement, &[&name]).await?.first() {
                    return Ok(NamespaceId::new(row::id(row, 0)?));
                }
            }
        }
    }

    pub(super) async fn find_spec_id(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<SpecId>> {
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&row::signed(namespace.get()), &name.as_bytes()];
        let rows = self.pool.query(&FIND_SPEC, &params).await?;
        let row = rows.first().ok_or(Error::Gone(Kind::Namespace))?;
        match get::<Option<i64>>(row, 0)? {
            None => Ok(None),
            Some(_) => Ok(Some(self.directory.learn(known(row)?).id)),
        }
    }

    pub(super) async fn put_one_spec(
        &self,
        namespace: NamespaceId,
        spec: &NewSpec,
    ) -> Result<SpecId> {
        let options = &spec.options;
        let next = options.then.as_ref().map(|name| name.as_str().as_bytes());
        let (seconds, nanoseconds) = interval(options.interval);
        let rows = self
            .pool
            .query(
                &PUT_SPEC,
                &[
                    &row::signed(namespace.get()),
                    &spec.name.as_str().as_bytes(),
                    &&spec.definition[..],
                    &options.paused,
                    &options.priority,
                    &i64::from(options.weight),
                    &options.continuous,
                    &options.can_be_continuous,
                    &seconds,
                    &nanoseconds,
                    &options.max_running.cast_signed(),
                    &options.max_getwork.cast_signed(),
                    &options.max_retries.cast_signed(),
                    &next,
                    &options.runtime.as_bytes(),
                    &options.min_gb,
                ],
            )
            .await?;
        let row = rows.first().ok_or_else(|| unexpected("answer"))?;
        let id = SpecId::new(row::id(row, 0)?);
        self.directory.forget(id);
        self.untold.forget(id);
        self.boards.invalidate_all();
        self.floors.reset_all();
        Ok(id)
    }

    pub(super) async fn one_spec(&self, spec: SpecId) -> Result<Spec> {
        let rows = self.pool.query(&SPEC, &[&row::signed(spec.get())]).await?;
        listed(rows.first().ok_or(Error::Gone(Kind::Spec))?)
    }

    pub(super) async fn page_of_specs(
        &self,
        namespace: NamespaceId,
        start: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Spec>> {
        let start = start.unwrap_or_default().as_bytes();
        let limit = row::bounded(limit);
        let rows = self
            .pool
            .query(&SPECS, &[&row::signed(namespace.get()), &start, &limit])
            .await?;
        if rows.is_empty() {
            return Err(Error::Gone(Kind::Namespace));
        }
        let mut specs = Vec::with_capacity(rows.len());
        for row in &rows {
            if get::<Option<i64>>(row, 0)?.is_some() {
                specs.push(listed(row)?);
            }
        }
        Ok(specs)
    }

    pub(super) async fn change_one_spec(&self, spec: SpecId, change: &SpecChange) -> Result<bool> {
        let parts = change.interval.map(interval);
        let rows = self
            .pool
            .query(
                &CHANGE_SPEC,
                &[
                    &row::signed(spec.get()),
                    &change.paused,
                    &change.priority,
                    &change.weight.map(i64::from),
                    &change.continuous,
                    &parts.map(|(seconds, _)| seconds),
                    &parts.map(|(_, nanoseconds)| nanoseconds),
                    &change.max_running.map(u64::cast_signed),
                    &change.max_getwork.map(u64::cast_signed),
                    &change.max_retries.map(u64::cast_signed),
                ],
            )
            .await?;
        let changed = get(rows.first().ok_or(Error::Gone(Kind::Spec))?, 0)?;
        self.directory.forget(spec);
        self.untold.forget(spec);
        self.boards.invalidate_all();
        self.floors.reset_all();
        Ok(changed)
    }

    pub(super) async fn delete_one_spec(&self, spec: SpecId) -> Result<()> {
        let rows = self
            .pool
            .query(&DELETE_SPEC, &[&row::signed(spec.get())])
            .await?;
        self.directory.forget(spec);
        self.boards.invalidate_all();
        self.floors.reset_all();
        rows.first().map(drop).ok_or(Error::Gone(Kind::Spec))
    }

    pub(super) async fn delete_all_specs(&self, namespace: NamespaceId) -> Result<u64> {
        let rows = self
            .pool
            .query(&DELETE_SPECS, &[&row::signed(namespace.get())])
            .await?;
        self.boards.invalidate_all();
        self.floors.reset_all();
        row::count(rows.first().ok_or(Error::Gone(Kind::Namespace))?, 0)
    }
}

/// Reads the columns of [`known_columns`].
pub(super) fn known(row: &Row) -> Result<Known> {
    let weight = u32::try_from(get::<i64>(row, 6)?).map_err(|_| unexpected("weight"))?;
    let nanoseconds = u32::try_from(get::<i32>(row, 10)?).map_err(|_| unexpected("interval"))?;
    let count = |column| Ok::<_, Error>(get::<i64>(row, column)?.cast_unsigned());
    let then = get::<Option<&[u8]>>(row, 14)?.map(name).transpose()?;
    let options = SpecOptions {
        paused: get(row, 4)?,
        priority: get(row, 5)?,
        weight,
        continuous: get(row, 7)?,
        can_be_continuous: get(row, 8)?,
        interval: Duration::new(count(9)?, nanoseconds.min(999_999_999)),
        max_running: count(11)?,
        max_getwork: count(12)?,
        max_retries: count(13)?,
        then,
        runtime: row::text(get(row, 15)?)?.into(),
        min_gb: get(row, 16)?,
    };
    Ok(Known {
        id: SpecId::new(row::id(row, 0)?),
        namespace: NamespaceId::new(row::id(row, 1)?),
        name: name(get(row, 2)?)?,
        version: get(row, 3)?,
        options: Arc::new(options),
    })
}

fn listed(row: &Row) -> Result<Spec> {
    let known = known(row)?;
    let next: Option<i64> = get(row, KNOWN_COLUMNS + 1)?;
    Ok(Spec {
        id: known.id,
        name: known.name,
        definition: row::data(row, KNOWN_COLUMNS)?,
        options: known.options,
        next_continuous: next.map(Timestamp::from_micros),
    })
}

pub(super) fn name(bytes: &[u8]) -> Result<SpecName> {
    SpecName::new(row::text(bytes)?).map_err(|_| unexpected("name of a spec"))
}

/// An interval in whole seconds and nanoseconds.
fn interval(interval: Duration) -> (i64, i32) {
    let nanoseconds = i32::try_from(interval.subsec_nanos()).expect("less than a thousand million");
    (interval.as_secs().cast_signed(), nanoseconds)
}
