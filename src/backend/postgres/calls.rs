//! The backend's methods, a line for each; what they do is in the files by subject.

use std::sync::Arc;

use super::{Postgres, claim::Asked};
use crate::{
    backend::{
        ActiveAttempt, Backend, Board, Changed, Claim, Claims, Conflict, Hints, LockConflict,
        LockRequest, Registered, Result, Spec, Swept, UnitChange, UnitPage, UnitSelection,
        WorkerSelection,
    },
    clock::Timestamp,
    model::{
        Heartbeat, HeldUnit, LockPath, NamespaceId, NamespaceName, NewSpec, NewUnit,
        PriorityChange, SpecChange, SpecId, Unit, UnitCounts, UnitId, Worker, WorkerName,
    },
};

impl Backend for Postgres {
    async fn namespace(&self, name: &NamespaceName) -> Result<NamespaceId> {
        self.find_or_make_namespace(name).await
    }

    async fn find_spec(&self, namespace: NamespaceId, name: &str) -> Result<Option<SpecId>> {
        self.find_spec_id(namespace, name).await
    }

    async fn active_attempts(
        &self,
        _now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<ActiveAttempt>>> {
        self.active(spec, keys).await
    }

    async fn put_spec(&self, namespace: NamespaceId, spec: &NewSpec) -> Result<SpecId> {
        self.put_one_spec(namespace, spec).await
    }

    async fn spec(&self, spec: SpecId) -> Result<Spec> {
        self.one_spec(spec).await
    }

    async fn specs(
        &self,
        namespace: NamespaceId,
        start: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Spec>> {
        self.page_of_specs(namespace, start, limit).await
    }

    async fn change_spec(
        &self,
        _now: Timestamp,
        spec: SpecId,
        change: &SpecChange,
    ) -> Result<bool> {
        self.change_one_spec(spec, change).await
    }

    async fn delete_spec(&self, spec: SpecId) -> Result<()> {
        self.delete_one_spec(spec).await
    }

    async fn delete_specs(&self, namespace: NamespaceId) -> Result<u64> {
        self.delete_all_specs(namespace).await
    }

    async fn board(&self, now: Timestamp, namespace: NamespaceId) -> Result<Board> {
        self.current_board(now, namespace).await
    }

    async fn put_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        units: &[NewUnit],
    ) -> Result<Vec<UnitId>> {
        self.put_all(now, spec, units).await
    }

    async fn units(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Unit>>> {
        self.show(now, spec, keys).await
    }

    async fn page_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        page: UnitPage<'_>,
    ) -> Result<Vec<Unit>> {
        self.page(now, spec, page).await
    }

    async fn count_units(&self, now: Timestamp, spec: SpecId) -> Result<UnitCounts> {
        self.count(now, spec).await
    }

    async fn prioritize_units(
        &self,
        _now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
        change: PriorityChange,
    ) -> Result<()> {
        self.prioritize(spec, keys, change).await
    }

    async fn delete_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        selection: UnitSelection<'_>,
    ) -> Result<u64> {
        self.delete(now, spec, selection).await
    }

    async fn archive(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        specs: Option<&[&str]>,
    ) -> Result<()> {
        self.archive_specs(now, namespace, specs).await
    }

    async fn claim(&self, now: Timestamp, claim: &Claim) -> Result<Claims> {
        let asked = [Asked::new(now, claim)];
        let mut claims = self.claim_all(claim.spec, &asked).await?;
        Ok(claims.pop().unwrap_or_default())
    }

    async fn change_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        changes: Vec<UnitChange>,
    ) -> Result<Vec<Result<Changed, Conflict>>> {
        self.change_all(now, spec, &changes).await
    }

    async fn held_units(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        workers: &[WorkerName],
    ) -> Result<Vec<HeldUnit>> {
        self.held(now, namespace, workers).await
    }

    async fn heartbeat(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        beat: &Heartbeat,
    ) -> Result<Registered> {
        self.beat(now, namespace, beat).await
    }

    async fn unregister(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &WorkerName,
    ) -> Result<bool> {
        self.forget_worker(now, namespace, worker).await
    }

    async fn worker(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &WorkerName,
    ) -> Result<Option<Worker>> {
        self.find_worker(now, namespace, worker).await
    }

    async fn workers(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        which: WorkerSelection<'_>,
    ) -> Result<Vec<Worker>> {
        self.list_workers(now, namespace, which).await
    }

    async fn lock(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> Result<Result<(), LockConflict>> {
        self.lock_all(now, namespace, &request).await
    }

    async fn lock_some(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> Result<Vec<bool>> {
        self.lock_free(now, namespace, &request).await
    }

    async fn renew_locks(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> Result<Result<(), LockConflict>> {
        self.renew(now, namespace, &request).await
    }

    async fn unlock(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        owner: &WorkerName,
        paths: &[LockPath],
    ) -> Result<Result<(), LockConflict>> {
        self.give_up(now, namespace, owner, paths).await
    }

    async fn lock_owners(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        paths: &[LockPath],
    ) -> Result<Vec<Option<WorkerName>>> {
        self.holders(now, namespace, paths).await
    }

    async fn drop_locks(&self, namespace: NamespaceId, below: &LockPath) -> Result<()> {
        self.drop_below(namespace, below).await
    }

    async fn sweep(&self, now: Timestamp, steps_max: usize) -> Result<Swept> {
        self.sweep_some(now, steps_max).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.earliest_due().await
    }

    fn announce(&self, namespace: NamespaceId) {
        self.exchange.outgoing.give(namespace);
    }

    fn hints(&self) -> Option<Arc<Hints>> {
        Some(self.exchange.incoming.clone())
    }
}
