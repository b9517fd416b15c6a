//! Locks (semantics.md §9).
//!
//! Calls that might want the same path run one after the other: each first passes the
//! gates of its paths, which are rows of the namespace. Paths that begin with the same
//! label share one of 64 gates; the root, which is above every path, needs gate 0 alone
//! to itself, which every other call shares. Behind its gates a call looks at what is
//! held, decides, and writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use tokio_postgres::types::ToSql;

use super::{
    Store,
    lease::Transaction,
    row::{self, get, unexpected},
    statement::{Repeat, Statement},
};
use crate::{
    backend::{Error, Kind, LockConflict, LockRequest, Result},
    clock::Timestamp,
    model::{LockPath, NamespaceId, WorkerName},
};

/// Gates besides gate 0.
const GATES: u64 = 64;

/// `$1` namespace.
static PASS_SHARED: Statement = Statement::repeatable(
    "pass_shared",
    "select from lock_gate where namespace_id = $1 and gate = 0 for key share",
);

/// `$1` namespace, `$2` gates.
static PASS: Statement = Statement::repeatable(
    "pass",
    "select from lock_gate where namespace_id = $1 and gate = any ($2) order by gate for update",
);

/// `$1` namespace, `$2` now; for each path `$3` path, `$4` end of what is below it; for
/// each of their prefixes `$5` prefix, `$6` its path's number. Who holds what is in the way:
/// the highest that is at or above the path, or the first that is below it.
static IN_THE_WAY: Statement = Statement::repeatable(
    "in_the_way",
    "select p.ord, coalesce(
        (select l.owner from unnest($5::bytea[], $6::bigint[]) f(prefix, ord)
            cross join lateral (
                select owner from lock
                where namespace_id = $1 and path = f.prefix and deadline >= $2 offset 0
            ) l
         where f.ord = p.ord order by length(f.prefix) limit 1),
        (select l.owner from lock l
         where l.namespace_id = $1 and l.path >= p.path and l.path < p.path_end and l.deadline >= $2
         order by l.path limit 1))
     from unnest($3::bytea[], $4::bytea[]) with ordinality p(path, path_end, ord) order by p.ord",
);

/// `$1` namespace, `$2` paths, `$3` owner, `$4` deadline.
static TAKE: Statement = Statement::once(
    "take_locks",
    "insert into lock (namespace_id, path, owner, deadline)
     select $1, p, $3, $4 from unnest($2::bytea[]) p
     on conflict (namespace_id, path) do update set owner = $3, deadline = $4",
);

/// `$1` namespace, `$2` paths.
static GIVE_UP: Statement = Statement::once(
    "give_up_locks",
    "delete from lock where namespace_id = $1 and path = any ($2)",
);

/// `$1` namespace, `$2` paths, `$3` now.
static OWNERS: Statement = Statement::repeatable(
    "lock_owners",
    "select p.ord, l.owner from namespace n
     left join unnest($2::bytea[]) with ordinality p(path, ord) on true
     left join lateral (
        select owner from lock
        where namespace_id = n.id and path = p.path and deadline >= $3 offset 0
     ) l on true
     where n.id = $1 order by p.ord",
);

/// `$1` namespace, `$2` path, `$3` its end.
static DROP_BELOW: Statement = Statement::repeatable(
    "drop_locks",
    "delete from lock where namespace_id = $1 and path >= $2 and path < $3",
);

impl Store {
    /// [`Backend::lock`](crate::backend::Backend::lock).
    pub(super) async fn lock_all(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: &LockRequest<'_>,
    ) -> Result<Result<(), LockConflict>> {
        let gates = &Gates::of(namespace, request.paths);
        self.pool
            .transaction("lock", Repeat::Never, |transaction| {
                Box::pin(async move {
                    gates.pass(transaction).await?;
                    let namespace = gates.namespace;
                    let holders = in_the_way(transaction, namespace, now, request.paths).await?;
                    let mut earlier = BTreeSet::new();
                    for ((index, path), holder) in request.paths.iter().enumerate().zip(holders) {
                        if holder.is_some() || overlaps(&earlier, path) {
                            return Ok(Err(LockConflict {
                                path: index,
                                holder,
                            }));
                        }
                        earlier.insert(path.as_bytes());
                    }
                    let taken: Vec<&[u8]> = earlier.into_iter().collect();
                    take(transaction, namespace, &taken, request).await?;
                    Ok(Ok(()))
                })
            })
            .await
    }

