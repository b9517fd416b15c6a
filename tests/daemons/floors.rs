//! Claims begin where the last one ended, and yet nothing that is to come first comes
//! later: whatever this daemon makes available behind that place, the next claim takes.

use std::time::Duration;

use coordinated::{
    backend::{Backend as _, UnitSelection, postgres::Postgres},
    clock::Timestamp,
    model::{Effect, NewUnit, Priority, PriorityChange, SpecId, StatusSet},
};

use crate::{Daemons, LEASE, after, change, claim, now, output, support::text, unit};

/// Ten units added and the first six of them claimed: the next are `000006` and so on.
async fn half_claimed(world: &Daemons, spec: SpecId) -> Vec<coordinated::model::Claimed> {
    world.add(spec, 10).await;
    let claimed = claim(&world.of(0), now(), spec, 6).await.units;
    assert_eq!(claimed.len(), 6);
    claimed
}

/// The keys of the next units.
async fn next(daemon: &Postgres, at: Timestamp, spec: SpecId, count: usize) -> Vec<String> {
    let units = claim(daemon, at, spec, count).await.units;
    let keys = units.iter().map(|unit| unit.key.as_bytes().to_vec());
    keys.map(|key| String::from_utf8(key).unwrap()).collect()
}

fn unit_of(key: &str, priority: f64) -> NewUnit {
    NewUnit {
        priority: Priority::new(priority).unwrap(),
        ..unit(key)
    }
}

#[tokio::test]
async fn units_that_are_added_behind_come_next() {
    let world = Daemons::start(1).await;
    let (daemon, spec) = (world.of(0), world.spec("s", []).await);
    half_claimed(&world, spec).await;
    let added = [
        unit_of("000000a", 0.0),
        unit_of("z", 1.0),
        unit_of("y", -1.0),
    ];
    daemon.put_units(now(), spec, &added).await.unwrap();
    assert_eq!(
        next(&daemon, now(), spec, 3).await,
        ["z", "000000a", "000006"]
    );
    daemon
        .put_units(now(), spec, &[unit("000005b")])
        .await
        .unwrap();
    let rest = ["000005b", "000007", "000008", "000009", "y"];
    assert_eq!(next(&daemon, now(), spec, 9).await, rest);
}

#[tokio::test]
async fn units_that_come_back_come_next() {
    let world = Daemons::start(1).await;
    let (daemon, spec) = (world.of(0), world.spec("s", []).await);
    let claimed = half_claimed(&world, spec).await;
    let back = |unit: usize, delay| change(&claimed[unit], Effect::Clear { delay }, None);
    let delay = Duration::from_secs(5);
    let changes = vec![
        back(4, Duration::ZERO),
        back(2, Duration::ZERO),
        back(3, delay),
    ];
    daemon.change_units(now(), spec, changes).await.unwrap();
    assert_eq!(next(&daemon, now(), spec, 1).await, ["000002"]);
    assert_eq!(next(&daemon, now(), spec, 2).await, ["000004", "000006"]);
    assert_eq!(next(&daemon, after(6), spec, 2).await, ["000003", "000007"]);
    let at = now().after(LEASE + Duration::from_secs(1));
    let rest = ["000000", "000001", "000002", "000004", "000005"];
    assert_eq!(next(&daemon, at, spec, 5).await, rest, "their leases ended");
}

#[tokio::test]
async fn units_that_upkeep_finds_to_have_ended_come_next() {
    let world = Daemons::start(2).await;
    let spec = world.spec("s", []).await;
    let ended = now().after(LEASE + Duration::from_secs(1));
    half_claimed(&world, spec).await;
    world.of(0).sweep(ended, 100).await.unwrap();
    assert_eq!(
        next(&world.of(0), ended, spec, 2).await,
        ["000000", "000001"]
    );
}

