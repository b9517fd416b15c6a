//! What several suites need: a job server of one's own on a clock that stands still,
//! and CBOR values that are easy to write.

#![allow(dead_code, reason = "no suite uses all of it")]

pub mod pooler;
pub mod postgres;
pub mod value;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use coordinated::{
    backend::{
        Backend, Retention,
        memory::Memory,
        postgres::{InProgress, Options, Postgres, Statements},
    },
    cache::Cache,
    clock::ManualClock,
    jobserver::{Answered, JobServer, Session, Settings},
    model::NamespaceName,
};
use serde_cbor::Value;
use tokio_util::sync::CancellationToken;

pub use value::*;

/// Settings as by default, but the same lots every time.
pub fn settings() -> Settings {
    Settings {
        namespace: NamespaceName::new("").unwrap(),
        global_config: None,
        enforce_min_gb: false,
        random: fastrand::Rng::with_seed(1),
    }
}

/// A job server of its own, a clock that stands still until it is moved, and as many
/// clients as a test wants.
pub struct World<B> {
    pub server: Arc<JobServer<B, ManualClock>>,
    pub clock: Arc<ManualClock>,
    backend: Arc<B>,
    /// Where a PostgreSQL backend keeps everything; gone with this.
    pub schema: Option<postgres::Schema>,
    /// What the backend's connections go through.
    pooler: Option<pooler::Pooler>,
    /// The calls on the database that are in progress; none where there is no database.
    pub in_progress: InProgress,
}

/// What a daemon is told of its database.
pub fn postgres_options(connection: &str, schema: &str) -> Options {
    Options {
        connection: connection.to_owned(),
        direct: None,
        schema: schema.parse().unwrap(),
        connections_max: 8,
        statements: Statements::Cached,
        retention: Retention::default(),
        random: fastrand::Rng::with_seed(1),
    }
}

/// A PostgreSQL backend on this schema, as one daemon has it.
pub async fn on_schema(schema: &postgres::Schema, retention: Retention) -> Postgres {
    let options = Options {
        retention,
        ..postgres_options(schema.connection(), schema.name())
    };
    Postgres::connect(options).await.unwrap()
}

impl World<Postgres> {
    /// On PostgreSQL in a schema of its own, with a cache of so many entries.
    pub async fn postgres(cache_entries: usize) -> World<Postgres> {
        let schema = postgres::schema().await;
        let backend = on_schema(&schema, Retention::default()).await;
        let in_progress = backend.in_progress();
        let mut world = World::on(backend, cache_entries, settings()).await;
        (world.schema, world.in_progress) = (Some(schema), in_progress);
        world
    }

    /// The same through a pooler.
    pub async fn pooled(cache_entries: usize) -> World<Postgres> {
        let schema = postgres::schema().await;
        let pooler = pooler::Pooler::start(&schema);
        let options = Options {
            direct: Some(schema.connection().to_owned()),
            statements: pooler::statements(),
            ..postgres_options(&pooler.connection(), schema.name())
        };
        let backend = Postgres::connect(options).await.unwrap();
        let in_progress = backend.in_progress();
        let mut world = World::on(backend, cache_entries, settings()).await;
        (world.schema, world.in_progress) = (Some(schema), in_progress);
        world.pooler = Some(pooler);
        world
    }
}

impl World<Memory> {
    /// On the memory backend, with a cache of so many entries.
    pub async fn memory(cache_entries: usize) -> World<Memory> {
        World::memory_with(cache_entries, Retention::default(), settings()).await
    }

    /// On the memory backend, with settings of its own.
    pub async fn memory_with(
        cache_entries: usize,
        retention: Retention,
        settings: Settings,
    ) -> World<Memory> {
        World::on(Memory::new(retention), cache_entries, settings).await
    }
}

impl<B: Backend> World<B> {
    pub async fn on(backend: B, cache_entries: usize, settings: Settings) -> World<B> {
        let clock = Arc::new(ManualClock::default());
        World::serve(Arc::new(backend), clock, cache_entries, settings).await
    }

    /// Another job server on the same backend, with a cache of its own.
    pub async fn beside(&self, cache_entries: usize) -> World<B> {
        let (backend, clock) = (self.backend.clone(), self.clock.clone());
        let mut world = World::serve(backend, clock, cache_entries, settings()).await;
        world.in_progress = self.in_progress.clone();
        world
    }

