//! Changes of units, with the units that a finished one leads to (semantics.md §6).
//!
//! A finish and its chained units are one step: the locks of both specs are held for
//! it. The output is read before they are taken, because it may be large; only if
//! the unit's data or priority changed in between it is read again under them.

use std::sync::Arc;

use super::{
    Memory,
    change::finishes,
    directory::{Entry, Locked, lock_both},
    shard::Shard,
};
use crate::{
    backend::{Changed, Conflict, Result, UnitChange},
    clock::Timestamp,
    model::{NewUnit, Priority, RawData, chained_units},
};

/// The units that a finished unit leads to, and what they were read from.
#[derive(Default)]
struct Chain {
    from: Option<(RawData, Priority)>,
    units: Vec<NewUnit>,
}

impl Memory {
    /// Makes the changes and appends what came of them. It may stop early, and then
    /// is to be called with the rest.
    ///
    /// # Errors
    /// [`Error::Gone`](crate::backend::Error::Gone) if the spec was deleted.
    pub(super) fn change_some(
        &self,
        now: Timestamp,
        entry: &Entry,
        changes: &[UnitChange],
        answers: &mut Vec<Result<Changed, Conflict>>,
    ) -> Result<()> {
        let Some(target) = self.chain_target(entry, changes)? else {
            let mut source = entry.lock()?;
            source.catch_up(now);
            for change in changes {
                answers.push(make(now, entry, &mut source, change));
            }
            return Ok(());
        };
        let mut chains = read_chains(entry, changes)?;
        let mut with_target = chains.iter().any(|chain| !chain.units.is_empty());
        let mut left = changes.iter().zip(&mut chains).peekable();
        while left.peek().is_some() {
            let (mut source, mut other) = match with_target {
                true => lock_both(entry, &target)?,
                false => (entry.lock()?, None),
            };
            if with_target && other.is_none() && target.id != entry.id {
                return Ok(()); // deleted meanwhile; the caller looks for it again
            }
            source.catch_up(now);
            while let Some((change, chain)) = left.peek_mut() {
                chain.refresh(&source, entry, change);
                if !chain.units.is_empty() && !with_target {
                    break;
                }
                let units = std::mem::take(&mut chain.units);
                let count = units.len();
                let mut answer = make(now, entry, &mut source, change);
                if let Ok(changed) = &mut answer
                    && count > 0
                {
                    let receiver: &mut Shard = match &mut other {
                        Some(other) => other,
                        None => &mut source,
                    };
                    for unit in &units {
                        receiver.put(now, unit);
                    }
                    changed.chained = Some((target.id, count));
                    // The output may have named the unit itself.
                    if let Some(slot) = source.units.resolve(change.unit) {
                        changed.active = source.units.get(slot).active(change.unit);
                    }
                }
                answers.push(answer);
                left.next();
            }
            with_target = true;
        }
        Ok(())
    }

    /// The spec that receives the output of these changes, if there is one.
    fn chain_target(&self, entry: &Entry, changes: &[UnitChange]) -> Result<Option<Arc<Entry>>> {
        match &entry.meta().options.then {
            Some(then) if changes.iter().any(|change| finishes(&change.effect)) => {
                Ok(self.namespace_by_id(entry.namespace)?.find(then.as_str()))
            }
            _ => Ok(None),
        }
    }
}

/// Makes one change, without its chained units.
fn make(
    now: Timestamp,
    entry: &Entry,
    source: &mut Locked<'_>,
    change: &UnitChange,
) -> Result<Changed, Conflict> {
    let slot = source.change(now, change, &entry.meta().options)?;
    Ok(Changed {
        active: source.units.get(slot).active(change.unit),
        chained: None,
    })
}

/// Reads the outputs of the changes that finish a unit.
fn read_chains(entry: &Entry, changes: &[UnitChange]) -> Result<Vec<Chain>> {
    let outcomes: Vec<_> = {
        let source = entry.lock()?;
        let outcome = |change| outcome(&source, change);
        changes.iter().map(outcome).collect()
    };
    let read = |from| Chain::read(from, entry);
    Ok(outcomes.into_iter().map(read).collect())
}

/// What the change leaves, if it finishes its unit.
fn outcome(source: &Shard, change: &UnitChange) -> Option<(RawData, Priority)> {
    finishes(&change.effect)
        .then(|| source.outcome(change).ok())
        .flatten()
}

impl Chain {
    fn read(from: Option<(RawData, Priority)>, entry: &Entry) -> Chain {
        let units = from.as_ref().map(|(data, priority)| {
            chained_units(data, *priority, |bad| {
                tracing::warn!(spec = %entry.name, "skipped an item of a unit's output");
                tracing::debug!(spec = %entry.name, %bad, "skipped an item of a unit's output");
            })
        });
        Chain {
            from,
            units: units.unwrap_or_default(),
        }
    }

    /// Reads the output again if it is not what was read before the lock.
    fn refresh(&mut self, source: &Shard, entry: &Entry, change: &UnitChange) {
        let from = outcome(source, change);
        if from != self.from {
            *self = Chain::read(from, entry);
        }
    }
}
