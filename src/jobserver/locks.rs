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
        let asked = Asked::new(now, call)?;
        let locked = self
            .cache
            .backend()
            .lock(now, namespace, asked.request())
            .await?;
        Ok(answer(
            locked,
            &asked.items,
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
        let asked = Asked::new(now, call)?;
        let locked = self
            .cache
            .backend()
            .lock_some(now, namespace, asked.request())
            .await?;
        let taken = asked
            .items
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
        let asked = Asked::new(now, call)?;
        let renewed = self
            .cache
            .backend()
            .renew_locks(now, namespace, asked.request())
            .await?;
        Ok(answer(renewed, &asked.items, "nobody holds it"))
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
        let (items, paths) = apart(paths);
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

/// What a call for locks asks for, taken apart.
struct Asked<'a> {
    owner: WorkerName,
    deadline: Timestamp,
    /// The paths as they were sent.
    items: Vec<&'a [u8]>,
    paths: Vec<LockPath>,
}

impl<'a> Asked<'a> {
    fn new(now: Timestamp, call: LockCall<'a>) -> Result<Asked<'a>, BadName> {
        let (items, paths) = apart(call.paths);
        Ok(Asked {
            owner: WorkerName::new(call.locker)?,
            deadline: now.after(call.timeout),
            items,
            paths,
        })
    }

    fn request(&self) -> LockRequest<'_> {
        LockRequest {
            owner: &self.owner,
            deadline: self.deadline,
            paths: &self.paths,
        }
    }
}

/// The paths as they were sent, and the paths.
fn apart(paths: Vec<Path<'_>>) -> (Vec<&[u8]>, Vec<LockPath>) {
    let parts = paths.into_iter().map(|path| (path.item, path.path));
    parts.unzip()
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
