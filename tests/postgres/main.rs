//! The PostgreSQL backend against a real server, from the outside.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code"
)]

#[path = "../support/postgres.rs"]
mod support;

mod cluster;
