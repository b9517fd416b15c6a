//! Calls that ask for nothing that can be done, and what their callers are told.

use super::*;
use crate::limits::{KEY_BYTES_MAX, LIST_ITEMS_MAX, LOCK_PATH_ITEM_BYTES_MAX, NAME_BYTES_MAX};

/// The error of this call begins with `expected`.
fn refuses(method: &str, params: &str, expected: &str) {
    match read(method, params) {
        Err(error) => assert!(error.starts_with(expected), "{method}{params}: {error}"),
        Ok(call) => panic!("{method}{params} is {call}"),
    }
}

#[test]
fn an_unknown_method_is_named_in_short_and_without_control_characters() {
    refuses("frobnicate", "[]", "no such method: frobnicate");
    refuses("Now", "[]", "no such method: Now");
    refuses("snapshot", "['/etc/passwd']", "no such method: snapshot");
    refuses("", "[]", "no such method: ");
    refuses("a\nb\u{1b}[1m", "[]", "no such method: a\\nb\\u{1b}[1m");
    let error = read(&"x".repeat(10_000), "[]").unwrap_err();
    assert!(error.len() < 100, "{error}");
}

#[test]
fn too_few_and_too_many_parameters_say_what_the_method_takes() {
    for (method, params, error) in [
        ("now", "[1]", "now takes no parameters, got 1"),
        (
            "get_work_spec",
            "[]",
            "get_work_spec takes 1 parameter (work_spec_name), got 0",
        ),
        (
            "get_work",
            "['w', {}, 3]",
            "get_work takes 2 parameters (worker_id, options), got 3",
        ),
        (
            "archive",
            "[{}, {}]",
            "archive takes 0 to 1 parameters (options), got 2",
        ),
        (
            "worker_heartbeat",
            "[]",
            "worker_heartbeat takes 1 to 5 parameters (worker_id, mode, expire_seconds, data, parent), got 0",
        ),
        (
            "worker_heartbeat",
            "[1, 2, 3, 4, 5, 6]",
            "worker_heartbeat takes 1 to 5",
        ),
        (
            "get_work",
            "{'worker_id': 'w'}",
            "get_work needs the parameter options; it takes 2 parameters (worker_id, options)",
        ),
        (
            "get_work_spec",
            "{'name': 's'}",
            "get_work_spec has no parameter 'name'; it takes 1 parameter (work_spec_name)",
        ),
        (
            "now",
            "{7: 1}",
            "now has no parameter 7; it takes no parameters",
        ),
        ("now", "5", "params is 5: must be a list, or a map"),
        ("now", "'[]'", "params is '[]': must be a list, or a map"),
    ] {
        let found = read(method, params).unwrap_err();
        assert!(found.starts_with(error), "{method}{params}: {found}");
    }
    let long = format!("[{}]", vec!["1"; 1_000].join(", "));
    refuses(
        "get_work",
        &long,
        "get_work takes 2 parameters (worker_id, options), got 1000",
    );
    let absent = cbor("{'id': 7, 'method': 'get_work_spec'}");
    assert!(shown(&absent).unwrap_err().ends_with("got 0"));
}

/// An item of every kind that is neither nil nor what is asked for.
fn wrong<'a>(right: &[&str]) -> Vec<&'a str> {
    let kinds = [
        ("string", "'x'"),
        ("text", "\"x\""),
        ("number", "17"),
        ("number", "-17"),
        ("number", "0.5"),
        ("bool", "true"),
        ("list", "[]"),
        ("list", "T[]"),
        ("map", "{}"),
        ("tag", "(c1 00)"),
        ("simple", "(e0)"),
    ];
    kinds
        .into_iter()
        .filter(|(kind, _)| !right.contains(kind))
        .map(|(_, item)| item)
        .collect()
}

