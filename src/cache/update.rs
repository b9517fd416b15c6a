//! Updates of units by key: look up, decide, change, and look again if the unit has
//! changed in between.

use std::collections::HashSet;

use super::{AttemptKey, Cache};
use crate::{
    backend::{ActiveAttempt, Backend, Conflict, Result, SupervisedAttempt, UnitChange},
    clock::Timestamp,
    limits::UPDATE_ROUNDS_MAX,
    model::{
        Ask, AttemptId, Decision, Effect, KeyRef, NamespaceId, Phase, RawData, SpecId, StringType,
        UnitKey, WorkerName, decide,
    },
};

/// An update of one unit (semantics.md §7).
#[derive(Debug)]
pub struct Update<'a> {
    /// The unit's key.
    pub key: &'a [u8],
    /// What is asked, besides data.
    pub ask: Ask,
    /// New data.
    pub data: Option<RawData>,
    /// What the unit's current attempt must be.
    pub fence: Fence<'a>,
}

/// What an update says of the attempt it is meant for. An update whose fence does
/// not hold changes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fence<'a> {
    /// Whose attempt it is, or the parent of whose.
    pub worker: Option<&'a str>,
    /// The attempt, as the client says.
    pub attempt: Option<AttemptId>,
    /// The attempt that the client's connection was given for the unit.
    pub connection: Option<AttemptId>,
}

impl Fence<'_> {
    /// Whether the update is meant for the unit's current attempt, whose worker has this
    /// parent.
    fn holds(&self, active: &ActiveAttempt, parent: Option<&WorkerName>) -> bool {
        let current = active.attempt_id();
        let mut meant = [self.attempt, self.connection].into_iter().flatten();
        if meant.any(|id| current != Some(id)) {
            return false;
        }
        match (&active.attempt, self.worker) {
            (Some((_, holder)), Some(worker)) if holder.as_str() != worker => {
                parent.is_some_and(|parent| parent.as_str() == worker)
            }
            _ => true,
        }
    }
}

