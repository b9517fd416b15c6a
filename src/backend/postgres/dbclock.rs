//! The database's clock, which all of its daemons go by.

use std::sync::Arc;

use tracing::{debug, warn};

use super::{pool::Pool, statement::Statement};
use crate::{
    backend::Result,
    clock::{Adjusted, Clock, Measurement, SyncedClock, Timestamp},
    limits::{CLOCK_INTERVAL, CLOCK_LOOKS},
};

/// The database's time in microseconds since the epoch.
const CLOCK: Statement = Statement::repeatable(
    "clock",
    "select (extract(epoch from clock_timestamp()) * 1000000)::int8",
);

/// The database's clock by now.
pub(super) async fn started<C: Clock>(pool: &Pool, local: C) -> Result<SyncedClock<C>> {
    let first = measure(pool, &local).await?;
    Ok(SyncedClock::new(local, first))
}

/// Keeps the clock right, for ever. Mostly it is right, which one look tells.
pub(super) async fn keep_right<C: Clock>(pool: Arc<Pool>, clock: Arc<SyncedClock<C>>) {
    loop {
        tokio::time::sleep(CLOCK_INTERVAL).await; // reason: the interval
        // If the database does not answer, the pool has said so.
        let Ok(first) = look(&pool, clock.local()).await else {
            continue;
        };
        if clock.agrees(first) {
            continue;
        }
        if let Ok(measured) = measure(&pool, clock.local()).await {
            match clock.adjust(measured) {
                Adjusted::Agrees => {}
                Adjusted::Gradually => debug!("the clock makes up for a difference"),
                Adjusted::Set(micros) => warn!(micros, "the database's clock has jumped"),
            }
        }
    }
}

/// The quickest of a few looks, which is the most exact one.
pub(super) async fn measure<C: Clock>(pool: &Pool, local: &C) -> Result<Measurement> {
    let mut best = look(pool, local).await?;
    for _ in 1..CLOCK_LOOKS {
        let measured = look(pool, local).await?;
        if measured.round_trip() < best.round_trip() {
            best = measured;
        }
    }
    Ok(best)
}

async fn look<C: Clock>(pool: &Pool, local: &C) -> Result<Measurement> {
    let asked = local.now();
    let rows = pool.query(&CLOCK, &[]).await?;
    let answered = local.now();
    let server = rows.first().map_or(0, |row| row.get(0));
    Ok(Measurement {
        asked,
        server: Timestamp::from_micros(server),
        answered,
    })
}
