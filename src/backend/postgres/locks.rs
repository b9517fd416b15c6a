//! Locks (semantics.md §9).
//!
//! Each call is one round trip: `begin`, the gates, one statement that looks, decides and
//! writes, `commit`. Calls that might want the same path run one after the other: each
//! first passes the gates of its paths, which are rows of the namespace. Paths that begin
//! with the same label share one of 64 gates; the root, which is above every path, needs
//! gate 0 alone to itself, which every other call shares. The statement behind the gates
//! has a snapshot of its own, so it sees what whoever held them before has written.
//!
//! # Invariants
//!
//! * No two locks that overlap are alive at any time that a call may come with. Who takes
//!   a path removes the ended locks above and below it, or a call that looked at its clock
//!   a little earlier could still find one of them alive and renew it.
//! * A call that is repeated because its answer was lost does nothing twice, and is
//!   answered as if it had not been: see [`Receipts`](super::receipt::Receipts). Renewing
//!   needs none: it leaves the same deadline. Dropping what anybody holds is not repeated,
//!   since it could take a lock that was free to be had only after the first time.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use tokio_postgres::{Row, types::ToSql};

use super::{
    Store,
    pool::Params,
    row::{self, get, unexpected},
    statement::Statement,
};
use crate::{
    backend::{Error, Kind, LockConflict, LockRequest, Result},
    clock::Timestamp,
    model::{LockPath, NamespaceId, WorkerName},
};

/// Gates besides gate 0.
const GATES: u64 = 64;

/// `$1` namespace, `$2` gates: 0 alone, or others. Waits until nobody else can take or give
/// up what overlaps the paths of these gates, until the end of the transaction.
static PASS: Statement = Statement::repeatable(
    "pass_gates",
    "with root as materialized (
        select from lock_gate
        where namespace_id = $1 and gate = 0 and 0 <> all ($2::smallint[]) for key share
     )
     select from lock_gate
     where namespace_id = $1 and gate = any ($2::smallint[]) and (select count(*) from root) >= 0
     order by gate for update",
);

/// `$1` namespace, `$2` now; for each path `$3` path, `$4` end of what is below it; for
/// each that is above one of them `$5` path, `$6` the number of the one below; `$7` how many
/// must be free for any to be taken; `$8` numbers of paths, `$9` of earlier ones above them,
/// which go first; `$10` owner, `$11` deadline; `$12` to `$14` receipt. Who holds what is in
/// the way (the highest that is above the path, or the first that is at or below it) and
/// whether the path was taken; or what the receipt says.
static TAKE: Statement = Statement::repeatable("take_locks", include_str!("sql/take_locks.sql"));

/// Who holds each of the paths `$3` at `$2` in namespace `$1`, as `held`; and, as `may`, a
/// row if all of them are `$4`'s.
macro_rules! held {
    ($unless:literal) => {
        concat!(
            "held as materialized (
                select p.ord, l.owner from unnest($3::bytea[]) with ordinality p(path, ord)
                left join lateral (
                    select owner from lock
                    where namespace_id = $1 and path = p.path and deadline >= $2 offset 0
                ) l on true ",
            $unless,
            "), may as materialized (
                select from held having bool_and(owner is not distinct from $4)
            )"
        )
    };
}

/// `$1` namespace, `$2` now, `$3` paths, `$4` owner, `$5` deadline.
static RENEW: Statement = Statement::repeatable(
    "renew_locks",
    concat!(
        "with ",
        held!(""),
        ", renewed as (
            update lock set deadline = $5
            where namespace_id = $1 and path = any ($3::bytea[]) and exists (select from may)
         )
         select h.ord, h.owner, false from namespace n left join held h on true
         where n.id = $1 order by h.ord"
    ),
);

/// `$1` namespace, `$2` now, `$3` paths, `$4` owner, `$5` to `$7` receipt.
static GIVE_UP: Statement = Statement::repeatable(
    "give_up_locks",
    concat!(
        "with found as materialized (
            select from receipt where daemon = $5 and call = $6
         ), ",
        held!("where not exists (select from found)"),
        ", gone as (
            delete from lock
            where namespace_id = $1 and path = any ($3::bytea[]) and exists (select from may)
         ), receipted as (
            insert into receipt (daemon, call, until, taken) select $5, $6, $7, '{}' from may
         )
         select h.ord, h.owner, exists (select from found) from namespace n left join held h on true
         where n.id = $1 order by h.ord"
    ),
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
static DROP_BELOW: Statement = Statement::once(
    "drop_locks",
    "with gone as (
        delete from lock where namespace_id = $1 and path >= $2 and path < $3
     )
     select from namespace where id = $1",
);