/// What became of an update.
#[derive(Debug)]
pub enum Updated {
    /// The unit was changed; the spec that received its output, and how many units.
    Done(Option<(SpecId, usize)>),
    /// Nothing was to be changed, and that is as good.
    Accepted,
    /// Nothing was changed, for this reason.
    Refused(&'static str),
    /// Such an update is an error, for this reason.
    Impossible(&'static str),
    /// The fence did not hold; the unit's current attempt is this worker's.
    Lost(Option<WorkerName>),
    /// The lease has run out, and the spec has as many pending units as it may.
    Full,
    /// There is no unit of this key.
    NoSuchUnit,
    /// The unit changed each time it was looked at.
    Busy,
}

impl<B: Backend> Cache<B> {
    /// Carries out updates of units of one spec, in order; says for each what came of
    /// it. Costs one backend call for each kind of step (look up, change), however
    /// many updates there are, as long as their keys differ.
    ///
    /// # Errors
    /// [`Error::Gone`](crate::backend::Error::Gone) if the spec was deleted; those of
    /// the backend, and then any of the updates may have been made.
    pub async fn update_units(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        spec: SpecId,
        updates: &[Update<'_>],
    ) -> Result<Vec<Updated>> {
        let mut answers = Vec::with_capacity(updates.len());
        let mut rest = updates;
        while !rest.is_empty() {
            let (wave, later) = rest.split_at(distinct(rest));
            self.update_distinct(now, namespace, spec, wave, &mut answers)
                .await?;
            rest = later;
        }
        Ok(answers)
    }

    /// Updates units that are all different, and appends their answers.
    async fn update_distinct(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        spec: SpecId,
        updates: &[Update<'_>],
        answers: &mut Vec<Updated>,
    ) -> Result<()> {
        let first = answers.len();
        answers.resize_with(first + updates.len(), || Updated::Busy);
        let mut open: Vec<usize> = (0..updates.len()).collect();
        for round in 0..UPDATE_ROUNDS_MAX {
            // Only the first round believes the cache.
            let mut views: Vec<Option<SupervisedAttempt>> = open
                .iter()
                .map(|&i| {
                    if round == 0 {
                        self.known(spec, updates[i].key)
                            .map(SupervisedAttempt::from)
                    } else {
                        None
                    }
                })
                .collect();
            let cached: Vec<bool> = views.iter().map(Option::is_some).collect();
            self.look_up(now, namespace, spec, updates, &open, &mut views)
                .await?;

            let mut changes = Vec::with_capacity(open.len());
            let mut changing = Vec::with_capacity(open.len());
            let mut again = Vec::new();
            for ((&i, view), cached) in open.iter().zip(views).zip(cached) {
                let Some(SupervisedAttempt {
                    active: view,
                    parent,
                }) = view
                else {
                    answers[first + i] = Updated::NoSuchUnit;
                    continue;
                };
                let update = &updates[i];
                let verdict = match update.fence.holds(&view, parent.as_ref()) {
                    true => decide(view.phase, &update.ask),
                    false if cached => {
                        self.forget(spec, update.key);
                        again.push(i);
                        continue;
                    }
                    false => {
                        answers[first + i] = Updated::Lost(view.attempt.map(|(_, worker)| worker));
                        continue;
                    }
                };
                match verdict {
                    Decision::Change(effect) => {
                        changes.push(change(update, &view, effect));
                        changing.push(i);
                    }
                    // An answer without a change must rest on a fresh look.
                    _ if cached => {
                        self.forget(spec, update.key);
                        again.push(i);
                    }
                    Decision::Accept => answers[first + i] = Updated::Accepted,
                    Decision::Refuse(why) => answers[first + i] = Updated::Refused(why),
                    Decision::Impossible(why) => answers[first + i] = Updated::Impossible(why),
                }
            }
            if !changes.is_empty() {
                let made = self.backend.change_units(now, spec, changes).await?;
                assert_eq!(made.len(), changing.len(), "one answer per change");
                for (i, made) in changing.into_iter().zip(made) {
                    match made {
                        Ok(changed) => {
                            self.learn(spec, updates[i].key, changed.active);
                            answers[first + i] = Updated::Done(changed.chained);
                        }
                        Err(Conflict::Full) => answers[first + i] = Updated::Full,
                        Err(Conflict::Gone | Conflict::Changed) => {
                            self.forget(spec, updates[i].key);
                            again.push(i);
                        }
                    }
                }
            }
            open = again;
            if open.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Fills in the views that the cache did not know, with one call. The cache knows no
    /// parents, so an update for a worker's child always rests on a fresh look.
    async fn look_up(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        spec: SpecId,
        updates: &[Update<'_>],
        open: &[usize],
        views: &mut [Option<SupervisedAttempt>],
    ) -> Result<()> {
        let unknown: Vec<usize> = (0..views.len()).filter(|&at| views[at].is_none()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let keys: Vec<&[u8]> = unknown.iter().map(|&at| updates[open[at]].key).collect();
        let names_worker = |&at: &usize| updates[open[at]].fence.worker.is_some();
        let found = if unknown.iter().any(names_worker) {
            self.backend
                .supervised_attempts(now, namespace, spec, &keys)
                .await?
        } else {
            let found = self.backend.active_attempts(now, spec, &keys).await?;
            let unsupervised = |active: Option<_>| active.map(SupervisedAttempt::from);
            found.into_iter().map(unsupervised).collect()
        };
        assert_eq!(found.len(), unknown.len(), "one answer per key");
        for (at, view) in unknown.into_iter().zip(found) {
            views[at] = view;
        }
        Ok(())
    }

    /// Remembers how a unit stands after a change. Units that are done are forgotten:
    /// whatever is asked of them next wants a fresh look anyway.
    fn learn(&self, spec: SpecId, key: &[u8], active: ActiveAttempt) {
        match active.phase {
            Phase::Open | Phase::Idle if self.attempts.capacity() > 0 => {
                if self.known(spec, key).as_ref() == Some(&active) {
                    return;
                }
                // The string type of a key in the cache is never shown to anyone.
                let key = KeyRef {
                    bytes: key,
                    string_type: StringType::Bytes,
                };
                if let Ok(key) = UnitKey::new(key) {
                    self.attempts.insert(AttemptKey { spec, key }, active);
                }
            }
            _ => self.forget(spec, key),
        }
    }
}

fn change(update: &Update<'_>, view: &ActiveAttempt, effect: Effect) -> UnitChange {
    let worker = match effect {
        // A name that is too long was refused when the request was read.
        Effect::Start(_) => WorkerName::new(update.fence.worker.unwrap_or_default()).ok(),
        _ => None,
    };
    UnitChange {
        unit: view.unit,
        phase: view.phase,
        attempt: view.attempt_id(),
        effect,
        worker,
        data: update.data.clone(),
    }
}

/// How many updates from the first on have different keys.
fn distinct(updates: &[Update<'_>]) -> usize {
    if updates.len() == 1 {
        return 1;
    }
    let mut seen = HashSet::new();
    updates
        .iter()
        .take_while(|update| seen.insert(update.key))
        .count()
}
