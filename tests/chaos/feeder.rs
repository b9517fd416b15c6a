//! Puts specs and units in, half of these before anything happens and the rest meanwhile.

use std::{ops::Range, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use serde_cbor::Value;
use tokio::time::sleep;

use crate::{
    checker::history::{Add, Event, New},
    client::map,
    record::Recorder,
    rpc::{Reply, Rpc},
    specs::{self, FIRST, NARROW},
    value::{int, list, text},
    words::{self, json},
};

/// Units in one call, before anything happens and after.
const LARGE: usize = 1_000;
const SMALL: usize = 50;

/// One unit of so many goes where few may run.
const NARROW_SHARE: usize = 40;

/// Adds units, each of which gets a key of its own.
pub struct Feeder {
    rpc: Rpc,
    recorder: Arc<Recorder>,
    /// How many there are to be.
    units: usize,
    /// How many are there for certain.
    pub added: usize,
    next_key: usize,
}

impl Feeder {
    pub fn new(rpc: Rpc, recorder: Arc<Recorder>, units: usize) -> Feeder {
        Feeder {
            rpc,
            recorder,
            units,
            added: 0,
            next_key: 0,
        }
    }

    /// Sets the specs and adds the first half.
    pub async fn begin(&mut self) {
        for spec in specs::all() {
            let params = [specs::definition(&spec)];
            let (reply, _) = self.rpc.call("set_work_spec", params).await;
            let (is_set, _) = words::pair(reply, &self.recorder).unwrap();
            assert_eq!(is_set, Value::Bool(true));
            self.recorder.write(&Event::Spec(spec));
        }
        while self.added < self.units / 2 {
            self.add(LARGE.min(self.units / 2 - self.added)).await;
        }
    }

    /// Adds the rest, as fast as units are finished.
    pub async fn go_on(mut self) -> Feeder {
        let begun = self.added;
        while self.added < self.units && !self.recorder.is_over() {
            let finished = self.recorder.sources_finished.load(Relaxed);
            if begun + finished < self.added {
                sleep(Duration::from_millis(10)).await; // reason: until more are finished
                continue;
            }
            self.add(SMALL.min(self.units - self.added)).await;
        }
        self
    }

    /// A call that was not acknowledged is not made again: others take the place of its
    /// units, as adding a unit that was finished meanwhile would have it done again.
    async fn add(&mut self, count: usize) {
        let keys = self.next_key..self.next_key + count;
        self.next_key += count;
        let narrow = count / NARROW_SHARE;
        let middle = keys.start + narrow;
        self.add_to(NARROW, keys.start..middle).await;
        self.add_to(FIRST, middle..keys.end).await;
    }

    async fn add_to(&mut self, spec: &str, keys: Range<usize>) {
        if keys.is_empty() {
            return;
        }
        let data = |number: usize| map([("number", int(number as u64))]);
        let units = keys.clone().map(|number| New {
            key: format!("{number:07}"),
            data: json(&data(number)),
            delay: 0,
        });
        let units: Vec<New> = units.collect();
        let sent = keys.map(|number| list([text(&format!("{number:07}")), data(number)]));
        let params = [text(spec), Value::Array(sent.collect())];
        let (reply, call) = self.rpc.call("add_work_units", params).await;
        let done = match reply {
            Reply::Result(_) => words::pair(reply, &self.recorder).unwrap().0 == Value::Bool(true),
            Reply::Error(_) | Reply::Lost => false,
        };
        self.added += if done { units.len() } else { 0 };
        self.recorder.write(&Event::Add(Add {
            call,
            spec: spec.to_owned(),
            units,
            done,
        }));
    }
}
