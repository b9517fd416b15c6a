//! What a transaction that somebody holds open does to claims: no row version that has
//! ended since can be removed, and those at the head of the queue are in everyone's way.

use std::time::Duration;

use tokio::{task::JoinSet, time};

use crate::{
    Settings,
    ours::{Drained, Store, Works as _, percentile},
    report::{Target, print_aligned, thousands},
    server::Server,
    work::WORKERS,
};

const SCHEMA: &str = "held";

/// Units claimed and finished in a second.
const PACE: u32 = 2_000;

/// How much slower the slowest of a hundred claims may be.
const SLOWER_MAX: f64 = 2.0;

/// Measures, and prints what was found.
pub async fn run(server: &Server, settings: &Settings, minutes: f64) {
    // The pace before, and the times that are compared, take as long as one row.
    let window = Duration::from_secs(if settings.quick { 5 } else { 60 });
    let windows = (minutes * 60.0 / window.as_secs_f64()).ceil().max(1.0) as u32;
    let jobs = (windows + 4) * PACE * window.as_secs() as u32;
    let store = Store::fresh(server, SCHEMA).await;
    store.add(0, jobs as usize, 4).await;
    server.settle(SCHEMA).await;
    let mut rows = vec![
        [
            "",
            "jobs",
            "claim p50",
            "claim p99",
            "to before",
            "finish p99",
            "dead rows",
            "size",
        ]
        .map(str::to_owned),
    ];
    paced(&store, window).await; // until what is new has become usual
    let before = line(server, &store, &mut rows, "before", window, None).await;
    let holder = server.client(SCHEMA).await;
    let hold = "begin isolation level repeatable read; select from unit limit 1";
    holder.batch_execute(hold).await.unwrap();
    let mut last = before;
    for number in 1..=windows {
        let name = format!("held, {} s", u64::from(number) * window.as_secs());
        last = line(server, &store, &mut rows, &name, window, Some(before)).await;
    }
    holder.batch_execute("commit").await.unwrap();
    line(server, &store, &mut rows, "let go of", window, Some(before)).await;
    store.close().await;
    println!(
        "\nAt {} jobs a second, with another transaction held open; {} s a line\n",
        thousands(f64::from(PACE)),
        window.as_secs()
    );
    print_aligned(&rows);
    let ratio = last / before;
    println!(
        "\n  claim p99 in the last line that it was held, to before: {ratio:.2}   {}",
        Target::AtMost(SLOWER_MAX).show(ratio)
    );
}

/// Works for a while and adds what was found to the rows; the 99th of a hundred claims.
async fn line(
    server: &Server,
    store: &Store,
    rows: &mut Vec<[String; 8]>,
    name: &str,
    window: Duration,
    before: Option<f64>,
) -> f64 {
    let mut drained = paced(store, window).await;
    let sql = "select n_dead_tup, pg_total_relation_size(relid) >> 20
        from pg_stat_user_tables where schemaname = $1 and relname = 'unit'";
    let client = server.client(SCHEMA).await;
    let size = client.query_one(sql, &[&SCHEMA]).await.unwrap();
    let claim_99 = percentile(&mut drained.claims, 99);
    rows.push([
        name.to_owned(),
        format!("{}/s", thousands(drained.rate())),
        format!("{:.2} ms", percentile(&mut drained.claims, 50)),
        format!("{claim_99:.2} ms"),
        before.map_or_else(String::new, |before| format!("{:.2}", claim_99 / before)),
        format!("{:.2} ms", percentile(&mut drained.finishes, 99)),
        thousands(size.get::<_, i64>(0) as f64),
        format!("{} MiB", thousands(size.get::<_, i64>(1) as f64)),
    ]);
    println!("{}", rows[rows.len() - 1].join("   "));
    claim_99
}

/// Claims and finishes at the pace for a while. A caller that is late catches up.
async fn paced(store: &Store, window: Duration) -> Drained {
    let callers = WORKERS as u32;
    let period = Duration::from_secs(1) * callers / PACE;
    let turns = window.as_micros() / period.as_micros();
    let start = time::Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..callers {
        let mut caller = store.caller(number as usize);
        let mut ticks = time::interval_at(start + period * number / callers, period);
        tasks.spawn(async move {
            let mut drained = Drained::default();
            for _ in 0..turns {
                ticks.tick().await;
                caller.work(&mut drained).await;
            }
            ticks.tick().await;
            drained.elapsed = start.elapsed();
            drained
        });
    }
    let mut all = Drained::default();
    while let Some(drained) = tasks.join_next().await {
        all.add(drained.unwrap());
    }
    all
}
