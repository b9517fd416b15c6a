//! The two places where user data goes out other than it came in (protocol.md §2, §5):
//! the strings of a definition that name code, and a worker's data with its age.
//!
//! Everything else in them stays byte for byte, and nothing is decoded but the keys of
//! the outermost map.

use crate::{
    cbor::{Fields, Left, Reader, Str, Writer},
    wire::Dialect,
};

/// Keys whose strings a worker passes to its import machinery, which in Python 2
/// takes byte strings.
const CODE_NAMES: [&[u8]; 2] = [b"module", b"run_function"];

const AGE: &str = "age_seconds";

/// Ends an indefinite map.
const BREAK: u8 = 0xff;

/// Appends a work spec's definition; in it, `module` and `run_function`, if they are
/// strings, become the string type of the dialect. Byte strings that are no UTF-8 stay
/// as they are.
pub(super) fn definition(out: &mut Writer<'_>, definition: &[u8], dialect: Dialect) {
    // What lies before `rest` has been appended.
    let mut rest = definition;
    let mut reader = Reader::new(definition);
    if let Ok(mut left) = reader.map() {
        while let Ok(true) = reader.more(&mut left) {
            let (Ok(key), value) = (reader.raw(), reader.clone()) else {
                break;
            };
            if reader.raw().is_err() {
                break;
            }
            let Some(converted) = converted(key, value.clone(), dialect) else {
                continue;
            };
            let before = rest.len() - value.rest().len();
            out.raw(&rest[..before]).string(&converted);
            rest = reader.rest();
        }
    }
    out.raw(rest);
}

/// The value as the dialect wants it, if that differs from what it is.
fn converted<'a>(key: &[u8], mut value: Reader<'a>, dialect: Dialect) -> Option<Str<'a>> {
    let name = Reader::new(key).string().ok()?;
    if !CODE_NAMES.contains(&name.as_bytes()) {
        return None;
    }
    match (value.string().ok()?, dialect) {
        (text @ Str::Text(_), Dialect::Bytes) => Some(Str::Bytes(text.into_bytes())),
        (bytes @ Str::Bytes(_), Dialect::Text) => bytes.into_text().ok().map(Str::Text),
        _ => None,
    }
}

/// Appends a worker's data, a map, with `age_seconds` added at its end unless it has
/// that key. No data is a map without entries.
pub(super) fn worker_info(out: &mut Writer<'_>, data: Option<&[u8]>, age_seconds: f64) {
    let data = data.unwrap_or(&[0xa0]);
    let mut entries = Reader::new(data);
    let Ok(left) = entries.map() else {
        debug_assert!(false, "a heartbeat's data is a map");
        out.raw(data);
        return;
    };
    if has_key(data, AGE) {
        out.raw(data);
        return;
    }
    match left {
        Left::Items(pairs) => {
            // A map of as many entries as fit in memory has room for one more.
            out.map(pairs.saturating_add(1)).raw(entries.rest());
            out.text(AGE).f64(age_seconds);
        }
        Left::UntilBreak => {
            out.raw(data.strip_suffix(&[BREAK]).unwrap_or(data));
            out.text(AGE).f64(age_seconds).raw(&[BREAK]);
        }
    }
}

fn has_key(map: &[u8], key: &str) -> bool {
    let Ok(mut fields) = Fields::new(map) else {
        return false;
    };
    while let Ok(Some((name, _))) = fields.next() {
        if name.as_bytes() == key.as_bytes() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(&mut Writer::new(&mut out));
        out.to_vec()
    }

    fn rewritten(item: &[u8], dialect: Dialect) -> Vec<u8> {
        written(|out| definition(out, item, dialect))
    }

    #[test]
    fn names_of_code_take_the_string_type_of_the_dialect_and_all_else_stays() {
        // {"module": "a.b", b"run_function": "f", "x": {"module": "z"}}, in long heads
        let text = b"\xb8\x03\x66module\x78\x03a.b\x4crun_function\x61f\x61x\xa1\x66module\x61z";
        let bytes = b"\xb8\x03\x66module\x43a.b\x4crun_function\x41f\x61x\xa1\x66module\x61z";
        assert_eq!(rewritten(text, Dialect::Bytes), bytes);
        assert_eq!(rewritten(text, Dialect::Text), text, "text is text already");
        let back = b"\xb8\x03\x66module\x63a.b\x4crun_function\x61f\x61x\xa1\x66module\x61z";
        assert_eq!(rewritten(bytes, Dialect::Text), back);
        assert_eq!(rewritten(bytes, Dialect::Bytes), bytes);
    }

    #[test]
    fn an_indefinite_definition_stays_indefinite() {
        // the value comes in chunks
        let map = b"\xbf\x46module\x7f\x61a\x61b\xff\x01\x9f\xff\xff";
        assert_eq!(
            rewritten(map, Dialect::Bytes),
            b"\xbf\x46module\x42ab\x01\x9f\xff\xff"
        );
        assert_eq!(rewritten(map, Dialect::Text), map);
    }

    #[test]
    fn what_is_no_string_or_no_utf_8_stays() {
        for map in [
            &b"\xa1\x66module\xf6"[..],
            b"\xa1\x66module\x81\x61a",
            b"\xa1\x66module\x41\xff",
            b"\xa1\x06\x61a",
            b"\xa0",
        ] {
            assert_eq!(rewritten(map, Dialect::Text), map);
        }
        assert_eq!(
            rewritten(b"\xa1\x66module\xf6", Dialect::Bytes),
            b"\xa1\x66module\xf6"
        );
    }

    #[test]
    fn a_repeated_key_is_converted_each_time() {
        assert_eq!(
            rewritten(b"\xa2\x66module\x61a\x66module\x61b", Dialect::Bytes),
            b"\xa2\x66module\x41a\x66module\x41b"
        );
    }

    #[test]
    fn a_worker_s_data_gets_its_age_unless_it_has_one() {
        let info = |data: Option<&[u8]>| written(|out| worker_info(out, data, 1.5));
        const AGE_1_5: &[u8] = b"\x6bage_seconds\xfb\x3f\xf8\0\0\0\0\0\0";
        assert_eq!(info(None), [b"\xa1", AGE_1_5].concat());
        assert_eq!(info(Some(b"\xa0")), [b"\xa1", AGE_1_5].concat());
        assert_eq!(
            info(Some(b"\xb9\x00\x01\x41a\x18\x01")),
            [b"\xa2\x41a\x18\x01", AGE_1_5].concat(),
            "entries keep their bytes"
        );
        assert_eq!(
            info(Some(b"\xbf\x41a\x01\xff")),
            [b"\xbf\x41a\x01", AGE_1_5, b"\xff"].concat()
        );
        for own in [
            &b"\xa1\x4bage_seconds\xf6"[..],
            b"\xbf\x6bage_seconds\x02\xff",
        ] {
            assert_eq!(info(Some(own)), own);
        }
        let mut full = b"\xb7".to_vec();
        full.extend((0..23).flat_map(|key| [key, 0]));
        assert!(info(Some(&full)).starts_with(&[0xb8, 24, 0, 0, 1, 0]));
    }
}
