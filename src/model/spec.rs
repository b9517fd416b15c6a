//! Work specs: the keys of a definition that mean something (semantics.md §2).

use std::time::Duration;

use crate::{
    cbor::{Fields, Reader},
    limits::NAME_BYTES_MAX,
    model::{
        RawData, SpecName,
        field::{BadField, count, flag, kept_map, read_field, span, whole_between},
    },
};

/// The weight of a spec that says nothing of its share.
const WEIGHT_DEFAULT: u32 = 20;

/// A work spec as a client sets it.
#[derive(Debug, Clone)]
pub struct NewSpec {
    /// Its name.
    pub name: SpecName,
    /// The map it is set to.
    pub definition: RawData,
    /// What the map says.
    pub options: SpecOptions,
}

/// What the server knows of a spec besides its name: first what its definition says,
/// then what was changed since.
#[derive(Debug, Clone, PartialEq)]
pub struct SpecOptions {
    /// Nothing is handed out.
    pub paused: bool,
    /// A higher spec always goes before a lower one.
    pub priority: i64,
    /// Share of the running work among specs of equal priority; at least 1.
    pub weight: u32,
    /// The server makes a unit when there is none to do.
    pub continuous: bool,
    /// Whether the definition allows `continuous`.
    pub can_be_continuous: bool,
    /// Time between two made units.
    pub interval: Duration,
    /// Most units pending at once; 0 is no limit.
    pub max_running: u64,
    /// Most units handed out by one `get_work`; 0 is no limit.
    pub max_getwork: u64,
    /// Most attempts a unit may have; 0 is no limit.
    pub max_retries: u64,
    /// The spec that receives this one's output.
    pub then: Option<SpecName>,
    /// Which kind of worker may run it.
    pub runtime: Box<str>,
    /// Memory needed, in gigabytes.
    pub min_gb: f64,
}

impl Default for SpecOptions {
    fn default() -> SpecOptions {
        SpecOptions {
            paused: false,
            priority: 0,
            weight: WEIGHT_DEFAULT,
            continuous: false,
            can_be_continuous: false,
            interval: Duration::ZERO,
            max_running: 0,
            max_getwork: 0,
            max_retries: 0,
            then: None,
            runtime: "".into(),
            min_gb: 0.0,
        }
    }
}

/// A change of a spec's options (`control_work_spec`); what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "documented in SpecOptions")]
pub struct SpecChange {
    pub paused: Option<bool>,
    pub priority: Option<i64>,
    pub weight: Option<u32>,
    pub continuous: Option<bool>,
    pub interval: Option<Duration>,
    pub max_running: Option<u64>,
    pub max_getwork: Option<u64>,
    pub max_retries: Option<u64>,
}

impl NewSpec {
    /// Reads a definition, whose form was checked before.
    ///
    /// # Errors
    /// [`BadField`] if it is not a map, has no name, or a key that means something
    /// has a value that does not. Unknown keys are kept and ignored.
    pub fn read(definition: &[u8]) -> Result<NewSpec, BadField> {
        const WHAT: &str = "work spec";
        let bad = |error| BadField::new(WHAT, definition, error);
        let (mut name, mut nice) = (None, None);
        let mut change = SpecChange::default();
        let mut options = SpecOptions::default();
        let mut fields =
            Fields::new(kept_map(WHAT, definition)?).map_err(|error| bad(error.to_string()))?;
        while let Some((key, value)) = fields.next().map_err(|error| bad(error.to_string()))? {
            if Reader::new(value).null() {
                continue;
            }
            match key.as_bytes() {
                b"name" => {
                    let text = text("name", value)?;
                    let checked = SpecName::new(&text);
                    name = Some(checked.map_err(|error| BadField::new("name", value, error))?);
                }
                b"disabled" => options.paused = flag("disabled", value)?,
                b"nice" => nice = Some(read_field("nice", value, Reader::whole)?),
                b"then" => options.then = spec_name("then", value)?,
                b"runtime" => options.runtime = text("runtime", value)?,
                b"min_gb" => {
                    options.min_gb = read_field("min_gb", value, Reader::finite)?;
                    if options.min_gb < 0.0 {
                        return Err(BadField::new("min_gb", value, "must not be negative"));
                    }
                }
                key => change.read(key, value)?,
            }
        }
        let name = name.ok_or_else(|| bad("it has no name".to_owned()))?;
        if let (Some(nice), None) = (nice, change.weight) {
            let weight = i128::from(WEIGHT_DEFAULT).saturating_sub(nice);
            options.weight =
                u32::try_from(weight.clamp(1, u32::MAX.into())).expect("within the bounds of u32");
        }
        options.can_be_continuous = change.continuous == Some(true);
        let applied = options.apply(&change);
        assert!(applied, "continuous is allowed exactly if it is set");
        Ok(NewSpec {
            name,
            definition: RawData::new(definition),
            options,
        })
    }
}

