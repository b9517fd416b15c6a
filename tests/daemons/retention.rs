//! What is kept of units that are over, and of attempts.

use std::{sync::Arc, time::Duration};

use coordinated::{
    backend::{Backend as _, Retention, UnitPage, UnitSelection, postgres::Postgres},
    model::{Effect, SpecId, StatusSet},
};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::{Daemons, after, change, claim, now, support};

#[tokio::test]
async fn the_oldest_finished_units_are_archived_and_stay_in_the_counts() {
    let world = Daemons::start(1).await;
    let spec = world.spec("s", []).await;
    world.add(spec, 6).await;
    for at in 0..5u64 {
        let unit = claim(&world.of(0), after(at), spec, 1)
            .await
            .units
            .remove(0);
        let finish = vec![change(&unit, Effect::Finish, None)];
        let daemon = world.of(0);
        daemon
            .change_units(after(at), spec, finish)
            .await
            .unwrap()
            .remove(0)
            .unwrap();
    }
    let keys = async |daemon: &coordinated::backend::postgres::Postgres| {
        let page = UnitPage {
            statuses: StatusSet::NONE.with_wire(4),
            after: None,
            limit: 10,
        };
        let units = daemon.page_units(after(9), spec, page).await.unwrap();
        let key = |unit: &coordinated::model::Unit| unit.key.as_bytes()[5] - b'0';
        units.iter().map(key).collect::<Vec<_>>()
    };
    let counted = Retention {
        completed_count: Some(3),
        ..Retention::default()
    };
    let daemon = support::on_schema(&world.schema, counted).await;
    daemon
        .archive(after(9), world.namespace, Some(&["s", "x"]))
        .await
        .unwrap();
    assert_eq!(keys(&daemon).await, [2, 3, 4]);
    let aged = Retention {
        completed_age: Some(Duration::from_secs(6)),
        completed_count: Some(100),
        ..Retention::default()
    };
    let daemon = support::on_schema(&world.schema, aged).await;
    while daemon.sweep(after(9), 1_000).await.unwrap().more {}
    assert_eq!(keys(&daemon).await, [3, 4]);
    let counts = world.count(spec).await;
    assert_eq!((counts.available, counts.finished), (1, 5));
    let deleted = daemon.delete_units(now(), spec, UnitSelection::All).await;
    assert_eq!(deleted.unwrap(), 3, "what is archived was deleted before");
    assert_eq!(world.count(spec).await.finished, 0);
}

