//! Locks.

use super::{CallResult, JobServer, bare_count, done, refused};
use crate::{
    backend::{Backend, LockConflict, LockRequest},
    cbor::diagnose,
    clock::{Clock, Timestamp},
    model::{BadName, LockPath, NamespaceId, WorkerName},
    wire::{LockCall, Path, Reply, Value},
};

/// Characters of a path that are shown in a message.
const SHOWN_CHARS: usize = 200;

impl<B: Backend, C: Clock> JobServer<B, C> {
    /// `lock(locker_id, timeout, keys)`
    pub(super) async fn lock<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        call: LockCall<'_>,
    ) -> CallResult<'a> {
        let (owner, items, paths) = parts(&call)?;
        let request = request(now, &call, &owner, &paths);
        let locked = self.cache.backend().lock(now, namespace, request).await?;
        Ok(answer(
            locked,
            &items,
            "it overlaps another path of the same call",
        ))
    }

    /// `locksome(locker_id, timeout, keys)`
    pub(super) async fn lock_some<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        call: LockCall<'a>,
    ) -> CallResult<'a> {
        let (owner, items, paths) = parts(&call)?;
        let request = request(now, &call, &owner, &paths);
        let locked = self
            .cache
            .backend()
            .lock_some(now, namespace, request)
            .await?;
        let taken = items
            .into_iter()
            .zip(locked)
            .map(|(item, locked)| locked.then_some(item));
        Ok(Reply::Pair(Value::Items(taken.collect()), None))
    }

    /// `renew(locker_id, timeout, keys)`
    pub(super) async fn renew_locks<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        call: LockCall<'_>,
    ) -> CallResult<'a> {
        let (owner, items, paths) = parts(&call)?;
        let request = request(now, &call, &owner, &paths);
        let renewed = self
            .cache
            .backend()
            .renew_locks(now, namespace, request)
            .await?;
        Ok(answer(renewed, &items, "nobody holds it"))
    }

    /// `unlock(locker_id, keys)`
    pub(super) async fn unlock<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        owner: &str,
        paths: Vec<Path<'_>>,
    ) -> CallResult<'a> {
        let owner = WorkerName::new(owner)?;
        let (items, paths): (Vec<_>, Vec<_>) =
            paths.into_iter().map(|path| (path.item, path.path)).unzip();
        let unlocked = self
            .cache
            .backend()
            .unlock(now, namespace, &owner, &paths)
            .await?;
        Ok(answer(unlocked, &items, "nobody holds it"))
    }

    /// `readlock(keys)`
    pub(super) async fn read_locks<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        paths: Vec<Path<'_>>,
    ) -> CallResult<'a> {
        let paths: Vec<LockPath> = paths.into_iter().map(|path| path.path).collect();
        let owners = self
            .cache
            .backend()
            .lock_owners(now, namespace, &paths)
            .await?;
        Ok(Reply::Bare(Value::Owners(owners)))
    }

    /// `delete_namespace(prefix)`
    pub(super) async fn drop_locks<'a>(
        &self,
        namespace: NamespaceId,
        prefix: Path<'_>,
    ) -> CallResult<'a> {
        self.cache
            .backend()
            .drop_locks(namespace, &prefix.path)
            .await?;
        Ok(bare_count(0))
    }
}

/// The owner, the paths as they were sent, and the paths.
type Parts<'a> = (WorkerName, Vec<&'a [u8]>, Vec<LockPath>);

fn parts<'a>(call: &LockCall<'a>) -> Result<Parts<'a>, BadName> {
    let owner = WorkerName::new(call.locker)?;
    let (items, paths) = call
        .paths
        .iter()
        .map(|path| (path.item, path.path.clone()))
        .unzip();
    Ok((owner, items, paths))
}

fn request<'a>(
    now: Timestamp,
    call: &LockCall<'_>,
    owner: &'a WorkerName,
    paths: &'a [LockPath],
) -> LockRequest<'a> {
    LockRequest {
        owner,
        deadline: now.after(call.timeout),
        paths,
    }
}

fn answer<'a>(
    result: Result<(), LockConflict>,
    items: &[&[u8]],
    without_holder: &str,
) -> Reply<'a> {
    match result {
        Ok(()) => done(),
        Err(conflict) => {
            let path = items.get(conflict.path).copied().unwrap_or_default();
            let path = diagnose(path, SHOWN_CHARS);
            match conflict.holder {
                Some(holder) => refused(format_args!("lock {path} is held by {holder}")),
                None => refused(format_args!("lock {path} cannot be had: {without_holder}")),
            }
        }
    }
}
