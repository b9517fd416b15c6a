//! The operator's own settings for clients: what `get_config` returns (protocol.md §5).
//!
//! The file becomes one CBOR map at start, so that answering the call copies bytes.
//! Keys are text all the way down, because clients look them up by text and could not
//! tell `1` from `"1"` in YAML.

use std::{fs, path::Path};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde::{Serialize, Serializer};
use serde_cbor::Value;

use crate::limits::CBOR_DEPTH_MAX;

/// Reads a YAML, TOML or JSON file, told apart by extension, as one CBOR map.
///
/// # Errors
/// If the file cannot be read or is not what its extension says, if there is anything
/// but a map at the top, a key that is not text, or something with no place in CBOR.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let decode = match extension.unwrap_or_default() {
        "yaml" | "yml" => from_yaml,
        "toml" => from_toml,
        "json" => from_json,
        _ => bail!("its name ends in none of .yaml, .yml, .toml, .json"),
    };
    let text = fs::read_to_string(path)?;
    encode(&decode(&text)?)
}

fn from_yaml(text: &str) -> anyhow::Result<Value> {
    let read = serde_saphyr::from_str(text);
    // With the snippet that goes with it, the error would be many lines.
    read.map_err(|error| anyhow!("{}", error.without_snippet()))
}

fn from_json(text: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(text)?)
}

fn from_toml(text: &str) -> anyhow::Result<Value> {
    let table = toml::from_str::<toml::Table>(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        anyhow!("{} at line {line}", error.message())
    })?;
    let table = toml::Value::Table(table);
    serde_cbor::value::to_value(WithoutDates(&table)).context("cannot be written as CBOR")
}

/// TOML with dates as text; by itself the toml crate makes maps of them, with a key of
/// its own. Recurses no deeper than the TOML parser did.
struct WithoutDates<'a>(&'a toml::Value);

impl Serialize for WithoutDates<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            toml::Value::Datetime(date) => serializer.collect_str(date),
            toml::Value::Array(items) => serializer.collect_seq(items.iter().map(WithoutDates)),
            toml::Value::Table(entries) => serializer.collect_map(
                entries
                    .iter()
                    .map(|(key, value)| (key, WithoutDates(value))),
            ),
            plain => plain.serialize(serializer),
        }
    }
}

fn encode(value: &Value) -> anyhow::Result<Vec<u8>> {
    ensure!(matches!(value, Value::Map(_)), "there is no map at its top");
    check(value, CBOR_DEPTH_MAX)?;
    serde_cbor::to_vec(value).context("cannot be written as CBOR")
}

/// That maps have text keys and nothing is nested over `depth` levels.
fn check(value: &Value, depth: usize) -> anyhow::Result<()> {
    let inner = || {
        let deeper = depth.checked_sub(1);
        deeper.with_context(|| format!("nested over {CBOR_DEPTH_MAX} levels"))
    };
    match value {
        Value::Map(entries) => {
            let depth = inner()?;
            for (key, value) in entries {
                let Value::Text(key) = key else {
                    bail!("the key {key:?} is not text; put it in quotes");
                };
                check(value, depth).with_context(|| format!("in {key:?}"))?;
            }
        }
        Value::Array(items) => {
            let depth = inner()?;
            for item in items {
                check(item, depth)?;
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(value: anyhow::Result<Value>) -> serde_json::Value {
        let bytes = encode(&value.unwrap()).unwrap();
        serde_cbor::from_slice(&bytes).unwrap()
    }

    fn refusal(value: anyhow::Result<Value>) -> String {
        let error = value.and_then(|value| encode(&value)).unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn yaml_toml_and_json_of_the_same_map_are_the_same_cbor() {
        let json =
            r#"{"rejester": {"enabled": true, "ratio": 0.5, "hosts": ["a", "b"]}, "port": 5932}"#;
        let yaml = "rejester:\n  enabled: true\n  ratio: 0.5\n  hosts: [a, b]\nport: 5932\n";
        let toml = "port = 5932\n[rejester]\nenabled = true\nratio = 0.5\nhosts = ['a', 'b']\n";
        let expected: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(decoded(from_json(json)), expected);
        assert_eq!(decoded(from_yaml(yaml)), expected);
        assert_eq!(decoded(from_toml(toml)), expected);
        let bytes = encode(&from_json(r#"{"a": 1}"#).unwrap()).unwrap();
        assert_eq!(bytes, [0xa1, 0x61, b'a', 0x01], "a definite map, text key");
    }

    #[test]
    fn a_toml_date_becomes_text() {
        let value = decoded(from_toml("since = 2024-01-02T03:04:05Z"));
        assert_eq!(value["since"], "2024-01-02T03:04:05Z");
    }

    #[test]
    fn anything_but_a_map_with_text_keys_is_refused() {
        assert!(refusal(from_yaml("- a\n- b\n")).contains("no map at its top"));
        assert!(refusal(from_yaml("")).contains("no map at its top"));
        assert!(refusal(from_json("null")).contains("no map at its top"));
        assert!(
            refusal(from_yaml("a:\n  1: x\n")).contains("in \"a\": the key Integer(1) is not text")
        );
    }

    #[test]
    fn nothing_is_nested_deeper_than_a_client_could_decode() {
        let nested = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            from_json(&format!("{{\"a\": {open}{close}}}"))
        };
        assert!(encode(&nested(CBOR_DEPTH_MAX - 1).unwrap()).is_ok());
        assert!(refusal(nested(CBOR_DEPTH_MAX)).contains("nested over 64 levels"));
    }

    #[test]
    fn a_syntax_error_is_one_line_with_a_place() {
        for error in [
            refusal(from_yaml("a: 1\nb: [1,\n")),
            refusal(from_toml("a = 1\nb = [1,\n")),
            refusal(from_json("{\"a\": 1,\n \"b\": [1}")),
        ] {
            assert!(!error.contains('\n'), "{error}");
            assert!(
                error.contains("line 2") || error.contains("line 3"),
                "{error}"
            );
        }
    }
}
