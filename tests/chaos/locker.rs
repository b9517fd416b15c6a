//! Locks around work: few paths, some above others, so that workers are in each other's way.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use serde_cbor::Value;
use tokio::time::sleep;

use crate::{
    checker::history::{Call, Event, Lock, LockAsk, ReadLock},
    record::Recorder,
    rpc::Rpc,
    value::{items, text},
    words::{self, seconds, string},
};

/// Tries to take some locks; if it gets them, holds them for a while, perhaps renews them,
/// and gives them back or forgets to.
pub async fn hold_some(rpc: &mut Rpc, recorder: &Arc<Recorder>, owner: String) {
    let timeout = 500_000 + 250_000 * rpc.random.u64(0..5);
    let paths = paths(&mut rpc.random);
    let holder = Holder {
        owner,
        paths,
        recorder,
    };
    let has_it = match holder.call(rpc, LockAsk::Take(timeout)).await {
        Some(has_it) => has_it,
        None => holder.is_owner(rpc).await,
    };
    if !has_it {
        return;
    }
    recorder.locks.fetch_add(1, Relaxed);
    // One in ten comes back when others may have them, who must not notice.
    let hold = match rpc.random.u32(0..10) {
        0 => timeout / 1_000 + rpc.random.u64(0..300),
        _ => rpc.random.u64(0..100),
    };
    sleep(Duration::from_millis(hold)).await; // reason: others try to get them meanwhile
    let is_renewed = rpc.random.u32(0..4) == 0;
    if is_renewed && holder.call(rpc, LockAsk::Renew(timeout)).await != Some(false) {
        let hold = rpc.random.u64(0..200);
        sleep(Duration::from_millis(hold)).await; // reason: as above
    }
    if rpc.random.u32(0..10) > 0 {
        holder.call(rpc, LockAsk::Release).await;
    }
}

fn paths(random: &mut fastrand::Rng) -> Vec<Vec<String>> {
    let mut path = |parts: usize| {
        let number = |random: &mut fastrand::Rng| random.u32(0..4).to_string();
        let labels = (0..parts).map(|_| number(random));
        std::iter::once("shelf".to_owned()).chain(labels).collect()
    };
    // Rarely all of it. If there are two they do not overlap, or there would be no taking
    // them together.
    let mut paths: Vec<Vec<String>> = vec![path(2)];
    let mut other: Vec<String> = path(1);
    other[0] = "box".to_owned();
    match random.u32(0..20) {
        0 => paths[0].truncate(1),
        1..6 => paths[0].truncate(2),
        6..12 => paths.push(other),
        _ => {}
    }
    paths
}

/// Somebody who wants locks, once.
struct Holder<'a> {
    owner: String,
    paths: Vec<Vec<String>>,
    recorder: &'a Recorder,
}

impl Holder<'_> {
    async fn call(&self, rpc: &mut Rpc, ask: LockAsk) -> Option<bool> {
        let (owner, paths) = (text(&self.owner), self.keys());
        let (reply, call) = match ask {
            LockAsk::Take(time) => rpc.call("lock", [owner, seconds(time), paths]).await,
            LockAsk::Renew(time) => rpc.call("renew", [owner, seconds(time), paths]).await,
            LockAsk::Release => rpc.call("unlock", [owner, paths]).await,
        };
        let answer = words::pair(reply, self.recorder);
        let answer = answer.map(|(answer, _)| answer == Value::Bool(true));
        self.recorder.write(&Event::Lock(Lock {
            call,
            owner: self.owner.clone(),
            paths: self.paths.clone(),
            ask,
            answer,
        }));
        answer
    }

    /// Whether it got them after all: what there is to do about a lost reply.
    async fn is_owner(&self, rpc: &mut Rpc) -> bool {
        let (reply, call) = rpc.call("readlock", [self.keys()]).await;
        let Some(owners) = words::result(reply, self.recorder) else {
            return false;
        };
        let owners = items(owners).into_iter().map(|owner| match owner {
            Value::Null => None,
            owner => Some(string(owner)),
        });
        let owners: Vec<Option<String>> = owners.collect();
        for (path, owner) in self.paths.iter().zip(&owners) {
            self.read(call, path, owner.clone());
        }
        owners
            .iter()
            .all(|owner| owner.as_ref() == Some(&self.owner))
    }

    fn read(&self, call: Call, path: &[String], owner: Option<String>) {
        self.recorder.write(&Event::ReadLock(ReadLock {
            call,
            path: path.to_vec(),
            owner,
        }));
    }

    fn keys(&self) -> Value {
        let label = |label: &String| text(label);
        let path = |path: &Vec<String>| Value::Array(path.iter().map(label).collect());
        Value::Array(self.paths.iter().map(path).collect())
    }
}
