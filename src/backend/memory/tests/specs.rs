//! Namespaces, specs, and what `sweep` tells.

use super::*;
use crate::{
    backend::{Error, Swept},
    model::SpecChange,
};

async fn sweep(w: &World) -> Swept {
    let swept = w.memory.sweep(w.now, 1_000).await.unwrap();
    w.check();
    swept
}

#[tokio::test]
async fn specs_are_listed_by_name_and_found_only_in_their_namespace() {
    let w = World::new().await;
    for name in ["b", "a", "c"] {
        w.spec(name, &[]).await;
    }
    let list = async |start, limit| {
        let specs = w.memory.specs(w.namespace, start, limit).await.unwrap();
        specs
            .iter()
            .map(|spec| spec.name.to_string())
            .collect::<String>()
    };
    assert_eq!(list(None, 9).await, "abc");
    assert_eq!(list(Some("aa"), 1).await, "b");
    assert_eq!(list(Some("c"), 0).await, "");
    let other = NamespaceName::new("other").unwrap();
    let other = w.memory.namespace(&other).await.unwrap();
    assert_ne!(other, w.namespace);
    assert_eq!(w.memory.find_spec(other, "a").await.unwrap(), None);
    let unknown = NamespaceId::new(99);
    assert!(matches!(
        w.memory.find_spec(unknown, "a").await,
        Err(Error::Gone(_))
    ));
}

