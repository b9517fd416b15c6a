//! What went wrong with the database, what that means for the statement that was
//! running, and what is done about it.
//!
//! # Invariants
//!
//! * A failure says whether the statement may have had an effect. PostgreSQL reports
//!   most errors of its own with the promise that it rolled back; a connection that ends
//!   (also with a message of the kind FATAL, which may come after the commit) promises
//!   nothing.
//! * No message holds a password, a host or a value from a statement's parameters. The
//!   database's own words are in the chain of sources, which is for the log.

use std::{error::Error as StdError, fmt, sync::Arc};

use deadpool_postgres::PoolError;
use tokio_postgres::{
    error::SqlState,
    error::{DbError, Severity},
};

use super::statement::Repeat;
use crate::backend::{Error, Kind};

/// Why a statement, or the way to it, failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// Every connection was in use for as long as a call waits for one.
    #[error("no connection to the database was free in time")]
    Busy,
    /// No connection could be made.
    #[error("cannot connect to the database")]
    Connect(#[source] Box<dyn StdError + Send + Sync>),
    /// The database refused the statement and undid what it had done.
    #[error("the database refused {statement} (SQLSTATE {code}): {message}")]
    Refused {
        /// The statement's name.
        statement: &'static str,
        /// Five characters.
        code: String,
        /// The database's words, without the detail, which may hold data of clients.
        message: String,
    },
    /// The connection ended, or did not answer, before the statement was over.
    #[error("the connection to the database was lost during {statement}")]
    Lost {
        /// The statement's name.
        statement: &'static str,
        /// What the driver said; nothing if there was no answer in time.
        #[source]
        source: Option<tokio_postgres::Error>,
    },
    /// The statement was sent with the wrong parameters, or its rows were misread: a
    /// mistake of ours.
    #[error("{statement} does not fit its parameters or rows")]
    Misused {
        /// The statement's name.
        statement: &'static str,
        /// What the driver said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The task that was to carry the call out has ended.
    #[error("the daemon's task for {0} ended in a panic")]
    Ended(&'static str),
}

/// A failure and what is known about it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// Whether the statement may have been carried out all the same.
    pub(super) effect: Effect,
    /// Whether the same may succeed if it is tried again at once.
    pub(super) passing: bool,
    /// Whether a caller who comes back a little later may succeed.
    pub(super) retryable: bool,
    /// Whether the connection is of no more use.
    pub(super) broken: bool,
    /// What the statement named that is not there.
    pub(super) gone: Option<Kind>,
}

/// What a failed statement has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Nothing, or all of it.
    Unknown,
}

impl Failure {
    /// Every connection is in use.
    pub(super) fn busy() -> Failure {
        Failure {
            cause: Cause::Busy,
            effect: Effect::None,
            passing: false, // that was waited for
            retryable: true,
            broken: false,
            gone: None,
        }
    }

    /// There is no connection.
    pub(super) fn connect(source: PoolError) -> Failure {
        let answer = match &source {
            PoolError::Backend(error) => error.as_db_error(),
            _ => None,
        };
        // A server that says why it does not want us will say so again, unless it is
        // starting, stopping or full.
        let passing =
            answer.is_none_or(|answer| is_outage(answer.code()) || is_shortage(answer.code()));
        Failure {
            cause: Cause::Connect(source.into()),
            effect: Effect::None,
            passing,
            retryable: passing,
            broken: true,
            gone: None,
        }
    }

    /// The connection is gone, and it is known that the statement was never sent.
    pub(super) fn unsent(
        statement: &'static str,
        source: Option<tokio_postgres::Error>,
    ) -> Failure {
        Failure {
            cause: Cause::Lost { statement, source },
            effect: Effect::None,
            passing: true,
            retryable: true,
            broken: true,
            gone: None,
        }
    }

    /// There is no telling what became of the statement.
    pub(super) fn lost(statement: &'static str, source: Option<tokio_postgres::Error>) -> Failure {
        Failure {
            effect: Effect::Unknown,
            ..Failure::unsent(statement, source)
        }
    }

