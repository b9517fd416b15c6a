//! Memory for large frames, shared by all connections (protocol.md §8).
//!
//! # Invariants
//!
//! * A frame takes all it may need in one step, before it is buffered beyond the
//!   threshold. A half-received frame therefore never waits for another one, and two of
//!   them cannot block each other.
//! * First come, first served: a long frame is not overtaken for ever by shorter ones.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Counters;

/// What one permit stands for. The semaphore counts in 32 bits; in kibibytes that is
/// enough for any memory.
const PERMIT_BYTES: usize = 1 << 10;

/// Room for large frames.
#[derive(Debug)]
pub(super) struct Budget {
    permits: Semaphore,
    permits_max: u32,
    counters: Arc<Counters>,
}

impl Budget {
    /// A budget of `bytes_max`, counted in `counters`.
    pub(super) fn new(bytes_max: usize, counters: Arc<Counters>) -> Budget {
        let permits_max = permits_for(bytes_max);
        Budget {
            permits: Semaphore::new(permits_max as usize),
            permits_max,
            counters,
        }
    }

    /// Waits until a frame of `bytes` may be buffered. The room is given back when the
    /// result is dropped. A frame longer than the whole budget takes all of it, so that
    /// it can be had, alone. Dropping the future leaves the queue.
    pub(super) async fn admit(&self, bytes: usize) -> Admitted<'_> {
        let permits = permits_for(bytes).min(self.permits_max);
        let permit = self.permits.acquire_many(permits).await;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.counters.large_frame_admitted(bytes);
        Admitted {
            bytes,
            counters: &self.counters,
            _permit: permit.expect("the semaphore is never closed"),
        }
    }
}

/// Room for one large frame.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    bytes: u64,
    counters: &'a Counters,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.counters.large_frame_answered(self.bytes);
    }
}

fn permits_for(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll};

    use super::*;

    async fn is_waiting<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    fn budget(bytes_max: usize) -> Budget {
        Budget::new(bytes_max, Arc::default())
    }

    #[tokio::test]
    async fn a_frame_waits_until_there_is_room_for_all_of_it() {
        let budget = budget(64 << 20);
        let first = budget.admit(40 << 20).await;
        let mut second = pin!(budget.admit(40 << 20));
        assert!(is_waiting(second.as_mut()).await);
        assert_eq!(budget.counters.large_frame_bytes(), 40 << 20);
        drop(first);
        let second = second.await;
        assert_eq!(budget.counters.large_frame_bytes(), 40 << 20);
        drop(second);
        assert_eq!(budget.counters.large_frame_bytes(), 0);
    }

    #[tokio::test]
    async fn a_long_frame_is_not_overtaken_by_a_short_one() {
        let budget = budget(64 << 20);
        let first = budget.admit(40 << 20).await;
        let mut long = pin!(budget.admit(60 << 20));
        assert!(is_waiting(long.as_mut()).await);
        let mut short = pin!(budget.admit(1 << 20));
        assert!(is_waiting(short.as_mut()).await, "it came later");
        drop(first);
        drop(long.await);
        short.await;
    }

    #[tokio::test]
    async fn a_frame_over_the_whole_budget_is_admitted_alone() {
        let budget = budget(1 << 20);
        let short = budget.admit(100 << 10).await;
        let mut huge = pin!(budget.admit(usize::MAX));
        assert!(is_waiting(huge.as_mut()).await);
        drop(short);
        huge.await;
    }

    #[tokio::test]
    async fn giving_up_the_wait_lets_the_next_one_in() {
        let budget = budget(64 << 20);
        let _first = budget.admit(40 << 20).await;
        {
            let mut gave_up = pin!(budget.admit(40 << 20));
            assert!(is_waiting(gave_up.as_mut()).await);
        }
        budget.admit(20 << 20).await;
    }
}
