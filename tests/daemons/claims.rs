//! Claims, changes, additions and deletions of several daemons at the same time.

use std::collections::HashSet;

use coordinated::{
    backend::{Backend as _, Conflict, UnitSelection},
    model::{Effect, StatusSet, UnitCounts},
};

use crate::{Daemons, after, change, claim, now, unit};

const CALLERS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_unit_is_handed_out_once_and_finished_once() {
    let world = Daemons::start(3).await;
    let spec = world.spec("s", []).await;
    world.add(spec, 600).await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let daemon = world.of(caller);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let units = claim(&daemon, now(), spec, 1 + caller % 5).await.units;
                    if units.is_empty() {
                        return seen;
                    }
                    let changes = units.iter().map(|unit| change(unit, Effect::Finish, None));
                    let made = daemon.change_units(now(), spec, changes.collect()).await;
                    assert!(made.unwrap().iter().all(Result::is_ok));
                    seen.extend(units.into_iter().map(|unit| (unit.unit, unit.attempt)));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for caller in callers {
        all.extend(caller.await.unwrap());
    }
    // A claim may pass by units that another is about to take or to leave.
    all.extend(
        claim(&world.of(0), now(), spec, 600)
            .await
            .units
            .iter()
            .map(|u| (u.unit, u.attempt)),
    );
    let units: HashSet<_> = all.iter().map(|(unit, _)| unit).collect();
    let attempts: HashSet<_> = all.iter().map(|(_, attempt)| attempt).collect();
    assert_eq!((all.len(), units.len(), attempts.len()), (600, 600, 600));
    let counts = world.count(spec).await;
    assert_eq!(counts.finished + counts.pending, 600);
}

