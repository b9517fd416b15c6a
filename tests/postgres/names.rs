//! Names, keys and labels that a database could stumble over.

use serde_cbor::Value;

use super::watched::Watched;
use crate::support::{bytes, get, int, items, list, map, postgres::schema, text};

/// Text as PostgreSQL's own type cannot hold it, and as its statements might misread it.
const ODD: [&str; 4] = [
    "a\0b",
    "'; drop table unit; --",
    "\\x00 $1 %s",
    "ﬀ\u{10ffff}\u{202e}",
];

#[tokio::test]
async fn names_are_kept_whatever_is_in_them_and_bad_ones_refused_in_our_own_words() {
    let schema = schema().await;
    let mut daemon = Watched::on(&schema, 1).await;
    // Who has not made them has to ask for them by name.
    let mut other = Watched::on(&schema, 1).await;
    for name in ODD {
        daemon.spec(name, [("then", text("a\0b"))]).await;
        let keys = [text(name), bytes(b"\0\xff\xfe"), bytes(b"")];
        let params = vec![text(name), list(keys.clone())];
        daemon.ok("add_work_units", params).await;
        let (units, _) = other.ok("get_work_units", vec![text(name), map([])]).await;
        let mut listed: Vec<Value> = items(units)
            .into_iter()
            .map(|unit| items(unit).remove(0))
            .collect();
        let mut expected = keys.to_vec();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected);
        let beat = vec![text(name), text(name), int(60), map([]), text("parent\0")];
        daemon.ok("worker_heartbeat", beat).await;
        let (modes, _) = other.ok("list_worker_modes", Vec::new()).await;
        assert_eq!(get(&modes, name), text(name));
        let paths = || list([list([text(name), bytes(b"\0\xff")])]);
        daemon.ok("lock", vec![text(name), int(60), paths()]).await;
        let owners = other.client.call("readlock", vec![paths()]).await;
        assert_eq!(owners, list([text(name)]));
    }
    let no_text = || bytes(b"\xff\xfe");
    let calls = [
        ("get_work_spec", vec![no_text()]),
        ("set_work_spec", vec![map([("name", no_text())])]),
        ("get_work", vec![no_text(), map([])]),
        ("worker_heartbeat", vec![no_text(), text("RUN")]),
        ("lock", vec![no_text(), int(60), list([list([text("a")])])]),
    ];
    for (method, params) in calls {
        let call = Box::pin(daemon.client.try_call(method, params));
        let (refused, traffic) = daemon.proxy.during(call).await;
        let message = refused.unwrap_err();
        assert!(
            message.to_lowercase().contains("utf-8"),
            "{method}: {message}"
        );
        assert_eq!(
            traffic.round_trips(),
            0,
            "{method}: the database is not asked"
        );
    }
}
