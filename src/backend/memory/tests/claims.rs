//! Claims, leases, delays and the scheduler's board.

use super::*;
use crate::model::{PriorityChange, TRACEBACK};

fn priority(value: f64) -> Priority {
    Priority::new(value).unwrap()
}

#[tokio::test]
async fn units_come_by_priority_then_key() {
    let w = World::new().await;
    let spec = w.spec("s", &["b", "", "a"]).await;
    let z = NewUnit {
        priority: priority(1.5),
        ..unit("z")
    };
    let zero = NewUnit {
        priority: priority(-1.0),
        ..unit("0")
    };
    w.put_units(spec, vec![zero, z]).await;
    assert_eq!(w.claimed(spec, "w", 3).await, "z  a");
    assert_eq!(w.claimed(spec, "w", 9).await, "b 0");
    assert!(w.claim(spec, "w").await.is_none());
}

#[tokio::test]
async fn a_changed_priority_moves_the_unit_in_the_queue() {
    let w = World::new().await;
    let spec = w.spec("s", &["a", "b", "c"]).await;
    let keys: [&[u8]; 2] = [b"c", b"unknown"];
    let set = PriorityChange::Set(priority(2.0));
    w.memory
        .prioritize_units(w.now, spec, &keys, set)
        .await
        .unwrap();
    let adjust = PriorityChange::Adjust(3.0);
    w.memory
        .prioritize_units(w.now, spec, &[b"b"], adjust)
        .await
        .unwrap();
    let again = NewUnit {
        priority: priority(9.0),
        ..unit("a")
    };
    w.put_units(spec, vec![again]).await;
    assert_eq!(w.claimed(spec, "w", 9).await, "a b c");
}

#[tokio::test]
async fn a_lease_ends_after_its_last_instant() {
    let mut w = World::new().await;
    let spec = w.spec("s", &["a"]).await;
    let first = w.claim(spec, "w").await.unwrap();
    assert_eq!((first.number, first.expires), (1, w.now.after(LEASE)));
    w.advance(LEASE);
    assert!(w.claim(spec, "w").await.is_none(), "it still holds");
    assert_eq!(w.status(spec, "a").await, UnitStatus::Pending);
    w.advance(Duration::from_micros(1));
    assert_eq!(w.counts(spec).await.available, 1, "counts know at once");
    assert_eq!(w.status(spec, "a").await, UnitStatus::Available);
    let second = w.claim(spec, "w").await.unwrap();
    assert!(second.attempt > first.attempt);
    assert_eq!(second.number, 2);
}

#[tokio::test]
async fn a_delayed_unit_is_claimed_from_its_time_on() {
    let mut w = World::new().await;
    let spec = w.spec("s", &[]).await;
    let delay = Duration::from_millis(900);
    w.put_units(spec, vec![NewUnit { delay, ..unit("a") }])
        .await;
    assert_eq!(w.memory.next_due().await.unwrap(), Some(w.now.after(delay)));
    assert_eq!(w.counts(spec).await.delayed, 1);
    w.advance(Duration::from_millis(899));
    assert!(w.claim(spec, "w").await.is_none());
    w.advance(Duration::from_millis(1));
    assert_eq!(w.status(spec, "a").await, UnitStatus::Available);
    assert!(w.claim(spec, "w").await.is_some());
}

