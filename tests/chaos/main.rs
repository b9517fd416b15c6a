//! Several real daemons on one real database, many workers on all of them, and trouble:
//! daemons are killed and frozen, the database is stopped and crashes, workers die, come late, lose
//! replies and send again. What the clients saw is written down as a history, and a
//! checker that shares no code with the daemon says afterwards whether that can be.
//!
//! `cargo test --test chaos` takes half a minute. With `COORDINATED_CHAOS_UNITS=100000`
//! and `COORDINATED_CHAOS_DAEMONS=3` it takes minutes; `COORDINATED_CHAOS_SEED` repeats
//! the lots of a run, though not its timing. The history is left in the target folder.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code"
)]

mod checker;
#[path = "../clients/client.rs"]
#[allow(dead_code, reason = "no suite uses all of it")]
mod client;
#[path = "../clients/daemon.rs"]
#[allow(dead_code, reason = "no suite uses all of it")]
mod daemon;
mod ending;
mod feeder;
mod locker;
mod output;
mod plan;
#[path = "../support/postgres.rs"]
mod postgres;
mod record;
mod rpc;
mod servers;
mod specs;
#[path = "../support/value.rs"]
#[allow(dead_code, reason = "no suite uses all of it")]
mod value;
mod watcher;
mod words;
mod worker;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use checker::{
    Finding, Rule,
    history::{Ask, History},
};
use feeder::Feeder;
use plan::{Plan, WORKERS};
use record::Recorder;
use rpc::Rpc;
use servers::Servers;
use tokio::{task::JoinSet, time::sleep};
use watcher::Watched;
use worker::Worker;

/// Clients that only look.
const WATCHERS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn what_workers_see_while_daemons_and_database_fail_is_what_was_promised() {
    let plan = Plan::from_environment();
    println!("{plan:?}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("chaos-{}-{}.jsonl", plan.units, plan.daemons));
    let recorder = Arc::new(Recorder::new(path));
    let mut servers = Servers::start(&plan, recorder.clone());
    let addresses = servers.addresses();
    let client = |part| Rpc::new(recorder.clone(), addresses.clone(), plan.random(part));

    let mut feeder = Feeder::new(client(1_000), recorder.clone(), plan.units);
    feeder.begin().await;
    let watched = Arc::new(Watched::default());
    let mut tasks = JoinSet::new();
    for number in 0..WORKERS {
        let rpc = client(number as u64);
        let (recorder, watched) = (recorder.clone(), watched.clone());
        let worker = Worker::new(number, rpc, recorder, watched, plan.habits);
        tasks.spawn(worker.work());
    }
    for number in 0..WATCHERS {
        let rpc = client(2_000 + number as u64);
        tasks.spawn(watcher::watch(watched.clone(), rpc, recorder.clone()));
    }
    let feeding = tokio::spawn(feeder.go_on());

    let troubles = Servers::troubles(&plan, &mut plan.random(3_000));
    let step = plan.units / (troubles.len() + 1);
    for (number, trouble) in troubles.into_iter().enumerate() {
        until_finished(step * (number + 1), &recorder, &mut tasks).await;
        tokio::task::block_in_place(|| servers.suffer(trouble));
    }
    let feeder = feeding.await.unwrap();
    until_finished(feeder.added * 9 / 10, &recorder, &mut tasks).await;
    let mut last = client(4_000);
    let no_more = [value::text(specs::TICKS), specs::no_more()];
    let (reply, _) = last.call("control_work_spec", no_more).await;
    words::pair(reply, &recorder).unwrap();
    let drained = ending::drained(&mut last, &recorder).await;
    let seconds = recorder.now() as f64 / 1e6;
    recorder.end();
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }

    for daemon in 0..plan.daemons {
        let mut rpc = client(5_000).only(daemon);
        ending::write_counts(&mut rpc, &recorder, daemon).await;
    }
    let totals = ending::write_units(&mut last, &recorder).await;
    let history = History::read(&recorder.written()).unwrap();
    summary(&servers, &recorder, &history, &totals, seconds);
    let findings = checker::check(&history);
    let mut others: Vec<String> = drained.err().into_iter().collect();
    others.extend(servers.find_mistakes().iter().cloned());
    others.extend(missed(&history, &recorder, &servers, &plan));
    assert!(
        findings.is_empty() && others.is_empty(),
        "seed {}: {}{}",
        plan.seed,
        shown(&findings),
        others.join("\n")
    );
}