impl Store {
    /// [`Backend::lock`](crate::backend::Backend::lock).
    pub(super) async fn lock_all(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: &LockRequest<'_>,
    ) -> Result<Result<(), LockConflict>> {
        // Those after the first that overlaps an earlier one do not matter: nothing is taken.
        let clash = first_overlap(request.paths);
        let paths = request.paths.iter();
        let wanted = Wanted {
            paths: paths.take(clash.map_or(usize::MAX, |at| at + 1)).collect(),
            after: Vec::new(),
        };
        let needed = match clash {
            None => wanted.paths.len(),
            Some(_) => usize::MAX,
        };
        let seen = self.take(now, namespace, request, &wanted, needed).await?;
        let Seen::Now(seen) = seen else {
            return Ok(Ok(()));
        };
        for (path, (holder, _)) in seen.into_iter().enumerate() {
            if holder.is_some() || clash == Some(path) {
                return Ok(Err(LockConflict { path, holder }));
            }
        }
        Ok(Ok(()))
    }

    /// [`Backend::lock_some`](crate::backend::Backend::lock_some).
    pub(super) async fn lock_free(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: &LockRequest<'_>,
    ) -> Result<Vec<bool>> {
        let (wanted, places) = Wanted::in_order(request.paths);
        let mut answers = vec![false; request.paths.len()];
        let taken: Vec<usize> = match self.take(now, namespace, request, &wanted, 0).await? {
            Seen::Before(taken) => taken,
            Seen::Now(seen) => (0..)
                .zip(seen)
                .filter(|(_, (_, is_taken))| *is_taken)
                .map(|(place, _)| place)
                .collect(),
        };
        for place in taken {
            let answer = places.get(place).and_then(|&at| answers.get_mut(at));
            *answer.ok_or_else(|| unexpected("answer"))? = true;
        }
        Ok(answers)
    }

    /// Takes what is wanted and free, if at least `needed` paths are.
    async fn take(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: &LockRequest<'_>,
        wanted: &Wanted<'_>,
        needed: usize,
    ) -> Result<Seen> {
        let receipt = self.receipts.next(now);
        let (namespace, gates) = (
            row::signed(namespace.get()),
            gates(wanted.paths.iter().copied()),
        );
        let bytes: Vec<&[u8]> = wanted.paths.iter().map(|path| path.as_bytes()).collect();
        let ends: Vec<Vec<u8>> = wanted.paths.iter().map(|path| path.end()).collect();
        let (above, numbers) = wanted.above();
        let (later, earlier): (Vec<i64>, Vec<i64>) = wanted.after.iter().copied().unzip();
        let params: Params<'_> = &[
            &namespace,
            &now.as_micros(),
            &bytes,
            &ends,
            &above,
            &numbers,
            &row::bounded(needed),
            &later,
            &earlier,
            &request.owner.as_str().as_bytes(),
            &request.deadline.as_micros(),
            &receipt.daemon,
            &receipt.call,
            &receipt.until,
        ];
        let steps: [(&'static Statement, Params<'_>); 2] =
            [(&PASS, &[&namespace, &gates]), (&TAKE, params)];
        let rows = self.pool.pipeline("lock", &steps).await?.pop();
        let rows = rows.unwrap_or_default();
        let first = rows.first().ok_or(Error::Gone(Kind::Namespace))?;
        if let Some(taken) = get::<Option<Vec<i64>>>(first, 3)? {
            let place = |number: i64| usize::try_from(number - 1).map_err(|_| unexpected("answer"));
            let taken: Result<_> = taken.into_iter().map(place).collect();
            return Ok(Seen::Before(taken?));
        }
        let read = |row| Ok((holder(row)?, get(row, 2)?));
        let seen: Result<Vec<_>> = rows.iter().take(wanted.paths.len()).map(read).collect();
        match seen? {
            seen if seen.len() == wanted.paths.len() => Ok(Seen::Now(seen)),
            _ => Err(unexpected("answer")),
        }
    }

    /// [`Backend::renew_locks`](crate::backend::Backend::renew_locks).
    pub(super) async fn renew(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: &LockRequest<'_>,
    ) -> Result<Result<(), LockConflict>> {
        let deadline = request.deadline.as_micros();
        let change = (&RENEW, &[&deadline as &(dyn ToSql + Sync)] as Params<'_>);
        self.if_held(now, namespace, request.owner, request.paths, change)
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
        let receipt = self.receipts.next(now);
        let more: Params<'_> = &[&receipt.daemon, &receipt.call, &receipt.until];
        self.if_held(now, namespace, owner, paths, (&GIVE_UP, more))
            .await
    }

    /// Runs a statement that changes all of these locks if they are the owner's, or else
    /// says which is the first that is not.
    async fn if_held(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        owner: &WorkerName,
        paths: &[LockPath],
        (statement, more): (&'static Statement, Params<'_>),
    ) -> Result<Result<(), LockConflict>> {
        let (namespace, gates) = (row::signed(namespace.get()), gates(paths));
        let bytes: Vec<&[u8]> = paths.iter().map(LockPath::as_bytes).collect();
        let (now, name) = (now.as_micros(), owner.as_str().as_bytes());
        let first: Params<'_> = &[&namespace, &now, &bytes, &name];
        let params = [first, more].concat();
        let steps: [(&'static Statement, Params<'_>); 2] =
            [(&PASS, &[&namespace, &gates]), (statement, &params)];
        let rows = self.pool.pipeline(statement.name, &steps).await?.pop();
        let rows = rows.unwrap_or_default();
        let first = rows.first().ok_or(Error::Gone(Kind::Namespace))?;
        if get(first, 2)? {
            return Ok(Ok(())); // it was done before, and the answer lost
        }
        for (path, row) in rows.iter().take(paths.len()).enumerate() {
            let holder = holder(row)?;
            if holder.as_ref() != Some(owner) {
                return Ok(Err(LockConflict { path, holder }));
            }
        }
        Ok(Ok(()))
    }

    /// [`Backend::lock_owners`](crate::backend::Backend::lock_owners).
    pub(super) async fn holders(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        paths: &[LockPath],
    ) -> Result<Vec<Option<WorkerName>>> {
        let bytes: Vec<&[u8]> = paths.iter().map(LockPath::as_bytes).collect();
        let params: Params<'_> = &[&row::signed(namespace.get()), &bytes, &now.as_micros()];
        let rows = self.pool.query(&OWNERS, params).await?;
        if rows.is_empty() {
            return Err(Error::Gone(Kind::Namespace));
        }
        rows.iter().take(paths.len()).map(holder).collect()
    }

    /// [`Backend::drop_locks`](crate::backend::Backend::drop_locks).
    pub(super) async fn drop_below(&self, namespace: NamespaceId, below: &LockPath) -> Result<()> {
        let (namespace, gates) = (row::signed(namespace.get()), gates([below]));
        let (path, end) = (below.as_bytes(), below.end());
        let steps: [(&'static Statement, Params<'_>); 2] = [
            (&PASS, &[&namespace, &gates]),
            (&DROP_BELOW, &[&namespace, &path, &end]),
        ];
        let rows = self.pool.pipeline("drop_locks", &steps).await?.pop();
        let rows = rows.unwrap_or_default();
        rows.first().map(drop).ok_or(Error::Gone(Kind::Namespace))
    }
}