#[tokio::test]
async fn a_claim_is_bounded_by_what_the_spec_allows() {
    let mut w = World::new().await;
    let options = SpecOptions {
        max_getwork: 2,
        max_running: 3,
        ..SpecOptions::default()
    };
    let spec = w.spec_with("s", options.clone()).await;
    w.put(spec, &["a", "b", "c", "d", "e"]).await;
    assert_eq!(w.claimed(spec, "w", 9).await, "a b");
    assert_eq!(w.claimed(spec, "w", 9).await, "c");
    assert_eq!(w.claimed(spec, "w", 9).await, "");
    assert!(
        w.memory
            .board(w.now, w.namespace)
            .await
            .unwrap()
            .candidates
            .is_empty()
    );
    w.change(spec, "a", Effect::Finish).await.unwrap();
    assert_eq!(w.claimed(spec, "w", 9).await, "d");
    w.advance(seconds(61));
    assert_eq!(
        w.memory
            .board(w.now, w.namespace)
            .await
            .unwrap()
            .candidates
            .len(),
        1
    );
    w.spec_with(
        "s",
        SpecOptions {
            paused: true,
            ..options
        },
    )
    .await;
    assert_eq!(w.claimed(spec, "w", 9).await, "");
    assert!(
        w.memory
            .board(w.now, w.namespace)
            .await
            .unwrap()
            .candidates
            .is_empty()
    );
}

#[tokio::test]
async fn a_claim_hands_out_one_unit_however_large_and_no_more_than_fit() {
    let w = World::new().await;
    let spec = w.spec("s", &[]).await;
    let half = RawData::new(&vec![0; crate::limits::CLAIM_BYTES_MAX / 2 + 1]);
    let large = |name| NewUnit {
        data: half.clone(),
        ..unit(name)
    };
    w.put_units(spec, vec![large("a"), large("b"), unit("c")])
        .await;
    assert_eq!(w.claimed(spec, "w", 9).await, "a");
    assert_eq!(w.claimed(spec, "w", 9).await, "b c");
}

#[tokio::test]
async fn a_unit_with_too_many_attempts_fails_and_the_claim_goes_on() {
    let mut w = World::new().await;
    let options = SpecOptions {
        max_retries: 2,
        ..SpecOptions::default()
    };
    let spec = w.spec_with("s", options).await;
    w.put(spec, &["a"]).await;
    for who in ["one", "two"] {
        assert!(w.claim(spec, who).await.is_some());
        w.advance(seconds(61));
    }
    w.put(spec, &["b"]).await;
    let claims = w.claims(spec, "three", 1).await;
    assert_eq!((claims.units.len(), claims.exhausted), (1, 1));
    let failed = w.unit(spec, "a").await.unwrap();
    assert_eq!((failed.status, failed.attempts), (UnitStatus::Failed, 3));
    assert_eq!(failed.current.unwrap().worker, worker("three"));
    let text = TRACEBACK.as_bytes();
    assert!(failed.data.windows(text.len()).any(|part| part == text));
    assert_eq!(
        w.memory.past_attempts(spec, b"a").unwrap().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn one_claim_fails_only_so_many_units() {
    let mut w = World::new().await;
    let options = SpecOptions {
        max_retries: 1,
        ..SpecOptions::default()
    };
    let spec = w.spec_with("s", options).await;
    let max = crate::limits::EXHAUSTED_UNITS_MAX;
    w.put_units(spec, (0..max + 5).map(|n| unit(&n.to_string())).collect())
        .await;
    assert_eq!(w.claims(spec, "w", max + 5).await.units.len(), max + 5);
    w.advance(seconds(61));
    for exhausted in [max, 5, 0] {
        let claims = w.claims(spec, "w", 1).await;
        assert_eq!((claims.units.len(), claims.exhausted), (0, exhausted));
    }
}

#[tokio::test]
async fn a_continuous_spec_makes_one_unit_for_each_interval() {
    let mut w = World::new().await;
    let options = SpecOptions {
        continuous: true,
        can_be_continuous: true,
        interval: seconds(100),
        ..SpecOptions::default()
    };
    let spec = w.spec_with("s", options.clone()).await;
    let candidates = async |w: &World| {
        w.memory
            .board(w.now, w.namespace)
            .await
            .unwrap()
            .candidates
            .len()
    };
    assert_eq!(candidates(&w).await, 1);
    w.advance(Duration::from_micros(7_000));
    let made = w.claims(spec, "w", 9).await.units;
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].key.as_bytes(), b"1700000000.007");
    assert_eq!(made[0].key.as_ref().string_type, StringType::Text);
    assert_eq!(&made[0].data[..], [0xa0]);
    assert_eq!(candidates(&w).await, 0, "not while there is one");
    let key = "1700000000.007";
    w.change(spec, key, Effect::Finish).await.unwrap();
    assert!(
        w.claim(spec, "w").await.is_none(),
        "not in the same interval"
    );
    w.spec_with("s", options).await;
    assert!(
        w.claim(spec, "w").await.is_none(),
        "nor if the spec is set again"
    );
    assert_eq!(
        w.memory.next_due().await.unwrap(),
        Some(w.now.after(seconds(100)))
    );
    w.advance(seconds(100));
    assert_eq!(candidates(&w).await, 1);
    assert!(w.claim(spec, "w").await.is_some());
}

