//! Locks that several daemons are asked for at the same time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use coordinated::{
    backend::{Backend, LockRequest, Retention, memory::Memory},
    clock::Timestamp,
    model::{LockPath, NamespaceId, NamespaceName},
};

use crate::{Daemons, after, now, worker};

/// `"a/b"` as the path ("a", "b"); nothing is the root.
fn path(text: &str) -> LockPath {
    let labels: Vec<&str> = text.split('/').filter(|label| !label.is_empty()).collect();
    let mut item = vec![0x80 + labels.len() as u8];
    for label in labels {
        item.push(0x60 + label.len() as u8);
        item.extend(label.as_bytes());
    }
    LockPath::read(&item).unwrap()
}

fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (format!("{one}/"), format!("{other}/"));
    one == "/" || other == "/" || one.starts_with(&other) || other.starts_with(&one)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_two_owners_ever_hold_what_overlaps() {
    let world = Daemons::start(3).await;
    let paths = ["", "a", "a/x", "a/x/1", "a/y", "b", "b/x", "c/x/1"];
    let held: Arc<Mutex<HashMap<&str, usize>>> = Arc::default();
    let callers: Vec<_> = (0..9usize)
        .map(|caller| {
            let (daemon, namespace, held) = (world.of(caller), world.namespace, held.clone());
            let mut random = fastrand::Rng::with_seed(caller as u64);
            tokio::spawn(async move {
                let owner = worker(&format!("owner {caller}"));
                let mut taken = 0;
                for _ in 0..40 {
                    let wanted = [
                        paths[random.usize(..paths.len())],
                        paths[random.usize(1..paths.len())],
                    ];
                    let asked = wanted.map(path);
                    let request = LockRequest {
                        owner: &owner,
                        deadline: after(60),
                        paths: &asked,
                    };
                    if daemon
                        .lock(now(), namespace, request)
                        .await
                        .unwrap()
                        .is_err()
                    {
                        continue;
                    }
                    taken += 1;
                    {
                        let mut held = held.lock().unwrap();
                        for path in wanted {
                            let other = held.iter().find(|(other, _)| overlap(path, other));
                            assert_eq!(other, None, "{path} is {caller}'s");
                        }
                        held.extend(wanted.map(|path| (path, caller)));
                    }
                    tokio::task::yield_now().await;
                    wanted.iter().for_each(|path| {
                        assert_eq!(held.lock().unwrap().remove(path), Some(caller))
                    });
                    daemon
                        .unlock(now(), namespace, &owner, &asked)
                        .await
                        .unwrap()
                        .unwrap();
                }
                taken
            })
        })
        .collect();
    let mut taken = 0;
    for caller in callers {
        taken += caller.await.unwrap();
    }
    assert!(taken > 0);
    let owners = world
        .of(0)
        .lock_owners(now(), world.namespace, &paths.map(path))
        .await;
    assert!(owners.unwrap().iter().all(Option::is_none));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_take_over_an_ended_lock_one_gets_it() {
    let world = Daemons::start(3).await;
    let first = worker("first");
    let paths = [path("a/b")];
    let request = LockRequest {
        owner: &first,
        deadline: after(10),
        paths: &paths,
    };
    world
        .of(0)
        .lock(now(), world.namespace, request)
        .await
        .unwrap()
        .unwrap();
    let callers: Vec<_> = (0..9usize)
        .map(|caller| {
            let (daemon, namespace) = (world.of(caller), world.namespace);
            tokio::spawn(async move {
                let paths = [path(["a", "a/b", "a/b/c"][caller % 3])];
                let owner = worker(&format!("owner {caller}"));
                let request = LockRequest {
                    owner: &owner,
                    deadline: after(60),
                    paths: &paths,
                };
                daemon
                    .lock(after(11), namespace, request)
                    .await
                    .unwrap()
                    .is_ok()
            })
        })
        .collect();
    let mut taken = 0;
    for caller in callers {
        taken += usize::from(caller.await.unwrap());
    }
    assert_eq!(taken, 1);
    let request = LockRequest {
        owner: &first,
        deadline: after(60),
        paths: &paths,
    };
    let renewed = world
        .of(0)
        .renew_locks(after(11), world.namespace, request)
        .await;
    assert!(renewed.unwrap().is_err(), "it is another's now");
}

/// Some of many, and the same of few again and again.
const PATHS: [&str; 10] = [
    "", "a", "a/x", "a/x/1", "a/x/2", "a/y", "b", "b/x", "b/x/1", "c",
];

/// What a store answers to one of the calls for locks, drawn from `random`.
async fn call(
    store: &impl Backend,
    namespace: NamespaceId,
    now: Timestamp,
    random: &mut fastrand::Rng,
) -> String {
    let some = random.usize(..6);
    let asked: Vec<LockPath> = (0..some)
        .map(|_| {
            // The root only now and then, or nothing else would ever be had.
            let first = usize::from(random.u8(..4) > 0);
            path(PATHS[random.usize(first..PATHS.len())])
        })
        .collect();
    let owner = worker(["one", "two", "three"][random.usize(..3)]);
    let request = LockRequest {
        owner: &owner,
        deadline: now.after(std::time::Duration::from_secs(random.u64(1..30))),
        paths: &asked,
    };
    match random.u8(..10) {
        0..3 => format!("{:?}", store.lock(now, namespace, request).await.unwrap()),
        3..6 => format!(
            "{:?}",
            store.lock_some(now, namespace, request).await.unwrap()
        ),
        6 => format!(
            "{:?}",
            store.renew_locks(now, namespace, request).await.unwrap()
        ),
        7 | 8 => {
            let held = store.lock_owners(now, namespace, &asked).await.unwrap();
            // Mostly what the owner has, or else nothing would ever be given up.
            let mut own = Vec::new();
            for (path, holder) in asked.into_iter().zip(held) {
                if random.u8(..8) == 0 || holder.as_ref() == Some(&owner) {
                    own.push(path);
                }
            }
            format!(
                "{:?}",
                store.unlock(now, namespace, &owner, &own).await.unwrap()
            )
        }
        _ => {
            let below = path(PATHS[random.usize(1..PATHS.len())]);
            format!("{:?}", store.drop_locks(namespace, &below).await.unwrap())
        }
    }
}

#[tokio::test]
async fn what_is_had_and_what_is_in_the_way_is_as_in_memory() {
    let world = Daemons::start(2).await;
    let memory = Memory::new(Retention::default());
    let there = memory
        .namespace(&NamespaceName::new("").unwrap())
        .await
        .unwrap();
    let everything = PATHS.map(path);
    let mut random = fastrand::Rng::with_seed(7);
    let mut was_held = 0;
    for step in 0..1_500u64 {
        let (at, seed) = (after(step), random.u64(..));
        let daemon = world.of(random.usize(..2));
        let draw = || fastrand::Rng::with_seed(seed);
        let expected = call(&memory, there, at, &mut draw()).await;
        let answer = call(&*daemon, world.namespace, at, &mut draw()).await;
        assert_eq!(answer, expected, "call {step}, drawn from {seed}");
        let owners = daemon.lock_owners(at, world.namespace, &everything).await;
        let owners = owners.unwrap();
        let expected = memory.lock_owners(at, there, &everything).await.unwrap();
        assert_eq!(owners, expected, "after call {step}, drawn from {seed}");
        was_held += owners.iter().flatten().count();
    }
    assert!(was_held > 1_000, "only {was_held}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_take_what_they_can_each_path_is_had_by_one() {
    let world = Daemons::start(3).await;
    for round in 0..30u64 {
        let at = after(round * 61);
        let callers: Vec<_> = (0..9usize)
            .map(|caller| {
                let (daemon, namespace) = (world.of(caller), world.namespace);
                let mut random = fastrand::Rng::with_seed(round * 100 + caller as u64);
                tokio::spawn(async move {
                    let mut wanted = PATHS[1..].to_vec();
                    random.shuffle(&mut wanted);
                    let (asked, owner): (Vec<LockPath>, _) = (
                        wanted.iter().map(|wanted| path(wanted)).collect(),
                        worker(&format!("owner {caller}")),
                    );
                    let request = LockRequest {
                        owner: &owner,
                        deadline: at.after(std::time::Duration::from_secs(60)),
                        paths: &asked,
                    };
                    let taken = daemon.lock_some(at, namespace, request).await.unwrap();
                    let taken = wanted.into_iter().zip(taken);
                    taken
                        .filter(|(_, taken)| *taken)
                        .map(|(path, _)| path)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut taken: Vec<(usize, &str)> = Vec::new();
        for (caller, paths) in callers.into_iter().enumerate() {
            taken.extend(paths.await.unwrap().into_iter().map(|path| (caller, path)));
        }
        for (at, (caller, one)) in taken.iter().enumerate() {
            for (other, another) in &taken[..at] {
                assert!(
                    !overlap(one, another),
                    "{one} of {caller}, {another} of {other}"
                );
            }
        }
        for path in &PATHS[1..] {
            let is_had = taken.iter().any(|(_, taken)| overlap(taken, path));
            assert!(is_had, "{path} was free, and wanted by all");
        }
    }
}

/// Calls that looked at their clocks at about the same time may come in any order. Once a
/// lock has counted as ended, and what overlaps it was taken, it is over for every call.
#[tokio::test]
async fn a_lock_that_was_over_for_who_took_what_overlaps_it_is_over_for_a_late_renewal() {
    let world = Daemons::start(2).await;
    let (one, other, namespace) = (world.of(0), world.of(1), world.namespace);
    let (first, second) = (worker("first"), worker("second"));
    for (ended, overlapping) in [("a/b", "a"), ("a", "a/b"), ("c", "c")] {
        let (ended, overlapping) = ([path(ended)], [path(overlapping)]);
        let both = [&ended[..], &overlapping].concat();
        let until = |owner, seconds, paths| LockRequest {
            owner,
            deadline: after(seconds),
            paths,
        };
        let locked = one.lock(now(), namespace, until(&first, 10, &ended));
        locked.await.unwrap().unwrap();
        let locked = other.lock(after(11), namespace, until(&second, 60, &overlapping));
        locked.await.unwrap().unwrap();
        let late = one.renew_locks(after(9), namespace, until(&first, 60, &ended));
        late.await.unwrap().unwrap_err();
        let owners = one.lock_owners(after(12), namespace, &both).await.unwrap();
        assert!(!owners.contains(&Some(first.clone())), "{owners:?}");
        let unlocked = one.unlock(after(12), namespace, &second, &overlapping);
        unlocked.await.unwrap().unwrap();
    }
}
