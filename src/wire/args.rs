//! Parameters and options, each with the name that errors call it by, and what kinds
//! of values they take.
//!
//! Every reader here has the shape of those in `model`: `fn(name, item)`, with an
//! error that shows both.

use std::borrow::Cow;

use crate::{
    cbor::{self, Fields, Reader},
    limits::{KEY_BYTES_MAX, LIST_ITEMS_MAX, NAME_BYTES_MAX},
    model::{BadField, KeyRef, StatusSet, key_ref, read_field},
};

/// Stands for what was not given.
const NIL: &[u8] = &[0xf6];

/// A parameter or an option: its name, and the item given for it. What was not given
/// is nil, so the two are one case (protocol.md §2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Arg<'a> {
    pub(super) name: &'static str,
    pub(super) item: &'a [u8],
}

impl<'a> Arg<'a> {
    /// What was not given.
    pub(super) fn absent(name: &'static str) -> Arg<'a> {
        Arg { name, item: NIL }
    }

    /// The value, which must be there.
    pub(super) fn read<T>(
        self,
        read: impl FnOnce(&str, &'a [u8]) -> Result<T, BadField>,
    ) -> Result<T, BadField> {
        read(self.name, self.item)
    }

    /// The value, if there is one.
    pub(super) fn optional<T>(
        self,
        read: impl FnOnce(&str, &'a [u8]) -> Result<T, BadField>,
    ) -> Result<Option<T>, BadField> {
        if Reader::new(self.item).null() {
            return Ok(None);
        }
        self.read(read).map(Some)
    }

    /// The options of these names, which are matched exactly; others are ignored, and
    /// the last of several of one name counts. Nil is the map without options.
    pub(super) fn options<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<[Arg<'a>; N], BadField> {
        let mut options = names.map(Arg::absent);
        if Reader::new(self.item).null() {
            return Ok(options);
        }
        let bad = |error| BadField::new(self.name, self.item, error);
        let mut fields = Fields::new(self.item).map_err(bad)?;
        while let Some((key, value)) = fields.next().map_err(bad)? {
            if let Some(option) = options
                .iter_mut()
                .find(|option| option.name.as_bytes() == key.as_bytes())
            {
                option.item = value;
            }
        }
        Ok(options)
    }
}

/// A name of a spec, a worker or the like: text of at most [`NAME_BYTES_MAX`] bytes
/// in one piece, as either string type.
pub(super) fn name<'a>(name: &str, item: &'a [u8]) -> Result<&'a str, BadField> {
    let Cow::Borrowed(text) = read_field(name, item, Reader::text)? else {
        return Err(BadField::new(name, item, DEFINITE));
    };
    if text.len() > NAME_BYTES_MAX {
        let why = format_args!("must be at most {NAME_BYTES_MAX} bytes long");
        return Err(BadField::new(name, item, why));
    }
    Ok(text)
}

/// A secret: any bytes in one piece, as either string type.
pub(super) fn secret<'a>(name: &str, item: &'a [u8]) -> Result<&'a [u8], BadField> {
    match read_field(name, item, Reader::string)?.into_bytes() {
        Cow::Borrowed(bytes) => Ok(bytes),
        Cow::Owned(_) => Err(BadField::new(name, item, DEFINITE)),
    }
}

const DEFINITE: &str = "must be a string of definite length";

/// A work unit key: at most [`KEY_BYTES_MAX`] bytes.
pub(super) fn key<'a>(name: &str, item: &'a [u8]) -> Result<KeyRef<'a>, BadField> {
    let key = key_ref(name, item)?;
    if key.bytes.len() > KEY_BYTES_MAX {
        let why = format_args!("must be at most {KEY_BYTES_MAX} bytes long");
        return Err(BadField::new(name, item, why));
    }
    Ok(key)
}

/// A list of [`name`]s.
pub(super) fn names<'a>(field: &str, item: &'a [u8]) -> Result<Vec<&'a str>, BadField> {
    list(field, item, name)
}

/// A list of [`key`]s.
pub(super) fn keys<'a>(field: &str, item: &'a [u8]) -> Result<Vec<KeyRef<'a>>, BadField> {
    list(field, item, key)
}

/// Any finite number.
pub(super) fn finite(name: &str, item: &[u8]) -> Result<f64, BadField> {
    read_field(name, item, Reader::finite)
}

/// Most items of a listing: a whole number; anything not above zero is zero.
pub(super) fn limit(name: &str, item: &[u8]) -> Result<usize, BadField> {
    let limit = read_field(name, item, Reader::whole)?.max(0);
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// A status number or a list of them; those that are no status select nothing.
pub(super) fn statuses(name: &str, item: &[u8]) -> Result<StatusSet, BadField> {
    let number = |name: &str, item: &[u8]| read_field(name, item, Reader::whole);
    let with = |set: StatusSet, number| match u64::try_from(number) {
        Ok(number) => set.with_wire(number),
        Err(_) => set,
    };
    if Reader::new(item).array().is_err() {
        return Ok(with(StatusSet::NONE, number(name, item)?));
    }
    let mut set = StatusSet::NONE;
    each(name, item, |name, element| {
        set = with(set, number(name, element)?);
        Ok(())
    })?;
    Ok(set)
}

/// A list (or tuple) of at most [`LIST_ITEMS_MAX`] items, each read with `read`.
/// Takes memory for the items as they are read, whatever the list announces.
pub(super) fn list<'a, T>(
    name: &str,
    item: &'a [u8],
    mut read: impl FnMut(&str, &'a [u8]) -> Result<T, BadField>,
) -> Result<Vec<T>, BadField> {
    let mut values = Vec::new();
    each(name, item, |name, element| {
        values.push(read(name, element)?);
        Ok(())
    })?;
    Ok(values)
}

/// Passes each item of a list to `take`; errors tell which item they are about.
fn each<'a>(
    name: &str,
    item: &'a [u8],
    mut take: impl FnMut(&str, &'a [u8]) -> Result<(), BadField>,
) -> Result<(), BadField> {
    let bad = |error: cbor::Error| BadField::new(name, item, error);
    let mut reader = Reader::new(item);
    let mut left = reader.array().map_err(bad)?;
    let mut index = 0;
    while reader.more(&mut left).map_err(bad)? {
        check_count(name, item, index + 1)?;
        take(name, reader.raw().map_err(bad)?)
            .map_err(|bad| place(bad, name, format_args!("{name}[{index}]")))?;
        index += 1;
    }
    Ok(())
}

/// Refuses the list that `item` is if it has more than [`LIST_ITEMS_MAX`] items.
pub(super) fn check_count(name: &str, item: &[u8], count: usize) -> Result<(), BadField> {
    if count <= LIST_ITEMS_MAX {
        return Ok(());
    }
    let why = format_args!("must have at most {LIST_ITEMS_MAX} items");
    Err(BadField::new(name, item, why))
}

/// Says where in a list the trouble is: what was said of `name` is said of `place`
/// instead, what was said of something inside it of that thing in `place`.
pub(super) fn place(bad: BadField, name: &str, place: std::fmt::Arguments<'_>) -> BadField {
    let name = if bad.name == name {
        place.to_string()
    } else {
        format!("{place}: {}", bad.name)
    };
    BadField { name, ..bad }
}
