//! The running process.

pub mod observe;
pub mod open_files;
