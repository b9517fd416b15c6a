//! The daemon's binary: settings, logs, runtime, backend, daemon.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use coordinated::{
    backend::{
        memory::Memory,
        postgres::{Migrated, Postgres},
    },
    clock::SystemClock,
    config::{Config, Task},
    daemon::{self, observe, open_files},
};
use tracing::info;

/// Units in memory are small allocations of mixed sizes: this one (version 2 of it)
/// holds 348 bytes for what its version 3 holds 404 for, and both are faster than the
/// system's (`tests/bench/memory.rs`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (outcome, failure) = match Config::load() {
        Ok(config) => (start(&config), ExitCode::FAILURE),
        Err(error) => (Err(error), ExitCode::from(2)),
    };
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    // Whatever the log filter says, and even if nobody reads it.
    let _ = writeln!(io::stderr(), "error: {error:#}");
    failure
}

fn start(config: &Config) -> anyhow::Result<()> {
    observe::init(config);
    open_files::allow(config.max_connections);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads())
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(run(config))
}

/// Picks the backend and runs the daemon on it until it is told to stop, or does only the
/// task that was asked for.
async fn run(config: &Config) -> anyhow::Result<()> {
    let options = config.postgres();
    match (config.task, options) {
        (None, None) => {
            let memory = Memory::new(config.retention());
            let clock = Arc::new(SystemClock::default());
            daemon::run(config, memory, clock, "memory (forgets everything at exit)").await
        }
        (None, Some(options)) => {
            let postgres = Postgres::connect(options).await?;
            let clock = postgres.clock(SystemClock::default()).await?;
            daemon::run(config, postgres, clock, "postgres").await
        }
        (Some(Task::Migrate), None) => {
            bail!("there is nothing to migrate without --backend postgres://…")
        }
        (Some(Task::Migrate), Some(options)) => {
            let Migrated { from, to } = Postgres::migrate(&options).await?;
            info!(schema = %options.schema, from, to, "the tables are as they should be");
            Ok(())
        }
    }
}