#[tokio::test]
async fn units_whose_priority_changes_come_in_their_new_place() {
    let world = Daemons::start(1).await;
    let (daemon, spec) = (world.of(0), world.spec("s", []).await);
    world.add(spec, 10).await;
    let set = |priority| PriorityChange::Set(Priority::new(priority).unwrap());
    assert_eq!(next(&daemon, now(), spec, 1).await, ["000000"]);
    let keys: [&[u8]; 1] = [b"000009"];
    daemon
        .prioritize_units(now(), spec, &keys, set(3.0))
        .await
        .unwrap();
    assert_eq!(next(&daemon, now(), spec, 2).await, ["000009", "000001"]);
    let keys: [&[u8]; 1] = [b"000002"];
    daemon
        .prioritize_units(now(), spec, &keys, set(-3.0))
        .await
        .unwrap();
    assert_eq!(next(&daemon, now(), spec, 1).await, ["000003"]);
}

#[tokio::test]
async fn units_that_finished_ones_lead_to_come_next() {
    let world = Daemons::start(1).await;
    let daemon = world.of(0);
    let target = world.spec("target", []).await;
    let source = world.spec("source", [("then", text("target"))]).await;
    let own = world.spec("own", [("then", text("own"))]).await;
    half_claimed(&world, target).await;
    world.add(source, 1).await;
    let claimed = claim(&daemon, now(), source, 1).await.units;
    let data = output(&["a".to_owned(), "000003a".to_owned()]);
    let finish = change(&claimed[0], Effect::Finish, Some(data));
    daemon
        .change_units(now(), source, vec![finish])
        .await
        .unwrap();
    assert_eq!(next(&daemon, now(), target, 2).await, ["000003a", "000006"]);

    let claimed = half_claimed(&world, own).await;
    let data = output(&["000002a".to_owned()]);
    let finish = change(&claimed[5], Effect::Finish, Some(data));
    daemon.change_units(now(), own, vec![finish]).await.unwrap();
    assert_eq!(next(&daemon, now(), own, 2).await, ["000002a", "000006"]);
}

#[tokio::test]
async fn units_that_are_deleted_and_added_again_come_next() {
    let world = Daemons::start(1).await;
    let (daemon, spec) = (world.of(0), world.spec("s", []).await);
    half_claimed(&world, spec).await;
    let all = UnitSelection::Statuses(StatusSet::ALL);
    daemon.delete_units(now(), spec, all).await.unwrap();
    world.add(spec, 3).await;
    assert_eq!(next(&daemon, now(), spec, 2).await, ["000000", "000001"]);
}

#[tokio::test]
async fn what_only_others_know_of_is_found_before_there_is_no_work() {
    let world = Daemons::start(2).await;
    let spec = world.spec("s", []).await;
    world.add(spec, 4).await;
    assert_eq!(next(&world.of(0), now(), spec, 3).await.len(), 3);
    let added = [unit("000000a")];
    world.of(1).put_units(now(), spec, &added).await.unwrap();
    assert_eq!(next(&world.of(0), now(), spec, 1).await.len(), 1);
    assert_eq!(next(&world.of(0), now(), spec, 1).await.len(), 1);
    assert!(next(&world.of(0), now(), spec, 1).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_make_available_comes_first_within_a_moment() {
    let world = Daemons::start(2).await;
    let (daemon, spec) = (world.of(0), world.spec("s", []).await);
    world.add(spec, 2).await;
    assert_eq!(next(&daemon, now(), spec, 1).await, ["000000"]);
    world
        .of(1)
        .put_units(now(), spec, &[unit("!")])
        .await
        .unwrap();
    // Each claim is given back, so that there is always something after the floor.
    for _ in 0..100_000 {
        let claimed = claim(&daemon, now(), spec, 1).await.units;
        if claimed[0].key.as_bytes() == b"!" {
            return;
        }
        let again = Effect::Clear {
            delay: Duration::ZERO,
        };
        let changes = vec![change(&claimed[0], again, None)];
        daemon.change_units(now(), spec, changes).await.unwrap();
    }
    panic!("it was never looked for");
}
