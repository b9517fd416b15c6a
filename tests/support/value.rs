//! Short ways to write and to take apart CBOR values. (serde_cbor drops tags, so a
//! tuple is a list here; the golden tests look at the bytes.)

use serde_cbor::Value;

/// A text string.
pub fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A byte string.
pub fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

/// An integer.
pub fn int(number: impl Into<i128>) -> Value {
    Value::Integer(number.into())
}

/// A list.
pub fn list<const N: usize>(items: [Value; N]) -> Value {
    Value::Array(items.into())
}

/// A list of text strings.
pub fn texts<const N: usize>(items: [&str; N]) -> Value {
    list(items.map(text))
}

/// The value of one text key of a map.
pub fn get(map: &Value, key: &str) -> Value {
    match map {
        Value::Map(map) => match map.get(&text(key)) {
            Some(value) => value.clone(),
            None => panic!("no {key} in {map:?}"),
        },
        other => panic!("{other:?} is no map"),
    }
}

/// Whether a map has a text key.
pub fn has(map: &Value, key: &str) -> bool {
    matches!(map, Value::Map(map) if map.contains_key(&text(key)))
}

/// The items of a list.
pub fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        other => panic!("{other:?} is no list"),
    }
}
