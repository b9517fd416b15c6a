//! `get_work` with `wait` (protocol.md §5). Time moves by hand, and so does upkeep.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use coordinated::{
    backend::{Backend, postgres::InProgress},
    jobserver::Upkeep,
};
use serde_cbor::Value;

use crate::support::{Client, World, int, list, map, text};

/// A request that waits.
struct Waiting {
    request: Pin<Box<dyn Future<Output = Option<String>>>>,
    in_progress: InProgress,
}

impl Future for Waiting {
    type Output = Option<String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<String>> {
        self.request.as_mut().poll(context)
    }
}

/// A request for one unit that waits up to `seconds`, polled until it waits.
async fn wait<B: Backend>(mut c: Client<B>, seconds: u32) -> Waiting {
    let in_progress = c.in_progress.clone();
    let request = Box::pin(async move {
        let wait = [("wait", int(seconds))];
        c.take_with("w", wait).await.map(|work| work.key)
    });
    let mut waiting = Waiting {
        request,
        in_progress,
    };
    assert!(!is_ready(&mut waiting).await, "there is nothing to do yet");
    waiting
}

/// Whether the request has been answered, given every chance to be: until it waits for
/// nothing but work.
async fn is_ready(waiting: &mut Waiting) -> bool {
    let mut polls = 0;
    while polls < 8 {
        let polled = tokio::select! { biased; _ = &mut *waiting => true, () = tokio::task::yield_now() => false };
        if polled {
            return true;
        }
        polls = match waiting.in_progress.count() {
            0 => polls + 1,
            _ => 0,
        };
    }
    false
}

/// What the daemon's duty does: upkeep, until there is nothing to do now.
async fn upkeep<B: Backend>(w: &World<B>) {
    while w.server.upkeep(1_000).await.unwrap() == Upkeep::More {}
}

pub async fn a_waiting_request_is_answered_by_an_add(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    let waiting = wait(w.client(), 60).await;
    c.add("s", ["a"]).await;
    assert_eq!(waiting.await.unwrap(), "a");
}

pub async fn a_waiting_request_is_answered_by_a_release_a_resume_and_a_chain(
    w: World<impl Backend>,
) {
    let mut c = w.client();
    c.spec("s", [("then", text("t")), ("max_running", int(1))])
        .await;
    c.spec("t", []).await;
    c.add("s", ["a", "b"]).await;
    c.take("w").await.unwrap();
    let waiting = wait(w.client(), 60).await;
    c.set_status("s", "a", 1).await.unwrap();
    assert_eq!(waiting.await.unwrap(), "a");

    let waiting = wait(w.client(), 60).await;
    w.client().set_status("s", "a", 5).await.unwrap();
    assert_eq!(
        waiting.await.unwrap(),
        "b",
        "there is room under max_running again"
    );

    let waiting = wait(w.client(), 60).await;
    let output = map([("output", list([text("x")]))]);
    let finish = [("status", int(4)), ("data", output)];
    w.client().update("s", "b", finish).await.unwrap();
    assert_eq!(waiting.await.unwrap(), "x");

    let status = |number: i32| vec![text("t"), map([("status", int(number))])];
    c.ok("control_work_spec", status(2)).await;
    c.add("t", ["y"]).await;
    let waiting = wait(w.client(), 60).await;
    c.ok("control_work_spec", status(1)).await;
    assert_eq!(waiting.await.unwrap(), "y");
}

pub async fn a_waiting_request_is_answered_when_a_lease_or_a_delay_ends(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["a"]).await;
    c.take_for("w", 10).await.unwrap();
    let mut waiting = wait(w.client(), 60).await;
    let Upkeep::Until(Some(due)) = w.server.upkeep(1_000).await.unwrap() else {
        panic!("a lease will end while someone waits");
    };
    assert_eq!(
        due.as_micros(),
        1_700_000_010_000_001,
        "just after the deadline"
    );
    w.advance(10.0);
    upkeep(&w).await;
    assert!(
        !is_ready(&mut waiting).await,
        "the lease holds at its deadline"
    );
    w.advance(0.001);
    upkeep(&w).await;
    assert_eq!(waiting.await.unwrap(), "a");

    let waiting = wait(w.client(), 60).await;
    let delayed = list([text("b"), map([]), map([("delay", int(5))])]);
    c.add_items("s", list([delayed])).await;
    // The add makes something due before what upkeep knew of.
    w.server.due_earlier().await;
    w.advance(5.0);
    upkeep(&w).await;
    assert_eq!(waiting.await.unwrap(), "b");
}

pub async fn a_waiting_request_is_answered_when_a_continuous_unit_is_due(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec(
        "s",
        [("continuous", Value::Bool(true)), ("interval", int(10))],
    )
    .await;
    let first = c.take("w").await.unwrap();
    c.finish("s", &first).await;
    let waiting = wait(w.client(), 60).await;
    assert!(matches!(
        w.server.upkeep(1_000).await.unwrap(),
        Upkeep::Until(Some(_))
    ));
    w.advance(10.0);
    upkeep(&w).await;
    assert_eq!(waiting.await.unwrap(), "1700000010.000");
}

pub async fn a_waiting_request_ends_empty_at_its_deadline(w: World<impl Backend>) {
    w.client().spec("s", []).await;
    let mut waiting = wait(w.client(), 5).await;
    w.advance(4.999);
    assert!(!is_ready(&mut waiting).await);
    w.advance(0.001);
    assert_eq!(waiting.await, None);
    let mut longest = wait(w.client(), 1_000_000).await;
    w.clock.advance(Duration::from_secs(60));
    assert!(
        is_ready(&mut longest).await,
        "nobody waits for more than a minute"
    );
}

pub async fn a_waiting_request_ends_when_its_client_leaves(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    let leaving = w.client();
    let leave = leaving.leave.clone();
    let (left, staying) = (wait(leaving, 60).await, wait(w.client(), 60).await);
    leave.cancel();
    assert_eq!(left.await, None);
    c.add("s", ["a"]).await;
    assert_eq!(staying.await.unwrap(), "a");
}

pub async fn one_unit_wakes_one_of_many_and_each_unit_finds_a_worker(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(wait(w.client(), 60).await);
    }
    c.add("s", ["a"]).await;
    assert_eq!(
        waiting.remove(0).await.unwrap(),
        "a",
        "first come, first served"
    );
    for other in &mut waiting {
        assert!(!is_ready(other).await);
    }
    c.add("s", ["b", "c", "d", "e"]).await;
    let mut keys = Vec::new();
    for waiting in waiting {
        keys.push(waiting.await.unwrap());
    }
    keys.sort();
    assert_eq!(keys, ["b", "c", "d", "e"]);
}
