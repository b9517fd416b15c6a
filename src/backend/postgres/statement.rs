//! SQL statements, by name.

/// One SQL statement, which stands beside the code that maps its rows.
///
/// Tables are named without their schema: the search path of every connection is the
/// one that the operator chose.
#[derive(Debug)]
pub(super) struct Statement {
    /// What logs call it; no other statement has the same name.
    pub(super) name: &'static str,
    /// The text, with `$1`, `$2`… for its parameters. Where the context leaves the type
    /// of a parameter open, a cast says it (`$1::int8[]`).
    pub(super) sql: &'static str,
    /// Whether it may run twice.
    pub(super) repeat: Repeat,
}

/// What may be done when a connection is lost and nobody knows whether the statement
/// was carried out. Of several statements in one transaction the last of these counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Repeat {
    /// It is run again: reading, or doing the same as if it had run once, whatever others
    /// have done in between, and giving the same answer.
    Safe,
    /// Who sent it looks what became of it, and sends it again if nothing did.
    Resolve,
    /// The caller is told that it may or may not have happened.
    Never,
}

impl Statement {
    /// A statement that may run a second time if nobody knows whether it did
    /// ([`Repeat::Safe`]).
    pub(super) const fn repeatable(name: &'static str, sql: &'static str) -> Statement {
        let repeat = Repeat::Safe;
        Statement { name, sql, repeat }
    }

    /// A statement whose sender can find out whether it was carried out
    /// ([`Repeat::Resolve`]).
    pub(super) const fn resolved(name: &'static str, sql: &'static str) -> Statement {
        let repeat = Repeat::Resolve;
        Statement { name, sql, repeat }
    }

    /// A statement that does something else, or more, when it is run a second time
    /// ([`Repeat::Never`]).
    pub(super) const fn once(name: &'static str, sql: &'static str) -> Statement {
        let repeat = Repeat::Never;
        Statement { name, sql, repeat }
    }
}

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Statements {
    /// Prepared once on each connection, by name. A pooler in transaction mode has to
    /// know about them (PgBouncer 1.21 and newer, `max_prepared_statements`).
    #[default]
    Cached,
    /// Sent as a whole each time, for poolers that know nothing of prepared statements.
    Unnamed,
}
