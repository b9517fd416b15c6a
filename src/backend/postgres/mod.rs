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
//! | `pipeline.rs` | a transaction in one round trip |
//! | `statement.rs` | a statement's text and name, and whether it may run twice |
//! | `doubt.rs`, `receipt.rs` | what became of a call whose answer was lost |
//! | `batch.rs` | many calls, few statements |
//! | `error.rs` | what a failure means |
//! | `schema.rs` | the tables' versions |
//! | `dbclock.rs` | the database's time |
//! | `listen.rs` | hints to and from other daemons |
//! | `calls.rs` | the trait, a line for each method; which calls share statements |
//! | the others | the methods, by subject: their SQL beside the code that maps its rows |
//!
//! Tasks of its own, which end when the backend is dropped, keep the clock right and carry
//! hints.

mod archive;
mod batch;
mod board;
mod calls;
mod chain;
mod change;
mod change_columns;
mod claim;
mod clear;
mod connector;
mod dbclock;
mod doubt;
mod error;
mod floors;
mod lease;
mod listen;
mod locks;
mod pipeline;
mod pool;
mod put;
mod receipt;
mod remove;
mod row;
mod schema;
mod session;
mod settle;
mod snapshots;
mod specs;
mod statement;
mod sweep;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod units;
mod workers;

use std::{
    env, fmt,
    sync::{Arc, Mutex},
};

use tokio::task::JoinSet;

use self::{
    archive::Archiving,
    batch::Batcher,
    board::Boards,
    calls::{Adding, Changing, Claiming},
    clear::Clearing,
    connector::Connector,
    floors::Floors,
    listen::Exchange,
    pool::Pool,
    receipt::Receipts,
    schema::MIGRATIONS,
    snapshots::Watch,
    specs::Directory,
    statement::Statement,
    sweep::{Turn, Untold},
    target::Target,
};
pub use self::{
    pool::InProgress,
    schema::{Migrated, SchemaError, SchemaName},
    snapshots::HeldSnapshot,
    statement::Statements,
    target::BadTarget,
    tls::BadTls,
};
use crate::{
    backend::{Error, Retention},
    clock::{Clock, SyncedClock},
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
pub struct Postgres {
    store: Arc<Store>,
    claims: Batcher<Claiming>,
    changes: Batcher<Changing>,
    additions: Batcher<Adding>,
    exchange: Arc<Exchange>,
    /// Aborted when this is dropped.
    tasks: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// What carries calls out.
#[derive(Debug)]
struct Store {
    pool: Arc<Pool>,
    receipts: Receipts,
    retention: Retention,
    directory: Directory,
    boards: Arc<Boards>,
    floors: Arc<Floors>,
    untold: Untold,
    archiving: Archiving,
    clearing: Clearing,
    turn: Turn,
    watch: Watch,
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
        let target = Options::target(&options.connection)?;
        let theirs = target.config.get_options().unwrap_or_default().to_owned();
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
        session::check(&pool, &theirs).await?;
        let boards = Arc::<Boards>::default();
        let floors = Arc::<Floors>::default();
        let exchange = Arc::new(Exchange::new(boards.clone(), floors.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(listen::carry(
            options.direct()?,
            options.schema.to_string(),
            exchange.clone(),
            pool.clone(),
            options.random.clone().fork(),
        ));
        let store = Arc::new(Store {
            receipts: Receipts::new(&pool).await?,
            pool,
            retention: options.retention,
            directory: Directory::default(),
            boards,
            floors,
            untold: Untold::default(),
            archiving: Archiving::default(),
            clearing: Clearing::default(),
            turn: Turn::default(),
            watch: Watch::default(),
        });
        Ok(Postgres {
            claims: Batcher::new(Claiming(store.clone())),
            changes: Batcher::new(Changing(store.clone())),
            additions: Batcher::new(Adding(store.clone())),
            store,
            exchange,
            tasks: Mutex::new(tasks),
        })
    }

    /// How many calls on the database are in progress, now and whenever it is asked.
    #[must_use]
    pub fn in_progress(&self) -> InProgress {
        self.store.pool.in_progress()
    }

    /// What keeps the database from removing dead rows for the longest time, as of the last
    /// look: every half minute while there is something to do. `None` if nothing does, or
    /// nobody has looked yet.
    #[must_use]
    pub fn oldest_snapshot(&self) -> Option<HeldSnapshot> {
        self.store.watch.oldest()
    }

    /// The database's clock, as told by `local` and kept right for as long as this lives.
    ///
    /// # Errors
    /// [`StartError::Database`] if it does not answer.
    pub async fn clock<C: Clock>(&self, local: C) -> Result<Arc<SyncedClock<C>>, StartError> {
        let clock = Arc::new(dbclock::started(&self.store.pool, local).await?);
        let mut tasks = self.tasks.lock().expect("spawning does not panic");
        tasks.spawn(dbclock::keep_right(self.store.pool.clone(), clock.clone()));
        Ok(clock)
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

    fn target(connection: &str) -> Result<Target, BadTarget> {
        Target::parse(connection, |name| env::var_os(name))
    }

    fn connector(&self, connection: &str) -> Result<Connector, StartError> {
        let target = Options::target(connection)?;
        Ok(Connector::new(&target, self.schema.as_str())?)
    }
}
