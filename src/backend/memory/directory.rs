//! Namespaces and work specs, by name and by id, and the lock around each spec.
//!
//! An [`Entry`] publishes what the scheduler needs to know of its spec each time the
//! lock around it is given back, so that one spec that is busy does not hold up a
//! claim from another.

use std::{
    collections::{BTreeMap, HashMap},
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{
            AtomicBool, AtomicI64, AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

use super::{locks::Locks, shard::Shard, snapshot::Snapshot, workers::Workers};
use crate::{
    backend::{Error, Kind, Result, Spec},
    clock::Timestamp,
    model::{NamespaceId, NamespaceName, RawData, SpecId, SpecName, SpecOptions},
};

/// Locks, or ends the process if a panic left what is behind the lock half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|_| poisoned())
}

fn poisoned() -> ! {
    tracing::error!("a panic left data half changed; aborting");
    std::process::abort()
}

/// All namespaces.
#[derive(Debug, Clone, Default)]
pub(super) struct Namespaces {
    names: HashMap<NamespaceName, NamespaceId>,
    /// By id, which is the index.
    all: Vec<Arc<Namespace>>,
}

/// What shares nothing with anything else.
#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) id: NamespaceId,
    pub(super) specs: Snapshot<BTreeMap<SpecName, Arc<Entry>>>,
    pub(super) workers: Mutex<Workers>,
    pub(super) locks: Mutex<Locks>,
}

impl Namespaces {
    pub(super) fn find(&self, name: &NamespaceName) -> Option<NamespaceId> {
        self.names.get(name).copied()
    }

    pub(super) fn find_or_make(&mut self, name: &NamespaceName) -> NamespaceId {
        let next = NamespaceId::new(self.all.len() as u64);
        let id = *self.names.entry(name.clone()).or_insert(next);
        if id == next {
            self.all.push(Arc::new(Namespace {
                id,
                specs: Snapshot::default(),
                workers: Mutex::default(),
                locks: Mutex::default(),
            }));
        }
        id
    }

    pub(super) fn get(&self, id: NamespaceId) -> Result<Arc<Namespace>> {
        let index = usize::try_from(id.get()).ok();
        let namespace = index.and_then(|index| self.all.get(index));
        namespace.cloned().ok_or(Error::Gone(Kind::Namespace))
    }

    pub(super) fn all(&self) -> Vec<Arc<Namespace>> {
        self.all.clone()
    }
}

impl Namespace {
    pub(super) fn find(&self, name: &str) -> Option<Arc<Entry>> {
        self.specs.get().get(name).cloned()
    }

    /// Its specs, in the order of their names.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        self.specs.get().values().cloned().collect()
    }
}

/// What a client set a spec to, and changed since.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) definition: RawData,
    pub(super) options: Arc<SpecOptions>,
}

/// One work spec.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: SpecId,
    pub(super) namespace: NamespaceId,
    pub(super) name: SpecName,
    meta: Snapshot<Meta>,
    shard: Mutex<Shard>,
    published: Published,
}

/// What was true of the shard when its lock was last given back.
#[derive(Debug)]
struct Published {
    available: AtomicU64,
    pending: AtomicU64,
    is_idle: AtomicBool,
    /// When a lease or a delay ends, in microseconds.
    next_due: AtomicI64,
    /// [`NONE_YET`] if no continuous unit was made.
    next_continuous: AtomicI64,
    /// Whether there are units that `sweep` has not told of.
    has_untold: AtomicBool,
    /// Whether `sweep` has told that a continuous unit may be made.
    told_continuous: AtomicBool,
}

const NONE_YET: i64 = i64::MIN;

impl Entry {
    pub(super) fn new(
        id: SpecId,
        namespace: NamespaceId,
        name: SpecName,
        meta: Meta,
        shard: Shard,
    ) -> Entry {
        Entry {
            id,
            namespace,
            name,
            meta: Snapshot::new(meta),
            shard: Mutex::new(shard),
            published: Published {
                available: AtomicU64::new(0),
                pending: AtomicU64::new(0),
                is_idle: AtomicBool::new(true),
                next_due: AtomicI64::new(i64::MAX),
                next_continuous: AtomicI64::new(NONE_YET),
                has_untold: AtomicBool::new(false),
                told_continuous: AtomicBool::new(false),
            },
        }
    }

