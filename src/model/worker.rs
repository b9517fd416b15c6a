//! Workers: who they are and until when they count as alive (semantics.md §8).

use std::time::Duration;

use crate::{
    clock::Timestamp,
    limits::{LEASE_MAX, WORKER_LIFETIME_CAPPED, WORKER_LIFETIME_DEFAULT},
    model::{RawData, WorkerName},
};

/// What a worker says of itself.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Its name.
    pub worker: WorkerName,
    /// The worker that started it. An empty name in a request is no parent.
    pub parent: Option<WorkerName>,
    /// `RUN`, `IDLE`, `TERMINATE` or any text.
    pub mode: Box<str>,
    /// A map that is given back as it is.
    pub data: Option<RawData>,
    /// It is gone this long after the heartbeat.
    pub lifetime: Duration,
}

/// A worker that is registered and not past its expiration.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its name.
    pub name: WorkerName,
    /// The worker that started it.
    pub parent: Option<WorkerName>,
    /// The mode of its last heartbeat.
    pub mode: Box<str>,
    /// The data of its last heartbeat.
    pub data: Option<RawData>,
    /// When it was last heard of.
    pub heard: Timestamp,
    /// When it will be gone.
    pub expires: Timestamp,
}

/// How long a heartbeat counts, from the seconds a client asked for, and what to
/// tell the client if that is not what it asked for.
///
/// `seconds` is finite; fractions are kept.
#[must_use]
pub fn lifetime(seconds: Option<f64>) -> (Duration, Option<String>) {
    match seconds {
        None => (WORKER_LIFETIME_DEFAULT, None),
        Some(seconds) if seconds < 0.0 => (
            WORKER_LIFETIME_DEFAULT,
            Some(format!(
                "expire_seconds {seconds} is negative; using {}",
                WORKER_LIFETIME_DEFAULT.as_secs()
            )),
        ),
        Some(seconds) if seconds > LEASE_MAX.as_secs_f64() => (
            WORKER_LIFETIME_CAPPED,
            Some(format!(
                "expire_seconds {seconds} is over {}; using {}",
                LEASE_MAX.as_secs(),
                WORKER_LIFETIME_CAPPED.as_secs()
            )),
        ),
        Some(seconds) => (Duration::from_secs_f64(seconds), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_out_of_bounds_is_replaced_and_the_client_is_told() {
        assert_eq!(lifetime(Some(0.5)), (Duration::from_millis(500), None));
        assert_eq!(lifetime(None), (WORKER_LIFETIME_DEFAULT, None));
        let (negative, warning) = lifetime(Some(-1.0));
        assert_eq!(negative, WORKER_LIFETIME_DEFAULT);
        assert!(warning.unwrap().contains("-1"));
        let (long, warning) = lifetime(Some(86_401.0));
        assert_eq!(long, WORKER_LIFETIME_CAPPED);
        assert!(warning.unwrap().contains("86401"));
    }
}
