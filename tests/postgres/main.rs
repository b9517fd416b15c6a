//! The PostgreSQL backend against a real server, from the outside.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "test code"
)]

#[path = "../support/mod.rs"]
mod support;

mod between;
mod busy;
mod cluster;
mod connections;
mod contention;
mod crashes;
mod growth;
mod idle;
mod lossy;
mod lost;
mod names;
mod pooled;
mod proxied;
mod proxy;
mod round_trips;
mod waiting;
mod watched;
