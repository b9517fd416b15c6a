//! Every shape of reply, byte for byte. Replies are compared with bytes written down
//! by hand (in `the_bytes_…`) or with diagnostic notation, encoded by other code.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;

use super::{write::write_within, *};
use crate::{
    cbor::{Writer, begin_frame},
    limits::REPLY_BYTES_MAX,
    model::{KeyRef, StringType},
    wire::{Dialect, notation::cbor},
};

fn written(id: u64, dialect: Dialect, result: Result<&Reply<'_>, &str>) -> Vec<u8> {
    let mut out = BytesMut::new();
    let frame = begin_frame(&mut out);
    let head = out.len();
    write_reply(&mut out, &frame, id, dialect, result).unwrap();
    out[head..].to_vec()
}

/// The result is written as `expected` (in notation) in both dialects.
fn writes(reply: &Reply<'_>, expected: &str) {
    for dialect in [Dialect::Bytes, Dialect::Text] {
        let expected = cbor(&format!("{{\"id\": 7, \"result\": {expected}}}"));
        let found = written(7, dialect, Ok(reply));
        assert_eq!(
            crate::cbor::diagnose(&found, 2_000),
            crate::cbor::diagnose(&expected, 2_000)
        );
        assert_eq!(found, expected, "{reply:?}");
    }
}

fn bare(value: Value<'_>, expected: &str) {
    writes(&Reply::Bare(value), expected);
}

fn pair(value: Value<'_>, expected: &str) {
    writes(&Reply::Pair(value, None), &format!("T[{expected}, null]"));
}

fn raw(notation: &str) -> RawData {
    RawData::new(&cbor(notation))
}

fn spec(name: &str) -> SpecName {
    SpecName::new(name).unwrap()
}

fn worker(name: &str) -> WorkerName {
    WorkerName::new(name).unwrap()
}

fn key_ref(bytes: &[u8], string_type: StringType) -> KeyRef<'_> {
    KeyRef { bytes, string_type }
}

fn key(bytes: &[u8]) -> UnitKey {
    UnitKey::new(key_ref(bytes, StringType::Bytes)).unwrap()
}

/// Half a second past the epoch and some.
const AT: Timestamp = Timestamp::from_micros(1_700_000_000_500_000);
const AT_SHOWN: &str = "1700000000.5";

#[test]
fn the_bytes_of_a_bare_result_a_pair_and_an_error() {
    let bytes = |reply| written(1, Dialect::Bytes, Ok(&reply));
    // protocol.md §7
    assert_eq!(
        bytes(Reply::Bare(Value::Definitions(Vec::new(), None))),
        b"\xa2\x62id\x01\x66result\xd8\x80\x82\x80\xf6"
    );
    assert_eq!(
        bytes(Reply::Bare(Value::Nil)),
        b"\xa2\x62id\x01\x66result\xf6",
        "present also when nil"
    );
    assert_eq!(
        bytes(Reply::Pair(Value::Bool(true), None)),
        b"\xa2\x62id\x01\x66result\xd8\x80\x82\xf5\xf6"
    );
    assert_eq!(
        bytes(Reply::Pair(Value::Bool(false), Some("no".to_owned()))),
        b"\xa2\x62id\x01\x66result\xd8\x80\x82\xf4\x62no"
    );
    assert_eq!(
        bytes(Reply::Pair(Value::OneJob(None), None)),
        b"\xa2\x62id\x01\x66result\xd8\x80\x82\xd8\x80\x83\xf6\xf6\xf6\xf6"
    );
    assert_eq!(
        bytes(Reply::Pair(Value::Jobs(Vec::new()), None)),
        b"\xa2\x62id\x01\x66result\xd8\x80\x82\x80\xf6"
    );
    for dialect in [Dialect::Bytes, Dialect::Text] {
        assert_eq!(
            written(u64::MAX, dialect, Err("bad")),
            b"\xa2\x62id\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x65error\xa1\x67message\x63bad"
        );
    }
}

#[test]
fn single_values_are_written() {
    bare(Value::Unsigned(1_700_000_000), "1700000000");
    bare(Value::EmptyMap, "{}");
    pair(Value::EmptyMap, "{}");
    pair(Value::Nil, "null");
    pair(Value::Unsigned(0), "0");
    bare(Value::Item(&cbor("{'a': [_ 1]}")), "{'a': [_ 1]}");
}

