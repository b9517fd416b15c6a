//! What becomes available, here and through other daemons on the same storage.

use super::JobServer;
use crate::{
    backend::{Backend, Hinted, Hints},
    clock::{Clock, Timestamp},
    limits::{DEAF_INTERVAL, SAFETY_INTERVAL},
    model::NamespaceId,
};

impl<B: Backend, C: Clock> JobServer<B, C> {
    /// Tells that up to `units` units became available in the namespace: those who wait
    /// here, and the other daemons.
    pub(super) fn available(&self, namespace: NamespaceId, units: usize) {
        if units > 0 {
            self.waiting.wake(namespace, units);
            self.cache.backend().announce(namespace);
        }
    }

    /// Wakes those who wait for work when another daemon tells of some, and now and then
    /// without being told, in case that was lost; heeds what others say will come due.
    /// Asks nothing while nobody waits. Never returns, unless there can be no other
    /// daemons.
    pub async fn heed_hints(&self) {
        let Some(hints) = self.cache.backend().hints() else {
            return;
        };
        let mut last = self.clock.now();
        loop {
            tokio::select! {
                () = self.next_look(&hints, &mut last) => {
                    last = self.clock.now();
                    self.waiting.wake_all();
                }
                hinted = hints.take() => self.heed(hinted),
                due = hints.take_due() => self.alarm.set(due),
            }
        }
    }

    /// Resolves when those who wait should look without being told. `last` is when they
    /// did, or when the first of them came.
    async fn next_look(&self, hints: &Hints, last: &mut Timestamp) {
        if self.waiting.is_empty() {
            self.waiting.someone().await;
            *last = self.clock.now();
        }
        let interval = match hints.is_deaf() {
            true => DEAF_INTERVAL,
            false => SAFETY_INTERVAL,
        };
        self.clock.sleep_until(last.after(interval)).await;
    }

    fn heed(&self, hinted: Hinted) {
        if hinted.all {
            // What others said will come due may have been lost too.
            self.alarm.set(Timestamp::EPOCH);
            self.waiting.wake_all();
        }
        // How many units there are was not said. Whoever finds some wakes the next.
        for namespace in hinted.namespaces {
            self.waiting.wake(namespace, 1);
        }
    }
}
