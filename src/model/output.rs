//! Units inside other items: what `add_work_units` carries, and what a finished
//! unit's `output` names (semantics.md §6).

use std::time::Duration;

use crate::{
    cbor::{self, Fields, Reader, Str, Writer, field},
    model::{
        KeyRef, NewUnit, Priority, RawData, StringType, UnitKey,
        field::{BadField, duration, kept_map, read_field},
    },
};

/// The key under which a finished unit names the units it leads to.
const OUTPUT: &[u8] = b"output";

/// The key under which a failed unit says why.
pub const TRACEBACK: &str = "traceback";

/// Why a unit with too many attempts failed.
pub const TOO_MANY_RETRIES: &str = "too many retries";

/// The units that a finished unit's data leads to. Where they give no priority, it is
/// `inherited`. What cannot be read is passed to `skipped` and left out.
pub fn chained_units(
    data: &[u8],
    inherited: Priority,
    mut skipped: impl FnMut(BadField),
) -> Vec<NewUnit> {
    let Some(output) = field(data, OUTPUT) else {
        return Vec::new();
    };
    let mut units = Vec::new();
    let result = each_unit(output, inherited, |unit| {
        match unit {
            Ok(unit) => units.push(unit),
            Err(bad) => skipped(bad),
        }
        Ok(())
    });
    if let Err(bad) = result {
        skipped(bad);
    }
    units
}

/// Reads units out of a list (or tuple) of them, or a map key → data, and passes each
/// to `take`, which may stop with an error.
///
/// # Errors
/// Those of `take`, and [`BadField`] if `item` is neither a list nor a map.
pub fn each_unit(
    item: &[u8],
    priority: Priority,
    mut take: impl FnMut(Result<NewUnit, BadField>) -> Result<(), BadField>,
) -> Result<(), BadField> {
    let bad = |error: cbor::Error| BadField::new("units", item, error);
    let mut reader = Reader::new(item);
    if let Ok(mut left) = reader.map() {
        while reader.more(&mut left).map_err(bad)? {
            let (key, data) = (reader.raw().map_err(bad)?, reader.raw().map_err(bad)?);
            take(unit(key, Some(data), None, None, priority))?;
        }
        return Ok(());
    }
    let mut left = reader.array().map_err(bad)?;
    while reader.more(&mut left).map_err(bad)? {
        take(read_unit(reader.raw().map_err(bad)?, priority))?;
    }
    Ok(())
}

/// Reads a key, or a list (or tuple) of a key, data, meta and a priority, of which
/// the last two may be left out.
fn read_unit(item: &[u8], priority: Priority) -> Result<NewUnit, BadField> {
    let bad = |error: cbor::Error| BadField::new("work unit", item, error);
    let mut reader = Reader::new(item);
    let Ok(mut left) = reader.array() else {
        return unit(item, None, None, None, priority);
    };
    let mut parts: [Option<&[u8]>; 4] = [None; 4];
    let mut count = 0;
    while reader.more(&mut left).map_err(bad)? {
        let part = reader.raw().map_err(bad)?;
        if let Some(slot) = parts.get_mut(count) {
            *slot = Some(part);
        }
        count += 1;
    }
    match parts {
        [Some(key), data @ Some(_), meta, given] if count <= parts.len() => {
            unit(key, data, meta, given, priority)
        }
        _ => Err(BadField::new(
            "work unit",
            item,
            "must be a key, (key, data), (key, data, meta) or (key, data, meta, priority)",
        )),
    }
}

/// Puts a unit together; an item that is nil is as good as none.
fn unit(
    key: &[u8],
    data: Option<&[u8]>,
    meta: Option<&[u8]>,
    given: Option<&[u8]>,
    mut priority: Priority,
) -> Result<NewUnit, BadField> {
    let mut delay = Duration::ZERO;
    let key = UnitKey::new(key_ref("work unit key", key)?)
        .map_err(|error| BadField::new("work unit key", key, error))?;
    let data = match data.filter(|item| !Reader::new(item).null()) {
        None => RawData::empty_map(),
        Some(data) => RawData::new(kept_map("work unit data", data)?),
    };
    if let Some(meta) = meta.filter(|item| !Reader::new(item).null()) {
        let bad = |error: cbor::Error| BadField::new("work unit meta", meta, error);
        let mut fields = Fields::new(meta).map_err(bad)?;
        while let Some((name, value)) = fields.next().map_err(bad)? {
            match name.as_bytes() {
                _ if Reader::new(value).null() => {}
                b"priority" => priority = read_priority(value)?,
                b"delay" => delay = duration(read_field("delay", value, Reader::finite)?),
                _ => {}
            }
        }
    }
    if let Some(given) = given.filter(|item| !Reader::new(item).null()) {
        priority = read_priority(given)?;
    }
    Ok(NewUnit {
        key,
        data,
        priority,
        delay,
    })
}

fn read_priority(item: &[u8]) -> Result<Priority, BadField> {
    let priority = read_field("priority", item, Reader::finite)?;
    Ok(Priority::new(priority).expect("finite"))
}