#[tokio::test]
async fn a_made_unit_has_a_key_of_its_own_and_comes_only_when_there_is_nothing_else() {
    let w = World::new().await;
    let options = SpecOptions {
        continuous: true,
        ..SpecOptions::default()
    };
    let spec = w.spec_with("s", options).await;
    w.put(spec, &["1700000000.000"]).await;
    for key in ["1700000000.000", "1700000000.001", "1700000000.002"] {
        assert_eq!(w.claimed(spec, "w", 1).await, key);
        assert_eq!(w.claimed(spec, "w", 1).await, "", "one is pending");
        w.change(spec, key, Effect::Finish).await.unwrap();
    }
    w.put_units(
        spec,
        vec![NewUnit {
            delay: LEASE,
            ..unit("later")
        }],
    )
    .await;
    assert_eq!(w.claimed(spec, "w", 1).await, "", "one is delayed");
}

#[tokio::test]
async fn held_units_are_listed_until_the_worker_has_said_what_came_of_them() {
    let mut w = World::new().await;
    let (b, a) = (w.spec("b", &["x", "y"]).await, w.spec("a", &["z"]).await);
    let listed = async |w: &World, who: &str| {
        let held = w
            .memory
            .held_units(w.now, w.namespace, &[worker(who)])
            .await
            .unwrap();
        let one = |unit: &crate::model::HeldUnit| {
            let holder = unit
                .holder
                .as_ref()
                .map_or("nobody".into(), |h| h.0.to_string());
            format!("{}:{:?} {holder}", unit.spec, unit.key)
        };
        held.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    w.claims(b, "one", 2).await;
    w.claims(a, "one", 1).await;
    assert_eq!(
        listed(&w, "one").await,
        r#"a:"z" one, b:"x" one, b:"y" one"#
    );
    w.change(b, "y", Effect::Finish).await.unwrap();
    w.change(a, "z", Effect::Clear { delay: LEASE })
        .await
        .unwrap();
    w.advance(seconds(61));
    assert_eq!(listed(&w, "one").await, r#"b:"x" nobody"#);
    w.claim(b, "two").await.unwrap();
    assert_eq!(listed(&w, "one").await, r#"b:"x" two"#);
    w.change(b, "x", Effect::Fail).await.unwrap();
    assert_eq!(listed(&w, "two").await, "");
    assert_eq!(listed(&w, "one").await, r#"b:"x" nobody"#);
    w.memory
        .delete_units(w.now, b, crate::backend::UnitSelection::All)
        .await
        .unwrap();
    assert_eq!(listed(&w, "one").await, "");
}

#[tokio::test]
async fn a_worker_that_claimed_a_unit_twice_has_it_once() {
    let mut w = World::new().await;
    let spec = w.spec("s", &["x"]).await;
    w.claim(spec, "one").await.unwrap();
    w.advance(seconds(61));
    w.claim(spec, "one").await.unwrap();
    let held = w
        .memory
        .held_units(w.now, w.namespace, &[worker("one")])
        .await;
    assert_eq!(held.unwrap().len(), 1);
}
