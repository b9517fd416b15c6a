//! The calls of the protocol, carried out: one method per RPC, as protocol.md §5
//! groups them.
//!
//! Knows names and, through the cache, their ids; knows nothing of sockets or of
//! bytes on the wire. Reads the clock once per call. Every text that a client sees is
//! made here or in `wire`.

mod answer;
mod hints;
mod locks;
mod session;
mod specs;
mod units;
mod upkeep;
mod waiting;
mod work;
mod workers;

use std::sync::{Arc, Mutex, atomic::AtomicU64};

use tokio_util::sync::CancellationToken;

pub use self::{answer::Answered, session::Session, upkeep::Upkeep};
use self::{upkeep::Alarm, waiting::Waiting};
use crate::{
    backend::{Backend, Error},
    cache::Cache,
    clock::{Clock, Timestamp},
    model::{BadName, NamespaceId, NamespaceName},
    wire::{Call, Hello, Reply, Value},
};

/// Why a call gets an error reply; the text is the client's to read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallError(String);

impl From<BadName> for CallError {
    fn from(error: BadName) -> CallError {
        CallError(error.to_string())
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> CallError {
        match error {
            Error::Gone(kind) => CallError(format!("{kind} was deleted while it was used")),
            Error::Unavailable {
                retryable: true, ..
            } => CallError("the backend is busy or restarting; try again".to_owned()),
            Error::Unavailable {
                retryable: false, ..
            } => CallError("the backend failed; the daemon's log says why".to_owned()),
        }
    }
}

/// The result of a call.
type CallResult<'a> = Result<Reply<'a>, CallError>;

/// What the operator decides about calls.
#[derive(Debug)]
pub struct Settings {
    /// Where connections start.
    pub namespace: NamespaceName,
    /// What `get_config` answers: one CBOR map.
    pub global_config: Option<Vec<u8>>,
    /// Whether units go only to workers that have the memory that their spec needs.
    pub enforce_min_gb: bool,
    /// What the scheduler's lots are drawn from.
    pub random: fastrand::Rng,
}

/// Carries out calls.
#[derive(Debug)]
pub struct JobServer<B, C> {
    cache: Cache<B>,
    clock: Arc<C>,
    waiting: Waiting,
    alarm: Alarm,
    /// The namespace that connections start in.
    start: (NamespaceId, NamespaceName),
    global_config: Option<Vec<u8>>,
    enforce_min_gb: bool,
    random: Mutex<fastrand::Rng>,
    panics: AtomicU64,
}

impl<B: Backend, C: Clock> JobServer<B, C> {
    /// Serves what `cache` knows.
    ///
    /// # Errors
    /// Those of the backend: the namespace that connections start in is made here.
    pub async fn new(
        cache: Cache<B>,
        clock: Arc<C>,
        settings: Settings,
    ) -> Result<JobServer<B, C>, Error> {
        let namespace = cache.backend().namespace(&settings.namespace).await?;
        Ok(JobServer {
            cache,
            clock,
            waiting: Waiting::default(),
            alarm: Alarm::default(),
            start: (namespace, settings.namespace),
            global_config: settings.global_config,
            enforce_min_gb: settings.enforce_min_gb,
            random: Mutex::new(settings.random),
            panics: AtomicU64::new(0),
        })
    }

    /// What is remembered for a connection that opens now.
    pub fn open(&self) -> Session {
        let (namespace, name) = &self.start;
        let random = self.random.lock().expect("forking cannot panic").fork();
        Session::new(*namespace, name.as_str().to_owned(), random)
    }

