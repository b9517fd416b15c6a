//! Finished and failed units that are kept no longer (semantics.md §10).
//!
//! They go in steps, each one statement: it deletes a bounded number of rows, ended
//! attempts included, takes the oldest first, skips units that someone else has locked,
//! and leaves at once if another daemon is at the same units of the spec. A step that
//! goes on where the last one ended looks only at what comes after, or, as long as
//! someone holds a snapshot, it would visit all that was deleted before.

use std::{collections::HashMap, sync::Mutex};

use super::{
    Store,
    row::{self, get, unexpected},
    statement::Statement,
};
use crate::{
    backend::{Error, Kind, Result},
    clock::Timestamp,
    limits::{ARCHIVE_PAUSE, ARCHIVE_ROWS_MAX, ARCHIVE_WAITS_MAX},
    model::{NamespaceId, SpecId},
};

/// No panic can leave what is behind the lock half changed.
const HELD: &str = "no panic while this is locked";

/// `$1` spec, `$2` finished or failed, `$3` older than this, or null, `$4` more than so
/// many, or null, `$5` most rows, `$6` from this on.
///
/// The oldest unit is the turn: whoever has locked it goes on. How many units there are
/// and which are the oldest is of one snapshot, so two daemons never think of different
/// ones as too many.
static ARCHIVE: Statement = Statement::repeatable("archive", include_str!("sql/archive.sql"));

/// `$1` namespace, `$2` names or null.
static NAMED: Statement = Statement::repeatable(
    "named_specs",
    "select s.id from namespace n left join spec s on s.namespace_id = n.id
        and ($2::bytea[] is null or s.name = any ($2::bytea[]))
     where n.id = $1",
);

/// The statuses that are archived, as they are stored.
pub(super) const OVER: [i16; 2] = [4, 5];

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// So many units were deleted, and nothing is left that is kept no longer.
    Done(usize),
    /// So many units were deleted, and there are more.
    More(usize),
    /// Someone else has locked the oldest.
    Taken,
}

/// How far archiving has come.
#[derive(Debug, Default)]
pub(super) struct Archiving {
    /// Where each backlog goes on: the end of the last unit that was deleted.
    from: Mutex<HashMap<(SpecId, i16), i64>>,
    /// What ended before was looked for, and there was none.
    looked_until: Mutex<Option<i64>>,
}

impl Archiving {
    /// What ended before is gone, as far as age goes.
    pub(super) fn looked_until(&self) -> i64 {
        self.looked_until.lock().expect(HELD).unwrap_or(i64::MIN)
    }

    /// Notes that nothing that ended before `cutoff` is there any more.
    pub(super) fn looked(&self, cutoff: Option<i64>) {
        *self.looked_until.lock().expect(HELD) = cutoff;
    }
}

impl Store {
    /// Units that ended before this are kept no longer; `None` if age does not matter.
    pub(super) fn cutoff(&self, now: Timestamp) -> Option<i64> {
        let age = self.retention.completed_age?;
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Some(now.as_micros().saturating_sub(age))
    }

    /// Removes some finished or failed units of a spec that are not kept any longer, the
    /// oldest first. They stay in the counts.
    pub(super) async fn archive_step(
        &self,
        now: Timestamp,
        spec: SpecId,
        status: i16,
        rows_max: usize,
    ) -> Result<Step> {
        let place = (spec, status);
        let from = self.archiving.from.lock().expect(HELD).get(&place).copied();
        let kept = self.retention.completed_count.map(row::signed);
        let rows = self
            .pool
            .query(
                &ARCHIVE,
                &[
                    &row::signed(spec.get()),
                    &status,
                    &self.cutoff(now),
                    &kept,
                    &row::bounded(rows_max),
                    &from.unwrap_or(i64::MIN),
                ],
            )
            .await?;
        let row = rows.first().ok_or_else(|| unexpected("answer"))?;
        let gone = usize::try_from(row::count(row, 1)?).unwrap_or(usize::MAX);
        let last: Option<i64> = get(row, 3)?;
        let step = match (get(row, 0)?, get(row, 2)?) {
            (true, _) => Step::Taken,
            (false, true) => Step::More(gone),
            (false, false) => Step::Done(gone),
        };
        let mut all = self.archiving.from.lock().expect(HELD);
        match (step, last) {
            (Step::More(_), Some(last)) => all.insert(place, last),
            // The next look begins at the beginning, where some may have been locked.
            _ => all.remove(&place),
        };
        Ok(step)
    }

    /// [`Backend::archive`](crate::backend::Backend::archive).
    pub(super) async fn archive_specs(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        specs: Option<&[&str]>,
    ) -> Result<()> {
        let names: Option<Vec<&[u8]>> =
            specs.map(|names| names.iter().map(|name| name.as_bytes()).collect());
        let rows = self
            .pool
            .query(&NAMED, &[&row::signed(namespace.get()), &names])
            .await?;
        if rows.is_empty() {
            return Err(Error::Gone(Kind::Namespace));
        }
        if self.retention.completed_count.is_none() && self.retention.completed_age.is_none() {
            return Ok(());
        }
        for row in &rows {
            if get::<Option<i64>>(row, 0)?.is_some() {
                let spec = SpecId::new(row::id(row, 0)?);
                for status in OVER {
                    self.archive_all(now, spec, status).await?;
                }
            }
        }
        Ok(())
    }

    /// Goes on until nothing is left, or someone keeps the oldest unit locked for long.
    async fn archive_all(&self, now: Timestamp, spec: SpecId, status: i16) -> Result<()> {
        let mut waits = 0;
        while waits < ARCHIVE_WAITS_MAX {
            match self
                .archive_step(now, spec, status, ARCHIVE_ROWS_MAX)
                .await?
            {
                Step::Done(_) => break,
                Step::More(_) => waits = 0,
                Step::Taken => {
                    waits += 1;
                    tokio::time::sleep(ARCHIVE_PAUSE).await; // reason: another daemon is at it
                }
            }
        }
        Ok(())
    }
}
