//! Whatever comes in, reading it gives a call or an error.

use proptest::prelude::*;

use super::*;
use crate::cbor::arbitrary::item;

/// One full call of every method.
const CALLS: [(&str, &str); 33] = [
    (
        "set_work_spec",
        "[{'name': 's', 'weight': 3, 'then': 't', 'min_gb': 0.5, 'nice': -1}]",
    ),
    ("get_work_spec", "['s']"),
    ("get_work_spec_meta", "['s']"),
    (
        "control_work_spec",
        "['s', {'status': 1, 'weight': 3, 'interval': 0.5}]",
    ),
    ("list_work_specs", "[{'start': 'a', 'limit': 10}]"),
    ("del_work_spec", "['s']"),
    ("clear", "[]"),
    (
        "add_work_units",
        "['s', ['a', T['b', {}, {'priority': 1, 'delay': 0.5}, 2]]]",
    ),
    ("count_work_units", "['s']"),
    (
        "get_work_units",
        "['s', {'state': T[1, 3], 'start': 'a', 'limit': 7, 'work_unit_keys': null}]",
    ),
    ("get_work_unit_status", "['s', ['a', \"b\"]]"),
    (
        "prioritize_work_units",
        "['s', {'work_unit_keys': ['a'], 'priority': 1, 'adjustment': null}]",
    ),
    (
        "del_work_units",
        "['s', {'work_unit_keys': ['a'], 'state': 5, 'all': false}]",
    ),
    ("archive", "[{'work_spec_names': ['a']}]"),
    (
        "get_work",
        "['w', {'lease_time': 900, 'max_jobs': 2, 'available_gb': 8.5, 'work_spec_names': ['a'], \
         'runtimes': [''], 'wait': 1, 'with_attempt': true}]",
    ),
    (
        "update_work_unit",
        "['s', 'a', {'lease_time': 1, 'status': 4, 'data': {'output': {}}, 'worker_id': 'w', \
         'attempt_id': 3, 'delay': 0}]",
    ),
    (
        "update_work_units",
        "[[['s', 'a', {'status': 4}], T['s', 'b', {}]]]",
    ),
    ("worker_heartbeat", "['w', 'RUN', 6000, {'pid': 7}, 'p']"),
    ("worker_unregister", "['w']"),
    ("list_worker_modes", "[]"),
    ("mode_counts", "[]"),
    ("get_worker_info", "['w']"),
    ("worker_stats", "[]"),
    ("get_child_work_units", "['w']"),
    ("get_config", "[]"),
    ("now", "[]"),
    ("lock", "['l', 60, [['a', 1], T['b', {'c': 0.5}]]]"),
    ("locksome", "['l', 0.5, [['a']]]"),
    ("renew", "['l', null, [['a']]]"),
    ("readlock", "[[['a']]]"),
    ("unlock", "['l', [['a']]]"),
    ("delete_namespace", "['a']"),
    ("hello", "[{'namespace': 'n', 'token': 't'}]"),
];

/// Reads everything that a message may hold.
fn read_all(payload: &[u8]) {
    let requests = match Message::read(payload) {
        Ok(Message::One(item)) => vec![item],
        Ok(Message::Many(requests)) => requests.collect(),
        Ok(Message::Refused(error)) => panic!("no test has that many requests: {error}"),
        Err(_) => return,
    };
    for request in requests {
        let error = match Envelope::read(request) {
            Ok(envelope) => Call::read(&envelope).map(drop).err(),
            Err((_, error)) => Some(error),
        };
        if let Some(error) = error {
            let message = error.to_string();
            assert!(!message.is_empty() && message.len() < 1_000, "{message}");
        }
    }
}

#[test]
fn every_method_has_a_call_here_that_is_read() {
    for (method, (name, params)) in METHODS.iter().zip(CALLS) {
        assert_eq!(method.name, name);
        read(name, params).unwrap();
    }
}

#[test]
fn a_request_cut_short_anywhere_is_no_message() {
    for (method, params) in CALLS {
        let request = cbor(&request(method, params));
        for end in 0..request.len() {
            let error = Message::read(&request[..end]).unwrap_err();
            assert_eq!(error, crate::cbor::Error::Truncated);
        }
    }
}

/// Some bytes changed, left out or put in.
#[derive(Debug, Clone)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    // Heads are likelier to give another well-formed item than any byte is.
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(
            &[
                0x00, 0x20, 0x40, 0x41, 0x60, 0x61, 0x80, 0x81, 0xa0, 0xf4, 0xf6, 0xf7
            ][..]
        ),
    ];
    let item = prop::sample::select(
        &[
            "null",
            "-1",
            "2.9",
            "''",
            "\"x\"",
            "[]",
            "{}",
            "T[1]",
            "(f97e00)",
            "(5f4161ff)",
            "(1bffffffffffffffff)",
            "(c249ffffffffffffffffff)",
            "(9f80ff)",
            "(bfff)",
        ][..],
    );
    prop_oneof![
        (at(), byte).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        at().prop_map(Mutation::Remove),
        (at(), item).prop_map(|(at, item)| Mutation::Insert(at, cbor(item))),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    match mutation {
        Mutation::Set(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Mutation::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
        Mutation::Insert(at, item) => {
            let at = at.index(bytes.len());
            // In place of one byte, which often is an item.
            bytes.splice(at..=at, item.iter().copied());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..64)) {
        read_all(&payload);
    }

    #[test]
    fn any_parameters_are_read_or_refused(
        (method, _) in prop::sample::select(&CALLS[..]),
        params in prop::collection::vec(item(), 0..6),
    ) {
        let mut request = cbor(&format!("{{'id': 7, 'method': '{method}', 'params': null}}"));
        request.pop(); // the nil
        request.push(0x80 + params.len() as u8);
        request.extend(params.concat());
        read_all(&request);
    }

    #[test]
    fn a_damaged_request_is_read_or_refused(
        (method, params) in prop::sample::select(&CALLS[..]),
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let mut request = cbor(&request(method, params));
        for mutation in &mutations {
            mutate(&mut request, mutation);
        }
        read_all(&request);
    }
}
