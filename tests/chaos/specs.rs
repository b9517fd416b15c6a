//! The work specs of a run: two chains that end in one, limits, and units that the server
//! makes.

use serde_cbor::Value;

use crate::{
    checker::history::Spec,
    client::map,
    value::{int, text},
    words::seconds,
};

/// Where most units are added.
pub const FIRST: &str = "first";
/// Where some are added, of which few may run at once.
pub const NARROW: &str = "narrow";
/// What the server makes units of.
pub const TICKS: &str = "ticks";

/// All of them, those first that put units into others.
pub fn all() -> Vec<Spec> {
    let spec = |name: &str, max_running, then: Option<&str>| Spec {
        name: name.to_owned(),
        max_running,
        then: then.map(str::to_owned),
        interval: None,
    };
    vec![
        spec(FIRST, 0, Some("second")),
        spec(NARROW, 3, Some("third")),
        spec("second", 20, Some("third")),
        spec("third", 0, None),
        Spec {
            interval: Some(300_000),
            // No other is made while there is one.
            ..spec(TICKS, 1, None)
        },
    ]
}

/// Whether its units are added by a client.
pub fn is_source(name: &str) -> bool {
    [FIRST, NARROW].contains(&name)
}

/// Whether the output of its units goes anywhere.
pub fn has_next(name: &str) -> bool {
    all()
        .iter()
        .any(|spec| spec.name == name && spec.then.is_some())
}

/// What is sent to set it.
pub fn definition(spec: &Spec) -> Value {
    let mut definition = vec![("name", text(&spec.name))];
    if let Some(then) = &spec.then {
        definition.push(("then", text(then)));
    }
    match spec.interval {
        Some(interval) => {
            definition.push(("continuous", true.into()));
            definition.push(("interval", seconds(interval)));
        }
        // The other one's limit follows from what it is.
        None => definition.push(("max_running", int(spec.max_running as u64))),
    }
    let definition = definition.into_iter().map(|(k, v)| (text(k), v));
    Value::Map(definition.collect())
}

/// Ends the making of units.
pub fn no_more() -> Value {
    map([("continuous", false.into())])
}
