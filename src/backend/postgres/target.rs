//! Which database: connection strings, as PostgreSQL's own programs read them.
//!
//! What the string leaves open comes from the environment (`PGHOST`, `PGPORT`, `PGUSER`,
//! `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`,
//! `PGOPTIONS`, `PGAPPNAME`),
//! then from `PGPASSFILE` or `~/.pgpass`, then from defaults. The driver knows most of
//! the rest; what it does not know of TLS is taken out of the string first.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use tokio_postgres::config::{Config, Host, SslMode};

use super::session;
use crate::limits::{DATABASE_CONNECT_MAX, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};

/// Where PostgreSQL's sockets are if nobody says: Debian's place, then everybody else's.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Why a connection string cannot be used. Never repeats any of its values.
#[derive(Debug, thiserror::Error)]
pub enum BadTarget {
    /// The driver does not understand the string.
    #[error("the connection string of the database is not valid")]
    Syntax(#[source] tokio_postgres::Error),
    /// A value is not one of those that there are.
    #[error("{0} is not one of {1}")]
    Value(&'static str, &'static str),
    /// A certificate without its key, or the other way round.
    #[error("sslcert and sslkey go together")]
    Half,
    /// A quote is not closed, or there is no `=`.
    #[error("the connection string of the database is neither a URL nor a list of key=value pairs")]
    Pairs,
}

/// How sure of the server one wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Encrypted is enough.
    Nothing,
    /// Its certificate comes from someone trusted.
    Chain,
    /// And it is for this host.
    Host,
}

/// A database and the way to it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) verify: Verify,
    /// PEM file of the certificates to trust, instead of the system's.
    pub(super) roots: Option<PathBuf>,
    /// PEM files of the certificate, and of its key, that the server is shown.
    pub(super) own: Option<(PathBuf, PathBuf)>,
}

impl Target {
    /// Reads a connection string; `environment` looks up variables.
    pub(super) fn parse(
        text: &str,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Target, BadTarget> {
        let variable = |name: &str| {
            let value = environment(name)?.into_string().ok()?;
            (!value.is_empty()).then_some(value)
        };
        let (text, tls) = match text.contains("://") {
            true => split_url(text),
            false => split_pairs(text)?,
        };
        let mut config: Config = text.parse().map_err(BadTarget::Syntax)?;
        fill_in(&mut config, &variable)?;
        let roots = tls.roots.or_else(|| variable("PGSSLROOTCERT"));
        let certificate = tls.certificate.or_else(|| variable("PGSSLCERT"));
        let key = tls.key.or_else(|| variable("PGSSLKEY"));
        let own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => return Err(BadTarget::Half),
        };
        let mode = tls.mode.or_else(|| variable("PGSSLMODE"));
        let (mode, verify) = match (mode.as_deref(), &roots) {
            (Some("disable"), _) => (SslMode::Disable, Verify::Nothing),
            (None | Some("allow" | "prefer"), _) => (SslMode::Prefer, Verify::Nothing),
            (Some("require"), None) => (SslMode::Require, Verify::Nothing),
            (Some("require" | "verify-ca"), _) => (SslMode::Require, Verify::Chain),
            (Some("verify-full"), _) => (SslMode::Require, Verify::Host),
            (Some(_), _) => {
                let all = "disable, allow, prefer, require, verify-ca, verify-full";
                return Err(BadTarget::Value("sslmode", all));
            }
        };
        let is_socket = |host: &Host| matches!(host, Host::Unix(_));
        let mode = match config.get_hosts().iter().all(is_socket) {
            true => SslMode::Disable, // nobody listens in on a socket
            false => mode,
        };
        config.ssl_mode(mode);
        let roots = roots.filter(|roots| roots != "system").map(PathBuf::from);
        Ok(Target {
            config,
            verify,
            roots,
            own,
        })
    }

    /// The same, with what every session of the daemon sets: the schema its tables are
    /// in, and bounds on the time that it may take.
    pub(super) fn session(&self, schema: &str) -> Config {
        let mut config = self.config.clone();
        let theirs = config.get_options().unwrap_or_default();
        let options = session::options(theirs, schema);
        config.options(options);
        // A server that is gone without a word is noticed as soon as a client is.
        config.keepalives_idle(KEEPALIVE_IDLE);
        config.keepalives_interval(KEEPALIVE_INTERVAL);
        config.keepalives_retries(KEEPALIVE_PROBES);
        config
    }
}

