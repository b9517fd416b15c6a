//! How the text of a setting becomes its value.
//!
//! The functions are clap value parsers. Their errors say why a value is refused;
//! whoever calls them knows which value it is and where it came from.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use crate::limits;

/// Where jobs are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum BackendChoice {
    /// In this process; lost when it ends.
    Memory,
    /// In the database that this URL (`postgres://…`) or list of `key=value` pairs
    /// names, in the forms that PostgreSQL's own clients take. May hold a password.
    Postgres(String),
}

impl FromStr for BackendChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<BackendChoice, &'static str> {
        let is_url =
            |text: &str| text.starts_with("postgres://") || text.starts_with("postgresql://");
        // Older servers wrote the backend's name before any connection string.
        let database = match text.strip_prefix("postgres:") {
            Some(rest) if !is_url(text) => rest.trim(),
            _ if text == "memory" => return Ok(BackendChoice::Memory),
            _ if is_url(text) || has_key(text) => text,
            _ => {
                return Err(
                    "neither memory nor a PostgreSQL URL such as postgres://user@host/database",
                );
            }
        };
        if database.is_empty() || is_url(database) || has_key(database) {
            Ok(BackendChoice::Postgres(database.to_owned()))
        } else {
            Err("after postgres: come a URL or pairs, such as host=/run/postgresql dbname=jobs")
        }
    }
}

/// Whether `text` begins as libpq's `key=value` strings do.
fn has_key(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim_end();
        !key.is_empty()
            && key
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    })
}

/// Says which backend, but nothing of how to get in: this is for logs.
impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendChoice::Memory => "memory",
            BackendChoice::Postgres(_) => "postgres",
        })
    }
}

/// As [`Display`](fmt::Display), since what is debug-printed ends up in logs too.
impl fmt::Debug for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How to connect to a database, in the forms that PostgreSQL's own clients take. May
/// hold a password, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionString(String);

impl ConnectionString {
    /// The string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConnectionString {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<ConnectionString, &'static str> {
        match text.parse()? {
            BackendChoice::Postgres(database) => Ok(ConnectionString(database)),
            BackendChoice::Memory => {
                Err("not a PostgreSQL URL such as postgres://user@host/database")
            }
        }
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres")
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; coloured if standard error is a terminal.
    Auto,
    /// For people; never coloured.
    Text,
    /// One JSON object per line.
    Json,
}

/// An IP address with a port.
pub(super) fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "not an IP address and a port, as in 127.0.0.1:5932 or [::1]:5932")
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn count<const MIN: usize, const MAX: usize>(text: &str) -> Result<usize, String> {
    let number: u64 = text.parse().map_err(|_| "not a whole number")?;
    between::<MIN, MAX>(Some(number))
}

/// A number of bytes from `MIN` to `MAX`: plain, or with a unit.
pub(super) fn size<const MIN: usize, const MAX: usize>(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, u64); 11] = [
        ("", 1),
        ("b", 1),
        ("k", 1 << 10),
        ("kib", 1 << 10),
        ("kb", 1_000),
        ("m", 1 << 20),
        ("mib", 1 << 20),
        ("mb", 1_000_000),
        ("g", 1 << 30),
        ("gib", 1 << 30),
        ("gb", 1_000_000_000),
    ];
    let (number, unit) = split(text);
    let number: u64 = number
        .parse()
        .map_err(|_| "not a size, such as 67108864, 512KiB or 64MiB")?;
    let unit = unit.to_ascii_lowercase();
    let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err("the unit is not one of B, KiB, MiB, GiB".to_owned());
    };
    between::<MIN, MAX>(number.checked_mul(*bytes))
}

/// `None` is a number too large to hold.
fn between<const MIN: usize, const MAX: usize>(number: Option<u64>) -> Result<usize, String> {
    number
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| (MIN..=MAX).contains(number))
        .ok_or_else(|| format!("not between {MIN} and {MAX}"))
}

/// A length of time: seconds, fractions allowed, or a number with a unit.
pub(super) fn span(text: &str) -> Result<Duration, &'static str> {
    const UNITS: [(&str, f64); 7] = [
        ("", 1.0),
        ("ms", 0.001),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3_600.0),
        ("d", 86_400.0),
        ("w", 604_800.0),
    ];
    let (number, unit) = split(text);
    let number: f64 = number
        .parse()
        .map_err(|_| "not a number of seconds, or a time such as 90m, 12h or 7d")?;
    let Some((_, seconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err("the unit is not one of ms, s, m, h, d, w");
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "negative or too long")
}

