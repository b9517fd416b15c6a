//! Many concurrent calls, few statements.
//!
//! While the statements for one lane run, further calls for that lane queue; the next
//! statements take as many of them as fit. A lone call waits for nothing, and the busier
//! the daemon is, the larger its batches get: 1 claim and finish per statement did 5
//! thousand jobs a second on four cores, 10 did 16 thousand, 100 did 26 thousand.
//!
//! # Invariants
//!
//! * In one lane, one batch runs at a time, and calls are taken in the order in which they
//!   came. Before the first, whoever is ready to call gets a turn, but no time passes.
//!   Lanes do not wait for each other; a lane without calls costs nothing.
//! * A batch runs in a task of its own. Callers that hang up do not disturb it, and it
//!   cannot be cut off in the middle.
//! * One call never fails another. If the database refuses a batch, its calls are made
//!   again one by one. If the connection was lost, nobody knows what became of any of them,
//!   and every caller is told.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::oneshot;

use super::error::{Cause, is_about_the_call, shared};
use crate::{
    backend::{Error, Result},
    limits::BATCH_CALLS_MAX,
};

/// How batches of one kind of call are made and carried out.
pub(super) trait Batch: Send + Sync + 'static {
    /// What calls have in common that share statements.
    type Lane: Clone + Eq + Hash + Send + Sync + 'static;
    /// One call.
    type Call: Send + Sync + 'static;
    /// Its answer.
    type Answer: Send + 'static;

    /// What logs call it.
    const NAME: &'static str;
    /// Most that one batch weighs, unless it is a single call.
    const WEIGHT_MAX: usize;

    /// How much of a batch the call takes.
    fn weight(&self, _call: &Self::Call) -> usize {
        1
    }

    /// Whether `next` may run together with the calls that are in the batch already. If
    /// not, it and all that came after it wait for the next batch.
    fn fits(&self, _batch: &[Self::Call], _next: &Self::Call) -> bool {
        true
    }

    /// Carries out the calls, which are one or more, and gives their answers in order.
    ///
    /// # Errors
    /// Of the batch as a whole. If it is certain that nothing was done, and the reason is
    /// in the calls and not in the database, this is called again with each of them alone.
    fn run(
        &self,
        lane: &Self::Lane,
        calls: &[Self::Call],
    ) -> impl Future<Output = Result<Vec<Self::Answer>>> + Send;
}

/// Who waits for an answer.
type Caller<B> = oneshot::Sender<Result<<B as Batch>::Answer>>;

/// Calls that run together, and who waits for their answers.
type Taken<B> = (Vec<<B as Batch>::Call>, Vec<Caller<B>>);

/// A call that waits.
type Waiting<B> = (<B as Batch>::Call, Caller<B>);

/// Collects calls while earlier ones are being carried out.
pub(super) struct Batcher<B: Batch>(Arc<Shared<B>>);

struct Shared<B: Batch> {
    batch: B,
    lanes: Mutex<Lanes<B>>,
}

struct Lanes<B: Batch> {
    /// Those in which something runs, and what waits in them meanwhile.
    busy: HashMap<B::Lane, VecDeque<Waiting<B>>>,
    /// Calls that wait, in all lanes.
    waiting: usize,
}

impl<B: Batch> Batcher<B> {
    /// Makes batches as `batch` says.
    pub(super) fn new(batch: B) -> Batcher<B> {
        let lanes = Lanes {
            busy: HashMap::new(),
            waiting: 0,
        };
        Batcher(Arc::new(Shared {
            batch,
            lanes: Mutex::new(lanes),
        }))
    }

    /// Makes a call, together with others if there are any, and waits for the answer. If
    /// the future is dropped, the call is made all the same.
    ///
    /// # Errors
    /// Those of [`Batch::run`]. [`Error::Unavailable`], retryable, if too many calls wait.
    pub(super) async fn call(&self, lane: B::Lane, call: B::Call) -> Result<B::Answer> {
        let (caller, answer) = oneshot::channel();
        self.0.enter(lane, (call, caller))?;
        answer.await.unwrap_or_else(|_| Err(ended::<B>()))
    }
}

