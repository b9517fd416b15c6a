//! Hints between daemons, over the database's notifications.
//!
//! One connection of its own listens and notifies, so that no statement which matters
//! waits for either. Nothing depends on it: while it is down, those who wait for work look
//! for it now and then anyway. At most one notification per namespace is sent each
//! [`NOTIFY_PAUSE`], however much becomes available, and none is flushed to disk. An idle
//! daemon sends nothing.

use std::{
    convert::Infallible,
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use tokio_postgres::{Notification, types::ToSql};
use tracing::{debug, info, warn};

use super::{
    board::Boards,
    connector::{Connector, Listening},
    floors::Floors,
};
use crate::{
    backend::Hints,
    limits::{LISTEN_PAUSE_MAX, LISTEN_PAUSE_MIN, NOTIFY_PAUSE},
    model::NamespaceId,
};

/// Sends `$2`, one notification each, on channel `$1`.
const NOTIFY: &str = "select pg_notify($1, namespace::text) from unnest($2::int8[]) as namespace";

/// Hints to and from other daemons.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// From others, for those who wait for work.
    pub(super) incoming: Arc<Hints>,
    /// To others.
    pub(super) outgoing: Hints,
    /// What is remembered of what others may have changed.
    boards: Arc<Boards>,
    floors: Arc<Floors>,
}

impl Exchange {
    pub(super) fn new(boards: Arc<Boards>, floors: Arc<Floors>) -> Exchange {
        Exchange {
            boards,
            floors,
            ..Exchange::default()
        }
    }

    /// Another daemon made something available.
    fn heard(&self, namespace: NamespaceId) {
        // First, or whoever is woken would look at what was there before.
        self.boards.outdated(namespace);
        self.floors.look_soon();
        self.incoming.give(namespace);
    }

    /// Other daemons may have made anything available.
    fn may_have_missed(&self) {
        self.boards.invalidate_all();
        self.floors.reset_all();
        self.incoming.give_all();
    }
}

/// Carries hints to and from all daemons that use the same channel, for ever.
pub(super) async fn carry(connector: Connector, channel: String, exchange: Arc<Exchange>) {
    let mut pause = LISTEN_PAUSE_MIN;
    let mut was_lost = false;
    loop {
        let lost = match listen(&connector, &channel, &exchange).await {
            Ok(listening) => {
                if was_lost {
                    info!("other daemons can be heard again");
                }
                (pause, was_lost) = (LISTEN_PAUSE_MIN, false);
                let Err(error) = exchange_hints(listening, &channel, &exchange).await;
                error
            }
            Err(error) => error.into(),
        };
        note(&*lost, was_lost);
        was_lost = true;
        tokio::time::sleep(pause).await; // reason: connecting at once fails again
        pause = pause.saturating_mul(2).min(LISTEN_PAUSE_MAX);
    }
}

/// Tells the operator once of each outage.
fn note(error: &(dyn StdError + 'static), was_lost: bool) {
    match was_lost {
        false => warn!(error, "other daemons cannot be heard, trying again"),
        true => debug!(error, "other daemons can still not be heard"),
    }
}

/// Begins to hear others.
async fn listen(
    connector: &Connector,
    channel: &str,
    exchange: &Arc<Exchange>,
) -> Result<Listening, tokio_postgres::Error> {
    let own = Arc::new(AtomicI32::new(0));
    let hear = {
        let (exchange, own) = (exchange.clone(), own.clone());
        move |notification: Notification| {
            // Those who wait here were told before the others were.
            if notification.process_id() != own.load(Ordering::Relaxed)
                && let Ok(namespace) = notification.payload().parse()
            {
                exchange.heard(NamespaceId::new(namespace));
            }
        }
    };
    let listening = connector.connect_listening(hear).await?;
    let client = &listening.client;
    let row = client.query_one("select pg_backend_pid()", &[]).await?;
    own.store(row.get(0), Ordering::Relaxed);
    let settings = format!("set synchronous_commit to off; listen {channel}");
    client.batch_execute(&settings).await?;
    // What they told before was not heard.
    exchange.may_have_missed();
    Ok(listening)
}

/// Tells others what they are to be told, until the connection is lost.
async fn exchange_hints(
    mut listening: Listening,
    channel: &str,
    exchange: &Exchange,
) -> Result<Infallible, Box<dyn StdError + Send + Sync>> {
    loop {
        let hinted = tokio::select! {
            ended = &mut listening.task => {
                ended??;
                return Err("the connection was closed".into());
            }
            hinted = exchange.outgoing.take() => hinted,
        };
        let namespaces = hinted.namespaces.iter().map(|namespace| namespace.get());
        let namespaces: Vec<i64> = namespaces
            .filter_map(|namespace| i64::try_from(namespace).ok())
            .collect();
        let params: [&(dyn ToSql + Sync); 2] = [&channel, &namespaces];
        if let Err(error) = listening.client.query(NOTIFY, &params).await {
            for namespace in hinted.namespaces {
                exchange.outgoing.give(namespace);
            }
            return Err(error.into());
        }
        // What comes meanwhile goes together.
        tokio::time::sleep(NOTIFY_PAUSE).await; // reason: gathers notifications
    }
}
