//! Why a backend call did not do what it was asked.

use std::fmt;

/// The result of a backend call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The text is for logs. What a client sees is decided in `jobserver`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An id in the request names something that was deleted.
    ///
    /// The cache forgets the id, looks the name up again and tries once more, so
    /// a client sees this only if the name is gone too.
    #[error("{0} no longer exists")]
    Gone(Kind),

    /// The store failed. The change may or may not have been made.
    #[error("store failed")]
    Unavailable {
        /// Whether the same call may succeed if repeated.
        retryable: bool,
        /// What the driver said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why one change of a batch was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The unit was deleted.
    #[error("work unit no longer exists")]
    Gone,

    /// The unit is in another phase, or has another current attempt, than the change
    /// was decided on. Whoever decided looks again.
    #[error("work unit has changed")]
    Changed,

    /// One more pending unit would be more than the spec's `max_running`.
    #[error("work spec runs as many units as it may")]
    Full,
}

/// What was gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A namespace.
    Namespace,
    /// A work spec.
    Spec,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Namespace => "namespace",
            Kind::Spec => "work spec",
        })
    }
}
