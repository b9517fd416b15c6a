//! The parts of the PostgreSQL backend that are not about jobs, against a real server.

#[path = "../../../../tests/support/postgres.rs"]
mod support;

mod daemons;
mod outages;
mod pool;
mod schema;
mod tls;

use support::Schema;
pub(super) use support::schema;

use super::{Options, connector::Connector, pool::Pool, statement::Statements, target::Target};
use crate::backend::Retention;

/// What a daemon is told of a test's schema.
pub(super) fn options(schema: &Schema) -> Options {
    Options {
        connection: schema.connection().to_owned(),
        direct: None,
        schema: schema.name().parse().unwrap(),
        connections_max: 2,
        statements: Statements::Cached,
        retention: Retention::default(),
        random: fastrand::Rng::with_seed(1),
    }
}

/// How to connect to a test's schema.
fn connector(schema: &Schema) -> Connector {
    let target = Target::parse(schema.connection(), |_| None).unwrap();
    Connector::new(&target, schema.name()).unwrap()
}

/// How to connect to a database that no other test uses.
fn connector_for(connection: &str) -> Connector {
    let target = Target::parse(connection, |_| None).unwrap();
    Connector::new(&target, "public").unwrap()
}

/// A pool for such a database.
fn pool_on(connection: &str) -> Pool {
    let random = fastrand::Rng::with_seed(1);
    Pool::new(connector_for(connection), 2, Statements::Cached, random)
}

/// A pool for a test's schema.
fn pool(schema: &Schema, connections_max: usize, statements: Statements) -> Pool {
    let random = fastrand::Rng::with_seed(1);
    Pool::new(connector(schema), connections_max, statements, random)
}
