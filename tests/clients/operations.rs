//! What an operator sees of the daemon: its start, its end, its log.

use std::process::Command;

use rustix::process::Signal;
use serde_cbor::Value;

use crate::{
    client::{map, spec},
    daemon::Daemon,
    value::{list, text},
};

/// The older server ignored a busy HTTP port in silence, and logged nothing at all by
/// default (known fault 6).
#[test]
fn an_address_that_is_taken_ends_the_daemon_with_a_line_that_says_so() {
    let first = Daemon::start();
    let address = first.address().to_string();
    let second = Command::new(env!("CARGO_BIN_EXE_coordinated"))
        .args(["--listen", &address])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    let expected = format!("error: cannot listen on {address}: Address already in use");
    assert!(
        said.lines().any(|line| line.starts_with(&expected)),
        "{said}"
    );
    first.connect().call("now", []);
    first.stop();
}

#[test]
fn start_and_stop_are_in_the_log_by_default() {
    let daemon = Daemon::with(&["--namespace", "tests"]);
    let line = daemon.logged(|line| line["listen"].is_string());
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "coordinated runs");
    assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(line["namespace"], "tests");
    let backend = line["backend"].as_str().unwrap();
    assert!(backend.contains("forgets everything"), "{backend}");
    daemon.connect().call("now", []);
    daemon.signal(Signal::INT);
    let stopping = daemon.logged(|line| line["message"] == "stopping");
    assert_eq!(stopping["signal"], "SIGINT");
    let (status, messages) = daemon.ended();
    assert_eq!(status.code(), Some(0));
    let expected = ["coordinated runs", "stopping", "draining", "stopped"];
    let messages: Vec<_> = (messages.iter())
        .filter(|message| *message != "max_connections is more than the open files allow")
        .collect();
    assert_eq!(messages, expected);
}

#[test]
fn after_a_kill_clients_meet_a_reset_and_a_restart_on_the_same_address_begins_empty() {
    let daemon = Daemon::start();
    let address = daemon.address();
    let mut client = daemon.connect();
    client.ok("set_work_spec", [spec("s")]);
    let idle = daemon.connect();
    daemon.signal(Signal::KILL);
    // An old client whose connection ends in order hangs; one that is reset tries again.
    client.meets_reset();
    idle.meets_reset();
    let (status, _) = daemon.ended();
    assert_eq!(status.code(), None);

    let daemon = Daemon::at(address);
    let line = daemon.logged(|line| line["listen"].is_string());
    assert_eq!(line["backend"], "memory (forgets everything at exit)");
    let specs = daemon.connect().call("list_work_specs", [map([])]);
    assert_eq!(specs, list([list([]), Value::Null]));
    let unknown = daemon.connect().call("del_work_spec", [text("s")]);
    assert_eq!(unknown, list([false.into(), text("no such work spec: s")]));
    daemon.stop();
}

#[test]
fn a_restart_in_order_on_the_same_address_is_possible_at_once() {
    let daemon = Daemon::start();
    let address = daemon.address();
    let clients = [(); 50].map(|()| {
        let mut client = daemon.connect();
        client.call("now", []);
        client
    });
    daemon.signal(Signal::TERM);
    for client in clients {
        client.meets_reset();
    }
    assert!(daemon.ended().0.success());
    let daemon = Daemon::at(address);
    daemon.connect().call("now", []);
    daemon.stop();
}