#[test]
fn a_parameter_of_a_wrong_type_is_named() {
    const NAME: &[&str] = &["string", "text"];
    let spec = ("work_spec_name", "'s'", NAME);
    let worker = ("worker_id", "'w'", NAME);
    let locker = ("locker_id", "'l'", NAME);
    let options = ("options", "{}", &["map"][..]);
    let timeout = ("timeout", "1", &["number"][..]);
    let keys = ("keys", "[]", &["list"][..]);
    let calls = [
        (
            "set_work_spec",
            vec![("work spec", "{'name': 'x'}", &["map"][..])],
        ),
        ("get_work_spec", vec![spec]),
        ("get_work_spec_meta", vec![spec]),
        ("control_work_spec", vec![spec, options]),
        ("list_work_specs", vec![options]),
        ("del_work_spec", vec![spec]),
        (
            "add_work_units",
            vec![spec, ("work_unit_key_vals", "[]", &["list", "map"][..])],
        ),
        ("count_work_units", vec![spec]),
        ("get_work_units", vec![spec, options]),
        (
            "get_work_unit_status",
            vec![spec, ("work_unit_keys", "[]", &["list"][..])],
        ),
        ("prioritize_work_units", vec![spec, options]),
        ("del_work_units", vec![spec, options]),
        ("archive", vec![options]),
        ("get_work", vec![worker, options]),
        (
            "update_work_unit",
            vec![spec, ("work_unit_key", "'a'", NAME), options],
        ),
        ("update_work_units", vec![("updates", "[]", &["list"][..])]),
        (
            "worker_heartbeat",
            vec![
                worker,
                ("mode", "'m'", NAME),
                ("expire_seconds", "1", &["number"][..]),
                ("data", "{}", &["map"][..]),
                ("parent", "'p'", NAME),
            ],
        ),
        ("worker_unregister", vec![worker]),
        ("get_worker_info", vec![worker]),
        ("get_child_work_units", vec![worker]),
        ("lock", vec![locker, timeout, keys]),
        ("locksome", vec![locker, timeout, keys]),
        ("renew", vec![locker, timeout, keys]),
        ("readlock", vec![keys]),
        ("unlock", vec![locker, keys]),
        ("hello", vec![options]),
    ];
    for (method, parameters) in calls {
        let right: Vec<_> = parameters.iter().map(|(_, item, _)| *item).collect();
        read(method, &format!("[{}]", right.join(", "))).unwrap();
        for (at, (name, _, kinds)) in parameters.iter().enumerate() {
            for item in wrong(kinds) {
                let mut args = right.clone();
                args[at] = item;
                let params = format!("[{}]", args.join(", "));
                refuses(method, &params, &format!("{name} is "));
            }
        }
    }
}

#[test]
fn a_parameter_that_must_be_there_is_not_nil() {
    refuses(
        "get_work_spec",
        "[null]",
        "work_spec_name is null: expected a string",
    );
    refuses(
        "set_work_spec",
        "[null]",
        "work spec is null: expected a map",
    );
    refuses(
        "add_work_units",
        "['s', null]",
        "work_unit_key_vals is null: must be a list",
    );
    refuses(
        "get_work_unit_status",
        "['s', null]",
        "work_unit_keys is null: expected a list",
    );
    refuses(
        "update_work_unit",
        "['s', null, {}]",
        "work_unit_key is null: expected a string",
    );
    refuses(
        "update_work_units",
        "[null]",
        "updates is null: expected a list",
    );
    refuses("lock", "['l', null, null]", "keys is null: expected a list");
    refuses(
        "delete_namespace",
        "[[]]",
        "prefix is []: must be one label",
    );
}

#[test]
fn an_option_of_a_wrong_type_is_named() {
    for (method, front, options) in [
        (
            "list_work_specs",
            "",
            &[("start", "name"), ("limit", "whole")][..],
        ),
        (
            "control_work_spec",
            "'s', ",
            &[
                ("status", "whole"),
                ("weight", "whole"),
                ("priority", "whole"),
                ("interval", "number"),
                ("continuous", "bool"),
                ("max_running", "whole"),
                ("max_getwork", "whole"),
                ("max_retries", "whole"),
            ],
        ),
        (
            "get_work_units",
            "'s', ",
            &[
                ("work_unit_keys", "list"),
                ("state", "whole or list"),
                ("start", "name"),
                ("limit", "whole"),
            ],
        ),
        (
            "prioritize_work_units",
            "'s', ",
            &[
                ("work_unit_keys", "list"),
                ("priority", "number"),
                ("adjustment", "number"),
            ],
        ),
        (
            "del_work_units",
            "'s', ",
            &[
                ("all", "bool"),
                ("work_unit_keys", "list"),
                ("state", "whole or list"),
            ],
        ),
        ("archive", "", &[("work_spec_names", "list")]),
        (
            "get_work",
            "'w', ",
            &[
                ("lease_time", "number"),
                ("max_jobs", "whole"),
                ("work_spec_names", "list"),
                ("available_gb", "number"),
                ("runtimes", "list"),
                ("wait", "number"),
                ("with_attempt", "bool"),
            ],
        ),
        (
            "update_work_unit",
            "'s', 'a', ",
            &[
                ("status", "whole"),
                ("lease_time", "number"),
                ("data", "map"),
                ("worker_id", "name"),
                ("attempt_id", "whole"),
                ("delay", "number"),
            ],
        ),
        ("hello", "", &[("namespace", "name"), ("token", "name")]),
    ] {
        for (option, kind) in options {
            let mut items = match *kind {
                "name" => wrong(&["string", "text"]),
                "whole or list" => wrong(&["number", "list"]),
                "whole" | "number" => wrong(&["number"]),
                kind => wrong(&[kind]),
            };
            if kind.starts_with("whole") {
                items.push("2.9");
            }
            if kind.starts_with("whole") || *kind == "number" {
                items.extend(["(f9 7e00)", "(f9 7c00)", "(f9 fc00)"]);
            }
            for item in items {
                let params = format!("[{front}{{'{option}': {item}}}]");
                refuses(method, &params, &format!("{option} is "));
            }
        }
    }
}

