//! Every method with every parameter of the wrong type, by position and by name, and every
//! option too: each call is answered, and none leaves anything behind.

use coordinated::wire::{METHODS, Method};
use serde_cbor::Value;

use crate::{
    client::{Client, frame, head, map, request, spec},
    daemon::Daemon,
    value::{get, int, items, list, text, texts},
};

/// Longest error message: it shows the value, but not all of a long one.
const MESSAGE_BYTES_MAX: usize = 400;

/// Items of every type, in particular of those that are wrong.
fn values() -> Vec<(&'static str, Vec<u8>)> {
    let long = |major| [&head(major, 100_000)[..], &[b'x'; 100_000]].concat();
    let mut values: Vec<(&str, Vec<u8>)> = vec![
        ("a long text", long(3)),
        ("a long byte string", long(2)),
        ("a nested list", [&[0x81; 55][..], &[0x80]].concat()),
        (
            "a nested map",
            [&[0xa1, 0xa0].repeat(20)[..], &[0]].concat(),
        ),
    ];
    let short: [(&str, &[u8]); 24] = [
        ("nil", b"\xf6"),
        ("undefined", b"\xf7"),
        ("true", b"\xf5"),
        ("a simple value", b"\xf0"),
        ("-1", b"\x20"),
        ("2^64-1", b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("-2^64", b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("2^64", b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
        ("1.5", b"\xf9\x3e\x00"),
        ("1e300", b"\xfb\x7e\x37\xe4\x3c\x88\x00\x75\x9c"),
        ("NaN", b"\xf9\x7e\x00"),
        ("-infinity", b"\xfa\xff\x80\x00\x00"),
        ("no text", b"\x60"),
        ("bytes that are not UTF-8", b"\x44\xff\x00\xfe\x80"),
        ("text in chunks", b"\x7f\x61a\x61b\xff"),
        ("no bytes", b"\x40"),
        ("an empty list", b"\x80"),
        ("a list without an end", b"\x9f\xff"),
        ("a list of lists", b"\x82\x80\x81\xf6"),
        ("an empty map", b"\xa0"),
        ("a map of no sense", b"\xa2\x01\x02\xf6\x80"),
        ("a date", b"\xc0\x74\x32\x30\x31\x33-03-21T20:04:00Z"),
        ("a tuple", b"\xd8\x80\x82\x61a\x01"),
        ("tagged nil", b"\xd9\xd9\xf7\xf6"),
    ];
    values.extend(short.map(|(name, item)| (name, item.to_vec())));
    values
}

/// A value that this parameter takes, and that does nothing.
fn right(parameter: &str) -> &'static [u8] {
    match parameter {
        "work_spec" => b"\xa1\x64name\x61s",
        "work_spec_name" => b"\x61s",
        "options" => b"\xa0",
        "work_unit_key_vals" | "work_unit_keys" | "updates" | "keys" => b"\x80",
        "worker_id" => b"\x66worker",
        "work_unit_key" => b"\x61k",
        "mode" => b"\x63RUN",
        "expire_seconds" | "timeout" => b"\x18\x3c",
        "data" | "parent" => b"\xf6",
        "locker_id" => b"\x66locker",
        "prefix" => b"\x66nobody",
        other => panic!("protocol.md has no parameter {other}"),
    }
}

/// The options of any method.
const OPTIONS: [&str; 27] = [
    "adjustment",
    "all",
    "attempt_id",
    "available_gb",
    "continuous",
    "data",
    "delay",
    "interval",
    "lease_time",
    "limit",
    "max_getwork",
    "max_jobs",
    "max_retries",
    "max_running",
    "namespace",
    "priority",
    "runtimes",
    "start",
    "state",
    "status",
    "token",
    "wait",
    "weight",
    "with_attempt",
    "work_spec_names",
    "work_unit_keys",
    "worker_id",
];

/// `params` by position, with `item` in place of the one at `wrong`.
fn by_position(method: &Method, wrong: usize, item: &[u8]) -> Vec<u8> {
    let mut params = head(4, method.parameters.len() as u64);
    for (at, parameter) in method.parameters.iter().enumerate() {
        params.extend(if at == wrong { item } else { right(parameter) });
    }
    params
}

/// The same by name.
fn by_name(method: &Method, wrong: usize, item: &[u8]) -> Vec<u8> {
    let mut params = head(5, method.parameters.len() as u64);
    for (at, parameter) in method.parameters.iter().enumerate() {
        params.extend(head(3, parameter.len() as u64));
        params.extend(parameter.as_bytes());
        params.extend(if at == wrong { item } else { right(parameter) });
    }
    params
}

/// Sends calls of `method` with each of `params`, and checks that each is answered, in
/// order; how many with an error.
fn all_are_answered(client: &mut Client, method: &str, params: &[(String, Vec<u8>)]) -> usize {
    let mut stream = Vec::new();
    for (id, (_, params)) in (1..).zip(params) {
        stream.extend(frame(&request(id, method, params)));
    }
    std::thread::scope(|scope| {
        let mut sender = client.socket().try_clone().unwrap();
        scope.spawn(move || std::io::Write::write_all(&mut sender, &stream).unwrap());
        let mut errors = 0;
        for (id, (what, _)) in (1..).zip(params) {
            let (replied_id, result) = client.reply();
            assert_eq!(replied_id, id, "{method} with {what}");
            if let Err(message) = result {
                errors += 1;
                assert!(
                    !message.contains("internal"),
                    "{method} with {what}: {message}"
                );
                assert!(
                    message.len() <= MESSAGE_BYTES_MAX,
                    "{method} with {what}: {message}"
                );
            }
        }
        errors
    })
}

/// What there is in one namespace of everything that a call could spoil.
fn everything(client: &mut Client) -> Vec<Value> {
    let key = || list([text("k")]);
    vec![
        client.call("list_work_specs", [map([])]),
        client.call("get_work_spec_meta", [text("s")]),
        client.call("count_work_units", [text("s")]),
        client.call("get_work_units", [text("s"), map([])]),
        client.call("get_work_unit_status", [text("s"), key()]),
        client.call("list_worker_modes", []),
        client.call("mode_counts", []),
        client.call("get_child_work_units", [text("worker")]),
        client.call(
            "readlock",
            [list([texts(["a"]), texts(["b"]), texts([""])])],
        ),
    ]
}

/// A spec with a unit that is being done, a worker and a lock.
fn fill(client: &mut Client) {
    client.ok("set_work_spec", [spec("s")]);
    let unit = list([text("k"), map([])]);
    client.ok("add_work_units", [text("s"), list([unit])]);
    client.ok("worker_heartbeat", [text("worker"), text("RUN")]);
    client.ok("get_work", [text("worker"), map([])]);
    client.ok("lock", [text("locker"), int(1_000), list([texts(["a"])])]);
}

/// Checks that everything in the client's namespace is of the type that it must be, and can
/// be read, counted and deleted.
fn is_sound(client: &mut Client) {
    let [specs, _] = items(client.call("list_work_specs", [map([])]))
        .try_into()
        .unwrap();
    for spec in items(specs) {
        let name = get(&spec, "name");
        assert!(matches!(name, Value::Text(_)), "{spec:?}");
        client.ok("get_work_spec_meta", [name.clone()]);
        let units = items(client.ok("get_work_units", [name.clone(), map([])]));
        for unit in &units {
            let [key, data] = <[Value; 2]>::try_from(items(unit.clone())).unwrap();
            assert!(matches!(key, Value::Text(_) | Value::Bytes(_)), "{unit:?}");
            assert!(matches!(data, Value::Map(_)), "{unit:?}");
            let status = items(client.ok("get_work_unit_status", [name.clone(), list([key])]));
            assert!(matches!(
                get(&status[0], "status"),
                Value::Integer(1 | 3 | 4 | 5)
            ));
        }
        let Value::Map(counts) = client.ok("count_work_units", [name.clone()]) else {
            panic!("no counts");
        };
        let sum: i128 = (counts.values())
            .map(|count| match count {
                Value::Integer(count) => *count,
                other => panic!("{other:?} is no count"),
            })
            .sum();
        assert_eq!(sum, units.len() as i128);
        let deleted = client.ok("del_work_units", [name, map([("all", true.into())])]);
        assert_eq!(deleted, Value::Integer(sum));
    }
}

#[test]
fn wrong_types_in_every_parameter_are_answered_and_change_nothing() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    fill(&mut client);
    let before = everything(&mut client);
    let bystander = daemon.bystander();
    let values = values();
    let mut errors = 0;
    for method in &METHODS {
        let mut params: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, item) in &values {
            for (at, parameter) in method.parameters.iter().enumerate() {
                if is_right(method, parameter, name) {
                    continue;
                }
                let what = format!("{name} as {parameter}");
                params.push((format!("{what} by name"), by_name(method, at, item)));
                params.push((what, by_position(method, at, item)));
            }
            // In place of all of them. No list is the right one where none is needed.
            if method.required > 0
                || ![
                    "an empty list",
                    "a list without an end",
                    "an empty map",
                    "nil",
                    "undefined",
                ]
                .contains(name)
            {
                params.push((format!("{name} as params"), item.clone()));
            }
        }
        let answered_with_error = all_are_answered(&mut client, method.name, &params);
        let after = everything(&mut client);
        assert_eq!(before, after, "after {}", method.name);
        assert!(answered_with_error > 0, "{}", method.name);
        errors += answered_with_error;
    }
    assert!(errors > 2_000, "{errors}");
    bystander.stays_undisturbed(48);
    daemon.stop();
}

