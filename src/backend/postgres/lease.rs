//! A connection in use, and what is done on it.

use std::{future::Future, sync::Arc};

use deadpool_postgres::Object;
use tokio::time::timeout;
use tokio_postgres::{Row, types::Type};

use super::{
    error::{Effect, Failure},
    pool::{Params, Pool},
    statement::Statement,
};
use crate::limits::STATEMENT_ANSWER_MAX;

/// Parameters with their types, for statements that are not prepared.
type Typed<'a> = Vec<(&'a (dyn tokio_postgres::types::ToSql + Sync), Type)>;

/// A connection in use, which goes back to the pool when this is dropped.
pub(super) struct Lease<'p> {
    pool: &'p Pool,
    /// `None` only while this is being dropped.
    connection: Option<Object>,
    /// Whether to close the connection instead: a transaction may be open on it, or it is
    /// in a state that nobody knows.
    pub(super) close: bool,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.close
        {
            // Dropped outside of the pool it is closed, and the database rolls back.
            drop(Object::take(connection));
        }
    }
}

impl<'p> Lease<'p> {
    pub(super) fn new(pool: &'p Pool, connection: Object) -> Lease<'p> {
        Lease {
            pool,
            connection: Some(connection),
            close: false,
        }
    }

    /// Runs one statement, a transaction of its own. If the future is dropped, the
    /// connection is still fit for use.
    pub(super) async fn query(
        mut self,
        statement: &'static Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let outcome = run(self.pool, self.connection(), statement, params).await;
        self.ended(&outcome);
        outcome
    }

    pub(super) fn connection(&self) -> &Object {
        let connection = self.connection.as_ref();
        connection.expect("it is taken only when this is dropped")
    }

    /// Decides what becomes of the connection, now that its transaction is over.
    pub(super) fn ended<T>(&mut self, outcome: &Result<T, Failure>) {
        self.close = match outcome {
            Ok(_) => {
                self.pool.note_answer();
                false
            }
            Err(failure) => failure.broken || failure.effect == Effect::Unknown,
        };
    }
}

/// Whatever happens before the commit has no effect.
fn before_commit(failure: Failure) -> Failure {
    Failure {
        effect: Effect::None,
        ..failure
    }
}

/// Runs one statement, prepared or not.
async fn run(
    pool: &Pool,
    connection: &Object,
    statement: &'static Statement,
    params: Params<'_>,
) -> Result<Vec<Row>, Failure> {
    let name = statement.name;
    answered(name, async {
        let sendable = Sendable::make(pool, connection, statement).await?;
        if connection.is_closed() {
            return Err(Failure::unsent(name, None));
        }
        let rows = sendable.send(connection, statement, params).await;
        rows.map_err(|error| Failure::of(name, error))
    })
    .await
}

/// A statement in the form in which it is sent.
pub(super) enum Sendable {
    Prepared(tokio_postgres::Statement),
    Typed(Arc<[Type]>),
}

impl Sendable {
    /// What fails here has had no effect.
    pub(super) async fn make(
        pool: &Pool,
        connection: &Object,
        statement: &'static Statement,
    ) -> Result<Sendable, Failure> {
        let made = match pool.statements {
            super::Statements::Cached => {
                let prepared = connection.prepare_cached(statement.sql).await;
                prepared
                    .map(Sendable::Prepared)
                    .map_err(|error| Failure::of(statement.name, error))
            }
            super::Statements::Unnamed => {
                let types = pool.types(connection, statement).await;
                types.map(Sendable::Typed)
            }
        };
        made.map_err(before_commit)
    }

    /// Sent when first polled.
    pub(super) async fn send(
        &self,
        connection: &Object,
        statement: &'static Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        match self {
            Sendable::Prepared(prepared) => connection.query(prepared, params).await,
            Sendable::Typed(types) => {
                assert_eq!(
                    types.len(),
                    params.len(),
                    "parameters of {}",
                    statement.name
                );
                let params = params.iter().copied().zip(types.iter().cloned());
                let params: Typed<'_> = params.collect();
                connection.query_typed(statement.sql, &params).await
            }
        }
    }
}

/// The outcome, or that there was none in time.
pub(super) async fn answered<T>(
    name: &'static str,
    outcome: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match timeout(STATEMENT_ANSWER_MAX, outcome).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::lost(name, None)),
    }
}
