//! Connections to the database: few of them, shared, and never handed on with a
//! transaction open.
//!
//! # Invariants
//!
//! * A connection goes back to the pool only if no transaction of ours can be open on
//!   it: a [`Lease`] closes it otherwise, also when the future that used it is dropped. A
//!   statement by itself is a transaction by itself; if its future is dropped the
//!   database carries it out all the same, and whoever uses the connection next waits
//!   for that.
//! * What may have happened is never done again, unless the statement says that it may
//!   be ([`Repeat`]). What is known not to have happened is tried again for as long as
//!   [`DATABASE_WAIT_MAX`].
//! * Every wait is bounded: for a connection, for the database's answer, between
//!   attempts.
//!
//! # Cost
//!
//! A statement is one round trip, apart from the first time on each connection, when it
//! is prepared.

use std::{
    collections::HashMap,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod};
use tokio::time::Sleep;
use tokio_postgres::{
    Client, Row, SimpleQueryMessage,
    error::SqlState,
    types::{ToSql, Type},
};
use tracing::{debug, error, info, warn};

use super::{
    connector::Connector,
    error::{Cause, Failure},
    lease::Lease,
    statement::{Repeat, Statement, Statements},
};
use crate::{
    backend::Result,
    limits::{DATABASE_PAUSE_MAX, DATABASE_PAUSE_MIN, DATABASE_RETRIES_MAX, DATABASE_WAIT_MAX},
};

/// No panic can leave what is behind the lock half changed.
const HELD: &str = "nothing panics while this is locked";

/// The parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Connections to one database, which are made when they are needed.
#[derive(Debug)]
pub(super) struct Pool {
    connections: deadpool_postgres::Pool,
    pub(super) statements: Statements,
    /// The types of the parameters of statements that are not prepared.
    types: Mutex<HashMap<&'static str, Arc<[Type]>>>,
    /// Whether the last attempt to reach the database failed.
    is_down: AtomicBool,
    /// Whether the database did not know a statement that was prepared.
    has_lost_statements: AtomicBool,
    random: Mutex<fastrand::Rng>,
    pub(super) in_progress: InProgress,
    /// Whether calls on units were made since someone last asked.
    pub(super) is_used: AtomicBool,
}

/// How many calls of one daemon on the database are in progress.
#[derive(Debug, Clone, Default)]
pub struct InProgress(Arc<AtomicUsize>);

impl InProgress {
    /// The number of calls that wait for a connection or for an answer.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) -> Begun<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Begun(self)
    }
}

/// A call that is in progress until this is dropped.
#[must_use]
pub(super) struct Begun<'a>(&'a InProgress);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// A pool of at most `connections_max`; makes none yet. `random` is for the lengths of
    /// pauses.
    pub(super) fn new(
        connector: Connector,
        connections_max: usize,
        statements: Statements,
        random: fastrand::Rng,
    ) -> Pool {
        let config = ManagerConfig {
            // Asking the connection each time how it is would cost a round trip; it is not
            // handed on in a bad state in the first place.
            recycling_method: RecyclingMethod::Fast,
        };
        let target = connector.config.clone();
        let manager = Manager::from_connect(target, connector, config);
        let connections = deadpool_postgres::Pool::builder(manager)
            .max_size(connections_max)
            .build()
            .expect("without time limits of its own it needs no runtime");
        Pool {
            connections,
            statements,
            types: Mutex::default(),
            is_down: AtomicBool::new(false),
            has_lost_statements: AtomicBool::new(false),
            random: Mutex::new(random),
            in_progress: InProgress::default(),
            is_used: AtomicBool::new(false),
        }
    }

    /// Counts a call that waits for others to share a statement with.
    pub(super) fn begin(&self) -> Begun<'_> {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
        self.in_progress.begin()
    }

    /// How many calls are in progress, now and whenever it is asked.
    pub(super) fn in_progress(&self) -> InProgress {
        self.in_progress.clone()
    }

    /// Runs one statement, which is a transaction of its own, and gives its rows. Tries
    /// again what is safe to try again.
    ///
    /// # Errors
    /// [`Error::Gone`](crate::backend::Error::Gone) if it refers to something that was
    /// deleted. [`Error::Unavailable`](crate::backend::Error::Unavailable) otherwise:
    /// retryable if there was no connection in time, or the statement did nothing, or may
    /// be repeated.
    pub(super) async fn query(
        &self,
        statement: &'static Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let _begun = self.in_progress.begin();
        let mut attempts = Attempts::new(self, statement.name, statement.repeat);
        let mut give_up = pin!(tokio::time::sleep(DATABASE_WAIT_MAX)); // reason: bounds the wait
        loop {
            let outcome = match self.lease(give_up.as_mut()).await {
                Ok(lease) => lease.query(statement, params).await,
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok(rows) => return Ok(rows),
                Err(failure) => attempts.failed(failure, give_up.as_mut()).await?,
            }
        }
    }

    /// A connection, if one can be had before `give_up`.
    pub(super) async fn lease(&self, give_up: Pin<&mut Sleep>) -> Result<Lease<'_>, Failure> {
        let connection = tokio::select! {
            biased;
            connection = self.connections.get() => connection,
            () = give_up => return Err(Failure::busy()),
        };
        match connection {
            Ok(connection) => Ok(Lease::new(self, connection)),
            Err(failure) => Err(Failure::connect(failure)),
        }
    }

    /// Takes note of a statement that went well.
    pub(super) fn note_answer(&self) {
        if self.is_down.load(Ordering::Relaxed) && self.is_down.swap(false, Ordering::Relaxed) {
            info!("the database answers again");
        }
    }

    /// What a statement's parameters are, for sending it without preparing it.
    pub(super) async fn types(
        &self,
        client: &Client,
        statement: &'static Statement,
    ) -> Result<Arc<[Type]>, Failure> {
        if let Some(types) = self.types.lock().expect(HELD).get(statement.name) {
            return Ok(types.clone());
        }
        // One message, hence one transaction, hence one connection behind a pooler too.
        let question = format!(
            "prepare coordinated_types as {}\n; \
             select unnest(parameter_types)::oid from pg_prepared_statements \
             where name = 'coordinated_types'; deallocate coordinated_types",
            statement.sql
        );
        let answer = client.simple_query(&question).await;
        let answer = answer.map_err(|error| Failure::of(statement.name, error))?;
        let types: Option<Vec<Type>> = answer
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            })
            .map(|oid| Type::from_oid(oid.parse().ok()?))
            .collect();
        let types: Arc<[Type]> = types
            .expect("our parameters are of types that every PostgreSQL has")
            .into();
        let mut known = self.types.lock().expect(HELD);
        known.insert(statement.name, types.clone());
        Ok(types)
    }
}

