//! The tests' own PostgreSQL.

use crate::support::postgres::schema;

#[tokio::test]
async fn every_test_gets_an_empty_schema_which_is_dropped_after_it() {
    const EXISTS: &str = "select exists (select from pg_namespace where nspname = $1)";
    let (one, other) = (schema().await, schema().await);
    assert_ne!(one.name(), other.name());
    let watcher = other.client().await;
    let name = one.name().to_owned();
    let client = one.client().await;
    client
        .batch_execute("create table mine (n int); insert into mine values (1)")
        .await
        .unwrap();
    assert!(
        watcher.query("table mine", &[]).await.is_err(),
        "another test's table"
    );
    let exists = watcher.query_one(EXISTS, &[&name]).await.unwrap();
    assert!(exists.get::<_, bool>(0));
    drop((client, one));
    let exists = watcher.query_one(EXISTS, &[&name]).await.unwrap();
    assert!(!exists.get::<_, bool>(0));
}

#[tokio::test]
async fn many_tests_at_once_share_one_cluster() {
    let schemas: Vec<_> = (0..8).map(|_| tokio::spawn(schema())).collect();
    let mut started = Vec::new();
    for schema in schemas {
        let client = schema.await.unwrap().client().await;
        let row = client
            .query_one("select pg_postmaster_start_time()::text", &[])
            .await
            .unwrap();
        started.push(row.get::<_, String>(0));
    }
    started.dedup();
    assert_eq!(started.len(), 1, "{started:?}");
}