#[test]
fn definitions_follow_the_dialect() {
    let definitions = || {
        let one = raw("{'name': 's', 'module': 'm', 'x': 'y'}");
        let two = raw("{\"name\": \"t\", \"run_function\": \"f\"}");
        Reply::Bare(Value::Definitions(vec![one, two], Some(spec("u"))))
    };
    let expect = |dialect, expected: &str| {
        let expected = cbor(&format!("{{\"id\": 7, \"result\": {expected}}}"));
        assert_eq!(written(7, dialect, Ok(&definitions())), expected);
    };
    expect(
        Dialect::Bytes,
        "T[[{'name': 's', 'module': 'm', 'x': 'y'}, {\"name\": \"t\", \"run_function\": 'f'}], \"u\"]",
    );
    expect(
        Dialect::Text,
        "T[[{'name': 's', 'module': \"m\", 'x': 'y'}, {\"name\": \"t\", \"run_function\": \"f\"}], \"u\"]",
    );
    let plain = "{_ 'name': 's', 'min_gb': (f9 3c00)}";
    bare(Value::Definition(raw(plain)), plain);
}

#[test]
fn a_spec_s_meta_shows_every_option() {
    let meta = |options: SpecOptions, next_continuous| {
        Value::SpecMeta(SpecMeta {
            options: Arc::new(options),
            next_continuous,
        })
    };
    pair(
        meta(SpecOptions::default(), None),
        "{\"status\": 1, \"continuous\": false, \"interval\": 0.0, \"max_running\": 0, \
         \"weight\": 20, \"priority\": 0, \"max_getwork\": 0, \"max_retries\": 0, \
         \"runtime\": \"\", \"then\": null, \"min_gb\": 0.0, \"next_continuous\": null}",
    );
    let options = SpecOptions {
        paused: true,
        priority: -3,
        weight: 7,
        continuous: true,
        can_be_continuous: true,
        interval: Duration::from_millis(1_500),
        max_running: 4,
        max_getwork: 5,
        max_retries: 6,
        then: Some(spec("t")),
        runtime: "go".into(),
        min_gb: 2.0,
    };
    pair(
        meta(options, Some(AT)),
        &format!(
            "{{\"status\": 2, \"continuous\": true, \"interval\": 1.5, \"max_running\": 4, \
             \"weight\": 7, \"priority\": -3, \"max_getwork\": 5, \"max_retries\": 6, \
             \"runtime\": \"go\", \"then\": \"t\", \"min_gb\": 2.0, \
             \"next_continuous\": {AT_SHOWN}}}"
        ),
    );
}

#[test]
fn counts_leave_out_zeros_and_delayed_units_are_available_ones() {
    let counts = |available, delayed, pending, finished, failed| {
        Value::Counts(UnitCounts {
            available,
            delayed,
            pending,
            finished,
            failed,
        })
    };
    pair(counts(0, 0, 0, 0, 0), "{}");
    pair(counts(1, 2, 4, 8, 16), "{1: 3, 3: 4, 4: 8, 5: 16}");
    pair(counts(0, 2, 0, 300, 0), "{1: 2, 4: 300}");
}

#[test]
fn keys_keep_the_string_type_they_were_stored_with() {
    let text = UnitKey::new(key_ref("ä".as_bytes(), StringType::Text)).unwrap();
    pair(
        Value::Units(vec![
            (ListedKey::Stored(key(b"a\xff")), Some(raw("{_ 1: 'x'}"))),
            (ListedKey::Stored(text), Some(raw("{}"))),
            (ListedKey::Asked(key_ref(b"b", StringType::Text)), None),
            (ListedKey::Asked(key_ref(b"", StringType::Bytes)), None),
        ]),
        "[T[h'61ff', {_ 1: 'x'}], T[\"ä\", {}], T[\"b\", null], T['', null]]",
    );
    pair(Value::Units(Vec::new()), "[]");
}

#[test]
fn a_status_shows_what_there_is() {
    let idle = Status {
        status: 1,
        expiration: None,
        worker: None,
        data: raw("{'a': 1}"),
        attempts: 0,
        attempt: None,
    };
    let failed = Status {
        status: 5,
        expiration: Some(AT),
        worker: Some(worker("w")),
        data: raw("{'x': {'traceback': 'no'}, 'traceback': (7f 61 65 ff)}"),
        attempts: 3,
        attempt: Some(AttemptId::new(77)),
    };
    let blank = Status {
        status: 4,
        expiration: Some(AT),
        worker: Some(worker("")),
        data: raw("{\"traceback\": null}"),
        attempts: 1,
        attempt: Some(AttemptId::new(0)),
    };
    pair(
        Value::Statuses(vec![Some(idle), None, Some(failed), Some(blank)]),
        &format!(
            "[{{\"status\": 1, \"expiration\": null, \"attempts\": 0}}, null, \
             {{\"status\": 5, \"expiration\": {AT_SHOWN}, \"worker_id\": \"w\", \
             \"traceback\": (7f 61 65 ff), \"attempts\": 3, \"attempt_id\": 77}}, \
             {{\"status\": 4, \"expiration\": {AT_SHOWN}, \"worker_id\": \"\", \
             \"attempts\": 1, \"attempt_id\": 0}}]"
        ),
    );
}

