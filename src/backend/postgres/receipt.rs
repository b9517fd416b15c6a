//! Receipts: how a call that is repeated after its answer was lost finds out that it was
//! carried out.
//!
//! Most statements can tell by what they find. A lock that is taken or given up cannot:
//! it looks the same whoever did it. Such a call leaves a receipt in the transaction that
//! does it, under a number that no other call of any daemon has; a repetition that finds
//! the receipt does nothing and gives the answer that is on it. Upkeep removes receipts
//! that nobody can ask for any more.

use std::sync::atomic::{AtomicI64, Ordering};

use super::{
    pool::Pool,
    row::{get, unexpected},
    statement::Statement,
};
use crate::{backend::Result, clock::Timestamp, limits::RECEIPT_KEPT};

static DAEMON: Statement = Statement::repeatable("daemon", "select nextval('daemon_id')");

/// Numbers for the calls of one daemon.
#[derive(Debug)]
pub(super) struct Receipts {
    daemon: i64,
    calls: AtomicI64,
}

/// Under which a call leaves its receipt, and for how long.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) daemon: i64,
    pub(super) call: i64,
    pub(super) until: i64,
}

impl Receipts {
    /// For a daemon that starts.
    pub(super) async fn new(pool: &Pool) -> Result<Receipts> {
        let rows = pool.query(&DAEMON, &[]).await?;
        let row = rows.first().ok_or_else(|| unexpected("answer"))?;
        Ok(Receipts {
            daemon: get(row, 0)?,
            calls: AtomicI64::new(0),
        })
    }

    /// For one call, however often it is repeated.
    pub(super) fn next(&self, now: Timestamp) -> Receipt {
        Receipt {
            daemon: self.daemon,
            call: self.calls.fetch_add(1, Ordering::Relaxed),
            until: now.after(RECEIPT_KEPT).as_micros(),
        }
    }
}