impl<B: Batch> Shared<B> {
    fn lanes(&self) -> MutexGuard<'_, Lanes<B>> {
        self.lanes
            .lock()
            .expect("nothing panics while this is locked")
    }

    /// Queues a call; begins to work in its lane if nobody does.
    fn enter(self: &Arc<Self>, lane: B::Lane, call: Waiting<B>) -> Result<()> {
        let mut lanes = self.lanes();
        if lanes.waiting >= BATCH_CALLS_MAX {
            return Err(Error::Unavailable {
                retryable: true,
                source: Box::new(Cause::Busy),
            });
        }
        lanes.waiting += 1;
        if let Some(queue) = lanes.busy.get_mut(&lane) {
            queue.push_back(call);
            return Ok(());
        }
        lanes.busy.insert(lane.clone(), VecDeque::from([call]));
        drop(lanes);
        tokio::spawn(self.clone().work(lane));
        Ok(())
    }

    /// Carries out what waits in the lane until nothing does.
    async fn work(self: Arc<Self>, lane: B::Lane) {
        let mut worker = Worker {
            shared: &self,
            lane: Some(&lane),
        };
        // Those who are about to call, because one batch of another kind has answered them
        // all, call first: or else one of them goes alone, and the others wait for that.
        tokio::task::yield_now().await;
        while let Some((calls, callers)) = worker.next_batch() {
            let answers = self.answers(&lane, calls).await;
            assert_eq!(answers.len(), callers.len(), "one answer for each call");
            for (answer, caller) in answers.into_iter().zip(callers) {
                let _ = caller.send(answer); // who called may have hung up
            }
        }
    }

    async fn answers(&self, lane: &B::Lane, calls: Vec<B::Call>) -> Vec<Result<B::Answer>> {
        match self.batch.run(lane, &calls).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error) if calls.len() == 1 => vec![Err(error)],
            Err(error) if is_about_the_call(&error) => {
                let mut answers = Vec::with_capacity(calls.len());
                for call in &calls {
                    let alone = self.batch.run(lane, std::slice::from_ref(call)).await;
                    answers.push(alone.and_then(|mut answers| {
                        assert!(answers.len() <= 1, "one answer for each call");
                        answers.pop().ok_or_else(ended::<B>)
                    }));
                }
                answers
            }
            Err(error) => {
                let error = shared(error);
                calls.iter().map(|_| Err(error())).collect()
            }
        }
    }
}

/// Whoever works in a lane.
struct Worker<'s, B: Batch> {
    shared: &'s Shared<B>,
    /// `None` once it was left.
    lane: Option<&'s B::Lane>,
}

impl<B: Batch> Worker<'_, B> {
    /// The next calls that run together. `None`, and the lane was left, if there are none.
    fn next_batch(&mut self) -> Option<Taken<B>> {
        let mut lanes = self.shared.lanes();
        let queue = lanes.busy.get_mut(self.lane?)?;
        let (calls, callers) = take(&self.shared.batch, queue);
        lanes.waiting -= calls.len();
        if calls.is_empty() {
            lanes.busy.remove(self.lane.take()?);
            return None;
        }
        Some((calls, callers))
    }
}

impl<B: Batch> Drop for Worker<'_, B> {
    /// After a panic, those who wait are told, and the lane can be used again.
    fn drop(&mut self) {
        let mut lanes = self.shared.lanes();
        if let Some(lane) = self.lane
            && let Some(queue) = lanes.busy.remove(lane)
        {
            lanes.waiting -= queue.len();
        }
    }
}

/// Takes as many calls off the queue as may run together.
fn take<B: Batch>(batch: &B, queue: &mut VecDeque<Waiting<B>>) -> Taken<B> {
    let (mut calls, mut callers) = (Vec::new(), Vec::new());
    let mut weight = 0_usize;
    while let Some((call, caller)) = queue.pop_front() {
        weight = weight.saturating_add(batch.weight(&call));
        let fits = calls.is_empty() || (weight <= B::WEIGHT_MAX && batch.fits(&calls, &call));
        if !fits {
            queue.push_front((call, caller));
            break;
        }
        calls.push(call);
        callers.push(caller);
    }
    (calls, callers)
}

