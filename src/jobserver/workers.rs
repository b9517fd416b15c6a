//! Workers: who is there, what they do, and what their children hold.

use std::collections::BTreeMap;

use super::{CallResult, JobServer, done, refused};
use crate::{
    backend::{Backend, Error, Registered, WorkerSelection},
    clock::{Clock, Timestamp},
    model::{Heartbeat, NamespaceId, RawData, Worker, WorkerName, lifetime},
    wire::{ChildUnit, Reply, Value, WorkerHeartbeat},
};

impl<B: Backend, C: Clock> JobServer<B, C> {
    /// `worker_heartbeat(worker_id, mode, expire_seconds, data, parent)`
    pub(super) async fn worker_heartbeat<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        call: WorkerHeartbeat<'_>,
    ) -> CallResult<'a> {
        let (lifetime, warning) = lifetime(call.expire_seconds);
        let beat = Heartbeat {
            worker: WorkerName::new(call.worker)?,
            parent: call.parent.map(WorkerName::new).transpose()?,
            mode: call.mode.into(),
            data: call.data.map(RawData::new),
            lifetime,
        };
        Ok(
            match self
                .cache
                .backend()
                .heartbeat(now, namespace, &beat)
                .await?
            {
                Registered::Yes => Reply::Pair(Value::Bool(true), warning),
                Registered::ParentCycle => refused(format_args!(
                    "worker {} cannot have {} as its parent: it is one of its own ancestors then",
                    call.worker,
                    call.parent.unwrap_or_default()
                )),
            },
        )
    }

    /// `worker_unregister(worker_id)`
    pub(super) async fn worker_unregister<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &str,
    ) -> CallResult<'a> {
        let name = WorkerName::new(worker)?;
        Ok(
            match self
                .cache
                .backend()
                .unregister(now, namespace, &name)
                .await?
            {
                true => done(),
                false => refused(format_args!("no such worker: {worker}")),
            },
        )
    }

    /// `list_worker_modes()`
    pub(super) async fn list_worker_modes<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
    ) -> CallResult<'a> {
        let workers = self.live_workers(now, namespace).await?;
        let modes = workers
            .into_iter()
            .map(|worker| (worker.name, worker.mode))
            .collect();
        Ok(Reply::Pair(Value::Modes(modes), None))
    }

    /// `mode_counts()`
    pub(super) async fn mode_counts<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
    ) -> CallResult<'a> {
        let mut counts = BTreeMap::new();
        for worker in self.live_workers(now, namespace).await? {
            *counts.entry(worker.mode).or_default() += 1;
        }
        Ok(Reply::Pair(
            Value::ModeCounts(counts.into_iter().collect()),
            None,
        ))
    }

    /// `get_worker_info(worker_id)`
    pub(super) async fn get_worker_info<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &str,
    ) -> CallResult<'a> {
        let name = WorkerName::new(worker)?;
        let worker = self.cache.backend().worker(now, namespace, &name).await?;
        let info = worker.map_or(Value::Nil, |worker| {
            Value::WorkerInfo(worker.data, now.since(worker.heard).as_secs_f64())
        });
        Ok(Reply::Pair(info, None))
    }

    /// `worker_stats()`
    pub(super) async fn worker_stats<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
    ) -> CallResult<'a> {
        let workers = self.live_workers(now, namespace).await?;
        let children = workers
            .iter()
            .filter(|worker| worker.parent.is_some())
            .count();
        Ok(Reply::Bare(Value::WorkerStats {
            workers: workers.len() as u64,
            children: children as u64,
        }))
    }

    /// `get_child_work_units(worker_id)`
    pub(super) async fn get_child_work_units<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &str,
    ) -> CallResult<'a> {
        let backend = self.cache.backend();
        let parent = WorkerName::new(worker)?;
        let which = WorkerSelection::ChildrenOf(&parent);
        let children = backend.workers(now, namespace, which).await?;
        let names: Vec<WorkerName> = children.into_iter().map(|child| child.name).collect();
        let mut held: BTreeMap<WorkerName, Vec<ChildUnit>> = names
            .iter()
            .map(|name| (name.clone(), Vec::new()))
            .collect();
        for unit in backend.held_units(now, namespace, &names).await? {
            let listed = ChildUnit {
                spec: unit.spec,
                key: unit.key,
                data: unit.data,
                holder: unit.holder,
            };
            held.entry(unit.worker).or_default().push(listed);
        }
        Ok(Reply::Pair(
            Value::ChildUnits(held.into_iter().collect()),
            None,
        ))
    }

    async fn live_workers(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
    ) -> Result<Vec<Worker>, Error> {
        self.cache
            .backend()
            .workers(now, namespace, WorkerSelection::All)
            .await
    }
}