/// Finished units with keys from 0 on, each of which ended a second after the one before,
/// and each with so many attempts. And a table that is told how many rows of units each
/// statement deletes.
async fn backlog(world: &Daemons, spec: SpecId, count: i32, attempts: i32) -> Client {
    let client = world.schema.client().await;
    let shelf = format!("(select shelf_id from spec where id = {})", spec.get());
    let sql = format!(
        "insert into unit (shelf_id, priority, attempt_id, started, ends, tries, status, is_text, key, worker, data)
         select {shelf}, 0, nextval('attempt_id'), 0, {start} + i * 1000000::bigint, {attempts}, 4, true,
            convert_to(lpad(i::text, 6, '0'), 'UTF8'), 'w', '\\xa0'
         from generate_series(0, {count} - 1) i;
         insert into attempt (unit_id, id, started, ended, how, held, worker)
         select id, -n, 0, 0, 1, false, 'w' from unit, generate_series(2, {attempts}) n;
         insert into tally (shelf_id, finished) values ({shelf}, {count});
         create table deleted (units bigint);
         create function count_deleted() returns trigger language plpgsql as $$
         begin insert into deleted select count(*) from gone; return null; end $$;
         create trigger count_deleted after delete on unit referencing old table as gone
            for each statement execute function count_deleted()",
        start = now().as_micros(),
    );
    client.batch_execute(&sql).await.unwrap();
    client
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn daemons(world: &Daemons, count: usize, retention: Retention) -> Vec<Arc<Postgres>> {
    let mut daemons = Vec::new();
    for _ in 0..count {
        daemons.push(Arc::new(support::on_schema(&world.schema, retention).await));
    }
    daemons
}

fn keep(count: u64) -> Retention {
    Retention {
        completed_count: Some(count),
        ..Retention::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_daemons_work_a_backlog_down_in_bounded_steps_to_exactly_what_is_kept() {
    let world = Daemons::start(1).await;
    let spec = world.spec("s", []).await;
    let client = backlog(&world, spec, 3_000, 1).await;
    let mut tasks = JoinSet::new();
    for daemon in daemons(&world, 3, keep(500)).await {
        tasks.spawn(async move {
            let mut rounds = 0;
            while daemon.sweep(after(0), 100).await.unwrap().more {
                rounds += 1;
            }
            rounds
        });
    }
    let rounds: usize = tasks.join_all().await.into_iter().sum();
    assert!(rounds <= 60, "{rounds} rounds for 25 steps");
    assert_eq!(number(&client, "select max(units) from deleted").await, 100);
    // Those who found another at it left; each went on if it was first itself.
    let daemon = support::on_schema(&world.schema, keep(500)).await;
    while daemon.sweep(after(0), 100).await.unwrap().more {}
    assert_eq!(number(&client, "select count(*) from unit").await, 500);
    let oldest = "select min(convert_from(key, 'UTF8'))::bigint from unit";
    assert_eq!(number(&client, oldest).await, 2_500);
    assert_eq!(
        number(&client, "select sum(units)::bigint from deleted").await,
        2_500
    );
    assert_eq!(
        world.count(spec).await.finished,
        3_000,
        "archived ones count"
    );
    assert!(!daemon.sweep(after(0), 100).await.unwrap().more);
}

#[tokio::test]
async fn what_is_too_old_goes_in_bounded_steps_and_ended_attempts_count_as_rows() {
    let world = Daemons::start(1).await;
    let spec = world.spec("s", []).await;
    let client = backlog(&world, spec, 100, 10).await;
    let aged = Retention {
        completed_age: Some(Duration::from_secs(1_000)),
        ..Retention::default()
    };
    let daemon = support::on_schema(&world.schema, aged).await;
    // Units 0 to 59 ended more than a thousand seconds ago.
    while daemon.sweep(after(1_060), 50).await.unwrap().more {}
    assert_eq!(number(&client, "select count(*) from unit").await, 40);
    assert_eq!(number(&client, "select max(units) from deleted").await, 5);
    assert_eq!(
        number(&client, "select count(*) from attempt").await,
        40 * 9
    );
    // What becomes too old later is found as well.
    while daemon.sweep(after(1_070), 50).await.unwrap().more {}
    assert_eq!(number(&client, "select count(*) from unit").await, 30);
}

#[tokio::test]
async fn a_unit_that_someone_has_locked_is_neither_waited_for_nor_forgotten() {
    let world = Daemons::start(1).await;
    let spec = world.spec("s", []).await;
    let client = backlog(&world, spec, 30, 1).await;
    let holder = world.schema.client().await;
    let lock = |key: &str| {
        format!(
            "begin; set local lock_timeout = '5s'; select from unit where key = '{key}' for update"
        )
    };
    let daemon = support::on_schema(&world.schema, keep(10)).await;
    holder.batch_execute(&lock("000007")).await.unwrap();
    while daemon.sweep(after(0), 5).await.unwrap().more {}
    let seventh = "select count(*) from unit where key = '000007'";
    assert_eq!(number(&client, seventh).await, 1);
    let left = number(&client, "select count(*) from unit").await;
    assert!((10..=11).contains(&left), "{left} are left");
    // It is the oldest now, for which others would be left alone.
    let shelf = format!("(select shelf_id from spec where id = {})", spec.get());
    let more = format!(
        "insert into unit (shelf_id, priority, attempt_id, ends, tries, status, is_text, key, worker, data)
         select {shelf}, 0, 1, {} + i, 1, 4, true, i::text::bytea, 'w', '\\xa0' from generate_series(100, 104) i;
         insert into tally (shelf_id, finished) values ({shelf}, 5)",
        after(40).as_micros()
    );
    client.batch_execute(&more).await.unwrap();
    assert!(
        !daemon.sweep(after(0), 5).await.unwrap().more,
        "nothing can be done"
    );
    holder.batch_execute("rollback").await.unwrap();
    while daemon.sweep(after(0), 5).await.unwrap().more {}
    assert_eq!(number(&client, seventh).await, 0);
    assert_eq!(number(&client, "select count(*) from unit").await, 10);
}

#[tokio::test]
async fn a_clients_archive_waits_for_the_daemon_that_is_at_it() {
    let world = Daemons::start(1).await;
    let spec = world.spec("s", []).await;
    let client = backlog(&world, spec, 30, 1).await;
    let holder = world.schema.client().await;
    holder
        .batch_execute("begin; select from unit where key = '000000' for update")
        .await
        .unwrap();
    let daemon = Arc::new(support::on_schema(&world.schema, keep(10)).await);
    let archive = tokio::spawn({
        let (daemon, namespace) = (daemon.clone(), world.namespace);
        async move { daemon.archive(after(0), namespace, None).await }
    });
    // It has looked, and found someone at it.
    let calls = daemon.in_progress();
    while calls.count() == 0 {
        tokio::task::yield_now().await;
    }
    while calls.count() > 0 {
        tokio::task::yield_now().await;
    }
    holder.batch_execute("rollback").await.unwrap();
    archive.await.unwrap().unwrap();
    assert_eq!(number(&client, "select count(*) from unit").await, 10);
}

#[tokio::test]
async fn no_spec_keeps_another_waiting_however_large_its_backlog() {
    let world = Daemons::start(1).await;
    let (large, small) = (world.spec("large", []).await, world.spec("small", []).await);
    let client = backlog(&world, large, 200, 1).await;
    let move_some = format!(
        "update unit set shelf_id = (select shelf_id from spec where id = {small}) where key >= '000195';
         insert into tally (shelf_id, finished) select shelf_id, case id when {small} then 5 else -5 end from spec",
        small = small.get()
    );
    client.batch_execute(&move_some).await.unwrap();
    let daemon = support::on_schema(&world.schema, keep(1)).await;
    for _ in 0..3 {
        assert!(daemon.sweep(after(0), 10).await.unwrap().more);
    }
    assert_eq!(
        number(&client, "select count(*) from unit where key >= '000195'").await,
        1
    );
    let left = number(&client, "select count(*) from unit").await;
    assert!(left >= 170, "{left} are left");
}
