//! Locks that several daemons are asked for at the same time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use coordinated::{
    backend::{Backend as _, LockRequest},
    model::LockPath,
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
