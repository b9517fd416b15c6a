//! The backend's methods, a line for each; what they do is in the files by subject. And
//! which calls share statements: claims from one spec, changes of one spec's units (in a
//! few lanes, so that one commit need not wait for another), additions to one spec.

use std::sync::Arc;

use super::{Postgres, Store, batch::Batch, change::Asked as AskedChange, claim::Asked};
use crate::{
    backend::{
        ActiveAttempt, Backend, Board, Changed, Claim, Claims, Conflict, Hints, LockConflict,
        LockRequest, Registered, Result, Spec, SupervisedAttempt, Swept, UnitChange, UnitPage,
        UnitSelection, WorkerSelection,
    },
    clock::Timestamp,
    limits::{
        CHANGE_BATCH_MAX, CHANGE_LANES, CLAIM_UNITS_MAX, PUT_BATCH_MAX, SHARED_UNITS_MAX,
        SHARED_WITHIN,
    },
    model::{
        Heartbeat, HeldUnit, LockPath, NamespaceId, NamespaceName, NewSpec, NewUnit,
        PriorityChange, SpecChange, SpecId, Unit, UnitCounts, Worker, WorkerName,
    },
};

impl Backend for Postgres {
    async fn namespace(&self, name: &NamespaceName) -> Result<NamespaceId> {
        self.store.find_or_make_namespace(name).await
    }

    async fn find_spec(&self, namespace: NamespaceId, name: &str) -> Result<Option<SpecId>> {
        self.store.find_spec_id(namespace, name).await
    }

