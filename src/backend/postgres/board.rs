//! What the scheduler looks at, remembered for a moment.
//!
//! A look at the database costs one statement that probes each spec's indexes and
//! visits no unit. What it finds is kept for [`BOARD_AGE_MAX`], or until the next lease
//! or delay ends, and this daemon's own calls keep it in step meanwhile. It only proposes:
//! whatever others did in that time is found by the claim. While one call looks, those
//! that come wait for what it finds.
//!
//! A look is slow while the database cannot clear away what is over, because somebody
//! holds an old snapshot: it walks past all of that. Then nobody waits for it who need
//! not, and the next comes only after a multiple of the time that it took; until then,
//! what was remembered has to do, with this daemon's own calls.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    Store,
    row::{self, get},
    specs::{KNOWN_COLUMNS, Known, known, known_columns},
    statement::Statement,
};
use crate::{
    backend::{Board, Candidate, Error, Kind, Result},
    clock::Timestamp,
    limits::{BOARD_AGE_MAX, BOARD_PAUSE, BOARD_WAIT_MAX},
    model::{NamespaceId, SpecId},
};

/// The maps hold plain values; no panic can leave them half changed.
const HELD: &str = "no panic while the boards are locked";

/// `$1` namespace, `$2` now, `$3` when the next look is due; `$4` specs whose floors are
/// known: `$5` priority and `$6` key of the unit that was claimed last, `$7` when what has
/// ended and is not written down ended at the earliest. Of what has ended no more than 1,000
/// are counted.
static BOARD: Statement = Statement::repeatable(
    "board",
    concat!(
        "select ",
        known_columns!(),
        ", s.next_continuous, t.pending, ",
        "(select true from unit u where u.shelf_id = s.shelf_id and u.status = 1
                and (-u.priority, u.key) >= (-f.priority, f.key)
                order by -u.priority, u.key limit 1) is not null
            or (select true from unit u where u.shelf_id = s.shelf_id and u.status = 1
                order by -u.priority, u.key limit 1) is not null,
            (select due from unit u where u.shelf_id = s.shelf_id and u.status = 3
                and u.due > coalesce(f.due, -9223372036854775808) and u.due <= $3 order by due limit 1),
            (select due from unit u where u.shelf_id = s.shelf_id and u.status = 2
                and u.due > coalesce(f.due, -9223372036854775808) and u.due <= $3 order by due limit 1),
            (select count(*) from (
                select from unit u where u.shelf_id = s.shelf_id and u.status = 3
                    and u.due > coalesce(f.due, -9223372036854775808) and u.due <= $2 limit 1000
            ) ended),
            not s.continuous or exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 3)
                or exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 2)
         from namespace n left join spec s on s.namespace_id = n.id and not s.paused
         left join lateral (
            select coalesce(sum(pending), 0)::bigint as pending from tally where shelf_id = s.shelf_id
         ) t on true
         left join unnest($4::bigint[], $5::double precision[], $6::bytea[], $7::bigint[])
            f(id, priority, key, due) on f.id = s.id
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
    /// Unless it is too early for another look.
    look_from: Instant,
    /// How many looks in a row were slow.
    slow_looks: u32,
}

/// What happened while a call was looking.
#[derive(Debug)]
struct Meanwhile {
    begun: Instant,
    added: HashSet<SpecId>,
    /// This daemon changed anything.
    is_stale: bool,
    /// Another daemon did.
    is_outdated: bool,
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

    /// Notes that another daemon may have changed anything in one namespace.
    pub(super) fn outdated(&self, namespace: NamespaceId) {
        let mut state = self.state();
        state.generation += 1;
        if let Some(view) = state.views.get_mut(&namespace) {
            view.until = Timestamp::EPOCH;
        }
        if let Some(meanwhile) = state.looking.get_mut(&namespace) {
            meanwhile.is_outdated = true;
        }
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
        let is_slow = |looking: &Meanwhile| looking.begun.elapsed() > BOARD_WAIT_MAX;
        let is_early =
            Instant::now() < view.look_from || state.looking.get(&namespace).is_some_and(is_slow);
        // One slow look may be chance.
        let will_do = now < view.until || (is_early && view.slow_looks > 1);
        will_do.then(|| view.board(now))
    }

    fn begin(&self, namespace: NamespaceId) -> Looking<'_> {
        let meanwhile = Meanwhile {
            begun: Instant::now(),
            added: HashSet::new(),
            is_stale: false,
            is_outdated: false,
            due: None,
        };
        self.state().looking.insert(namespace, meanwhile);
        Looking {
            boards: self,
            namespace,
        }
    }
}

/// A look at the database, until this is dropped.
struct Looking<'b> {
    boards: &'b Boards,
    namespace: NamespaceId,
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.boards.state().looking.remove(&self.namespace);
    }
}

impl Looking<'_> {
    /// Remembers what the look found, unless something happened that may have made it stale.
    fn end(self, now: Timestamp, mut view: View) -> Board {
        let mut state = self.boards.state();
        let meanwhile = state.looking.remove(&self.namespace);
        let meanwhile = meanwhile.expect("put there when this was made");
        for spec in &mut view.specs {
            if meanwhile.added.contains(&spec.known.id) {
                spec.has_available = true;
                spec.is_idle = false;
            }
        }
        let took = meanwhile.begun.elapsed();
        let before = state.views.get(&self.namespace);
        if took > BOARD_WAIT_MAX {
            view.slow_looks = before.map_or(0, |view| view.slow_looks).saturating_add(1);
            view.look_from = Instant::now() + took.saturating_mul(BOARD_PAUSE);
        }
        view.until = view.until.min(meanwhile.due.unwrap_or(Timestamp::MAX));
        let board = view.board(now);
        if meanwhile.is_outdated {
            view.until = Timestamp::EPOCH;
        }
        if !meanwhile.is_stale {
            state.views.insert(self.namespace, view);
        }
        drop(state); // before this is dropped, which takes it
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
        let looking = self.boards.begin(namespace);
        let view = self.look(now, namespace).await?;
        Ok(looking.end(now, view))
    }

    async fn look(&self, now: Timestamp, namespace: NamespaceId) -> Result<View> {
        let until = now.after(BOARD_AGE_MAX);
        let floors = self.floors.columns();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] = [
            &row::signed(namespace.get()),
            &now.as_micros(),
            &until.as_micros(),
            &floors.specs,
            &floors.priorities,
            &floors.keys,
            &floors.due_after,
        ];
        let rows = self.pool.query(&BOARD, &params).await?;
        if rows.is_empty() {
            return Err(Error::Gone(Kind::Namespace));
        }
        let mut view = View {
            specs: Vec::with_capacity(rows.len()),
            until,
            look_from: Instant::now(),
            slow_looks: 0,
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
                is_idle: !has_ready && !get::<bool>(row, column(6))?,
                next_continuous,
            });
        }
        Ok(view)
    }
}
