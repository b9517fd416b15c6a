//! Everything in this process's memory; nothing survives it.
//!
//! One `Shard` per work spec, each behind its own lock, so specs do not wait for
//! each other. A lock is held for a bounded number of tree operations (for adding
//! units, as many as one request has) and never across an await; calls that visit
//! more units give the lock back in between.
//!
//! # Order of locks
//!
//! A lock may be waited for while holding only locks of lines above its own:
//!
//! 1. specs, several in the order of their ids;
//! 2. the options of a spec.
//!
//! The directory (namespaces, specs by name, specs by id, in this order), workers and
//! locks are never held while waiting for a spec, so a spec that is busy holds up
//! nobody but those who want that spec.
//!
//! A panic under a lock means that an invariant broke halfway through a change.
//! Nothing can be trusted after that, so the process ends (`directory::lock`).

mod arena;
mod change;
mod claim;
mod directory;
mod finish;
mod index;
mod keys;
mod list;
mod locks;
mod put;
mod recent;
mod remove;
mod shard;
mod snapshot;
mod steps;
mod unit;
mod units;
mod upkeep;
mod workers;

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, btree_map},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use directory::{Entry, Meta, Namespace, Namespaces, lock};
use shard::Shard;
use snapshot::Snapshot;
pub use unit::{Ended, PastAttempt};

use crate::{
    backend::{
        ActiveAttempt, Backend, Board, Changed, Claim, Claims, Conflict, Error, Kind, LockConflict,
        LockRequest, Registered, Result, Retention, Spec, Swept, UnitChange, UnitPage,
        UnitSelection, WorkerSelection,
    },
    clock::Timestamp,
    limits::CHANGE_BATCH_MAX,
    model::{
        Heartbeat, HeldUnit, LockPath, NamespaceId, NamespaceName, NewSpec, NewUnit,
        PriorityChange, SpecChange, SpecId, Unit, UnitCounts, Worker, WorkerName,
    },
};

/// A backend that keeps everything in memory.
#[derive(Debug)]
pub struct Memory {
    namespaces: Snapshot<Namespaces>,
    specs: Snapshot<HashMap<SpecId, Arc<Entry>>>,
    retention: Retention,
    spec_ids: AtomicU64,
    attempt_ids: Arc<AtomicU64>,
}

impl Memory {
    /// A backend without anything in it.
    #[must_use]
    pub fn new(retention: Retention) -> Memory {
        Memory {
            namespaces: Snapshot::default(),
            specs: Snapshot::default(),
            retention,
            spec_ids: AtomicU64::new(1),
            attempt_ids: Arc::default(),
        }
    }

    /// The attempts of a unit that are over, as far as they are remembered, oldest
    /// first. `None` if there is no unit of this key.
    ///
    /// # Errors
    /// [`Error::Gone`] if the spec was deleted.
    pub fn past_attempts(&self, spec: SpecId, key: &[u8]) -> Result<Option<Vec<PastAttempt>>> {
        Ok(self.entry(spec)?.lock()?.history(key))
    }

    fn entry(&self, spec: SpecId) -> Result<Arc<Entry>> {
        self.with_entry(spec, |entry| Ok(entry.clone()))
    }

    /// Runs `call` with a spec, without counting that it is used: on the way of every
    /// request of every thread the count would be written twice.
    fn with_entry<T>(
        &self,
        spec: SpecId,
        call: impl FnOnce(&Arc<Entry>) -> Result<T>,
    ) -> Result<T> {
        let specs = self.specs.get();
        call(specs.get(&spec).ok_or(Error::Gone(Kind::Spec))?)
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.specs.get().values().cloned().collect()
    }

    fn namespace_by_id(&self, id: NamespaceId) -> Result<Arc<Namespace>> {
        self.namespaces.get().get(id)
    }

    /// Whether completed units may ever be archived.
    fn archives(&self) -> bool {
        self.retention.completed_count.is_some() || self.retention.completed_age.is_some()
    }

    /// Ends a spec that was taken out of the directory.
    fn bury(&self, entry: &Entry) {
        self.specs.change(|specs| specs.remove(&entry.id));
        let units = entry.lock().map(|mut shard| {
            shard.deleted = true;
            shard.take_all()
        });
        if let Ok(units) = units {
            remove::free(units);
        }
    }
}

impl Backend for Memory {
    async fn namespace(&self, name: &NamespaceName) -> Result<NamespaceId> {
        let known = self.namespaces.get().find(name);
        let make = || self.namespaces.change(|all| all.find_or_make(name));
        Ok(known.unwrap_or_else(make))
    }