    /// What the driver said about a statement that was sent.
    pub(super) fn of(statement: &'static str, error: tokio_postgres::Error) -> Failure {
        match error.as_db_error() {
            Some(answer) if is_final(answer) => Failure::lost(statement, Some(error)),
            Some(answer) => Failure::refused(statement, answer),
            None if error.is_closed() || is_io(&error) => Failure::lost(statement, Some(error)),
            // Parameters that do not fit are noticed before anything is sent, rows that do
            // not fit after all is done.
            None => Failure {
                cause: Cause::Misused {
                    statement,
                    source: error,
                },
                effect: Effect::Unknown,
                passing: false,
                retryable: false,
                broken: true,
                gone: None,
            },
        }
    }

    /// The database reported an error and rolled back.
    fn refused(statement: &'static str, answer: &DbError) -> Failure {
        let code = answer.code();
        // The connection's own state is in the way: another one will do.
        let stale = *code == SqlState::INVALID_SQL_STATEMENT_NAME
            || *code == SqlState::DUPLICATE_PSTATEMENT
            || *code == SqlState::IN_FAILED_SQL_TRANSACTION
            || (*code == SqlState::FEATURE_NOT_SUPPORTED
                && answer.routine() == Some("RevalidateCachedQuery"));
        // After a switch of servers, the old one may be read-only for a while.
        let read_only = *code == SqlState::READ_ONLY_SQL_TRANSACTION;
        let conflict = *code == SqlState::T_R_SERIALIZATION_FAILURE
            || *code == SqlState::T_R_DEADLOCK_DETECTED
            || *code == SqlState::LOCK_NOT_AVAILABLE;
        let slow = *code == SqlState::QUERY_CANCELED;
        Failure {
            cause: Cause::Refused {
                statement,
                code: code.code().to_owned(),
                message: answer.message().to_owned(),
            },
            effect: Effect::None,
            passing: stale || read_only || conflict,
            retryable: stale || read_only || conflict || slow || is_exhausted(code),
            broken: stale || read_only || is_shortage(code),
            gone: gone(answer),
        }
    }

    /// Whether the statement may be run again now.
    pub(super) fn may_repeat(&self, repeat: Repeat) -> bool {
        self.passing && (self.effect == Effect::None || repeat == Repeat::Safe)
    }

    /// Whether the sender finds out what became of the statement.
    pub(super) fn is_to_resolve(&self, repeat: Repeat) -> bool {
        self.passing && self.effect == Effect::Unknown && repeat == Repeat::Resolve
    }

    /// What the caller is told.
    pub(super) fn into_error(self, repeat: Repeat) -> Error {
        if let Some(kind) = self.gone {
            return Error::Gone(kind);
        }
        let known = self.effect == Effect::None || repeat == Repeat::Safe;
        Error::Unavailable {
            retryable: self.retryable && known,
            source: Box::new(self.cause),
        }
    }
}

/// Whether the message ends the connection. It may come after the commit.
fn is_final(answer: &DbError) -> bool {
    matches!(
        answer.parsed_severity(),
        Some(Severity::Fatal | Severity::Panic)
    ) || is_outage(answer.code())
}

/// Classes 08 and 57P: the server, or the way to it, is going away or coming up.
fn is_outage(code: &SqlState) -> bool {
    code.code().starts_with("08") || code.code().starts_with("57P")
}

/// The server has no room for one more connection.
fn is_shortage(code: &SqlState) -> bool {
    *code == SqlState::TOO_MANY_CONNECTIONS
}

/// Class 53: connections, memory or space on a disk, of which there may be more later.
fn is_exhausted(code: &SqlState) -> bool {
    code.code().starts_with("53")
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    error
        .source()
        .is_some_and(|source| source.is::<std::io::Error>())
}

/// What a foreign key says is not there. Keys are named after their columns.
fn gone(answer: &DbError) -> Option<Kind> {
    if *answer.code() != SqlState::FOREIGN_KEY_VIOLATION {
        return None;
    }
    let constraint = answer.constraint().unwrap_or_default();
    if constraint.contains("spec") {
        Some(Kind::Spec)
    } else if constraint.contains("namespace") {
        Some(Kind::Namespace)
    } else {
        None
    }
}

/// Whether it is certain that the call has changed nothing, and that the reason lies in
/// what was asked and not in the database: then those who asked together can be asked
/// one by one.
pub(super) fn is_about_the_call(error: &Error) -> bool {
    match error {
        Error::Gone(_) => true,
        Error::Unavailable { retryable, source } => {
            !retryable && matches!(source.downcast_ref(), Some(Cause::Refused { .. }))
        }
    }
}