    /// Locks the spec.
    ///
    /// # Errors
    /// [`Error::Gone`] if it was deleted.
    pub(super) fn lock(&self) -> Result<Locked<'_>> {
        let shard = lock(&self.shard);
        if shard.deleted {
            return Err(Error::Gone(Kind::Spec));
        }
        Ok(Locked { entry: self, shard })
    }

    /// Definition and options as they are now. Whoever holds the spec's lock meanwhile
    /// has them as they stay until it gives the lock back.
    pub(super) fn meta(&self) -> impl Deref<Target = Arc<Meta>> + use<> {
        self.meta.get()
    }

    /// Replaces definition and options, under the spec's lock: once this is known,
    /// nothing is handed out by what they were before.
    pub(super) fn set(&self, _locked: &Locked<'_>, meta: Meta) {
        self.meta.change(|now| *now = meta);
        self.published.told_continuous.store(false, Release);
    }

    /// Changes the options if `change` says so, under the spec's lock like
    /// [`set`](Entry::set).
    pub(super) fn change(
        &self,
        _locked: &Locked<'_>,
        change: impl FnOnce(&mut SpecOptions) -> bool,
    ) -> bool {
        let changes = self
            .meta
            .change(|meta| change(Arc::make_mut(&mut meta.options)));
        if changes {
            self.published.told_continuous.store(false, Release);
        }
        changes
    }

    /// The spec as it is listed.
    pub(super) fn spec(&self) -> Spec {
        let meta = self.meta();
        Spec {
            id: self.id,
            name: self.name.clone(),
            definition: meta.definition.clone(),
            options: meta.options.clone(),
            next_continuous: self.next_continuous(),
        }
    }

    /// Whether no unit is available, delayed or pending.
    pub(super) fn is_idle(&self) -> bool {
        self.published.is_idle.load(Acquire)
    }

    pub(super) fn has_available(&self) -> bool {
        self.published.available.load(Acquire) > 0
    }

    pub(super) fn pending(&self) -> u64 {
        self.published.pending.load(Acquire)
    }

    /// When a lease or a delay ends.
    pub(super) fn next_due(&self) -> Timestamp {
        Timestamp::from_micros(self.published.next_due.load(Acquire))
    }

    pub(super) fn has_untold(&self) -> bool {
        self.published.has_untold.load(Acquire)
    }

    fn next_continuous(&self) -> Option<Timestamp> {
        let micros = self.published.next_continuous.load(Acquire);
        (micros != NONE_YET).then_some(Timestamp::from_micros(micros))
    }

    /// When a unit may be made; `None` if there is something else to do first, or
    /// the spec is paused or not continuous.
    pub(super) fn continuous_from(&self, options: &SpecOptions) -> Option<Timestamp> {
        let may = options.continuous && !options.paused && self.is_idle();
        may.then(|| self.next_continuous().unwrap_or(Timestamp::EPOCH))
    }

    /// Whether `sweep` has told that a unit may be made since that became so.
    pub(super) fn told_continuous(&self) -> bool {
        self.published.told_continuous.load(Acquire)
    }

    fn publish(&self, shard: &Shard) {
        let published = &self.published;
        let available = shard.units.index().ready.len() as u64;
        let next_continuous = shard.next_continuous.map_or(NONE_YET, Timestamp::as_micros);
        let next_due = shard.units.next_due().as_micros();
        published.available.store(available, Release);
        published.pending.store(shard.pending(), Release);
        published.is_idle.store(shard.is_idle(), Release);
        published.next_due.store(next_due, Release);
        published.next_continuous.store(next_continuous, Release);
        published.has_untold.store(shard.untold > 0, Release);
        if !shard.is_idle() {
            published.told_continuous.store(false, Release);
        }
    }
}

/// A spec that is locked. Dropping it publishes what has become of the spec.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    entry: &'a Entry,
    shard: MutexGuard<'a, Shard>,
}

impl Locked<'_> {
    /// Notes that `sweep` tells that a unit may be made.
    pub(super) fn tell_continuous(&self) {
        self.entry.published.told_continuous.store(true, Release);
    }
}

impl Deref for Locked<'_> {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.shard
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.entry.publish(&self.shard);
    }
}

/// Locks two specs, which may be the same; the second is `None` then, or if it was
/// deleted. In the order of their ids, so that no two calls wait for each other.
///
/// # Errors
/// [`Error::Gone`] if the first was deleted.
pub(super) fn lock_both<'a>(
    first: &'a Entry,
    second: &'a Entry,
) -> Result<(Locked<'a>, Option<Locked<'a>>)> {
    match first.id.cmp(&second.id) {
        std::cmp::Ordering::Equal => Ok((first.lock()?, None)),
        std::cmp::Ordering::Less => {
            let first = first.lock()?;
            Ok((first, second.lock().ok()))
        }
        std::cmp::Ordering::Greater => {
            let second = second.lock().ok();
            Ok((first.lock()?, second))
        }
    }
}
