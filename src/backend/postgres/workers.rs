//! Workers (semantics.md §8).
//!
//! **Invariant:** the parents of live workers form no cycle. A heartbeat that brings no
//! new edge (no parent, or the one its worker has) cannot close one; any other passes
//! alone, on the lock of the namespace's row.

use tokio_postgres::{Row, types::ToSql};

use super::{
    Store,
    pool::Params,
    row::{self, get},
    statement::Statement,
};
use crate::{
    backend::{Error, Kind, Registered, Result, WorkerSelection},
    clock::Timestamp,
    limits::WORKER_ANCESTORS_MAX,
    model::{Heartbeat, NamespaceId, RawData, Worker, WorkerName},
};

/// `$1` namespace, `$2` name, `$3` parent, `$4` mode, `$5` data, `$6` now, `$7` end.
/// Nothing if the parent is news.
static REFRESH: Statement = Statement::repeatable(
    "refresh_worker",
    "insert into worker (namespace_id, name, parent, mode, data, heard, expires)
     select $1, $2, $3, $4, $5, $6::bigint, $7 where $3::bytea is null or exists (
        select from worker where namespace_id = $1 and name = $2 and parent = $3 and expires >= $6::bigint
     )
     on conflict (namespace_id, name) do update
     set parent = $3, mode = $4, data = $5, heard = $6::bigint, expires = $7
     where $3::bytea is null or worker.parent = $3 and worker.expires >= $6::bigint
     returning 1",
);

static LOCK_NAMESPACE: Statement = Statement::repeatable(
    "lock_namespace",
    "select from namespace where id = $1 for no key update",
);

/// As [`REFRESH`], whatever the parent, and `$8` most ancestors. Nothing if the worker
/// would be an ancestor of itself. The caller holds the namespace.
static REGISTER: Statement = Statement::repeatable(
    "register_worker",
    "with recursive ancestor (name, depth) as (
        select $3::bytea, 1
        union all
        select w.parent, a.depth + 1 from ancestor a cross join lateral (
            select parent from worker where namespace_id = $1 and name = a.name and expires >= $6::bigint
            offset 0
        ) w
        where w.parent is not null and a.name <> $2 and a.depth <= $8::bigint
     )
     insert into worker (namespace_id, name, parent, mode, data, heard, expires)
     select $1, $2, $3, $4, $5, $6::bigint, $7
     where not exists (select from ancestor where name = $2 or depth > $8::bigint)
     on conflict (namespace_id, name) do update
     set parent = $3, mode = $4, data = $5, heard = $6::bigint, expires = $7
     returning 1",
);

/// `$1` namespace, `$2` name, `$3` now.
static UNREGISTER: Statement = Statement::once(
    "unregister_worker",
    "with gone as (
        delete from worker where namespace_id = $1 and name = $2 returning expires
     )
     select coalesce((select expires >= $3 from gone), false) from namespace where id = $1",
);

macro_rules! worker_columns {
    () => {
        "w.name, w.parent, w.mode, w.data, w.heard, w.expires"
    };
}

/// `$1` namespace, `$2` name, `$3` now.
static WORKER: Statement = Statement::repeatable(
    "worker",
    concat!(
        "select ",
        worker_columns!(),
        " from namespace n left join worker w
            on w.namespace_id = n.id and w.name = $2 and w.expires >= $3
         where n.id = $1"
    ),
);

/// `$1` namespace, `$2` now.
static WORKERS: Statement = Statement::repeatable(
    "workers",
    concat!(
        "select ",
        worker_columns!(),
        " from namespace n left join worker w on w.namespace_id = n.id and w.expires >= $2
         where n.id = $1 order by w.name"
    ),
);

/// `$1` namespace, `$2` now, `$3` parent.
static CHILDREN: Statement = Statement::repeatable(
    "children",
    concat!(
        "select ",
        worker_columns!(),
        " from namespace n left join worker w
            on w.namespace_id = n.id and w.parent = $3 and w.expires >= $2
         where n.id = $1 order by w.name"
    ),
);

