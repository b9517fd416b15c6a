//! What becomes available, here and through other daemons on the same storage.

use std::pin::pin;

use super::JobServer;
use crate::{
    backend::{Backend, Hinted},
    clock::Clock,
    limits::SAFETY_INTERVAL,
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
    /// without being told, in case that was lost. Does nothing while nobody waits. Never
    /// returns, unless there can be no other daemons.
    pub async fn heed_hints(&self) {
        let Some(hints) = self.cache.backend().hints() else {
            return;
        };
        loop {
            let mut next_look = pin!(async {
                self.waiting.someone().await;
                let next = self.clock.now().after(SAFETY_INTERVAL);
                self.clock.sleep_until(next).await;
            });
            loop {
                tokio::select! {
                    () = next_look.as_mut() => break,
                    hinted = hints.take() => self.heed(hinted),
                }
            }
            self.waiting.wake_all();
        }
    }

    fn heed(&self, hinted: Hinted) {
        if hinted.all {
            self.waiting.wake_all();
        }
        // How many units there are was not said. Whoever finds some wakes the next.
        for namespace in hinted.namespaces {
            self.waiting.wake(namespace, 1);
        }
    }
}
