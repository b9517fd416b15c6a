//! Finishes that lead to units, in circles, on several daemons at the same time.

use coordinated::{backend::Backend as _, model::Effect};

use crate::{Daemons, change, claim, now, output, support::text, unit};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chains_in_both_directions_lose_and_double_nothing() {
    let world = Daemons::start(3).await;
    let ping = world.spec("ping", [("then", text("pong"))]).await;
    let pong = world.spec("pong", [("then", text("ping"))]).await;
    world.add(ping, 100).await;
    world.add(pong, 100).await;
    let callers: Vec<_> = (0..12usize)
        .map(|caller| {
            let daemon = world.of(caller);
            let mut random = fastrand::Rng::with_seed(caller as u64);
            tokio::spawn(async move {
                let mut finished = 0;
                for round in 0..25 {
                    let spec = if (caller + round) % 2 == 0 {
                        ping
                    } else {
                        pong
                    };
                    let units = claim(&daemon, now(), spec, 4).await.units;
                    let changes: Vec<_> = units
                        .iter()
                        .map(|unit| {
                            // Keys that others' outputs name too, in any order, and that exist.
                            let mut keys: Vec<String> = (0..6)
                                .map(|_| format!("{:06}", random.usize(..130)))
                                .collect();
                            random.shuffle(&mut keys);
                            change(unit, Effect::Finish, Some(output(&keys)))
                        })
                        .collect();
                    for made in daemon.change_units(now(), spec, changes).await.unwrap() {
                        assert_eq!(made.unwrap().chained.unwrap().1, 6);
                        finished += 1;
                    }
                    let added = [unit(&format!("{:06}", random.usize(..130)))];
                    daemon.put_units(now(), spec, &added).await.unwrap();
                }
                finished
            })
        })
        .collect();
    let mut finished = 0;
    for caller in callers {
        finished += caller.await.unwrap();
    }
    assert!(finished > 500, "only {finished}");
    for spec in [ping, pong] {
        let counts = world.count(spec).await;
        let sum = counts.available + counts.delayed + counts.pending + counts.finished;
        let all = coordinated::backend::UnitPage {
            statuses: coordinated::model::StatusSet::ALL,
            after: None,
            limit: 1_000,
        };
        let listed = world.of(0).page_units(now(), spec, all).await.unwrap();
        assert_eq!(listed.len() as u64, sum, "counts are true: {counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_spec_that_chains_to_itself_does_so_on_many_daemons_at_once() {
    let world = Daemons::start(3).await;
    let spec = world.spec("s", [("then", text("s"))]).await;
    world.add(spec, 60).await;
    let callers: Vec<_> = (0..9usize)
        .map(|caller| {
            let daemon = world.of(caller);
            let mut random = fastrand::Rng::with_seed(caller as u64);
            tokio::spawn(async move {
                for _ in 0..20 {
                    let units = claim(&daemon, now(), spec, 4).await.units;
                    let changes: Vec<_> = units
                        .iter()
                        .map(|unit| {
                            let other = format!("{:06}", random.usize(..60));
                            let own = String::from_utf8(unit.key.as_bytes().to_vec()).unwrap();
                            change(unit, Effect::Finish, Some(output(&[other, own])))
                        })
                        .collect();
                    for made in daemon.change_units(now(), spec, changes).await.unwrap() {
                        made.unwrap();
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let counts = world.count(spec).await;
    assert_eq!(
        (counts.available, counts.finished),
        (60, 0),
        "each is to be done again"
    );
}

#[tokio::test]
async fn a_bare_finish_chains_what_another_daemon_wrote_into_the_unit() {
    let world = Daemons::start(2).await;
    let spec = world.spec("s", [("then", text("t"))]).await;
    let target = world.spec("t", []).await;
    world.add(spec, 1).await;
    let claimed = claim(&world.of(0), now(), spec, 1).await.units.remove(0);
    let renew = Effect::Renew { lease: None };
    let data = output(&["x".to_owned()]);
    let daemon = world.of(1);
    let renewed = daemon.change_units(now(), spec, vec![change(&claimed, renew, Some(data))]);
    renewed.await.unwrap().remove(0).unwrap();
    let finish = vec![change(&claimed, Effect::Finish, None)];
    let made = world
        .of(0)
        .change_units(now(), spec, finish)
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    assert_eq!(made.chained, Some((target, 1)));
    assert_eq!(world.count(target).await.available, 1);
}
