//! Adding, showing, counting, deleting and archiving units.

use super::*;
use crate::{
    backend::{UnitPage, UnitSelection},
    limits::{DELAY_BATCH_MAX, DELETE_BATCH_MAX},
    model::StatusSet,
};

const FINISHED: u64 = 4;

fn statuses(numbers: &[u64]) -> StatusSet {
    numbers
        .iter()
        .fold(StatusSet::NONE, |set, &n| set.with_wire(n))
}

async fn page(
    w: &World,
    spec: SpecId,
    set: StatusSet,
    after: Option<&str>,
    limit: usize,
) -> String {
    let after = after.map(str::as_bytes);
    let page = UnitPage {
        statuses: set,
        after,
        limit,
    };
    let units = w.memory.page_units(w.now, spec, page).await.unwrap();
    let keys: Vec<_> = units.iter().map(|u| u.key.as_bytes().to_vec()).collect();
    String::from_utf8(keys.join(&b' ')).unwrap()
}

/// Six units in five states: "d" delayed, "e" available, "f" failed, "g" finished,
/// "p" pending, "q" finished.
async fn every_state(w: &World) -> SpecId {
    let spec = w.spec("s", &["p", "f", "g", "q"]).await;
    w.claims(spec, "w", 4).await;
    w.change(spec, "f", Effect::Fail).await.unwrap();
    w.change(spec, "g", Effect::Finish).await.unwrap();
    w.change(spec, "q", Effect::Finish).await.unwrap();
    w.put_units(
        spec,
        vec![
            unit("e"),
            NewUnit {
                delay: LEASE,
                ..unit("d")
            },
        ],
    )
    .await;
    spec
}

#[tokio::test]
async fn adding_an_existing_unit_replaces_it_and_ends_only_what_was_over() {
    let mut w = World::new().await;
    let spec = every_state(&w).await;
    let again = |name: &&str| NewUnit {
        data: data(9),
        ..unit(name)
    };
    w.put_units(
        spec,
        ["d", "e", "f", "g", "p", "q"].iter().map(again).collect(),
    )
    .await;
    let counts = w.counts(spec).await;
    assert_eq!(
        (counts.available, counts.pending),
        (5, 1),
        "a new not-before time counts"
    );
    let g = w.unit(spec, "g").await.unwrap();
    assert_eq!((g.attempts, g.current, g.data), (1, None, data(9)));
    assert_eq!(
        w.memory.past_attempts(spec, b"g").unwrap().unwrap().len(),
        1
    );
    assert!(w.unit(spec, "p").await.unwrap().current.is_some());

    let delayed = |name: &&str| NewUnit {
        delay: LEASE * 2,
        ..unit(name)
    };
    w.put_units(spec, ["e", "p"].iter().map(delayed).collect())
        .await;
    assert_eq!(w.status(spec, "e").await, UnitStatus::Delayed);
    assert_eq!(w.status(spec, "p").await, UnitStatus::Pending);
    w.advance(seconds(61));
    assert_eq!(w.status(spec, "p").await, UnitStatus::Delayed);
    assert!(
        w.unit(spec, "p").await.unwrap().current.is_some(),
        "it may still be renewed"
    );
    w.put(spec, &["p"]).await;
    assert_eq!(w.status(spec, "p").await, UnitStatus::Available);
    assert!(w.unit(spec, "p").await.unwrap().current.is_some());
}

#[tokio::test]
async fn of_several_entries_with_one_key_the_last_counts_and_the_first_types_the_key() {
    let w = World::new().await;
    let spec = w.spec("s", &[]).await;
    let text = KeyRef {
        bytes: b"a",
        string_type: StringType::Text,
    };
    let text = NewUnit {
        key: UnitKey::new(text).unwrap(),
        delay: LEASE,
        ..unit("a")
    };
    let units = vec![
        text,
        NewUnit {
            data: data(2),
            ..unit("a")
        },
    ];
    w.put_units(spec, units).await;
    let a = w.claim(spec, "w").await.unwrap();
    assert_eq!(
        (a.data, a.key.as_ref().string_type),
        (data(2), StringType::Text)
    );
}

#[tokio::test]
async fn pages_show_what_matches_in_the_order_of_keys() {
    let w = World::new().await;
    let spec = every_state(&w).await;
    w.put(spec, &[""]).await;
    assert_eq!(
        page(&w, spec, StatusSet::ALL, None, 99).await,
        " d e f g p q"
    );
    assert_eq!(page(&w, spec, StatusSet::ALL, Some(""), 3).await, "d e f");
    assert_eq!(page(&w, spec, StatusSet::ALL, Some("ee"), 2).await, "f g");
    assert_eq!(page(&w, spec, statuses(&[1]), Some("d"), 9).await, "e");
    assert_eq!(page(&w, spec, statuses(&[4, 3]), None, 9).await, "g p q");
    assert_eq!(page(&w, spec, statuses(&[2, 5]), None, 9).await, "f");
    assert_eq!(page(&w, spec, StatusSet::NONE, None, 9).await, "");
    assert_eq!(page(&w, spec, StatusSet::ALL, Some("q"), 9).await, "");
}

