//! Whether someone keeps the database from removing dead rows.
//!
//! Each claim and each finish leaves a dead row behind. As long as anyone holds a snapshot
//! from before, none can be removed, and whoever looks for work steps over all of them.
//! So the oldest snapshot is looked for now and then, while there is something to do, and
//! the operator is told once of what holds it: a session, a transaction that was prepared
//! and neither committed nor rolled back, a replication slot.
//!
//! How long a session has held one, the database tells only to roles that may read
//! statistics (`pg_monitor`), and of slots to nobody. Then it is counted from when it was
//! first seen here.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_postgres::Row;
use tracing::{debug, info, warn};

use super::{Store, row::get, statement::Statement};
use crate::{
    backend::Result,
    clock::Timestamp,
    limits::{SNAPSHOT_AGE_MAX, SNAPSHOT_HOLDERS_MAX, SNAPSHOT_INTERVAL},
};

/// No panic can leave what is behind the lock half changed.
const HELD: &str = "no panic while this is locked";

/// `$1` most. Who keeps rows alive, those first of whom the database does not say since
/// when. Vacuuming holds snapshots that keep nothing alive.
static HOLDERS: Statement = Statement::repeatable("holders", include_str!("sql/holders.sql"));

/// What keeps dead rows from being removed, and for how long already.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldSnapshot {
    /// What it is: `session`, `prepared transaction` or `replication slot`.
    pub kind: String,
    /// The process that holds it, if one does.
    pub pid: Option<i32>,
    /// The session's `application_name`, or the name of the transaction or slot.
    pub name: String,
    /// What the process is doing, as `pg_stat_activity` has it; `None` if that is not
    /// for this role to know.
    pub state: Option<String>,
    /// How long it has been held, at least.
    pub age: Duration,
    /// Tells snapshots of the same holder apart.
    mark: String,
}

impl HeldSnapshot {
    fn is_by_the_same(&self, other: &HeldSnapshot) -> bool {
        (&self.kind, self.pid, &self.name) == (&other.kind, other.pid, &other.name)
    }
}

impl fmt::Display for HeldSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.name)?;
        if let Some(pid) = self.pid {
            write!(f, " of process {pid}")?;
        }
        match &self.state {
            Some(state) => write!(f, " ({state})"),
            None => Ok(()),
        }
    }
}

/// What there is to tell the operator.
#[derive(Debug, PartialEq)]
enum News {
    None,
    Held(HeldSnapshot),
    Over,
}

/// What is known of snapshots.
#[derive(Debug, Default)]
pub(super) struct Watch {
    state: Mutex<State>,
    /// The role may not look.
    is_blind: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// When each holder was seen first with its snapshot.
    seen: HashMap<(String, Option<i32>, String, String), Timestamp>,
    oldest: Option<HeldSnapshot>,
    /// The one the operator was told of.
    told: Option<HeldSnapshot>,
    next_look: Option<Timestamp>,
}

impl State {
    /// Takes note of all holders, each with its age if the database told it.
    fn note(
        &mut self,
        now: Timestamp,
        holders: Vec<(HeldSnapshot, Option<Duration>)>,
        limit: Duration,
    ) -> News {
        let before = std::mem::take(&mut self.seen);
        let mut oldest: Option<HeldSnapshot> = None;
        for (mut held, age) in holders {
            let key = (
                held.kind.clone(),
                held.pid,
                held.name.clone(),
                held.mark.clone(),
            );
            let first = before.get(&key).copied().unwrap_or(now);
            self.seen.insert(key, first);
            held.age = age.unwrap_or_else(|| now.since(first));
            if oldest.as_ref().is_none_or(|oldest| held.age > oldest.age) {
                oldest = Some(held);
            }
        }
        self.oldest = oldest;
        let old = self.oldest.as_ref().filter(|held| held.age > limit);
        let news = match (old, &self.told) {
            (Some(held), Some(told)) if held.is_by_the_same(told) => return News::None,
            (Some(held), _) => News::Held(held.clone()),
            (None, Some(_)) => News::Over,
            (None, None) => News::None,
        };
        self.told = old.cloned();
        news
    }
}

impl Watch {
    /// The oldest at the last look.
    pub(super) fn oldest(&self) -> Option<HeldSnapshot> {
        self.state.lock().expect(HELD).oldest.clone()
    }