#[tokio::test]
async fn a_deleted_spec_is_gone_and_one_of_the_same_name_is_another() {
    let w = World::new().await;
    let old = w.spec("s", &["a"]).await;
    w.memory.delete_spec(old).await.unwrap();
    assert!(matches!(
        w.memory.delete_spec(old).await,
        Err(Error::Gone(_))
    ));
    assert!(matches!(
        w.memory.count_units(w.now, old).await,
        Err(Error::Gone(_))
    ));
    assert_eq!(w.memory.find_spec(w.namespace, "s").await.unwrap(), None);
    let new = w.spec("s", &[]).await;
    assert_ne!(old, new);
    w.spec("t", &[]).await;
    assert_eq!(w.memory.delete_specs(w.namespace).await.unwrap(), 2);
    assert!(
        w.memory
            .specs(w.namespace, None, 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(w.memory.entries().is_empty());
}

#[tokio::test]
async fn setting_a_spec_again_resets_its_options_and_keeps_its_units() {
    let w = World::new().await;
    let spec = w.spec("s", &["a"]).await;
    let pause = SpecChange {
        paused: Some(true),
        ..SpecChange::default()
    };
    assert!(w.memory.change_spec(w.now, spec, &pause).await.unwrap());
    assert!(w.memory.spec(spec).await.unwrap().options.paused);
    let continuous = SpecChange {
        continuous: Some(true),
        ..SpecChange::default()
    };
    assert!(
        !w.memory
            .change_spec(w.now, spec, &continuous)
            .await
            .unwrap()
    );
    assert_eq!(w.spec_with("s", SpecOptions::default()).await, spec);
    assert!(!w.memory.spec(spec).await.unwrap().options.paused);
    assert_eq!(w.claimed(spec, "w", 9).await, "a");
}

#[tokio::test]
async fn the_board_answers_while_another_spec_is_locked() {
    let w = World::new().await;
    w.spec("busy", &["a"]).await;
    w.spec("free", &["a"]).await;
    let busy = w
        .memory
        .namespace_by_id(w.namespace)
        .unwrap()
        .find("busy")
        .unwrap();
    let lock = busy.lock().unwrap();
    let board = w.memory.make_board(w.now, w.namespace).unwrap();
    drop(lock);
    assert_eq!(board.candidates.len(), 2);
}

#[tokio::test]
async fn sweeping_tells_of_units_that_became_available_once() {
    let mut w = World::new().await;
    let spec = w.spec("s", &["a", "b"]).await;
    w.put_units(
        spec,
        vec![NewUnit {
            delay: LEASE,
            ..unit("c")
        }],
    )
    .await;
    w.claims(spec, "w", 2).await;
    assert_eq!(sweep(&w).await, Swept::default());
    let after_lease = w.now.after(LEASE);
    assert_eq!(w.memory.next_due().await.unwrap(), Some(after_lease));
    w.advance(LEASE);
    assert_eq!(sweep(&w).await.available, [(w.namespace, spec, 1)]);
    w.advance(Duration::from_micros(1));
    assert_eq!(sweep(&w).await.available, [(w.namespace, spec, 2)]);
    assert_eq!(sweep(&w).await, Swept::default());
    assert_eq!(w.memory.next_due().await.unwrap(), None);
}

#[tokio::test]
async fn units_that_another_call_found_due_are_told_of_too() {
    let mut w = World::new().await;
    let spec = w.spec("s", &["a"]).await;
    w.claim(spec, "w").await.unwrap();
    w.advance(seconds(61));
    assert_eq!(w.counts(spec).await.available, 1);
    assert!(w.memory.next_due().await.unwrap().unwrap() < w.now);
    assert_eq!(sweep(&w).await.available, [(w.namespace, spec, 1)]);
    assert_eq!(w.memory.next_due().await.unwrap(), None);
}

#[tokio::test]
async fn a_sweep_works_in_steps() {
    let mut w = World::new().await;
    let spec = w.spec("s", &["a", "b", "c"]).await;
    w.claims(spec, "w", 3).await;
    w.advance(seconds(61));
    for (found, more) in [(2, true), (1, false)] {
        let swept = w.memory.sweep(w.now, 2).await.unwrap();
        let available = vec![(w.namespace, spec, found)];
        assert_eq!(swept, Swept { available, more });
    }
}

#[tokio::test]
async fn sweeping_archives_and_forgets_workers() {
    let retention = Retention {
        completed_count: Some(0),
        ..Retention::default()
    };
    let mut w = World::keeping(retention).await;
    let spec = w.spec("s", &["a"]).await;
    w.claim(spec, "w").await.unwrap();
    w.change(spec, "a", Effect::Finish).await.unwrap();
    let beat = crate::model::Heartbeat {
        worker: worker("w"),
        parent: None,
        mode: "RUN".into(),
        data: None,
        lifetime: LEASE,
    };
    w.memory.heartbeat(w.now, w.namespace, &beat).await.unwrap();
    w.advance(seconds(61));
    sweep(&w).await;
    assert!(w.unit(spec, "a").await.is_none());
    assert_eq!(w.counts(spec).await.finished, 1);
    let gone = w.memory.worker(w.now, w.namespace, &worker("w")).await;
    assert!(gone.unwrap().is_none());
}

#[tokio::test]
async fn a_continuous_spec_is_told_of_once_whenever_it_could_make_a_unit() {
    let mut w = World::new().await;
    let options = SpecOptions {
        continuous: true,
        interval: seconds(100),
        ..SpecOptions::default()
    };
    let spec = w.spec_with("s", options).await;
    let told = vec![(w.namespace, spec, 1)];
    assert!(w.memory.next_due().await.unwrap().unwrap() <= w.now);
    assert_eq!(sweep(&w).await.available, told);
    assert_eq!(
        w.memory.next_due().await.unwrap(),
        None,
        "nothing more to tell"
    );
    assert_eq!(sweep(&w).await.available, []);
    let start = w.now;
    let made = w.claimed(spec, "w", 1).await;
    w.change(spec, &made, Effect::Finish).await.unwrap();
    assert_eq!(
        w.memory.next_due().await.unwrap(),
        Some(start.after(seconds(100)))
    );
    w.advance(seconds(100));
    assert_eq!(sweep(&w).await.available, told);
}

#[tokio::test]
async fn attempts_of_another_run_of_the_daemon_have_other_ids() {
    let mut w = World::new().await;
    let spec = w.spec("s", &["a"]).await;
    let first = w.claim(spec, "w").await.unwrap().attempt;
    w = World {
        now: w.now.after(seconds(1)),
        ..World::new().await
    };
    let spec = w.spec("s", &["a"]).await;
    assert!(w.claim(spec, "w").await.unwrap().attempt > first);
}
