//! Well-formed items of every form, and damage to them, for property tests.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::head::{ARRAY, BREAK, BYTES, MAP, NEGATIVE, SIMPLE, TAG, TEXT, UNSIGNED, shortest};

/// A head in its shortest form, or as wide as `width` (0 to 4) asks.
fn head(major: u8, argument: u64, width: u8) -> Vec<u8> {
    let (head, bytes) = shortest(major, argument);
    let asked = [1, 2, 3, 5, 9][usize::from(width)];
    if asked <= bytes {
        return head[..bytes].to_vec();
    }
    let mut wide = vec![major << 5 | (23 + width)];
    wide.extend(&argument.to_be_bytes()[9 - asked..]);
    wide
}

fn string(major: u8, width: u8, content: &[u8]) -> Vec<u8> {
    [&head(major, content.len() as u64, width), content].concat()
}

/// A container of `items`, each one or two items, with a count or with a break.
fn container(major: u8, width: Option<u8>, items: &[Vec<u8>]) -> Vec<u8> {
    match width {
        Some(width) => [head(major, items.len() as u64, width), items.concat()].concat(),
        None => [vec![major << 5 | 31], items.concat(), vec![BREAK]].concat(),
    }
}

fn leaf() -> impl Strategy<Value = Vec<u8>> {
    let width = 0..=4u8;
    let integer = |major| {
        (any::<u64>(), 0..64u32, 0..=4u8)
            .prop_map(move |(value, shift, width)| head(major, value >> shift, width))
    };
    let bytes = (vec(any::<u8>(), 0..40), width.clone())
        .prop_map(|(content, width)| string(BYTES, width, &content));
    let text = (".{0,12}", width.clone())
        .prop_map(|(content, width)| string(TEXT, width, content.as_bytes()));
    let byte_chunks =
        (vec(vec(any::<u8>(), 0..9), 0..4), width.clone()).prop_map(|(chunks, width)| {
            let chunks: Vec<_> = chunks
                .iter()
                .map(|chunk| string(BYTES, width, chunk))
                .collect();
            container(BYTES, None, &chunks)
        });
    let text_chunks = (vec(".{0,5}", 0..4), width).prop_map(|(chunks, width)| {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| string(TEXT, width, chunk.as_bytes()))
            .collect();
        container(TEXT, None, &chunks)
    });
    let simple = prop_oneof![
        (0..=23u8).prop_map(|value| vec![SIMPLE << 5 | value]),
        (32..=255u8).prop_map(|value| vec![0xf8, value]),
        any::<[u8; 2]>().prop_map(|bits| [&[0xf9][..], &bits].concat()),
        any::<[u8; 4]>().prop_map(|bits| [&[0xfa][..], &bits].concat()),
        any::<[u8; 8]>().prop_map(|bits| [&[0xfb][..], &bits].concat()),
    ];
    prop_oneof![
        integer(UNSIGNED),
        integer(NEGATIVE),
        bytes,
        text,
        byte_chunks,
        text_chunks,
        simple
    ]
}

/// One well-formed item, nested a few levels, with heads of any width.
pub(crate) fn item() -> impl Strategy<Value = Vec<u8>> {
    leaf().prop_recursive(5, 48, 6, |inner| {
        let width = || prop::option::of(0..=4u8);
        let pair = (inner.clone(), inner.clone()).prop_map(|(key, value)| [key, value].concat());
        prop_oneof![
            (vec(inner.clone(), 0..6), width())
                .prop_map(|(items, width)| container(ARRAY, width, &items)),
            (vec(pair, 0..4), width()).prop_map(|(pairs, width)| container(MAP, width, &pairs)),
            (any::<u32>(), 0..=4u8, inner).prop_map(|(tag, width, item)| [
                head(TAG, tag.into(), width),
                item
            ]
            .concat()),
        ]
    })
}

/// An item after a few bytes of it were changed, removed or put in: often no item
/// any more, but nearly one.
pub(crate) fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let telling = prop::sample::select(
        &[
            0x00, 0x18, 0x1f, 0x41, 0x5f, 0x61, 0x7f, 0x81, 0x9b, 0x9f, 0xa1, 0xbf, 0xc1, 0xf8,
            0xff,
        ][..],
    );
    let byte = prop_oneof![any::<u8>(), telling];
    let damage = (any::<Index>(), 0..3u8, byte);
    (item(), vec(damage, 1..4)).prop_map(|(mut item, damage)| {
        for (at, how, byte) in damage {
            match how {
                0 => item.insert(at.index(item.len() + 1), byte),
                _ if item.is_empty() => {}
                1 => drop(item.remove(at.index(item.len()))),
                _ => {
                    let at = at.index(item.len());
                    item[at] = byte;
                }
            }
        }
        item
    })
}