    /// Whether it is time to look: after the pause, and only while there is something to
    /// do or to take back.
    fn is_due(&self, now: Timestamp, is_busy: &AtomicBool) -> bool {
        let mut state = self.state.lock().expect(HELD);
        let is_due = state.next_look.is_none_or(|at| at <= now)
            && !self.is_blind.load(Ordering::Relaxed)
            && (state.told.is_some() || is_busy.swap(false, Ordering::Relaxed));
        if is_due {
            state.next_look = Some(now.after(SNAPSHOT_INTERVAL));
        }
        is_due
    }
}

impl Store {
    /// Looks for the oldest snapshot if it is time to. That it cannot be looked for is no
    /// reason to fail.
    pub(super) async fn watch_snapshots(&self, now: Timestamp) {
        if !self.watch.is_due(now, &self.pool.is_used) {
            return;
        }
        match self.find_holders(now, SNAPSHOT_AGE_MAX).await {
            Ok(News::None) => {}
            Ok(News::Held(held)) => warn!(
                holder = %held,
                seconds = held.age.as_secs(),
                "an old snapshot keeps the database from removing dead rows, and finding work \
                 takes longer and longer: end what holds it"
            ),
            Ok(News::Over) => info!("no old snapshot keeps dead rows any more"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                debug!(error, "the oldest snapshot cannot be looked for");
            }
        }
    }

    async fn find_holders(&self, now: Timestamp, limit: Duration) -> Result<News> {
        let max = super::row::bounded(SNAPSHOT_HOLDERS_MAX);
        let rows = self.pool.query(&HOLDERS, &[&max]).await;
        let rows = rows.inspect_err(|error| {
            if super::error::is_about_the_call(error) {
                info!("this role may not see who holds snapshots, so nobody watches for old ones");
                self.watch.is_blind.store(true, Ordering::Relaxed);
            }
        })?;
        let holders: Result<Vec<_>> = rows.iter().map(holder).collect();
        let mut state = self.watch.state.lock().expect(HELD);
        Ok(state.note(now, holders?, limit))
    }
}

