//! Two threads that finish units into each other's specs.

use std::sync::Arc;

use super::*;

const UNITS: usize = 2_000;

/// Claims and finishes until `mine` and what the other thread sends are used up;
/// every original unit names a new one in the other spec. Says how many finished.
async fn work(memory: Arc<Memory>, mine: SpecId, now: Timestamp) -> usize {
    let mut finished = 0;
    while finished < UNITS * 2 {
        let claim = Claim {
            spec: mine,
            worker: worker("w"),
            units_max: 7,
            lease: LEASE,
        };
        let claims = memory.claim(now, &claim).await.unwrap();
        if claims.units.is_empty() {
            tokio::task::yield_now().await;
        }
        for claimed in claims.units {
            let name = String::from_utf8(claimed.key.as_bytes().to_vec()).unwrap();
            let next = name.strip_prefix("new ").map(|n| format!("old {n}"));
            let change = UnitChange {
                unit: claimed.unit,
                phase: crate::model::Phase::Open,
                attempt: Some(claimed.attempt),
                effect: Effect::Finish,
                worker: None,
                data: next.map(|next| output(&[&next])),
            };
            let made = memory.change_units(now, mine, vec![change]).await.unwrap();
            made.into_iter().for_each(|made| assert!(made.is_ok()));
            finished += 1;
        }
    }
    finished
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn specs_that_chain_into_each_other_lose_nothing_and_never_stand_still() {
    let w = World::new().await;
    let then = |name: &str| SpecOptions {
        then: Some(SpecName::new(name).unwrap()),
        ..SpecOptions::default()
    };
    let (s, t) = (
        w.spec_with("s", then("t")).await,
        w.spec_with("t", then("s")).await,
    );
    for spec in [s, t] {
        let new = (0..UNITS).map(|n| unit(&format!("new {n}"))).collect();
        w.put_units(spec, new).await;
    }
    let (now, memory) = (w.now, Arc::new(w.memory));
    let threads = [s, t].map(|spec| tokio::spawn(work(memory.clone(), spec, now)));
    for thread in threads {
        assert_eq!(thread.await.unwrap(), UNITS * 2);
    }
    memory.check();
    for spec in [s, t] {
        let counts = memory.count_units(now, spec).await.unwrap();
        let finished = UNITS as u64 * 2;
        assert_eq!(
            counts,
            UnitCounts {
                finished,
                ..UnitCounts::default()
            }
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_unit_is_handed_out_twice_to_workers_that_claim_at_once() {
    let w = World::new().await;
    let spec = w
        .spec_with(
            "s",
            SpecOptions {
                max_running: 1_500,
                ..SpecOptions::default()
            },
        )
        .await;
    w.put_units(spec, (0..UNITS).map(|n| unit(&n.to_string())).collect())
        .await;
    let (now, memory) = (w.now, Arc::new(w.memory));
    let threads = ["a", "b", "c", "d"].map(|who| {
        let memory = memory.clone();
        tokio::spawn(async move {
            let claim = Claim {
                spec,
                worker: worker(who),
                units_max: 3,
                lease: LEASE,
            };
            let mut mine = Vec::new();
            loop {
                let claims = memory.claim(now, &claim).await.unwrap();
                if claims.units.is_empty() {
                    return mine;
                }
                mine.extend(claims.units.into_iter().map(|c| c.key.as_bytes().to_vec()));
            }
        })
    });
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.await.unwrap());
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 1_500);
    memory.check();
}
