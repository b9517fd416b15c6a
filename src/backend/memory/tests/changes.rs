//! What updates do to a unit (semantics.md §7), and chaining (§6).

use super::super::Ended;
use super::*;
use crate::{
    limits::LEASE_DEFAULT,
    model::{Outcome, Phase},
};

const NOW: Effect = Effect::Clear {
    delay: Duration::ZERO,
};

#[tokio::test]
async fn a_change_that_was_decided_on_an_older_state_is_refused() {
    let mut w = World::new().await;
    let spec = w.spec("s", &["a"]).await;
    w.claim(spec, "one").await.unwrap();
    let stale = w.decided(spec, "a", Effect::Finish).await;
    w.advance(seconds(61));
    w.claim(spec, "two").await.unwrap();
    assert_eq!(w.make(spec, stale).await.unwrap_err(), Conflict::Changed);
    assert_eq!(w.status(spec, "a").await, UnitStatus::Pending);

    let finish = w.decided(spec, "a", Effect::Finish).await;
    w.make(spec, finish.clone()).await.unwrap();
    assert_eq!(
        w.make(spec, finish.clone()).await.unwrap_err(),
        Conflict::Changed
    );
    w.memory
        .delete_units(w.now, spec, crate::backend::UnitSelection::All)
        .await
        .unwrap();
    w.put(spec, &["a"]).await;
    assert_eq!(w.make(spec, finish).await.unwrap_err(), Conflict::Gone);
}

#[tokio::test]
async fn whatever_arrives_after_the_deadline_but_before_another_claim_counts() {
    for (effect, status) in [
        (Effect::Finish, UnitStatus::Finished),
        (Effect::Fail, UnitStatus::Failed),
        (Effect::Renew { lease: None }, UnitStatus::Pending),
        (NOW, UnitStatus::Available),
    ] {
        let mut w = World::new().await;
        let spec = w.spec("s", &["a"]).await;
        let claimed = w.claim(spec, "one").await.unwrap();
        w.advance(seconds(61));
        let changed = w.change(spec, "a", effect).await.unwrap();
        assert_eq!(w.status(spec, "a").await, status);
        let same = changed.active.attempt_id() == Some(claimed.attempt);
        assert_eq!(same, effect != NOW);
        if status == UnitStatus::Pending {
            let ends = w.unit(spec, "a").await.unwrap().current.unwrap().ends;
            assert_eq!(ends, w.now.after(LEASE_DEFAULT));
        }
    }
}

#[tokio::test]
async fn a_renewal_moves_the_end_of_the_lease_only_if_it_says_so() {
    let mut w = World::new().await;
    let spec = w.spec("s", &["a"]).await;
    let first = w.claim(spec, "w").await.unwrap().expires;
    let ends = async |w: &World| w.unit(spec, "a").await.unwrap().current.unwrap().ends;
    w.advance(seconds(30));
    let renew = Effect::Renew { lease: None };
    w.change_with(spec, "a", renew, data(2)).await.unwrap();
    assert_eq!(
        (ends(&w).await, w.unit(spec, "a").await.unwrap().data),
        (first, data(2))
    );
    let half = Duration::from_millis(500);
    let renew = Effect::Renew { lease: Some(half) };
    w.change(spec, "a", renew).await.unwrap();
    assert_eq!(ends(&w).await, w.now.after(half));
    assert_eq!(w.unit(spec, "a").await.unwrap().data, data(2));
    assert_eq!(w.unit(spec, "a").await.unwrap().attempts, 1);
}

#[tokio::test]
async fn max_running_holds_for_renewals_of_ended_leases_and_for_started_attempts() {
    let mut w = World::new().await;
    let options = SpecOptions {
        max_running: 1,
        ..SpecOptions::default()
    };
    let spec = w.spec_with("s", options).await;
    w.put(spec, &["a", "b", "c"]).await;
    w.claim(spec, "one").await.unwrap();
    w.advance(seconds(61));
    let start = Effect::Start(Outcome::Pending(LEASE));
    w.change(spec, "b", start).await.unwrap();
    let renew = Effect::Renew { lease: Some(LEASE) };
    assert_eq!(
        w.change(spec, "a", renew).await.unwrap_err(),
        Conflict::Full
    );
    assert_eq!(
        w.change(spec, "c", start).await.unwrap_err(),
        Conflict::Full
    );
    assert_eq!(w.status(spec, "a").await, UnitStatus::Available);
    w.change(spec, "b", renew).await.unwrap();
    w.change(spec, "a", Effect::Finish).await.unwrap();
}

