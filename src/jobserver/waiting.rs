//! Requests that wait for work (`get_work` with `wait`).
//!
//! Waiting requests with the same wishes form a group, first come first served.
//! Whoever makes a unit available wakes as many of each group as there are units;
//! a woken request looks for work like any other, and if it finds some it wakes the
//! next of its group, so that a count that was too low delays nobody. Nothing here
//! says that there is work, only that it is worth a look, and every request looks
//! once after it has joined its group: a wake-up can be superfluous but not lost.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use crate::model::NamespaceId;

/// The map holds plain values; no panic can leave it half changed.
const HELD: &str = "no panic while the groups are locked";

/// What a request is waiting for. Requests that wish for the same find the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wishes {
    pub(super) namespace: NamespaceId,
    /// Sorted.
    pub(super) specs: Vec<Box<str>>,
    /// Sorted.
    pub(super) runtimes: Vec<Box<str>>,
    /// Memory in bytes, if it matters.
    pub(super) memory: Option<u64>,
}

/// The requests that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    groups: Mutex<HashMap<Arc<Wishes>, Arc<Group>>>,
    members: AtomicUsize,
    /// Told when someone begins to wait.
    joined: Notify,
}

#[derive(Debug, Default)]
struct Group {
    members: AtomicUsize,
    woken: Notify,
}

impl Waiting {
    /// Joins the group of these wishes until the member is dropped.
    pub(super) fn join(&self, wishes: Wishes) -> Member<'_> {
        let wishes = Arc::new(wishes);
        let group = {
            let mut groups = self.groups.lock().expect(HELD);
            let group = groups.entry(wishes.clone()).or_default().clone();
            group.members.fetch_add(1, Ordering::SeqCst);
            group
        };
        self.members.fetch_add(1, Ordering::SeqCst);
        self.joined.notify_one();
        Member {
            waiting: self,
            wishes,
            group,
        }
    }

    /// Tells that up to `units` units became available in the namespace.
    pub(super) fn wake(&self, namespace: NamespaceId, units: usize) {
        if self.members.load(Ordering::SeqCst) == 0 {
            return;
        }
        for (wishes, group) in &*self.groups.lock().expect(HELD) {
            if wishes.namespace == namespace {
                for _ in 0..units.min(group.members.load(Ordering::SeqCst)) {
                    group.woken.notify_one();
                }
            }
        }
    }

    /// Wakes one of each group: it may be worth a look.
    pub(super) fn wake_all(&self) {
        for group in self.groups.lock().expect(HELD).values() {
            group.woken.notify_one();
        }
    }

    /// Resolves when there is someone who waits. For one caller at a time.
    pub(super) async fn someone(&self) {
        while self.is_empty() {
            self.joined.notified().await;
        }
    }

    /// Whether anyone waits.
    pub(super) fn is_empty(&self) -> bool {
        self.members.load(Ordering::SeqCst) == 0
    }
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Member<'a> {
    waiting: &'a Waiting,
    wishes: Arc<Wishes>,
    group: Arc<Group>,
}

impl Member<'_> {
    /// Resolves when it is worth a look. Registered from its first poll, or from
    /// [`enable`](tokio::sync::futures::Notified::enable) on; dropped after it was
    /// woken, it wakes the next of the group instead.
    pub(super) fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.group.woken.notified()
    }

    /// Wakes the next of the group.
    pub(super) fn pass_on(&self) {
        self.group.woken.notify_one();
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        let mut groups = self.waiting.groups.lock().expect(HELD);
        if self.group.members.fetch_sub(1, Ordering::SeqCst) == 1 {
            groups.remove(&self.wishes);
        }
        self.waiting.members.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn wishes(spec: &str) -> Wishes {
        Wishes {
            namespace: NamespaceId::new(1),
            specs: vec![spec.into()],
            runtimes: Vec::new(),
            memory: None,
        }
    }

    async fn is_ready(future: impl Future<Output = ()>) -> bool {
        tokio::select! { biased; () = future => true, () = std::future::ready(()) => false }
    }

    #[tokio::test]
    async fn as_many_are_woken_as_units_came_first_come_first_served() {
        let waiting = Waiting::default();
        let members: Vec<_> = (0..3).map(|_| waiting.join(wishes("s"))).collect();
        let mut woken: Vec<_> = members
            .iter()
            .map(|member| Box::pin(member.woken()))
            .collect();
        for woken in &mut woken {
            assert!(!is_ready(woken.as_mut()).await);
        }
        waiting.wake(NamespaceId::new(2), 3);
        assert!(
            !is_ready(woken[0].as_mut()).await,
            "another namespace's unit"
        );
        waiting.wake(NamespaceId::new(1), 2);
        assert!(is_ready(woken[0].as_mut()).await && is_ready(woken[1].as_mut()).await);
        assert!(!is_ready(woken[2].as_mut()).await);
    }

    #[tokio::test]
    async fn who_leaves_after_it_was_woken_wakes_the_next() {
        let waiting = Waiting::default();
        let (first, second) = (waiting.join(wishes("s")), waiting.join(wishes("s")));
        let mut next = pin!(second.woken());
        {
            let mut woken = pin!(first.woken());
            woken.as_mut().enable();
            next.as_mut().enable();
            waiting.wake(NamespaceId::new(1), 1);
            assert!(!is_ready(next.as_mut()).await);
        }
        assert!(is_ready(next).await);
    }

    #[tokio::test]
    async fn every_group_hears_of_a_unit_and_empty_groups_are_forgotten() {
        let waiting = Waiting::default();
        let (a, b) = (waiting.join(wishes("a")), waiting.join(wishes("b")));
        let (mut for_a, mut for_b) = (pin!(a.woken()), pin!(b.woken()));
        for_a.as_mut().enable();
        for_b.as_mut().enable();
        waiting.wake(NamespaceId::new(1), 1);
        for_a.await;
        for_b.await;
        assert!(!waiting.is_empty());
        let waiting = Waiting::default();
        drop(waiting.join(wishes("a")));
        assert!(waiting.is_empty() && waiting.groups.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn whoever_looks_after_those_who_wait_sleeps_until_there_is_someone() {
        let waiting = Waiting::default();
        drop(waiting.join(wishes("a"))); // came and went
        let mut someone = pin!(waiting.someone());
        assert!(!is_ready(someone.as_mut()).await);
        let member = waiting.join(wishes("b"));
        someone.await;
        let mut woken = pin!(member.woken());
        assert!(!is_ready(woken.as_mut()).await);
        waiting.wake_all();
        woken.await;
    }
}
