//! How fast the PostgreSQL backend is, next to what PostgreSQL does without it.
//!
//! ```text
//! cargo bench --bench postgres                                  rates, additions, costs
//! cargo bench --bench postgres -- --quick                       the same in two minutes
//! cargo bench --bench postgres -- --queued 10000000 --held 10   everything
//! ```
//!
//! `--help` lists the arguments. Everything runs on one machine at the same time, on a
//! cluster that this makes for itself below the target folder and removes afterwards:
//! made by `initdb`, set up as PostgreSQL is by default except for `max_connections`, so
//! a commit waits for the disk. (`pg_stat_statements` is loaded, and does nothing until
//! statements are counted.) It needs the server's programs, pgbench among them. What is
//! compared is done in turns, on tables that are new, of the same units, vacuumed and
//! just after a checkpoint; ratios are within a round.
//!
//! | file | what it measures |
//! |------|------------------|
//! | `compare.rs` | rates, additions, WAL and commits; pgbench and COPY next to us |
//! | `reference.rs`, `sql/` | what pgbench and COPY do, on the table in `sql/reference.sql` |
//! | `ours.rs` | the backend as a library, with the upkeep of a daemon |
//! | `statements.rs` | statements for each call, calls for each statement |
//! | `queued.rs` | `--queued N`: all rates with N units queued and with 200,000 |
//! | `held.rs` | `--held MINUTES`: claims while another transaction is open |
//! | `stack.rs` | the built daemon, with workers on TCP connections |
//!
//! The daemon is built by the profile `bench`, without the link-time optimisation that a
//! release has.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

#[path = "../../support/mod.rs"]
mod support;

mod compare;
mod held;
mod ours;
mod queued;
mod reference;
mod report;
mod server;
mod stack;
mod statements;
mod work;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use server::Server;

/// How fast the PostgreSQL backend is, next to what PostgreSQL does without it.
#[derive(Parser)]
pub struct Settings {
    /// One short round of everything that is asked for.
    #[arg(long)]
    quick: bool,
    /// Rounds.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that each rate is measured for.
    #[arg(long)]
    seconds: Option<u64>,
    /// Units in each new table; more than anyone can finish in that time.
    #[arg(long)]
    units: Option<usize>,
    /// Compare the rates with 200,000 units queued to those with so many.
    #[arg(long, value_name = "UNITS")]
    queued: Option<usize>,
    /// Hold a transaction open for so long while claims go on at a steady pace.
    #[arg(long, value_name = "MINUTES")]
    held: Option<f64>,
    /// Do only what --queued and --held ask for.
    #[arg(long)]
    alone: bool,
    /// What cargo gives to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Settings {
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    pub fn span(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 3 } else { 10 }))
    }

    pub fn units(&self) -> usize {
        self.units
            .unwrap_or(if self.quick { 250_000 } else { 800_000 })
    }
}

/// As many threads as a daemon has: a core is the kernel's.
fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(1).max(2)
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads())
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::select! {
            () = measure(&settings) => ExitCode::SUCCESS,
            // The cluster is removed, as its owner is dropped in the middle.
            () = told_to_stop() => ExitCode::FAILURE,
        }
    })
}

async fn told_to_stop() {
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    // Whoever still uses the cluster need not say that it is gone.
    std::panic::set_hook(Box::new(|_| {}));
}

async fn measure(settings: &Settings) {
    let server = Server::start().await;
    println!("{}", server.describe().await);
    println!(
        "{} cores, {} threads of ours, {} units, {} s for each rate",
        std::thread::available_parallelism().map_or(1, usize::from),
        threads(),
        report::thousands(settings.units() as f64),
        settings.span().as_secs()
    );
    if !settings.alone {
        compare::run(&server, settings).await;
        statements::run(&server, settings).await;
    }
    if let Some(queued) = settings.queued {
        queued::run(&server, settings, queued).await;
    }
    if let Some(minutes) = settings.held {
        held::run(&server, settings, minutes).await;
    }
}