/// Fills in what the string leaves open.
fn fill_in(
    config: &mut Config,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<(), BadTarget> {
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        match variable("PGHOST") {
            Some(hosts) => {
                for host in hosts.split(',') {
                    config.host(host);
                }
            }
            None => default_host(config),
        }
    }
    if config.get_ports().is_empty()
        && let Some(ports) = variable("PGPORT")
    {
        for port in ports.split(',') {
            let number = port.parse();
            config.port(number.map_err(|_| BadTarget::Value("PGPORT", "the numbers to 65535"))?);
        }
    }
    if config.get_user().is_none()
        && let Some(user) = variable("PGUSER")
    {
        config.user(user);
    }
    if config.get_dbname().is_none()
        && let Some(name) = variable("PGDATABASE")
    {
        config.dbname(name);
    }
    if config.get_options().is_none()
        && let Some(options) = variable("PGOPTIONS")
    {
        config.options(options);
    }
    if config.get_application_name().is_none() {
        let name = variable("PGAPPNAME").unwrap_or_else(|| "coordinated".to_owned());
        config.application_name(name);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(DATABASE_CONNECT_MAX);
    }
    if config.get_password().is_none() {
        let in_home = || Some(PathBuf::from(variable("HOME")?).join(".pgpass"));
        let file = variable("PGPASSFILE").map(PathBuf::from).or_else(in_home);
        let remembered = || remembered(config, &file?);
        if let Some(password) = variable("PGPASSWORD").or_else(remembered) {
            config.password(password);
        }
    }
    Ok(())
}

/// The first of the usual sockets, or else this machine by TCP.
fn default_host(config: &mut Config) {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let socket = format!(".s.PGSQL.{port}");
    let has_socket = |folder: &&str| Path::new(folder).join(&socket).exists();
    match SOCKET_FOLDERS.into_iter().find(has_socket) {
        Some(folder) => config.host_path(folder),
        None => config.host("localhost"),
    };
}

/// The password that a password file has for the first host.
fn remembered(config: &Config, file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let host = match config.get_hosts().first()? {
        Host::Tcp(name) => name.clone(),
        Host::Unix(_) => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let user = config.get_user().unwrap_or_default();
    let wanted = [
        &host,
        &port.to_string(),
        config.get_dbname().unwrap_or(user),
        user,
    ];
    text.lines().find_map(|line| {
        let fields = fields(line);
        let [keys @ .., password] = &fields[..] else {
            return None;
        };
        let fits = |(key, value): (&String, &str)| key == "*" || key == value;
        let all = keys.len() == wanted.len() && keys.iter().zip(wanted).all(fits);
        (all && !line.starts_with('#')).then(|| password.clone())
    })
}

/// A line of a password file: fields between colons, where `\` takes the next character
/// as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        let plain = match c {
            ':' => {
                fields.push(String::new());
                continue;
            }
            '\\' => characters.next().unwrap_or('\\'),
            c => c,
        };
        if let Some(field) = fields.last_mut() {
            field.push(plain);
        }
    }
    fields
}

/// What a string says of TLS that the driver would not understand.
#[derive(Debug, Default)]
struct Tls {
    mode: Option<String>,
    roots: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl Tls {
    /// Takes a pair that is about TLS; `false` if it is not.
    fn take(&mut self, key: &str, value: &str) -> bool {
        let place = match key {
            "sslmode" => &mut self.mode,
            "sslrootcert" => &mut self.roots,
            "sslcert" => &mut self.certificate,
            "sslkey" => &mut self.key,
            _ => return false,
        };
        *place = Some(value.to_owned());
        true
    }
}

fn split_url(text: &str) -> (String, Tls) {
    let mut tls = Tls::default();
    let Some((url, query)) = text.split_once('?') else {
        return (text.to_owned(), tls);
    };
    let others: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            !tls.take(key, &decoded(value))
        })
        .collect();
    match others.is_empty() {
        true => (url.to_owned(), tls),
        false => (format!("{url}?{}", others.join("&")), tls),
    }
}

/// Text with `%2F` and the like made plain.
fn decoded(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let code = match byte {
            b'%' => ahead
                .next()
                .and_then(digit)
                .zip(ahead.next().and_then(digit)),
            _ => None,
        };
        match code.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = ahead;
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn split_pairs(text: &str) -> Result<(String, Tls), BadTarget> {
    let mut tls = Tls::default();
    let mut others = String::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or(BadTarget::Pairs)?;
        let (value, after) = value(after.trim_start()).ok_or(BadTarget::Pairs)?;
        let key = key.trim_end();
        if !tls.take(key, &value) {
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            others.push_str(&format!("{key}='{value}' "));
        }
        rest = after.trim_start();
    }
    Ok((others, tls))
}

