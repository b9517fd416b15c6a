//! What a worker makes of a unit: data, and units for the next spec in its output.

use serde_cbor::Value;

use crate::{
    checker::history::{Grant, New},
    client::map,
    specs,
    value::{int, list, text},
    words::{json, seconds},
};

/// Data for a finish, and the units that come of it.
pub struct Output {
    pub data: Value,
    pub units: Vec<New>,
}

impl Output {
    /// Keys are those of the attempt alone: if it was not the one that finished the unit,
    /// that shows.
    pub fn of(grant: &Grant, random: &mut fastrand::Rng) -> Output {
        let children = match (specs::has_next(&grant.spec), random.u32(0..10)) {
            (false, _) | (true, 0..6) => 0,
            (true, 6..9) => 1,
            (true, _) => random.usize(2..5),
        };
        let attempt = int(grant.attempt);
        let mut units: Vec<New> = (0..children)
            .map(|part| New {
                key: format!("{}/{}.{part}", grant.key, grant.attempt),
                data: String::new(),
                delay: 0,
            })
            .collect();
        // A map can say no more than key and data, a list of keys no more than keys.
        let output = match random.u32(0..4) {
            0 => {
                let keys = units.iter().map(|unit| text(&unit.key));
                Value::Array(keys.collect())
            }
            1 => {
                let entries = units.iter().map(|unit| (text(&unit.key), made_of(grant)));
                Value::Map(entries.collect())
            }
            form => {
                let mut entries: Vec<Value> = Vec::new();
                for (unit, part) in units.iter_mut().zip(0..) {
                    let key = text(&unit.key);
                    if part == 1 {
                        // A later one for the same key counts.
                        entries.push(list([key.clone(), map([("first", int(1))])]));
                    }
                    unit.delay = 200_000 * random.u64(0..3);
                    let delay = seconds(unit.delay);
                    let meta = map([("delay", delay), ("priority", int(part))]);
                    let mut entry = vec![key, made_of(grant), meta];
                    if form == 3 {
                        entry.push(int(2 * part));
                    }
                    entries.push(Value::Array(entry));
                }
                Value::Array(entries)
            }
        };
        for unit in &mut units {
            unit.data = match &output {
                Value::Array(entries) if matches!(entries.first(), Some(Value::Text(_))) => {
                    json(&map([]))
                }
                _ => json(&made_of(grant)),
            };
        }
        let mut data = vec![("by", attempt)];
        if children > 0 || random.bool() {
            data.push(("output", output));
        }
        let data = data.into_iter().map(|(key, value)| (text(key), value));
        Output {
            data: Value::Map(data.collect()),
            units,
        }
    }
}

/// The data of a unit that this attempt makes.
fn made_of(grant: &Grant) -> Value {
    map([("from", text(&grant.key)), ("attempt", int(grant.attempt))])
}
