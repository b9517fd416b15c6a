//! What the operator decides: defaults, then the file, then the environment, then
//! flags, each over the one before.
//!
//! [`Config`] is all four. Every setting is one field: its flag, its variable, its key
//! in the file, its default and its help are written there and nowhere else. A value
//! from the file or the environment is read as if it had been given as a flag, so the
//! three cannot disagree about what is valid, and the order of precedence is the order
//! in which they are lined up for clap (the last one wins).

mod global;
mod sources;
#[cfg(test)]
mod tests;
mod values;

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::{
    ArgAction, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    error::ErrorKind,
};

pub use self::values::{BackendChoice, ConnectionString, LogFormat};
use self::values::{count, listen, log_filter, namespace, size, span, switch};
use crate::{
    backend::{
        Retention,
        postgres::{self, SchemaName, Statements},
    },
    limits,
};

const EXAMPLES: &str = "\
Every setting is a flag, an environment variable and, with underscores (cache_entries), a key of \
the TOML file. A flag wins over the environment, the environment over the file. An empty variable \
counts as absent. config.example.toml lists every setting.

Examples:
  coordinated
      Jobs in memory, for clients on this machine
  coordinated --listen 0.0.0.0:5932 --log debug
      Clients from anywhere, one log line per request
  coordinated --config /etc/coordinated.toml --log-format json
      As in production
  coordinated --backend postgres://jobs@db.example.org/jobs
      Jobs in PostgreSQL; any number of daemons may share the database
  coordinated migrate --backend postgres://owner@db.example.org/jobs
      Only makes the tables, or brings them to the version of this program
  COORDINATED_MAX_CONNECTIONS=500 coordinated --limit-completed-age 7d
      Fewer clients; finished and failed units are forgotten after a week";