#[tokio::test]
async fn deleting_takes_exactly_what_was_selected() {
    let w = World::new().await;
    let delete = async |spec, selection: UnitSelection<'_>| {
        let deleted = w.memory.delete_units(w.now, spec, selection).await.unwrap();
        w.check();
        deleted
    };
    let spec = every_state(&w).await;
    let keys: Vec<&[u8]> = vec![b"g", b"p", b"unknown", b"g"];
    let both = UnitSelection::Keys(keys.clone(), statuses(&[FINISHED]));
    assert_eq!(delete(spec, both).await, 1);
    assert_eq!(
        delete(spec, UnitSelection::Keys(vec![], StatusSet::ALL)).await,
        0
    );
    assert_eq!(
        delete(spec, UnitSelection::Statuses(StatusSet::NONE)).await,
        0
    );
    assert_eq!(
        delete(spec, UnitSelection::Statuses(statuses(&[1, 5]))).await,
        3
    );
    assert_eq!(page(&w, spec, StatusSet::ALL, None, 9).await, "p q");
    assert_eq!(
        delete(spec, UnitSelection::Keys(keys, StatusSet::ALL)).await,
        1
    );
    assert_eq!(delete(spec, UnitSelection::All).await, 1);
    assert_eq!(w.counts(spec).await, UnitCounts::default());
    w.put(spec, &["p"]).await;
    assert_eq!(w.claimed(spec, "w", 9).await, "p");
}

#[tokio::test]
async fn deletions_of_more_units_than_fit_in_a_step_are_complete() {
    let w = World::new().await;
    let spec = w.spec("s", &[]).await;
    let many = DELETE_BATCH_MAX * 2;
    let units = || (0..many).map(|n| unit(&format!("{n:06}"))).collect();
    w.put_units(spec, units()).await;
    w.put_units(
        spec,
        vec![NewUnit {
            delay: LEASE,
            ..unit("x")
        }],
    )
    .await;
    let set = statuses(&[1]);
    let deleted = w
        .memory
        .delete_units(w.now, spec, UnitSelection::Statuses(set))
        .await;
    assert_eq!(deleted.unwrap(), many as u64 + 1);
    w.put_units(spec, units()).await;
    assert_eq!(w.counts(spec).await.available, many as u64);
    w.check();
}

#[tokio::test]
async fn very_many_delays_that_end_together_are_available_at_once_to_every_client() {
    let mut w = World::new().await;
    let spec = w.spec("s", &[]).await;
    let many = DELAY_BATCH_MAX + 1;
    let delayed = |n| NewUnit {
        delay: LEASE,
        ..unit(&format!("{n:06}"))
    };
    let units: Vec<_> = (0..many).map(delayed).collect();
    w.memory.put_units(w.now, spec, &units).await.unwrap();
    w.advance(LEASE);
    let counts = w.counts(spec).await;
    assert_eq!(counts.available + counts.delayed, many as u64);
    assert!(
        w.memory.next_due().await.unwrap().unwrap() <= w.now,
        "there is more to do"
    );
    assert_eq!(
        w.status(spec, &format!("{:06}", many - 1)).await,
        UnitStatus::Available
    );
    let mut claimed = 0;
    while w.claim(spec, "w").await.is_some() && claimed < 2 {
        claimed += 1;
    }
    assert_eq!(w.counts(spec).await.delayed, 0);
}

#[tokio::test]
async fn units_that_are_not_kept_are_archived_oldest_first_and_stay_in_the_counts() {
    let retention = Retention {
        completed_count: Some(2),
        completed_age: Some(seconds(100)),
        ..Retention::default()
    };
    let mut w = World::keeping(retention).await;
    let spec = w.spec("s", &["a", "b", "c", "d", "e"]).await;
    w.claims(spec, "w", 5).await;
    for key in ["c", "a", "b", "d"] {
        w.advance(seconds(1));
        w.change(spec, key, Effect::Finish).await.unwrap();
    }
    w.change(spec, "e", Effect::Fail).await.unwrap();
    let archive = async |w: &World, names| {
        w.memory.archive(w.now, w.namespace, names).await.unwrap();
        w.check();
    };
    archive(&w, Some(&["unknown"])).await;
    assert_eq!(page(&w, spec, StatusSet::ALL, None, 9).await, "a b c d e");
    archive(&w, Some(&["s"])).await;
    assert_eq!(page(&w, spec, StatusSet::ALL, None, 9).await, "b d e");
    assert_eq!(w.counts(spec).await.finished, 4);
    w.advance(seconds(101));
    archive(&w, None).await;
    assert_eq!(page(&w, spec, StatusSet::ALL, None, 9).await, "");
    assert_eq!(
        (w.counts(spec).await.finished, w.counts(spec).await.failed),
        (4, 1)
    );
    let by_state = UnitSelection::Statuses(StatusSet::ALL);
    w.memory.delete_units(w.now, spec, by_state).await.unwrap();
    assert_eq!(w.counts(spec).await.finished, 4);
    w.memory
        .delete_units(w.now, spec, UnitSelection::All)
        .await
        .unwrap();
    assert_eq!(w.counts(spec).await, UnitCounts::default());
}

#[tokio::test]
async fn nothing_is_archived_unless_retention_is_limited() {
    let w = World::new().await;
    let spec = every_state(&w).await;
    w.memory.archive(w.now, w.namespace, None).await.unwrap();
    assert_eq!(page(&w, spec, statuses(&[4, 5]), None, 9).await, "f g q");
}
