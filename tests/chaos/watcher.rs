//! Looks, while workers finish units, whether a finish and what it chains are ever seen
//! one without the other.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_cbor::Value;
use tokio::time::sleep;

use crate::{
    checker::history::{Event, Grant, Look, Seen},
    client::map,
    output::Output,
    record::Recorder,
    rpc::Rpc,
    specs,
    value::{items, list, text},
    words::{self, status},
};

/// Looks at one unit.
const LOOKS: usize = 4;
/// Units that wait to be looked at; older ones are done by now.
const WATCHED_MAX: usize = 8;

/// Units that are about to be finished, with the units that shall come of it.
#[derive(Default)]
pub struct Watched(Mutex<VecDeque<Family>>);

#[derive(Clone)]
struct Family {
    parent: (String, String),
    children: (String, Vec<String>),
}

impl Watched {
    /// A worker is about to finish this.
    pub fn announce(&self, grant: &Grant, output: &Output) {
        let specs = specs::all();
        let then = specs.into_iter().find(|spec| spec.name == grant.spec);
        let Some(then) = then.and_then(|spec| spec.then) else {
            return;
        };
        if output.units.is_empty() {
            return;
        }
        let children = output.units.iter().map(|unit| unit.key.clone());
        let mut watched = self.0.lock().unwrap();
        watched.push_back(Family {
            parent: (grant.spec.clone(), grant.key.clone()),
            children: (then, children.collect()),
        });
        if watched.len() > WATCHED_MAX {
            watched.pop_front();
        }
    }

    fn next(&self) -> Option<Family> {
        self.0.lock().unwrap().pop_back()
    }
}

/// Looks until the run is over. Through changing daemons: what one has said, all say.
pub async fn watch(watched: Arc<Watched>, mut rpc: Rpc, recorder: Arc<Recorder>) {
    while !recorder.is_over() {
        let Some(family) = watched.next() else {
            sleep(Duration::from_millis(5)).await; // reason: until a worker finishes something
            continue;
        };
        for _ in 0..LOOKS {
            // What is looked at second must not be behind what was looked at first.
            if rpc.random.bool() {
                at_parent(&mut rpc, &recorder, &family).await;
                at_children(&mut rpc, &recorder, &family).await;
            } else {
                at_children(&mut rpc, &recorder, &family).await;
                at_parent(&mut rpc, &recorder, &family).await;
            }
            if rpc.random.u32(0..8) == 0 {
                rpc.hang_up();
            }
        }
    }
}

async fn at_parent(rpc: &mut Rpc, recorder: &Recorder, family: &Family) {
    let (spec, key) = family.parent.clone();
    let params = [text(&spec), list([text(&key)])];
    let (reply, call) = rpc.call("get_work_unit_status", params).await;
    let Some((statuses, _)) = words::pair(reply, recorder) else {
        return;
    };
    let seen = match items(statuses).first().and_then(status) {
        None => Seen::Missing,
        Some(4) => Seen::Finished,
        Some(_) => Seen::Unfinished,
    };
    recorder.write(&Event::Look(Look {
        call,
        spec,
        key,
        seen,
    }));
}

async fn at_children(rpc: &mut Rpc, recorder: &Recorder, family: &Family) {
    let (spec, keys) = &family.children;
    let keys = Value::Array(keys.iter().map(|key| text(key)).collect());
    let options = map([("work_unit_keys", keys)]);
    let (reply, call) = rpc.call("get_work_units", [text(spec), options]).await;
    let Some((units, _)) = words::pair(reply, recorder) else {
        return;
    };
    for unit in items(units) {
        let [key, data] = <[Value; 2]>::try_from(items(unit)).unwrap();
        let seen = match data {
            Value::Null => Seen::Missing,
            _ => Seen::Present,
        };
        recorder.write(&Event::Look(Look {
            call,
            spec: spec.clone(),
            key: words::string(key),
            seen,
        }));
    }
}