/// Whether the call was sent, and nobody knows what became of it.
pub(super) fn is_in_doubt(error: &Error) -> bool {
    match error {
        Error::Gone(_) => false,
        Error::Unavailable { retryable, source } => {
            !retryable && matches!(source.downcast_ref(), Some(Cause::Lost { .. }))
        }
    }
}

/// The same error, for each of several callers.
pub(super) fn shared(error: Error) -> impl Fn() -> Error {
    let parts: Result<(bool, Arc<dyn StdError + Send + Sync>), Kind> = match error {
        Error::Gone(kind) => Err(kind),
        Error::Unavailable { retryable, source } => Ok((retryable, source.into())),
    };
    move || match &parts {
        Err(kind) => Error::Gone(*kind),
        Ok((retryable, source)) => Error::Unavailable {
            retryable: *retryable,
            source: Box::new(Shared(Arc::clone(source))),
        },
    }
}

/// One cause for several callers.
#[derive(Debug)]
struct Shared(Arc<dyn StdError + Send + Sync>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Shared {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// The call kept meeting others; the client may send it again.
pub(super) fn contended(what: &'static str) -> Error {
    Error::Unavailable {
        retryable: true,
        source: what.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(effect: Effect, retryable: bool) -> Failure {
        Failure {
            effect,
            retryable,
            ..Failure::unsent("statement", None)
        }
    }

    #[test]
    fn what_may_have_happened_is_repeated_only_where_that_is_safe() {
        let (unsent, lost) = (failure(Effect::None, true), failure(Effect::Unknown, true));
        assert!(unsent.may_repeat(Repeat::Never) && unsent.may_repeat(Repeat::Safe));
        assert!(!lost.may_repeat(Repeat::Never) && lost.may_repeat(Repeat::Safe));
        assert!(unsent.may_repeat(Repeat::Resolve) && !lost.may_repeat(Repeat::Resolve));
        assert!(!unsent.is_to_resolve(Repeat::Resolve) && lost.is_to_resolve(Repeat::Resolve));
        assert!(is_in_doubt(&lost.into_error(Repeat::Resolve)));
        assert!(!is_in_doubt(&unsent.into_error(Repeat::Resolve)));
    }

    #[test]
    fn a_caller_may_come_back_only_if_that_cannot_do_it_twice() {
        let may_come_back = |failure: Failure, repeat| match failure.into_error(repeat) {
            Error::Unavailable { retryable, .. } => retryable,
            other => panic!("{other:?}"),
        };
        for (effect, repeat, expected) in [
            (Effect::None, Repeat::Never, true),
            (Effect::Unknown, Repeat::Safe, true),
            (Effect::Unknown, Repeat::Never, false),
        ] {
            assert_eq!(may_come_back(failure(effect, true), repeat), expected);
            assert!(!may_come_back(failure(effect, false), repeat));
        }
    }

    #[test]
    fn only_what_the_database_refused_for_good_is_the_calls_own_fault() {
        let refused = |code: &str| Failure {
            cause: Cause::Refused {
                statement: "statement",
                code: code.to_owned(),
                message: String::new(),
            },
            ..failure(Effect::None, false)
        };
        assert!(is_about_the_call(
            &refused("22003").into_error(Repeat::Never)
        ));
        assert!(is_about_the_call(&Error::Gone(Kind::Spec)));
        let busy = Failure::busy().into_error(Repeat::Never);
        assert!(!is_about_the_call(&busy));
        let lost = failure(Effect::Unknown, true).into_error(Repeat::Never);
        assert!(!is_about_the_call(&lost));
    }

    #[test]
    fn every_caller_of_a_batch_gets_the_same_error() {
        let error = shared(Failure::busy().into_error(Repeat::Never));
        for _ in 0..2 {
            let Error::Unavailable {
                retryable: true,
                source,
            } = error()
            else {
                panic!("not the same");
            };
            assert_eq!(source.to_string(), Cause::Busy.to_string());
        }
        let gone = shared(Error::Gone(Kind::Namespace));
        assert!(matches!(gone(), Error::Gone(Kind::Namespace)));
    }
}
