//! The daemon's binary: settings, logs, runtime, backend, daemon.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use coordinated::{
    backend::memory::Memory,
    config::{BackendChoice, Config},
    daemon::{self, observe, open_files},
};

/// Units in memory are small allocations of mixed sizes: this one (version 2 of it)
/// holds 348 bytes for what its version 3 holds 404 for, and both are faster than the
/// system's (`benches/memory.rs`).
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
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.worker_threads {
        runtime.worker_threads(threads);
    }
    let runtime = runtime
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(run(config))
}

/// Picks the backend and runs the daemon on it until it is told to stop.
async fn run(config: &Config) -> anyhow::Result<()> {
    match config.backend {
        BackendChoice::Memory => {
            let memory = Memory::new(config.retention());
            daemon::run(config, memory, "memory (forgets everything at exit)").await
        }
        BackendChoice::Postgres(_) => bail!("this build has no PostgreSQL backend yet"),
    }
}