/// One daemon: another may pass by units whose leases this one is just ending.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attempts_that_are_superseded_are_logged_however_many_claim_together() {
    let world = Daemons::start(1).await;
    let spec = world.spec("s", []).await;
    world.add(spec, 60).await;
    let late = claim(&world.of(0), now(), spec, 20).await.units;
    assert_eq!(late.len(), 20);
    let mut later = 0;
    for at in [now(), after(61)] {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let daemon = world.of(caller);
                tokio::spawn(async move { claim(&daemon, at, spec, 2).await.units.len() })
            })
            .collect();
        for caller in callers {
            later += caller.await.unwrap();
        }
    }
    assert_eq!(later, 4 * CALLERS);
    let client = world.schema.client().await;
    let logged = "select count(*) from attempt where how = 1 and held";
    let logged: i64 = client.query_one(logged, &[]).await.unwrap().get(0);
    // All leases had ended at the second time, and the first units come first again.
    assert_eq!(logged, 2 * i64::try_from(CALLERS).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_change_an_attempt_one_succeeds() {
    let world = Daemons::start(2).await;
    let spec = world.spec("s", []).await;
    world.add(spec, 20).await;
    let claimed = claim(&world.of(0), now(), spec, 20).await.units;
    for unit in claimed {
        let callers: Vec<_> = [Effect::Finish, Effect::Fail, Effect::Finish, Effect::Fail]
            .into_iter()
            .enumerate()
            .map(|(caller, effect)| {
                let (daemon, changes) = (world.of(caller), vec![change(&unit, effect, None)]);
                tokio::spawn(async move { daemon.change_units(now(), spec, changes).await })
            })
            .collect();
        let mut made = 0;
        for caller in callers {
            match caller.await.unwrap().unwrap().remove(0) {
                Ok(_) => made += 1,
                Err(conflict) => assert_eq!(conflict, Conflict::Changed),
            }
        }
        assert_eq!(made, 1);
    }
    let counts = world.count(spec).await;
    assert_eq!(counts.finished + counts.failed, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_ended_lease_is_taken_over_by_one_and_counted_by_all() {
    let world = Daemons::start(2).await;
    let spec = world.spec("s", []).await;
    world.add(spec, 50).await;
    let first = claim(&world.of(0), now(), spec, 50).await.units;
    for daemon in &world.daemons {
        let counts = daemon.count_units(after(61), spec).await.unwrap();
        assert_eq!(
            (counts.available, counts.pending),
            (50, 0),
            "before anyone wrote it down"
        );
    }
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let daemon = world.of(caller);
            tokio::spawn(async move { claim(&daemon, after(61), spec, 10).await.units })
        })
        .collect();
    let mut taken = HashSet::new();
    for caller in callers {
        for unit in caller.await.unwrap() {
            assert!(taken.insert(unit.unit), "handed out twice");
            assert_eq!(unit.number, 2);
        }
    }
    let rest = claim(&world.of(1), after(61), spec, 50).await.units;
    assert_eq!(taken.len() + rest.len(), 50);
    let late = first.iter().map(|unit| change(unit, Effect::Finish, None));
    let late = world
        .of(1)
        .change_units(after(61), spec, late.collect())
        .await;
    assert!(
        late.unwrap()
            .iter()
            .all(|made| matches!(made, Err(Conflict::Changed)))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn additions_of_the_same_keys_agree_on_one_unit_each() {
    let world = Daemons::start(3).await;
    let spec = world.spec("s", []).await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let daemon = world.of(caller);
            tokio::spawn(async move {
                // Each in an order of its own.
                let mut keys: Vec<usize> = (0..100).collect();
                fastrand::Rng::with_seed(caller as u64).shuffle(&mut keys);
                for keys in keys.chunks(25) {
                    let units: Vec<_> = keys.iter().map(|key| unit(&format!("{key:03}"))).collect();
                    daemon.put_units(now(), spec, &units).await.unwrap();
                    let claimed = claim(&daemon, now(), spec, 5).await.units;
                    let changes = claimed
                        .iter()
                        .map(|unit| change(unit, Effect::Finish, None));
                    daemon
                        .change_units(now(), spec, changes.collect())
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let counts = world.count(spec).await;
    let sum = counts.available + counts.delayed + counts.pending + counts.finished + counts.failed;
    assert_eq!(sum, 100);
    let daemon = world.of(1);
    let deleted = daemon.delete_units(now(), spec, UnitSelection::Statuses(StatusSet::ALL));
    assert_eq!(deleted.await.unwrap(), 100, "the counts are true");
    assert_eq!(world.count(spec).await, UnitCounts::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_added_while_all_is_deleted_is_kept_or_deleted_and_counted() {
    let world = Daemons::start(2).await;
    let spec = world.spec("s", []).await;
    let adding = world.of(0);
    let adder = tokio::spawn(async move {
        for i in 0..100 {
            let units: Vec<_> = (0..10).map(|j| unit(&format!("{i}-{j}"))).collect();
            adding.put_units(now(), spec, &units).await.unwrap();
            claim(&adding, now(), spec, 3).await;
        }
    });
    let mut deleted = 0;
    for _ in 0..20 {
        let some = world
            .of(1)
            .delete_units(now(), spec, UnitSelection::All)
            .await;
        deleted += some.unwrap();
        world.of(1).sweep(now(), 1_000).await.unwrap();
    }
    adder.await.unwrap();
    let counts = world.count(spec).await;
    assert_eq!(deleted + counts.available + counts.pending, 1_000);
    while world.of(0).sweep(now(), 1_000).await.unwrap().more {}
    assert_eq!(
        world.count(spec).await,
        counts,
        "upkeep does not change what is"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_handed_out_after_a_pause_or_a_deletion_was_acknowledged() {
    let world = Daemons::start(2).await;
    for pause in [true, false] {
        let spec = world.spec("s", []).await;
        world.add(spec, 2_000).await;
        let claiming: Vec<_> = (0..4)
            .map(|caller| {
                let daemon = world.of(caller);
                tokio::spawn(async move {
                    let claim = coordinated::backend::Claim {
                        spec,
                        worker: crate::worker("w"),
                        units_max: 1,
                        lease: crate::LEASE,
                    };
                    while daemon
                        .claim(now(), &claim)
                        .await
                        .is_ok_and(|c| !c.units.is_empty())
                    {}
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let daemon = world.of(1);
        if pause {
            let pause = coordinated::model::SpecChange {
                paused: Some(true),
                ..Default::default()
            };
            assert!(daemon.change_spec(now(), spec, &pause).await.unwrap());
            let counts = world.count(spec).await;
            for caller in claiming {
                caller.await.unwrap();
            }
            assert_eq!(world.count(spec).await, counts, "acknowledged means over");
            assert!(claim(&world.of(0), now(), spec, 1).await.units.is_empty());
            daemon.delete_spec(spec).await.unwrap();
        } else {
            daemon.delete_spec(spec).await.unwrap();
            for caller in claiming {
                caller.await.unwrap();
            }
        }
    }
}
