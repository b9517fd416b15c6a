//! The locks of one namespace (semantics.md §9).
//!
//! **Invariant:** no two held paths are above one another, and `by_deadline` has
//! exactly the held paths. A path is an ancestor if it is one of the prefixes and a
//! descendant if it is in one range, so a look costs O(depth · log n).
//!
//! Locks whose deadline has passed are removed when anyone next looks, at O(log n)
//! paid for by whoever took them. Like a lease, a lock still holds at its deadline.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use crate::{
    backend::{LockConflict, LockRequest},
    clock::Timestamp,
    model::{LockPath, WorkerName},
};

#[derive(Debug, Clone)]
struct Held {
    owner: WorkerName,
    deadline: Timestamp,
}

/// The locks of one namespace.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: BTreeMap<Arc<[u8]>, Held>,
    by_deadline: BTreeSet<(Timestamp, Arc<[u8]>)>,
}

impl Locks {
    /// Locks all the paths or none.
    pub(super) fn lock(
        &mut self,
        now: Timestamp,
        request: &LockRequest<'_>,
    ) -> Result<(), LockConflict> {
        self.expire(now);
        let mut earlier: BTreeMap<Arc<[u8]>, ()> = BTreeMap::new();
        for (index, path) in request.paths.iter().enumerate() {
            let holder = overlapping(&self.held, path).map(|held| held.owner.clone());
            if holder.is_some() || overlapping(&earlier, path).is_some() {
                return Err(LockConflict {
                    path: index,
                    holder,
                });
            }
            earlier.insert(path.as_bytes().into(), ());
        }
        for path in earlier.into_keys() {
            self.insert(path, request);
        }
        Ok(())
    }

    /// Locks those of the paths that can be had.
    pub(super) fn lock_some(&mut self, now: Timestamp, request: &LockRequest<'_>) -> Vec<bool> {
        self.expire(now);
        let mut take = |path: &LockPath| {
            let is_free = overlapping(&self.held, path).is_none();
            if is_free {
                self.insert(path.as_bytes().into(), request);
            }
            is_free
        };
        request.paths.iter().map(&mut take).collect()
    }

    /// Moves the deadlines of locks that the owner holds, all or none.
    pub(super) fn renew(
        &mut self,
        now: Timestamp,
        request: &LockRequest<'_>,
    ) -> Result<(), LockConflict> {
        self.expire(now);
        self.all_held_by(request.owner, request.paths)?;
        for path in request.paths {
            if let Some(path) = self.remove(path.as_bytes()) {
                self.insert(path, request);
            }
        }
        Ok(())
    }

    /// Gives up locks that the owner holds, all or none.
    pub(super) fn unlock(
        &mut self,
        now: Timestamp,
        owner: &WorkerName,
        paths: &[LockPath],
    ) -> Result<(), LockConflict> {
        self.expire(now);
        self.all_held_by(owner, paths)?;
        for path in paths {
            self.remove(path.as_bytes()); // a path may be named twice
        }
        Ok(())
    }

    /// Who holds each of the paths itself.
    pub(super) fn owners(&mut self, now: Timestamp, paths: &[LockPath]) -> Vec<Option<WorkerName>> {
        self.expire(now);
        let owner = |path: &LockPath| Some(self.held.get(path.as_bytes())?.owner.clone());
        paths.iter().map(owner).collect()
    }

    /// Drops every lock at or below the path.
    pub(super) fn drop_below(&mut self, path: &LockPath) {
        let below: Vec<_> = below(&self.held, path)
            .map(|(path, _)| path.clone())
            .collect();
        for path in below {
            self.remove(&path);
        }
    }

    /// Removes the locks whose deadline was before `now`.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((deadline, path)) = self.by_deadline.first()
            && *deadline < now
        {
            let path = path.clone();
            self.remove(&path);
        }
    }

    fn all_held_by(&self, owner: &WorkerName, paths: &[LockPath]) -> Result<(), LockConflict> {
        for (index, path) in paths.iter().enumerate() {
            let holder = self.held.get(path.as_bytes()).map(|held| &held.owner);
            if holder != Some(owner) {
                return Err(LockConflict {
                    path: index,
                    holder: holder.cloned(),
                });
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: Arc<[u8]>, request: &LockRequest<'_>) {
        self.by_deadline.insert((request.deadline, path.clone()));
        let held = Held {
            owner: request.owner.clone(),
            deadline: request.deadline,
        };
        let other = self.held.insert(path, held);
        assert!(other.is_none(), "a path was locked twice");
    }

    fn remove(&mut self, path: &[u8]) -> Option<Arc<[u8]>> {
        let (path, held) = self.held.remove_entry(path)?;
        let present = self.by_deadline.remove(&(held.deadline, path.clone()));
        assert!(present, "a held path has no deadline");
        Some(path)
    }
}

/// What is held at, above or below the path.
fn overlapping<'a, T>(held: &'a BTreeMap<Arc<[u8]>, T>, path: &LockPath) -> Option<&'a T> {
    let at_or_above = path.prefixes().find_map(|prefix| held.get(prefix));
    at_or_above.or_else(|| below(held, path).next().map(|(_, held)| held))
}