#[tokio::test]
async fn clearing_brings_the_units_data_back_and_history_keeps_the_attempts() {
    let mut w = World::new().await;
    let spec = w.spec("s", &[]).await;
    w.put_units(
        spec,
        vec![NewUnit {
            data: data(1),
            ..unit("a")
        }],
    )
    .await;
    let ends = [
        (Effect::Renew { lease: None }, NOW, Ended::Expired),
        (Effect::Finish, NOW, Ended::Finished),
        (Effect::Fail, NOW, Ended::Failed),
        (
            Effect::Renew { lease: None },
            Effect::Clear { delay: LEASE },
            Ended::Retryable,
        ),
    ];
    for (number, (change, clear, _)) in (1..).zip(ends) {
        assert_eq!(w.claim(spec, "w").await.unwrap().number, number);
        w.change_with(spec, "a", change, data(2)).await.unwrap();
        assert_eq!(w.unit(spec, "a").await.unwrap().data, data(2));
        let changed = w.change(spec, "a", clear).await.unwrap();
        assert_eq!(
            (changed.active.phase, changed.active.attempt),
            (Phase::Idle, None)
        );
        let unit = w.unit(spec, "a").await.unwrap();
        assert_eq!(
            (unit.data, unit.attempts, unit.current),
            (data(1), number, None)
        );
    }
    assert_eq!(w.status(spec, "a").await, UnitStatus::Delayed);
    let past = w.memory.past_attempts(spec, b"a").unwrap().unwrap();
    assert!(
        past.iter()
            .all(|p| p.data == Some(data(2)) && p.started <= p.ended)
    );
    let how: Vec<_> = past.iter().map(|past| past.how).collect();
    assert_eq!(how, ends.map(|(_, _, how)| how));

    w.advance(LEASE);
    w.claim(spec, "w").await.unwrap();
    w.advance(seconds(61));
    w.change_with(spec, "a", Effect::Clear { delay: LEASE }, data(3))
        .await
        .unwrap();
    let last = w
        .memory
        .past_attempts(spec, b"a")
        .unwrap()
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(
        (last.how, last.data),
        (Ended::Expired, Some(data(3))),
        "it was over before"
    );
    assert_eq!(
        last.ended.after(Duration::from_secs(1)),
        w.now,
        "at its deadline"
    );
}

#[tokio::test]
async fn a_unit_given_back_is_not_held_by_an_older_not_before_time() {
    let w = World::new().await;
    let spec = w.spec("s", &[]).await;
    w.put_units(
        spec,
        vec![NewUnit {
            delay: LEASE,
            ..unit("a")
        }],
    )
    .await;
    let start = Effect::Start(Outcome::Pending(LEASE));
    w.change(spec, "a", start).await.unwrap();
    w.change(spec, "a", NOW).await.unwrap();
    assert_eq!(w.status(spec, "a").await, UnitStatus::Available);
}

#[tokio::test]
async fn preparing_replaces_data_and_may_delay() {
    let w = World::new().await;
    let spec = w.spec("s", &["a"]).await;
    let prepare = |delay| Effect::Prepare { delay };
    w.change_with(spec, "a", prepare(Duration::ZERO), data(5))
        .await
        .unwrap();
    assert_eq!(w.claim(spec, "w").await.unwrap().data, data(5));
    w.change(spec, "a", NOW).await.unwrap();
    w.change(spec, "a", prepare(LEASE)).await.unwrap();
    w.change(spec, "a", prepare(Duration::ZERO)).await.unwrap();
    assert_eq!(
        w.status(spec, "a").await,
        UnitStatus::Delayed,
        "no delay changes none"
    );
    assert_eq!(w.unit(spec, "a").await.unwrap().data, data(5));
}

