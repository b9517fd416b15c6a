//! Rounds in which the same is done by pgbench and COPY and by us.

use std::time::Duration;

use crate::{
    Settings,
    ours::{Drained, Store, percentile},
    reference::{Copying, Reference, Script},
    report::{Figures, Table, Target, Unit, thousands},
    server::{Counters, Server},
    stack::Daemon,
    work::WORKERS,
};

const SCHEMA: &str = "ours";

/// How many add at the same time, where it is not one.
const ADDERS: usize = 4;

/// Clients of pgbench that take a hundred units at a time; the best of these counts.
const HUNDRED_CLIENTS: [usize; 4] = [1, 4, 8, 64];

const ONE: &str = "pgbench, one by one, 64 clients";
const HUNDRED: &str = "pgbench, by hundreds, the best";
const LIBRARY: &str = "backend, one by one, 64 callers";
const STACK: &str = "daemon, one by one, 64 connections";
const COPY_BATCHES: &str = "COPY, by 10,000";
const COPY_WHOLE: &str = "COPY, all in one";
const COPY_ADDERS: &str = "COPY, by 10,000, 4 at once";
const PUT: &str = "put_units, by 10,000";
const PUT_ADDERS: &str = "put_units, by 10,000, 4 at once";

fn hundred(clients: usize) -> String {
    format!("pgbench, by hundreds, clients: {clients}")
}

/// The name of another figure of the same run.
fn of(what: &str, figure: &str) -> String {
    format!("{figure}: {what}")
}

const WAL: &str = "WAL";
const COMMITS: &str = "commits";
const CLAIM_50: &str = "claim, half within";
const CLAIM_99: &str = "claim, 99 % within";
const FINISH_99: &str = "finish, 99 % within";

/// What is measured in all rounds.
pub struct Comparison<'a> {
    server: &'a Server,
    units: usize,
    span: Duration,
    figures: Figures,
}

/// Measures, and prints what was found.
pub async fn run(server: &Server, settings: &Settings) {
    let mut comparison = Comparison {
        server,
        units: settings.units(),
        span: settings.span(),
        figures: Figures::default(),
    };
    for round in 0..settings.rounds() {
        // Nobody always comes first.
        if round % 2 == 0 {
            comparison.measure_reference().await;
            comparison.measure_ours().await;
        } else {
            comparison.measure_ours().await;
            comparison.measure_reference().await;
        }
        println!("round {} is done", round + 1);
    }
    comparison.print();
}