/// Whether the value is one that the parameter takes, and that does something.
fn is_right(method: &Method, parameter: &str, value: &str) -> bool {
    let is_empty_text = ["no text", "no bytes"].contains(&value);
    method.name == "worker_heartbeat" && parameter == "worker_id" && is_empty_text
}

/// A client of another namespace, and everything that is in it.
fn kept_apart(daemon: &Daemon) -> (Client, Vec<Value>) {
    let mut kept = daemon.connect();
    kept.call("hello", [map([("namespace", text("kept"))])]);
    fill(&mut kept);
    let everything = everything(&mut kept);
    (kept, everything)
}

#[test]
fn wrong_types_in_every_option_are_answered_and_reach_no_other_namespace() {
    let daemon = Daemon::start();
    let (mut kept, before) = kept_apart(&daemon);
    let mut client = daemon.connect();
    fill(&mut client);
    let bystander = daemon.bystander();
    let values = values();
    for method in &METHODS {
        let Some(at) = method.parameters.iter().position(|name| *name == "options") else {
            continue;
        };
        let mut params: Vec<(String, Vec<u8>)> = Vec::new();
        for option in OPTIONS {
            for (name, item) in &values {
                let is_number = ["2^64-1", "2^64", "1.5", "1e300"].contains(name);
                if option == "wait" && is_number {
                    continue; // the right type, and a long test
                }
                let key = [&head(3, option.len() as u64)[..], option.as_bytes()].concat();
                let options = [&b"\xa1"[..], &key, item].concat();
                params.push((
                    format!("{name} as {option}"),
                    by_position(method, at, &options),
                ));
            }
        }
        all_are_answered(&mut client, method.name, &params);
    }
    assert_eq!(before, everything(&mut kept));
    is_sound(&mut client);
    bystander.stays_undisturbed(48);
    daemon.stop();
}

