//! Changes of which nobody knows whether they were made, because the answer was lost.
//!
//! Sent again, a change could be made a second time in another form: a unit that was given
//! back looks as if it had never been attempted, and the data that came with the change
//! would become the unit's own. Or it could be answered as if someone else had made it. So
//! the daemon first looks what became of it; a change leaves traces by which it is known:
//! its attempt (no other has its id) as it is now or in the log of those that are over, or
//! the time of the call. Only what was not made is sent again, and what then is refused is
//! looked at once more, since the lost statement may have been under way still.
//!
//! **Invariant:** what is answered is known. Where there is no trace (the unit was deleted,
//! or no history is kept), the caller is told that nobody knows.

use tracing::error;

use super::{
    Store,
    change::{Change, Made, Verdict, place},
    change_columns::ChangeColumns,
    error::{is_in_doubt, shared},
    row::{self, get},
    statement::Statement,
};
use crate::{
    backend::{ActiveAttempt, Conflict, Error, Result},
    limits::DOUBT_ROUNDS_MAX,
    model::SpecId,
};

/// `$1` spec, `$2` time of the statement that was lost, `$3` history kept; for each change
/// `$4` unit, `$5` phase, `$6` attempt, `$7` kind, `$8` worker, `$9` data.
static LOOK: Statement = Statement::repeatable("look", include_str!("sql/look.sql"));

/// What became of a change.
enum Found {
    Made(Box<Made>),
    NotMade,
    Unknown,
}

impl Store {
    /// Finds out what became of changes whose answer was lost with this error, and makes
    /// those that were not made. An answer for each change, in order.
    pub(super) async fn resolve(
        &self,
        mut change: Change<'_>,
        lost: Error,
    ) -> Vec<Result<Verdict>> {
        let lost = shared(lost);
        let count = change.changes.len();
        let mut answers: Vec<Option<Result<Verdict>>> = (0..count).map(|_| None).collect();
        let mut refused: Vec<Option<Conflict>> = vec![None; count];
        for _ in 0..DOUBT_ROUNDS_MAX {
            let Ok(found) = self.look_at(&change).await else {
                break;
            };
            for ((answer, refused), found) in answers.iter_mut().zip(&refused).zip(found) {
                if answer.is_none() {
                    *answer = match (found, refused) {
                        (Found::Made(made), _) => Some(Ok(Verdict::Made(*made))),
                        (Found::Unknown, _) => Some(Err(lost())),
                        (Found::NotMade, Some(conflict)) => Some(Ok(Verdict::Refused(*conflict))),
                        (Found::NotMade, None) => None,
                    };
                }
            }
            if answers.iter().all(Option::is_some) {
                break;
            }
            change.resolved = answers.iter().map(Option::is_some).collect();
            match self.make(&change).await {
                Ok(Some(verdicts)) => {
                    let open = answers.iter_mut().zip(&mut refused).zip(verdicts);
                    for ((answer, refused), verdict) in open.filter(|((a, _), _)| a.is_none()) {
                        match verdict {
                            Verdict::Refused(conflict) => *refused = Some(conflict),
                            verdict => *answer = Some(Ok(verdict)),
                        }
                    }
                }
                Err(error) if is_in_doubt(&error) => {}
                // Nobody knows of the first time; or the spec is another by now.
                Ok(None) | Err(_) => break,
            }
        }
        // What became available, and where, is not known as well as otherwise.
        self.floors.reset_all();
        self.boards.invalidate_all();
        let is_unknown = |answer: &&Option<Result<Verdict>>| !matches!(answer, Some(Ok(_)));
        let unknown = answers.iter().filter(is_unknown).count();
        if unknown > 0 {
            let spec = &change.known.name;
            error!(%spec, unknown, "the answer to changes was lost, and nobody knows of these");
        }
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or_else(|| Err(lost())))
            .collect()
    }

    async fn look_at(&self, change: &Change<'_>) -> Result<Vec<Found>> {
        let columns = ChangeColumns::of(change, None);
        let rows = self.pool.query(&LOOK, &columns.looking()).await?;
        let mut found: Vec<Found> = change.changes.iter().map(|_| Found::Unknown).collect();
        for row in &rows {
            let index = place(row, 0, found.len())?;
            found[index] = match get::<i32>(row, 1)? {
                0 => Found::Made(Box::new(self::made(row, change, index)?)),
                1 => Found::NotMade,
                _ => Found::Unknown,
            };
        }
        Ok(found)
    }
}

/// A change that was made, as its unit stands now.
fn made(row: &tokio_postgres::Row, change: &Change<'_>, index: usize) -> Result<Made> {
    let is_now: i16 = get(row, 2)?;
    let attempt = row::attempt(row, 3, 4)?;
    let target: Option<i64> = get(row, 6)?;
    Ok(Made {
        active: ActiveAttempt {
            unit: change.changes[index].change.unit,
            phase: row::phase(is_now, attempt.is_some()),
            attempt,
        },
        target: target.map(row::unsigned).transpose()?.map(SpecId::new),
        was: is_now, // the board is looked at anew
        is_now,
        due: get(row, 5)?,
    })
}
