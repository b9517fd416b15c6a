//! What a history says: one JSON object per line, in no order.
//!
//! Times are microseconds of one clock that all clients share, and that starts with the
//! run: `sent` is before the first byte of a request was written, `received` after the
//! last one of its reply was read. What a daemon did in between it did at some instant
//! between the two; if there was no reply, at any instant after the first, or never.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};

/// Microseconds since the run began, or a length of time.
pub type Micros = u64;

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Spec(Spec),
    Add(Add),
    Claim(Claim),
    Update(Update),
    Look(Look),
    Lock(Lock),
    ReadLock(ReadLock),
    Fault(Fault),
    Count(Count),
    Unit(Unit),
}

/// A work spec, set before all else.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    pub name: String,
    /// 0 is no limit.
    pub max_running: usize,
    pub then: Option<String>,
    /// For a spec whose units the server makes.
    pub interval: Option<Micros>,
}

/// When a call was made and answered.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Call {
    pub sent: Micros,
    /// Nothing if the reply was lost.
    pub received: Option<Micros>,
}

/// A unit as it was put into a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct New {
    pub key: String,
    pub data: String,
    /// It may not be handed out earlier than so long after it was put there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay: Micros,
}

/// Units were added by a client, all or none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Add {
    pub call: Call,
    pub spec: String,
    pub units: Vec<New>,
    /// Whether it was acknowledged. If not, they may be there or not.
    pub done: bool,
}

/// A worker asked for units and got these. Claims whose reply was lost say nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claim {
    pub call: Call,
    pub worker: String,
    pub lease: Micros,
    pub units: Vec<Grant>,
}

/// A unit in the reply to a claim.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Grant {
    pub spec: String,
    pub key: String,
    pub data: String,
    pub attempt: u64,
    /// Which attempt of the unit this is, from 1.
    pub number: u64,
    /// When the lease ends, in microseconds since 1970 by the server's clock.
    pub expires: u64,
}

/// What an update asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    Renew(Micros),
    Finish,
    /// Give it back, to be handed out not before so much later.
    Release(Micros),
}

/// A worker reported on a unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Update {
    pub call: Call,
    pub worker: String,
    pub spec: String,
    pub key: String,
    /// The attempt that it was given, and means.
    pub attempt: u64,
    pub ask: Ask,
    /// Data for the attempt, if the request had any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// Nothing if there was no answer but an error, or none.
    pub answer: Option<bool>,
}

/// Data of an attempt, and the units that its output names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    pub text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<New>,
}

/// Somebody looked whether a unit is finished, or exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Look {
    pub call: Call,
    pub spec: String,
    pub key: String,
    pub seen: Seen,
}

/// What a look saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    Missing,
    Present,
    Unfinished,
    Finished,
}

/// A call of `lock`, `renew` or `unlock`. Each owner takes locks once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lock {
    pub call: Call,
    pub owner: String,
    pub paths: Vec<Vec<String>>,
    pub ask: LockAsk,
    /// Nothing if there was no answer but an error, or none.
    pub answer: Option<bool>,
}

/// What is asked of locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockAsk {
    Take(Micros),
    Renew(Micros),
    Release,
}

/// Who was said to hold a lock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadLock {
    pub call: Call,
    pub path: Vec<String>,
    pub owner: Option<String>,
}

/// Something was broken on purpose, or mended. Nothing is concluded from it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    pub at: Micros,
    pub what: String,
}

/// After the run: how many units of each status one daemon counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Count {
    pub daemon: usize,
    pub spec: String,
    /// Status and number, in order, without zeros.
    pub counts: Vec<(u8, usize)>,
}

/// After the run: a unit as it is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unit {
    pub spec: String,
    pub key: String,
    pub status: u8,
    pub attempt: Option<u64>,
    pub attempts: u64,
    pub data: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Everything that is in a history, by kind.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub specs: Vec<Spec>,
    pub adds: Vec<Add>,
    pub claims: Vec<Claim>,
    pub updates: Vec<Update>,
    pub looks: Vec<Look>,
    pub locks: Vec<Lock>,
    pub read_locks: Vec<ReadLock>,
    pub faults: Vec<Fault>,
    pub counts: Vec<Count>,
    pub units: Vec<Unit>,
}

impl History {
    /// Reads a file.
    pub fn read(path: &Path) -> io::Result<History> {
        let mut history = History::default();
        for line in BufReader::new(File::open(path)?).lines() {
            history.push(serde_json::from_str(&line?)?);
        }
        Ok(history)
    }

    pub fn push(&mut self, event: Event) {
        match event {
            Event::Spec(spec) => self.specs.push(spec),
            Event::Add(add) => self.adds.push(add),
            Event::Claim(claim) => self.claims.push(claim),
            Event::Update(update) => self.updates.push(update),
            Event::Look(look) => self.looks.push(look),
            Event::Lock(lock) => self.locks.push(lock),
            Event::ReadLock(read) => self.read_locks.push(read),
            Event::Fault(fault) => self.faults.push(fault),
            Event::Count(count) => self.counts.push(count),
            Event::Unit(unit) => self.units.push(unit),
        }
    }
}
