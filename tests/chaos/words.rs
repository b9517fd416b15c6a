//! Values of the protocol, as the history has them.

use std::sync::atomic::Ordering::Relaxed;

use serde_cbor::Value;

use crate::{
    checker::history::{Grant, Micros},
    record::Recorder,
    rpc::Reply,
    value::{get, items},
};

/// The value and the message of a pair; nothing if there is no telling what happened.
pub fn pair(reply: Reply, recorder: &Recorder) -> Option<(Value, Value)> {
    let [value, message] = <[Value; 2]>::try_from(items(result(reply, recorder)?)).unwrap();
    Some((value, message))
}

/// The result; nothing if there is no telling what happened.
pub fn result(reply: Reply, recorder: &Recorder) -> Option<Value> {
    match reply {
        Reply::Result(value) => Some(value),
        Reply::Error(message) => {
            let is_outage = message.starts_with("the backend") || message.contains("try again");
            assert!(is_outage, "{message}");
            recorder.errors.fetch_add(1, Relaxed);
            None
        }
        Reply::Lost => None,
    }
}

/// A unit with its attempt, as `get_work` gives it; nothing if it gave none.
pub fn grant(unit: Value) -> Option<Grant> {
    let unit = items(unit);
    let [spec, key, data, attempt] = match <[Value; 4]>::try_from(unit) {
        Ok(unit) => unit,
        Err(none) => {
            assert!(none.iter().all(|part| *part == Value::Null), "{none:?}");
            return None;
        }
    };
    if key == Value::Null {
        return None;
    }
    Some(Grant {
        spec: string(spec),
        key: string(key),
        data: json(&data),
        attempt: number(&get(&attempt, "attempt_id")),
        number: number(&get(&attempt, "attempt")),
        expires: micros(&get(&attempt, "expires")),
    })
}

/// The status of a unit in the reply to `get_work_unit_status`.
pub fn status(status: &Value) -> Option<i128> {
    match status {
        Value::Null => None,
        status => match get(status, "status") {
            Value::Integer(status) => Some(status),
            other => panic!("no status: {other:?}"),
        },
    }
}

pub fn string(value: Value) -> String {
    match value {
        Value::Text(text) => text,
        other => panic!("no text: {other:?}"),
    }
}

pub fn number(value: &Value) -> u64 {
    match value {
        Value::Integer(number) => u64::try_from(*number).unwrap(),
        other => panic!("no integer: {other:?}"),
    }
}

fn micros(value: &Value) -> u64 {
    match value {
        Value::Float(seconds) => (seconds * 1e6).round() as u64,
        other => panic!("no float: {other:?}"),
    }
}

/// Data as text: the same data is the same text, as its maps are in order.
pub fn json(value: &Value) -> String {
    serde_json::to_string(value).unwrap()
}

/// A time as requests have it.
pub fn seconds(micros: Micros) -> Value {
    Value::Float(micros as f64 / 1e6)
}
