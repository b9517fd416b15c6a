//! Requests that wait and requests in progress, when their client or the daemon goes.

use std::time::Duration;

use rustix::process::Signal;
use serde_cbor::Value;
use socket2::SockRef;

use crate::{
    client::{call, map, pair, spec},
    daemon::Daemon,
    value::{bytes, int, items, list, text},
};

/// What `get_work` answers for one job when there is none.
fn no_work() -> Value {
    list([list([Value::Null, Value::Null, Value::Null]), Value::Null])
}

fn get_work(id: u64, worker: &str) -> Vec<u8> {
    let options = map([("wait", int(60))]);
    call(id, "get_work", [text(worker), options])
}

#[test]
fn a_request_that_waits_for_work_is_answered_when_the_daemon_stops() {
    let daemon = Daemon::start();
    daemon.connect().ok("set_work_spec", [spec("s")]);
    let mut waiting = [(); 20].map(|()| daemon.connect());
    for client in &waiting {
        client.send(&get_work(1, "worker"));
        daemon.has_read(client);
    }
    daemon.signal(Signal::TERM);
    for client in &mut waiting {
        client.wait_at_most(Duration::from_secs(1));
        assert_eq!(client.reply(), (1, Ok(no_work())));
    }
    for client in waiting {
        client.meets_reset();
    }
    let (status, messages) = daemon.ended();
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        messages.last().unwrap(),
        "stopped",
        "not: drain time is over"
    );
}

#[test]
fn requests_that_were_received_are_answered_whole_when_the_daemon_stops() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.ok("set_work_spec", [spec("s")]);
    let data = map([("x", bytes(&vec![b'd'; 1 << 20]))]);
    for key in 0..8 {
        let unit = list([text(&key.to_string()), data.clone()]);
        client.ok("add_work_units", [text("s"), list([unit])]);
    }
    // The first one waits; the replies to the others are 8 MiB, more than the kernel takes.
    let other = map([("wait", int(60)), ("runtimes", list([text("none")]))]);
    let mut stream = call(1, "get_work", [text("worker"), other]);
    for id in 2..40 {
        stream.extend(call(id, "now", []));
    }
    stream.extend(call(40, "get_work_units", [text("s"), map([])]));
    stream.extend(call(41, "now", []));
    client.send(&stream);
    daemon.has_read(&client);
    daemon.signal(Signal::TERM);
    daemon.logged(|line| line["message"] == "draining");
    assert_eq!(client.reply(), (1, Ok(no_work())));
    for id in 2..40 {
        let (replied, result) = client.reply();
        assert!(replied == id && result.is_ok());
    }
    let (id, units) = client.reply();
    assert_eq!(id, 40);
    let units = pair(units.unwrap());
    assert_eq!(items(units).len(), 8);
    assert_eq!(client.reply().0, 41);
    client.meets_reset();
    assert_eq!(daemon.ended().0.code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let daemon = Daemon::start();
        // Holds up the end for as long as the drain takes: 25 s.
        let mut client = daemon.connect();
        client.ok("set_work_spec", [spec("s")]);
        let data = map([("x", bytes(&vec![b'd'; 16 << 20]))]);
        let unit = list([text("unit"), data]);
        client.ok("add_work_units", [text("s"), list([unit])]);
        client.send(&call(1, "get_work_units", [text("s"), map([])]));
        daemon.has_read(&client);
        daemon.signal(Signal::TERM);
        daemon.logged(|line| line["message"] == "draining");
        daemon.signal(signal);
        let line = daemon.logged(|line| line["message"] == "second signal, ending at once");
        assert_eq!(line["level"], "WARN");
        assert_eq!(daemon.ended().0.code(), Some(code));
        drop(client);
    }
}

/// However it goes: a unit that comes afterwards is not leased to somebody who left.
#[test]
fn a_client_that_hangs_up_while_it_waits_is_forgotten_and_the_next_one_gets_the_unit() {
    let daemon = Daemon::with(&["--log", "debug"]);
    let mut client = daemon.connect();
    client.ok("set_work_spec", [spec("s")]);
    for reset in [false, true] {
        let gone = [(); 5].map(|()| daemon.connect());
        for client in &gone {
            client.send(&get_work(1, "gone"));
            daemon.has_read(client);
        }
        let mut next = daemon.connect();
        next.send(&get_work(2, "next"));
        daemon.has_read(&next);
        for client in gone {
            let peer = client.address();
            if reset {
                let linger = Some(Duration::ZERO);
                SockRef::from(client.socket()).set_linger(linger).unwrap();
            }
            drop(client);
            let ended = match reset {
                true => "connection lost",
                false => "connection closed",
            };
            daemon.logged_about(peer, ended);
        }
        let unit = list([text("unit"), map([])]);
        client.ok("add_work_units", [text("s"), list([unit.clone()])]);
        let (_, job) = next.reply();
        assert_eq!(
            pair(job.unwrap()),
            list([text("s"), text("unit"), map([])]),
            "not leased to one who left"
        );
        let finish = map([("status", int(4)), ("worker_id", text("next"))]);
        next.ok("update_work_unit", [text("s"), text("unit"), finish]);
    }
    daemon.stop();
}
