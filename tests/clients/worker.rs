//! A worker that sends its requests ahead: sixteen at a time over each of four connections.

use std::{
    collections::{BTreeSet, VecDeque},
    thread,
};

use serde_cbor::Value;

use crate::{
    client::{Client, call, map, pair, spec},
    daemon::Daemon,
    value::{get, int, items, list, text},
};

const UNITS: usize = 3_000;

/// Requests that are on their way, over one connection.
const DEPTH: usize = 16;

/// What a request was, for when its reply comes.
enum Sent {
    GetWork,
    Finish,
}

/// Works until there is nothing left to do; the keys of what it did, in their order.
fn work(mut client: Client, worker: &str) -> Vec<Value> {
    let mut done = Vec::new();
    let mut sent = VecDeque::new();
    let (mut next_id, mut is_empty) = (0, false);
    let ask = |next_id: &mut u64| {
        *next_id += 1;
        call(*next_id, "get_work", [text(worker), map([])])
    };
    let mut stream = Vec::new();
    for _ in 0..DEPTH {
        stream.extend(ask(&mut next_id));
        sent.push_back((next_id, Sent::GetWork));
    }
    client.send(&stream);
    while let Some((id, what)) = sent.pop_front() {
        let (replied_id, reply) = client.reply();
        assert_eq!(replied_id, id, "replies come in the order of requests");
        let answer = pair(reply.unwrap());
        match what {
            Sent::Finish => {
                assert_eq!(answer, true.into());
                if !is_empty {
                    client.send(&ask(&mut next_id));
                    sent.push_back((next_id, Sent::GetWork));
                }
            }
            Sent::GetWork => {
                let [spec, key, data] = <[Value; 3]>::try_from(items(answer)).unwrap();
                if key == Value::Null {
                    is_empty = true;
                    continue;
                }
                // The result is made of what came: square the number.
                let Value::Integer(number) = get(&data, "number") else {
                    panic!("no number in {data:?}");
                };
                let result = map([("square", int(number * number))]);
                let finish = map([("status", int(4)), ("data", result)]);
                next_id += 1;
                client.send(&call(
                    next_id,
                    "update_work_unit",
                    [spec, key.clone(), finish],
                ));
                sent.push_back((next_id, Sent::Finish));
                done.push(key);
            }
        }
    }
    done
}

#[test]
fn workers_that_pipeline_get_each_unit_once_and_finish_it() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.ok("set_work_spec", [spec("s")]);
    let unit = |number: usize| {
        let data = map([("number", int(number as u64))]);
        list([text(&format!("{number:05}")), data])
    };
    client.ok(
        "add_work_units",
        [text("s"), Value::Array((0..UNITS).map(unit).collect())],
    );

    let done: Vec<Vec<Value>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let client = daemon.connect();
                scope.spawn(move || work(client, &format!("worker {worker}")))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });

    for keys in &done {
        assert!(
            keys.is_sorted(),
            "one connection gets them in the order of keys"
        );
    }
    let different: BTreeSet<&Value> = done.iter().flatten().collect();
    assert_eq!(done.iter().flatten().count(), UNITS, "each once");
    assert_eq!(different.len(), UNITS, "and all of them");
    let counts = client.ok("count_work_units", [text("s")]);
    assert_eq!(counts, Value::Map([(int(4), int(UNITS as u64))].into()));
    let options = map([("limit", int(10_000))]);
    let units = items(client.ok("get_work_units", [text("s"), options]));
    for (number, unit) in (0..).zip(units) {
        let result = map([("square", int(number * number))]);
        assert_eq!(items(unit).swap_remove(1), result);
    }
    daemon.stop();
}