impl SpecOptions {
    /// Makes the change, all of it or nothing; `false` if the spec would become
    /// continuous and may not.
    #[must_use]
    pub fn apply(&mut self, change: &SpecChange) -> bool {
        if change.continuous == Some(true) && !self.can_be_continuous {
            return false;
        }
        fn set<T: Copy>(option: &mut T, change: Option<T>) {
            if let Some(value) = change {
                *option = value;
            }
        }
        set(&mut self.paused, change.paused);
        set(&mut self.priority, change.priority);
        set(&mut self.weight, change.weight);
        set(&mut self.continuous, change.continuous);
        set(&mut self.interval, change.interval);
        set(&mut self.max_running, change.max_running);
        set(&mut self.max_getwork, change.max_getwork);
        set(&mut self.max_retries, change.max_retries);
        true
    }
}

impl SpecChange {
    /// Reads the options of `control_work_spec`, whose form was checked before.
    ///
    /// # Errors
    /// [`BadField`] if they are no map, or one of them has a value that has no meaning.
    pub fn control(options: &[u8]) -> Result<SpecChange, BadField> {
        let bad = |error| BadField::new("options", options, error);
        let mut change = SpecChange::default();
        let mut fields = Fields::new(options).map_err(bad)?;
        while let Some((key, value)) = fields.next().map_err(bad)? {
            if Reader::new(value).null() {
                continue;
            }
            match key.as_bytes() {
                b"status" => {
                    change.paused = Some(match read_field("status", value, Reader::whole)? {
                        1 => false,
                        2 => true,
                        _ => {
                            let why = "must be 1 (runnable) or 2 (paused)";
                            return Err(BadField::new("status", value, why));
                        }
                    });
                }
                key => change.read(key, value)?,
            }
        }
        Ok(change)
    }

    /// Reads an option that definitions and `control_work_spec` have in common.
    fn read(&mut self, key: &[u8], value: &[u8]) -> Result<(), BadField> {
        const U32: i128 = u32::MAX as i128;
        match key {
            b"priority" => {
                let (min, max) = (i64::MIN.into(), i64::MAX.into());
                let priority = whole_between("priority", value, min, max)?;
                self.priority = Some(i64::try_from(priority).expect("within its bounds"));
            }
            b"weight" => {
                let weight = whole_between("weight", value, 1, U32)?;
                self.weight = Some(u32::try_from(weight).expect("within its bounds"));
            }
            b"continuous" => self.continuous = Some(flag("continuous", value)?),
            b"interval" => self.interval = Some(span("interval", value)?),
            b"max_running" => self.max_running = Some(count("max_running", value)?),
            b"max_getwork" => self.max_getwork = Some(count("max_getwork", value)?),
            b"max_retries" => self.max_retries = Some(count("max_retries", value)?),
            _ => {}
        }
        Ok(())
    }
}

fn text(name: &str, item: &[u8]) -> Result<Box<str>, BadField> {
    let text = read_field(name, item, Reader::text)?;
    if text.len() > NAME_BYTES_MAX {
        let why = format_args!("must be at most {NAME_BYTES_MAX} bytes long");
        return Err(BadField::new(name, item, why));
    }
    Ok(text.into())
}

