//! Connections, and what happens when they are lost or there are none.

use std::{pin::pin, sync::Arc};

use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;

use super::{
    super::{
        pool::{Params, Pool},
        session,
        statement::{Statement, Statements},
    },
    pool, support,
};
use crate::{
    backend::{Error, Kind, Result},
    limits::DATABASE_WAIT_MAX,
};

const PID: Statement = Statement::repeatable("pid", "select pg_backend_pid()");
const ADD: Statement = Statement::once("add", "insert into item (name) values ($1) returning id");
const WAIT_AND_ADD: Statement = Statement::once(
    "wait_and_add",
    "insert into item (name) select $1 from (select pg_sleep(30)) as slept",
);
const WAIT_AND_PUT: Statement = Statement::repeatable(
    "wait_and_put",
    // Waits the first time only.
    "with first as (select pg_sleep(30) where nextval('rounds') = 1)
     insert into item (name) select $1 from (select count(*) from first) as slept",
);
const SLOW: Statement = Statement::repeatable("slow", "select pg_sleep(30)");
const COUNT: Statement = Statement::repeatable("count", "select count(*) from item");
const IN_TRANSACTION: Statement = Statement::repeatable(
    "in_transaction",
    "select now() <> statement_timestamp() and pg_current_xact_id_if_assigned() is not null",
);

const TABLE: &str = "
    create table item (id bigint generated always as identity primary key, name text unique);
    create table part (spec_id bigint constraint part_spec_id_fkey references item (id));
    create sequence rounds";

async fn world(connections: usize) -> (support::Schema, Arc<Pool>) {
    let schema = support::schema().await;
    schema.client().await.batch_execute(TABLE).await.unwrap();
    let pool = pool(&schema, connections, Statements::Cached);
    (schema, Arc::new(pool))
}

async fn pid(pool: &Pool) -> i32 {
    pool.query(&PID, &[]).await.unwrap()[0].get(0)
}

async fn count(pool: &Pool) -> i64 {
    pool.query(&COUNT, &[]).await.unwrap()[0].get(0)
}

/// Ends the test's session that sleeps, once there is one.
async fn terminate_sleeper(schema: &support::Schema) {
    let client = schema.client().await;
    let terminate = "select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = $1 and wait_event = 'PgSleep'";
    while client
        .query(terminate, &[&schema.name()])
        .await
        .unwrap()
        .is_empty()
    {}
}

