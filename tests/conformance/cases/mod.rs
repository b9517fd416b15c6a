//! The cases, by what they are about.

pub mod caches;
pub mod chaining;
pub mod locks;
pub mod namespaces;
pub mod specs;
pub mod units;
pub mod updates;
pub mod waiting;
pub mod work;
pub mod workers;