/// Every setting, decided.
///
/// Made by [`Config::load`] from what the operator gave, or by [`Config::default`]; not
/// by clap's own `parse`, which knows no file. The text on each field is also its text
/// in `--help`.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "coordinated",
    version,
    about = env!("CARGO_PKG_DESCRIPTION"),
    long_about = None,
    after_help = EXAMPLES,
    next_line_help = true,
    max_term_width = 100,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub struct Config {
    /// What to do instead of running the daemon.
    #[command(subcommand)]
    pub task: Option<Task>,

    /// TOML file with the settings below
    #[arg(long, value_name = "FILE", env = "COORDINATED_CONFIG")]
    pub config: Option<PathBuf>,

    /// IP address and port for CBOR-RPC clients; port 0 takes a free one, and the log says which
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "COORDINATED_LISTEN",
        default_value = "127.0.0.1:5932",
        value_parser = listen,
        help_heading = "Clients"
    )]
    pub listen: SocketAddr,

    /// Clients connected at once; more have to wait until one leaves
    #[arg(
        long,
        value_name = "COUNT",
        env = "COORDINATED_MAX_CONNECTIONS",
        default_value = "16384",
        value_parser = count::<1, { limits::CONNECTIONS_MAX }>,
        help_heading = "Clients"
    )]
    pub max_connections: usize,

    /// Longest request; a client that sends a longer one is dropped. In bytes, or as 512KiB, 64MiB
    #[arg(
        long,
        value_name = "SIZE",
        env = "COORDINATED_MAX_FRAME_BYTES",
        default_value = "64MiB",
        value_parser = size::<{ limits::FRAME_BYTES_MIN }, { limits::LARGE_FRAMES_BYTES_MAX }>,
        help_heading = "Clients"
    )]
    pub max_frame_bytes: usize,

    /// When told to stop, wait this long for requests in progress
    #[arg(
        long,
        value_name = "SECONDS",
        env = "COORDINATED_DRAIN_SECONDS",
        default_value = "25",
        value_parser = span,
        help_heading = "Clients"
    )]
    pub drain_seconds: Duration,

    /// Where jobs are kept: memory (lost at exit), or PostgreSQL as
    /// postgres://user@host/database or postgres:host=/run/postgresql dbname=jobs
    #[arg(
        long,
        value_name = "BACKEND",
        env = "COORDINATED_BACKEND",
        default_value = "memory",
        help_heading = "Jobs"
    )]
    pub backend: BackendChoice,

    /// Namespace that connections start in; the default is the one with the empty name
    #[arg(
        long,
        value_name = "NAME",
        env = "COORDINATED_NAMESPACE",
        default_value = "",
        value_parser = namespace,
        help_heading = "Jobs"
    )]
    pub namespace: String,

    /// Work units whose attempt is remembered, to save asking the backend; 0 turns the cache off
    #[arg(
        long,
        value_name = "COUNT",
        env = "COORDINATED_CACHE_ENTRIES",
        default_value = "65536",
        value_parser = count::<0, { limits::CACHE_ENTRIES_MAX }>,
        help_heading = "Jobs"
    )]
    pub cache_entries: usize,

    /// Ended attempts kept for each work unit, besides its current one
    #[arg(
        long,
        value_name = "COUNT",
        env = "COORDINATED_ATTEMPT_HISTORY",
        default_value = "16",
        value_parser = count::<0, { limits::ATTEMPT_HISTORY_MAX }>,
        help_heading = "Jobs"
    )]
    pub attempt_history: usize,

    /// Finished units, and as many failed ones, kept in each work spec; older ones
    /// are forgotten, but still counted. Unlimited if not set
    #[arg(
        long,
        value_name = "COUNT",
        env = "COORDINATED_LIMIT_COMPLETED_COUNT",
        help_heading = "Jobs"
    )]
    pub limit_completed_count: Option<u64>,

    /// How long finished and failed units are kept: seconds, or as 90m, 12h, 7d. For
    /// ever if not set
    #[arg(
        long,
        value_name = "AGE",
        env = "COORDINATED_LIMIT_COMPLETED_AGE",
        value_parser = span,
        help_heading = "Jobs"
    )]
    pub limit_completed_age: Option<Duration>,

    /// Give a unit only to workers that say they have the memory its work spec asks for (min_gb)
    #[arg(
        long,
        value_name = "true|false",
        env = "COORDINATED_ENFORCE_MIN_GB",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set,
        value_parser = switch,
        help_heading = "Jobs"
    )]
    pub enforce_min_gb: bool,

    /// YAML, TOML or JSON file (by its extension) with the map that clients get from
    /// get_config. Read once, at start
    #[arg(
        long = "global-config",
        id = "global_config",
        value_name = "FILE",
        env = "COORDINATED_GLOBAL_CONFIG",
        help_heading = "Jobs"
    )]
    pub global_config_file: Option<PathBuf>,

    /// What that file holds, as one CBOR map. [`Config::load`] fills it in.
    #[arg(skip)]
    pub global_config: Option<Vec<u8>>,

    /// Schema of the database that holds all tables; made if it is missing
    #[arg(
        long,
        value_name = "NAME",
        env = "COORDINATED_POSTGRES_SCHEMA",
        default_value = "coordinated",
        help_heading = "PostgreSQL"
    )]
    pub postgres_schema: SchemaName,

    /// Connections to the database that are open at once, besides the one for notifications
    #[arg(
        long,
        value_name = "COUNT",
        env = "COORDINATED_POSTGRES_CONNECTIONS",
        default_value = "16",
        value_parser = count::<1, { limits::POSTGRES_CONNECTIONS_MAX }>,
        help_heading = "PostgreSQL"
    )]
    pub postgres_connections: usize,

    /// How statements are sent: cached (prepared on each connection), or unnamed, for
    /// PgBouncer before 1.21 and poolers like it
    #[arg(
        long,
        value_name = "HOW",
        env = "COORDINATED_POSTGRES_STATEMENTS",
        default_value = "cached",
        hide_possible_values = true,
        help_heading = "PostgreSQL"
    )]
    pub postgres_statements: Statements,

    /// Connection string of the same database without a pooler in between, for
    /// notifications and changes of tables; that of the backend if not set
    #[arg(
        long,
        value_name = "DATABASE",
        env = "COORDINATED_POSTGRES_DIRECT",
        help_heading = "PostgreSQL"
    )]
    pub postgres_direct: Option<ConnectionString>,

    /// Which log lines are written to standard error: off, error, warn, info, debug
    /// or trace, also by module (info,coordinated::daemon=debug). RUST_LOG is heeded
    /// too
    #[arg(
        long,
        value_name = "FILTER",
        env = "COORDINATED_LOG",
        default_value = "info",
        value_parser = log_filter,
        help_heading = "Process"
    )]
    pub log: String,

    /// How they look: auto is text, coloured on a terminal; text is never coloured;
    /// json is one object per line
    #[arg(
        long,
        value_name = "FORMAT",
        env = "COORDINATED_LOG_FORMAT",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "Process"
    )]
    pub log_format: LogFormat,

    /// Threads that answer requests; if not set, one less than there are cores, but two
    /// at least
    #[arg(
        long,
        value_name = "COUNT",
        env = "COORDINATED_WORKER_THREADS",
        value_parser = count::<1, { limits::WORKER_THREADS_MAX }>,
        help_heading = "Process"
    )]
    pub worker_threads: Option<usize>,

    /// Seed of the scheduler's lots, to see a run again that hands out work in the same
    /// order; random if not set
    #[arg(
        long,
        value_name = "NUMBER",
        env = "COORDINATED_RANDOM_SEED",
        help_heading = "Process"
    )]
    pub random_seed: Option<u64>,
}

