//! Hints that something became available, from one daemon to another.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::{clock::Timestamp, model::NamespaceId};

/// Namespaces in which it is worth to look for work, and when something comes due, until
/// someone takes note of them.
///
/// A hint may be superfluous, and may be lost if it has far to go. However many are given
/// before they are taken, each namespace is there once, and of the instants only the
/// first: that is what bounds them.
#[derive(Debug)]
pub struct Hints {
    given: Mutex<Hinted>,
    /// The first instant of those given.
    due: AtomicI64,
    is_deaf: AtomicBool,
    come: Notify,
    due_come: Notify,
}

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hinted {
    /// Everywhere: hints may have been lost.
    pub all: bool,
    /// In these.
    pub namespaces: HashSet<NamespaceId>,
}

impl Default for Hints {
    fn default() -> Hints {
        Hints {
            given: Mutex::default(),
            due: AtomicI64::new(i64::MAX),
            is_deaf: AtomicBool::new(false),
            come: Notify::new(),
            due_come: Notify::new(),
        }
    }
}

impl Hints {
    /// None, which cannot arrive yet either ([`is_deaf`](Hints::is_deaf)).
    #[must_use]
    pub fn deaf() -> Hints {
        let is_deaf = AtomicBool::new(true);
        Hints {
            is_deaf,
            ..Hints::default()
        }
    }

    /// Gives a hint of one namespace.
    pub fn give(&self, namespace: NamespaceId) {
        if self.given().namespaces.insert(namespace) {
            self.come.notify_one();
        }
    }

    /// Gives a hint of every namespace.
    pub fn give_all(&self) {
        self.given().all = true;
        self.come.notify_one();
    }

    /// Gives a hint that something becomes available by itself at `at`.
    pub fn give_due(&self, at: Timestamp) {
        let before = self.due.fetch_min(at.as_micros(), Ordering::SeqCst);
        if at.as_micros() < before {
            self.due_come.notify_one();
        }
    }

    /// Waits for hints of namespaces and takes all that there are. For one taker; if its
    /// future is dropped, the hints stay.
    pub async fn take(&self) -> Hinted {
        loop {
            let taken = std::mem::take(&mut *self.given());
            if taken.all || !taken.namespaces.is_empty() {
                return taken;
            }
            self.come.notified().await;
        }
    }

    /// Waits for hints of something that comes due and takes the first instant. For one
    /// taker; if its future is dropped, the hint stays.
    pub async fn take_due(&self) -> Timestamp {
        loop {
            if let Some(due) = self.take_due_now() {
                return due;
            }
            self.due_come.notified().await;
        }
    }

    /// The first instant that was hinted at, if there is one.
    pub fn take_due_now(&self) -> Option<Timestamp> {
        let due = self.due.swap(i64::MAX, Ordering::SeqCst);
        (due < i64::MAX).then_some(Timestamp::from_micros(due))
    }

    /// Notes whether hints cannot arrive for the time being. Those who wait for them
    /// should look more often then.
    pub fn set_deaf(&self, is_deaf: bool) {
        if self.is_deaf.swap(is_deaf, Ordering::SeqCst) != is_deaf {
            self.give_all();
        }
    }

    /// Whether hints cannot arrive for the time being.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.is_deaf.load(Ordering::SeqCst)
    }

    fn given(&self) -> MutexGuard<'_, Hinted> {
        self.given
            .lock()
            .expect("nothing panics while it is locked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hints_wait_until_they_are_taken_once_for_each_namespace() {
        let hints = Hints::default();
        for namespace in [1, 2, 1] {
            hints.give(NamespaceId::new(namespace));
        }
        let taken = hints.take().await;
        let both = HashSet::from([1, 2].map(NamespaceId::new));
        assert_eq!((taken.all, taken.namespaces), (false, both));
        let (taken, ()) = tokio::join!(hints.take(), async { hints.give_all() });
        assert!(taken.all && taken.namespaces.is_empty());
    }

    #[tokio::test]
    async fn of_what_comes_due_only_the_first_is_told() {
        let hints = Hints::default();
        for micros in [5, 3, 4] {
            hints.give_due(Timestamp::from_micros(micros));
        }
        assert_eq!(hints.take_due().await, Timestamp::from_micros(3));
        let later = Timestamp::from_micros(7);
        let (taken, ()) = tokio::join!(hints.take_due(), async { hints.give_due(later) });
        assert_eq!(taken, later);
    }

    #[tokio::test]
    async fn whoever_waits_hears_when_hints_stop_or_begin_to_arrive() {
        let hints = Hints::default();
        for is_deaf in [true, false] {
            hints.set_deaf(is_deaf);
            hints.set_deaf(is_deaf);
            assert!(hints.take().await.all);
            assert_eq!(hints.is_deaf(), is_deaf);
        }
    }
}
