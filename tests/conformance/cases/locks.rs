//! Locks (semantics.md §9).

use coordinated::backend::Backend;
use serde_cbor::Value;

use crate::support::{Client, World, bytes, int, list, text, texts};

/// Locks one path; whether it could be had.
async fn lock<B: Backend>(c: &mut Client<B>, owner: &str, paths: Value) -> bool {
    match c.pair("lock", vec![text(owner), Value::Null, paths]).await {
        (Value::Bool(true), None) => true,
        (Value::Bool(false), Some(_)) => false,
        other => panic!("lock answered {other:?}"),
    }
}

async fn owners<B: Backend, const N: usize>(c: &mut Client<B>, paths: [Value; N]) -> Value {
    c.call("readlock", vec![list(paths)]).await
}

pub async fn a_path_excludes_its_ancestors_and_descendants(w: World<impl Backend>) {
    let mut c = w.client();
    assert!(lock(&mut c, "one", list([texts(["a", "b"])])).await);
    for path in [
        texts(["a"]),
        texts(["a", "b"]),
        texts(["a", "b", "c"]),
        texts([]),
    ] {
        assert!(!lock(&mut c, "two", list([path.clone()])).await, "{path:?}");
        assert!(
            !lock(&mut c, "one", list([path])).await,
            "not even its owner"
        );
    }
    for path in [
        texts(["b"]),
        texts(["a", "c"]),
        texts(["a", "bb"]),
        texts(["ab"]),
    ] {
        assert!(lock(&mut c, "two", list([path.clone()])).await, "{path:?}");
    }
    let seen = owners(
        &mut c,
        [texts(["a", "b"]), texts(["a"]), texts(["a", "b", "c"])],
    )
    .await;
    assert_eq!(
        seen,
        list([text("one"), Value::Null, Value::Null]),
        "of the path itself"
    );
    assert!(
        lock(&mut c, "one", list([])).await,
        "nothing is always to be had"
    );
}

pub async fn a_lock_takes_all_or_none_also_against_itself(w: World<impl Backend>) {
    let mut c = w.client();
    assert!(lock(&mut c, "one", list([texts(["b"])])).await);
    assert!(!lock(&mut c, "two", list([texts(["a"]), texts(["b"])])).await);
    assert!(!lock(&mut c, "two", list([texts(["a"]), texts(["a", "x"])])).await);
    assert!(!lock(&mut c, "two", list([texts(["a"]), texts(["a"])])).await);
    assert!(!lock(&mut c, "two", list([texts(["a", "x"]), texts(["a"])])).await);
    assert_eq!(owners(&mut c, [texts(["a"])]).await, list([Value::Null]));
    assert!(lock(&mut c, "two", list([texts(["a"]), texts(["c"])])).await);
    let (_, why) = c
        .pair("lock", vec![text("x"), int(1), list([texts(["c"])])])
        .await;
    assert!(
        why.as_ref()
            .is_some_and(|why| why.contains("two") && why.contains('c')),
        "{why:?}"
    );
}

pub async fn locksome_takes_what_it_can_in_order(w: World<impl Backend>) {
    let mut c = w.client();
    assert!(lock(&mut c, "one", list([texts(["b"])])).await);
    let paths = list([
        texts(["a"]),
        texts(["b", "x"]),
        texts(["a", "y"]),
        texts(["c"]),
    ]);
    let taken = c.ok("locksome", vec![text("two"), int(10), paths]).await;
    assert_eq!(
        taken,
        list([texts(["a"]), Value::Null, Value::Null, texts(["c"])])
    );
    assert_eq!(
        c.ok("locksome", vec![text("two"), int(10), list([])]).await,
        list([])
    );
}

pub async fn text_and_byte_labels_are_one_lock_and_tuples_are_lists(w: World<impl Backend>) {
    let mut c = w.client();
    let mixed = list([list([bytes(b"a"), int(1)])]);
    assert!(lock(&mut c, "one", mixed).await);
    assert!(!lock(&mut c, "two", list([list([text("a"), int(1)])])).await);
    assert!(lock(&mut c, "two", list([list([text("a"), text("1")])])).await);
    assert_eq!(
        owners(&mut c, [list([text("a"), int(1)])]).await,
        texts(["one"])
    );
    assert!(
        c.try_call("lock", vec![text("x"), int(1), list([text("a")])])
            .await
            .is_err()
    );
}

