//! A PostgreSQL for tests: one function gives each a fresh schema of its own.
//!
//! `COORDINATED_TEST_POSTGRES`, a connection string of a role that may create schemas
//! and end other sessions, says which server to use. Without it, all test processes of
//! this checkout share a throw-away cluster under `target/test-postgres`, which the
//! first process that needs it makes while it holds a lock on a file there. The cluster
//! stays up between runs and ends by itself within a minute after its folder was
//! removed. It listens on a Unix socket only, and does not care for its data: if it is
//! found dead, or was made by another version of this file, it is made anew.
//!
//! This file needs nothing from the rest of the support code, so that tests inside of
//! `src` can include it too.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code, of which no suite uses all"
)]

use std::{
    env, fs,
    os::unix::{fs::DirBuilderExt as _, fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

/// What is missing where there is no PostgreSQL.
const HELP: &str = "tests of the PostgreSQL backend need its server programs: install them \
    (Debian: postgresql; as root, ./test does), have initdb in PATH, or name a server in \
    COORDINATED_TEST_POSTGRES";

/// The only change to the default settings where data is to last.
const CONNECTIONS: &str = "
max_connections = 300
";

/// Further changes where it is not: nothing there survives a crash of the machine.
const FORGETFUL: &str = "
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 128MB
log_min_error_statement = panic
deadlock_timeout = 50ms
";

/// A schema of its own for one test; dropped with this, unless the test has failed.
#[derive(Debug)]
pub struct Schema {
    connection: String,
    name: String,
}

/// A fresh schema, named after the test that runs.
///
/// # Panics
/// If there is no PostgreSQL; a test that has none must not pass.
pub async fn schema() -> Schema {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let thread = thread::current();
    let test = thread.name().and_then(|name| name.rsplit("::").next());
    let test: String = test
        .unwrap_or("test")
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .take(40) // PostgreSQL cuts names off after 63 bytes
        .collect();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("t_{test}_{}_{number}", process::id());
    let server = server().await;
    let separator = match (server.contains("://"), server.contains('?')) {
        (true, true) => "&",
        (true, false) => "?",
        (false, _) => " ",
    };
    let schema = Schema {
        connection: format!("{server}{separator}application_name={name}"),
        name,
    };
    let client = connect(&schema.connection).await;
    // One may be left of a failed test whose process had the same number.
    let statement = format!(
        "drop schema if exists {name} cascade; create schema {name}",
        name = schema.name
    );
    client.batch_execute(&statement).await.unwrap();
    schema
}

impl Schema {
    /// How to connect to the server. Says nothing of the schema, but its name is the name
    /// of the application in `pg_stat_activity`.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// The schema's name, which needs no quotes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of its own, with the schema as its search path and the rights of the
    /// tests' role.
    pub async fn client(&self) -> Client {
        let client = connect(&self.connection).await;
        let statement = format!("set search_path to {}", self.name);
        client.batch_execute(&statement).await.unwrap();
        client
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("schema {} is left for inspection", self.name);
            return;
        }
        let (connection, name) = (self.connection.clone(), self.name.clone());
        // A runtime of its own, as the one of the test is not to be blocked on.
        let dropped = thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let client = connect(&connection).await;
                let statement =
                    format!("set lock_timeout = '5s'; drop schema if exists {name} cascade");
                client.batch_execute(&statement).await
            })
        });
        match dropped.join() {
            Ok(Ok(())) => {}
            other => eprintln!("schema {} was not dropped: {other:?}", self.name),
        }
    }
}

async fn connect(connection: &str) -> Client {
    let (client, task) = tokio_postgres::connect(connection, NoTls)
        .await
        .unwrap_or_else(|error| panic!("the tests' PostgreSQL does not answer: {error:?}"));
    tokio::spawn(task);
    client
}

/// The connection string of the server, started if need be.
async fn server() -> &'static str {
    static SERVER: OnceCell<String> = OnceCell::const_new();
    SERVER
        .get_or_init(async || match env::var("COORDINATED_TEST_POSTGRES") {
            Ok(connection) if !connection.is_empty() => connection,
            // All tests of this process need it, and none has anything to do meanwhile.
            _ => Cluster::in_target().started(),
        })
        .await
}

/// The throw-away cluster.
struct Cluster {
    /// `target/test-postgres`, ours whoever the server runs as.
    folder: PathBuf,
    /// Where the server's programs are.
    programs: PathBuf,
    /// The user to run the server as, if it cannot be this one: PostgreSQL refuses root.
    user: Option<&'static str>,
}

impl Cluster {
    fn in_target() -> Cluster {
        Cluster::in_folder(target().join("test-postgres"))
    }

