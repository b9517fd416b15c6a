//! Every method's call: from bytes to what the job server gets.

mod arbitrary;
mod errors;
mod units;
mod work;

use super::*;
use crate::{
    model::LockPath,
    wire::{
        Message,
        notation::{cbor, other_dialect},
    },
};

/// The key `'a'`, as a call shows it.
const KEY_A: &str = "KeyRef { bytes: [97], string_type: Bytes }";

/// The call that a request of this method and these parameters is, or what is wrong.
fn read(method: &str, params: &str) -> Result<String, String> {
    shown(&cbor(&request(method, params)))
}

fn request(method: &str, params: &str) -> String {
    format!("{{'params': {params}, 'id': 7, 'method': '{method}'}}")
}

fn shown(request: &[u8]) -> Result<String, String> {
    let Ok(Message::One(item)) = Message::read(request) else {
        panic!("one request");
    };
    let envelope = Envelope::read(item).unwrap();
    match Call::read(&envelope) {
        Ok(call) => Ok(format!("{call:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Parameters in every way that they may be sent.
fn ways(method: &str, args: &[&str]) -> Vec<String> {
    let names = methods::find(method).unwrap().parameters;
    let named: Vec<_> = names
        .iter()
        .zip(args)
        .map(|(name, arg)| format!("'{name}': {arg}"))
        .collect();
    let mut backwards = named.clone();
    backwards.reverse();
    let listed = args.join(", ");
    vec![
        format!("[{listed}]"),
        format!("[_ {listed}]"),
        format!("T[{listed}]"),
        format!("{{{}}}", named.join(", ")),
        format!("{{_ {}}}", backwards.join(", ")),
    ]
}

/// A call of the method with these parameters is read as `expected`, however they are
/// sent, and as either string type; keys remember which.
fn reads(method: &str, args: &[&str], expected: &str) {
    for params in ways(method, args) {
        assert_eq!(read(method, &params).as_deref(), Ok(expected), "{params}");
        let text = other_dialect(&request(method, &params));
        let expected = expected.replace("string_type: Bytes", "string_type: Text");
        assert_eq!(shown(&cbor(&text)), Ok(expected), "{text}");
    }
}

#[test]
fn the_table_has_every_method_once() {
    let mut names: Vec<_> = METHODS.iter().map(|method| method.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), METHODS.len());
}

#[test]
fn methods_that_take_one_name_or_nothing_are_read() {
    for (method, call) in [
        ("get_work_spec", "GetWorkSpec"),
        ("get_work_spec_meta", "GetWorkSpecMeta"),
        ("del_work_spec", "DelWorkSpec"),
        ("count_work_units", "CountWorkUnits"),
        ("worker_unregister", "WorkerUnregister"),
        ("get_worker_info", "GetWorkerInfo"),
        ("get_child_work_units", "GetChildWorkUnits"),
    ] {
        reads(method, &["'näme'"], &format!("{call}(\"näme\")"));
        reads(method, &["''"], &format!("{call}(\"\")"));
    }
    for (method, call) in [
        ("clear", "Clear"),
        ("list_worker_modes", "ListWorkerModes"),
        ("mode_counts", "ModeCounts"),
        ("worker_stats", "WorkerStats"),
        ("get_config", "GetConfig"),
        ("now", "Now"),
    ] {
        reads(method, &[], call);
        assert_eq!(read(method, "null").as_deref(), Ok(call));
        let absent = cbor(&format!("{{'id': 7, 'method': '{method}'}}"));
        assert_eq!(shown(&absent).as_deref(), Ok(call));
    }
}

#[test]
fn work_specs_are_set_and_controlled() {
    let spec = "{'name': 's', 'weight': 3, 'min_gb': 0.5, 'x': [1]}";
    for params in ways("set_work_spec", &[spec]) {
        let request = cbor(&request("set_work_spec", &params));
        let Call::SetWorkSpec(new) = Call::read(&Envelope::read(&request).unwrap()).unwrap() else {
            panic!("set_work_spec");
        };
        assert_eq!((new.name.as_str(), new.options.weight), ("s", 3));
        assert_eq!(&new.definition[..], cbor(spec), "kept byte for byte");
    }
    reads(
        "control_work_spec",
        &[
            "'s'",
            "{'status': 2, 'weight': 7.0, 'Weight': 'x', 'interval': null}",
        ],
        &format!(
            "ControlWorkSpec(\"s\", {:?})",
            SpecChange {
                paused: Some(true),
                weight: Some(7),
                ..SpecChange::default()
            }
        ),
    );
    for nothing in ["null", "{}"] {
        let expected = format!("ControlWorkSpec(\"s\", {:?})", SpecChange::default());
        reads("control_work_spec", &["'s'", nothing], &expected);
    }
}

#[test]
fn work_specs_are_listed() {
    for (options, start, limit) in [
        ("{}", "None", "None"),
        ("null", "None", "None"),
        ("{'start': null, 'limit': null, 'LIMIT': 3}", "None", "None"),
        ("{'start': 'b', 'limit': 10}", "Some(\"b\")", "Some(10)"),
        ("{_ 'limit': 3.0}", "None", "Some(3)"),
        ("{'limit': 0}", "None", "Some(0)"),
        ("{'limit': -5}", "None", "Some(0)"),
        ("{'limit': 1, 'limit': 2}", "None", "Some(2)"),
        ("{'limit': 1, 'limit': null}", "None", "None"),
        ("{7: 1, 'limit': 2, [1]: 3}", "None", "Some(2)"),
        ("{'limit': 1e300}", "None", "Some(18446744073709551615)"),
    ] {
        reads(
            "list_work_specs",
            &[options],
            &format!("ListWorkSpecs(ListWorkSpecs {{ start: {start}, limit: {limit} }})"),
        );
    }
}

#[test]
fn heartbeats_may_leave_out_all_but_the_worker() {
    let beat = |mode: &str, expire: &str, data: &str, parent: &str| {
        format!(
            "WorkerHeartbeat(WorkerHeartbeat {{ worker: \"w\", mode: \"{mode}\", \
             expire_seconds: {expire}, data: {data}, parent: {parent} }})"
        )
    };
    let least = beat("", "None", "None", "None");
    reads("worker_heartbeat", &["'w'"], &least);
    reads(
        "worker_heartbeat",
        &["'w'", "null", "null", "null", "null"],
        &least,
    );
    reads(
        "worker_heartbeat",
        &["'w'", "''", "null", "null", "''"],
        &least,
    );
    reads(
        "worker_heartbeat",
        &["'w'", "'RUN'", "-6000", "{1: 2}", "'p'"],
        &beat("RUN", "Some(-6000.0)", "Some([161, 1, 2])", "Some(\"p\")"),
    );
}

#[test]
fn locks_are_read_as_paths_and_as_they_were_sent() {
    let path = |item: &str, path: &str| {
        let path = LockPath::read(&cbor(path)).unwrap();
        format!("Path {{ item: {:?}, path: {path:?} }}", cbor(item))
    };
    let (ab, seven) = (path("['a', \"b\"]", "['a', 'b']"), path("T[7]", "[7]"));
    let keys = "[['a', \"b\"], T[7]]";
    for (timeout, held) in [
        ("null", "60s"),
        ("0", "60s"),
        ("0.0", "60s"),
        ("1.5", "1.5s"),
        ("1000001", "1000000s"),
        ("1e300", "1000000s"),
    ] {
        for (method, call) in [
            ("lock", "Lock"),
            ("locksome", "LockSome"),
            ("renew", "Renew"),
        ] {
            let expected = format!(
                "{call}(LockCall {{ locker: \"l\", timeout: {held}, paths: [{ab}, {seven}] }})"
            );
            for params in ways(method, &["'l'", timeout, keys]) {
                assert_eq!(read(method, &params).as_deref(), Ok(expected.as_str()));
            }
        }
    }
    reads("readlock", &["[]"], "ReadLock([])");
    assert_eq!(
        read("readlock", "[[[]]]"),
        Ok(format!("ReadLock([{}])", path("[]", "[]"))),
        "everything is a path, too"
    );
    assert_eq!(
        read("readlock", &format!("{{'keys': {keys}}}")),
        Ok(format!("ReadLock([{ab}, {seven}])"))
    );
    assert_eq!(
        read("unlock", &format!("[\"l\", {keys}]")),
        Ok(format!("Unlock(\"l\", [{ab}, {seven}])"))
    );
    for prefix in ["'a'", "\"a\"", "['a']", "T[\"a\"]", "[_ 'a']"] {
        let expected = format!("DeleteNamespace({})", path(prefix, "['a']"));
        assert_eq!(
            read("delete_namespace", &format!("[{prefix}]")),
            Ok(expected)
        );
    }
    let number = format!("DeleteNamespace({})", path("7", "[7]"));
    assert_eq!(read("delete_namespace", "[7]"), Ok(number));
}

#[test]
fn hello_needs_nothing() {
    let hello = |namespace: &str, token: &str| {
        format!("Hello(Hello {{ namespace: {namespace}, token: {token} }})")
    };
    for nothing in [&[][..], &["null"], &["{}"], &["{'namespace': null}"]] {
        reads("hello", nothing, &hello("None", "None"));
    }
    reads(
        "hello",
        &["{'namespace': '', 'token': 'xy'}"],
        &hello("Some(\"\")", "Some([120, 121])"),
    );
    assert_eq!(
        read("hello", "[{'token': h'ff00'}]"),
        Ok(hello("None", "Some([255, 0])"))
    );
}
