//! Whether many queued units make anything slower: the same done with few and with many.

use std::time::Instant;

use coordinated::{backend::Backend as _, clock::Timestamp};

use crate::{
    Settings,
    ours::{Store, percentile},
    report::{Figures, Table, Target, Unit, thousands},
    server::Server,
    work::{ADDED_AT_A_TIME, WORKERS, data, key, unit},
};

/// Queued where it is few.
const FEW: usize = 200_000;

/// Claimed and finished at most in each round: there must be enough among the few.
const JOBS: usize = 100_000;

/// Added in each round.
const ADDED: usize = 100_000;

/// Added in each round with keys all over the place.
const SCATTERED: usize = 20_000;

/// Calls that are made one after the other.
const CALLS: usize = 200;

/// Keys that one call asks for.
const KEYS: usize = 100;

/// What is all over touches pages all over: with more of them than the server keeps in
/// memory, that is slower for any table.
const RATES: [&str; 5] = [
    "claimed and finished, 64 callers",
    "added, 10,000 in a row",
    "added, 10,000 all over",
    "asked for, 100 keys in a row",
    "asked for, 100 keys all over",
];
const TIMES: [&str; 3] = ["board, median", "count, median", "count, 99 % within"];

/// Measures, and prints what was found.
pub async fn run(server: &Server, settings: &Settings, queued: usize) {
    let mut figures = Figures::default();
    let many = Store::fresh(server, "many").await;
    let rate = many.add(0, queued, 4).await;
    println!(
        "\nqueued {} units at {}/s",
        thousands(queued as f64),
        thousands(rate)
    );
    for round in 0..settings.rounds() {
        let few = Store::fresh(server, "few").await;
        few.add(0, FEW, 4).await;
        let (few, many) = ((&few, "few", FEW), (&many, "many", queued));
        // Nobody always comes first.
        let turns = if round % 2 == 0 {
            [few, many]
        } else {
            [many, few]
        };
        for (store, schema, queued) in turns {
            server.settle(schema).await;
            let mut looks = Looks {
                store,
                figures: &mut figures,
                schema,
                queued,
                round,
            };
            looks.rates(server, settings).await;
            looks.times().await;
        }
        println!("round {} is done", round + 1);
    }
    let title = format!(
        "With {} units queued, and with {}",
        thousands(queued as f64),
        thousands(FEW as f64)
    );
    let mut table = Table::new(title, &figures);
    let within = Target::AtLeast(0.8);
    for (what, unit, target) in RATES
        .map(|what| (what, Unit::PerSecond, within))
        .into_iter()
        .chain(TIMES.map(|what| (what, Unit::Milliseconds, Target::AtMost(1.25))))
    {
        let (few, many) = (format!("few: {what}"), format!("many: {what}"));
        table.row(&few, unit);
        table.row(&many, unit);
        table.ratio(&many, &few, target);
    }
    table.print();
}

/// One round on one of the two.
struct Looks<'a> {
    store: &'a Store,
    figures: &'a mut Figures,
    schema: &'static str,
    queued: usize,
    round: usize,
}

impl Looks<'_> {
    fn note(&mut self, what: &str, figure: f64) {
        self.figures
            .note(format!("{}: {what}", self.schema), figure);
    }

    async fn rates(&mut self, server: &Server, settings: &Settings) {
        let [drained, added, scattered, asked_row, asked_scattered] = RATES;
        let store = self.store;
        let jobs = store.drain(WORKERS, settings.span(), JOBS).await;
        self.note(drained, jobs.rate());

        server.checkpoint().await;
        let from = self.queued + self.round * ADDED;
        self.note(added, store.add(from, ADDED, 1).await);

        server.checkpoint().await;
        // In the second half, which nobody claims from, each between two that are there.
        let data = data();
        let half = self.queued / 2;
        let mut random = fastrand::Rng::with_seed(self.round as u64);
        let mut units = (0..SCATTERED).map(|nth| {
            let key = format!("{}, {} {nth}", key(half + random.usize(..half)), self.round);
            unit(&key, &data)
        });
        let shares = (0..SCATTERED / ADDED_AT_A_TIME)
            .map(|_| units.by_ref().take(ADDED_AT_A_TIME).collect())
            .collect();
        let time = store.add_shares(vec![shares]).await;
        self.note(scattered, SCATTERED as f64 / time.as_secs_f64());

        let queued = self.queued;
        let mut row = || {
            let from = random.usize(..queued - KEYS);
            (from..from + KEYS).map(key).collect()
        };
        let rows = (0..CALLS).map(|_| row()).collect();
        self.ask(asked_row, rows).await;
        let mut scattered = || (0..KEYS).map(|_| key(random.usize(..queued))).collect();
        let scattered = (0..CALLS).map(|_| scattered()).collect();
        self.ask(asked_scattered, scattered).await;
    }

    /// Asks for units, one call after the other.
    async fn ask(&mut self, what: &str, calls: Vec<Vec<String>>) {
        let store = self.store;
        let begun = Instant::now();
        for keys in &calls {
            let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
            let units = store.daemon.units(store.now(), store.spec, &keys).await;
            assert!(units.unwrap().iter().all(Option::is_some));
        }
        let seconds = begun.elapsed().as_secs_f64();
        self.note(what, (CALLS * KEYS) as f64 / seconds);
    }

    async fn times(&mut self) {
        let [board, count, slow_count] = TIMES;
        let store = self.store;
        // A board is remembered for a moment, so each is asked for at another.
        let start = store.now();
        let later = |nth: usize| -> Timestamp {
            start.after(coordinated::limits::BOARD_AGE_MAX * 2 * nth as u32)
        };
        let mut boards = Vec::new();
        for nth in 1..=CALLS {
            let begun = Instant::now();
            let seen = store.daemon.board(later(nth), store.namespace).await;
            boards.push(begun.elapsed());
            assert_eq!(seen.unwrap().candidates.len(), 1);
        }
        self.note(board, percentile(&mut boards, 50));
        let mut counts = Vec::new();
        for _ in 0..CALLS {
            let begun = Instant::now();
            let counted = store.daemon.count_units(store.now(), store.spec).await;
            counts.push(begun.elapsed());
            assert!(counted.unwrap().available > 0);
        }
        self.note(count, percentile(&mut counts, 50));
        self.note(slow_count, percentile(&mut counts, 99));
    }
}
