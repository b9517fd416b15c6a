//! A notation for CBOR in which what is written says exactly which bytes are meant,
//! and back: [`encode`] and [`show`] are each other's inverse.
//!
//! It is the diagnostic notation of RFC 8949 §8 with a few short cuts:
//!
//! | written | meant |
//! | --- | --- |
//! | `7`, `-7`, `7_1` | an integer in its shortest form; `_0` to `_3` is a head of 1, 2, 4 or 8 bytes more |
//! | `1.5`, `1.5_1`, `1.5_2` | a float of eight bytes; of two; of four |
//! | `b'doc\x00'`, `h'00ff'` | a byte string |
//! | `"text"` | a text string; escapes are `\n`, `\"`, `\\` and `\u{1f}` |
//! | `[1, 2]`, `{"a": 1}` | a list, a map, of definite length |
//! | `T(1, 2)` | a Python tuple, which is `128([1, 2])` |
//! | `24(…)` | a tag |
//! | `<<1>>` | a byte string that holds the item |
//! | `[_ 1]`, `{_ }`, `(_ b'a', b'b')` | indefinite lengths |
//! | `true`, `false`, `nil`, `undefined`, `simple(16)` | the simple values |
//! | `raw'61ff'` | these bytes, whatever they are |
//!
//! The suffixes `_0` to `_3` also follow strings and the number of a tag, and the
//! opening bracket of lists and maps (`[_1 7]`). `#` begins a comment that ends with
//! its line.
//!
//! Shares no code with the crate, so that the two check each other.

#![allow(dead_code, reason = "no suite uses all of it")]

mod encode;
mod show;

pub use encode::{Parser, encode, hex_bytes};
pub use show::{hex, show};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const TAG_TUPLE: u64 = 128;
const BREAK: u8 = 0xff;

/// The number that two bytes are as a float.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_says_which_bytes_are_meant() {
        for (written, meant) in [
            ("0", "00"),
            ("23", "17"),
            ("24", "18 18"),
            ("-1", "20"),
            ("-257", "39 01 00"),
            ("18446744073709551615", "1b ff ff ff ff ff ff ff ff"),
            ("7_0", "18 07"),
            ("7_3", "1b 00 00 00 00 00 00 00 07"),
            ("1.5", "fb 3f f8 00 00 00 00 00 00"),
            ("1.5_1", "f9 3e 00"),
            ("-1.5_2", "fa bf c0 00 00"),
            ("Infinity_1", "f9 7c 00"),
            ("1e300", "fb 7e 37 e4 3c 88 00 75 9c"),
            ("b'a\\'\\x00'", "43 61 27 00"),
            ("h'00ff'", "42 00 ff"),
            ("b''", "40"),
            ("b'a'_0", "58 01 61"),
            ("\"a\\\"\\u{e9}é\"", "66 61 22 c3 a9 c3 a9"),
            ("[1, [2]]", "82 01 81 02"),
            ("[_1 7]", "99 00 01 07"),
            ("{\"a\": 1, b'a': 2}", "a2 61 61 01 41 61 02"),
            ("T()", "d8 80 80"),
            ("T(1, nil)", "d8 80 82 01 f6"),
            ("24(<<true>>)", "d8 18 41 f5"),
            ("2_1(1)", "d9 00 02 01"),
            ("[_ 1, 2]", "9f 01 02 ff"),
            ("{_ }", "bf ff"),
            ("(_ b'a', b'')", "5f 41 61 40 ff"),
            ("undefined", "f7"),
            ("simple(16)", "f0"),
            ("raw'61ff'", "61 ff"),
            ("[1, # one\n 2]", "82 01 02"),
        ] {
            let bytes = hex_bytes(meant).unwrap();
            assert_eq!(encode(written), Ok(bytes.clone()), "{written}");
            assert_eq!(encode(&show(&bytes)), Ok(bytes.clone()), "{}", show(&bytes));
        }
        assert_eq!(show(&hex_bytes("fb7e37e43c8800759c").unwrap()), "1e300");
        assert_eq!(show(&hex_bytes("d88082416118ff").unwrap()), "T(b'a', 255)");
    }

    #[test]
    fn bytes_of_any_kind_are_shown_so_that_they_can_be_written() {
        for bytes in [
            "1c aa",
            "82 01",
            "61 ff",
            "f9 7e 01",
            "f8 ff",
            "5f 61 61 ff",
            "81 ff",
            "",
        ] {
            let bytes = hex_bytes(bytes).unwrap();
            assert_eq!(encode(&show(&bytes)), Ok(bytes.clone()), "{}", show(&bytes));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            "", "[1", "[1 2]", "1 2", "\"a", "b'\\q'", "h'0'", "1.1_1", "300_0", "what",
        ] {
            assert!(encode(bad).is_err(), "{bad}");
        }
    }
}