#[test]
fn jobs_are_tuples_with_their_attempt_if_asked_for() {
    let job = |attempt| Job {
        spec: spec("s"),
        key: key(b"a"),
        data: raw("{'x': T[1]}"),
        attempt,
    };
    let attempt = || JobAttempt {
        id: AttemptId::new(1 << 40),
        number: 2,
        expires: AT,
        priority: Priority::new(-1.0).unwrap(),
    };
    let short = "T[\"s\", 'a', {'x': T[1]}]";
    let long = format!(
        "T[\"s\", 'a', {{'x': T[1]}}, {{\"attempt_id\": 1099511627776, \"attempt\": 2, \
         \"expires\": {AT_SHOWN}, \"priority\": -1.0}}]"
    );
    pair(Value::OneJob(Some(job(None))), short);
    pair(Value::OneJob(Some(job(Some(attempt())))), &long);
    pair(
        Value::Jobs(vec![job(None), job(Some(attempt()))]),
        &format!("[{short}, {long}]"),
    );
}

#[test]
fn batches_are_lists_of_pairs() {
    let pairs = vec![(true, None), (false, Some("nothing to do".to_owned()))];
    bare(
        Value::Pairs(pairs),
        "[T[true, null], T[false, \"nothing to do\"]]",
    );
}

#[test]
fn workers_are_shown() {
    pair(
        Value::Modes(vec![(worker("a"), "RUN".into()), (worker("b"), "".into())]),
        "{\"a\": \"RUN\", \"b\": \"\"}",
    );
    pair(
        Value::ModeCounts(vec![("IDLE".into(), 3), ("RUN".into(), 500)]),
        "{\"IDLE\": 3, \"RUN\": 500}",
    );
    pair(
        Value::WorkerInfo(Some(raw("{'pid': 7}")), 2.5),
        "{'pid': 7, \"age_seconds\": 2.5}",
    );
    pair(Value::WorkerInfo(None, 0.0), "{\"age_seconds\": 0.0}");
    bare(
        Value::WorkerStats {
            workers: 9,
            children: 4,
        },
        "{\"num_workers\": 9, \"num_children\": 4, \"num_expirable\": 9}",
    );
}

#[test]
fn child_units_are_listed_under_each_child() {
    let unit = |holder| ChildUnit {
        spec: spec("s"),
        key: key(b"a"),
        data: raw("{1: 2}"),
        holder,
    };
    let shown = |worker: &str, expires: &str| {
        format!(
            "{{\"work_spec_name\": \"s\", \"work_unit_key\": 'a', \"work_unit_data\": {{1: 2}}, \
             \"worker_id\": {worker}, \"expires\": {expires}}}"
        )
    };
    pair(
        Value::ChildUnits(vec![
            (
                worker("busy"),
                vec![unit(Some((worker("w"), AT))), unit(None)],
            ),
            (worker("idle"), Vec::new()),
        ]),
        &format!(
            "{{\"busy\": [{}, {}], \"idle\": []}}",
            shown("\"w\"", AT_SHOWN),
            shown("null", "null")
        ),
    );
}

#[test]
fn locks_are_shown_as_they_were_sent_or_by_owner() {
    let path = cbor("T['a', \"b\"]");
    pair(
        Value::Items(vec![Some(&path), None]),
        "[T['a', \"b\"], null]",
    );
    bare(
        Value::Owners(vec![None, Some(worker("l"))]),
        "[null, \"l\"]",
    );
}

#[test]
fn hello_tells_who_is_there() {
    bare(
        Value::Hello {
            namespace: "n".to_owned(),
        },
        &format!(
            "{{\"server\": \"coordinated\", \"version\": \"{}\", \"protocol\": 1, \
             \"namespace\": \"n\", \"extensions\": [\"update_work_units\", \"wait\", \
             \"with_attempt\", \"runtimes\", \"fencing\", \"named_params\", \"batch\"]}}",
            env!("CARGO_PKG_VERSION")
        ),
    );
}

