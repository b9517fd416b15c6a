//! Everything in PostgreSQL; any number of daemons may share one database.
//!
//! One row per unit is the state machine, and each transition is one conditional change
//! of it; `attempt` is the log of the attempts that are over. Nothing that decides
//! anything lives in a daemon: what one remembers (options of specs, the board) saves
//! round trips, and every statement that depends on it says what it depends on. Every
//! call takes the time from its caller; what has ended by then is over for whoever
//! looks, whether or not it has been written down. The order in which rows are locked
//! is in `migrations/0001_init.sql`.
//!
//! | file | what it is for |
//! |------|----------------|
//! | `target.rs`, `tls.rs`, `connector.rs` | which database, and the way to it |
//! | `pool.rs`, `lease.rs` | connections, shared; statements on them, tried again where that is safe |
//! | `statement.rs` | a statement's text and name, and whether it may run twice |
//! | `error.rs` | what a failure means |
//! | `schema.rs` | the tables' versions |
//! | `calls.rs` | the trait, a line for each method |
//! | the others | the methods, by subject: their SQL beside the code that maps its rows |

mod board;
mod calls;
mod chain;
mod change;
mod claim;
mod connector;
mod error;
mod lease;
mod locks;
mod pool;
mod put;
mod remove;
mod row;
mod schema;
mod specs;
mod statement;
mod sweep;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod units;
mod workers;

use std::env;

use self::{
    board::Boards, connector::Connector, pool::Pool, schema::MIGRATIONS, specs::Directory,
    statement::Statement, sweep::Untold, target::Target,
};
pub use self::{
    pool::InProgress,
    schema::{Migrated, SchemaError, SchemaName},
    statement::Statements,
    target::BadTarget,
    tls::BadTls,
};
use crate::backend::{Error, Retention};

/// The oldest server whose SQL is enough, as `server_version_num` tells it.
const SERVER_VERSION_MIN: i32 = 130_000;

/// What an operator says of the database.
#[derive(Debug, Clone)]
pub struct Options {
    /// How to connect: a URL or `key=value` pairs, completed from the environment. May
    /// hold a password.
    pub connection: String,
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
    pool: Pool,
    retention: Retention,
    directory: Directory,
    boards: Boards,
    untold: Untold,
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
        let connector = options.connector()?;
        schema::migrate(&connector, &options.schema, MIGRATIONS).await?;
        let pool = Pool::new(
            connector,
            options.connections_max,
            options.statements,
            options.random,
        );
        let session = pool.query(&SESSION, &[]).await?;
        for row in session {
            if row.get::<_, i32>(2) < SERVER_VERSION_MIN {
                return Err(StartError::Server(row.get(1)));
            }
            if row.get::<_, &str>(0) != options.schema.as_str() {
                return Err(StartError::SearchPath(options.schema.to_string()));
            }
        }
        Ok(Postgres {
            pool,
            retention: options.retention,
            directory: Directory::default(),
            boards: Boards::default(),
            untold: Untold::default(),
        })
    }

    /// How many calls on the database are in progress, now and whenever it is asked.
    #[must_use]
    pub fn in_progress(&self) -> InProgress {
        self.pool.in_progress()
    }

    /// Brings the tables to the version of this daemon, and does nothing else.
    ///
    /// # Errors
    /// [`StartError`]; no message of it holds a password.
    pub async fn migrate(options: &Options) -> Result<Migrated, StartError> {
        let connector = options.connector()?;
        Ok(schema::migrate(&connector, &options.schema, MIGRATIONS).await?)
    }
}

impl Options {
    fn connector(&self) -> Result<Connector, StartError> {
        let target = Target::parse(&self.connection, |name| env::var_os(name))?;
        Ok(Connector::new(&target, self.schema.as_str())?)
    }
}
