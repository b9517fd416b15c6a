//! Rows into the words of the model. Numbers that the model has unsigned are kept in
//! two's complement, times in microseconds, names as bytes.

use tokio_postgres::{Row, types::FromSql};

use crate::{
    backend::{Error, Result},
    clock::Timestamp,
    model::{
        AttemptId, CurrentAttempt, KeyRef, Phase, Priority, RawData, StringType, Unit, UnitId,
        UnitKey, UnitStatus, WorkerName,
    },
};

/// What the database holds and cannot be, or answers and was not asked.
#[derive(Debug, thiserror::Error)]
#[error("unexpected {what} in the database")]
struct Unexpected {
    what: &'static str,
    #[source]
    source: Option<tokio_postgres::Error>,
}

/// An error about what the database holds; trying again does not help.
pub(super) fn unexpected(what: &'static str) -> Error {
    let source = None;
    broken(Unexpected { what, source })
}

fn broken(unexpected: Unexpected) -> Error {
    Error::Unavailable {
        retryable: false,
        source: Box::new(unexpected),
    }
}

/// A column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(|source| {
        let (what, source) = ("type of a column", Some(source));
        broken(Unexpected { what, source })
    })
}

/// An id, which the database counts from 1.
pub(super) fn id(row: &Row, column: usize) -> Result<u64> {
    unsigned(get(row, column)?)
}

pub(super) fn unsigned(id: i64) -> Result<u64> {
    u64::try_from(id).map_err(|_| unexpected("negative id"))
}

/// An id as the database has it. One that is larger than any it gave out finds nothing.
pub(super) fn signed(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// A count as large as it can be in the database.
pub(super) fn bounded(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count out of the database.
pub(super) fn count(row: &Row, column: usize) -> Result<u64> {
    let count: i64 = get(row, column)?;
    u64::try_from(count).map_err(|_| unexpected("negative count"))
}

pub(super) fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| unexpected("bytes of a name"))
}

pub(super) fn worker(name: &[u8]) -> Result<WorkerName> {
    WorkerName::new(text(name)?).map_err(|_| unexpected("length of a name"))
}

pub(super) fn key(row: &Row, key: usize, is_text: usize) -> Result<UnitKey> {
    let string_type = match get(row, is_text)? {
        true => StringType::Text,
        false => StringType::Bytes,
    };
    let bytes = get(row, key)?;
    UnitKey::new(KeyRef { bytes, string_type }).map_err(|_| unexpected("length of a key"))
}

pub(super) fn data(row: &Row, column: usize) -> Result<RawData> {
    match get::<&[u8]>(row, column)? {
        [] => Err(unexpected("empty data")),
        data => Ok(RawData::new(data)),
    }
}

pub(super) fn priority(row: &Row, column: usize) -> Result<Priority> {
    Priority::new(get(row, column)?).ok_or_else(|| unexpected("priority"))
}

pub(super) fn is_text(key: &UnitKey) -> bool {
    key.as_ref().string_type == StringType::Text
}

/// The current attempt in two columns.
pub(super) fn attempt(
    row: &Row,
    id: usize,
    worker_name: usize,
) -> Result<Option<(AttemptId, WorkerName)>> {
    match (
        get::<Option<i64>>(row, id)?,
        get::<Option<&[u8]>>(row, worker_name)?,
    ) {
        (Some(id), Some(name)) => Ok(Some((AttemptId::new(unsigned(id)?), worker(name)?))),
        _ => Ok(None),
    }
}

/// The phase of a unit that is stored in this status.
pub(super) fn phase(status: i16, has_attempt: bool) -> Phase {
    match status {
        4 => Phase::Finished,
        5 => Phase::Failed,
        _ if has_attempt => Phase::Open,
        _ => Phase::Idle,
    }
}

/// The columns of a unit `u` that [`unit`] reads, from the first on.
macro_rules! unit_columns {
    () => {
        "u.key, u.is_text, u.status, u.priority, u.tries, u.attempt_id, u.worker, u.ends, \
         u.due, u.not_before, coalesce(u.attempt_data, u.data)"
    };
}
pub(super) use unit_columns;

/// The unit, as a reader sees it.
pub(super) fn unit(row: &Row, now: Timestamp) -> Result<Unit> {
    let is_due = get::<Option<i64>>(row, 8)?.is_some_and(|due| due <= now.as_micros());
    let is_early = get::<Option<i64>>(row, 9)?.is_some_and(|at| at > now.as_micros());
    let status = match get::<i16>(row, 2)? {
        3 if is_due && is_early => UnitStatus::Delayed,
        2 | 3 if is_due => UnitStatus::Available,
        1 => UnitStatus::Available,
        2 => UnitStatus::Delayed,
        3 => UnitStatus::Pending,
        4 => UnitStatus::Finished,
        5 => UnitStatus::Failed,
        _ => return Err(unexpected("status")),
    };
    let ends = get::<Option<i64>>(row, 7)?;
    Ok(Unit {
        key: key(row, 0, 1)?,
        data: data(row, 10)?,
        status,
        priority: priority(row, 3)?,
        attempts: tries(row, 4)?,
        current: attempt(row, 5, 6)?.map(|(id, worker)| CurrentAttempt {
            id,
            worker,
            ends: Timestamp::from_micros(ends.unwrap_or_default()),
        }),
    })
}

pub(super) fn tries(row: &Row, column: usize) -> Result<u32> {
    u32::try_from(get::<i32>(row, column)?).map_err(|_| unexpected("number of attempts"))
}

pub(super) fn unit_id(row: &Row, column: usize) -> Result<UnitId> {
    Ok(UnitId::new(id(row, column)?))
}
