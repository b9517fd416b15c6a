//! A daemon of one's own: the real binary, its log, its memory and its end.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::Client;

/// How long anything may take that must happen; only a failing test waits this long.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How long a call may take of somebody who is not to notice the trouble that others
/// make. A call takes 0.1 ms; the rest is for a machine that runs other tests.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A daemon that runs on a port of its own. Killed when dropped.
pub struct Daemon {
    child: Child,
    address: SocketAddr,
    log: Arc<Log>,
}

impl Daemon {
    /// With nothing but default settings.
    pub fn start() -> Daemon {
        Daemon::with(&[])
    }

    /// With these flags.
    pub fn with(flags: &[&str]) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coordinated"));
        Daemon::run(command.args(["--listen", "127.0.0.1:0"]).args(flags))
    }

    /// On this address, which may be that of a daemon which has ended.
    pub fn at(address: SocketAddr) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coordinated"));
        Daemon::run(command.args(["--listen", &address.to_string()]))
    }

    /// With this limit of open files, which it may not raise.
    pub fn with_open_files(limit: u32) -> Daemon {
        let script = format!("ulimit -n {limit}; exec \"$0\" --listen 127.0.0.1:0 \"$@\"");
        let mut command = Command::new("/bin/sh");
        Daemon::run(command.args(["-c", &script, env!("CARGO_BIN_EXE_coordinated")]))
    }

    fn run(command: &mut Command) -> Daemon {
        let mut child = command
            .args(["--log-format", "json"])
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::read(child.stderr.take().unwrap());
        let started = log.wait(|line| line["listen"].is_string() || line["error"].is_string());
        let address = started["listen"]
            .as_str()
            .expect("it says where it listens");
        Daemon {
            address: address.parse().unwrap(),
            child,
            log,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Somebody who was there before the trouble.
    pub fn bystander(&self) -> Bystander<'_> {
        let mut client = self.connect();
        client.call("now", []);
        Bystander {
            daemon: self,
            client,
            memory_before: self.memory(),
        }
    }

    /// Memory in use, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory that was ever in use, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// A line of the process's status that is in kB.
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kilobytes.parse::<u64>().unwrap() << 10
    }

    /// How many files, sockets included, it has open.
    pub fn open_files(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        files.unwrap().count()
    }

    /// Waits until the daemon has read all that `client` sent.
    pub fn has_read(&self, client: &Client) {
        let (ours, theirs) = (client.address().port(), self.address.port());
        let ends = [theirs, ours].map(|port| format!("0100007F:{port:04X}"));
        until("everything is read", || {
            let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
            // Number, both ends, state, bytes that wait to be sent and to be read.
            sockets.lines().any(|socket| {
                let mut fields = socket.split_whitespace().skip(1);
                let is_it = ends.iter().all(|end| fields.next() == Some(end));
                is_it
                    && fields
                        .nth(1)
                        .is_some_and(|waits| waits.ends_with(":00000000"))
            })
        });
    }

    /// Waits for a log line that `is_it`.
    pub fn logged(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        self.log.wait(is_it)
    }

    /// Waits for a log line with this message about the connection of `client`.
    pub fn logged_about(&self, client: SocketAddr, message: &str) -> Value {
        let peer = client.to_string();
        self.logged(|line| line["peer"] == peer.as_str() && line["message"] == message)
    }

    /// How many log lines with this message there are so far.
    pub fn times_logged(&self, message: &str) -> usize {
        let lines = &self.log.read.lock().unwrap().lines;
        let same = lines.iter().filter(|line| line["message"] == message);
        same.count()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: how it ended, and its last log lines as messages.
    pub fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let mut ended = None;
        until("the daemon has ended", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        let lines = self.log.all();
        let message = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
        (ended.unwrap(), lines.iter().map(message).collect())
    }

    /// Ends it as an operator does, and checks that it ends well.
    pub fn stop(self) {
        self.signal(Signal::TERM);
        let (status, messages) = self.ended();
        assert_eq!(status.code(), Some(0), "{messages:?}");
        assert_eq!(messages.last().unwrap(), "stopped");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Does nothing to one that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody who was there before the trouble began, and must not notice it.
pub struct Bystander<'a> {
    daemon: &'a Daemon,
    client: Client,
    memory_before: u64,
}

impl Bystander<'_> {
    /// Checks that it is answered at once, as is somebody who comes now, that the daemon
    /// never needed more than so many MiB for the trouble, and that nothing is an error of
    /// the daemon's own.
    pub fn stays_undisturbed(mut self, memory_mib_max: u64) {
        self.is_served();
        let growth = self.daemon.peak_memory().saturating_sub(self.memory_before);
        assert!(
            growth <= memory_mib_max << 20,
            "it took {} KiB of memory",
            growth >> 10
        );
        let lines = &self.daemon.log.read.lock().unwrap().lines;
        let errors: Vec<_> = lines
            .iter()
            .filter(|line| line["level"] == "ERROR")
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
    }

    /// Checks that it is answered at once, as is somebody who comes now.
    pub fn is_served(&mut self) {
        self.client.wait_at_most(AT_ONCE);
        self.client.call("now", []);
        let mut newcomer = self.daemon.connect();
        newcomer.wait_at_most(AT_ONCE);
        newcomer.call("now", []);
    }
}

/// What the daemon writes to standard error.
#[derive(Default)]
struct Log {
    read: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    lines: Vec<Value>,
    is_all: bool,
}

impl Log {
    /// Reads on a thread of its own, until the end. A line that is not JSON counts as one
    /// with nothing but an `error`.
    fn read(stderr: ChildStderr) -> Arc<Log> {
        let log = Arc::new(Log::default());
        let ours = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line)
                    .unwrap_or_else(|_| serde_json::json!({ "error": line }));
                log.read.lock().unwrap().lines.push(line);
                log.more.notify_all();
            }
            log.read.lock().unwrap().is_all = true;
            log.more.notify_all();
        });
        ours
    }

    /// Waits for a line that `is_it`.
    fn wait(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let find = |read: &Lines| read.lines.iter().find(|line| is_it(line)).cloned();
        let read = self.read.lock().unwrap();
        let not_yet = |read: &mut Lines| !read.is_all && find(read).is_none();
        let (read, _) = (self.more)
            .wait_timeout_while(read, DEADLINE, not_yet)
            .unwrap();
        let (found, lines) = (find(&read), read.lines.clone());
        drop(read);
        found.unwrap_or_else(|| panic!("no such line in {lines:#?}"))
    }

    /// Waits for the end.
    fn all(&self) -> Vec<Value> {
        let read = self.read.lock().unwrap();
        let (read, timeout) = (self.more)
            .wait_timeout_while(read, DEADLINE, |read| !read.is_all)
            .unwrap();
        assert!(!timeout.timed_out(), "somebody else has its standard error");
        read.lines.clone()
    }
}

/// Waits until `condition` holds. For what shows only in `/proc` or in an answer, so that
/// looking again and again is the only way to learn of it.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    const PAUSE: Duration = Duration::from_millis(2);
    for _ in 0..DEADLINE.as_millis() / PAUSE.as_millis() {
        if condition() {
            return;
        }
        thread::sleep(PAUSE); // reason: nothing tells when to look again
    }
    panic!("still not so after {DEADLINE:?}: {what}");
}
