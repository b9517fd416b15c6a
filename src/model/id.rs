//! Identities. An id is given out once and never reused, so a stale id can only
//! miss; it can never name something else.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Wraps an id that the backend gave out.
            #[must_use]
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The number the backend gave out.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A set of work specs, workers and locks that shares nothing with any other set.
    NamespaceId
);
id!(
    /// A family of work units that run the same code.
    SpecId
);
id!(
    /// One job of a work spec.
    UnitId
);
id!(
    /// One worker's try at one work unit. Later attempts of a unit have higher ids.
    AttemptId
);