/// What the program can do besides running the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Task {
    /// Makes the tables in PostgreSQL, or brings them to the version of this program
    Migrate,
}

impl Config {
    /// How many threads answer requests.
    ///
    /// A core is left to the kernel, which does two thirds of the work of a request, and
    /// to whatever else runs here: with one thread for each of four cores, clients on the
    /// same machine got a tenth fewer units a second.
    #[must_use]
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.worker_threads
            .unwrap_or(cores.saturating_sub(1).max(2))
    }

    /// How to reach the database, and what to do with it. `None` if jobs are kept
    /// elsewhere.
    #[must_use]
    pub fn postgres(&self) -> Option<postgres::Options> {
        let BackendChoice::Postgres(connection) = &self.backend else {
            return None;
        };
        let direct = self.postgres_direct.as_ref();
        Some(postgres::Options {
            connection: connection.clone(),
            direct: direct.map(|direct| direct.as_str().to_owned()),
            schema: self.postgres_schema.clone(),
            connections_max: self.postgres_connections,
            statements: self.postgres_statements,
            retention: self.retention(),
            random: self.random(),
        })
    }

    /// Where everything random comes from.
    #[must_use]
    pub fn random(&self) -> fastrand::Rng {
        self.random_seed
            .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)
    }

    /// What is kept of attempts and units that are over.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention {
            attempt_history: self.attempt_history,
            completed_count: self.limit_completed_count,
            completed_age: self.limit_completed_age,
        }
    }

    /// Reads flags, environment, file and the file that `global_config` names.
    ///
    /// Does not return if the flags ask for help or the version, or are not valid: it
    /// prints that and exits, with 0 or 2, as clap does.
    ///
    /// # Errors
    /// One line: what is wrong with which setting, and where it was set.
    pub fn load() -> anyhow::Result<Config> {
        let flags: Vec<OsString> = env::args_os().skip(1).collect();
        if let Err(answer) = parse(&flags) {
            exit(&answer);
        }
        let environment = |name: &str| env::var_os(name);
        let mut config = decide(&flags, environment, None)?;
        if let Some(path) = config.config.take() {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read the settings in {}", path.display()))?;
            config = decide(&flags, environment, Some((&path, &text)))?;
        }
        if let Some(path) = &config.global_config_file {
            let map = global::read(path)
                .with_context(|| format!("cannot use {} as global_config", path.display()))?;
            config.global_config = Some(map);
        }
        Ok(config)
    }
}

impl Default for Config {
    fn default() -> Config {
        parse(&[]).expect("the defaults are valid, as the tests of this module show")
    }
}

/// The settings that `flags` (without the program's name), the variables that
/// `environment` looks up, and the text of a settings file (with its name, for errors)
/// amount to.
///
/// # Errors
/// One line: the place, the name and the value of the first setting that is unknown or
/// not valid, in the file or else in the environment. For flags, what clap says.
pub fn decide(
    flags: &[OsString],
    environment: impl Fn(&str) -> Option<OsString>,
    file: Option<(&Path, &str)>,
) -> anyhow::Result<Config> {
    let mut given = match file {
        Some((path, text)) => sources::file(path, text)?,
        None => Vec::new(),
    };
    given.extend(sources::environment(environment));
    let mut arguments = Vec::with_capacity(given.len() + flags.len());
    for setting in given {
        arguments.push(setting.checked()?);
    }
    arguments.extend_from_slice(flags);
    Ok(parse(&arguments)?)
}

/// Reads flags alone. The environment is not clap's business: it cannot say which
/// variable held a bad value.
fn parse(arguments: &[OsString]) -> Result<Config, clap::Error> {
    let name = OsStr::new("coordinated").to_owned();
    let all = std::iter::once(&name).chain(arguments);
    let matches = command()
        .mut_args(|argument| argument.env(clap::builder::Resettable::Reset))
        .try_get_matches_from(all)?;
    Config::from_arg_matches(&matches)
}

/// All settings, which may be given before and after a task.
fn command() -> Command {
    Config::command().mut_args(|argument| argument.global(true))
}

/// Prints clap's answer to the flags and ends the process. Help comes from the command
/// that knows the environment variables, so that it names them.
fn exit(answer: &clap::Error) -> ! {
    if answer.kind() == ErrorKind::DisplayHelp {
        let command = command().mut_args(|argument| {
            let text = argument.get_help().cloned().unwrap_or_default();
            // Variable and default on a line of their own; the variable's value may be
            // secret.
            argument.help(format!("{text}\n")).hide_env_values(true)
        });
        command.get_matches_from(["coordinated", "--help"]);
    }
    answer.exit()
}
