//! What the scheduler looks at, remembered for a moment.
//!
//! A look at the database costs one statement that probes each spec's indexes and
//! visits no unit. What it finds is kept for [`BOARD_AGE_MAX`], or until the next lease
//! or delay ends, and this daemon's own calls keep it in step meanwhile. It only proposes:
//! whatever others did in that time is found by the claim. While one call looks, those
//! that come wait for what it finds.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::Semaphore;

use super::{
    Store,
    row::{self, get},
    specs::{KNOWN_COLUMNS, Known, known, known_columns},
    statement::Statement,
};
use crate::{
    backend::{Board, Candidate, Error, Kind, Result},
    clock::Timestamp,
    limits::BOARD_AGE_MAX,
    model::{NamespaceId, SpecId},
};

/// The maps hold plain values; no panic can leave them half changed.
const HELD: &str = "no panic while the boards are locked";

/// `$1` namespace, `$2` now. Of a lease that has ended no more than 1,000 are counted.
static BOARD: Statement = Statement::repeatable(
    "board",
    concat!(
        "select ",
        known_columns!(),
        ", s.next_continuous, t.pending,
            (select true from unit u where u.shelf_id = s.shelf_id and u.status = 1
                order by priority desc, key limit 1) is not null,
            (select due from unit u where u.shelf_id = s.shelf_id and u.status = 3 order by due limit 1),
            (select due from unit u where u.shelf_id = s.shelf_id and u.status = 2 order by due limit 1),
            (select count(*) from (
                select from unit u where u.shelf_id = s.shelf_id and u.status = 3 and u.due <= $2 limit 1000
            ) ended),
            not s.continuous or exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 3)
         from namespace n left join spec s on s.namespace_id = n.id and not s.paused
         left join lateral (
            select coalesce(sum(pending), 0)::bigint as pending from tally where shelf_id = s.shelf_id
         ) t on true
         where n.id = $1"
    ),
);

/// A spec that is not paused.
#[derive(Debug)]
struct Seen {
    known: Arc<Known>,
    pending: i64,
    has_available: bool,
    /// Nothing is available, delayed or pending.
    is_idle: bool,
    next_continuous: Option<Timestamp>,
}

#[derive(Debug)]
struct View {
    specs: Vec<Seen>,
    /// It is of no use from then on.
    until: Timestamp,
}

/// What happened while a call was looking.
#[derive(Debug, Default)]
struct Meanwhile {
    added: HashSet<SpecId>,
    is_stale: bool,
    due: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts what may have made something available.
    generation: u64,
    views: HashMap<NamespaceId, View>,
    looking: HashMap<NamespaceId, Meanwhile>,
    turns: HashMap<NamespaceId, Arc<Semaphore>>,
}

/// The boards of all namespaces.
#[derive(Debug, Default)]
pub(super) struct Boards(Mutex<State>);

impl Boards {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect(HELD)
    }

    /// Notes that anything may have changed.
    pub(super) fn invalidate_all(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.views.clear();
        state
            .looking
            .values_mut()
            .for_each(|meanwhile| meanwhile.is_stale = true);
    }

    /// Notes that anything may have changed in one namespace.
    pub(super) fn invalidate(&self, namespace: NamespaceId) {
        let mut state = self.state();
        state.generation += 1;
        state.views.remove(&namespace);
        if let Some(meanwhile) = state.looking.get_mut(&namespace) {
            meanwhile.is_stale = true;
        }
    }

    /// Which changes there have been so far.
    pub(super) fn generation(&self) -> u64 {
        self.state().generation
    }

    /// Notes that units were added, and when the first delayed one is due.
    pub(super) fn added(&self, spec: SpecId, due: Option<Timestamp>) {
        self.state().note(spec, due, |seen| {
            seen.has_available = true;
            seen.is_idle = false;
        });
    }

    /// Notes what a claim found; `seen` is the generation before it.
    pub(super) fn claimed(
        &self,
        spec: SpecId,
        units: usize,
        is_empty: bool,
        seen: u64,
        due: Option<Timestamp>,
    ) {
        let mut state = self.state();
        let is_news = state.generation == seen;
        for view in state.views.values_mut() {
            for spec in view.specs.iter_mut().filter(|seen| seen.known.id == spec) {
                spec.pending = spec.pending.saturating_add(row::bounded(units));
                spec.has_available &= !(is_empty && is_news);
                spec.is_idle = false;
                view.until = view.until.min(due.unwrap_or(Timestamp::MAX));
            }
        }
    }

    /// Notes a change of one unit.
    pub(super) fn changed(
        &self,
        known: &Known,
        pending: i64,
        is_available: bool,
        due: Option<Timestamp>,
    ) {
        if known.options.continuous {
            return self.invalidate_all();
        }
        if is_available {
            self.added(known.id, due);
        }
        let mut state = self.state();
        for view in state.views.values_mut() {
            for spec in view
                .specs
                .iter_mut()
                .filter(|seen| seen.known.id == known.id)
            {
                spec.pending = spec.pending.saturating_add(pending).max(0);
                view.until = view.until.min(due.unwrap_or(Timestamp::MAX));
            }
        }
    }

    fn turn(&self, namespace: NamespaceId) -> Arc<Semaphore> {
        let mut state = self.state();
        let turn = state.turns.entry(namespace);
        turn.or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
    }

    /// The board, if it is remembered.
    fn remembered(&self, now: Timestamp, namespace: NamespaceId) -> Option<Board> {
        let state = self.state();
        let view = state.views.get(&namespace)?;
        (now < view.until).then(|| view.board(now))
    }

    fn begin(&self, namespace: NamespaceId) {
        self.state().looking.insert(namespace, Meanwhile::default());
    }

    /// Remembers what a look found, unless something happened that may have made it stale.
    fn end(&self, now: Timestamp, namespace: NamespaceId, mut view: View) -> Board {
        let mut state = self.state();
        let meanwhile = state.looking.remove(&namespace).unwrap_or_default();
        for spec in &mut view.specs {
            if meanwhile.added.contains(&spec.known.id) {
                spec.has_available = true;
                spec.is_idle = false;
            }
        }
        view.until = view.until.min(meanwhile.due.unwrap_or(Timestamp::MAX));
        let board = view.board(now);
        if !meanwhile.is_stale {
            state.views.insert(namespace, view);
        }
        board
    }
}