/// Work spec definitions, unit items, updates and lock paths are made of more than one
/// value.
#[test]
fn wrong_types_inside_lists_and_definitions_are_answered_and_nothing_strange_is_kept() {
    let daemon = Daemon::start();
    let (mut kept, before) = kept_apart(&daemon);
    let mut client = daemon.connect();
    fill(&mut client);
    let bystander = daemon.bystander();
    let values = values();
    // Where `?` is, each value is put.
    let calls: [(&str, &[u8]); 16] = [
        ("set_work_spec", b"\x81\xa2\x64name\x61s\x66weight?"),
        ("set_work_spec", b"\x81\xa1\x64name?"),
        ("add_work_units", b"\x82\x61s\x82\x61x?"),
        ("add_work_units", b"\x82\x61s\x82\x61x\x82?\x01"),
        (
            "add_work_units",
            b"\x82\x61s\x82\x82\x61x\xa0\x83\x61y\xa0?",
        ),
        ("add_work_units", b"\x82\x61s\x81\x84\x61x\xa0?\x60"),
        ("get_work_unit_status", b"\x82\x61s\x82\x61k?"),
        ("get_work_units", b"\x82\x61s\xa1\x6ework_unit_keys\x81?"),
        ("get_work_units", b"\x82\x61s\xa1\x65state\x82\x03?"),
        ("update_work_units", b"\x81\x81?"),
        ("update_work_units", b"\x81\x81\x83?\x61k\xa0"),
        ("update_work_units", b"\x81\x81\x83\x61s?\xa0"),
        ("locksome", b"\x83\x66locker\x01\x81?"),
        ("lock", b"\x83\x65thief\x01\x82\x81\x61a\x81?"),
        ("renew", b"\x83\x65thief\x01\x81\x82\x61a?"),
        ("unlock", b"\x82\x65thief\x81\x82\x61a?"),
    ];
    for (method, pattern) in calls {
        let at = pattern.iter().position(|byte| *byte == b'?').unwrap();
        let (head, tail) = (&pattern[..at], &pattern[at + 1..]);
        let params: Vec<(String, Vec<u8>)> = (values.iter())
            .map(|(name, item)| (format!("{name}, {pattern:?}"), [head, item, tail].concat()))
            .collect();
        all_are_answered(&mut client, method, &params);
    }
    assert_eq!(before, everything(&mut kept));
    is_sound(&mut client);
    bystander.stays_undisturbed(48);
    daemon.stop();
}