#[test]
fn an_error_shows_the_option_and_the_value() {
    for (method, params, error) in [
        (
            "get_work",
            "['w', {'max_jobs': 2.9}]",
            "max_jobs is 2.9: 2.9 is not a whole number",
        ),
        (
            "update_work_unit",
            "['s', 'a', {'status': 2}]",
            "status is 2: must be 1 (available), 3 (pending), 4 (finished) or 5 (failed)",
        ),
        (
            "update_work_unit",
            "['s', 'a', {'status': 7}]",
            "status is 7: must be 1",
        ),
        (
            "update_work_unit",
            "['s', 'a', {'status': -1}]",
            "status is -1: must be 1",
        ),
        (
            "update_work_unit",
            "['s', 'a', {'attempt_id': -1}]",
            "attempt_id is -1: must be at least 0",
        ),
        (
            "add_work_units",
            "['s', ['a', ['b', {}], 'c', ['d', {}, {'priority': 'x'}]]]",
            "work unit 3: priority is 'x': expected a number, found a byte string",
        ),
        (
            "add_work_units",
            "['s', ['a', 5]]",
            "work unit 1: work unit key is 5: expected a string",
        ),
        (
            "add_work_units",
            "['s', [['a']]]",
            "work unit 0 is ['a']: must be a key, (key, data)",
        ),
        (
            "add_work_units",
            "['s', {'a': {}, 'b': 7}]",
            "work unit 1: work unit data is 7: ",
        ),
        (
            "get_work_unit_status",
            "['s', ['a', 17]]",
            "work_unit_keys[1] is 17: expected a string",
        ),
        (
            "get_work_units",
            "['s', {'state': [1, 'x']}]",
            "state[1] is 'x': expected a number",
        ),
        (
            "get_work",
            "['w', {'runtimes': ['', h'ff']}]",
            "runtimes[1] is ",
        ),
        (
            "update_work_units",
            "[[['s', 'a', {}], ['s', 'a', {'status': 9}]]]",
            "updates[1]: status is 9: must be 1",
        ),
        (
            "update_work_units",
            "[[['s', 'a']]]",
            "updates[0] is ['s', 'a']: must be (work_spec_name, work_unit_key, options)",
        ),
        (
            "update_work_units",
            "[[['s', 'a', {}, 1]]]",
            "updates[0] is [",
        ),
        (
            "update_work_units",
            "[[{}]]",
            "updates[0] is {}: expected a list, found a map",
        ),
        (
            "lock",
            "['l', -1, []]",
            "timeout is -1: must not be negative",
        ),
        (
            "lock",
            "['l', 1, [['a'], 'b']]",
            "keys[1]: lock path is 'b': expected a list",
        ),
        (
            "delete_namespace",
            "[['a', 'b']]",
            "prefix is ['a', 'b']: must be one label",
        ),
        ("delete_namespace", "[[_ 'a', 'b']]", "prefix is "),
        (
            "set_work_spec",
            "[{'x': 1}]",
            "work spec is {'x': 1}: it has no name",
        ),
        (
            "get_work_spec",
            "[h'ff']",
            "work_spec_name is h'ff': byte string is not UTF-8",
        ),
        ("get_work_spec", "[(5f 41 61 ff)]", "work_spec_name is "),
        (
            "get_work_unit_status",
            "['s', [(7f 61 61 ff)]]",
            "work_unit_keys[0] is ",
        ),
    ] {
        refuses(method, params, error);
    }
}

#[test]
fn names_keys_and_lists_have_their_limits() {
    let name = |bytes: usize| format!("['{}']", "n".repeat(bytes));
    assert!(read("get_work_spec", &name(NAME_BYTES_MAX)).is_ok());
    let error = read("get_work_spec", &name(NAME_BYTES_MAX + 1)).unwrap_err();
    assert!(
        error.ends_with("must be at most 1024 bytes long"),
        "{error}"
    );
    assert!(error.len() < 200, "{error}");

    let keys = |bytes: usize| format!("['s', ['{}']]", "k".repeat(bytes));
    for method in ["get_work_unit_status", "add_work_units"] {
        assert!(read(method, &keys(KEY_BYTES_MAX)).is_ok());
        let error = read(method, &keys(KEY_BYTES_MAX + 1)).unwrap_err();
        assert!(error.contains("2048 bytes"), "{error}");
    }

    let path = |bytes: usize| {
        // Empty chunks, so that the encoded path is short.
        format!("[[(81 5f {} ff)]]", "40".repeat(bytes - 3))
    };
    assert!(read("readlock", &path(LOCK_PATH_ITEM_BYTES_MAX)).is_ok());
    let error = read("readlock", &path(LOCK_PATH_ITEM_BYTES_MAX + 1)).unwrap_err();
    assert!(error.starts_with("keys[0] is "), "{error}");

    let request = |items: usize| {
        let mut request = cbor(&request("get_work_unit_status", "['s', null]"));
        let nil = request.iter().position(|byte| *byte == 0xf6).unwrap();
        let list = [&[0x9f][..], &vec![0x40; items], &[0xff]].concat();
        request.splice(nil..=nil, list);
        request
    };
    assert!(shown(&request(LIST_ITEMS_MAX)).is_ok());
    let error = shown(&request(LIST_ITEMS_MAX + 1)).unwrap_err();
    assert!(
        error.starts_with("work_unit_keys is ") && error.ends_with("1048576 items"),
        "{error}"
    );
}
