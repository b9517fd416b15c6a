//! What every session of the daemon is set to.
//!
//! Planning our longer statements costs more than running them, so each is planned once,
//! maybe while the tables are empty, and must be right when they have grown: rows by the
//! most exact index and in its order, lists that a call brings by hash. The settings go
//! with the request for a connection. A pooler may drop them; then they have to be the
//! role's, which the daemon looks at when it starts.

use std::fmt::Write as _;

use tracing::warn;

use super::{pool::Pool, row::get, statement::Statement};
use crate::{
    backend::Result,
    limits::{STATEMENT_TIME_MAX, TRANSACTION_IDLE_MAX},
};

/// Settings whose value is a word.
const WORDS: [(&str, &str); 9] = [
    ("default_transaction_isolation", "read committed"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
    ("enable_incremental_sort", "off"),
    ("enable_nestloop", "off"),
    ("enable_mergejoin", "off"),
];

/// `$1` names of settings.
static SETTINGS: Statement = Statement::repeatable(
    "settings",
    "select name, setting, current_user::text from pg_settings where name = any ($1::text[])",
);

/// All settings but the schema, with their values as `pg_settings` has them.
fn all() -> impl Iterator<Item = (&'static str, String)> {
    let times = [
        ("statement_timeout", STATEMENT_TIME_MAX),
        ("idle_in_transaction_session_timeout", TRANSACTION_IDLE_MAX),
    ];
    let times = times.map(|(name, time)| (name, time.as_millis().to_string()));
    let words = WORDS.map(|(name, word)| (name, word.to_owned()));
    times.into_iter().chain(words)
}

/// All settings, as a connection asks for them: the operator's may differ from ours, but
/// not the schema.
pub(super) fn options(theirs: &str, schema: &str) -> String {
    let mut options = String::new();
    for (name, value) in all() {
        let value = value.replace(' ', "\\ ");
        let _ = write!(options, "-c {name}={value} "); // a String takes everything
    }
    options + theirs + " -c search_path=" + schema
}

/// Tells the operator what sessions are not set to, and how to set it.
pub(super) async fn check(pool: &Pool, theirs: &str) -> Result<()> {
    if let Some(sql) = missing(pool, theirs).await? {
        warn!(
            sql,
            "sessions lack settings, as behind a pooler that drops them, and finding work takes \
             longer; give them to the role"
        );
    }
    Ok(())
}

/// What to run, if sessions lack settings that the operator has not set otherwise.
pub(super) async fn missing(pool: &Pool, theirs: &str) -> Result<Option<String>> {
    let names: Vec<&str> = all().map(|(name, _)| name).collect();
    let mut sql = String::new();
    for row in pool.query(&SETTINGS, &[&names]).await? {
        let (name, value): (&str, &str) = (get(&row, 0)?, get(&row, 1)?);
        let ours = all().find(|(ours, _)| *ours == name);
        if let Some((_, ours)) = ours.filter(|(_, ours)| ours != value && !theirs.contains(name)) {
            let role = get::<&str>(&row, 2)?.replace('"', "\"\"");
            let _ = write!(sql, "alter role \"{role}\" set {name} = '{ours}'; ");
        }
    }
    Ok((!sql.is_empty()).then(|| sql.trim_end().to_owned()))
}
