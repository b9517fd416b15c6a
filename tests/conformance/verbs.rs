//! What clients do in the cases, in the words of the domain.

use coordinated::{backend::Backend, model::StringType};
use serde_cbor::Value;

use crate::support::{Client, bytes, get, int, items, list, map, text, texts};

/// A unit that was handed out.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    pub spec: String,
    pub key: String,
    pub data: Value,
}

/// A name out of a reply, whichever string type it is.
pub fn name(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?} is no name"),
    }
}

/// The string type of a value.
pub fn string_type(value: &Value) -> StringType {
    match value {
        Value::Text(_) => StringType::Text,
        Value::Bytes(_) => StringType::Bytes,
        other => panic!("{other:?} is no string"),
    }
}

fn work(tuple: Value) -> Option<Work> {
    let tuple = items(tuple);
    if tuple[0] == Value::Null {
        return None;
    }
    Some(Work {
        spec: name(&tuple[0]),
        key: name(&tuple[1]),
        data: tuple[2].clone(),
    })
}

impl<B: Backend> Client<B> {
    /// Sets a spec of this name with these further keys.
    pub async fn spec<const N: usize>(&mut self, name: &str, keys: [(&str, Value); N]) {
        let mut definition = map(keys);
        if let Value::Map(map) = &mut definition {
            map.insert(text("name"), text(name));
        }
        assert_eq!(
            self.ok("set_work_spec", vec![definition]).await,
            Value::Bool(true)
        );
    }

    /// Adds units of these keys without data.
    pub async fn add<const N: usize>(&mut self, spec: &str, keys: [&str; N]) {
        self.add_items(spec, texts(keys)).await;
    }

    /// Adds units as they stand.
    pub async fn add_items(&mut self, spec: &str, units: Value) {
        let added = self.ok("add_work_units", vec![text(spec), units]).await;
        assert_eq!(added, Value::Bool(true));
    }

    /// Takes one unit for a worker, with these options.
    pub async fn take_with<const N: usize>(
        &mut self,
        worker: &str,
        options: [(&str, Value); N],
    ) -> Option<Work> {
        work(self.ok("get_work", vec![text(worker), map(options)]).await)
    }

    /// Takes one unit for a worker; its key.
    pub async fn take(&mut self, worker: &str) -> Option<String> {
        self.take_with(worker, []).await.map(|work| work.key)
    }

    /// Takes up to `count` units; their keys.
    pub async fn take_many(&mut self, worker: &str, count: u32) -> Vec<String> {
        let options = map([("max_jobs", int(count))]);
        let jobs = items(self.ok("get_work", vec![text(worker), options]).await);
        jobs.into_iter()
            .filter_map(work)
            .map(|work| work.key)
            .collect()
    }

    /// Takes one unit for so many seconds.
    pub async fn take_for(&mut self, worker: &str, seconds: u32) -> Option<String> {
        let work = self.take_with(worker, [("lease_time", int(seconds))]).await;
        work.map(|work| work.key)
    }

    /// Updates a unit; true, or the reason why not.
    pub async fn update<const N: usize>(
        &mut self,
        spec: &str,
        key: &str,
        options: [(&str, Value); N],
    ) -> Result<(), String> {
        let params = vec![text(spec), text(key), map(options)];
        match self.pair("update_work_unit", params).await {
            (Value::Bool(true), None) => Ok(()),
            (Value::Bool(false), message) => Err(message.expect("a refusal says why")),
            other => panic!("update_work_unit answered {other:?}"),
        }
    }

    /// Updates a unit with an impossible request; the error.
    pub async fn bad_update(&mut self, spec: &str, key: &str, status: u32) -> String {
        let params = vec![text(spec), text(key), map([("status", int(status))])];
        self.try_call("update_work_unit", params).await.unwrap_err()
    }

    /// Moves a unit to a status.
    pub async fn set_status(&mut self, spec: &str, key: &str, status: u32) -> Result<(), String> {
        self.update(spec, key, [("status", int(status))]).await
    }

    /// Finishes a unit.
    pub async fn finish(&mut self, spec: &str, key: &str) {
        assert_eq!(self.set_status(spec, key, 4).await, Ok(()));
    }

    /// The counts of available (with delayed), pending, finished and failed units.
    pub async fn counts(&mut self, spec: &str) -> [u32; 4] {
        let counts = self.ok("count_work_units", vec![text(spec)]).await;
        let Value::Map(counts) = counts else {
            panic!("{counts:?} are no counts")
        };
        let known: Vec<_> = [1, 3, 4, 5].map(int).into();
        assert!(
            counts.keys().all(|status| known.contains(status)),
            "{counts:?}"
        );
        [1, 3, 4, 5].map(|status| match counts.get(&int(status)) {
            Some(Value::Integer(0)) => panic!("zero counts are left out"),
            Some(Value::Integer(count)) => u32::try_from(*count).unwrap(),
            Some(other) => panic!("{other:?} is no count"),
            None => 0,
        })
    }

    /// What `get_work_unit_status` says of one unit.
    pub async fn status(&mut self, spec: &str, key: &str) -> Value {
        let params = vec![text(spec), texts([key])];
        items(self.ok("get_work_unit_status", params).await).remove(0)
    }

    /// The status number of one unit.
    pub async fn status_number(&mut self, spec: &str, key: &str) -> i128 {
        match get(&self.status(spec, key).await, "status") {
            Value::Integer(status) => status,
            other => panic!("{other:?} is no status"),
        }
    }

    /// The data of one unit; nil if there is no such unit.
    pub async fn data(&mut self, spec: &str, key: &str) -> Value {
        let options = map([("work_unit_keys", list([bytes(key.as_bytes())]))]);
        let pairs = self.ok("get_work_units", vec![text(spec), options]).await;
        items(items(pairs).remove(0)).remove(1)
    }

    /// The keys of the units that match.
    pub async fn keys<const N: usize>(
        &mut self,
        spec: &str,
        options: [(&str, Value); N],
    ) -> Vec<String> {
        let pairs = items(
            self.ok("get_work_units", vec![text(spec), map(options)])
                .await,
        );
        pairs
            .into_iter()
            .map(|pair| name(&items(pair)[0]))
            .collect()
    }

    /// Sends a heartbeat for `seconds`, with a parent or nil.
    pub async fn beat(&mut self, worker: &str, parent: Value, seconds: u32) {
        let params = vec![text(worker), text("RUN"), int(seconds), map([]), parent];
        assert_eq!(self.ok("worker_heartbeat", params).await, Value::Bool(true));
    }
}