/// Some findings for each rule that was broken, and how many there are.
fn shown(findings: &[Finding]) -> String {
    const EACH: usize = 4;
    let mut by_rule: BTreeMap<Rule, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        by_rule.entry(finding.rule).or_default().push(finding);
    }
    let mut shown = format!("{} findings\n", findings.len());
    for (rule, findings) in by_rule {
        shown += &format!("{rule:?}: {} times\n", findings.len());
        for finding in findings.iter().take(EACH) {
            shown += &format!("  {finding}\n");
        }
    }
    shown
}

/// Waits until so many of the units that were added are finished.
async fn until_finished(units: usize, recorder: &Recorder, tasks: &mut JoinSet<()>) {
    const STALL_MAX: u64 = 30_000_000;
    let mut last = (0, recorder.now());
    loop {
        let finished = recorder.sources_finished.load(Relaxed);
        if finished >= units {
            return;
        }
        if finished > last.0 {
            last = (finished, recorder.now());
        }
        let stalled = recorder.now() - last.1;
        assert!(
            stalled < STALL_MAX,
            "{finished} of {units} units, and no more"
        );
        while let Some(ended) = tasks.try_join_next() {
            ended.unwrap();
        }
        sleep(Duration::from_millis(10)).await; // reason: until workers have done more
    }
}

/// Prints what a run was.
fn summary(
    servers: &Servers,
    recorder: &Recorder,
    history: &History,
    totals: &ending::Totals,
    seconds: f64,
) {
    println!(
        "{} units finished in {seconds:.1} s: {} kills of daemons, {} freezes, \
         {} database restarts, {} expiries, {} refused stale finishes, {} lost replies, {} error replies, \
         {} locks taken, {} lines of history in {}",
        totals.units,
        servers.kills,
        servers.freezes,
        servers.restarts,
        expiries(history, totals),
        recorder.stale_finishes.load(Relaxed),
        recorder.lost_replies(),
        recorder.errors.load(Relaxed),
        recorder.locks.load(Relaxed),
        recorder.events(),
        recorder.written().display(),
    );
}

/// Attempts that were neither finished nor given back.
fn expiries(history: &History, totals: &ending::Totals) -> u64 {
    let is_release = |ask: &Ask| matches!(ask, Ask::Release(_));
    let released = history.updates.iter();
    let released = released.filter(|update| is_release(&update.ask) && update.answer == Some(true));
    (totals.attempts).saturating_sub((totals.units + released.count()) as u64)
}

/// What was to happen in a run and did not: then it shows less than it should.
fn missed(history: &History, recorder: &Recorder, servers: &Servers, plan: &Plan) -> Vec<String> {
    let mut finishes_lost = history
        .updates
        .iter()
        .filter(|update| update.ask == Ask::Finish && update.answer.is_none());
    let happened = [
        ("kills", servers.kills >= plan.kills),
        ("restarts", servers.restarts >= plan.database_restarts),
        ("stale finishes", recorder.stale_finishes.load(Relaxed) > 0),
        ("lost replies", recorder.lost_replies() > 0),
        (
            "finishes whose reply was lost",
            finishes_lost.next().is_some(),
        ),
        ("locks", recorder.locks.load(Relaxed) > 0),
        ("looks", !history.looks.is_empty()),
        (
            "units the server made",
            history.units.iter().any(|unit| unit.spec == specs::TICKS),
        ),
    ];
    let missed = happened.iter().filter(|(_, happened)| !happened);
    missed
        .map(|(what, _)| format!("there were no {what}"))
        .collect()
}

#[test]
fn the_checker_shares_no_code_with_the_daemon() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/checker");
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        files += 1;
        for line in fs::read_to_string(&path).unwrap().lines() {
            let code = line.trim_start();
            let is_named = code.contains(concat!("coordin", "ated::"));
            assert!(!is_named, "{}: {line}", path.display());
            if let Some(from) = code.strip_prefix("use ") {
                let allowed = ["std::", "serde::", "super::", "history::"];
                let is_allowed = allowed.iter().any(|allowed| from.starts_with(allowed));
                assert!(is_allowed, "{}: {line}", path.display());
            }
        }
    }
    assert!(files >= 8, "{files} files");
}
