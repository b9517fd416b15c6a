//! A transaction of several statements in one round trip.
//!
//! `begin`, the statements and `commit` are sent together. Each answer is awaited, in
//! order, and as long as it would be if it were alone.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use deadpool_postgres::Object;
use tokio_postgres::Row;

use super::{
    error::Failure,
    lease::{Sendable, answered},
    pool::{Attempts, Params, Pool},
    statement::{Repeat, Statement},
};
use crate::{backend::Result, limits::DATABASE_WAIT_MAX};

/// What one statement of a pipeline gives.
type Step<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, tokio_postgres::Error>> + Send + 'a>>;

impl Pool {
    /// Runs statements in one transaction and one round trip, and gives the rows of each.
    /// They are sent together, so none can depend in the daemon on what an earlier one
    /// gave. Tries again what is safe to try again; they may be repeated after the
    /// connection was lost if each of them may.
    ///
    /// # Errors
    /// As [`query`](Pool::query), of the first statement that failed; then none of them
    /// has done anything.
    pub(super) async fn pipeline(
        &self,
        name: &'static str,
        steps: &[(&'static Statement, Params<'_>)],
    ) -> Result<Vec<Vec<Row>>> {
        let repeat = steps.iter().map(|(statement, _)| statement.repeat).max();
        let repeat = repeat.unwrap_or(Repeat::Safe);
        let _begun = self.in_progress.begin();
        let mut attempts = Attempts::new(self, name, repeat);
        let mut give_up = pin!(tokio::time::sleep(DATABASE_WAIT_MAX)); // reason: bounds the wait
        loop {
            let outcome = match self.lease(give_up.as_mut()).await {
                Ok(mut lease) => {
                    lease.close = true;
                    let outcome = pipeline(self, lease.connection(), name, steps).await;
                    lease.ended(&outcome);
                    outcome
                }
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok(rows) => return Ok(rows),
                Err(failure) => attempts.failed(failure, give_up.as_mut()).await?,
            }
        }
    }
}

async fn pipeline(
    pool: &Pool,
    connection: &Object,
    name: &'static str,
    steps: &[(&'static Statement, Params<'_>)],
) -> Result<Vec<Vec<Row>>, Failure> {
    let mut sendables = Vec::with_capacity(steps.len());
    for (statement, _) in steps {
        sendables.push(answered(name, Sendable::make(pool, connection, statement)).await?);
    }
    if connection.is_closed() {
        return Err(Failure::unsent(name, None));
    }
    let around = |sql: &'static str| -> Step<'_> {
        Box::pin(async move { connection.batch_execute(sql).await.map(|()| Vec::new()) })
    };
    let mut all = vec![around("begin")];
    for (sendable, (statement, params)) in sendables.iter().zip(steps) {
        all.push(Box::pin(sendable.send(connection, statement, params)));
    }
    all.push(around("commit"));
    // All are sent before any is awaited, and all are awaited: the first that failed is the
    // reason, the others' errors follow from it.
    let mut early = send(&mut all).await;
    let mut outcomes = Vec::with_capacity(all.len());
    for (step, early) in all.into_iter().zip(&mut early) {
        outcomes.push(match early.take() {
            Some(outcome) => outcome,
            None => answered(name, async { Ok(step.await) }).await?,
        });
    }
    let names = steps.iter().map(|(statement, _)| statement.name);
    let names = std::iter::once(name).chain(names).chain([name]);
    let mut rows = Vec::with_capacity(outcomes.len());
    for (outcome, name) in outcomes.into_iter().zip(names) {
        rows.push(outcome.map_err(|error| Failure::of(name, error))?);
    }
    rows.pop(); // what `commit` gave
    rows.remove(0); // what `begin` gave
    Ok(rows)
}

/// Polls each once, in order, which sends it. What is ready by then must not be polled
/// again.
async fn send<T>(futures: &mut [Pin<Box<dyn Future<Output = T> + Send + '_>>]) -> Vec<Option<T>> {
    poll_fn(|context| {
        let poll = |future: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>| match future
            .as_mut()
            .poll(context)
        {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        };
        Poll::Ready(futures.iter_mut().map(poll).collect())
    })
    .await
}
