//! Everything in PostgreSQL; any number of daemons may share one database.
//!
//! | file | what it is for |
//! |------|----------------|
//! | `target.rs`, `tls.rs`, `connector.rs` | which database, and the way to it |
//! | `pool.rs`, `lease.rs` | connections, shared; statements on them, tried again where that is safe |
//! | `statement.rs` | a statement's text and name, and whether it may run twice |
//! | `batch.rs` | many calls, few statements |
//! | `error.rs` | what a failure means |
//! | `schema.rs` | the tables' versions |
//! | `dbclock.rs` | the database's time |
//! | `listen.rs` | hints to and from other daemons |
//!
//! Tasks of its own, which end when the backend is dropped, keep the clock right and carry
//! hints.

#![allow(
    dead_code,
    reason = "the methods of the backend, which use all of it, come next"
)]

mod batch;
mod connector;
mod dbclock;
mod error;
mod lease;
mod listen;
mod pool;
mod schema;
mod statement;
mod target;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    env, fmt,
    sync::{Arc, Mutex},
};

use tokio::task::JoinSet;

use self::{
    connector::Connector, listen::Exchange, pool::Pool, schema::MIGRATIONS, statement::Statement,
    target::Target,
};
pub use self::{
    schema::{Migrated, SchemaError, SchemaName},
    statement::Statements,
    target::BadTarget,
    tls::BadTls,
};
use crate::{
    backend::{Error, Hints, Retention},
    clock::{Clock, SyncedClock},
    model::NamespaceId,
};

/// The oldest server whose SQL is enough, as `server_version_num` tells it.
const SERVER_VERSION_MIN: i32 = 130_000;

/// What an operator says of the database.
#[derive(Clone)]
pub struct Options {
    /// How to connect: a URL or `key=value` pairs, completed from the environment. May
    /// hold a password.
    pub connection: String,
    /// The same without a pooler in between, if there is one in the other.
    pub direct: Option<String>,
    /// The schema that holds all tables.
    pub schema: SchemaName,
    /// Most connections that are open at once.
    pub connections_max: usize,
    /// How statements are sent.
    pub statements: Statements,
    /// What is kept of attempts and units that are over.
    pub retention: Retention,
    /// What the lengths of pauses are drawn from.
    pub random: fastrand::Rng,
}

/// Nothing of how to get in.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The connection string is wrong.
    #[error(transparent)]
    Target(#[from] BadTarget),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] BadTls),
    /// The tables cannot be made or used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// It does not answer.
    #[error("the database does not answer")]
    Database(#[from] Error),
    /// The server is too old.
    #[error("PostgreSQL 13 or newer is needed, and this is {0}")]
    Server(String),
    /// Connections do not stay in the schema.
    #[error(
        "connections do not look for tables in schema {0}: behind a pooler, set search_path for \
         the role (alter role … set search_path = {0})"
    )]
    SearchPath(String),
}

/// The PostgreSQL backend.
#[derive(Debug)]
pub struct Postgres {
    pool: Arc<Pool>,
    retention: Retention,
    exchange: Arc<Exchange>,
    /// Aborted when this is dropped.
    tasks: Mutex<JoinSet<()>>,
}

const SESSION: Statement = Statement::repeatable(
    "session",
    "select coalesce(current_schema()::text, ''), current_setting('server_version'),
            current_setting('server_version_num')::int4",
);

impl Postgres {
    /// Connects, and brings the tables to the version of this daemon.
    ///
    /// # Errors
    /// [`StartError`]; no message of it holds a password.
    pub async fn connect(options: Options) -> Result<Postgres, StartError> {
        Postgres::migrate(&options).await?;
        let connector = options.connector(&options.connection)?;
        let pool = Arc::new(Pool::new(
            connector,
            options.connections_max,
            options.statements,
            options.random.clone(),
        ));
        let session = pool.query(&SESSION, &[]).await?;
        for row in session {
            if row.get::<_, i32>(2) < SERVER_VERSION_MIN {
                return Err(StartError::Server(row.get(1)));
            }
            if row.get::<_, &str>(0) != options.schema.as_str() {
                return Err(StartError::SearchPath(options.schema.to_string()));
            }
        }
        let exchange = Arc::new(Exchange::default());
        let mut tasks = JoinSet::new();
        let channel = options.schema.to_string();
        tasks.spawn(listen::carry(options.direct()?, channel, exchange.clone()));
        Ok(Postgres {
            pool,
            retention: options.retention,
            exchange,
            tasks: Mutex::new(tasks),
        })
    }

    /// The database's clock, as told by `local` and kept right for as long as this lives.
    ///
    /// # Errors
    /// [`StartError::Database`] if it does not answer.
    pub async fn clock<C: Clock>(&self, local: C) -> Result<Arc<SyncedClock<C>>, StartError> {
        let clock = Arc::new(dbclock::started(&self.pool, local).await?);
        let mut tasks = self.tasks.lock().expect("spawning does not panic");
        tasks.spawn(dbclock::keep_right(self.pool.clone(), clock.clone()));
        Ok(clock)
    }

    /// Tells the other daemons that something may have become available.
    fn announce(&self, namespace: NamespaceId) {
        self.exchange.outgoing.give(namespace);
    }

    /// What the other daemons tell.
    fn hints(&self) -> Option<Arc<Hints>> {
        Some(self.exchange.incoming.clone())
    }

    /// Brings the tables to the version of this daemon, and does nothing else.
    ///
    /// # Errors
    /// [`StartError`]; no message of it holds a password.
    pub async fn migrate(options: &Options) -> Result<Migrated, StartError> {
        let connector = options.direct()?;
        Ok(schema::migrate(&connector, &options.schema, MIGRATIONS).await?)
    }
}

impl Options {
    /// How to connect where a session has to last.
    fn direct(&self) -> Result<Connector, StartError> {
        self.connector(self.direct.as_ref().unwrap_or(&self.connection))
    }

    fn connector(&self, connection: &str) -> Result<Connector, StartError> {
        let target = Target::parse(connection, |name| env::var_os(name))?;
        Ok(Connector::new(&target, self.schema.as_str())?)
    }
}
