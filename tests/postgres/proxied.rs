//! That the proxy counts what it says it counts.

use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use super::proxy::Proxy;
use crate::support::postgres::{Schema, schema};

/// A session through a proxy, in a schema with an empty table.
struct Session {
    proxy: Proxy,
    client: Client,
    connection: JoinHandle<()>,
    _schema: Schema,
}

async fn session() -> Session {
    let schema = schema().await;
    let proxy = Proxy::start(&schema).await;
    let (client, connection) = tokio_postgres::connect(proxy.connection(), NoTls)
        .await
        .unwrap();
    let connection = tokio::spawn(async move { drop(connection.await) });
    let table = format!(
        "set search_path to {}; create table item (n int)",
        schema.name()
    );
    client.batch_execute(&table).await.unwrap();
    Session {
        proxy,
        client,
        connection,
        _schema: schema,
    }
}

#[tokio::test]
async fn what_waits_for_an_answer_is_a_round_trip_and_what_is_sent_with_it_is_none() {
    let Session {
        proxy,
        client,
        _schema,
        ..
    } = session().await;
    let add = client
        .prepare("insert into item values ($1)")
        .await
        .unwrap();
    let (_, one) = proxy.during(client.execute(&add, &[&1])).await;
    one.costs_at_most(1, 1, 1);
    let (_, after_each_other) = proxy
        .during(async {
            client.execute(&add, &[&1]).await.unwrap();
            client.execute(&add, &[&1]).await.unwrap();
        })
        .await;
    assert_eq!(after_each_other.round_trips(), 2, "{after_each_other:?}");
    let (_, together) = proxy
        .during(async {
            let (one, other, third) = tokio::join!(
                client.execute(&add, &[&1]),
                client.execute(&add, &[&1]),
                client.batch_execute("select 1")
            );
            (one.unwrap(), other.unwrap(), third.unwrap())
        })
        .await;
    let cost = (
        together.round_trips(),
        together.statements(),
        together.commits,
    );
    assert_eq!(cost, (1, 3, 3), "{together:?}");
}

#[tokio::test]
async fn a_transaction_is_one_commit_however_it_is_sent() {
    let Session {
        proxy,
        client,
        _schema,
        ..
    } = session().await;
    let add = client
        .prepare("insert into item values ($1)")
        .await
        .unwrap();
    let (_, in_turn) = proxy
        .during(async {
            client.batch_execute("begin").await.unwrap();
            client.execute(&add, &[&1]).await.unwrap();
            client.execute(&add, &[&1]).await.unwrap();
            client.batch_execute("commit").await.unwrap();
        })
        .await;
    let cost = (in_turn.round_trips(), in_turn.statements(), in_turn.commits);
    assert_eq!(cost, (4, 2, 1), "{in_turn:?}");
    let (_, at_once) = proxy
        .during(async {
            let (begun, added, committed) = tokio::join!(
                client.batch_execute("begin"),
                client.execute(&add, &[&1]),
                client.batch_execute("commit")
            );
            (begun.unwrap(), added.unwrap(), committed.unwrap())
        })
        .await;
    let cost = (at_once.round_trips(), at_once.statements(), at_once.commits);
    assert_eq!(cost, (1, 1, 1), "{at_once:?}");
    let (_, preparing) = proxy.during(client.prepare("select n from item")).await;
    let cost = (
        preparing.round_trips(),
        preparing.preparations(),
        preparing.statements(),
    );
    assert_eq!(cost, (1, 1, 0), "{preparing:?}");
}

#[tokio::test]
async fn what_fails_is_undone_and_told_by_its_code() {
    let Session {
        proxy,
        client,
        _schema,
        ..
    } = session().await;
    let (_, alone) = proxy.during(client.batch_execute("select 1 / 0")).await;
    assert_eq!((alone.commits, alone.rollbacks), (0, 1), "{alone:?}");
    assert_eq!(alone.errors, ["22012"]);
    let (_, within) = proxy
        .during(async {
            client.batch_execute("begin").await.unwrap();
            client.batch_execute("select 1 / 0").await.unwrap_err();
            client.batch_execute("commit").await.unwrap();
        })
        .await;
    assert_eq!((within.commits, within.rollbacks), (0, 1), "{within:?}");
}

#[tokio::test]
async fn nothing_passes_the_wall_and_connections_are_counted() {
    let Session {
        proxy,
        client,
        connection,
        _schema: schema,
    } = session().await;
    proxy.wall_after(1);
    client
        .batch_execute("insert into item values (1)")
        .await
        .unwrap();
    tokio::select! {
        _ = client.batch_execute("insert into item values (2)") => panic!("there was a wall"),
        () = proxy.at_wall() => {}
    }
    let direct = schema.client().await;
    let rows = direct.query("table item", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    let second = tokio_postgres::connect(proxy.connection(), NoTls)
        .await
        .unwrap();
    assert_eq!(proxy.connections_peak(), 2);
    drop((client, second));
    connection.abort();
}
