//! Reads the calls about locks.

use std::time::Duration;

use super::{Call, LockCall, Path};
use crate::{
    cbor::{Left, Reader},
    limits::{LOCK_PATH_ITEM_BYTES_MAX, LOCK_TIMEOUT_DEFAULT, LOCK_TIMEOUT_MAX},
    model::{BadField, LockPath, span},
    wire::{BadCall, args, params::Params},
};

type Result<'a> = std::result::Result<Call<'a>, BadCall>;

pub(super) fn lock(params: Params<'_>) -> Result<'_> {
    Ok(Call::Lock(timed(params)?))
}

pub(super) fn lock_some(params: Params<'_>) -> Result<'_> {
    Ok(Call::LockSome(timed(params)?))
}

pub(super) fn renew(params: Params<'_>) -> Result<'_> {
    Ok(Call::Renew(timed(params)?))
}

pub(super) fn read(params: Params<'_>) -> Result<'_> {
    let [keys] = params.args();
    Ok(Call::ReadLock(keys.read(paths)?))
}

pub(super) fn unlock(params: Params<'_>) -> Result<'_> {
    let [locker, keys] = params.args();
    Ok(Call::Unlock(locker.read(args::name)?, keys.read(paths)?))
}

pub(super) fn delete_namespace(params: Params<'_>) -> Result<'_> {
    let [prefix] = params.args();
    Ok(Call::DeleteNamespace(prefix.read(first_label)?))
}

fn timed(params: Params<'_>) -> std::result::Result<LockCall<'_>, BadField> {
    let [locker, timeout, keys] = params.args();
    Ok(LockCall {
        locker: locker.read(args::name)?,
        timeout: timeout
            .optional(span)?
            .filter(|timeout| !timeout.is_zero())
            .map_or(LOCK_TIMEOUT_DEFAULT, capped),
        paths: keys.read(paths)?,
    })
}

fn capped(timeout: Duration) -> Duration {
    timeout.min(LOCK_TIMEOUT_MAX)
}

fn paths<'a>(name: &str, item: &'a [u8]) -> std::result::Result<Vec<Path<'a>>, BadField> {
    args::list(name, item, |name, item| {
        check_length(name, item)?;
        let path = LockPath::read(item)?;
        Ok(Path { item, path })
    })
}

/// One label, or a path that is nothing but one label. Of a list, it cannot be known
/// whether it is meant as a label or as a path; lists that are labels are rare.
fn first_label<'a>(name: &str, item: &'a [u8]) -> std::result::Result<Path<'a>, BadField> {
    check_length(name, item)?;
    let path = match Reader::new(item).array() {
        Err(_) => LockPath::root(item)?,
        Ok(_) if labels(item) == Some(1) => LockPath::read(item)?,
        Ok(_) => return Err(BadField::new(name, item, "must be one label")),
    };
    Ok(Path { item, path })
}

fn labels(item: &[u8]) -> Option<u64> {
    let mut reader = Reader::new(item);
    let mut left = reader.array().ok()?;
    if let Left::Items(labels) = left {
        return Some(labels);
    }
    let mut labels = 0;
    while reader.more(&mut left).ok()? {
        reader.raw().ok()?;
        labels += 1;
    }
    Some(labels)
}

fn check_length(name: &str, item: &[u8]) -> std::result::Result<(), BadField> {
    if item.len() <= LOCK_PATH_ITEM_BYTES_MAX {
        return Ok(());
    }
    let why = format_args!("must be at most {LOCK_PATH_ITEM_BYTES_MAX} bytes long");
    Err(BadField::new(name, item, why))
}
