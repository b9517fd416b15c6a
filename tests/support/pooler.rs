//! A PgBouncer in front of the tests' PostgreSQL, in transaction mode: each test that asks
//! for one has its own, with a socket in a folder of its own. It ends with its test,
//! however that ends: a shell that waits for this process's end of a pipe sees to it.

use std::{
    env, fs,
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use coordinated::backend::postgres::Statements;
use tokio_postgres::{Config, config::Host};

use super::postgres::Schema;

const HELP: &str = "tests with a pooler need pgbouncer (the Debian name): install it; as root, \
    ./test does";

/// Runs PgBouncer until its standard input ends, then removes its folder.
const SCRIPT: &str = "pgbouncer -q \"$0/pgbouncer.ini\" & read -r _; kill $!; wait; rm -rf \"$0\"";

/// A PgBouncer for one schema.
pub struct Pooler {
    folder: PathBuf,
    process: Child,
}

impl Pooler {
    /// Sessions behind it are in the schema.
    ///
    /// # Panics
    /// If there is no PgBouncer; a test that has none must not pass.
    pub fn start(schema: &Schema) -> Pooler {
        let is_root = fs::metadata("/proc/self").map_or(true, |own| own.uid() == 0);
        let folder = private_folder();
        let file = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        let prepared = match statements() {
            Statements::Cached => "max_prepared_statements = 500",
            Statements::Unnamed => "",
        };
        file("users", "\"jobs\" \"\"\n");
        file(
            "pgbouncer.ini",
            &format!(
                "[databases]\njobs = {} connect_query='set search_path to {}'\n\
                 [pgbouncer]\npool_mode = transaction\nunix_socket_dir = {folder}\n\
                 listen_port = 6432\nauth_type = trust\nauth_file = {folder}/users\n\
                 admin_users = jobs\nignore_startup_parameters = options\n\
                 default_pool_size = 4\nserver_idle_timeout = 5\nlogfile = {folder}/log\n\
                 {prepared}\n",
                behind(schema),
                schema.name(),
                folder = folder.display(),
            ),
        );
        let mut command = match is_root {
            false => Command::new("sh"),
            true => {
                let mut chown = Command::new("chown");
                chown.args(["-R", "postgres"]).arg(&folder);
                assert!(chown.status().unwrap().success(), "{HELP}");
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--", "sh"]);
                command
            }
        };
        let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        command.args(["-c", SCRIPT]).arg(&folder).env("PATH", path);
        command.stdin(Stdio::piped()).current_dir("/");
        let mut pooler = Pooler {
            process: command.spawn().expect(HELP),
            folder,
        };
        while UnixStream::connect(pooler.folder.join(".s.PGSQL.6432")).is_err() {
            let ended = pooler.process.try_wait().unwrap();
            assert!(ended.is_none(), "{HELP}: {}", pooler.log());
            std::thread::yield_now();
        }
        pooler
    }

    /// How to connect through it, by a name of its own.
    pub fn connection(&self) -> String {
        let (folder, name) = (self.folder.display(), self.name());
        format!("host={folder} port=6432 user=jobs dbname=jobs application_name={name}")
    }

    /// The name of the application behind it in `pg_stat_activity`.
    pub fn name(&self) -> &str {
        let name = self.folder.file_name().and_then(|name| name.to_str());
        name.expect("we have chosen it")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// How statements can be sent through the PgBouncer that is installed.
pub fn statements() -> Statements {
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let version = Command::new("pgbouncer")
        .arg("-V")
        .env("PATH", path)
        .output();
    let version = String::from_utf8(version.expect(HELP).stdout).unwrap();
    let number = version.split_whitespace().nth(1).unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    match version >= (1, 21) {
        true => Statements::Cached,
        false => Statements::Unnamed,
    }
}

/// How PgBouncer reaches the server, in its own words.
fn behind(schema: &Schema) -> String {
    let config: Config = schema.connection().parse().unwrap();
    let host = match &config.get_hosts()[0] {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let user = config.get_user().unwrap_or("postgres");
    let name = config.get_dbname().unwrap_or(user);
    let password = config.get_password().map(String::from_utf8_lossy);
    let password = password.map_or_else(String::new, |word| format!(" password='{word}'"));
    format!("host={host} port={port} dbname={name} user={user}{password}")
}

fn private_folder() -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = format!("/tmp/coordinated-pooler-{}-{number}", process::id());
        if fs::DirBuilder::new().mode(0o700).create(&path).is_ok() {
            return Path::new(&path).to_owned();
        }
    }
}