/// What is held at or below the path.
fn below<'a, T>(
    held: &'a BTreeMap<Arc<[u8]>, T>,
    path: &LockPath,
) -> impl Iterator<Item = (&'a Arc<[u8]>, &'a T)> + use<'a, T> {
    let end = path.end();
    let range = (
        Bound::Included(path.as_bytes()),
        Bound::Excluded(end.as_slice()),
    );
    held.range::<[u8], _>(range)
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

    /// `"a/b"` as the path ("a", "b").
    fn path(text: &str) -> LockPath {
        let labels: Vec<&str> = text.split('/').collect();
        let mut item = vec![0x80 + labels.len() as u8];
        for label in labels {
            item.push(0x60 + label.len() as u8);
            item.extend(label.as_bytes());
        }
        LockPath::read(&item).unwrap()
    }

    fn paths(text: &str) -> Vec<LockPath> {
        text.split(' ').map(path).collect()
    }

    /// Runs `call` with a request of `owner` for locks that end 10 s after `now`.
    fn asked<T>(
        locks: &mut Locks,
        now: u64,
        owner: &str,
        text: &str,
        call: impl Fn(&mut Locks, Timestamp, &LockRequest<'_>) -> T,
    ) -> T {
        let request = LockRequest {
            owner: &name(owner),
            deadline: at(now + 10),
            paths: &paths(text),
        };
        let result = call(locks, at(now), &request);
        assert_eq!(locks.held.len(), locks.by_deadline.len());
        result
    }

    fn conflict(path: usize, holder: Option<&str>) -> Result<(), LockConflict> {
        let holder = holder.map(name);
        Err(LockConflict { path, holder })
    }

    #[test]
    fn a_path_is_locked_with_everything_above_and_below_it() {
        let mut locks = Locks::default();
        assert_eq!(asked(&mut locks, 0, "me", "a/b c", Locks::lock), Ok(()));
        for taken in ["a", "a/b", "a/b/x", "c/x/y"] {
            let wanted = format!("z {taken}");
            assert_eq!(
                asked(&mut locks, 0, "you", &wanted, Locks::lock),
                conflict(1, Some("me"))
            );
        }
        assert_eq!(
            asked(&mut locks, 0, "me", "a/b", Locks::lock),
            conflict(0, Some("me"))
        );
        assert_eq!(
            asked(&mut locks, 0, "you", "a/c z", Locks::lock),
            Ok(()),
            "z was not taken by those that failed"
        );
    }

    #[test]
    fn paths_of_one_request_must_not_overlap_either() {
        let mut locks = Locks::default();
        for both in ["a a", "a a/b", "a/b a"] {
            assert_eq!(
                asked(&mut locks, 0, "me", both, Locks::lock),
                conflict(1, None)
            );
        }
        assert!(locks.held.is_empty(), "all or none");
        assert_eq!(
            asked(&mut locks, 0, "me", "a/b a/c a", Locks::lock_some),
            [true, true, false]
        );
        assert_eq!(
            asked(&mut locks, 0, "you", "a/b d", Locks::lock_some),
            [false, true]
        );
    }

    #[test]
    fn a_lock_ends_after_its_deadline_unless_it_is_renewed() {
        let mut locks = Locks::default();
        assert_eq!(asked(&mut locks, 0, "me", "a b", Locks::lock), Ok(()));
        assert_eq!(asked(&mut locks, 5, "me", "b", Locks::renew), Ok(()));
        assert_eq!(
            locks.owners(at(10), &paths("a b a/x")),
            [Some(name("me")), Some(name("me")), None]
        );
        assert_eq!(
            locks.owners(at(11), &paths("a b")),
            [None, Some(name("me"))]
        );
        assert_eq!(locks.held.len(), 1, "what has ended takes no memory");
        assert_eq!(asked(&mut locks, 11, "you", "a", Locks::lock), Ok(()));
    }

    #[test]
    fn only_the_owner_renews_and_unlocks_and_all_or_none() {
        let mut locks = Locks::default();
        assert_eq!(asked(&mut locks, 0, "me", "a b", Locks::lock), Ok(()));
        assert_eq!(asked(&mut locks, 0, "you", "c", Locks::lock), Ok(()));
        assert_eq!(
            asked(&mut locks, 0, "me", "a c", Locks::renew),
            conflict(1, Some("you"))
        );
        assert_eq!(
            locks.unlock(at(0), &name("me"), &paths("a d")),
            conflict(1, None)
        );
        assert_eq!(
            locks.unlock(at(0), &name("me"), &paths("a/x")),
            conflict(0, None)
        );
        assert_eq!(locks.held.len(), 3);
        assert_eq!(locks.unlock(at(0), &name("me"), &paths("a b a")), Ok(()));
        assert_eq!(
            locks.owners(at(0), &paths("a b c")),
            [None, None, Some(name("you"))]
        );
    }

    #[test]
    fn dropping_takes_what_is_at_or_below_and_nothing_else() {
        let mut locks = Locks::default();
        assert_eq!(
            asked(&mut locks, 0, "me", "a/b a/c ab c", Locks::lock),
            Ok(())
        );
        locks.drop_below(&path("a"));
        locks.drop_below(&path("c"));
        assert_eq!(
            locks.owners(at(0), &paths("a/b a/c ab c")),
            [None, None, Some(name("me")), None]
        );
        assert_eq!(locks.by_deadline.len(), 1);
    }
}