/// The name of another spec; the empty name is none.
fn spec_name(name: &str, item: &[u8]) -> Result<Option<SpecName>, BadField> {
    let text = text(name, item)?;
    Ok(SpecName::new(&text).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_cbor::Value;

    use super::*;

    fn map(fields: &[(&str, Value)]) -> Vec<u8> {
        let map: BTreeMap<_, _> = fields
            .iter()
            .map(|(k, v)| (Value::Text((*k).into()), v.clone()))
            .collect();
        serde_cbor::to_vec(&Value::Map(map)).unwrap()
    }

    fn read(fields: &[(&str, Value)]) -> Result<SpecOptions, String> {
        let mut all = vec![("name", Value::Text("s".into()))];
        all.extend_from_slice(fields);
        NewSpec::read(&map(&all))
            .map(|spec| spec.options)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_bare_definition_has_the_defaults() {
        assert_eq!(read(&[]).unwrap(), SpecOptions::default());
        assert_eq!(
            read(&[("module", Value::Integer(3))]).unwrap(),
            SpecOptions::default()
        );
        assert!(
            NewSpec::read(&map(&[]))
                .unwrap_err()
                .to_string()
                .contains("no name")
        );
        assert!(NewSpec::read(&map(&[("name", Value::Text(String::new()))])).is_err());
        assert!(NewSpec::read(&[0x80]).is_err());
    }

    #[test]
    fn every_key_is_read() {
        let options = read(&[
            ("disabled", Value::Bool(true)),
            ("priority", Value::Integer(-3)),
            ("weight", Value::Float(7.0)),
            ("continuous", Value::Bool(true)),
            ("interval", Value::Float(0.5)),
            ("max_running", Value::Integer(1)),
            ("max_getwork", Value::Integer(2)),
            ("max_retries", Value::Integer(3)),
            ("then", Value::Bytes(b"next".to_vec())),
            ("runtime", Value::Text("rust".into())),
            ("min_gb", Value::Integer(4)),
        ]);
        let wanted = SpecOptions {
            paused: true,
            priority: -3,
            weight: 7,
            continuous: true,
            can_be_continuous: true,
            interval: Duration::from_millis(500),
            max_running: 1,
            max_getwork: 2,
            max_retries: 3,
            then: Some(SpecName::new("next").unwrap()),
            runtime: "rust".into(),
            min_gb: 4.0,
        };
        assert_eq!(options.unwrap(), wanted);
    }

    #[test]
    fn nice_counts_where_there_is_no_weight() {
        let weight = |fields: &[_]| read(fields).unwrap().weight;
        assert_eq!(weight(&[("nice", Value::Integer(5))]), 15);
        assert_eq!(weight(&[("nice", Value::Integer(-5))]), 25);
        assert_eq!(weight(&[("nice", Value::Integer(i64::MAX.into()))]), 1);
        assert_eq!(
            weight(&[("nice", Value::Integer(5)), ("weight", Value::Integer(3))]),
            3
        );
    }

    #[test]
    fn a_bad_value_is_an_error_that_names_the_key() {
        for (key, value) in [
            ("weight", Value::Integer(0)),
            ("weight", Value::Float(1.5)),
            ("priority", Value::Text("high".into())),
            ("interval", Value::Integer(-1)),
            ("interval", Value::Float(f64::NAN)),
            ("max_running", Value::Integer(-1)),
            ("disabled", Value::Text("no".into())),
            ("runtime", Value::Integer(2)),
            ("then", Value::Array(Vec::new())),
            ("min_gb", Value::Float(f64::INFINITY)),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(error.starts_with(key), "{error}");
        }
    }

    #[test]
    fn a_change_is_made_whole_or_not_at_all() {
        let mut options = SpecOptions::default();
        let change = SpecChange::control(&map(&[
            ("continuous", Value::Bool(true)),
            ("weight", Value::Integer(3)),
        ]));
        assert!(!options.apply(&change.unwrap()));
        assert_eq!(options, SpecOptions::default());
        let pause = SpecChange::control(&map(&[("status", Value::Integer(2))])).unwrap();
        assert!(options.apply(&pause) && options.paused);
        for bad in [
            map(&[("status", Value::Integer(3))]),
            map(&[("weight", Value::Integer(0))]),
            vec![0x01],
        ] {
            assert!(SpecChange::control(&bad).is_err());
        }
    }
}