impl Comparison<'_> {
    async fn measure_reference(&mut self) {
        let adders = Copying::Batches {
            connections: ADDERS,
        };
        let one = Copying::Batches { connections: 1 };
        self.pgbench(Some(COPY_BATCHES), one, None).await;
        let mut best: Option<[f64; 3]> = None;
        let ways = [
            (Some(COPY_WHOLE), Copying::Whole),
            (Some(COPY_ADDERS), adders),
            (None, adders),
            (None, adders),
        ];
        for (clients, (name, copying)) in HUNDRED_CLIENTS.into_iter().zip(ways) {
            let run = self.pgbench(name, copying, Some(clients)).await;
            if best.is_none_or(|best| run[0] > best[0]) {
                best = Some(run);
            }
        }
        self.note(HUNDRED, best.expect("there was one"));
    }

    /// Adds units by COPY, then has pgbench work them off, 100 at a time if `hundreds`
    /// says how many clients: jobs a second, WAL and commits for each.
    async fn pgbench(
        &mut self,
        name: Option<&str>,
        copying: Copying,
        hundreds: Option<usize>,
    ) -> [f64; 3] {
        let reference = Reference::fresh(self.server).await;
        let rate = reference.add(self.units, copying).await;
        if let Some(name) = name {
            self.figures.note(name, rate);
        }
        let (script, clients, name) = match hundreds {
            None => (Script::One, WORKERS, ONE.to_owned()),
            Some(clients) => (Script::Hundred, clients, hundred(clients)),
        };
        reference.settle().await;
        let before = self.server.counters().await;
        let run = reference.pgbench(script, clients, self.span).await;
        let after = self.server.counters().await;
        let costs = costs(run.rate, run.jobs, before, after);
        self.note(&name, costs);
        costs
    }

    async fn measure_ours(&mut self) {
        let store = Store::fresh(self.server, SCHEMA).await;
        self.figures.note(PUT, store.add(0, self.units, 1).await);
        store.close().await;
        self.server.settle(SCHEMA).await;
        let before = self.server.counters().await;
        let store = Store::open(self.server, SCHEMA).await;
        let drained = store.drain(WORKERS, self.span, self.units).await;
        store.close().await;
        self.drained(LIBRARY, drained, before).await;

        let store = Store::fresh(self.server, SCHEMA).await;
        let rate = store.add(0, self.units, ADDERS).await;
        self.figures.note(PUT_ADDERS, rate);
        store.close().await;
        self.server.settle(SCHEMA).await;
        let before = self.server.counters().await;
        let daemon = Daemon::start(self.server, SCHEMA);
        let drained = daemon.drain(WORKERS, self.span, self.units).await;
        drop(daemon);
        self.drained(STACK, drained, before).await;
    }

    async fn drained(&mut self, name: &str, mut drained: Drained, before: Counters) {
        let after = self.server.counters().await;
        let costs = costs(drained.rate(), drained.jobs as f64, before, after);
        self.note(name, costs);
        let mut time = |figure, times: &mut Vec<Duration>, percent| {
            let time = percentile(times, percent);
            self.figures.note(of(name, figure), time);
        };
        time(CLAIM_50, &mut drained.claims, 50);
        time(CLAIM_99, &mut drained.claims, 99);
        time(FINISH_99, &mut drained.finishes, 99);
    }

    fn note(&mut self, name: &str, [rate, wal, commits]: [f64; 3]) {
        self.figures.note(name, rate);
        self.figures.note(of(name, WAL), wal);
        self.figures.note(of(name, COMMITS), commits);
    }

    fn print(&self) {
        let title = "Units claimed and finished in a second";
        let mut table = Table::new(title, &self.figures);
        table.row(ONE, Unit::PerSecond);
        for clients in HUNDRED_CLIENTS {
            table.row(&hundred(clients), Unit::PerSecond);
        }
        table.row(HUNDRED, Unit::PerSecond);
        for name in [LIBRARY, STACK] {
            table.row(name, Unit::PerSecond);
            table.ratio(name, ONE, Target::AtLeast(3.0));
            table.ratio(name, HUNDRED, Target::AtLeast(0.5));
        }
        for name in [LIBRARY, STACK] {
            for figure in [CLAIM_50, CLAIM_99, FINISH_99] {
                table.row(&of(name, figure), Unit::Milliseconds);
            }
        }
        table.print();

        let title = format!("{} units added", thousands(self.units as f64));
        let mut table = Table::new(title, &self.figures);
        for name in [COPY_BATCHES, COPY_WHOLE, COPY_ADDERS] {
            table.row(name, Unit::PerSecond);
        }
        table.row(PUT, Unit::PerSecond);
        table.ratio(PUT, COPY_BATCHES, Target::AtLeast(0.5));
        table.ratio(PUT, COPY_WHOLE, Target::AtLeast(0.5));
        table.row(PUT_ADDERS, Unit::PerSecond);
        table.ratio(PUT_ADDERS, COPY_BATCHES, Target::None);
        table.ratio(PUT_ADDERS, COPY_ADDERS, Target::None);
        table.print();

        let title = "For each finished unit, after a checkpoint: WAL and commits";
        let mut table = Table::new(title, &self.figures);
        for (figure, unit) in [(WAL, Unit::Bytes), (COMMITS, Unit::Plain)] {
            for name in [ONE, HUNDRED, LIBRARY, STACK] {
                table.row(&of(name, figure), unit);
                if name != ONE {
                    table.ratio(&of(name, figure), &of(ONE, figure), Target::None);
                }
            }
        }
        table.print();
    }
}

/// The rate, and WAL and commits for each job.
fn costs(rate: f64, jobs: f64, before: Counters, after: Counters) -> [f64; 3] {
    [
        rate,
        (after.wal - before.wal) / jobs,
        (after.commits - before.commits) / jobs,
    ]
}