fn retryable<T: std::fmt::Debug>(outcome: Result<T>) -> bool {
    match outcome {
        Err(Error::Unavailable { retryable, .. }) => retryable,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sessions_are_in_their_schema_and_have_a_time_limit() {
    const SESSION: Statement = Statement::repeatable(
        "session",
        "select current_schema()::text, current_setting('statement_timeout')",
    );
    let (schema, pool) = world(1).await;
    let rows = pool.query(&SESSION, &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, &str>(0), schema.name());
    assert_eq!(rows[0].get::<_, &str>(1), "5s");
}

#[tokio::test]
async fn statements_work_prepared_and_not() {
    const MANY: Statement = Statement::repeatable(
        "many",
        "select a, b, c from unnest($1::int8[], $2::bytea[]) as u(a, b), \
         (select $3::timestamptz::text) as t(c); -- a comment at the end",
    );
    let schema = support::schema().await;
    for statements in [Statements::Cached, Statements::Unnamed] {
        let pool = pool(&schema, 2, statements);
        for _ in 0..2 {
            let (numbers, bytes) = (vec![1_i64, 2], vec![b"x".as_slice(), b""]);
            let time = std::time::UNIX_EPOCH;
            let rows = pool.query(&MANY, &[&numbers, &bytes, &time]).await.unwrap();
            assert_eq!(rows.len(), 2);
            assert_eq!(rows[1].get::<_, i64>(0), 2);
            assert_eq!(rows[0].get::<_, &[u8]>(1), b"x");
        }
        let rows = pool
            .pipeline("two", &[(&PID, &[]), (&PID, &[])])
            .await
            .unwrap();
        assert_eq!(rows[0][0].get::<_, i32>(0), rows[1][0].get::<_, i32>(0));
    }
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_busy_after_a_bounded_time() {
    let (_schema, pool) = world(1).await;
    let give_up = pin!(tokio::time::sleep(DATABASE_WAIT_MAX)); // reason: bounds the wait
    let held = pool.lease(give_up).await;
    tokio::time::pause();
    let late = pool.query(&PID, &[]).await;
    tokio::time::resume();
    let Err(Error::Unavailable {
        retryable: true,
        source,
    }) = late
    else {
        panic!("{late:?}");
    };
    assert_eq!(
        source.to_string(),
        "no connection to the database was free in time"
    );
    drop(held);
    pid(&pool).await;
}

#[tokio::test]
async fn a_connection_that_was_lost_while_idle_is_replaced_unnoticed() {
    let (schema, pool) = world(1).await;
    let before = pid(&pool).await;
    let client = schema.client().await;
    let terminate = "select pg_terminate_backend($1)";
    client.execute(terminate, &[&before]).await.unwrap();
    // Not repeatable, but never lost.
    pool.query(&ADD, &[&"a"]).await.unwrap();
    assert_ne!(pid(&pool).await, before);
    assert_eq!(count(&pool).await, 1);
}

#[tokio::test]
async fn a_statement_that_may_not_run_twice_is_not_repeated_when_its_connection_is_lost() {
    let (schema, pool) = world(2).await;
    let call = tokio::spawn({
        let pool = pool.clone();
        async move { pool.query(&WAIT_AND_ADD, &[&"a"]).await }
    });
    terminate_sleeper(&schema).await;
    assert!(
        !retryable(call.await.unwrap()),
        "nobody knows what became of it"
    );
    assert_eq!(count(&pool).await, 0);
    pool.query(&ADD, &[&"a"]).await.unwrap();
}

#[tokio::test]
async fn a_statement_that_may_run_twice_is_repeated_when_its_connection_is_lost() {
    let (schema, pool) = world(2).await;
    let call = tokio::spawn({
        let pool = pool.clone();
        async move { pool.query(&WAIT_AND_PUT, &[&"a"]).await }
    });
    terminate_sleeper(&schema).await;
    call.await.unwrap().unwrap();
    assert_eq!(count(&pool).await, 1);
}

#[tokio::test]
async fn a_pipeline_is_repeated_only_if_each_of_its_statements_may_be() {
    let (schema, pool) = world(2).await;
    for (first, expected) in [(&ADD, 0), (&PID, 1)] {
        let call = tokio::spawn({
            let pool = pool.clone();
            async move {
                let name: &[&(dyn ToSql + Sync)] = &[&"a"];
                let params = if first.name == PID.name { &[] } else { name };
                let steps = [(first, params), (&WAIT_AND_PUT, &[&"b"])];
                pool.pipeline("work", &steps).await
            }
        });
        terminate_sleeper(&schema).await;
        let outcome = call.await.unwrap();
        assert_eq!(outcome.is_ok(), expected > 0, "{outcome:?}");
        assert_eq!(count(&pool).await, expected);
        const AGAIN: Statement = Statement::once("again", "alter sequence rounds restart");
        pool.query(&AGAIN, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn deadlocks_and_conflicts_are_tried_again() {
    const TAKE: Statement = Statement::once("take", "update item set name = name where name = $1");
    const NAP: Statement = Statement::repeatable("nap", "select pg_sleep(0.01)");
    let (_schema, pool) = world(4).await;
    for name in ["a", "b"] {
        pool.query(&ADD, &[&name]).await.unwrap();
    }
    let mut calls = JoinSet::new();
    for round in 0..4 {
        let pool = pool.clone();
        calls.spawn(async move {
            let (first, second) = match round % 2 {
                0 => ("a", "b"),
                _ => ("b", "a"),
            };
            let (first, second): (Params<'_>, Params<'_>) = (&[&first], &[&second]);
            let steps: [_; 3] = [(&TAKE, first), (&NAP, &[]), (&TAKE, second)];
            pool.pipeline("swap", &steps).await
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_no_transaction_for_the_next() {
    let (schema, pool) = world(1).await;
    {
        let held = pool.pipeline("dropped", &[(&ADD, &[&"a"]), (&SLOW, &[])]);
        let mut held = pin!(held);
        // The second statement of the transaction is on its way when it is dropped.
        let sleeping = async {
            let client = schema.client().await;
            let is_asleep = "select from pg_stat_activity
                where application_name = $1 and wait_event = 'PgSleep'";
            let name = schema.name();
            while client.query(is_asleep, &[&name]).await.unwrap().is_empty() {}
        };
        tokio::select! {
            _ = &mut held => panic!("it sleeps for long"),
            () = sleeping => {}
        }
    }
    let rows = pool.query(&IN_TRANSACTION, &[]).await.unwrap();
    terminate_sleeper(&schema).await; // the database has not noticed yet
    assert!(!rows[0].get::<_, bool>(0));
    assert_eq!(count(&pool).await, 0, "rolled back");
}

#[tokio::test]
async fn a_pipeline_is_one_transaction_and_fails_with_its_first_error() {
    const PART: Statement = Statement::once("part", "insert into part values ($1::int8)");
    let (_schema, pool) = world(1).await;
    let before = pid(&pool).await;
    let rows = pool
        .pipeline("two", &[(&ADD, &[&"a"]), (&IN_TRANSACTION, &[])])
        .await
        .unwrap();
    assert!(
        rows[1][0].get::<_, bool>(0),
        "in the transaction of the first"
    );
    let failed = pool
        .pipeline(
            "three",
            &[(&ADD, &[&"b"]), (&PART, &[&-1_i64]), (&ADD, &[&"c"])],
        )
        .await;
    assert!(matches!(failed, Err(Error::Gone(Kind::Spec))), "{failed:?}");
    assert_eq!((count(&pool).await, pid(&pool).await), (1, before));
}

#[tokio::test]
async fn an_error_of_the_database_is_told_without_its_detail() {
    let (_schema, pool) = world(1).await;
    pool.query(&ADD, &[&"secret"]).await.unwrap();
    let failed = pool.query(&ADD, &[&"secret"]).await.unwrap_err();
    assert_eq!(failed.to_string(), "store failed");
    let Error::Unavailable {
        retryable: false,
        source,
    } = failed
    else {
        panic!("{failed:?}");
    };
    assert_eq!(
        source.to_string(),
        "the database refused add (SQLSTATE 23505): \
         duplicate key value violates unique constraint \"item_name_key\""
    );
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up_and_the_caller_may_come_back() {
    let (_schema, pool) = world(1).await;
    // The time limit of the sessions is too long for a test.
    const SHORT: Statement = Statement::once("short", "set statement_timeout = '20ms'");
    pool.query(&SHORT, &[]).await.unwrap();
    let before = pid(&pool).await;
    assert!(retryable(pool.query(&SLOW, &[]).await));
    assert_eq!(pid(&pool).await, before);
}

#[tokio::test]
async fn calls_can_be_made_from_tasks() {
    let (_schema, pool) = world(2).await;
    let name = String::from("a");
    let call = tokio::spawn(async move {
        let borrowed = name.as_str();
        let params: Params<'_> = &[&borrowed];
        let work = pool.pipeline("work", &[(&ADD, params)]).await;
        work.map(|rows| rows.len())
    });
    assert_eq!(call.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn settings_that_a_pooler_dropped_are_named_unless_the_operator_chose_others() {
    let schema = support::schema().await;
    let full = pool(&schema, 1, Statements::Cached);
    assert_eq!(session::missing(&full, "").await.unwrap(), None);
    const DROP: Statement = Statement::repeatable("drop", "reset all");
    const CHOOSE: Statement = Statement::repeatable("choose", "set jit to on");
    full.query(&CHOOSE, &[]).await.unwrap();
    let sql = session::missing(&full, "").await.unwrap().unwrap();
    assert!(
        sql.starts_with("alter role \"") && sql.ends_with("\" set jit = 'off';"),
        "{sql}"
    );
    assert_eq!(session::missing(&full, "-c jit=on").await.unwrap(), None);
    full.query(&DROP, &[]).await.unwrap();
    assert_eq!(session::missing(&full, "").await.unwrap(), None);
}