/// What came of an attempt to take locks.
enum Seen {
    /// For each path, who holds what is in the way, and whether it was taken.
    Now(Vec<(Option<WorkerName>, bool)>),
    /// The call was carried out before, and took the paths at these places.
    Before(Vec<usize>),
}

/// Paths that are to be taken.
struct Wanted<'a> {
    paths: Vec<&'a LockPath>,
    /// Numbers (from 1) of paths, and of earlier ones above them. Such a path can be had
    /// only if the earlier one cannot.
    after: Vec<(i64, i64)>,
}

impl<'a> Wanted<'a> {
    /// Of paths that are to be taken in order, those that can be had at all, and their
    /// places.
    ///
    /// A path with an earlier one at or below it cannot: either that one was taken, or
    /// what is in its way is in the way of this one too.
    fn in_order(all: &'a [LockPath]) -> (Wanted<'a>, Vec<usize>) {
        let (mut paths, mut after, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut tried: BTreeMap<&[u8], i64> = BTreeMap::new();
        let mut seen: BTreeSet<&[u8]> = BTreeSet::new();
        for (place, path) in all.iter().enumerate() {
            let is_hopeless = has_below(&seen, path);
            seen.insert(path.as_bytes());
            if is_hopeless {
                continue;
            }
            paths.push(path);
            places.push(place);
            let number = row::bounded(paths.len());
            let above = path.prefixes().filter_map(|prefix| tried.get(prefix));
            after.extend(above.map(|&above| (number, above)));
            tried.insert(path.as_bytes(), number);
        }
        (Wanted { paths, after }, places)
    }

    /// Every path above one of these, and the number of that one.
    fn above(&self) -> (Vec<&'a [u8]>, Vec<i64>) {
        let (mut above, mut numbers) = (Vec::new(), Vec::new());
        for (number, path) in (1..).zip(&self.paths) {
            for prefix in path.prefixes().filter(|&prefix| prefix != path.as_bytes()) {
                above.push(prefix);
                numbers.push(number);
            }
        }
        (above, numbers)
    }
}

/// The gates that a call for these paths passes. One for no path at all.
fn gates<'a>(paths: impl IntoIterator<Item = &'a LockPath>) -> Vec<i16> {
    let numbers: BTreeSet<i16> = paths.into_iter().map(gate).collect();
    match numbers.contains(&0) {
        true => vec![0],
        false => numbers.into_iter().collect(),
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

fn holder(row: &Row) -> Result<Option<WorkerName>> {
    get::<Option<&[u8]>>(row, 1)?.map(row::worker).transpose()
}

/// The first path that overlaps an earlier one.
fn first_overlap(paths: &[LockPath]) -> Option<usize> {
    let mut earlier = BTreeSet::new();
    paths.iter().position(|path| {
        let is_below = path.prefixes().any(|prefix| earlier.contains(prefix));
        let overlaps = is_below || has_below(&earlier, path);
        earlier.insert(path.as_bytes());
        overlaps
    })
}

/// Whether one of these is at or below the path.
fn has_below(some: &BTreeSet<&[u8]>, path: &LockPath) -> bool {
    let end = path.end();
    let below = (
        Bound::Included(path.as_bytes()),
        Bound::Excluded(end.as_slice()),
    );
    some.range::<[u8], _>(below).next().is_some()
}