/// The attempts at one call.
pub(super) struct Attempts<'p> {
    pool: &'p Pool,
    name: &'static str,
    repeat: Repeat,
    failed: u32,
}

impl<'p> Attempts<'p> {
    pub(super) fn new(pool: &'p Pool, name: &'static str, repeat: Repeat) -> Attempts<'p> {
        Attempts {
            pool,
            name,
            repeat,
            failed: 0,
        }
    }

    /// Waits a little if the call may be tried again, or else says what the caller is told.
    pub(super) async fn failed(
        &mut self,
        failure: Failure,
        give_up: Pin<&mut Sleep>,
    ) -> Result<()> {
        let statement = self.name;
        self.note_outage(&failure);
        self.note_pooler(&failure);
        if failure.may_repeat(self.repeat) && self.failed < DATABASE_RETRIES_MAX {
            let pause = self.pause();
            self.failed += 1;
            debug!(statement, cause = %failure.cause, ?pause, "trying again");
            tokio::select! {
                () = tokio::time::sleep(pause) => return Ok(()), // reason: backs off
                () = give_up => {}
            }
        }
        let cause = &failure.cause as &dyn std::error::Error;
        match (&failure.gone, failure.retryable) {
            (None, false) if !failure.is_to_resolve(self.repeat) => {
                error!(statement, cause, "statement failed");
            }
            _ => debug!(statement, cause, "statement failed"),
        }
        Err(failure.into_error(self.repeat))
    }

    /// Grows with the attempts, and is never the same for those who were in each other's
    /// way.
    fn pause(&self) -> Duration {
        let longest = DATABASE_PAUSE_MIN.saturating_mul(1 << self.failed.min(20));
        let part = self.pool.random.lock().expect(HELD).f64();
        longest.min(DATABASE_PAUSE_MAX).mul_f64(0.5 + part / 2.0)
    }

    /// Tells the operator once that prepared statements get lost.
    fn note_pooler(&self, failure: &Failure) {
        let Cause::Refused { code, .. } = &failure.cause else {
            return;
        };
        let is_lost = *code == SqlState::INVALID_SQL_STATEMENT_NAME.code()
            || *code == SqlState::DUPLICATE_PSTATEMENT.code();
        if is_lost && !self.pool.has_lost_statements.swap(true, Ordering::Relaxed) {
            warn!(
                "prepared statements get lost, as behind a pooler that does not know them; \
                 postgres_statements = \"unnamed\" does without"
            );
        }
    }

    /// Tells the operator once of each outage.
    fn note_outage(&self, failure: &Failure) {
        let is_outage = matches!(failure.cause, Cause::Connect(_) | Cause::Lost { .. });
        if is_outage && !self.pool.is_down.swap(true, Ordering::Relaxed) {
            let cause = &failure.cause as &dyn std::error::Error;
            warn!(cause, "the database does not answer");
        }
    }
}