    async fn find_spec(&self, namespace: NamespaceId, name: &str) -> Result<Option<SpecId>> {
        let entry = self.namespace_by_id(namespace)?.find(name);
        Ok(entry.map(|entry| entry.id))
    }

    async fn active_attempts(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<ActiveAttempt>>> {
        self.each_key(now, spec, keys, |shard, key| shard.active(key))
            .await
    }

    async fn put_spec(&self, namespace: NamespaceId, spec: &NewSpec) -> Result<SpecId> {
        let meta = Meta {
            definition: spec.definition.clone(),
            options: Arc::new(spec.options.clone()),
        };
        let namespace = self.namespace_by_id(namespace)?;
        loop {
            if let Some(entry) = namespace.find(spec.name.as_str()) {
                if let Ok(shard) = entry.lock() {
                    entry.set(&shard, meta);
                    return Ok(entry.id);
                }
                continue; // deleted since it was found, so it is not found again
            }
            let id = SpecId::new(self.spec_ids.fetch_add(1, Ordering::Relaxed));
            let shard = Shard::new(self.retention, self.attempt_ids.clone());
            let entry = Entry::new(id, namespace.id, spec.name.clone(), meta.clone(), shard);
            let entry = Arc::new(entry);
            // Found by its id before it is found by its name.
            self.specs.change(|specs| specs.insert(id, entry.clone()));
            let is_new = namespace
                .specs
                .change(|specs| match specs.entry(spec.name.clone()) {
                    btree_map::Entry::Occupied(_) => false,
                    btree_map::Entry::Vacant(place) => {
                        place.insert(entry);
                        true
                    }
                });
            if is_new {
                return Ok(id);
            }
            // Made by another since it was not found.
            self.specs.change(|specs| specs.remove(&id));
        }
    }

    async fn spec(&self, spec: SpecId) -> Result<Spec> {
        Ok(self.entry(spec)?.spec())
    }

    async fn specs(
        &self,
        namespace: NamespaceId,
        start: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Spec>> {
        let namespace = self.namespace_by_id(namespace)?;
        let specs = namespace.specs.get();
        let from = (Bound::Included(start.unwrap_or("")), Bound::Unbounded);
        let from = specs.range::<str, _>(from);
        Ok(from.take(limit).map(|(_, entry)| entry.spec()).collect())
    }

    async fn change_spec(
        &self,
        _now: Timestamp,
        spec: SpecId,
        change: &SpecChange,
    ) -> Result<bool> {
        let entry = self.entry(spec)?;
        let shard = entry.lock()?;
        Ok(entry.change(&shard, |options| options.apply(change)))
    }

    async fn delete_spec(&self, spec: SpecId) -> Result<()> {
        let entry = self.entry(spec)?;
        let namespace = self.namespace_by_id(entry.namespace)?;
        {
            let was_there = namespace.specs.change(|specs| {
                let was_there = specs.get(&entry.name).is_some_and(|other| other.id == spec);
                was_there && specs.remove(&entry.name).is_some()
            });
            if !was_there {
                return Err(Error::Gone(Kind::Spec));
            }
        }
        self.bury(&entry);
        Ok(())
    }

    async fn delete_specs(&self, namespace: NamespaceId) -> Result<u64> {
        let namespace = self.namespace_by_id(namespace)?;
        let specs = namespace.specs.change(std::mem::take);
        for entry in specs.values() {
            self.bury(entry);
        }
        Ok(specs.len() as u64)
    }

    async fn board(&self, now: Timestamp, namespace: NamespaceId) -> Result<Board> {
        self.make_board(now, namespace)
    }

    async fn put_units(&self, now: Timestamp, spec: SpecId, units: &[NewUnit]) -> Result<()> {
        let entry = self.entry(spec)?;
        let mut shard = entry.lock()?;
        shard.catch_up(now);
        for unit in units {
            shard.put(now, unit);
        }
        Ok(())
    }

    async fn units(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Unit>>> {
        self.each_key(now, spec, keys, |shard, key| shard.unit(now, key))
            .await
    }

    async fn page_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        page: UnitPage<'_>,
    ) -> Result<Vec<Unit>> {
        Ok(self.entry(spec)?.lock()?.page(now, &page))
    }

    async fn count_units(&self, now: Timestamp, spec: SpecId) -> Result<UnitCounts> {
        Ok(self.entry(spec)?.lock()?.count(now))
    }

    async fn prioritize_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
        change: PriorityChange,
    ) -> Result<()> {
        let entry = self.entry(spec)?;
        let mut shard = entry.lock()?;
        shard.catch_up(now);
        keys.iter().for_each(|key| shard.prioritize(key, change));
        Ok(())
    }

    async fn delete_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        selection: UnitSelection<'_>,
    ) -> Result<u64> {
        match selection {
            UnitSelection::All => {
                let units = self.entry(spec)?.lock()?.take_all();
                let count = units.len() as u64;
                remove::free(units);
                Ok(count)
            }
            UnitSelection::Statuses(statuses) => {
                let entry = self.entry(spec)?;
                self.delete_statuses(now, &entry, statuses).await
            }
            UnitSelection::Keys(keys, statuses) => {
                let entry = self.entry(spec)?;
                let mut shard = entry.lock()?;
                shard.catch_up(now);
                let deleted = keys
                    .iter()
                    .filter(|key| shard.delete(now, key, statuses))
                    .count();
                Ok(deleted as u64)
            }
        }
    }

