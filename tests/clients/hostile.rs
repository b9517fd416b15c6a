//! Bytes that are made to hurt: nested without end, cut short, a byte at a time, longer
//! than they say (known faults 1, 5 and 7).

use serde_cbor::Value;

use crate::{
    client::{Client, call, frame, head, map, request, spec},
    daemon::Daemon,
    value::{int, list, text},
};

/// One level of nesting, of each kind.
const LEVELS: [(&str, &[u8]); 6] = [
    ("lists", &[0x81]),
    ("lists without an end", &[0x9f]),
    ("maps", &[0xa1, 0x00]),
    ("maps as keys", &[0xa1]),
    ("tags", &[0xc1]),
    ("tags and lists", &[0xd8, 0x80, 0x81]),
];

/// The ways to put an item into a request, and the item by itself.
fn places(item: &[u8]) -> [Vec<u8>; 6] {
    let params = |before: &[u8], after: &[u8]| [before, item, after].concat();
    [
        item.to_vec(),
        frame(item),
        frame(&request(7, "get_work_spec", &params(b"\x81", b""))),
        request(7, "get_work_spec", &params(b"\x81", b"")),
        // [spec, [[key, data]]] and [{name: …, data: …}]
        frame(&request(
            7,
            "add_work_units",
            &params(b"\x82\x61s\x81\x82\x61k", b""),
        )),
        frame(&request(
            7,
            "set_work_spec",
            &params(b"\x81\xa2\x64name\x61s\x64data", b""),
        )),
    ]
}

/// Checks that each of `messages` gets one error with id 0 that says `why`, a reset and a
/// line in the log.
fn are_refused(daemon: &Daemon, messages: &[Vec<u8>], why: &str) {
    // All at once: a client has some time to send what it has begun before the reset.
    let mut clients: Vec<Client> = messages.iter().map(|_| daemon.connect()).collect();
    for (client, message) in clients.iter().zip(messages) {
        client.send(message);
    }
    for client in &mut clients {
        let (id, result) = client.reply();
        let error = result.unwrap_err();
        assert!(id == 0 && error.contains(why), "{id} {error}");
        assert!(error.len() < 200, "{error}");
    }
    for client in clients {
        let peer = client.address();
        client.meets_reset();
        let line = daemon.logged_about(peer, "malformed input, connection dropped");
        assert_eq!(line["level"], "WARN");
        let cause = line["cause"].as_str().unwrap();
        assert!(cause.contains(why), "{cause}");
    }
}

#[test]
fn a_megabyte_of_nesting_is_refused_wherever_it_is() {
    let daemon = Daemon::start();
    daemon.connect().ok("set_work_spec", [spec("s")]);
    let bystander = daemon.bystander();
    for (kind, level) in LEVELS {
        eprintln!("{kind}");
        let nested = level.repeat((1 << 20) / level.len());
        are_refused(&daemon, &places(&nested), "nested deeper than");
    }
    bystander.stays_undisturbed(64);
}

#[test]
fn data_that_is_nested_one_level_too_deep_is_an_error_of_its_request_alone() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.ok("set_work_spec", [spec("s")]);
    let add = |levels: usize| {
        // One level is the map that data is.
        let data = [&b"\xa1\x61x"[..], &[0x81].repeat(levels - 1), &[0x00]].concat();
        frame(&request(
            7,
            "add_work_units",
            &[b"\x82\x61s\x81\x82\x61k", &data[..]].concat(),
        ))
    };
    client.send(&add(64));
    assert_eq!(client.reply(), (7, Ok(list([true.into(), Value::Null]))));
    client.send(&add(65));
    let (id, result) = client.reply();
    let error = result.unwrap_err();
    assert!(
        id == 7 && error.contains("nested deeper than 64 levels"),
        "{error}"
    );
    let units = client.ok("count_work_units", [text("s")]);
    assert_eq!(units, Value::Map([(int(1), int(1))].into()));
}

#[test]
fn a_length_that_is_only_announced_takes_no_memory() {
    let daemon = Daemon::start();
    let bystander = daemon.bystander();
    // Under tag 24, and of a bare item: refused from the head.
    let under_tag_24 = |bytes| [&[0xd8, 0x18][..], &head(2, bytes), b"abc"].concat();
    let lengths = [65 << 20, 1 << 40, 1 << 63, u64::MAX].map(under_tag_24);
    are_refused(&daemon, &lengths, "is over the limit of 67108864");
    let kinds = [2, 3, 4, 5].map(|major| [&head(major, 1 << 63)[..], &[0x00; 9]].concat());
    are_refused(&daemon, &kinds, "is over the limit of 67108864");
    // In a request that is shorter than it says.
    for major in [2, 3, 4, 5] {
        for count in [1 << 16, 1 << 32, 1 << 63, u64::MAX] {
            let item = [&head(major, count)[..], &[0x00; 9]].concat();
            let framed: Vec<_> = (places(&item).into_iter())
                .filter(|message| message.starts_with(&[0xd8, 0x18]))
                .collect();
            are_refused(&daemon, &framed, "cut short");
        }
    }
    bystander.stays_undisturbed(16);
}

#[test]
fn an_item_without_an_end_is_refused_at_the_limit_of_frames() {
    let daemon = Daemon::with(&["--max-frame-bytes", "1MiB"]);
    let bystander = daemon.bystander();
    let endless = [&[0x9f][..], &[0x00; 2 << 20]].concat();
    let chunks = [&[0x5f][..], &b"\x44abcd".repeat(1 << 18)].concat();
    let under_tag_24 = [&[0xd8, 0x18][..], &chunks].concat();
    let limit = "is over the limit of 1048576";
    are_refused(&daemon, &[endless, chunks, under_tag_24], limit);
    bystander.stays_undisturbed(16);
}

