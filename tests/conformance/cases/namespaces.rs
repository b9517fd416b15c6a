//! Namespaces (semantics.md §1).

use coordinated::backend::Backend;
use serde_cbor::Value;

use crate::support::{World, get, int, list, map, text, texts};

pub async fn namespaces_share_nothing(w: World<impl Backend>) {
    let (mut here, mut there) = (w.client(), w.client());
    there
        .call("hello", vec![map([("namespace", text("there"))])])
        .await;
    for c in [&mut here, &mut there] {
        c.spec("s", []).await;
        c.add("s", ["a"]).await;
        c.beat("w", text("p"), 60).await;
        let lock = vec![text("w"), int(60), list([texts(["l"])])];
        assert_eq!(c.ok("lock", lock).await, Value::Bool(true));
    }
    assert_eq!(here.take("w").await.unwrap(), "a");
    assert_eq!(here.counts("s").await, [0, 1, 0, 0]);
    assert_eq!(there.counts("s").await, [1, 0, 0, 0]);
    let children = there.ok("get_child_work_units", vec![text("p")]).await;
    assert_eq!(children, map([("w", list([]))]));
    here.call("clear", vec![]).await;
    here.ok("worker_unregister", vec![text("w")]).await;
    here.call("delete_namespace", vec![text("l")]).await;
    assert_eq!(there.counts("s").await, [1, 0, 0, 0]);
    assert_eq!(
        there.ok("mode_counts", vec![]).await,
        map([("RUN", int(1))])
    );
    assert_eq!(
        there.call("readlock", vec![list([texts(["l"])])]).await,
        texts(["w"])
    );
}

pub async fn hello_moves_only_its_own_connection(w: World<impl Backend>) {
    let (mut one, mut two) = (w.client(), w.client());
    let hello = one
        .call("hello", vec![map([("namespace", text("n"))])])
        .await;
    assert_eq!(get(&hello, "namespace"), text("n"));
    assert_eq!(
        (get(&hello, "server"), get(&hello, "protocol")),
        (text("coordinated"), int(1))
    );
    assert_eq!(
        get(&two.call("hello", vec![map([])]).await, "namespace"),
        text("")
    );
    // A unit of the same name elsewhere is another unit: no fence comes along.
    for c in [&mut one, &mut two] {
        c.spec("s", []).await;
        c.add("s", ["a"]).await;
        c.take("w").await.unwrap();
    }
    two.call("hello", vec![map([("namespace", text("n"))])])
        .await;
    two.finish("s", "a").await;
    assert_eq!(one.counts("s").await, [0, 0, 1, 0]);
}