/// Each kind of reply that can be long.
fn long_replies() -> Vec<Reply<'static>> {
    const ITEM: &[u8] = b"\x58\x20--------------------------------";
    let data = || RawData::new(b"\xa1\x49traceback\x58\x20--------------------------------");
    let long_name = "n".repeat(40);
    let unit = || ChildUnit {
        spec: spec("s"),
        key: key(b"k"),
        data: data(),
        holder: None,
    };
    let job = || Job {
        spec: spec("s"),
        key: key(b"k"),
        data: data(),
        attempt: None,
    };
    let status = || Status {
        status: 5,
        expiration: None,
        worker: None,
        data: data(),
        attempts: 1,
        attempt: None,
    };
    vec![
        Reply::Bare(Value::Definition(data())),
        Reply::Bare(Value::Definitions(vec![data(), data()], None)),
        Reply::Pair(
            Value::Units(vec![(ListedKey::Stored(key(b"k")), Some(data()))]),
            None,
        ),
        Reply::Pair(Value::Statuses(vec![Some(status()), None]), None),
        Reply::Pair(Value::OneJob(Some(job())), None),
        Reply::Pair(Value::Jobs(vec![job(), job()]), None),
        Reply::Bare(Value::Pairs(vec![(false, Some(long_name.clone()))])),
        Reply::Pair(Value::Modes(vec![(worker(&long_name), "RUN".into())]), None),
        Reply::Pair(Value::ModeCounts(vec![(long_name.into(), 1)]), None),
        Reply::Pair(Value::WorkerInfo(Some(data()), 1.0), None),
        Reply::Pair(
            Value::ChildUnits(vec![(worker("w"), vec![unit(), unit()])]),
            None,
        ),
        Reply::Bare(Value::Item(ITEM)),
        Reply::Pair(Value::Items(vec![Some(ITEM), None]), None),
        Reply::Bare(Value::Owners(vec![Some(worker("w"))])),
    ]
}

#[test]
fn a_reply_that_does_not_fit_leaves_the_buffer_as_it_was() {
    for reply in long_replies() {
        let whole = written(7, Dialect::Text, Ok(&reply));
        for room in 0..=whole.len() {
            let mut out = BytesMut::from(&b"before"[..]);
            let result = write_within(&mut out, room, 7, Dialect::Text, Ok(&reply));
            if room < whole.len() {
                assert_eq!(
                    (result, &out[..]),
                    (Err(TooLong), &b"before"[..]),
                    "{reply:?}"
                );
            } else {
                assert_eq!(result, Ok(()));
                assert_eq!(&out[b"before".len()..], &whole[..]);
            }
        }
    }
}

#[test]
fn all_replies_of_a_frame_share_its_limit_and_an_error_is_always_written() {
    let mut out = BytesMut::with_capacity(REPLY_BYTES_MAX + 1_000);
    out.extend_from_slice(b"an earlier frame");
    let frame = begin_frame(&mut out);
    let reply = Reply::Bare(Value::Nil);
    let reply_bytes = written(1, Dialect::Text, Ok(&reply)).len();
    out.resize(out.len() + REPLY_BYTES_MAX - reply_bytes + 1, 0);
    let payload_bytes = frame.payload_bytes(&out);
    let one = |out: &mut BytesMut, result| write_reply(out, &frame, 1, Dialect::Text, result);
    assert_eq!(one(&mut out, Ok(&reply)), Err(TooLong));
    assert_eq!(frame.payload_bytes(&out), payload_bytes);
    out.truncate(out.len() - 1);
    assert_eq!(one(&mut out, Ok(&reply)), Ok(()));
    assert_eq!(frame.payload_bytes(&out), REPLY_BYTES_MAX);
    assert_eq!(one(&mut out, Ok(&reply)), Err(TooLong));
    assert_eq!(one(&mut out, Err(&TooLong.to_string())), Ok(()));
    assert!(frame.payload_bytes(&out) > REPLY_BYTES_MAX);
}

#[test]
fn the_replies_to_a_batch_are_written_one_by_one_into_one_frame() {
    let mut out = BytesMut::from(&b"-"[..]);
    let frame = begin_frame(&mut out);
    Writer::new(&mut out).array(2);
    let now = Reply::Bare(Value::Unsigned(5));
    write_reply(&mut out, &frame, 1, Dialect::Text, Ok(&now)).unwrap();
    write_reply(&mut out, &frame, 2, Dialect::Text, Err("x")).unwrap();
    frame.finish(&mut out);
    let payload =
        cbor("[{\"id\": 1, \"result\": 5}, {\"id\": 2, \"error\": {\"message\": \"x\"}}]");
    let head = [b'-', 0xd8, 0x18, 0x58, payload.len() as u8];
    assert_eq!(out, [&head[..], &payload].concat());
}
