//! Calls that visit many units of one spec: a bounded number at a time, with turns
//! for others in between.

use super::{Memory, directory::Entry, shard::Shard};
use crate::{
    backend::Result,
    clock::Timestamp,
    limits::{DELETE_BATCH_MAX, LOOKUP_BATCH_MAX},
    model::{SpecId, StatusSet, UnitKey},
};

impl Memory {
    /// Runs `look` for each of the keys, some at a time under the lock.
    pub(super) async fn each_key<T>(
        &self,
        now: Timestamp,
        spec: SpecId,
        keys: &[&[u8]],
        mut look: impl FnMut(&mut Shard, &[u8]) -> T,
    ) -> Result<Vec<T>> {
        let entry = self.entry(spec)?;
        let mut found = Vec::with_capacity(keys.len());
        for some in keys.chunks(LOOKUP_BATCH_MAX) {
            if !found.is_empty() {
                tokio::task::yield_now().await;
            }
            let mut shard = entry.lock()?;
            shard.catch_up(now);
            found.extend(some.iter().map(|key| look(&mut shard, key)));
        }
        Ok(found)
    }

    /// Deletes the units in these statuses; says how many. No more than there were
    /// units at first, or it might never catch up with a client that adds some.
    pub(super) async fn delete_statuses(
        &self,
        now: Timestamp,
        entry: &Entry,
        statuses: StatusSet,
    ) -> Result<u64> {
        let mut left = entry.lock()?.units.len();
        let (mut count, mut after) = (0, None);
        while left > 0 {
            let (key, max) = (
                after.as_ref().map(UnitKey::as_bytes),
                left.min(DELETE_BATCH_MAX),
            );
            let deleted = entry.lock()?.delete_some(now, statuses, key, max);
            count += deleted.count as u64;
            left -= deleted.count;
            after = deleted.last;
            if after.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(count)
    }

    /// Removes what one spec no longer keeps, in steps.
    pub(super) async fn archive_spec(&self, now: Timestamp, entry: &Entry) {
        loop {
            let archived = match entry.lock() {
                Ok(mut shard) => {
                    shard.catch_up(now);
                    shard.archive(now, DELETE_BATCH_MAX)
                }
                Err(_) => 0, // deleted meanwhile
            };
            if archived < DELETE_BATCH_MAX {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}
