//! The end of a run: until all is done, and what there is then.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use serde_cbor::Value;
use tokio::time::sleep;

use crate::{
    checker::history::{Count, Event, Micros, Unit},
    client::map,
    record::Recorder,
    rpc::Rpc,
    specs,
    value::{get, int, items, text},
    words::{self, json, number, status, string},
};

/// Units on a page.
const PAGE: u64 = 2_000;

/// Longest time in which nothing is finished though there is work: leases end within
/// three seconds.
const STALL_MAX: Micros = 20_000_000;

/// What it all came to.
#[derive(Default, Debug)]
pub struct Totals {
    pub units: usize,
    pub attempts: u64,
}

/// Waits until every unit is finished, the server's own too.
pub async fn drained(rpc: &mut Rpc, recorder: &Recorder) -> Result<(), String> {
    let mut last = (0, recorder.now());
    loop {
        let mut left = BTreeMap::new();
        for spec in specs::all() {
            // Nothing more comes into a spec once those before it are done.
            let counts = count(rpc, recorder, &spec.name).await;
            match counts {
                Some(counts) if counts.keys().all(|status| *status == 4) => {}
                counts => {
                    left.insert(spec.name, counts);
                    break;
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let (finished, now) = (recorder.finished.load(Relaxed), recorder.now());
        if finished > last.0 {
            last = (finished, now);
        }
        if now - last.1 > STALL_MAX {
            return Err(format!("nothing was finished for {STALL_MAX} µs: {left:?}"));
        }
        sleep(Duration::from_millis(50)).await; // reason: until workers have done more
    }
}

async fn count(rpc: &mut Rpc, recorder: &Recorder, spec: &str) -> Option<BTreeMap<u8, usize>> {
    let (reply, _) = rpc.call("count_work_units", [text(spec)]).await;
    let (counts, _) = words::pair(reply, recorder)?;
    let Value::Map(counts) = counts else {
        panic!("no counts: {counts:?}");
    };
    let counts = counts.iter().map(|(status, count)| {
        let (status, count) = (number(status), number(count));
        (
            u8::try_from(status).unwrap(),
            usize::try_from(count).unwrap(),
        )
    });
    Some(counts.collect())
}

/// Writes down what every daemon counts.
pub async fn write_counts(rpc: &mut Rpc, recorder: &Recorder, daemon: usize) {
    for spec in specs::all() {
        let counts = count(rpc, recorder, &spec.name).await;
        recorder.write(&Event::Count(Count {
            daemon,
            spec: spec.name,
            counts: counts
                .expect("nothing is broken any more")
                .into_iter()
                .collect(),
        }));
    }
}

/// Writes down every unit. Each page comes from whichever daemon.
pub async fn write_units(rpc: &mut Rpc, recorder: &Arc<Recorder>) -> Totals {
    let mut totals = Totals::default();
    for spec in specs::all() {
        let mut start = Value::Null;
        loop {
            let options = map([("start", start.clone()), ("limit", int(PAGE))]);
            let (reply, _) = rpc
                .call("get_work_units", [text(&spec.name), options])
                .await;
            rpc.hang_up();
            let (page, _) = words::pair(reply, recorder).expect("nothing is broken any more");
            let units: Vec<[Value; 2]> = items(page)
                .into_iter()
                .map(|unit| items(unit).try_into().unwrap())
                .collect();
            let Some([last, _]) = units.last() else {
                break;
            };
            start = last.clone();
            let keys = units.iter().map(|[key, _]| key.clone()).collect();
            let params = [text(&spec.name), Value::Array(keys)];
            let (reply, _) = rpc.call("get_work_unit_status", params).await;
            let (statuses, _) = words::pair(reply, recorder).expect("as above");
            for ([key, data], found) in units.into_iter().zip(items(statuses)) {
                let unit = Unit {
                    spec: spec.name.clone(),
                    key: string(key),
                    status: status(&found).map_or(0, |status| u8::try_from(status).unwrap()),
                    attempt: attempt(&found),
                    attempts: number(&get(&found, "attempts")),
                    data: json(&data),
                };
                totals.units += 1;
                totals.attempts += unit.attempts;
                recorder.write(&Event::Unit(unit));
            }
        }
    }
    totals
}

fn attempt(status: &Value) -> Option<u64> {
    match status {
        Value::Map(map) => map.get(&text("attempt_id")).map(number),
        _ => None,
    }
}
