//! How many files, and so clients, the process may have open.
//!
//! Out of file descriptors, `accept` fails and clients wait without a word. So the limit
//! is raised to what the administrator allows before anything is opened, and an operator
//! whose `max_connections` cannot be met hears of it at start, not under load.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

use crate::limits::OTHER_FILES_MAX;

/// Raises this process's limit of open files as far as it may; shells and service
/// managers start programs with a low one for the sake of old code. Logs what it was and
/// is, and warns if that is too low for `max_connections` clients.
pub fn allow(max_connections: usize) {
    let before = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: before.maximum,
            ..before
        },
    );
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    debug!(
        before = before.current,
        limit,
        ?raised,
        "limit of open files"
    );
    let wanted = max_connections.saturating_add(OTHER_FILES_MAX) as u64;
    if limit < wanted {
        warn!(
            limit,
            wanted, "max_connections is more than the open files allow"
        );
    }
}
