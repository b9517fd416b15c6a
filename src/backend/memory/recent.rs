//! Names of workers that were seen lately, so that their attempts share one copy.
//!
//! Every request carries a worker's name anew. Kept as it came, it would cost each
//! finished unit some 30 bytes more. Names come and go, so the table is emptied when
//! it is full; a worker that is still there then has one more copy.

use std::collections::HashSet;

use crate::{limits::RECENT_WORKERS_MAX, model::WorkerName};

/// Up to [`RECENT_WORKERS_MAX`] names.
#[derive(Debug, Default)]
pub(super) struct RecentWorkers(HashSet<WorkerName>);

impl RecentWorkers {
    /// The same name, as the copy that others have if it was seen lately.
    pub(super) fn share(&mut self, name: &WorkerName) -> WorkerName {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        if self.0.len() == RECENT_WORKERS_MAX {
            self.0.clear();
        }
        self.0.insert(name.clone());
        name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_equal_recent_ones_shared_and_old_ones_forgotten() {
        let mut recent = RecentWorkers::default();
        let name = |n: usize| WorkerName::new(&format!("worker {n}")).unwrap();
        let text = |name: &WorkerName| name.as_str().as_ptr();
        let first = recent.share(&name(7));
        assert_eq!(text(&recent.share(&name(7))), text(&first));
        for n in 0..RECENT_WORKERS_MAX * 3 {
            assert_eq!(recent.share(&name(n)), name(n));
            assert!(recent.0.len() <= RECENT_WORKERS_MAX);
        }
        assert_ne!(text(&recent.share(&name(7))), text(&first));
    }
}
