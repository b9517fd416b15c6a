//! Hints between daemons, over the database's notifications.
//!
//! One connection of its own listens and notifies, so that no statement which matters
//! waits for either. Nothing depends on it: while it is down, those who wait for work look
//! for it more often. At most one notification per namespace is sent each
//! [`NOTIFY_PAUSE`], however much becomes available, and one for what will come due each
//! [`NOTIFY_DUE_PAUSE`]; none is flushed to disk. An idle daemon sends nothing.
//!
//! A notification says `7`: there may be work in namespace 7; or `@1700000000000000`:
//! something becomes available at that instant. `?…` is how a daemon finds out whether it
//! hears any: a pooler takes what it is told and forgets whom to tell.

use std::{
    collections::HashSet,
    convert::Infallible,
    error::Error as StdError,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tokio_postgres::{
    Notification,
    types::{ToSql, Type},
};
use tracing::{debug, info, warn};

use super::{
    board::Boards,
    connector::{Connector, Listening},
    floors::Floors,
    pool::Pool,
    statement::Statement,
};
use crate::{
    backend::Hints,
    clock::Timestamp,
    limits::{ECHO_WAIT_MAX, LISTEN_PAUSE_MAX, LISTEN_PAUSE_MIN, NOTIFY_DUE_PAUSE, NOTIFY_PAUSE},
    model::NamespaceId,
};

/// Sends `$2`, one notification each, on channel `$1`.
const NOTIFY: &str = "select pg_notify($1, payload) from unnest($2::text[]) as payload";

/// `$1` channel, `$2` what is to be heard.
static ECHO: Statement = Statement::repeatable("echo", "select pg_notify($1::text, $2::text)");

/// Hints to and from other daemons.
#[derive(Debug)]
pub(super) struct Exchange {
    /// From others, for those who wait for work.
    pub(super) incoming: Arc<Hints>,
    /// To others.
    pub(super) outgoing: Hints,
    /// What is remembered of what others may have changed.
    boards: Arc<Boards>,
    floors: Arc<Floors>,
    /// Told when the daemon hears itself.
    echoed: Notify,
}

impl Exchange {
    pub(super) fn new(boards: Arc<Boards>, floors: Arc<Floors>) -> Exchange {
        Exchange {
            incoming: Arc::new(Hints::deaf()),
            outgoing: Hints::default(),
            boards,
            floors,
            echoed: Notify::new(),
        }
    }

    /// A notification of another daemon.
    fn heard(&self, payload: &str) {
        if self.incoming.is_deaf() {
            // Whoever waits is about to be told to look everywhere.
        } else if let Some(due) = payload.strip_prefix('@') {
            if let Ok(micros) = due.parse() {
                self.incoming.give_due(Timestamp::from_micros(micros));
            }
        } else if let Ok(namespace) = payload.parse() {
            let namespace = NamespaceId::new(namespace);
            // First, or whoever is woken would look at what was there before.
            self.boards.outdated(namespace);
            self.floors.look_soon();
            self.incoming.give(namespace);
        }
    }

    /// Others can be heard from now on. They may have made anything available before.
    fn hears(&self) {
        self.boards.invalidate_all();
        self.floors.reset_all();
        self.incoming.set_deaf(false);
        self.echoed.notify_one();
    }
}

/// Carries hints to and from all daemons that use the same channel, for ever. `pool` has
/// other connections to the same database, `random` tells daemons apart.
pub(super) async fn carry(
    connector: Connector,
    channel: String,
    exchange: Arc<Exchange>,
    pool: Arc<Pool>,
    mut random: fastrand::Rng,
) {
    let mut pause = LISTEN_PAUSE_MIN;
    let mut was_lost = false;
    let mut is_mute = false;
    loop {
        let echo = format!("?{:016x}", random.u64(..));
        let lost = match listen(&connector, &channel, &exchange, &echo).await {
            Ok(listening) => {
                if was_lost {
                    info!("other daemons can be heard again");
                }
                (pause, was_lost) = (LISTEN_PAUSE_MIN, false);
                if !is_echoed(&pool, &channel, &exchange, &echo).await {
                    note_silence(&mut is_mute);
                }
                let Err(error) = exchange_hints(listening, &channel, &exchange).await;
                error
            }
            Err(error) => error.into(),
        };
        exchange.incoming.set_deaf(true);
        note(&*lost, was_lost);
        was_lost = true;
        tokio::time::sleep(pause).await; // reason: connecting at once fails again
        pause = pause.saturating_mul(2).min(LISTEN_PAUSE_MAX);
    }
}

/// Whether a notification arrives in time that another connection sends.
async fn is_echoed(pool: &Pool, channel: &str, exchange: &Exchange, echo: &str) -> bool {
    // What cannot be sent says nothing about what arrives.
    while pool.query(&ECHO, &[&channel, &echo]).await.is_err() {
        tokio::time::sleep(LISTEN_PAUSE_MIN).await; // reason: the database is busy or gone
    }
    timeout(ECHO_WAIT_MAX, exchange.echoed.notified())
        .await
        .is_ok()
}

/// Tells the operator once that notifications do not arrive.
fn note_silence(is_mute: &mut bool) {
    if !std::mem::replace(is_mute, true) {
        warn!(
            "notifications of the database do not arrive, as behind a pooler, so those who wait \
             for work ask for it every second; set postgres_direct"
        );
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
    echo: &str,
) -> Result<Listening, tokio_postgres::Error> {
    let own = Arc::new(AtomicI32::new(0));
    let hear = {
        let (exchange, own, echo) = (exchange.clone(), own.clone(), echo.to_owned());
        move |notification: Notification| {
            if notification.payload() == echo {
                exchange.hears();
            } else if notification.process_id() != own.load(Ordering::Relaxed) {
                // Those who wait here were told before the others were.
                exchange.heard(notification.payload());
            }
        }
    };
    let listening = connector.connect_listening(hear).await?;
    let client = &listening.client;
    // None is prepared, for there may be a pooler that would not know of it.
    let rows = client.query_typed("select pg_backend_pid()", &[]).await?;
    let pid = rows.first().map_or(0, |row| row.get(0));
    own.store(pid, Ordering::Relaxed);
    let settings = format!("set synchronous_commit to off; listen {channel}");
    client.batch_execute(&settings).await?;
    Ok(listening)
}

/// Tells others what they are to be told, until the connection is lost.
async fn exchange_hints(
    mut listening: Listening,
    channel: &str,
    exchange: &Exchange,
) -> Result<Infallible, Box<dyn StdError + Send + Sync>> {
    let outgoing = &exchange.outgoing;
    let mut due_pause = pin!(tokio::time::sleep(Duration::ZERO)); // reason: the first is sent at once
    loop {
        // What comes due goes with what is available, or alone but less often.
        let due_alone = async {
            due_pause.as_mut().await;
            outgoing.take_due().await
        };
        let (namespaces, due) = tokio::select! {
            ended = &mut listening.task => {
                ended??;
                return Err("the connection was closed".into());
            }
            hinted = outgoing.take() => (hinted.namespaces, outgoing.take_due_now()),
            due = due_alone => (HashSet::new(), Some(due)),
        };
        let payloads = namespaces
            .iter()
            .map(|namespace| namespace.get().to_string());
        let payloads = payloads.chain(due.map(|due| format!("@{}", due.as_micros())));
        let payloads: Vec<String> = payloads.collect();
        let params: [(&(dyn ToSql + Sync), Type); 2] =
            [(&channel, Type::TEXT), (&payloads, Type::TEXT_ARRAY)];
        if let Err(error) = listening.client.query_typed(NOTIFY, &params).await {
            namespaces
                .into_iter()
                .for_each(|namespace| outgoing.give(namespace));
            due.into_iter().for_each(|due| outgoing.give_due(due));
            return Err(error.into());
        }
        if due.is_some() {
            due_pause.set(tokio::time::sleep(NOTIFY_DUE_PAUSE)); // reason: gathers notifications
        }
        // What comes meanwhile goes together.
        tokio::time::sleep(NOTIFY_PAUSE).await; // reason: gathers notifications
    }
}
