//! A good history, which is broken in one place by each test.

mod chains;
mod leases;
mod locks;

use super::{
    Rule, SLACK, check,
    history::{
        Add, Ask, Call, Claim, Count, Data, Event, Grant, History, Look, Micros, New, Seen, Spec,
        Unit, Update,
    },
};

/// How far the server's clock is ahead.
const OFFSET: u64 = 1_700_000_000_000_000;
const LEASE: Micros = 1_000_000;

/// What was done at so many milliseconds, and answered ten later.
fn call(sent: u64) -> Call {
    Call {
        sent: sent * 1_000,
        received: Some((sent + 10) * 1_000),
    }
}

fn lost(sent: u64) -> Call {
    Call {
        received: None,
        ..call(sent)
    }
}

fn new(key: &str, data: &str) -> New {
    New {
        key: key.to_owned(),
        data: data.to_owned(),
        delay: 0,
    }
}

fn spec(name: &str, max_running: usize, then: Option<&str>) -> Event {
    Event::Spec(Spec {
        name: name.to_owned(),
        max_running,
        then: then.map(str::to_owned),
        interval: None,
    })
}

fn add(sent: u64, keys: &[&str], done: bool) -> Event {
    Event::Add(Add {
        call: call(sent),
        spec: "a".to_owned(),
        units: keys.iter().map(|key| new(key, "{}")).collect(),
        done,
    })
}

fn claim(sent: u64, spec: &str, key: &str, attempt: u64) -> Event {
    let grant = Grant {
        spec: spec.to_owned(),
        key: key.to_owned(),
        data: "{}".to_owned(),
        attempt,
        number: attempt / 100, // ids of a unit are hundreds apart here
        expires: OFFSET + (sent + 5) * 1_000 + LEASE,
    };
    Event::Claim(Claim {
        call: call(sent),
        worker: format!("w{attempt}"),
        lease: LEASE,
        units: vec![grant],
    })
}

fn update(sent: u64, name: (&str, &str), attempt: u64, ask: Ask, answer: Option<bool>) -> Update {
    Update {
        call: call(sent),
        worker: format!("w{attempt}"),
        spec: name.0.to_owned(),
        key: name.1.to_owned(),
        attempt,
        ask,
        data: None,
        answer,
    }
}

fn finish(sent: u64, spec: &str, key: &str, attempt: u64, answer: Option<bool>) -> Event {
    Event::Update(update(sent, (spec, key), attempt, Ask::Finish, answer))
}

fn look(sent: u64, spec: &str, key: &str, seen: Seen) -> Event {
    Event::Look(Look {
        call: call(sent),
        spec: spec.to_owned(),
        key: key.to_owned(),
        seen,
    })
}

fn found(spec: &str, key: &str, attempt: u64, data: &str) -> Event {
    Event::Unit(Unit {
        spec: spec.to_owned(),
        key: key.to_owned(),
        status: 4,
        attempt: Some(attempt),
        attempts: attempt / 100,
        data: data.to_owned(),
    })
}

fn count(daemon: usize, spec: &str, finished: usize) -> Event {
    Event::Count(Count {
        daemon,
        spec: spec.to_owned(),
        counts: vec![(4, finished)],
    })
}

/// Two units of `a`. The first chains one of `b`, its second attempt finishes it after the
/// first came late. The reply to the other's finish is lost.
fn good() -> History {
    let mut finish_of_first = update(2_000, ("a", "one"), 200, Ask::Finish, Some(true));
    finish_of_first.data = Some(Data {
        text: "done".to_owned(),
        output: vec![new("one.1", "{}")],
    });
    let mut lost_finish = update(300, ("a", "two"), 101, Ask::Finish, None);
    lost_finish.call = lost(300);
    let events = [
        spec("a", 0, Some("b")),
        spec("b", 1, None),
        add(0, &["one", "two"], true),
        claim(100, "a", "one", 100),
        claim(110, "a", "two", 101),
        Event::Update(lost_finish),
        claim(1_500, "a", "one", 200),
        finish(1_600, "a", "one", 100, Some(false)),
        Event::Update(finish_of_first),
        finish(2_100, "a", "one", 200, Some(true)),
        look(2_020, "a", "one", Seen::Finished),
        look(2_040, "b", "one.1", Seen::Present),
        claim(2_200, "b", "one.1", 102),
        finish(2_300, "b", "one.1", 102, Some(true)),
        found("a", "one", 200, "done"),
        found("a", "two", 101, "{}"),
        found("b", "one.1", 102, "{}"),
        count(0, "a", 2),
        count(0, "b", 1),
        count(1, "a", 2),
        count(1, "b", 1),
    ];
    history(events)
}

fn history(events: impl IntoIterator<Item = Event>) -> History {
    let mut history = History::default();
    events.into_iter().for_each(|event| history.push(event));
    history
}

fn rules(history: &History) -> Vec<Rule> {
    let findings = check(history);
    let mut rules: Vec<Rule> = findings.iter().map(|finding| finding.rule).collect();
    rules.dedup();
    rules
}

/// Checks that the good history, once this was done to it, is found to break the rule.
fn finds(rule: Rule, break_it: impl FnOnce(&mut History)) {
    let mut history = good();
    break_it(&mut history);
    let found = check(&history);
    assert!(
        found.iter().any(|finding| finding.rule == rule),
        "{rule:?} in {found:?}"
    );
}

/// Checks that this makes the good history no worse.
fn allows(change: impl FnOnce(&mut History)) {
    let mut history = good();
    change(&mut history);
    let found = check(&history);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn nothing_is_found_in_a_good_history() {
    allows(|_| {});
}

#[test]
fn a_history_is_read_as_it_was_written() {
    let file = std::env::temp_dir().join(format!("chaos-history-{}", std::process::id()));
    let events = [
        finish(1, "a", "one", 100, None),
        claim(1, "a", "one", 100),
        count(0, "a", 2),
        Event::Update(update(7, ("a", "one"), 100, Ask::Renew(5), Some(true))),
    ];
    let lines = events
        .iter()
        .map(|event| serde_json::to_string(event).unwrap() + "\n");
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    let read = History::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", history(events)));
}