#[test]
fn what_is_no_cbor_is_refused_after_the_replies_that_were_due() {
    let daemon = Daemon::start();
    let bystander = daemon.bystander();
    let bad: [&[u8]; 8] = [
        b"\xff",                 // an end of nothing
        b"\x1c",                 // a head that means nothing
        b"\x61\xff",             // text that is not UTF-8
        b"\x5f\x61a\xff",        // a text string as a chunk of a byte string
        b"\xbf\x01\xff",         // a key without a value
        b"\xf8\x10",             // a simple value that must be written shorter
        b"\x81\xff",             // an end where an item must be
        b"\xd8\x18\x42\xa0\xa0", // two items in one frame
    ];
    let now = call(1, "now", []);
    let mut clients = bad.map(|bad| {
        let client = daemon.connect();
        client.send(&[&now[..], &now, bad, &now].concat());
        client
    });
    for client in &mut clients {
        assert!(client.reply().1.is_ok() && client.reply().1.is_ok());
        let (id, result) = client.reply();
        let error = result.unwrap_err();
        assert!(id == 0 && error.contains("not well-formed CBOR"), "{error}");
    }
    for client in clients {
        let peer = client.address();
        client.meets_reset();
        daemon.logged_about(peer, "malformed input, connection dropped");
    }
    bystander.stays_undisturbed(16);
}

#[test]
fn an_envelope_that_makes_no_sense_is_answered_and_the_connection_goes_on() {
    let daemon = Daemon::start();
    let bystander = daemon.bystander();
    let mut client = daemon.connect();
    let bad: [(&[u8], u64, &str); 9] = [
        (b"\x07", 0, "request is 7: expected a map, found an integer"),
        (b"\xf6", 0, "request is null: expected a map, found null"),
        (b"\xa0", 0, "request has no id"),
        (b"\xa1\x62id\x05", 5, "request has no method"),
        (b"\xa1\x62id\x20", 0, "id"),
        (b"\xa2\x62id\x61x\x66method\x63now", 0, "id"),
        (b"\xa2\x62id\x06\x66method\x01", 6, "method"),
        (
            b"\xa2\x62id\x07\x66method\x64nope",
            7,
            "no such method: nope",
        ),
        (
            b"\xa3\x62id\x08\x66method\x63now\x66params\x01",
            8,
            "params",
        ),
    ];
    for (payload, id, why) in bad {
        client.send(&frame(payload));
        let (replied_id, result) = client.reply();
        let error = result.unwrap_err();
        assert!(replied_id == id && error.contains(why), "{error}");
    }
    // The older server dropped its client for a method name as text, and one for bytes
    // would be as bad.
    for message in [
        &b"\xa2\x62id\x01\x66method\x63now"[..],
        b"\xa2\x42id\x01\x46method\x43now",
    ] {
        client.send(&frame(message));
        assert!(client.reply().1.is_ok());
        client.send(message);
        assert!(client.reply().1.is_ok());
    }
    bystander.stays_undisturbed(16);
}

#[test]
fn half_a_request_and_a_hang_up_leave_nothing_behind() {
    let daemon = Daemon::with(&["--log", "debug"]);
    let bystander = daemon.bystander();
    let framed = call(1, "set_work_spec", [spec("s")]);
    let bare = request(1, "set_work_spec", b"\x81\xa1\x64name\x61s");
    for message in [framed, bare] {
        for sent in 1..message.len() {
            let half_closed = daemon.connect();
            half_closed.send(&message[..sent]);
            half_closed.send_no_more();
            let dropped = daemon.connect();
            dropped.send(&message[..sent]);
            for (client, closes) in [(half_closed, false), (dropped, true)] {
                let peer = client.address();
                match closes {
                    true => drop(client),
                    false => client.meets_reset(),
                }
                let line = daemon.logged_about(peer, "connection lost");
                assert_eq!(line["cause"], "client hung up inside a frame");
            }
        }
    }
    let specs = daemon.connect().call("list_work_specs", [map([])]);
    assert_eq!(specs, list([list([]), Value::Null]));
    bystander.stays_undisturbed(16);
}

#[test]
fn requests_that_arrive_a_byte_at_a_time_are_answered_as_any_others() {
    let daemon = Daemon::start();
    let bystander = daemon.bystander();
    let (mut first, mut second) = (daemon.connect(), daemon.connect());
    let data = [text("key"), map([("text", text(&"x".repeat(300)))])];
    let ours = [
        call(1, "set_work_spec", [spec("s")]),
        call(2, "add_work_units", [text("s"), list([list(data.clone())])]),
    ]
    .concat();
    let theirs = [
        request(3, "now", b"\x80"),
        call(4, "get_work_units", [text("s"), map([])]),
        call(5, "list_work_specs", [map([])]),
    ]
    .concat();
    for at in 0..ours.len().max(theirs.len()) {
        for (client, bytes) in [(&first, &ours), (&second, &theirs)] {
            if let Some(byte) = bytes.get(at) {
                client.send(&[*byte]);
            }
        }
    }
    let done = Ok(list([true.into(), Value::Null]));
    assert_eq!(first.reply(), (1, done.clone()));
    assert_eq!(first.reply(), (2, done));
    assert_eq!(second.reply().0, 3);
    assert_eq!(second.reply().0, 4);
    assert_eq!(second.reply().0, 5);
    let units = second.ok("get_work_units", [text("s"), map([])]);
    assert_eq!(units, list([list(data)]));
    bystander.stays_undisturbed(16);
}