/// A number and the unit after it.
fn split(text: &str) -> (&str, &str) {
    let end = text
        .rfind(|c: char| c.is_ascii_digit())
        .map_or(0, |last| last + 1);
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

/// Yes or no, in the words of the tools that write environments.
pub(super) fn switch(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("neither true nor false"),
    }
}

/// A namespace name: possibly empty, at most as long as a client may send.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    if text.len() > limits::NAME_BYTES_MAX {
        return Err(format!("longer than {} bytes", limits::NAME_BYTES_MAX));
    }
    Ok(text.to_owned())
}

/// A list of log directives.
///
/// A lone word is taken for a level only. The filter syntax would take any other for
/// the name of a module whose lines alone are wanted, so that one mistyped letter in
/// `debug` would turn the log off.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    for directive in &directives {
        let is_word = directive.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_level = !directive.is_empty() && directive.parse::<LevelFilter>().is_ok();
        if is_word && !is_level && *directive != "coordinated" {
            return Err(format!(
                "{directive:?} is not off, error, warn, info, debug or trace"
            ));
        }
    }
    // The filter syntax knows no blanks, and people write them after commas.
    let filter = directives.join(",");
    let parsed = EnvFilter::builder().parse(&filter);
    parsed.map_err(|error| error.to_string())?;
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_plain_or_have_a_unit() {
        let sizes = [
            ("0", 0),
            ("67108864", 64 << 20),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("64M", 64 << 20),
            ("64MB", 64_000_000),
            ("1GiB", 1 << 30),
            ("4096B", 4096),
        ];
        for (text, bytes) in sizes {
            assert_eq!(size::<0, { usize::MAX }>(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "1TiBB", "99999999999GiB", "1é"] {
            assert!(size::<0, { usize::MAX }>(text).is_err(), "{text}");
        }
        assert_eq!(size::<2, 4>("5"), Err("not between 2 and 4".to_owned()));
    }

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        let times = [
            ("0", 0),
            ("25", 25_000),
            ("0.5", 500),
            ("1e2", 100_000),
            ("250ms", 250),
            ("90m", 5_400_000),
            ("12h", 43_200_000),
            ("7d", 604_800_000),
            ("1 w", 604_800_000),
        ];
        for (text, milliseconds) in times {
            assert_eq!(
                span(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "-1", "NaN", "inf", "7 days", "1e300", "d", "1d12h"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_backend_is_memory_or_a_connection_string() {
        let postgres = |text: &str| Ok(BackendChoice::Postgres(text.to_owned()));
        assert_eq!("memory".parse(), Ok(BackendChoice::Memory));
        let url = "postgresql://me@db:5433/jobs?sslmode=require";
        assert!(url.parse() == postgres(url));
        let pairs = "host=/run/postgresql dbname=jobs";
        assert!(pairs.parse() == postgres(pairs));
        assert!(format!("postgres:{pairs}").parse() == postgres(pairs));
        assert!("postgres:postgres://db/jobs".parse() == postgres("postgres://db/jobs"));
        assert!("postgres:".parse() == postgres(""), "libpq's defaults");
        for text in [
            "",
            "memroy",
            "postgres",
            "postgres:jobs",
            "mysql://db",
            "sqlite://a?b=c",
        ] {
            assert!(text.parse::<BackendChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_backend_is_printed_without_its_password() {
        let backend = BackendChoice::Postgres("postgres://me:secret@db/jobs".to_owned());
        assert_eq!(format!("{backend} {backend:?}"), "postgres postgres");
    }

    #[test]
    fn a_mistyped_level_is_refused_instead_of_silencing_the_log() {
        for text in [
            "info",
            "DEBUG",
            "off",
            "warn, coordinated=trace",
            "coordinated::daemon=debug,info",
        ] {
            assert!(log_filter(text).is_ok(), "{text}");
        }
        for text in ["", "debgu", "info,debgu", "coordinated=lots", "[a=b"] {
            assert!(log_filter(text).is_err(), "{text}");
        }
    }
}
