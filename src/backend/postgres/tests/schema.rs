//! Versions of the tables.

use tokio::task::JoinSet;

use super::{
    super::schema::{Migrated, SchemaError, SchemaName, migrate},
    connector, support,
};

const FIRST: &str = "create table thing (name text)";
const SECOND: &str = "insert into thing values ('made'); alter table thing add size int";

fn name(schema: &support::Schema) -> SchemaName {
    schema.name().parse().unwrap()
}

#[tokio::test]
async fn files_are_applied_once_and_in_order() {
    let schema = support::schema().await;
    let (connector, name) = (connector(&schema), name(&schema));
    let all = [FIRST, SECOND];
    let first = migrate(&connector, &name, &all[..1]).await.unwrap();
    assert_eq!(first, Migrated { from: 0, to: 1 });
    let second = migrate(&connector, &name, &all).await.unwrap();
    assert_eq!(second, Migrated { from: 1, to: 2 });
    let again = migrate(&connector, &name, &all).await.unwrap();
    assert_eq!(again, Migrated { from: 2, to: 2 });
    let client = schema.client().await;
    let rows = client.query("select name from thing", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn the_schema_is_made_if_it_is_missing_and_daemons_that_start_together_agree() {
    let schema = support::schema().await;
    let client = schema.client().await;
    let drop = format!("drop schema {}", schema.name());
    client.batch_execute(&drop).await.unwrap();
    let mut daemons = JoinSet::new();
    for _ in 0..8 {
        let (connector, name) = (connector(&schema), name(&schema));
        daemons.spawn(async move { migrate(&connector, &name, &[FIRST, SECOND]).await });
    }
    let mut changed = 0;
    while let Some(migrated) = daemons.join_next().await {
        let migrated = migrated.unwrap().unwrap();
        assert_eq!(migrated.to, 2);
        changed += usize::from(migrated.from == 0);
    }
    assert_eq!(changed, 1, "only one of them had anything to do");
    let rows = client.query("select name from thing", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn a_daemon_older_than_the_tables_refuses_to_start() {
    let schema = support::schema().await;
    let (connector, name) = (connector(&schema), name(&schema));
    migrate(&connector, &name, &[FIRST, SECOND]).await.unwrap();
    let refusal = migrate(&connector, &name, &[FIRST]).await.unwrap_err();
    assert_eq!(
        refusal.to_string(),
        format!(
            "schema {name} is of version 2, and this daemon knows no version after 1: \
             start a newer one"
        )
    );
}

#[tokio::test]
async fn a_file_that_fails_leaves_nothing_behind() {
    let schema = support::schema().await;
    let (connector, name) = (connector(&schema), name(&schema));
    let broken = "create table other (n int); select 1 / 0";
    let failure = migrate(&connector, &name, &[FIRST, broken]).await;
    let Err(SchemaError::Migration { version: 2, .. }) = failure else {
        panic!("{failure:?}");
    };
    let migrated = migrate(&connector, &name, &[FIRST]).await.unwrap();
    assert_eq!(migrated, Migrated { from: 0, to: 1 });
}

#[test]
fn names_that_mean_something_else_without_quotes_are_refused() {
    assert!("coordinated".parse::<SchemaName>().is_ok());
    assert!("_team_2".parse::<SchemaName>().is_ok());
    for text in [
        "",
        "Team",
        "2nd",
        "a-b",
        "a b",
        "pg_jobs",
        "ü",
        &"a".repeat(64),
    ] {
        assert!(text.parse::<SchemaName>().is_err(), "{text}");
    }
}
