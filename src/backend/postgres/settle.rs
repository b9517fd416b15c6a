//! Ending many attempts at once, which is most of what workers ask for.
//!
//! What [`CHANGE`](super::change) does for any change, this does for those that finish or
//! fail a unit under a lease that goes on, and lead to no other units: one conditional
//! update, without looking at the unit first. What it does not find as expected it leaves
//! alone, for `CHANGE` to judge.
//!
//! It takes its rows by id and not by key. Units that were added together have ids in the
//! order of their keys, so two daemons meet in a circle only over units that they both have
//! reason to end, and that were added apart; the database then lets one try again.

use std::collections::HashMap;

use super::{
    Store,
    change::{Asked, Made},
    row::{self, get, unexpected},
    specs::Known,
    statement::Statement,
};
use crate::{
    backend::{ActiveAttempt, Result},
    clock::Timestamp,
    model::{Effect, Phase},
};

/// `$1` spec, `$2` its version, `$3` now; for each change `$4` unit, `$5` attempt, `$6`
/// status, `$7` data.
static SETTLE: Statement = Statement::resolved("settle", include_str!("sql/settle.sql"));

/// Whether these may be made without looking first. For a single one that is not worth a
/// round trip, should it turn out to be different.
pub(super) fn are_plain(changes: &[&Asked]) -> bool {
    let is_plain = |asked: &&Asked| {
        let change = &asked.change;
        matches!(change.effect, Effect::Finish | Effect::Fail)
            && change.phase == Phase::Open
            && change.attempt.is_some()
    };
    changes.len() > 1 && changes.iter().all(is_plain)
}

impl Store {
    /// Ends attempts of different units; for each change what came of it, or nothing if
    /// the unit is not as expected. `None` if the spec is not what is known of it.
    pub(super) async fn settle(
        &self,
        known: &Known,
        changes: &[&Asked],
    ) -> Result<Option<Vec<Option<Made>>>> {
        let now = changes.iter().map(|asked| asked.now).max();
        let now = now.unwrap_or(Timestamp::EPOCH).as_micros();
        let all = || changes.iter().map(|asked| &asked.change);
        let units: Vec<i64> = all().map(|c| row::signed(c.unit.get())).collect();
        let attempts = all().map(|c| c.attempt.map(|attempt| row::signed(attempt.get())));
        let attempts: Vec<Option<i64>> = attempts.collect();
        let statuses = all().map(|c| if c.effect == Effect::Finish { 4 } else { 5 });
        let statuses: Vec<i16> = statuses.collect();
        let data: Vec<Option<&[u8]>> = all().map(|c| c.data.as_deref()).collect();
        let (spec, version) = (row::signed(known.id.get()), known.version);
        let rows = self
            .pool
            .query(
                &SETTLE,
                &[&spec, &version, &now, &units, &attempts, &statuses, &data],
            )
            .await?;
        let first = rows.first().ok_or_else(|| unexpected("answer"))?;
        if !get::<bool>(first, 0)? {
            return Ok(None);
        }
        let mut made = HashMap::with_capacity(rows.len());
        for row in &rows {
            if let Some(unit) = get::<Option<i64>>(row, 1)? {
                let (status, attempt) = (get(row, 2)?, row::attempt(row, 3, 4)?);
                let active = ActiveAttempt {
                    unit: row::unit_id(row, 1)?,
                    phase: row::phase(status, attempt.is_some()),
                    attempt,
                };
                made.insert(unit, Made::ended(active, status));
            }
        }
        Ok(Some(units.iter().map(|unit| made.remove(unit)).collect()))
    }
}