    async fn serve(
        backend: Arc<B>,
        clock: Arc<ManualClock>,
        cache_entries: usize,
        settings: Settings,
    ) -> World<B> {
        let cache = Cache::new(backend.clone(), cache_entries);
        let server = JobServer::new(cache, clock.clone(), settings)
            .await
            .unwrap();
        World {
            server: Arc::new(server),
            clock,
            backend,
            schema: None,
            pooler: None,
            in_progress: InProgress::default(),
        }
    }

    /// A client on a connection of its own, in the text dialect.
    pub fn client(&self) -> Client<B> {
        Client {
            server: self.server.clone(),
            session: self.server.open(),
            leave: CancellationToken::new(),
            in_progress: self.in_progress.clone(),
            id: 0,
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
    }
}

/// One connection to a job server, without a socket.
pub struct Client<B> {
    server: Arc<JobServer<B, ManualClock>>,
    session: Session,
    /// Ends waits, as a hang-up does.
    pub leave: CancellationToken,
    pub in_progress: InProgress,
    id: u64,
}

impl<B: Backend> Client<B> {
    /// Calls a method and gives its result, or the message of its error reply.
    pub async fn try_call(&mut self, method: &str, params: Vec<Value>) -> Result<Value, String> {
        self.id += 1;
        let request = map([
            ("id", int(self.id)),
            ("method", text(method)),
            ("params", Value::Array(params)),
        ]);
        let reply = self.message(&serde_cbor::to_vec(&request).unwrap()).await;
        let Value::Map(mut reply) = reply else {
            panic!("{method} answered {reply:?}")
        };
        assert_eq!(reply.remove(&text("id")), Some(int(self.id)));
        match (reply.remove(&text("result")), reply.remove(&text("error"))) {
            (Some(result), None) => Ok(result),
            (None, Some(error)) => match get(&error, "message") {
                Value::Text(message) => Err(message),
                other => panic!("{method} answered an error with {other:?}"),
            },
            other => panic!("{method} answered {other:?}"),
        }
    }

    /// Calls a method that must not answer with an error.
    pub async fn call(&mut self, method: &str, params: Vec<Value>) -> Value {
        match self.try_call(method, params).await {
            Ok(result) => result,
            Err(message) => panic!("{method} answered an error: {message}"),
        }
    }

    /// Calls a method that answers with a pair; its value, and its message as an error.
    pub async fn pair(&mut self, method: &str, params: Vec<Value>) -> (Value, Option<String>) {
        match self.call(method, params).await {
            Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
                Ok([value, Value::Null]) => (value, None),
                Ok([value, Value::Text(message)]) => (value, Some(message)),
                other => panic!("{method} answered no pair: {other:?}"),
            },
            other => panic!("{method} answered no pair: {other:?}"),
        }
    }

    /// Calls a method that must answer with a pair without a message; its value.
    pub async fn ok(&mut self, method: &str, params: Vec<Value>) -> Value {
        let (value, message) = self.pair(method, params).await;
        assert_eq!(message, None, "{method}");
        value
    }

    /// Sends the content of a frame; the content of the reply's frame.
    pub async fn message(&mut self, message: &[u8]) -> Value {
        let frame = self.bytes(message).await;
        let Value::Bytes(payload) = serde_cbor::from_slice(&frame).unwrap() else {
            panic!("the reply is no frame: {frame:02x?}");
        };
        serde_cbor::from_slice(&payload).unwrap()
    }

    /// Sends the content of a frame; the whole frame of the reply.
    pub async fn bytes(&mut self, message: &[u8]) -> Vec<u8> {
        self.answered(message).await.1
    }

    /// Sends the content of a frame; what it was, and the whole frame of the reply.
    pub async fn answered(&mut self, message: &[u8]) -> (Answered, Vec<u8>) {
        let mut replies = BytesMut::new();
        let leave = self.leave.clone();
        let answered = self
            .server
            .answer(&mut self.session, message, &leave, &mut replies)
            .await;
        (answered, replies.to_vec())
    }
}

/// A map with text keys.
pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(BTreeMap::from(
        entries.map(|(key, value)| (text(key), value)),
    ))
}
