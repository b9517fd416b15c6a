//! Values that clients set under a name: how they are read, and what is said of one
//! that cannot be.

use std::time::Duration;

use crate::{
    cbor::{self, Reader, nests_within},
    limits::CBOR_DEPTH_MAX,
};

/// A value that is not what its name asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}: {why}")]
pub struct BadField {
    /// The name, as the client wrote it.
    pub name: String,
    /// The value, in short.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
}

impl BadField {
    /// Says what is wrong with the item under `name`.
    pub fn new(name: impl Into<String>, item: &[u8], why: impl ToString) -> BadField {
        BadField {
            name: name.into(),
            value: cbor::diagnose(item, 60),
            why: why.to_string(),
        }
    }
}

/// Reads all of `item` with `read`; whatever is wrong is said of `name`.
///
/// # Errors
/// [`BadField`] with what `read` found.
pub fn read_field<'a, T>(
    name: &str,
    item: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, cbor::Error>,
) -> Result<T, BadField> {
    read(&mut Reader::new(item)).map_err(|error| BadField::new(name, item, error))
}

/// A map that is kept as it came, and handed to clients that decode recursively.
///
/// # Errors
/// [`BadField`] if it is no map, or nested over [`CBOR_DEPTH_MAX`] levels.
pub fn kept_map<'a>(name: &str, item: &'a [u8]) -> Result<&'a [u8], BadField> {
    read_field(name, item, Reader::map)?;
    // Each level takes a byte at least.
    if item.len() > CBOR_DEPTH_MAX && !nests_within(item, CBOR_DEPTH_MAX) {
        let why = format_args!("must not be nested deeper than {CBOR_DEPTH_MAX} levels");
        return Err(BadField::new(name, item, why));
    }
    Ok(item)
}

/// A whole number from `min` to `max`.
///
/// # Errors
/// [`BadField`] if it is another kind of number, no number, or out of bounds.
pub fn whole_between(name: &str, item: &[u8], min: i128, max: i128) -> Result<i128, BadField> {
    let number = read_field(name, item, Reader::whole)?;
    if number < min {
        return Err(BadField::new(
            name,
            item,
            format_args!("must be at least {min}"),
        ));
    }
    if number > max {
        return Err(BadField::new(
            name,
            item,
            format_args!("must be at most {max}"),
        ));
    }
    Ok(number)
}

/// A count: a whole number that is not negative.
///
/// # Errors
/// [`BadField`] otherwise.
pub fn count(name: &str, item: &[u8]) -> Result<u64, BadField> {
    let number = whole_between(name, item, 0, i128::from(u64::MAX))?;
    Ok(u64::try_from(number).expect("within the bounds just checked"))
}

/// A span of time in seconds, fractions kept to the microsecond; negative is refused.
///
/// # Errors
/// [`BadField`] if it is no finite number or below zero.
pub fn span(name: &str, item: &[u8]) -> Result<Duration, BadField> {
    let seconds = read_field(name, item, Reader::finite)?;
    if seconds < 0.0 {
        return Err(BadField::new(name, item, "must not be negative"));
    }
    Ok(duration(seconds))
}

/// This many seconds; none if negative, the longest span there is if too many.
#[must_use]
pub fn duration(seconds: f64) -> Duration {
    if seconds > 0.0 {
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    } else {
        Duration::ZERO
    }
}

/// True or false; Python code also writes 1 and 0.
///
/// # Errors
/// [`BadField`] otherwise.
pub fn flag(name: &str, item: &[u8]) -> Result<bool, BadField> {
    match Reader::new(item).u64() {
        Ok(0) => Ok(false),
        Ok(1) => Ok(true),
        _ => read_field(name, item, Reader::bool),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_names_the_field_and_the_value() {
        let half = [0xf9, 0x3e, 0x00];
        let error = count("max_jobs", &half).unwrap_err().to_string();
        assert!(
            error.starts_with("max_jobs is 1.5") && error.contains("whole"),
            "{error}"
        );
        let error = whole_between("weight", &[0x00], 1, 9)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "weight is 0: must be at least 1");
        assert!(span("delay", &[0x20]).is_err());
        assert!(flag("disabled", &[0x02]).is_err());
    }

    #[test]
    fn data_may_be_nested_64_levels_deep_and_no_deeper() {
        let nested = |levels: usize| [&[0xa1, 0x00].repeat(levels)[..], &[0x00]].concat();
        assert!(kept_map("data", &nested(CBOR_DEPTH_MAX)).is_ok());
        let error = kept_map("data", &nested(CBOR_DEPTH_MAX + 1)).unwrap_err();
        assert!(error.why.contains("64 levels"), "{error}");
        assert!(kept_map("data", &[0x80]).is_err());
    }

    #[test]
    fn numbers_come_in_any_form() {
        assert_eq!(count("n", &[0xf9, 0x5c, 0xb0]), Ok(300));
        assert_eq!(
            span("s", &[0xf9, 0x38, 0x00]),
            Ok(Duration::from_millis(500))
        );
        assert_eq!(
            (flag("f", &[0xf5]), flag("f", &[0x00])),
            (Ok(true), Ok(false))
        );
        assert_eq!(duration(1e300), Duration::MAX);
        assert_eq!(
            (duration(-1.0), duration(f64::NAN)),
            (Duration::ZERO, Duration::ZERO)
        );
    }
}
