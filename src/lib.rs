#![doc = include_str!("../proto-notes/architecture.md")]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the docs are for this crate's developers"
)]

pub mod backend;
pub mod cache;
pub mod cbor;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod jobserver;
pub mod limits;
pub mod model;
pub mod wire;
