//! The parameters of the statement that makes changes: a column for each thing that is said
//! of them.

use tokio_postgres::types::ToSql;

use super::{change::Change, row};
use crate::{
    backend::UnitChange,
    clock::Timestamp,
    limits::{CLOCKS_APART_MAX, LEASE_DEFAULT},
    model::{Effect, Outcome, Phase},
};

/// The kind of a change that makes an attempt.
const START: i16 = 2;

/// A phase that no unit is in.
const NO_PHASE: i16 = -1;

/// The parameters of [`CHANGE`].
pub(super) struct ChangeColumns<'a> {
    pub(super) spec: i64,
    version: i64,
    now: i64,
    room: i64,
    pub(super) units: Vec<i64>,
    phases: Vec<i16>,
    attempts: Vec<Option<i64>>,
    kinds: Vec<i16>,
    outcomes: Vec<Option<i16>>,
    times: Vec<Option<i64>>,
    workers: Vec<Option<&'a [u8]>>,
    data: Vec<Option<&'a [u8]>>,
    expected: Vec<Option<&'a [u8]>>,
    doubtful: i64,
    holds_spec: Option<bool>,
    renewed: i64,
    history: i64,
}

impl<'a> ChangeColumns<'a> {
    /// `holds_spec` is whether the spec's row is locked, if the statement is to decide whether
    /// there is room.
    pub(super) fn of(of: &Change<'a>, holds_spec: Option<bool>) -> ChangeColumns<'a> {
        let n = of.changes.len();
        let mut columns = ChangeColumns {
            spec: row::signed(of.known.id.get()),
            version: of.known.version,
            now: of.now.as_micros(),
            room: row::signed(of.known.options.max_running),
            units: Vec::with_capacity(n),
            phases: Vec::with_capacity(n),
            attempts: Vec::with_capacity(n),
            kinds: Vec::with_capacity(n),
            outcomes: Vec::with_capacity(n),
            times: Vec::with_capacity(n),
            workers: Vec::with_capacity(n),
            data: Vec::with_capacity(n),
            expected: Vec::with_capacity(n),
            doubtful: match holds_spec {
                Some(_) => i64::MAX,
                None => of.now.after(CLOCKS_APART_MAX).as_micros(),
            },
            holds_spec,
            renewed: of.now.after(LEASE_DEFAULT).as_micros(),
            history: of.history,
        };
        for (index, asked) in of.changes.iter().enumerate() {
            let change = &asked.change;
            check(change);
            let is_resolved = of.resolved.get(index) == Some(&true);
            columns.units.push(row::signed(change.unit.get()));
            columns.phases.push(match is_resolved {
                true => NO_PHASE,
                false => change.phase as i16,
            });
            let attempt = change.attempt.map(|attempt| row::signed(attempt.get()));
            columns.attempts.push(attempt);
            let (kind, outcome, time) = encode(&change.effect, asked.now);
            columns.kinds.push(kind);
            columns.outcomes.push(outcome);
            columns.times.push(time.map(Timestamp::as_micros));
            let worker = change.worker.as_ref().map_or("", |worker| worker.as_str());
            let worker = (kind == START).then_some(worker.as_bytes());
            columns.workers.push(worker);
            columns.data.push(change.data.as_deref());
            columns.expected.push(of.chains.expected(index));
        }
        columns
    }

    pub(super) fn params(&self) -> [&(dyn ToSql + Sync); 17] {
        [
            &self.spec,
            &self.version,
            &self.now,
            &self.room,
            &self.units,
            &self.phases,
            &self.attempts,
            &self.kinds,
            &self.outcomes,
            &self.times,
            &self.workers,
            &self.data,
            &self.expected,
            &self.doubtful,
            &self.holds_spec,
            &self.renewed,
            &self.history,
        ]
    }

    /// Those of the statement that looks what became of the changes.
    pub(super) fn looking(&self) -> [&(dyn ToSql + Sync); 9] {
        [
            &self.spec,
            &self.now,
            &self.history,
            &self.units,
            &self.phases,
            &self.attempts,
            &self.kinds,
            &self.workers,
            &self.data,
        ]
    }
}

/// An effect as the statement has it: its kind, the status an attempt starts with, and
/// when the unit's lease or delay ends.
fn encode(effect: &Effect, now: Timestamp) -> (i16, Option<i16>, Option<Timestamp>) {
    let delayed = |delay: std::time::Duration| (!delay.is_zero()).then(|| now.after(delay));
    match *effect {
        Effect::Prepare { delay } => (1, None, delayed(delay)),
        Effect::Start(Outcome::Pending(lease)) => (START, Some(3), Some(now.after(lease))),
        Effect::Start(Outcome::Finished) => (START, Some(4), Some(now)),
        Effect::Start(Outcome::Failed) => (START, Some(5), Some(now)),
        Effect::Renew { lease } => (3, None, lease.map(|lease| now.after(lease))),
        Effect::Clear { delay } => (4, None, delayed(delay)),
        Effect::Finish => (5, None, None),
        Effect::Fail => (6, None, None),
    }
}

/// An effect that the table does not allow would break what the unit promises.
fn check(change: &UnitChange) {
    let is_allowed = match change.effect {
        Effect::Prepare { .. } | Effect::Start(_) => change.phase == Phase::Idle,
        Effect::Renew { .. } | Effect::Fail => change.phase == Phase::Open,
        Effect::Clear { .. } => change.phase != Phase::Idle,
        Effect::Finish => matches!(change.phase, Phase::Open | Phase::Failed),
    };
    let (effect, phase) = (&change.effect, change.phase);
    assert!(is_allowed, "{effect:?} of a unit that is {phase:?}");
}
