//! The tables, and how they came to be: numbered files of SQL, each applied once.
//!
//! # Invariants
//!
//! * The table `schema_version` has one row, which says how many files were applied.
//!   Whoever applies some holds a lock on that row until they are committed, all or
//!   none, so that daemons which start together agree.
//! * A file that was released is never changed; what is wrong in it is put right by a
//!   further one. While a newer daemon starts, older ones go on with the tables it
//!   leaves, so a file only adds, or changes what older daemons can live with.

use std::{fmt, str::FromStr};

use tokio_postgres::{Client, error::SqlState};
use tracing::info;

use super::connector::Connector;

/// The files, the first one first.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_init.sql")];

/// How often daemons that make the schema at the same time may get in each other's way.
const ROUNDS_MAX: usize = 20;

/// The name of the schema that holds all tables: lower-case ASCII letters, digits and
/// underscores, so that it means the same with and without quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaName(String);

impl SchemaName {
    /// PostgreSQL cuts longer names off.
    pub const BYTES_MAX: usize = 63;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SchemaName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<SchemaName, &'static str> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !text.bytes().all(is_plain) || !text.starts_with(|first: char| !first.is_ascii_digit()) {
            return Err("not lower-case letters, digits and underscores, with no digit first");
        }
        if text.len() > Self::BYTES_MAX {
            return Err("longer than 63 bytes");
        }
        if text.starts_with("pg_") {
            return Err("names that begin with pg_ are PostgreSQL's own");
        }
        Ok(SchemaName(text.to_owned()))
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why the tables are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A newer daemon was here.
    #[error(
        "schema {schema} is of version {found}, and this daemon knows no version after {known}: \
         start a newer one"
    )]
    Newer {
        /// The schema's name.
        schema: String,
        /// The version of its tables.
        found: i32,
        /// The newest version that this daemon knows.
        known: i32,
    },
    /// There is no database to make tables in.
    #[error("cannot connect to the database")]
    Connect(#[source] tokio_postgres::Error),
    /// The schema cannot be made or looked into.
    #[error("cannot make or read the version of schema {0}")]
    Version(String, #[source] tokio_postgres::Error),
    /// A file cannot be applied; nothing was changed.
    #[error("cannot bring schema {schema} to version {version}")]
    Migration {
        /// The schema's name.
        schema: String,
        /// The file's number.
        version: i32,
        /// What the database said.
        #[source]
        source: tokio_postgres::Error,
    },
}

/// What [`migrate`] found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The version before; 0 if there was nothing.
    pub from: i32,
    /// The version now.
    pub to: i32,
}

/// Brings the schema to the newest version, making it first if need be.
pub(super) async fn migrate(
    connector: &Connector,
    schema: &SchemaName,
    files: &[&str],
) -> Result<Migrated, SchemaError> {
    let (mut client, task) = connector.connect().await.map_err(SchemaError::Connect)?;
    let mut rounds = 1;
    let migrated = loop {
        match attempt(&mut client, schema, files).await {
            // Someone else made the same at the same time, and was first.
            Err(SchemaError::Version(_, error)) if is_duplicate(&error) && rounds < ROUNDS_MAX => {
                rounds += 1;
            }
            migrated => break migrated,
        }
    };
    drop(client);
    let _ = task.await; // ends once it has said goodbye
    let migrated = migrated?;
    if migrated.from != migrated.to {
        let Migrated { from, to } = migrated;
        info!(%schema, from, to, "changed the tables");
    }
    Ok(migrated)
}

async fn attempt(
    client: &mut Client,
    schema: &SchemaName,
    files: &[&str],
) -> Result<Migrated, SchemaError> {
    let failed = |error| SchemaError::Version(schema.to_string(), error);
    let known = i32::try_from(files.len()).expect("there are not that many files");
    // Dropped without a commit, it is rolled back.
    let transaction = client.transaction().await.map_err(failed)?;
    // Large tables may take longer than any statement of the daemon's.
    let settings = format!("set local statement_timeout = 0; set local search_path to {schema}");
    transaction.batch_execute(&settings).await.map_err(failed)?;
    let table = format!("{schema}.schema_version");
    let exists = transaction
        .query_one("select to_regclass($1) is not null", &[&table])
        .await;
    if !exists.map_err(failed)?.get::<_, bool>(0) {
        // Asked for only if it is missing: it takes rights that a daemon need not have.
        let make = format!(
            "create schema if not exists {schema};
             create table schema_version (
                 only_row boolean primary key default true check (only_row),
                 version integer not null
             );
             insert into schema_version (version) values (0)"
        );
        transaction.batch_execute(&make).await.map_err(failed)?;
    }
    let read = "select version from schema_version";
    let mut version = transaction.query_one(read, &[]).await;
    if matches!(&version, Ok(row) if row.get::<_, i32>(0) < known) {
        let lock = "select version from schema_version for update";
        version = transaction.query_one(lock, &[]).await;
    }
    let from: i32 = version.map_err(failed)?.get(0);
    if from > known {
        return Err(SchemaError::Newer {
            schema: schema.to_string(),
            found: from,
            known,
        });
    }
    for (file, version) in files.iter().zip(1..) {
        if version <= from {
            continue;
        }
        let applied = async {
            transaction.batch_execute(file).await?;
            let update = "update schema_version set version = $1";
            transaction.execute(update, &[&version]).await
        };
        applied.await.map_err(|source| SchemaError::Migration {
            schema: schema.to_string(),
            version,
            source,
        })?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Migrated { from, to: known })
}

/// Whether there already is what was to be made.
fn is_duplicate(error: &tokio_postgres::Error) -> bool {
    let duplicates = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_SCHEMA,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
    ];
    error.code().is_some_and(|code| duplicates.contains(code))
}
