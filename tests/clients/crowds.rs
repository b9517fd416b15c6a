//! More clients than usual, and more than there may be (known fault 4).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    client::{Client, call},
    daemon::{Daemon, until},
};

const CROWD: usize = 10_000;

/// Most memory that an idle connection may take.
const CONNECTION_KIB_MAX: u64 = 16;

/// Lets this process, which is the clients, open a file for each of them.
fn allow_open_files(files: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        allowed >= files as u64,
        "this test needs {files} open files, and `ulimit -Hn` is {allowed}"
    );
}

/// Connects `CROWD` clients, every other one of which makes a call before it is left.
fn crowd(daemon: &Daemon, files_before: usize) -> Vec<Client> {
    let mut crowd = Vec::with_capacity(CROWD);
    while crowd.len() < CROWD {
        // Fewer than the kernel queues until they are accepted.
        let mut part: Vec<Client> = (0..1_000).map(|_| daemon.connect()).collect();
        for client in part.iter().step_by(2) {
            client.send(&call(1, "now", []));
        }
        for client in part.iter_mut().step_by(2) {
            assert!(client.reply().1.is_ok());
        }
        crowd.append(&mut part);
    }
    until("all are accepted", || {
        daemon.open_files() >= files_before + CROWD
    });
    crowd
}

/// Ten thousand connects take about half a second, with the daemon not optimised.
#[test]
fn ten_thousand_connections_that_are_opened_and_left_disturb_nobody_and_leave_nothing() {
    allow_open_files(CROWD + 2_000);
    let daemon = Daemon::start();
    let mut bystander = daemon.bystander();
    let (files, memory) = (daemon.open_files(), daemon.memory());
    let first = crowd(&daemon, files);
    bystander.is_served();
    let growth = daemon.memory().saturating_sub(memory);
    assert!(
        growth <= (CROWD as u64 * CONNECTION_KIB_MAX) << 10,
        "{} bytes for each connection",
        growth / CROWD as u64
    );
    drop(first);
    until("all are forgotten", || daemon.open_files() == files);
    bystander.is_served();
    // The allocator keeps what they had. It is free all the same: as many clients again
    // find room in it.
    let peak = daemon.peak_memory();
    let second = crowd(&daemon, files);
    bystander.is_served();
    let more = daemon.peak_memory().saturating_sub(peak);
    assert!(more <= growth / 2, "{more} bytes more than {growth}");
    drop(second);
    until("all are forgotten again", || daemon.open_files() == files);
    bystander.stays_undisturbed(CROWD as u64 * CONNECTION_KIB_MAX / 1024);
    daemon.stop();
}

#[test]
fn beyond_the_limit_a_connection_waits_until_another_leaves() {
    let daemon = Daemon::with(&["--max-connections", "100"]);
    let mut inside: Vec<Client> = (0..100).map(|_| daemon.connect()).collect();
    for client in &mut inside {
        client.call("now", []);
    }
    let files = daemon.open_files();
    let mut outside: Vec<Client> = (0..20).map(|_| daemon.connect()).collect();
    for client in &outside {
        client.send(&call(1, "now", []));
    }
    daemon.logged(|line| line["message"] == "connection limit reached, new connections wait");
    inside[0].call("now", []);
    assert_eq!(daemon.open_files(), files, "nobody was let in");
    for client in &mut outside {
        drop(inside.pop());
        assert!(client.reply().1.is_ok(), "first come, first served");
    }
    inside[0].call("now", []);
    assert_eq!(daemon.open_files(), files);
    assert_eq!(
        daemon.times_logged("connection limit reached, new connections wait"),
        1
    );
    daemon.stop();
}

#[test]
fn without_file_descriptors_clients_wait_and_the_log_says_so_once() {
    let daemon = Daemon::with_open_files(64);
    daemon.logged(|line| line["message"] == "max_connections is more than the open files allow");
    let mut first = daemon.connect();
    first.call("now", []);
    let room = 64 - daemon.open_files();
    let mut crowd: Vec<Client> = (0..room + 10).map(|_| daemon.connect()).collect();
    for client in &crowd {
        client.send(&call(1, "now", []));
    }
    let refused = "cannot accept connections, trying again";
    let line = daemon.logged(|line| line["message"] == refused);
    assert_eq!(line["level"], "WARN");
    first.call("now", []);
    // One after the other, those who are inside make room for those who wait.
    for mut client in crowd.drain(..room) {
        assert!(client.reply().1.is_ok());
    }
    for client in &mut crowd {
        assert!(client.reply().1.is_ok());
    }
    drop(crowd);
    // That it is over shows when many in a row were let in.
    for _ in 0..20 {
        daemon.connect().call("now", []);
    }
    daemon.logged(|line| line["message"] == "accepting connections again");
    first.call("now", []);
    daemon.connect().call("now", []);
    assert_eq!(daemon.times_logged(refused), 1, "one line for all of it");
    daemon.stop();
}