    /// [`Backend::lock_some`](crate::backend::Backend::lock_some).
    pub(super) async fn lock_free(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: &LockRequest<'_>,
    ) -> Result<Vec<bool>> {
        let gates = &Gates::of(namespace, request.paths);
        self.pool
            .transaction("lock_some", Repeat::Never, |transaction| {
                Box::pin(async move {
                    gates.pass(transaction).await?;
                    let namespace = gates.namespace;
                    let holders = in_the_way(transaction, namespace, now, request.paths).await?;
                    let mut taken = BTreeSet::new();
                    let mut answers = Vec::with_capacity(request.paths.len());
                    for (path, holder) in request.paths.iter().zip(holders) {
                        let is_free = holder.is_none() && !overlaps(&taken, path);
                        if is_free {
                            taken.insert(path.as_bytes());
                        }
                        answers.push(is_free);
                    }
                    let taken: Vec<&[u8]> = taken.into_iter().collect();
                    take(transaction, namespace, &taken, request).await?;
                    Ok(answers)
                })
            })
            .await
    }

    /// [`Backend::renew_locks`](crate::backend::Backend::renew_locks).
    pub(super) async fn renew(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: &LockRequest<'_>,
    ) -> Result<Result<(), LockConflict>> {
        let gates = &Gates::of(namespace, request.paths);
        self.pool
            .transaction("renew_locks", Repeat::Safe, |transaction| {
                Box::pin(async move {
                    gates.pass(transaction).await?;
                    let namespace = gates.namespace;
                    let held = owners(transaction, namespace, now, request.paths).await?;
                    if let Err(conflict) = all_held_by(request.owner, held) {
                        return Ok(Err(conflict));
                    }
                    let paths = sorted(request.paths);
                    take(transaction, namespace, &paths, request).await?;
                    Ok(Ok(()))
                })
            })
            .await
    }

    /// [`Backend::unlock`](crate::backend::Backend::unlock).
    pub(super) async fn give_up(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        owner: &WorkerName,
        paths: &[LockPath],
    ) -> Result<Result<(), LockConflict>> {
        let gates = &Gates::of(namespace, paths);
        self.pool
            .transaction("unlock", Repeat::Never, |transaction| {
                Box::pin(async move {
                    gates.pass(transaction).await?;
                    let namespace = gates.namespace;
                    let held = owners(transaction, namespace, now, paths).await?;
                    if let Err(conflict) = all_held_by(owner, held) {
                        return Ok(Err(conflict));
                    }
                    transaction
                        .query(&GIVE_UP, &[&namespace, &sorted(paths)])
                        .await?;
                    Ok(Ok(()))
                })
            })
            .await
    }

    /// [`Backend::lock_owners`](crate::backend::Backend::lock_owners).
    pub(super) async fn holders(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        paths: &[LockPath],
    ) -> Result<Vec<Option<WorkerName>>> {
        let bytes: Vec<&[u8]> = paths.iter().map(LockPath::as_bytes).collect();
        let params: [&(dyn ToSql + Sync); 3] =
            [&row::signed(namespace.get()), &bytes, &now.as_micros()];
        let rows = self.pool.query(&OWNERS, &params).await?;
        read_owners(&rows, paths)
    }