impl State {
    fn note(&mut self, spec: SpecId, due: Option<Timestamp>, change: impl Fn(&mut Seen)) {
        self.generation += 1;
        for meanwhile in self.looking.values_mut() {
            meanwhile.added.insert(spec);
            meanwhile.due = meanwhile.due.into_iter().chain(due).min();
        }
        for view in self.views.values_mut() {
            for seen in view.specs.iter_mut().filter(|seen| seen.known.id == spec) {
                change(seen);
                view.until = view.until.min(due.unwrap_or(Timestamp::MAX));
            }
        }
    }
}

impl View {
    fn board(&self, now: Timestamp) -> Board {
        let may = |seen: &&Seen| {
            let options = &seen.known.options;
            let pending = u64::try_from(seen.pending).unwrap_or_default();
            let has_room = options.max_running == 0 || pending < options.max_running;
            let may_make = options.continuous
                && seen.is_idle
                && seen.next_continuous.is_none_or(|from| from <= now);
            has_room && (seen.has_available || may_make)
        };
        let candidates = self.specs.iter().filter(may).map(|seen| Candidate {
            spec: seen.known.id,
            name: seen.known.name.clone(),
            options: seen.known.options.clone(),
            pending: u64::try_from(seen.pending).unwrap_or_default(),
        });
        Board {
            candidates: candidates.collect(),
        }
    }
}

impl Store {
    /// [`Backend::board`](crate::backend::Backend::board).
    pub(super) async fn current_board(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
    ) -> Result<Board> {
        if let Some(board) = self.boards.remembered(now, namespace) {
            return Ok(board);
        }
        let turn = self.boards.turn(namespace);
        let _turn = turn.acquire().await.expect("never closed");
        if let Some(board) = self.boards.remembered(now, namespace) {
            return Ok(board);
        }
        self.boards.begin(namespace);
        let view = self.look(now, namespace).await?;
        Ok(self.boards.end(now, namespace, view))
    }

    async fn look(&self, now: Timestamp, namespace: NamespaceId) -> Result<View> {
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&row::signed(namespace.get()), &now.as_micros()];
        let rows = self.pool.query(&BOARD, &params).await?;
        if rows.is_empty() {
            return Err(Error::Gone(Kind::Namespace));
        }
        let mut view = View {
            specs: Vec::with_capacity(rows.len()),
            until: now.after(BOARD_AGE_MAX),
        };
        for row in &rows {
            if get::<Option<i64>>(row, 0)?.is_none() {
                continue; // the namespace has none
            }
            let column = |n| KNOWN_COLUMNS + n;
            let time =
                |n| Ok::<_, Error>(get::<Option<i64>>(row, column(n))?.map(Timestamp::from_micros));
            let next_continuous = time(0)?;
            let dues = [time(3)?, time(4)?];
            let has_ready: bool = get(row, column(2))?;
            let has_ended = dues.iter().flatten().any(|&due| due <= now);
            let ended: i64 = get(row, column(5))?;
            let coming = dues.into_iter().flatten().chain(next_continuous);
            for due in coming.filter(|&due| due > now) {
                view.until = view.until.min(due);
            }
            view.specs.push(Seen {
                known: self.directory.learn(known(row)?),
                pending: get::<i64>(row, column(1))?.saturating_sub(ended).max(0),
                has_available: has_ready || has_ended,
                is_idle: !has_ready && dues == [None, None] && !get::<bool>(row, column(6))?,
                next_continuous,
            });
        }
        Ok(view)
    }
}
