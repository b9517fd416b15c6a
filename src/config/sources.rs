//! Settings from the file and from the environment, as the flags they stand for.

use std::{error::Error as _, ffi::OsString, path::Path};

use anyhow::{anyhow, bail};
use clap::{
    CommandFactory as _,
    error::{ContextKind, ContextValue, ErrorKind},
};
use toml::de::{DeTable, DeValue};

use super::{Config, parse};

/// One setting and where it was found.
pub(super) struct Given {
    /// `daemon.toml:3: `, or nothing for the environment.
    place: String,
    /// The key or the variable, as the operator wrote it.
    name: String,
    value: OsString,
    /// `--name=value`.
    flag: OsString,
}

impl Given {
    fn new(place: String, name: &str, setting: &str, value: OsString) -> Given {
        let mut flag = OsString::from(format!("--{}=", setting.replace('_', "-")));
        flag.push(&value);
        Given {
            place,
            name: name.to_owned(),
            value,
            flag,
        }
    }

    /// The setting as a flag that clap will take.
    ///
    /// # Errors
    /// If the value is not valid: the place, the name, the value and why.
    pub(super) fn checked(self) -> anyhow::Result<OsString> {
        match parse(std::slice::from_ref(&self.flag)) {
            Ok(_) => Ok(self.flag),
            Err(refusal) => bail!(
                "{}invalid value {:?} for {}: {}",
                self.place,
                shown(&self.value.to_string_lossy()),
                self.name,
                cause(&refusal)
            ),
        }
    }
}

/// The settings that `lookup` finds under their variables. `RUST_LOG` stands in for
/// the log filter's own.
pub(super) fn environment(lookup: impl Fn(&str) -> Option<OsString>) -> Vec<Given> {
    let mut found = Vec::new();
    for setting in Config::command().get_arguments() {
        let own = setting.get_env().and_then(|name| name.to_str());
        let shared = (setting.get_id() == "log").then_some("RUST_LOG");
        let mut variables = own.into_iter().chain(shared);
        let first = variables.find_map(|name| {
            let value = lookup(name).filter(|value| !value.is_empty())?;
            Some((name, value))
        });
        if let Some((name, value)) = first {
            let setting = setting.get_id().as_str();
            found.push(Given::new(String::new(), name, setting, value));
        }
    }
    found
}

/// The settings in the text of a TOML file, in the order of their lines.
///
/// # Errors
/// If the text is not TOML, a key is no setting, or a value is an array, a table or a
/// date: the line, the key and the value.
pub(super) fn file(path: &Path, text: &str) -> anyhow::Result<Vec<Given>> {
    let place = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        format!("{}:{line}: ", path.display())
    };
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        anyhow!("{}{}", place(offset), error.message())
    })?;
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);

    let mut found = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let (place, key) = (place(key.span().start), key.get_ref().as_ref());
        let written = text.get(value.span()).unwrap_or_default();
        let scalar = match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) => {
                let decimal = u64::from_str_radix(number.as_str(), number.radix());
                Ok(decimal.map_or_else(|_| number.to_string(), |number| number.to_string()))
            }
            DeValue::Float(number) => Ok(number.as_str().to_owned()),
            DeValue::Boolean(switch) => Ok(switch.to_string()),
            DeValue::Datetime(_) => Err("a date"),
            DeValue::Array(_) => Err("an array"),
            DeValue::Table(_) => Err("a table"),
        };
        if !is_setting(key) {
            let value = shown(scalar.as_deref().unwrap_or(written));
            let hint = similar(key).map(|name| format!("; did you mean {name}"));
            let hint = hint.unwrap_or_default();
            bail!("{place}unknown setting {key:?} (value {value:?}){hint}");
        }
        match scalar {
            Ok(value) => found.push(Given::new(place, key, key, value.into())),
            Err(kind) => bail!(
                "{place}invalid value {:?} for {key}: {kind}, not text, a number or true or false",
                shown(written)
            ),
        }
    }
    Ok(found)
}

/// Whether the file may have this key. A file cannot name another file.
fn is_setting(key: &str) -> bool {
    let command = Config::command();
    let mut settings = command.get_arguments();
    key != "config" && settings.any(|setting| setting.get_id() == key)
}

/// The setting whose name is closest to `key`, if one is close. Clap knows, as it
/// answers the same question for flags.
fn similar(key: &str) -> Option<String> {
    let flag = format!("--{}", key.replace('_', "-"));
    let refusal = parse(&[format!("{flag}=").into()]).err()?;
    let close = match (refusal.kind(), refusal.get(ContextKind::SuggestedArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(close))) => close.clone(),
        (ErrorKind::UnknownArgument, _) => return None,
        _ => flag,
    };
    let name = close.trim_start_matches('-').replace('-', "_");
    is_setting(&name).then_some(name)
}

/// Why clap refused one value, without the flag that the operator never wrote.
fn cause(refusal: &clap::Error) -> String {
    if let Some(source) = refusal.source() {
        return source.to_string();
    }
    match refusal.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
            format!("not one of {}", valid.join(", "))
        }
        _ => refusal.kind().to_string(),
    }
}

/// A value as an error may show it: not past the point where a connection string could
/// hold a password, and not for ever.
fn shown(value: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let secret = ["://", "password"].iter().filter_map(|mark| {
        let at = value.find(mark)?;
        Some(at + mark.len())
    });
    let public = secret.min().and_then(|end| value.get(..end));
    let mut text: String = public
        .unwrap_or(value)
        .chars()
        .take(CHARACTERS_MAX)
        .collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text
}