/// The value that `text` begins with, and what comes after it; `None` if its quote is
/// not closed.
fn value(text: &str) -> Option<(String, &str)> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.push(characters.next()?.1),
            '\'' if quoted => return Some((value, characters.as_str())),
            c if !quoted && c.is_whitespace() => return Some((value, text.get(at..)?)),
            c => value.push(c),
        }
    }
    (!quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str, environment: &[(&str, &str)]) -> Result<Target, BadTarget> {
        Target::parse(text, |name| {
            let found = environment.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn what_the_string_says_counts_and_the_rest_comes_from_the_environment() {
        let environment = [
            ("PGHOST", "there"),
            ("PGPORT", "6432"),
            ("PGUSER", "someone"),
            ("PGPASSWORD", "secret"),
            ("PGDATABASE", "jobs"),
            ("PGAPPNAME", "me"),
            ("PGSSLMODE", "disable"),
        ];
        let all = target("", &environment).unwrap().config;
        assert_eq!(all.get_hosts(), [Host::Tcp("there".to_owned())]);
        assert_eq!(all.get_ports(), [6432]);
        assert_eq!(all.get_user(), Some("someone"));
        assert_eq!(all.get_password(), Some(&b"secret"[..]));
        assert_eq!(all.get_dbname(), Some("jobs"));
        assert_eq!(all.get_application_name(), Some("me"));
        assert_eq!(all.get_ssl_mode(), SslMode::Disable);
        for text in [
            "postgres://other:word@here:5433/work?application_name=it",
            "host=here port=5433 user=other password='word' dbname = work application_name=it",
        ] {
            let own = target(text, &environment).unwrap().config;
            assert_eq!(own.get_hosts(), [Host::Tcp("here".to_owned())], "{text}");
            assert_eq!(own.get_ports(), [5433]);
            assert_eq!(own.get_user(), Some("other"));
            assert_eq!(own.get_password(), Some(&b"word"[..]));
            assert_eq!(own.get_dbname(), Some("work"));
            assert_eq!(own.get_application_name(), Some("it"));
        }
    }

    #[test]
    fn how_sure_one_is_of_the_server_follows_from_sslmode_and_the_certificates() {
        let cases = [
            ("", SslMode::Prefer, Verify::Nothing),
            ("sslmode=disable", SslMode::Disable, Verify::Nothing),
            ("sslmode=require", SslMode::Require, Verify::Nothing),
            (
                "sslmode=require sslrootcert=/ca.pem",
                SslMode::Require,
                Verify::Chain,
            ),
            ("sslmode=verify-ca", SslMode::Require, Verify::Chain),
            (
                "sslmode='verify-full' sslrootcert=system",
                SslMode::Require,
                Verify::Host,
            ),
        ];
        for (text, mode, verify) in cases {
            let target = target(&format!("host=db {text}"), &[]).unwrap();
            assert_eq!(
                (target.config.get_ssl_mode(), target.verify),
                (mode, verify),
                "{text}"
            );
        }
        let url = "postgres://db/jobs?sslmode=verify-full&sslrootcert=%2Fetc%2Fmy%20ca.pem&connect_timeout=3";
        let parsed = target(url, &[]).unwrap();
        assert_eq!(parsed.verify, Verify::Host);
        assert_eq!(parsed.roots, Some(PathBuf::from("/etc/my ca.pem")));
        let socket = target("host=/run/postgresql sslmode=require", &[]).unwrap();
        assert_eq!(
            socket.config.get_ssl_mode(),
            SslMode::Disable,
            "nobody listens in"
        );
    }

    #[test]
    fn a_bad_string_is_refused_without_repeating_it() {
        for text in [
            "host=db password='secret",
            "secret",
            "postgres://me:secret@db:port/jobs",
            "host=db sslmode=secret",
            "host=db secret=secret1",
        ] {
            let error = target(text, &[]).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(target("", &[("PGPORT", "many")]).is_err());
    }

    #[test]
    fn passwords_come_from_the_password_file_line_by_line() {
        let file = std::env::temp_dir().join(format!("coordinated-pgpass-{}", std::process::id()));
        let lines = "# db:*:*:*:comment\n*:6000:*:*:wrong port\n\
                     db:*:jobs:me:a\\:b\\\\c\ndb:*:*:*:too late\n";
        fs::write(&file, lines).unwrap();
        let environment = [("PGPASSFILE", file.to_str().unwrap())];
        let password = |text| {
            let config = target(text, &environment).unwrap().config;
            config.get_password().map(<[u8]>::to_vec)
        };
        assert_eq!(
            password("host=db user=me dbname=jobs"),
            Some(b"a:b\\c".to_vec())
        );
        assert_eq!(password("host=db user=you"), Some(b"too late".to_vec()));
        assert_eq!(password("host=elsewhere user=me"), None);
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn the_schema_of_the_session_is_ours_and_its_times_the_operators() {
        let text = "host=db options='-c statement_timeout=60000 -c search_path=theirs'";
        let session = target(text, &[]).unwrap().session("ours");
        let options = session.get_options().unwrap();
        let last = |name: &str| options.rfind(&format!("-c {name}=")).unwrap();
        assert!(options[last("statement_timeout")..].starts_with("-c statement_timeout=60000"));
        assert!(options[last("search_path")..].starts_with("-c search_path=ours"));
        assert!(options.contains("-c default_transaction_isolation=read\\ committed "));
    }
}