#[tokio::test]
async fn an_attempt_that_an_update_starts_counts_and_belongs_to_its_worker() {
    let w = World::new().await;
    let spec = w.spec("s", &["a", "b"]).await;
    let change = w.decided(spec, "a", Effect::Start(Outcome::Failed)).await;
    w.make(
        spec,
        UnitChange {
            data: Some(data(4)),
            ..change
        },
    )
    .await
    .unwrap();
    let a = w.unit(spec, "a").await.unwrap();
    assert_eq!(
        (a.status, a.attempts, a.data),
        (UnitStatus::Failed, 1, data(4))
    );
    assert_eq!(a.current.unwrap().worker, worker("w"));
    let change = w.decided(spec, "b", Effect::Start(Outcome::Finished)).await;
    w.make(
        spec,
        UnitChange {
            worker: None,
            ..change
        },
    )
    .await
    .unwrap();
    let b = w.unit(spec, "b").await.unwrap();
    assert_eq!(
        (b.status, b.current.unwrap().worker),
        (UnitStatus::Finished, worker(""))
    );
    assert!(
        w.claim(spec, "w").await.is_none(),
        "neither is queued any more"
    );
    w.change_with(spec, "a", Effect::Finish, data(6))
        .await
        .unwrap();
    let a = w.unit(spec, "a").await.unwrap();
    assert_eq!(
        (a.status, a.attempts, a.data),
        (UnitStatus::Finished, 1, data(6))
    );
}

#[tokio::test]
async fn history_is_bounded_and_the_count_of_attempts_is_not() {
    let retention = Retention {
        attempt_history: 2,
        ..Retention::default()
    };
    let mut w = World::keeping(retention).await;
    let spec = w.spec("s", &["a"]).await;
    for number in 1..=9 {
        assert_eq!(
            w.claim(spec, &number.to_string()).await.unwrap().number,
            number
        );
        w.advance(seconds(61));
    }
    let past = w.memory.past_attempts(spec, b"a").unwrap().unwrap();
    let workers: Vec<_> = past.iter().map(|p| p.worker.to_string()).collect();
    assert_eq!(workers, ["7", "8"]);
    assert_eq!(w.unit(spec, "a").await.unwrap().attempts, 9);
    let all: Vec<_> = (1..=9).map(|n| worker(&n.to_string())).collect();
    let held = w.memory.held_units(w.now, w.namespace, &all).await.unwrap();
    assert_eq!(held.len(), 3, "what history forgets is not listed");
}

async fn chain(w: &World) -> (SpecId, SpecId) {
    let then = Some(SpecName::new("t").unwrap());
    let options = SpecOptions {
        then,
        ..SpecOptions::default()
    };
    let from = w.spec_with("s", options).await;
    (from, w.spec("t", &[]).await)
}

#[tokio::test]
async fn a_finish_adds_its_output_to_the_next_spec_once() {
    let w = World::new().await;
    let (from, to) = chain(&w).await;
    let priority = Priority::new(3.0).unwrap();
    w.put_units(
        from,
        vec![NewUnit {
            priority,
            ..unit("a")
        }],
    )
    .await;
    w.claim(from, "w").await.unwrap();
    let finish = w.decided(from, "a", Effect::Finish).await;
    let finish = UnitChange {
        data: Some(output(&["x", "y"])),
        ..finish
    };
    let made = w.make(from, finish.clone()).await.unwrap();
    assert_eq!(made.chained, Some((to, 2)));
    assert_eq!(w.unit(to, "x").await.unwrap().priority, priority);
    w.claims(to, "w", 2).await;
    assert_eq!(w.make(from, finish).await.unwrap_err(), Conflict::Changed);
    assert_eq!(
        w.counts(to).await.pending,
        2,
        "a refused finish chains nothing"
    );
}

