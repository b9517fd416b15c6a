//! Names of workers that were seen last, so that their attempts share one copy.
//!
//! Every request carries a worker's name anew. Kept as it came, it would cost each
//! finished unit some 50 bytes; this costs a spec 8 KB.

use std::hash::{BuildHasher, RandomState};

use crate::{limits::RECENT_WORKERS_MAX, model::WorkerName};

/// A table in which a name replaces whichever had its place.
#[derive(Debug, Default)]
pub(super) struct RecentWorkers {
    /// Empty until the first name.
    names: Box<[Option<WorkerName>]>,
    hasher: RandomState,
}

impl RecentWorkers {
    /// The same name, as a copy that others have if it was seen lately.
    pub(super) fn share(&mut self, name: &WorkerName) -> WorkerName {
        if self.names.is_empty() {
            self.names = (0..RECENT_WORKERS_MAX).map(|_| None).collect();
        }
        let place = self.hasher.hash_one(name) as usize % RECENT_WORKERS_MAX;
        match &mut self.names[place] {
            Some(known) if known == name => known.clone(),
            other => other.insert(name.clone()).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_equal_and_recent_ones_shared() {
        let mut recent = RecentWorkers::default();
        let name = |n: usize| WorkerName::new(&format!("worker {n}")).unwrap();
        for n in 0..RECENT_WORKERS_MAX * 4 {
            assert_eq!(recent.share(&name(n)), name(n));
        }
        let first = recent.share(&name(7));
        let text = |name: &WorkerName| name.as_str().as_ptr();
        assert_eq!(text(&recent.share(&name(7))), text(&first));
    }
}