/// A key that is one string, in one piece.
///
/// # Errors
/// [`BadField`] that says so of `name`.
pub fn key_ref<'a>(name: &str, item: &'a [u8]) -> Result<KeyRef<'a>, BadField> {
    use std::borrow::Cow;
    match read_field(name, item, Reader::string)? {
        Str::Bytes(Cow::Borrowed(bytes)) => Ok(KeyRef {
            bytes,
            string_type: StringType::Bytes,
        }),
        Str::Text(Cow::Borrowed(text)) => Ok(KeyRef {
            bytes: text.as_bytes(),
            string_type: StringType::Text,
        }),
        _ => Err(BadField::new(
            name,
            item,
            "must be a string of definite length",
        )),
    }
}

/// A unit's data with `traceback` set, everything else in it byte for byte.
#[must_use]
pub fn with_traceback(data: &[u8], traceback: &str) -> RawData {
    let mut entries = Vec::new();
    let mut pairs = 1;
    let mut reader = Reader::new(data);
    if let Ok(mut left) = reader.map() {
        while let Ok(true) = reader.more(&mut left) {
            let (Ok(key), Ok(value)) = (reader.raw(), reader.raw()) else {
                break;
            };
            let is_traceback = Reader::new(key)
                .string()
                .is_ok_and(|name| name.as_bytes() == TRACEBACK.as_bytes());
            if !is_traceback {
                entries.extend_from_slice(key);
                entries.extend_from_slice(value);
                pairs += 1;
            }
        }
    }
    let mut out = bytes::BytesMut::with_capacity(entries.len() + traceback.len() + 24);
    Writer::new(&mut out)
        .map(pairs)
        .raw(&entries)
        .text(TRACEBACK)
        .text(traceback);
    RawData::new(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key, data, priority and delay in milliseconds.
    type Shown = (String, Vec<u8>, f64, u128);

    /// The units, and how many items were skipped.
    fn chained(data: &[u8]) -> (Vec<Shown>, usize) {
        let mut skipped = 0;
        let units = chained_units(data, Priority::new(7.0).unwrap(), |_| skipped += 1);
        let shown = units
            .iter()
            .map(|unit| {
                let key = String::from_utf8_lossy(unit.key.as_bytes()).into_owned();
                (
                    key,
                    unit.data.to_vec(),
                    unit.priority.get(),
                    unit.delay.as_millis(),
                )
            })
            .collect();
        (shown, skipped)
    }

    fn output(item: &[u8]) -> Vec<u8> {
        [b"\xa1\x46output", item].concat()
    }

    #[test]
    fn output_may_be_a_map_of_keys_to_data() {
        let data = output(b"\xa2\x41a\xa1\x01\x02\x61b\xf6");
        let expected = vec![
            ("a".to_owned(), vec![0xa1, 1, 2], 7.0, 0),
            ("b".to_owned(), vec![0xa0], 7.0, 0),
        ];
        assert_eq!(chained(&data), (expected, 0));
    }

    #[test]
    fn output_may_be_a_list_of_every_form_of_unit() {
        let mut items = b"\x85".to_vec();
        items.extend(b"\x41a"); // a key
        items.extend(b"\xd8\x80\x82\x41b\xa0"); // a tuple (key, data)
        items.extend(b"\x83\x41c\xa0\xa2\x65delay\xf9\x38\x00\x68priority\x01"); // with meta
        items.extend(b"\x84\x41d\xa0\xa1\x68priority\x01\x02"); // a priority over meta's
        items.extend(b"\x9f\x41e\xf6\xf6\xf6\xff"); // nils all the way
        let (units, skipped) = chained(&output(&items));
        let short: Vec<_> = units
            .iter()
            .map(|(k, _, p, d)| (k.as_str(), *p, *d))
            .collect();
        assert_eq!(
            short,
            [
                ("a", 7.0, 0),
                ("b", 7.0, 0),
                ("c", 1.0, 500),
                ("d", 2.0, 0),
                ("e", 7.0, 0)
            ]
        );
        assert_eq!(skipped, 0);
    }

    #[test]
    fn items_of_no_known_form_are_skipped_and_the_others_used() {
        let mut items = b"\x88".to_vec();
        items.extend(b"\x01"); // a number
        items.extend(b"\x81\x41x"); // a key alone in a list
        items.extend(b"\x82\x41x\x01"); // data that is no map
        items.extend(b"\x84\x41x\xa0\xf6\xf9\x7e\x00"); // a priority that is no number
        items.extend(b"\x85\x41x\xa0\xf6\xf6\xf6"); // too long
        items.extend(b"\x83\x41x\xa0\x01"); // meta that is no map
        items.extend(b"\x80"); // nothing
        items.extend(b"\x41a");
        let (units, skipped) = chained(&output(&items));
        assert_eq!((units.len(), skipped), (1, 7));
        assert_eq!(chained(&output(b"\x05")), (Vec::new(), 1));
        assert_eq!(chained(&output(b"\xf6")), (Vec::new(), 0));
        assert_eq!(chained(b"\xa0"), (Vec::new(), 0));
    }

    #[test]
    fn a_traceback_is_added_or_replaced_and_the_rest_kept_as_it_was() {
        // {1: 0 (two bytes), b"traceback": 5}, of indefinite length
        let data = b"\xbf\x01\x18\x00\x49traceback\x05\xff";
        assert_eq!(
            &with_traceback(data, "x")[..],
            b"\xa2\x01\x18\x00\x69traceback\x61x"
        );
        assert_eq!(&with_traceback(b"\xa0", "x")[..], b"\xa1\x69traceback\x61x");
    }
}