    /// Carries out a call. `leave` ends the wait of a call that waits for work.
    ///
    /// # Errors
    /// [`CallError`] for what protocol.md §3 answers with an error; everything else is
    /// a reply.
    pub async fn call<'a>(
        &'a self,
        session: &mut Session,
        call: Call<'a>,
        leave: &CancellationToken,
    ) -> CallResult<'a> {
        let now = self.clock.now();
        let namespace = session.namespace;
        if upkeep::is_change(&call) {
            self.alarm.stir();
        }
        match call {
            Call::Now => Ok(bare_count(seconds(now))),
            Call::GetWork(call) => self.get_work(now, session, call, leave).await,
            Call::UpdateWorkUnit(call) => self.update_work_unit(now, session, call).await,
            Call::UpdateWorkUnits(calls) => self.update_work_units(now, session, calls).await,

            Call::SetWorkSpec(spec) => self.set_work_spec(namespace, spec).await,
            Call::GetWorkSpec(name) => self.get_work_spec(namespace, name).await,
            Call::GetWorkSpecMeta(name) => self.get_work_spec_meta(namespace, name).await,
            Call::ControlWorkSpec(name, change) => {
                self.control_work_spec(now, namespace, name, change).await
            }
            Call::ListWorkSpecs(call) => self.list_work_specs(namespace, call).await,
            Call::DelWorkSpec(name) => self.del_work_spec(namespace, name).await,
            Call::Clear => self.clear(namespace).await,

            Call::AddWorkUnits(name, units) => {
                self.add_work_units(now, namespace, name, units).await
            }
            Call::CountWorkUnits(name) => self.count_work_units(now, namespace, name).await,
            Call::GetWorkUnits(name, which) => {
                self.get_work_units(now, namespace, name, which).await
            }
            Call::GetWorkUnitStatus(name, keys) => {
                self.get_work_unit_status(now, namespace, name, keys).await
            }
            Call::PrioritizeWorkUnits(call) => {
                self.prioritize_work_units(now, namespace, call).await
            }
            Call::DelWorkUnits(call) => self.del_work_units(now, namespace, call).await,
            Call::Archive(specs) => self.archive(now, namespace, specs).await,

            Call::WorkerHeartbeat(call) => self.worker_heartbeat(now, namespace, call).await,
            Call::WorkerUnregister(worker) => self.worker_unregister(now, namespace, worker).await,
            Call::ListWorkerModes => self.list_worker_modes(now, namespace).await,
            Call::ModeCounts => self.mode_counts(now, namespace).await,
            Call::GetWorkerInfo(worker) => self.get_worker_info(now, namespace, worker).await,
            Call::WorkerStats => self.worker_stats(now, namespace).await,
            Call::GetChildWorkUnits(worker) => {
                self.get_child_work_units(now, namespace, worker).await
            }

            Call::Lock(call) => self.lock(now, namespace, call).await,
            Call::LockSome(call) => self.lock_some(now, namespace, call).await,
            Call::Renew(call) => self.renew_locks(now, namespace, call).await,
            Call::ReadLock(paths) => self.read_locks(now, namespace, paths).await,
            Call::Unlock(owner, paths) => self.unlock(now, namespace, owner, paths).await,
            Call::DeleteNamespace(prefix) => self.drop_locks(namespace, prefix).await,

            Call::GetConfig => self.get_config(),
            Call::Hello(call) => self.hello(session, call).await,
        }
    }

    /// `get_config()`
    fn get_config(&self) -> CallResult<'_> {
        match &self.global_config {
            Some(config) => Ok(Reply::Pair(Value::Item(config), None)),
            None => Err(CallError(
                "no global configuration is set (see --global-config)".to_owned(),
            )),
        }
    }

    /// `hello(options)`
    async fn hello<'a>(&self, session: &mut Session, call: Hello<'a>) -> CallResult<'a> {
        if let Some(name) = call.namespace {
            let name = NamespaceName::new(name)?;
            let namespace = self.cache.backend().namespace(&name).await?;
            session.enter(namespace, name.as_str().to_owned());
        }
        Ok(Reply::Bare(Value::Hello {
            namespace: session.namespace_name.clone(),
        }))
    }
}

/// Whole seconds since the epoch.
fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_micros() / 1_000_000).unwrap_or_default()
}

/// A count alone.
fn bare_count<'a>(count: u64) -> Reply<'a> {
    Reply::Bare(Value::Unsigned(count))
}

/// True, without a message.
fn done<'a>() -> Reply<'a> {
    Reply::Pair(Value::Bool(true), None)
}

/// False, with a message.
fn refused<'a>(why: impl ToString) -> Reply<'a> {
    Reply::Pair(Value::Bool(false), Some(why.to_string()))
}

/// What is said of a work spec that does not exist (protocol.md §5).
fn no_such_spec(name: &str) -> String {
    format!("no such work spec: {name}")
}
