//! Everything between the sockets and the job server: listening, connections, the
//! order of stopping.
//!
//! # Invariants
//!
//! * Only this layer does network I/O.
//! * A client never sees us close a connection in order: every end is a reset, and it
//!   comes only after the replies that were written have left (protocol.md §1).
//! * What a client can make the daemon remember is bounded, for one connection by
//!   `READ_AHEAD_BYTES_MAX` and the like, for all of them by the limit on connections and
//!   the budget for large frames.
//!
//! | file | what it is for |
//! |------|----------------|
//! | `answer.rs` | what the job server offers to connections |
//! | `server.rs` | accepts connections, runs one task for each, drains them |
//! | `listener.rs` | the listening socket and the options of accepted ones |
//! | `connection.rs` | the conversation with one client |
//! | `transport.rs` | what a connection needs of its socket |
//! | `budget.rs` | memory for large frames, over all connections |
//! | `counters.rs` | what is counted about connections |
//! | `signals.rs` | SIGTERM and SIGINT |
//! | `service.rs` | the job server, as connections see it |
//! | `duties.rs` | what is done without being asked |
//! | `run.rs` | puts it all together |
//! | `observe.rs`, `open_files.rs` | logs, and the limit on open files |

mod answer;
mod budget;
mod connection;
mod counters;
mod duties;
mod listener;
pub mod observe;
pub mod open_files;
mod run;
mod server;
mod service;
mod signals;
mod transport;

pub use answer::{Answer, Flow};
pub use counters::Counters;
pub use duties::keep_up;
pub use listener::{ListenError, Listener};
pub use run::run;
pub use server::{Server, ServerLimits};
pub use signals::stop_on_signals;

#[cfg(test)]
mod tests;