/// The batch ended in a panic. What it did, nobody knows.
fn ended<B: Batch>() -> Error {
    Error::Unavailable {
        retryable: false,
        source: Box::new(Cause::Ended(B::NAME)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::{
        sync::Semaphore,
        task::{JoinSet, yield_now},
    };

    use super::*;
    use crate::backend::Kind;

    /// Multiplies by ten, once the gate is opened for the batch; cannot do it to some.
    struct Tens {
        gate: Arc<Semaphore>,
        sizes: Arc<Mutex<Vec<usize>>>,
        outages: Arc<AtomicUsize>,
    }

    const UNLUCKY: u32 = 13;
    const DEADLY: u32 = 666;

    impl Batch for Tens {
        type Lane = u8;
        type Call = u32;
        type Answer = u32;

        const NAME: &'static str = "tens";
        const WEIGHT_MAX: usize = 8;

        fn weight(&self, call: &u32) -> usize {
            if *call > 1_000 { 100 } else { 1 }
        }

        fn fits(&self, batch: &[u32], next: &u32) -> bool {
            !batch.contains(next)
        }

        async fn run(&self, _lane: &u8, calls: &[u32]) -> Result<Vec<u32>> {
            self.sizes.lock().unwrap().push(calls.len());
            self.gate.acquire().await.unwrap().forget();
            assert!(!calls.contains(&DEADLY), "a mistake of ours");
            if self.outages.load(Ordering::Relaxed) > 0 {
                self.outages.fetch_sub(1, Ordering::Relaxed);
                return Err(Error::Unavailable {
                    retryable: false,
                    source: "connection lost".into(),
                });
            }
            match calls.contains(&UNLUCKY) {
                true => Err(Error::Gone(Kind::Spec)),
                false => Ok(calls.iter().map(|call| call * 10).collect()),
            }
        }
    }

    struct World {
        batcher: Arc<Batcher<Tens>>,
        gate: Arc<Semaphore>,
        sizes: Arc<Mutex<Vec<usize>>>,
        outages: Arc<AtomicUsize>,
        calls: JoinSet<(u32, Result<u32>)>,
    }

    impl World {
        fn new() -> World {
            let tens = Tens {
                gate: Arc::new(Semaphore::new(0)),
                sizes: Arc::default(),
                outages: Arc::default(),
            };
            World {
                gate: tens.gate.clone(),
                sizes: tens.sizes.clone(),
                outages: tens.outages.clone(),
                batcher: Arc::new(Batcher::new(tens)),
                calls: JoinSet::new(),
            }
        }

        /// Makes calls, the first of which runs alone while the others wait.
        async fn call(&mut self, lane: u8, calls: impl IntoIterator<Item = u32>) {
            for call in calls {
                let batcher = self.batcher.clone();
                let made = async move { (call, batcher.call(lane, call).await) };
                self.calls.spawn(made);
                yield_now().await; // it has queued
                yield_now().await; // the lane's task waits for others
                yield_now().await; // it has begun
            }
        }

        async fn answers(mut self, batches: usize) -> Vec<(u32, Option<u32>)> {
            self.gate.add_permits(batches);
            let mut answers = Vec::new();
            while let Some(answer) = self.calls.join_next().await {
                let (call, answer) = answer.unwrap();
                answers.push((call, answer.ok()));
            }
            assert!(self.batcher.0.lanes().busy.is_empty());
            assert_eq!(self.batcher.0.lanes().waiting, 0);
            answers.sort_unstable();
            answers
        }
    }

    #[tokio::test]
    async fn calls_that_come_during_a_batch_share_the_next() {
        let mut world = World::new();
        world.call(0, 0..6).await;
        let sizes = world.sizes.clone();
        let answers = world.answers(2).await;
        assert!(
            answers
                .iter()
                .all(|(call, answer)| *answer == Some(call * 10))
        );
        assert_eq!(
            (answers.len(), &sizes.lock().unwrap()[..]),
            (6, &[1, 5][..])
        );
    }

    #[tokio::test]
    async fn batches_are_bounded_by_weight_and_by_what_fits_together() {
        let mut world = World::new();
        world.call(0, (0..12).chain([2_000, 20, 21, 20, 22])).await;
        let sizes = world.sizes.clone();
        world.answers(6).await;
        assert_eq!(*sizes.lock().unwrap(), [1, 8, 3, 1, 2, 2]);
    }

    #[tokio::test]
    async fn lanes_do_not_wait_for_each_other() {
        let mut world = World::new();
        world.call(0, [1]).await;
        world.call(1, [2]).await;
        assert_eq!(*world.sizes.lock().unwrap(), [1, 1]);
        assert_eq!(world.answers(2).await, [(1, Some(10)), (2, Some(20))]);
    }

    #[tokio::test]
    async fn a_call_that_cannot_be_carried_out_fails_no_other() {
        let mut world = World::new();
        world.call(0, [1, 2, UNLUCKY, 3]).await;
        let answers = world.answers(5).await;
        let expected = [(1, Some(10)), (2, Some(20)), (3, Some(30)), (UNLUCKY, None)];
        assert_eq!(answers, expected);
    }

    #[tokio::test]
    async fn nothing_is_repeated_when_the_connection_was_lost() {
        let mut world = World::new();
        world.call(0, 1..=4).await;
        world.outages.store(2, Ordering::Relaxed);
        let sizes = world.sizes.clone();
        let answers = world.answers(2).await;
        assert!(answers.iter().all(|(_, answer)| answer.is_none()));
        assert_eq!(*sizes.lock().unwrap(), [1, 3]);
    }

    #[tokio::test]
    async fn callers_that_hang_up_disturb_nobody() {
        let mut world = World::new();
        world.call(0, [1, 2]).await;
        world.calls.abort_all();
        while world.calls.join_next().await.is_some() {}
        world.call(0, [3]).await;
        let sizes = world.sizes.clone();
        assert_eq!(world.answers(2).await, [(3, Some(30))]);
        assert_eq!(*sizes.lock().unwrap(), [1, 2], "all calls were made");
    }

    #[tokio::test]
    async fn after_a_panic_the_callers_are_told_and_the_lane_goes_on() {
        let mut world = World::new();
        world.call(0, [DEADLY, 1]).await;
        world.gate.add_permits(1);
        while let Some(answer) = world.calls.join_next().await {
            let (_, answer) = answer.unwrap();
            let Err(Error::Unavailable {
                retryable: false,
                source,
            }) = answer
            else {
                panic!("{answer:?}");
            };
            assert_eq!(
                source.to_string(),
                "the daemon's task for tens ended in a panic"
            );
        }
        world.call(0, [2]).await;
        assert_eq!(world.answers(1).await, [(2, Some(20))]);
    }
}
