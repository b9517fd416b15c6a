//! A server that goes away and comes back. Takes seconds, for a cluster of its own.

use std::sync::Arc;

use super::{
    super::{Statements, statement::Statement},
    pool_on,
    support::OwnCluster,
};
use crate::backend::Error;

const ONE: Statement = Statement::once("one", "select 1");

#[tokio::test(flavor = "multi_thread")]
async fn a_short_restart_delays_calls_and_a_long_one_fails_them_in_bounded_time() {
    let cluster = OwnCluster::new(|_| String::new());
    let pool = Arc::new(pool_on(&cluster.connection()));
    assert_eq!(pool.statements, Statements::Cached);
    pool.query(&ONE, &[]).await.unwrap();
    cluster.stop();
    let down = pool.query(&ONE, &[]).await;
    let Err(Error::Unavailable {
        retryable: true,
        source,
    }) = down
    else {
        panic!("{down:?}");
    };
    assert_eq!(source.to_string(), "cannot connect to the database");
    let call = tokio::spawn({
        let pool = pool.clone();
        async move { pool.query(&ONE, &[]).await }
    });
    cluster.start();
    call.await.unwrap().unwrap();
    // Nothing that is in the pool was lost for good.
    for _ in 0..4 {
        pool.query(&ONE, &[]).await.unwrap();
    }
}
