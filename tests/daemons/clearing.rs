//! What nobody sees any more goes in bounded steps: units of deleted specs, workers whose
//! time is over, rows that counts are made of.

use std::time::Duration;

use coordinated::{
    backend::{Backend as _, WorkerSelection},
    limits::FOLD_ROWS_MIN,
    model::{Heartbeat, WorkerName},
};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::{Daemons, after, now, unit};

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Tells the table `deleted` how many rows each statement deletes from another.
async fn count_deleted(client: &Client, table: &str) {
    let sql = format!(
        "create table deleted (rows bigint);
         create function count_deleted() returns trigger language plpgsql as $$
         begin insert into deleted select count(*) from gone; return null; end $$;
         create trigger count_deleted after delete on {table} referencing old table as gone
            for each statement execute function count_deleted()"
    );
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_daemons_clear_deleted_specs_in_bounded_steps() {
    let world = Daemons::start(3).await;
    for name in ["a", "b"] {
        let spec = world.spec(name, []).await;
        world.add(spec, 600).await;
        world.of(0).delete_spec(spec).await.unwrap();
    }
    let client = world.schema.client().await;
    count_deleted(&client, "unit").await;
    let mut tasks = JoinSet::new();
    for daemon in world.daemons.clone() {
        tasks.spawn(async move { while daemon.sweep(now(), 50).await.unwrap().more {} });
    }
    tasks.join_all().await;
    while world.of(0).sweep(now(), 50).await.unwrap().more {}
    for table in ["unit", "tally", "buried_shelf"] {
        let count = format!("select count(*) from {table}");
        assert_eq!(number(&client, &count).await, 0, "{table}");
    }
    assert_eq!(number(&client, "select max(rows) from deleted").await, 50);
    assert_eq!(
        number(&client, "select sum(rows)::bigint from deleted").await,
        1_200
    );
}

#[tokio::test]
async fn a_unit_of_a_deleted_spec_that_someone_has_locked_is_cleared_later() {
    let world = Daemons::start(1).await;
    let spec = world.spec("s", []).await;
    world.add(spec, 100).await;
    let client = world.schema.client().await;
    let holder = world.schema.client().await;
    holder
        .batch_execute("begin; select from unit where key = '000042' for update")
        .await
        .unwrap();
    world.of(0).delete_spec(spec).await.unwrap();
    for _ in 0..20 {
        assert!(world.of(0).sweep(now(), 10).await.unwrap().more);
    }
    assert_eq!(number(&client, "select count(*) from unit").await, 1);
    holder.batch_execute("rollback").await.unwrap();
    while world.of(0).sweep(now(), 10).await.unwrap().more {}
    assert_eq!(number(&client, "select count(*) from unit").await, 0);
    assert_eq!(
        number(&client, "select count(*) from buried_shelf").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_whose_time_is_over_are_forgotten_in_bounded_steps() {
    let world = Daemons::start(3).await;
    let client = world.schema.client().await;
    let many = format!(
        "insert into worker (namespace_id, name, mode, heard, expires)
         select {}, i::text::bytea, '', 0, {} + i from generate_series(1, 600) i",
        world.namespace.get(),
        now().as_micros()
    );
    client.batch_execute(&many).await.unwrap();
    let live = WorkerName::new("live").unwrap();
    let beat = Heartbeat {
        worker: live.clone(),
        parent: None,
        mode: "RUN".into(),
        data: None,
        lifetime: Duration::from_secs(60),
    };
    world
        .of(0)
        .heartbeat(now(), world.namespace, &beat)
        .await
        .unwrap();
    count_deleted(&client, "worker").await;
    let mut tasks = JoinSet::new();
    for daemon in world.daemons.clone() {
        tasks.spawn(async move { while daemon.sweep(after(1), 50).await.unwrap().more {} });
    }
    tasks.join_all().await;
    while world.of(0).sweep(after(1), 50).await.unwrap().more {}
    assert_eq!(number(&client, "select count(*) from worker").await, 1);
    assert_eq!(number(&client, "select max(rows) from deleted").await, 50);
    let left = world
        .of(1)
        .workers(after(1), world.namespace, WorkerSelection::All)
        .await
        .unwrap();
    assert_eq!(left[0].name, live);
}

#[tokio::test]
async fn counts_are_folded_and_stay_exact_while_units_are_added() {
    let world = Daemons::start(2).await;
    let spec = world.spec("s", []).await;
    let rows = "select count(*) from tally";
    let client = world.schema.client().await;
    for i in 0..3 * FOLD_ROWS_MIN {
        let units = [unit(&format!("{i}"))];
        world.of(0).put_units(now(), spec, &units).await.unwrap();
    }
    let (one, other) = (world.of(0), world.of(1));
    let add = async {
        for i in 0..20 {
            let units = [unit(&format!("later {i}"))];
            one.put_units(now(), spec, &units).await.unwrap();
        }
    };
    let fold = async {
        for daemon in [&one, &other, &one] {
            daemon.sweep(now(), 1_000).await.unwrap();
        }
    };
    tokio::join!(add, fold);
    let counts = world.count(spec).await;
    assert_eq!(counts.available, 3 * FOLD_ROWS_MIN.cast_unsigned() + 20);
    assert!(number(&client, rows).await < FOLD_ROWS_MIN);
}