    /// [`Backend::drop_locks`](crate::backend::Backend::drop_locks).
    pub(super) async fn drop_below(&self, namespace: NamespaceId, below: &LockPath) -> Result<()> {
        let (path, end) = (below.as_bytes(), &below.end());
        let gates = &Gates::of(namespace, std::slice::from_ref(below));
        self.pool
            .transaction("drop_locks", Repeat::Safe, |transaction| {
                Box::pin(async move {
                    gates.pass(transaction).await?;
                    let namespace = gates.namespace;
                    transaction
                        .query(&DROP_BELOW, &[&namespace, &path, end])
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}

/// The gates that a call passes.
struct Gates {
    namespace: i64,
    numbers: Vec<i16>,
}

impl Gates {
    fn of(namespace: NamespaceId, paths: &[LockPath]) -> Gates {
        let numbers: BTreeSet<i16> = paths.iter().map(gate).collect();
        Gates {
            namespace: row::signed(namespace.get()),
            numbers: match numbers.contains(&0) {
                true => vec![0],
                false => numbers.into_iter().collect(),
            },
        }
    }

    /// Waits until nobody else can take or give up what overlaps the paths, until the end
    /// of the transaction.
    async fn pass(&self, transaction: &Transaction<'_>) -> Result<()> {
        let shared = if self.numbers == [0] {
            None
        } else {
            Some(transaction.query(&PASS_SHARED, &[&self.namespace]).await?)
        };
        let passed = transaction
            .query(&PASS, &[&self.namespace, &self.numbers])
            .await?;
        let passed = shared.unwrap_or(passed);
        passed.first().map(drop).ok_or(Error::Gone(Kind::Namespace))
    }
}

/// The gate of a path: 0 for the root, another for everything that begins with the same
/// label, whichever daemon asks.
fn gate(path: &LockPath) -> i16 {
    let Some(first) = path.prefixes().nth(1) else {
        return 0;
    };
    // FNV-1a: every daemon, of whatever version, must come to the same gate.
    let hash = first.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    i16::try_from(hash % GATES).map_or(1, |gate| gate + 1)
}

async fn in_the_way(
    transaction: &Transaction<'_>,
    namespace: i64,
    now: Timestamp,
    paths: &[LockPath],
) -> Result<Vec<Option<WorkerName>>> {
    let bytes: Vec<&[u8]> = paths.iter().map(LockPath::as_bytes).collect();
    let ends: Vec<Vec<u8>> = paths.iter().map(LockPath::end).collect();
    let (mut prefixes, mut numbers) = (Vec::new(), Vec::new());
    for (number, path) in (1i64..).zip(paths) {
        for prefix in path.prefixes() {
            prefixes.push(prefix);
            numbers.push(number);
        }
    }
    let now = now.as_micros();
    let params: [&(dyn ToSql + Sync); 6] = [&namespace, &now, &bytes, &ends, &prefixes, &numbers];
    let rows = transaction.query(&IN_THE_WAY, &params).await?;
    if rows.len() != paths.len() {
        return Err(unexpected("answer"));
    }
    let holder = |row| get::<Option<&[u8]>>(row, 1)?.map(row::worker).transpose();
    rows.iter().map(holder).collect()
}

async fn owners(
    transaction: &Transaction<'_>,
    namespace: i64,
    now: Timestamp,
    paths: &[LockPath],
) -> Result<Vec<Option<WorkerName>>> {
    let bytes: Vec<&[u8]> = paths.iter().map(LockPath::as_bytes).collect();
    let rows = transaction
        .query(&OWNERS, &[&namespace, &bytes, &now.as_micros()])
        .await?;
    read_owners(&rows, paths)
}

fn read_owners(
    rows: &[tokio_postgres::Row],
    paths: &[LockPath],
) -> Result<Vec<Option<WorkerName>>> {
    if rows.is_empty() {
        return Err(Error::Gone(Kind::Namespace));
    }
    let owner = |row| get::<Option<&[u8]>>(row, 1)?.map(row::worker).transpose();
    rows.iter().take(paths.len()).map(owner).collect()
}

async fn take(
    transaction: &Transaction<'_>,
    namespace: i64,
    paths: &[&[u8]],
    request: &LockRequest<'_>,
) -> Result<()> {
    let owner = request.owner.as_str().as_bytes();
    let deadline = request.deadline.as_micros();
    transaction
        .query(&TAKE, &[&namespace, &paths, &owner, &deadline])
        .await?;
    Ok(())
}

fn all_held_by(owner: &WorkerName, holders: Vec<Option<WorkerName>>) -> Result<(), LockConflict> {
    for (path, holder) in holders.into_iter().enumerate() {
        if holder.as_ref() != Some(owner) {
            return Err(LockConflict { path, holder });
        }
    }
    Ok(())
}

/// Whether one of these is at, above or below the path.
fn overlaps(taken: &BTreeSet<&[u8]>, path: &LockPath) -> bool {
    let end = path.end();
    let below = (
        Bound::Included(path.as_bytes()),
        Bound::Excluded(end.as_slice()),
    );
    path.prefixes().any(|prefix| taken.contains(prefix))
        || taken.range::<[u8], _>(below).next().is_some()
}

/// Each path once, in order.
fn sorted(paths: &[LockPath]) -> Vec<&[u8]> {
    let all: BTreeMap<&[u8], ()> = paths.iter().map(|path| (path.as_bytes(), ())).collect();
    all.into_keys().collect()
}