    fn in_folder(folder: PathBuf) -> Cluster {
        fs::create_dir_all(&folder).unwrap();
        let is_root = fs::metadata("/proc/self").map_or(true, |own| own.uid() == 0);
        Cluster {
            folder,
            programs: programs().expect(HELP),
            user: is_root.then_some("postgres"),
        }
    }

    /// Its connection string.
    fn started(&self) -> String {
        let lock = fs::File::create(self.folder.join("lock")).unwrap();
        lock.lock().unwrap();
        // Lines: the folder this is in, the settings' stamp, the folders of the socket and
        // of the data. A target folder that was copied says another folder; that cluster
        // is not ours to end.
        let record = self.folder.join("cluster");
        let recorded = fs::read_to_string(&record).unwrap_or_default();
        let lines: Vec<&str> = recorded.lines().collect();
        let (folder, stamp) = (self.folder.to_str().unwrap(), stamp());
        if let [here, made, sockets, data] = lines[..]
            && here == folder
        {
            if made == stamp && UnixStream::connect(socket(sockets)).is_ok() {
                return connection(sockets);
            }
            self.remove(Path::new(sockets), Path::new(data));
        }
        let sockets = self.private_folder();
        let data = self.data_folder(&sockets);
        // Before it is made, so that whatever becomes of us, the next finds it.
        let (sockets, data) = (sockets.to_str().unwrap(), data.to_str().unwrap());
        fs::write(&record, format!("{folder}\n{stamp}\n{sockets}\n{data}\n")).unwrap();
        let more = format!("{FORGETFUL}listen_addresses = ''");
        self.make(sockets, data, &more);
        self.start(data);
        connection(sockets)
    }

    fn make(&self, sockets: &str, data: &str, more: &str) {
        let plain = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"];
        // A locale in which text does not sort by its bytes, as on many servers, where
        // this PostgreSQL has one that does not depend on the machine (15 and newer).
        let icu = ["--locale=C", "--locale-provider=icu", "--icu-locale=en-US"];
        let initdb = |arguments: &[&str]| {
            let mut command = self.command("initdb");
            command.arg("--no-sync").args(plain).args(arguments);
            command.output().unwrap()
        };
        if !initdb(&icu).status.success() {
            succeeded("initdb", &initdb(&["--locale=C"]));
        }
        let mut settings = fs::read_to_string(format!("{data}/postgresql.conf")).unwrap();
        settings.push_str(CONNECTIONS);
        settings.push_str(&format!("unix_socket_directories = '{sockets}'\n{more}\n"));
        fs::write(format!("{data}/postgresql.conf"), settings).unwrap();
    }

    fn start(&self, data: &str) {
        let mut start = self.command("pg_ctl");
        start.args(["-D", data, "-w", "-t", "60", "start"]);
        start.arg("-l").arg(format!("{data}/server.log"));
        succeeded("pg_ctl start", &start.output().unwrap());
    }

    /// Ends the cluster if it still runs, and removes what is left of it.
    fn remove(&self, sockets: &Path, data: &Path) {
        if data.join("postmaster.pid").exists() {
            self.stop(data, "immediate"); // it may be dead
        }
        for folder in [data, sockets] {
            let _ = fs::remove_dir_all(folder);
        }
    }

    fn stop(&self, data: &Path, mode: &str) {
        let mut stop = self.command("pg_ctl");
        stop.args(["-m", mode, "-w", "stop", "-D"]).arg(data);
        let _ = stop.output();
    }

    /// A short path that only the server's user can enter: a socket's path may have no
    /// more than 107 bytes.
    fn private_folder(&self) -> PathBuf {
        let made = (0..1_000).find_map(|number| {
            let path = format!("/tmp/coordinated-test-{}-{number}", process::id());
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o700).create(&path).ok()?;
            Some(PathBuf::from(path))
        });
        let made = made.expect("/tmp can be written to");
        self.give(&made);
        made
    }

    /// Where the data goes: here, or next to the socket if the server's user has no way
    /// in here.
    fn data_folder(&self, sockets: &Path) -> PathBuf {
        let here = self.folder.join("data");
        let _ = fs::remove_dir_all(&here);
        fs::DirBuilder::new().mode(0o700).create(&here).unwrap();
        self.give(&here);
        let mut test = self.run("test");
        test.arg("-w").arg(&here);
        if test.status().is_ok_and(|status| status.success()) {
            return here;
        }
        sockets.join("data")
    }

    /// Makes the server's user the owner.
    fn give(&self, folder: &Path) {
        if let Some(user) = self.user {
            let mut chown = Command::new("chown");
            succeeded("chown", &chown.arg(user).arg(folder).output().expect(HELP));
        }
    }

    /// One of the server's programs.
    fn command(&self, program: &str) -> Command {
        self.run(self.programs.join(program).to_str().unwrap())
    }

    /// A program, run as the server's user.
    fn run(&self, program: &str) -> Command {
        let mut command = match self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--", program]);
                command
            }
        };
        // Somewhere that every user may be.
        command.current_dir("/").stdin(Stdio::null());
        for (variable, _) in env::vars_os() {
            if variable.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(variable);
            }
        }
        command
    }
}

