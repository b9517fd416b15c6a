//! Many clients at the same things at once (known faults 2, 3 and 42).

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_cbor::Value;

use crate::{
    client::{call, frame, map, pair, request, spec},
    daemon::Daemon,
    value::{get, int, items, list, text},
};

/// The older server's memory backend ended in "concurrent map writes".
#[test]
fn heartbeats_of_new_children_of_one_parent_on_eight_connections_all_count() {
    const CHILDREN: usize = 500;
    let daemon = Daemon::start();
    let bystander = daemon.bystander();
    let beat = |id: usize, worker: &str, parent: &str| {
        let (id, mode) = (id as u64, text("RUN"));
        let params = [text(worker), mode, int(60), Value::Null, text(parent)];
        call(id, "worker_heartbeat", params)
    };
    thread::scope(|scope| {
        for thread in 0..8 {
            let (daemon, beat) = (&daemon, &beat);
            scope.spawn(move || {
                let (mut client, mut reader) = (daemon.connect(), daemon.connect());
                let beats: Vec<u8> = (0..CHILDREN)
                    .flat_map(|child| beat(child, &format!("{thread}.{child}"), "parent"))
                    .collect();
                client.send(&beats);
                for child in 0..CHILDREN {
                    let (id, reply) = client.reply();
                    assert_eq!(id, child as u64);
                    assert_eq!(pair(reply.unwrap()), true.into());
                    if child % 50 == 0 {
                        reader.call("get_child_work_units", [text("parent")]);
                    }
                }
            });
        }
    });
    let mut client = daemon.connect();
    let stats = client.call("worker_stats", []);
    assert_eq!(get(&stats, "num_children"), int(8 * 500));
    let Value::Map(children) = client.ok("get_child_work_units", [text("parent")]) else {
        panic!("no map");
    };
    assert_eq!(children.len(), 8 * CHILDREN);
    bystander.stays_undisturbed(48);
}

/// The older server's memory backend ended in "concurrent map read and map write", and it
/// encoded its replies from maps that others were changing.
#[test]
fn specs_are_set_and_deleted_while_others_read_and_work_on_them() {
    const ROUNDS: usize = 150;
    let daemon = Daemon::start();
    let bystander = daemon.bystander();
    let whole = |definition: &Value| match definition {
        Value::Map(map) => *definition == definition_of(map.len() - 1),
        _ => false,
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = daemon.connect();
            for round in 0..ROUNDS {
                client.ok("set_work_spec", [definition_of(round % 40)]);
                let unit = list([text(&format!("unit {round}")), map([("n", int(1))])]);
                client.ok("add_work_units", [text("s"), list([unit])]);
                if round % 20 == 19 {
                    client.ok("del_work_spec", [text("s")]);
                }
            }
        });
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = daemon.connect();
                for _ in 0..ROUNDS {
                    let one = client.call("get_work_spec", [text("s")]);
                    assert!(one == Value::Null || whole(&one), "{one:?}");
                    let all = client.call("list_work_specs", [map([])]);
                    let [all, _] = <[Value; 2]>::try_from(items(all)).unwrap();
                    assert!(items(all).iter().all(&whole));
                    client.call("get_work_spec_meta", [text("s")]);
                    client.call("get_work_units", [text("s"), map([])]);
                    let control = map([("weight", int(7)), ("status", int(1))]);
                    client.call("control_work_spec", [text("s"), control]);
                }
            });
        }
        for worker in 0..3 {
            let daemon = &daemon;
            scope.spawn(move || {
                let mut client = daemon.connect();
                for _ in 0..ROUNDS {
                    let worker = text(&format!("worker {worker}"));
                    let many = map([("max_jobs", int(3))]);
                    let jobs = client.ok("get_work", [worker, many]);
                    for job in items(jobs) {
                        let key = items(job).swap_remove(1);
                        let finish = map([("status", int(4))]);
                        client.call("update_work_unit", [text("s"), key, finish]);
                    }
                }
            });
        }
    });
    bystander.stays_undisturbed(32);
    daemon.stop();
}

/// The definition with so many keys besides its name.
fn definition_of(keys: usize) -> Value {
    let more = (0..keys).map(|key| (text(&format!("key {key}")), int(key as u64)));
    let Value::Map(mut definition) = spec("s") else {
        unreachable!("a spec is a map");
    };
    definition.extend(more);
    Value::Map(definition)
}

/// All or none, also while others add to the same spec and take from it.
#[test]
fn units_added_on_many_connections_are_all_there_once() {
    let daemon = Daemon::start();
    daemon.connect().ok("set_work_spec", [spec("s")]);
    let bystander = daemon.bystander();
    thread::scope(|scope| {
        for thread in 0..6u64 {
            let daemon = &daemon;
            scope.spawn(move || {
                let mut client = daemon.connect();
                for batch in 0..20 {
                    // Half of the keys are those of another thread too.
                    let keys = (0..20).map(|unit| (thread / 2) * 1_000 + batch * 20 + unit);
                    let units = keys.map(|key| list([text(&key.to_string()), map([])]));
                    client.ok("add_work_units", [text("s"), Value::Array(units.collect())]);
                }
            });
        }
    });
    let units = daemon
        .connect()
        .ok("get_work_units", [text("s"), map([("limit", int(10_000))])]);
    let keys: BTreeSet<Value> = (items(units).into_iter())
        .map(|unit| items(unit).swap_remove(0))
        .collect();
    assert_eq!(keys.len(), 3 * 400);
    let counts = daemon.connect().ok("count_work_units", [text("s")]);
    assert_eq!(counts, Value::Map([(int(1), int(3 * 400))].into()));
    bystander.stays_undisturbed(32);
}

/// While a message of a million requests was carried out, which took seconds with the
/// daemon not optimised, others were not answered: a task that goes on and on keeps its
/// thread, and may keep the others from the sockets. With one thread it always does.
#[test]
fn a_message_of_very_many_requests_lets_others_have_their_turn() {
    const REQUESTS: u32 = 200_000;
    let daemon = Daemon::with(&["--worker-threads", "1"]);
    let bystander = daemon.bystander();
    let now = request(1, "now", b"\x80");
    let list = [
        &[0x9a][..],
        &REQUESTS.to_be_bytes(),
        &now.repeat(REQUESTS as usize),
    ]
    .concat();
    let mut client = daemon.connect();
    client.send(&frame(&list));
    let is_answered = AtomicBool::new(false);
    let calls = thread::scope(|scope| {
        scope.spawn(|| {
            let reply = client.payload().unwrap();
            is_answered.store(true, Ordering::Relaxed);
            assert_eq!(reply[..5], [&[0x9a][..], &REQUESTS.to_be_bytes()].concat());
        });
        let mut calls = 0;
        while !is_answered.load(Ordering::Relaxed) {
            daemon.connect().call("now", []);
            calls += 1;
        }
        calls
    });
    assert!(calls > 20, "others were answered {calls} times meanwhile");
    bystander.stays_undisturbed(96);
}
