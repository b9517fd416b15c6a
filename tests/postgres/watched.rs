//! A daemon whose pool reaches PostgreSQL through a proxy.
//!
//! What counts here is what calls cost. Hints between daemons go over a connection of their
//! own, the *direct* one, and not through the proxy; upkeep is not called; and the clock
//! that the daemon goes by is the test's and stands still. So the board is looked at when
//! a call needs it and for no other reason, and whoever wants it warm moves no clock. Only
//! the look for units before the one at which claims begin goes by another clock; the
//! proxy tells it by its statement, and counts it apart.
//!
//! The pool has one connection unless a test says otherwise. The first time that it is used
//! for a statement it has to prepare it, which is a round trip more. Tests make each kind of
//! call once before they count; `a_statement_is_prepared_once_for_each_connection` counts
//! that too.

use coordinated::backend::{
    Backend as _, Retention,
    postgres::{Options, Postgres, Statements},
};
use serde_cbor::Value;

use super::proxy::{Proxy, Traffic};
use crate::support::{Client, World, int, list, map, postgres::Schema, settings, text};

/// A daemon, what is between it and the server, and a client of it.
pub struct Watched {
    pub proxy: Proxy,
    pub world: World<Postgres>,
    pub client: Client<Postgres>,
}

/// Entries of the cache.
const CACHE: usize = 1024;

impl Watched {
    /// Alone in a schema, with one connection.
    pub async fn alone() -> Watched {
        let schema = crate::support::postgres::schema().await;
        let mut watched = Watched::on(&schema, 1).await;
        watched.world.schema = Some(schema);
        watched
    }

    /// With so many connections.
    pub async fn on(schema: &Schema, connections_max: usize) -> Watched {
        let proxy = Proxy::start(schema).await;
        let backend = behind(&proxy, schema.connection(), schema.name(), connections_max).await;
        // When it begins to listen it forgets what it remembers; that is over by now.
        let hints = backend.hints().expect("others may share the database");
        assert!(hints.take().await.all);
        let world = World::on(backend, CACHE, settings()).await;
        let client = world.client();
        Watched {
            proxy,
            world,
            client,
        }
    }

    /// Another client of it.
    pub fn join(&mut self) {
        self.client = self.world.client();
    }

    /// Calls a method that must answer with a pair without a message; its value, and what
    /// it cost.
    pub async fn ok(&mut self, method: &str, params: Vec<Value>) -> (Value, Traffic) {
        // In a box, or the compiler gives up on the types of what the tests do.
        let call = Box::pin(self.client.ok(method, params));
        self.proxy.during(call).await
    }

    /// Sets a work spec.
    pub async fn spec<const N: usize>(&mut self, name: &str, keys: [(&str, Value); N]) {
        let mut definition = map(keys);
        if let Value::Map(definition) = &mut definition {
            definition.insert(text("name"), text(name));
        }
        self.ok("set_work_spec", vec![definition]).await;
    }

    /// Adds units of these keys in one call.
    pub async fn add(&mut self, spec: &str, keys: &[String]) -> Traffic {
        let units = keys.iter().map(|key| list([text(key), map([])])).collect();
        let params = vec![text(spec), Value::Array(units)];
        self.ok("add_work_units", params).await.1
    }

    /// Has a unit handed out, which must be one of this spec; its key.
    pub async fn work(&mut self, spec: &str) -> (String, Traffic) {
        let options = map([("work_spec_names", list([text(spec)]))]);
        let (work, traffic) = self.ok("get_work", vec![text("w"), options]).await;
        let Value::Array(work) = work else {
            panic!("{work:?} is no list");
        };
        match &work[..] {
            [from, Value::Text(key), _] if *from == text(spec) => (key.clone(), traffic),
            other => panic!("{other:?} is no unit of {spec}"),
        }
    }

    /// Updates a unit, which must be possible.
    pub async fn update<const N: usize>(
        &mut self,
        spec: &str,
        key: &str,
        options: [(&str, Value); N],
    ) -> Traffic {
        let params = vec![text(spec), text(key), map(options)];
        let (done, traffic) = self.ok("update_work_unit", params).await;
        assert_eq!(done, Value::Bool(true));
        traffic
    }

    /// Finishes a unit without data.
    pub async fn finish(&mut self, spec: &str, key: &str) -> Traffic {
        self.update(spec, key, [("status", int(4))]).await
    }
}

/// A backend whose pool is behind the proxy, and nothing else of it.
pub async fn behind(proxy: &Proxy, direct: &str, schema: &str, connections_max: usize) -> Postgres {
    let options = Options {
        connection: proxy.connection().to_owned(),
        direct: Some(direct.to_owned()),
        schema: schema.parse().unwrap(),
        connections_max,
        statements: Statements::Cached,
        retention: Retention::default(),
        random: fastrand::Rng::with_seed(1),
    };
    Postgres::connect(options).await.unwrap()
}

/// Keys `prefix` 0 and so on.
pub fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix}{i:06}")).collect()
}