/// A cluster that one test has for itself, to stop or to set up as it likes; a second to
/// make. Ends with this.
pub struct OwnCluster {
    cluster: Cluster,
    sockets: PathBuf,
    data: PathBuf,
    port: u16,
}

impl OwnCluster {
    /// Listens on a port of 127.0.0.1 too. `set_up` puts files into the folder of the data
    /// and gives settings.
    ///
    /// # Panics
    /// As [`schema`].
    pub fn new(set_up: impl FnOnce(&Path) -> String) -> OwnCluster {
        OwnCluster::with(FORGETFUL, set_up)
    }

    /// As [`new`](OwnCluster::new), but with all settings as by default, save that more
    /// clients may connect: a commit waits for the disk, and survives [`stop`](OwnCluster::stop).
    ///
    /// # Panics
    /// As [`schema`].
    pub fn durable(set_up: impl FnOnce(&Path) -> String) -> OwnCluster {
        OwnCluster::with("", set_up)
    }

    fn with(settings: &str, set_up: impl FnOnce(&Path) -> String) -> OwnCluster {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let cluster = Cluster::in_folder(target().join(format!("test-postgres/own-{port}")));
        let sockets = cluster.private_folder();
        let data = cluster.data_folder(&sockets);
        let own = OwnCluster {
            cluster,
            sockets,
            data,
            port,
        };
        let (sockets, data) = (own.sockets.to_str().unwrap(), own.data.to_str().unwrap());
        let listen = format!("{settings}listen_addresses = '127.0.0.1'\nport = {port}\n");
        own.cluster.make(sockets, data, &listen);
        let more = set_up(&own.data);
        for entry in fs::read_dir(&own.data).unwrap() {
            own.cluster.give(&entry.unwrap().path());
        }
        let file = own.data.join("postgresql.conf");
        let settings = fs::read_to_string(&file).unwrap();
        fs::write(file, settings + &more).unwrap();
        drop(free);
        own.start();
        own
    }

    /// Starts the server again.
    pub fn start(&self) {
        self.cluster.start(self.data.to_str().unwrap());
    }

    /// Ends the server as a crash does.
    pub fn stop(&self) {
        self.stop_in("immediate");
    }

    /// Ends the server in a mode of `pg_ctl`: `fast` ends its sessions and writes
    /// everything first, `immediate` is a crash.
    pub fn stop_in(&self, mode: &str) {
        self.cluster.stop(&self.data, mode);
    }

    /// How to connect by its socket.
    pub fn connection(&self) -> String {
        let (sockets, port) = (self.sockets.display(), self.port);
        format!("host={sockets} port={port} user=postgres dbname=postgres")
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data.join("server.log")).unwrap()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the server's programs.
    pub fn programs(&self) -> &Path {
        &self.cluster.programs
    }

    /// The folder of its data.
    pub fn data(&self) -> &Path {
        &self.data
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        self.cluster.remove(&self.sockets, &self.data);
        let _ = fs::remove_dir_all(&self.cluster.folder);
    }
}

/// Tells clusters made by other versions of this file apart.
fn stamp() -> String {
    let source = include_bytes!("postgres.rs");
    let hash = source.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn socket(folder: &str) -> String {
    format!("{folder}/.s.PGSQL.5432")
}

fn connection(sockets: &str) -> String {
    format!("host={sockets} user=postgres dbname=postgres")
}

/// Cargo's target folder, which is the one with cargo's tag that this program is in.
fn target() -> PathBuf {
    let program = env::current_exe().unwrap();
    let mut folders = program.ancestors();
    let target = folders.find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
        Path::to_path_buf,
    )
}

/// The folder of `initdb`: in PATH, or else where Debian puts it, the newest.
fn programs() -> Option<PathBuf> {
    let has_initdb = |folder: &PathBuf| folder.join("initdb").exists();
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = env::split_paths(&path).find(has_initdb) {
        return Some(folder);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|version| {
        let version = version.ok()?;
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let folder = version.path().join("bin");
        has_initdb(&folder).then_some((number, folder))
    });
    folders.max().map(|(_, folder)| folder)
}

fn succeeded(what: &str, output: &process::Output) {
    assert!(
        output.status.success(),
        "{what} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