#[tokio::test]
async fn output_counts_wherever_the_final_data_is_and_only_for_a_finish() {
    let w = World::new().await;
    let (from, to) = chain(&w).await;
    let all = [
        unit("a"),
        unit("b"),
        unit("c"),
        NewUnit {
            data: output(&["4"]),
            ..unit("d")
        },
    ];
    w.put_units(from, all.to_vec()).await;
    w.claims(from, "w", 3).await;
    let renew = Effect::Renew { lease: None };
    w.change_with(from, "a", renew, output(&["1"]))
        .await
        .unwrap();
    assert_eq!(
        w.change(from, "a", Effect::Finish).await.unwrap().chained,
        Some((to, 1))
    );
    w.change_with(from, "b", Effect::Fail, output(&["2"]))
        .await
        .unwrap();
    assert_eq!(w.counts(to).await.available, 1, "a failure chains nothing");
    w.change(from, "b", Effect::Finish).await.unwrap();
    assert_eq!(
        w.change(from, "c", Effect::Finish).await.unwrap().chained,
        None
    );
    w.change(from, "d", Effect::Start(Outcome::Finished))
        .await
        .unwrap();
    assert_eq!(w.claimed(to, "w", 9).await, "1 2 4");
}

#[tokio::test]
async fn output_onto_existing_keys_queues_none_of_them_twice() {
    let w = World::new().await;
    let (from, to) = chain(&w).await;
    w.put(from, &["a"]).await;
    w.put(to, &["1", "2", "3"]).await;
    assert_eq!(w.claimed(to, "w", 2).await, "1 2");
    w.change(to, "2", Effect::Finish).await.unwrap();
    w.claim(from, "w").await.unwrap();
    let made = w
        .change_with(from, "a", Effect::Finish, output(&["1", "2", "3", "3"]))
        .await;
    assert_eq!(made.unwrap().chained, Some((to, 4)));
    let counts = w.counts(to).await;
    assert_eq!(
        (counts.pending, counts.available, counts.finished),
        (1, 2, 0)
    );
    assert_eq!(w.claimed(to, "w", 9).await, "2 3");
}

#[tokio::test]
async fn a_spec_may_follow_itself_and_a_missing_one_is_no_error() {
    let w = World::new().await;
    let (from, to) = chain(&w).await;
    w.memory.delete_spec(to).await.unwrap();
    w.put(from, &["a"]).await;
    w.claim(from, "w").await.unwrap();
    let made = w
        .change_with(from, "a", Effect::Finish, output(&["x"]))
        .await
        .unwrap();
    assert_eq!((made.active.phase, made.chained), (Phase::Finished, None));

    let then = Some(SpecName::new("s").unwrap());
    w.spec_with(
        "s",
        SpecOptions {
            then,
            ..SpecOptions::default()
        },
    )
    .await;
    w.put(from, &["b"]).await;
    w.claim(from, "w").await.unwrap();
    let made = w
        .change_with(from, "b", Effect::Finish, output(&["b", "c"]))
        .await
        .unwrap();
    assert_eq!(made.chained, Some((from, 2)));
    assert_eq!(
        made.active.phase,
        Phase::Idle,
        "its output named the unit itself"
    );
    assert_eq!(w.claimed(from, "w", 9).await, "b c");
}

#[tokio::test]
async fn what_is_chained_is_the_output_at_the_time_of_the_finish() {
    let w = World::new().await;
    let then = Some(SpecName::new("s").unwrap());
    let options = SpecOptions {
        then,
        ..SpecOptions::default()
    };
    let spec = w.spec_with("s", options).await;
    w.put(spec, &["a", "b"]).await;
    w.claims(spec, "w", 2).await;
    // The first finish gives "b", which is pending, data that names "c".
    let item = b"\xa1\x46output\x81\x82\x41b\xa1\x46output\x81\x41c";
    let first = w.decided(spec, "a", Effect::Finish).await;
    let data = Some(RawData::new(item));
    let second = w.decided(spec, "b", Effect::Finish).await;
    let changes = vec![UnitChange { data, ..first }, second];
    let made = w.memory.change_units(w.now, spec, changes).await.unwrap();
    assert!(made.into_iter().all(|made| made.unwrap().chained.is_some()));
    assert_eq!(w.claimed(spec, "w", 9).await, "c");
}