fn holder(row: &Row) -> Result<(HeldSnapshot, Option<Duration>)> {
    let seconds: Option<f64> = get(row, 5)?;
    let age = seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let held = HeldSnapshot {
        kind: get(row, 0)?,
        pid: get(row, 1)?,
        name: get(row, 2)?,
        state: get(row, 3)?,
        age: Duration::ZERO,
        mark: get(row, 4)?,
    };
    Ok((held, age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::postgres::{
            Postgres,
            tests::{options, schema},
        },
        clock::ManualClock,
    };

    const LIMIT: Duration = Duration::from_secs(60);

    fn held(pid: i32, mark: &str, age: Option<u64>) -> (HeldSnapshot, Option<Duration>) {
        let held = HeldSnapshot {
            kind: "session".to_owned(),
            pid: Some(pid),
            name: "psql".to_owned(),
            state: Some("idle in transaction".to_owned()),
            age: Duration::ZERO,
            mark: mark.to_owned(),
        };
        (held, age.map(Duration::from_secs))
    }

    fn told(news: News) -> Option<(i32, u64)> {
        match news {
            News::Held(held) => Some((held.pid.unwrap(), held.age.as_secs())),
            News::None => None,
            News::Over => panic!("it is over"),
        }
    }

    #[test]
    fn the_operator_is_told_once_of_each_holder_and_when_it_is_over() {
        let (mut state, now) = (State::default(), ManualClock::START);
        let mut note = |holders: Vec<_>| state.note(now, holders, LIMIT);
        assert_eq!(told(note(vec![held(1, "7", Some(60))])), None);
        assert_eq!(told(note(vec![held(1, "7", Some(61))])), Some((1, 61)));
        assert_eq!(told(note(vec![held(1, "7", Some(90))])), None);
        let two = vec![held(2, "8", Some(70)), held(1, "7", Some(95))];
        assert_eq!(told(note(two)), None, "the oldest is known");
        assert_eq!(told(note(vec![held(2, "8", Some(75))])), Some((2, 75)));
        assert_eq!(note(vec![held(3, "9", Some(5))]), News::Over);
        assert_eq!(note(Vec::new()), News::None);
    }

    #[test]
    fn who_does_not_say_since_when_holds_it_since_it_was_first_seen() {
        let (mut state, now) = (State::default(), ManualClock::START);
        let mut note = |seconds, mark: &str| {
            let at = now.after(Duration::from_secs(seconds));
            told(state.note(at, vec![held(1, mark, None)], LIMIT))
        };
        assert_eq!(note(0, "7"), None);
        assert_eq!(note(40, "7"), None);
        assert_eq!(note(70, "8"), None, "another snapshot by now");
        assert_eq!(note(130, "8"), None);
        assert_eq!(note(131, "8"), Some((1, 61)));
    }

    #[tokio::test]
    async fn a_transaction_that_is_held_is_found_and_named() {
        let schema = schema().await;
        let daemon = Postgres::connect(options(&schema)).await.unwrap();
        let holder = schema.client().await;
        let hold = "set application_name = 'a report'; \
            begin isolation level repeatable read; select from namespace";
        holder.batch_execute(hold).await.unwrap();
        // Others test on the same server, so all that is looked at is this one.
        let store = &daemon.store;
        let pid = holder
            .query_one("select pg_backend_pid()", &[])
            .await
            .unwrap();
        let pid: i32 = pid.get(0);
        let mine = || async {
            let rows = store.pool.query(&HOLDERS, &[&1_000_i64]).await.unwrap();
            let holders = rows.iter().map(holder_of);
            holders.into_iter().find(|(held, _)| held.pid == Some(pid))
        };
        let (held, age) = mine().await.expect("found");
        assert!(age.is_some());
        assert_eq!(
            held.to_string(),
            format!("session \"a report\" of process {pid} (idle in transaction)")
        );
        let found = store.find_holders(ManualClock::START, Duration::ZERO).await;
        assert!(matches!(found.unwrap(), News::Held(_)));
        assert!(daemon.oldest_snapshot().unwrap().age > Duration::ZERO);
        holder.batch_execute("rollback").await.unwrap();
        assert_eq!(mine().await, None);
    }

    fn holder_of(row: &Row) -> (HeldSnapshot, Option<Duration>) {
        holder(row).unwrap()
    }

    #[tokio::test]
    async fn a_role_that_may_see_little_is_told_what_it_may_see() {
        let schema = schema().await;
        let _daemon = Postgres::connect(options(&schema)).await.unwrap();
        let admin = schema.client().await;
        let (name, pid) = (schema.name(), "select pg_backend_pid()");
        let role = format!(
            "drop role if exists {name}; create role {name}; grant usage on schema {name} to {name}"
        );
        admin.batch_execute(&role).await.unwrap();
        let hold = "begin isolation level repeatable read; select from namespace";
        admin.batch_execute(hold).await.unwrap();
        let pid: i32 = admin.query_one(pid, &[]).await.unwrap().get(0);
        let low = schema.client().await;
        low.batch_execute(&format!("set role {name}"))
            .await
            .unwrap();
        let rows = low.query(HOLDERS.sql, &[&1_000_i64]).await.unwrap();
        let all: Vec<_> = rows.iter().map(holder_of).collect();
        let (held, age) = all.iter().find(|(held, _)| held.pid == Some(pid)).unwrap();
        assert_eq!((held.state.as_deref(), *age), (None, None));
        drop(low);
        admin
            .batch_execute(&format!("rollback; drop owned by {name}; drop role {name}"))
            .await
            .unwrap();
    }

    #[test]
    fn it_is_looked_for_only_while_there_is_something_to_do_or_to_take_back() {
        let (watch, is_used) = (Watch::default(), AtomicBool::new(false));
        let at = |seconds| ManualClock::START.after(Duration::from_secs(seconds));
        let interval = SNAPSHOT_INTERVAL.as_secs();
        assert!(!watch.is_due(at(0), &is_used), "idle");
        is_used.store(true, Ordering::Relaxed);
        assert!(watch.is_due(at(1), &is_used));
        is_used.store(true, Ordering::Relaxed);
        assert!(!watch.is_due(at(2), &is_used), "too soon");
        assert!(watch.is_due(at(1 + interval), &is_used));
        assert!(!watch.is_due(at(1 + 2 * interval), &is_used));
        let old = vec![held(1, "7", Some(100))];
        watch.state.lock().unwrap().note(at(0), old, LIMIT);
        assert!(
            watch.is_due(at(1 + 2 * interval), &is_used),
            "it may be over"
        );
    }
}
