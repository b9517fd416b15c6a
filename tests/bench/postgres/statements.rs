//! What is asked of the database: how many statements the calls need, how many calls share
//! one, and what each statement costs.

use crate::{
    Settings,
    ours::Store,
    report::{print_aligned, thousands},
    server::{Counted, Server},
    stack::Daemon,
    work::WORKERS,
};

const SCHEMA: &str = "ours";

/// Statements that ran less often than this share of the most frequent are put together.
const SHARE_MIN: f64 = 0.1;

/// Characters of a statement's text that are shown.
const TEXT_MAX: usize = 60;

/// Counts, on tables of their own, and prints what was counted.
pub async fn run(server: &Server, settings: &Settings) {
    if !server.counts_statements {
        println!("\nStatements were not counted: this PostgreSQL has no pg_stat_statements");
        return;
    }
    let units = settings.units();
    let store = Store::fresh(server, SCHEMA).await;
    store.close().await;
    server.settle(SCHEMA).await;
    server.counters().await;
    server.count_statements().await;
    let store = Store::open(server, SCHEMA).await;
    store.add(0, units, 1).await;
    store.close().await;
    let calls = units as f64 / crate::work::ADDED_AT_A_TIME as f64;
    show(
        "put_units of 10,000 by one caller",
        calls,
        units as f64,
        server,
    )
    .await;

    server.settle(SCHEMA).await;
    server.count_statements().await;
    let store = Store::open(server, SCHEMA).await;
    let drained = store.drain(WORKERS, settings.span() / 2, units / 2).await;
    store.close().await;
    let jobs = drained.jobs as f64;
    show(
        "claims and finishes by 64 callers",
        2.0 * jobs,
        jobs,
        server,
    )
    .await;

    server.settle(SCHEMA).await;
    server.count_statements().await;
    let daemon = Daemon::start(server, SCHEMA);
    let rest = units - drained.jobs;
    let drained = daemon.drain(WORKERS, settings.span() / 2, rest).await;
    drop(daemon);
    let jobs = drained.jobs as f64;
    let what = "get_work and update_work_unit over 64 connections";
    show(what, 2.0 * jobs, jobs, server).await;
}

/// Prints what was counted while so many calls were made that did something to so many
/// units.
async fn show(what: &str, calls: f64, units: f64, server: &Server) {
    server.counters().await; // once those who count have gone
    let counted = server.counted_statements().await;
    let all: f64 = counted.iter().map(|counted| counted.calls).sum();
    println!(
        "\nStatements for {what}, with upkeep and connecting:\n\
         {:.3} a call, {:.1} calls and {:.1} units a statement\n",
        all / calls,
        calls / all,
        units / all
    );
    let heads = [
        "",
        "times",
        "units each",
        "rows each",
        "WAL/unit",
        "pages/unit",
        "ms each",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    let most = counted.first().map_or(0.0, |counted| counted.calls);
    let (often, seldom): (Vec<Counted>, Vec<Counted>) = counted
        .into_iter()
        .partition(|counted| counted.calls >= most * SHARE_MIN);
    let others = seldom.iter().fold(Counted::default(), |sum, one| Counted {
        text: format!("{} others", seldom.len()),
        calls: sum.calls + one.calls,
        rows: sum.rows + one.rows,
        wal: sum.wal + one.wal,
        full_pages: sum.full_pages + one.full_pages,
        milliseconds: sum.milliseconds + one.milliseconds,
    });
    let has_others = others.calls > 0.0;
    for counted in often.into_iter().chain(has_others.then_some(others)) {
        rows.push([
            summary(&counted.text),
            thousands(counted.calls),
            format!("{:.1}", units / counted.calls),
            format!("{:.1}", counted.rows / counted.calls),
            format!("{} B", thousands(counted.wal / units)),
            format!("{:.3}", counted.full_pages / units),
            format!("{:.3}", counted.milliseconds / counted.calls),
        ]);
    }
    print_aligned(&rows);
}

/// What a statement begins with and what it changes.
fn summary(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let changes = words.windows(3).filter_map(|words| match words {
        ["for", "update", "skip"] => Some("skip locked".to_owned()),
        [before, "update", table] if !["for", "key", "do"].contains(before) => {
            Some(format!("update {table}"))
        }
        ["insert" | "delete", "into" | "from", table] => Some(format!("{} {table}", words[0])),
        _ => None,
    });
    let mut changes: Vec<String> = changes.collect();
    changes.dedup();
    let summary = match words.first() {
        Some(&("with" | "insert" | "update" | "delete")) if !changes.is_empty() => {
            changes.join(", ")
        }
        _ => words.join(" "),
    };
    match summary.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &summary[..end]),
        None => summary,
    }
}
