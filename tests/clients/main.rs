//! The real daemon over real sockets: clients that misbehave, crowds of clients, and what
//! an operator does to it. No input, however malformed, stops the daemon, makes it
//! allocate in proportion to a length that it merely read, or disturbs another connection
//! (semantics.md §12); known faults 1 to 7 and 41.
//!
//! Each test has a daemon of its own, started by it and ended with it. A test about
//! somebody who misbehaves has a [`Bystander`](daemon::Bystander) too, who must not
//! notice. The other files of this folder drive the same binary with Python clients.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code"
)]

mod client;
mod daemon;
#[path = "../support/value.rs"]
#[allow(dead_code, reason = "no suite uses all of it")]
mod value;

mod crowds;
mod garbage;
mod hostile;
mod large;
mod operations;
mod stopping;
mod together;
mod worker;
mod wrong_types;