    async fn archive(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        specs: Option<&[&str]>,
    ) -> Result<()> {
        let namespace = self.namespace_by_id(namespace)?;
        let entries = match specs {
            None => namespace.entries(),
            Some(names) => names
                .iter()
                .filter_map(|name| namespace.find(name))
                .collect(),
        };
        for entry in entries {
            self.archive_spec(now, &entry).await;
        }
        Ok(())
    }

    async fn claim(&self, now: Timestamp, claim: &Claim) -> Result<Claims> {
        self.with_entry(claim.spec, |entry| {
            let mut shard = entry.lock()?;
            Ok(shard.claim(now, claim, &entry.meta().options))
        })
    }

    async fn change_units(
        &self,
        now: Timestamp,
        spec: SpecId,
        changes: Vec<UnitChange>,
    ) -> Result<Vec<Result<Changed, Conflict>>> {
        let mut answers = Vec::with_capacity(changes.len());
        while answers.len() < changes.len() {
            if !answers.is_empty() {
                tokio::task::yield_now().await;
            }
            let left = &changes[answers.len()..];
            let some = &left[..left.len().min(CHANGE_BATCH_MAX)];
            self.with_entry(spec, |entry| {
                self.change_some(now, entry, some, &mut answers)
            })?;
        }
        Ok(answers)
    }

    async fn held_units(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        workers: &[WorkerName],
    ) -> Result<Vec<HeldUnit>> {
        let mut held = Vec::new();
        for entry in self.namespace_by_id(namespace)?.entries() {
            if let Ok(mut shard) = entry.lock() {
                shard.held(now, &entry.name, workers, &mut held);
            }
        }
        Ok(held)
    }

    async fn heartbeat(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        beat: &Heartbeat,
    ) -> Result<Registered> {
        Ok(lock(&self.namespace_by_id(namespace)?.workers).heartbeat(now, beat))
    }

    async fn unregister(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &WorkerName,
    ) -> Result<bool> {
        Ok(lock(&self.namespace_by_id(namespace)?.workers).unregister(now, worker))
    }

    async fn worker(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        worker: &WorkerName,
    ) -> Result<Option<Worker>> {
        Ok(lock(&self.namespace_by_id(namespace)?.workers).get(now, worker))
    }

    async fn workers(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        which: WorkerSelection<'_>,
    ) -> Result<Vec<Worker>> {
        Ok(lock(&self.namespace_by_id(namespace)?.workers).list(now, which))
    }

    async fn lock(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> Result<Result<(), LockConflict>> {
        Ok(lock(&self.namespace_by_id(namespace)?.locks).lock(now, &request))
    }

    async fn lock_some(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> Result<Vec<bool>> {
        Ok(lock(&self.namespace_by_id(namespace)?.locks).lock_some(now, &request))
    }

    async fn renew_locks(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        request: LockRequest<'_>,
    ) -> Result<Result<(), LockConflict>> {
        Ok(lock(&self.namespace_by_id(namespace)?.locks).renew(now, &request))
    }

    async fn unlock(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        owner: &WorkerName,
        paths: &[LockPath],
    ) -> Result<Result<(), LockConflict>> {
        Ok(lock(&self.namespace_by_id(namespace)?.locks).unlock(now, owner, paths))
    }

    async fn lock_owners(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        paths: &[LockPath],
    ) -> Result<Vec<Option<WorkerName>>> {
        Ok(lock(&self.namespace_by_id(namespace)?.locks).owners(now, paths))
    }

    async fn drop_locks(&self, namespace: NamespaceId, below: &LockPath) -> Result<()> {
        lock(&self.namespace_by_id(namespace)?.locks).drop_below(below);
        Ok(())
    }

    async fn sweep(&self, now: Timestamp, steps_max: usize) -> Result<Swept> {
        Ok(self.sweep_some(now, steps_max))
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        Ok(self.earliest_due())
    }
}
