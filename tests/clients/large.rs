//! Large frames, large replies, and clients that do not take what they asked for (known
//! faults 5 and 41).

use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_cbor::Value;

use crate::{
    client::{Client, call, frame, map, request, spec},
    daemon::{Daemon, until},
    value::{bytes, int, items, list, text},
};

const MIB: usize = 1 << 20;

/// What large frames of all connections together may take.
const BUDGET_MIB: u64 = 512;

/// A request of about so many MiB that the daemon has no reason to remember.
fn large(mib: usize) -> Vec<u8> {
    let padding = serde_cbor::to_vec(&bytes(&vec![b'x'; mib * MIB])).unwrap();
    let params = [&b"\x81\xa1\x67padding"[..], &padding].concat();
    frame(&request(9, "list_work_specs", &params))
}

#[test]
fn frames_of_60_mib_are_received_within_the_budget_and_all_are_answered() {
    const FITTING: usize = 8;
    let daemon = Daemon::with(&["--max-frame-bytes", "64MiB"]);
    let mut bystander = daemon.bystander();
    let memory = daemon.memory();
    let frame = large(60);
    let (all_but_one, last) = frame.split_at(frame.len() - 1);
    let (sent, go_on) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..FITTING + 4 {
            scope.spawn(|| {
                let mut client = daemon.connect();
                client.send(all_but_one);
                sent.fetch_add(1, Ordering::Relaxed);
                until("nobody is looking", || go_on.load(Ordering::Relaxed));
                client.send(last);
                assert_eq!(client.reply(), (9, Ok(list([list([]), Value::Null]))));
                // And the connection goes on.
                client.call("now", []);
            });
        }
        until("eight frames but for a byte", || {
            sent.load(Ordering::Relaxed) >= FITTING
        });
        // Long enough for the others, if anybody took what they send.
        for _ in 0..100 {
            bystander.is_served();
        }
        let received = sent.load(Ordering::Relaxed);
        let growth = daemon.peak_memory().saturating_sub(memory);
        go_on.store(true, Ordering::Relaxed);
        assert_eq!(received, FITTING, "the others have to wait");
        assert!(growth >> 20 <= BUDGET_MIB + 16, "{} KiB", growth >> 10);
    });
    // What was answered is given back late by the allocator: twice the budget at most.
    bystander.stays_undisturbed(2 * BUDGET_MIB);
}

#[test]
fn half_sent_large_frames_hold_up_no_small_call_and_make_room_when_they_hang_up() {
    let daemon = Daemon::start();
    let mut bystander = daemon.bystander();
    let frame = large(60);
    // More than the budget has room for.
    let stuck: Vec<Client> = (0..12)
        .map(|_| {
            let client = daemon.connect();
            client.send(&frame[..MIB / 2]);
            client
        })
        .collect();
    bystander.is_served();
    drop(stuck);
    let mut client = daemon.connect();
    client.send(&frame);
    assert_eq!(client.reply().0, 9);
    bystander.stays_undisturbed(160);
}

/// Fills a spec with `count` units of so many bytes of data each.
fn fill(client: &mut Client, count: usize, data_bytes: usize) {
    client.ok("set_work_spec", [spec("s")]);
    let data = map([("x", bytes(&vec![b'd'; data_bytes]))]);
    for first in (0..count).step_by(1_000) {
        let keys = first..count.min(first + 1_000);
        let units = keys.map(|key| list([text(&format!("{key:06}")), data.clone()]));
        client.ok("add_work_units", [text("s"), Value::Array(units.collect())]);
    }
}

/// Sends 100,000 requests for 8 MB of units, as far as the daemon takes them, and reads
/// nothing.
fn ask_and_never_read(client: &Client) {
    let ask = call(1, "get_work_units", [text("s"), map([])]);
    let burst = ask.repeat(1_000);
    let pause = Duration::from_millis(200);
    client.socket().set_write_timeout(Some(pause)).unwrap();
    for _ in 0..100 {
        if client.socket().write_all(&burst).is_err() {
            return; // the daemon has stopped reading
        }
    }
}

#[test]
fn a_client_that_never_reads_its_replies_is_held_back_and_does_not_hold_up_the_end() {
    let daemon = Daemon::with(&["--drain-seconds", "1"]);
    fill(&mut daemon.connect(), 800, 10_000);
    let mut bystander = daemon.bystander();
    let deaf = [(); 3].map(|()| daemon.connect());
    thread::scope(|scope| {
        for client in &deaf {
            scope.spawn(move || ask_and_never_read(client));
        }
    });
    bystander.is_served();
    // Besides one reply and its buffer's growth for each, little.
    bystander.stays_undisturbed(96);
    daemon.signal(Signal::TERM);
    let (status, messages) = daemon.ended();
    assert_eq!(status.code(), Some(0));
    let last: Vec<_> = messages.iter().rev().take(4).rev().collect();
    let expected = [
        "stopping",
        "draining",
        "drain time is over, resetting connections",
        "stopped",
    ];
    assert_eq!(last, expected);
}

#[test]
fn a_client_that_takes_long_to_read_gets_all_of_a_long_reply() {
    let daemon = Daemon::start();
    fill(&mut daemon.connect(), 800, 10_000);
    let bystander = daemon.bystander();
    let mut slow = daemon.connect();
    let ask = call(1, "get_work_units", [text("s"), map([])]);
    slow.send(&ask.repeat(4));
    let mut fast = daemon.connect();
    let whole = fast.ok("get_work_units", [text("s"), map([])]);
    assert_eq!(items(whole.clone()).len(), 800);
    for _ in 0..4 {
        let (_, reply) = slow.reply();
        assert_eq!(reply, Ok(list([whole.clone(), Value::Null])));
    }
    bystander.stays_undisturbed(96);
}

/// The older server's memory backend kept the units of a deleted spec in the histories of
/// the workers that had done them: 1.2 GB with no spec left (known fault 41).
#[test]
fn the_memory_of_a_deleted_spec_is_used_again() {
    // Each thread keeps some of the memory that it freed; with one, it is the same.
    let daemon = Daemon::with(&["--worker-threads", "1"]);
    let mut client = daemon.connect();
    let round = |client: &mut Client| {
        fill(client, 10_000, 2_000);
        let many = map([("max_jobs", int(10_000))]);
        let jobs = client.ok("get_work", [text("worker"), many]);
        let updates = items(jobs).into_iter().take(5_000).map(|job| {
            let key = items(job).swap_remove(1);
            list([text("s"), key, map([("status", int(4))])])
        });
        client.call("update_work_units", [Value::Array(updates.collect())]);
        client.ok("del_work_spec", [text("s")]);
    };
    for _ in 0..2 {
        round(&mut client);
    }
    let before = daemon.memory();
    for _ in 0..6 {
        round(&mut client);
    }
    let growth = daemon.memory().saturating_sub(before);
    // Six rounds add 120 MB of data alone.
    assert!(growth < 60 << 20, "{} KiB more", growth >> 10);
    daemon.stop();
}