    async fn active_attempts(
        &self,
        _now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<ActiveAttempt>>> {
        self.store.active(spec, keys).await
    }

    async fn supervised_attempts(
        &self,
        now: Timestamp,
        _namespace: NamespaceId,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<SupervisedAttempt>>> {
        self.store.supervised(now, spec, keys).await
    }

    async fn put_spec(&self, namespace: NamespaceId, spec: &NewSpec) -> Result<SpecId> {
        self.store.put_one_spec(namespace, spec).await
    }

    async fn spec(&self, spec: SpecId) -> Result<Spec> {
        self.store.one_spec(spec).await
    }

    async fn specs(
        &self,
        namespace: NamespaceId,
        start: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Spec>> {
        self.store.page_of_specs(namespace, start, limit).await
    }

    async fn change_spec(
        &self,
        _now: Timestamp,
        spec: SpecId,
        change: &SpecChange,
    ) -> Result<bool> {
        self.store.change_one_spec(spec, change).await
    }

    async fn delete_spec(&self, spec: SpecId) -> Result<()> {
        self.store.delete_one_spec(spec).await
    }

    async fn delete_specs(&self, namespace: NamespaceId) -> Result<u64> {
        self.store.delete_all_specs(namespace).await
    }

    async fn board(&self, now: Timestamp, namespace: NamespaceId) -> Result<Board> {
        self.store.current_board(now, namespace).await
    }

    async fn put_units(&self, now: Timestamp, spec: SpecId, units: &[NewUnit]) -> Result<()> {
        if units.len() > SHARED_UNITS_MAX {
            return self.store.put_all(spec, &stamped(now, units)).await;
        }
        let _begun = self.store.pool.begin();
        let units = units.to_vec();
        self.additions.call(spec, Addition { now, units }).await
    }

    async fn units(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Unit>>> {
        self.store.show(now, spec, keys).await
    }

    async fn page_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        page: UnitPage<'_>,
    ) -> Result<Vec<Unit>> {
        self.store.page(now, spec, page).await
    }

    async fn count_units(&self, now: Timestamp, spec: SpecId) -> Result<UnitCounts> {
        self.store.count(now, spec).await
    }

    async fn prioritize_units(
        &self,
        _now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
        change: PriorityChange,
    ) -> Result<()> {
        self.store.prioritize(spec, keys, change).await
    }

    async fn delete_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        selection: UnitSelection<'_>,
    ) -> Result<u64> {
        self.store.delete(now, spec, selection).await
    }

    async fn archive(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        specs: Option<&[&str]>,
    ) -> Result<()> {
        self.store.archive_specs(now, namespace, specs).await
    }

    async fn claim(&self, now: Timestamp, claim: &Claim) -> Result<Claims> {
        let _begun = self.store.pool.begin();
        self.claims.call(claim.spec, Asked::new(now, claim)).await
    }

    async fn change_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        changes: Vec<UnitChange>,
    ) -> Result<Vec<Result<Changed, Conflict>>> {
        let _begun = self.store.pool.begin();
        let lane = changes
            .first()
            .map_or(0, |change| change.unit.get() % CHANGE_LANES);
        let call = changes
            .into_iter()
            .map(|change| AskedChange { now, change });
        self.changes.call((spec, lane), call.collect()).await?
    }

    async fn held_units(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        workers: &[WorkerName],
    ) -> Result<Vec<HeldUnit>> {
        self.store.held(now, namespace, workers).await
    }

    async fn heartbeat(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        beat: &Heartbeat,
    ) -> Result<Registered> {
        self.store.beat(now, namespace, beat).await
    }

    async fn unregister(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &WorkerName,
    ) -> Result<bool> {
        self.store.forget_worker(now, namespace, worker).await
    }

    async fn worker(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &WorkerName,
    ) -> Result<Option<Worker>> {
        self.store.find_worker(now, namespace, worker).await
    }

    async fn workers(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        which: WorkerSelection<'_>,
    ) -> Result<Vec<Worker>> {
        self.store.list_workers(now, namespace, which).await
    }

    async fn lock(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> Result<Result<(), LockConflict>> {
        self.store.lock_all(now, namespace, &request).await
    }

    async fn lock_some(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> Result<Vec<bool>> {
        self.store.lock_free(now, namespace, &request).await
    }

    async fn renew_locks(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> Result<Result<(), LockConflict>> {
        self.store.renew(now, namespace, &request).await
    }

    async fn unlock(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        owner: &WorkerName,
        paths: &[LockPath],
    ) -> Result<Result<(), LockConflict>> {
        self.store.give_up(now, namespace, owner, paths).await
    }

    async fn lock_owners(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        paths: &[LockPath],
    ) -> Result<Vec<Option<WorkerName>>> {
        self.store.holders(now, namespace, paths).await
    }

    async fn drop_locks(&self, namespace: NamespaceId, below: &LockPath) -> Result<()> {
        self.store.drop_below(namespace, below).await
    }

    async fn sweep(&self, now: Timestamp, steps_max: usize) -> Result<Swept> {
        self.store.sweep_some(now, steps_max).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.store.earliest_due().await
    }

    fn announce(&self, namespace: NamespaceId) {
        self.exchange.outgoing.give(namespace);
    }

    fn announce_due(&self, at: Timestamp) {
        self.exchange.outgoing.give_due(at);
    }

    fn hints(&self) -> Option<Arc<Hints>> {
        Some(self.exchange.incoming.clone())
    }
}

/// Bytes that weigh as much in a batch as one change or one unit.
const HEAVY_BYTES: usize = 4 << 10;

/// Whether calls of these times may share a statement, which has one time.
fn is_near(one: Timestamp, other: Timestamp) -> bool {
    one.since(other).max(other.since(one)) <= SHARED_WITHIN
}

/// Claims from one spec.
pub(super) struct Claiming(pub(super) Arc<Store>);

impl Batch for Claiming {
    type Lane = SpecId;
    type Call = Asked;
    type Answer = Claims;

    const NAME: &'static str = "claims";
    const WEIGHT_MAX: usize = CLAIM_UNITS_MAX;

    fn weight(&self, call: &Asked) -> usize {
        call.units_max
    }

    fn fits(&self, batch: &[Asked], next: &Asked) -> bool {
        batch.iter().all(|asked| is_near(asked.now, next.now))
    }

    async fn run(&self, spec: &SpecId, calls: &[Asked]) -> Result<Vec<Claims>> {
        let claims = self.0.claim_all(*spec, calls).await;
        self.0.look_behind(*spec);
        claims
    }
}

/// Changes of one spec's units.
pub(super) struct Changing(pub(super) Arc<Store>);

impl Batch for Changing {
    type Lane = (SpecId, u64);
    type Call = Vec<AskedChange>;
    type Answer = Result<Vec<Result<Changed, Conflict>>>;

    const NAME: &'static str = "changes";
    const WEIGHT_MAX: usize = CHANGE_BATCH_MAX;

    fn weight(&self, call: &Vec<AskedChange>) -> usize {
        let bytes = call.iter().flat_map(|asked| &asked.change.data);
        let bytes: usize = bytes.map(|data| data.len()).sum();
        call.len() + bytes / HEAVY_BYTES
    }

    /// No unit twice in one statement.
    fn fits(&self, batch: &[Vec<AskedChange>], next: &Vec<AskedChange>) -> bool {
        let other = |asked: &AskedChange| {
            let differs = |next: &AskedChange| {
                asked.change.unit != next.change.unit && is_near(asked.now, next.now)
            };
            next.iter().all(differs)
        };
        batch.iter().flatten().all(other)
    }

    async fn run(
        &self,
        lane: &(SpecId, u64),
        calls: &[Vec<AskedChange>],
    ) -> Result<Vec<Self::Answer>> {
        let all: Vec<&AskedChange> = calls.iter().flatten().collect();
        let mut made = self.0.change_all(lane.0, &all).await?.into_iter();
        let answers = calls
            .iter()
            .map(|call| made.by_ref().take(call.len()).collect());
        Ok(answers.collect())
    }
}

/// Units that are added by one call.
pub(super) struct Addition {
    now: Timestamp,
    units: Vec<NewUnit>,
}

/// Additions to one spec.
pub(super) struct Adding(pub(super) Arc<Store>);

impl Batch for Adding {
    type Lane = SpecId;
    type Call = Addition;
    type Answer = ();

    const NAME: &'static str = "additions";
    const WEIGHT_MAX: usize = PUT_BATCH_MAX;

    fn weight(&self, call: &Addition) -> usize {
        let bytes: usize = call.units.iter().map(|unit| unit.data.len()).sum();
        call.units.len() + bytes / HEAVY_BYTES
    }

    fn fits(&self, batch: &[Addition], next: &Addition) -> bool {
        batch.iter().all(|addition| is_near(addition.now, next.now))
    }

    async fn run(&self, spec: &SpecId, calls: &[Addition]) -> Result<Vec<()>> {
        let all = calls.iter().flat_map(|call| stamped(call.now, &call.units));
        let all: Vec<(Timestamp, &NewUnit)> = all.collect();
        self.0.put_all(*spec, &all).await?;
        Ok(vec![(); calls.len()])
    }
}

fn stamped(now: Timestamp, units: &[NewUnit]) -> Vec<(Timestamp, &NewUnit)> {
    units.iter().map(|unit| (now, unit)).collect()
}