impl Store {
    /// [`Backend::heartbeat`](crate::backend::Backend::heartbeat).
    pub(super) async fn beat(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        beat: &Heartbeat,
    ) -> Result<Registered> {
        let namespace = row::signed(namespace.get());
        let name = beat.worker.as_str().as_bytes();
        let parent = beat
            .parent
            .as_ref()
            .map(|parent| parent.as_str().as_bytes());
        let mode = beat.mode.as_bytes();
        let data = beat.data.as_deref();
        let expires = now.after(beat.lifetime).as_micros();
        let now = now.as_micros();
        let values: &[&(dyn ToSql + Sync); 7] =
            &[&namespace, &name, &parent, &mode, &data, &now, &expires];
        if !self.pool.query(&REFRESH, values).await?.is_empty() {
            return Ok(Registered::Yes);
        }
        let ancestors_max = row::bounded(WORKER_ANCESTORS_MAX);
        let registering = [&values[..], &[&ancestors_max]].concat();
        let steps: [(&'static Statement, Params<'_>); 2] =
            [(&LOCK_NAMESPACE, &[&namespace]), (&REGISTER, &registering)];
        let answers = self.pool.pipeline("register_worker", &steps).await?;
        match answers.last() {
            Some(rows) if rows.is_empty() => Ok(Registered::ParentCycle),
            _ => Ok(Registered::Yes),
        }
    }

    /// [`Backend::unregister`](crate::backend::Backend::unregister).
    pub(super) async fn forget_worker(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &WorkerName,
    ) -> Result<bool> {
        let name = worker.as_str().as_bytes();
        let params: [&(dyn ToSql + Sync); 3] =
            [&row::signed(namespace.get()), &name, &now.as_micros()];
        let rows = self.pool.query(&UNREGISTER, &params).await?;
        get(rows.first().ok_or(Error::Gone(Kind::Namespace))?, 0)
    }

    /// [`Backend::worker`](crate::backend::Backend::worker).
    pub(super) async fn find_worker(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &WorkerName,
    ) -> Result<Option<Worker>> {
        let name = worker.as_str().as_bytes();
        let params: [&(dyn ToSql + Sync); 3] =
            [&row::signed(namespace.get()), &name, &now.as_micros()];
        let rows = self.pool.query(&WORKER, &params).await?;
        Ok(listed(&rows)?.into_iter().next())
    }

    /// [`Backend::workers`](crate::backend::Backend::workers).
    pub(super) async fn list_workers(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        which: WorkerSelection<'_>,
    ) -> Result<Vec<Worker>> {
        let (namespace, now) = (row::signed(namespace.get()), now.as_micros());
        let rows = match which {
            WorkerSelection::All => self.pool.query(&WORKERS, &[&namespace, &now]).await?,
            WorkerSelection::ChildrenOf(parent) => {
                let parent = parent.as_str().as_bytes();
                self.pool
                    .query(&CHILDREN, &[&namespace, &now, &parent])
                    .await?
            }
        };
        listed(&rows)
    }
}

fn listed(rows: &[Row]) -> Result<Vec<Worker>> {
    if rows.is_empty() {
        return Err(Error::Gone(Kind::Namespace));
    }
    let mut workers = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(name) = get::<Option<&[u8]>>(row, 0)? else {
            continue; // the namespace has none
        };
        workers.push(Worker {
            name: row::worker(name)?,
            parent: get::<Option<&[u8]>>(row, 1)?.map(row::worker).transpose()?,
            mode: row::text(get(row, 2)?)?.into(),
            data: get::<Option<&[u8]>>(row, 3)?.map(RawData::new),
            heard: Timestamp::from_micros(get(row, 4)?),
            expires: Timestamp::from_micros(get(row, 5)?),
        });
    }
    Ok(workers)
}
