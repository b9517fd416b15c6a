//! Hints that something became available, from one daemon to another.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard},
};

use tokio::sync::Notify;

use crate::model::NamespaceId;

/// Namespaces in which it is worth to look for work, until someone takes note of them.
///
/// A hint may be superfluous, and may be lost if it has far to go. However many are given
/// before they are taken, each namespace is there once: that is what bounds them.
#[derive(Debug, Default)]
pub struct Hints {
    given: Mutex<Hinted>,
    come: Notify,
}

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hinted {
    /// Everywhere: hints may have been lost.
    pub all: bool,
    /// In these.
    pub namespaces: HashSet<NamespaceId>,
}

impl Hints {
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

    /// Waits for hints and takes all that there are. For one taker; if its future is
    /// dropped, the hints stay.
    pub async fn take(&self) -> Hinted {
        loop {
            let taken = std::mem::take(&mut *self.given());
            if taken.all || !taken.namespaces.is_empty() {
                return taken;
            }
            self.come.notified().await;
        }
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
}
