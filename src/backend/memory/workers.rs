//! The workers of one namespace (semantics.md §8).
//!
//! # Invariants
//!
//! * `by_expiration` and `children` have exactly the workers in `workers`.
//! * Parents form no cycle, also counting those that are not registered: each
//!   heartbeat adds at most the edge from its own worker, and is refused if that
//!   would close one.
//!
//! A worker that has expired is removed when anyone next looks at the namespace, at
//! O(log n) paid for by its heartbeat. Like a lease, a heartbeat still counts at its
//! last instant.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    backend::{Registered, WorkerSelection},
    clock::Timestamp,
    limits::WORKER_ANCESTORS_MAX,
    model::{Heartbeat, Worker, WorkerName},
};

/// The workers of one namespace.
#[derive(Debug, Default)]
pub(super) struct Workers {
    workers: BTreeMap<WorkerName, Worker>,
    by_expiration: BTreeSet<(Timestamp, WorkerName)>,
    /// By parent; no set is empty.
    children: BTreeMap<WorkerName, BTreeSet<WorkerName>>,
}

impl Workers {
    /// Registers or refreshes a worker.
    pub(super) fn heartbeat(&mut self, now: Timestamp, beat: &Heartbeat) -> Registered {
        self.expire(now);
        if self.would_cycle(beat) {
            return Registered::ParentCycle;
        }
        self.remove(&beat.worker);
        self.insert(Worker {
            name: beat.worker.clone(),
            parent: beat.parent.clone(),
            mode: beat.mode.clone(),
            data: beat.data.clone(),
            heard: now,
            expires: now.after(beat.lifetime),
        });
        Registered::Yes
    }

    /// Forgets a worker; `false` if there is none.
    pub(super) fn unregister(&mut self, now: Timestamp, worker: &WorkerName) -> bool {
        self.expire(now);
        self.remove(worker)
    }

    /// The worker of this name.
    pub(super) fn get(&mut self, now: Timestamp, worker: &WorkerName) -> Option<Worker> {
        self.expire(now);
        self.workers.get(worker).cloned()
    }

    /// Workers in the order of their names.
    pub(super) fn list(&mut self, now: Timestamp, which: WorkerSelection<'_>) -> Vec<Worker> {
        self.expire(now);
        match which {
            WorkerSelection::All => self.workers.values().cloned().collect(),
            WorkerSelection::ChildrenOf(parent) => {
                let children = self.children.get(parent).into_iter().flatten();
                children.map(|child| self.workers[child].clone()).collect()
            }
        }
    }

    /// Removes the workers that expired before `now`.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((expires, _)) = self.by_expiration.first()
            && *expires < now
        {
            let (_, worker) = self.by_expiration.pop_first().expect("just seen");
            self.remove(&worker);
        }
    }

    fn insert(&mut self, worker: Worker) {
        self.by_expiration
            .insert((worker.expires, worker.name.clone()));
        if let Some(parent) = &worker.parent {
            let siblings = self.children.entry(parent.clone()).or_default();
            siblings.insert(worker.name.clone());
        }
        self.workers.insert(worker.name.clone(), worker);
    }

    fn remove(&mut self, name: &WorkerName) -> bool {
        let Some(worker) = self.workers.remove(name) else {
            return false;
        };
        self.by_expiration
            .remove(&(worker.expires, worker.name.clone()));
        if let Some(parent) = &worker.parent
            && let Some(siblings) = self.children.get_mut(parent)
        {
            siblings.remove(name);
            if siblings.is_empty() {
                self.children.remove(parent);
            }
        }
        true
    }

    /// Whether the worker would be an ancestor of itself.
    fn would_cycle(&self, beat: &Heartbeat) -> bool {
        let mut ancestor = beat.parent.as_ref();
        for _ in 0..WORKER_ANCESTORS_MAX {
            match ancestor {
                None => return false,
                Some(name) if *name == beat.worker => return true,
                Some(name) => {
                    let worker = self.workers.get(name);
                    ancestor = worker.and_then(|worker| worker.parent.as_ref());
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EPOCH.after(Duration::from_secs(seconds))
    }

    fn name(name: &str) -> WorkerName {
        WorkerName::new(name).unwrap()
    }

    fn beat(workers: &mut Workers, now: Timestamp, who: &str, parent: Option<&str>) -> Registered {
        let registered = workers.heartbeat(
            now,
            &Heartbeat {
                worker: name(who),
                parent: parent.map(name),
                mode: "RUN".into(),
                data: None,
                lifetime: Duration::from_secs(10),
            },
        );
        workers.check();
        registered
    }

    fn names(workers: &mut Workers, now: Timestamp, which: WorkerSelection<'_>) -> String {
        let names: Vec<_> = workers
            .list(now, which)
            .into_iter()
            .map(|w| w.name.to_string())
            .collect();
        names.join(" ")
    }

    impl Workers {
        fn check(&self) {
            assert_eq!(self.by_expiration.len(), self.workers.len());
            let children: usize = self.children.values().map(BTreeSet::len).sum();
            let with_parent = self.workers.values().filter(|w| w.parent.is_some());
            assert_eq!(children, with_parent.count());
            assert!(self.children.values().all(|set| !set.is_empty()));
            for (name, worker) in &self.workers {
                let due = (worker.expires, name.clone());
                assert!(self.by_expiration.contains(&due));
                if let Some(parent) = &worker.parent {
                    assert!(self.children[parent].contains(name));
                }
            }
        }
    }

    #[test]
    fn a_worker_is_gone_from_every_listing_once_its_time_is_over() {
        let mut workers = Workers::default();
        beat(&mut workers, at(0), "p", None);
        beat(&mut workers, at(5), "c", Some("p"));
        assert_eq!(names(&mut workers, at(10), WorkerSelection::All), "c p");
        assert_eq!(names(&mut workers, at(11), WorkerSelection::All), "c");
        let children = WorkerSelection::ChildrenOf(&name("p"));
        assert_eq!(
            names(&mut workers, at(11), children),
            "c",
            "a parent need not be there"
        );
        assert!(workers.get(at(16), &name("c")).is_none());
        assert!(!workers.unregister(at(16), &name("c")));
        workers.check();
        assert!(workers.workers.is_empty(), "what is gone takes no memory");
    }

    #[test]
    fn a_heartbeat_replaces_what_was_known() {
        let mut workers = Workers::default();
        beat(&mut workers, at(0), "c", Some("p"));
        beat(&mut workers, at(8), "c", Some("q"));
        assert_eq!(
            names(
                &mut workers,
                at(18),
                WorkerSelection::ChildrenOf(&name("p"))
            ),
            ""
        );
        assert_eq!(
            names(
                &mut workers,
                at(18),
                WorkerSelection::ChildrenOf(&name("q"))
            ),
            "c"
        );
        beat(&mut workers, at(18), "c", None);
        assert!(workers.unregister(at(18), &name("c")));
        workers.check();
    }

    #[test]
    fn no_worker_becomes_its_own_ancestor() {
        let mut workers = Workers::default();
        assert_eq!(
            beat(&mut workers, at(0), "a", Some("a")),
            Registered::ParentCycle
        );
        assert!(
            workers.get(at(0), &name("a")).is_none(),
            "nothing was registered"
        );
        assert_eq!(beat(&mut workers, at(0), "a", Some("b")), Registered::Yes);
        assert_eq!(beat(&mut workers, at(0), "c", Some("a")), Registered::Yes);
        assert_eq!(
            beat(&mut workers, at(0), "b", Some("c")),
            Registered::ParentCycle
        );
        assert_eq!(beat(&mut workers, at(0), "b", None), Registered::Yes);
    }
}
