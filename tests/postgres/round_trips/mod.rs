//! What calls cost: round trips to the database, statements, and transactions, through
//! the whole job server, with the cache on and statements prepared (`watched.rs` says what
//! is not counted, and why).
//!
//! Each line is an upper bound. A smaller one is progress: make it the bound.

mod claims;
mod others;
mod units;
mod updates;

use serde_cbor::Value;

use super::proxy::Traffic;
use crate::support::{map, texts};

/// Everything is done twice, each time in a work spec of its own. What is done first
/// prepares all statements, and only the second time counts.
const ROUNDS: [&str; 2] = ["first", "second"];

/// Checks what a call cost, once all statements are prepared.
#[track_caller]
fn costs(round: &str, traffic: &Traffic, round_trips: usize, statements: usize, commits: usize) {
    if round == "second" {
        assert_eq!(traffic.preparations(), 0, "{traffic:?}");
        traffic.costs_at_most(round_trips, statements, commits);
    }
}

/// Data whose output is two units.
fn output() -> Value {
    map([("output", texts(["x", "y"]))])
}
