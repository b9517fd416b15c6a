//! `max_running` and continuous units over several daemons.

use std::time::Duration;

use coordinated::{
    backend::{Backend as _, Conflict},
    model::{Effect, Outcome, Phase},
};
use serde_cbor::Value;

use crate::{
    Daemons, after, change, claim, now,
    support::{int, text},
    worker,
};

/// What happened on PostgreSQL before: 16 connections got 6 units of a spec with 3.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn max_running_is_never_exceeded_whichever_way_a_unit_becomes_pending() {
    let world = Daemons::start(3).await;
    let spec = world.spec("s", [("max_running", int(3))]).await;
    world.add(spec, 60).await;
    for round in 0..6u64 {
        let at = after(round * 61);
        let keys: Vec<String> = (0..60).map(|key| format!("{key:06}")).collect();
        let callers: Vec<_> = (0..16usize)
            .map(|caller| {
                let (daemon, key) = (world.of(caller), keys[59 - caller].clone());
                tokio::spawn(async move {
                    if caller % 4 > 0 {
                        return claim(&daemon, at, spec, 2).await.units.len();
                    }
                    // A unit that is started without a claim.
                    let active = daemon.active_attempts(at, spec, &[key.as_bytes()]).await;
                    let active = active.unwrap().remove(0).unwrap();
                    let effect = match active.phase {
                        Phase::Idle => Effect::Start(Outcome::Pending(Duration::from_secs(60))),
                        _ => Effect::Renew {
                            lease: Some(Duration::from_secs(60)),
                        },
                    };
                    let change = coordinated::backend::UnitChange {
                        unit: active.unit,
                        phase: active.phase,
                        attempt: active.attempt_id(),
                        effect,
                        worker: Some(worker("other")),
                        data: None,
                    };
                    let made = daemon
                        .change_units(at, spec, vec![change])
                        .await
                        .unwrap()
                        .remove(0);
                    match made {
                        Ok(_) => 1,
                        Err(conflict) => {
                            assert_ne!(conflict, Conflict::Gone);
                            0
                        }
                    }
                })
            })
            .collect();
        let mut sum = 0;
        for caller in callers {
            sum += caller.await.unwrap();
        }
        let counts = world.of(1).count_units(at, spec).await.unwrap();
        assert_eq!(counts.pending, 3, "in round {round}");
        assert_eq!(sum, 3, "in round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_live_lease_is_renewed_without_counting_and_a_doubtful_one_by_counting_the_others() {
    let world = Daemons::start(2).await;
    let spec = world.spec("s", [("max_running", int(1))]).await;
    world.add(spec, 2).await;
    let first = claim(&world.of(0), now(), spec, 1).await.units.remove(0);
    let renew = |lease| Effect::Renew {
        lease: Some(Duration::from_secs(lease)),
    };
    for at in [10, 60] {
        let daemon = world.of(1);
        let renewed = daemon.change_units(
            after(at),
            spec,
            vec![change(&first, renew(60 - at + 1), None)],
        );
        assert!(renewed.await.unwrap().remove(0).is_ok(), "{at}");
    }
    // The clock of another daemon is ahead: there the lease is over, and it hands out the
    // other unit. Here the lease seems to hold.
    let second = claim(&world.of(1), after(62), spec, 1).await.units;
    assert_eq!(second.len(), 1);
    let held = claim(&world.of(0), after(62), spec, 1).await.units;
    assert!(held.is_empty());
    let daemon = world.of(0);
    let renewed = daemon.change_units(after(61), spec, vec![change(&first, renew(60), None)]);
    let conflict = renewed.await.unwrap().remove(0).unwrap_err();
    assert!(
        matches!(conflict, Conflict::Full | Conflict::Changed),
        "{conflict:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn daemons_make_one_continuous_unit_for_an_interval() {
    let world = Daemons::start(3).await;
    let spec = world
        .spec(
            "s",
            [
                ("continuous", Value::Bool(true)),
                ("interval", int(10)),
                ("x", text("y")),
            ],
        )
        .await;
    for round in 0..5u64 {
        let at = after(round * 10);
        let callers: Vec<_> = (0..9)
            .map(|caller| {
                let daemon = world.of(caller);
                tokio::spawn(async move { claim(&daemon, at, spec, 3).await.units })
            })
            .collect();
        let mut units = Vec::new();
        for caller in callers {
            units.extend(caller.await.unwrap());
        }
        assert_eq!(units.len(), 1, "in round {round}");
        let finish = vec![change(&units[0], Effect::Finish, None)];
        world
            .of(2)
            .change_units(at, spec, finish)
            .await
            .unwrap()
            .remove(0)
            .unwrap();
    }
    assert_eq!(world.count(spec).await.finished, 5);
}