pub async fn only_the_owner_renews_and_unlocks_all_or_none(w: World<impl Backend>) {
    let mut c = w.client();
    let call = |owner: &str, keys: Value| vec![text(owner), int(60), keys];
    let unlock = |owner: &str, keys: Value| vec![text(owner), keys];
    assert!(lock(&mut c, "one", list([texts(["a"]), texts(["b"])])).await);
    assert!(lock(&mut c, "two", list([texts(["c"])])).await);
    let mixed = list([texts(["a"]), texts(["c"])]);
    let free = list([texts(["a"]), texts(["x"])]);
    for keys in [mixed, free] {
        let (renewed, why) = c.pair("renew", call("one", keys.clone())).await;
        assert_eq!(renewed, Value::Bool(false));
        assert!(why.is_some());
        let (unlocked, why) = c.pair("unlock", unlock("one", keys)).await;
        assert_eq!(unlocked, Value::Bool(false));
        assert!(why.is_some());
    }
    let seen = owners(&mut c, ["a", "b", "c"].map(|label| texts([label]))).await;
    assert_eq!(seen, texts(["one", "one", "two"]));
    c.ok("renew", call("one", list([texts(["a"]), texts(["b"])])))
        .await;
    c.ok("unlock", unlock("one", list([texts(["a"]), texts(["b"])])))
        .await;
    let seen = owners(&mut c, ["a", "b", "c"].map(|label| texts([label]))).await;
    assert_eq!(seen, list([Value::Null, Value::Null, text("two")]));
    c.ok("unlock", unlock("one", list([]))).await;
}

pub async fn a_lock_ends_after_its_deadline(w: World<impl Backend>) {
    let mut c = w.client();
    let call = |seconds: Value| vec![text("one"), seconds, list([texts(["a"])])];
    c.ok("lock", call(Value::Float(1.5))).await;
    w.advance(1.5);
    assert!(!lock(&mut c, "two", list([texts(["a"])])).await);
    c.ok("renew", call(int(10))).await;
    w.advance(10.5);
    assert_eq!(owners(&mut c, [texts(["a"])]).await, list([Value::Null]));
    assert!(c.pair("renew", call(int(10))).await.1.is_some());
    assert!(lock(&mut c, "two", list([texts(["a", "b"])])).await);
}

pub async fn timeouts_have_a_default_and_a_cap_and_no_negatives(w: World<impl Backend>) {
    let mut c = w.client();
    for (timeout, lasts) in [
        (Value::Null, 60.0),
        (int(0), 60.0),
        (int(9_000_000), 1_000_000.0),
    ] {
        c.ok("lock", vec![text("one"), timeout, list([texts(["a"])])])
            .await;
        w.advance(lasts);
        assert_eq!(owners(&mut c, [texts(["a"])]).await, texts(["one"]));
        w.advance(0.5);
        assert_eq!(owners(&mut c, [texts(["a"])]).await, list([Value::Null]));
    }
    let negative = vec![text("one"), int(-1), list([texts(["a"])])];
    assert!(
        c.try_call("lock", negative)
            .await
            .unwrap_err()
            .contains("timeout")
    );
    assert_eq!(owners(&mut c, [texts(["a"])]).await, list([Value::Null]));
}

pub async fn deleting_a_namespace_drops_the_locks_below_its_label(w: World<impl Backend>) {
    let mut c = w.client();
    let paths = [texts(["n", "a"]), texts(["n", "b", "c"]), texts(["nn"])];
    assert!(lock(&mut c, "one", list(paths.clone())).await);
    assert_eq!(c.call("delete_namespace", vec![text("n")]).await, int(0));
    assert_eq!(
        owners(&mut c, paths).await,
        list([Value::Null, Value::Null, text("one")])
    );
}
