//! Histories in which locks do not hold.

use super::{
    super::history::{Lock, LockAsk, ReadLock},
    *,
};

fn path(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

fn lock(sent: u64, owner: &str, labels: &[&str], ask: LockAsk, answer: Option<bool>) -> Event {
    Event::Lock(Lock {
        call: answer.map_or_else(|| lost(sent), |_| call(sent)),
        owner: owner.to_owned(),
        paths: vec![path(&["other", owner]), path(labels)],
        ask,
        answer,
    })
}

const TAKE: LockAsk = LockAsk::Take(LEASE);

/// Two owners, one after the other, of paths one of which is above the other.
fn good_locks(second: u64) -> Vec<Event> {
    vec![
        lock(100, "one", &["shelf", "1"], TAKE, Some(true)),
        lock(200, "two", &["shelf"], TAKE, Some(false)),
        lock(500, "one", &["shelf", "1"], LockAsk::Release, Some(true)),
        lock(second, "three", &["shelf"], TAKE, Some(true)),
        lock(
            second + 100,
            "three",
            &["shelf"],
            LockAsk::Renew(LEASE),
            Some(true),
        ),
    ]
}

#[test]
fn locks_one_after_the_other_are_allowed() {
    assert_eq!(rules(&history(good_locks(505))), []);
    // Without a release, one after the time of the other.
    let mut forgotten = good_locks(1_100);
    forgotten.remove(2);
    assert_eq!(rules(&history(forgotten)), []);
}

#[test]
fn locks_that_overlap_are_found() {
    assert_eq!(rules(&history(good_locks(300))), [Rule::LockIsExclusive]);
    let mut forgotten = good_locks(600);
    forgotten.remove(2);
    assert_eq!(rules(&history(forgotten)), [Rule::LockIsExclusive]);
    // Beside each other they may be.
    let beside = [
        lock(100, "one", &["shelf", "1"], TAKE, Some(true)),
        lock(200, "two", &["shelf", "2"], TAKE, Some(true)),
    ];
    assert_eq!(rules(&history(beside)), []);
}

#[test]
fn a_lock_that_another_gives_back_is_found() {
    let late = |at, answer| {
        let mut events = good_locks(1_100);
        events[2] = lock(at, "one", &["shelf", "1"], LockAsk::Release, answer);
        rules(&history(events))
    };
    assert_eq!(late(1_150, Some(true)), [Rule::LockIsExclusive]);
    assert_eq!(late(1_150, Some(false)), []);
}

#[test]
fn a_lock_that_was_seen_counts_as_acknowledged() {
    let events = |seen: Option<&str>| {
        let read = ReadLock {
            call: call(200),
            path: path(&["shelf"]),
            owner: seen.map(str::to_owned),
        };
        history([
            lock(100, "one", &["shelf"], TAKE, None),
            Event::ReadLock(read),
            lock(300, "two", &["shelf"], TAKE, Some(true)),
        ])
    };
    assert_eq!(rules(&events(None)), []);
    assert_eq!(rules(&events(Some("one"))), [Rule::LockIsExclusive]);
}

#[test]
fn a_lock_that_is_gone_too_soon_is_found() {
    for ask in [LockAsk::Release, LockAsk::Renew(LEASE)] {
        let refused = |at| {
            let lock_then = [
                lock(100, "one", &["shelf"], TAKE, Some(true)),
                lock(at, "one", &["shelf"], ask, Some(false)),
            ];
            rules(&history(lock_then))
        };
        assert_eq!(refused(500), [Rule::LockIsKept]);
        assert_eq!(refused(1_050), []);
    }
}

#[test]
fn a_lock_that_is_never_free_is_found() {
    let refused = |at| {
        let mut events = good_locks(505);
        events.push(lock(at, "four", &["shelf", "2"], TAKE, Some(false)));
        rules(&history(events))
    };
    assert_eq!(refused(1_700), []);
    assert_eq!(refused(2_000), [Rule::LockIsFreed]);
    assert_eq!(refused(50), [Rule::LockIsFreed]);
}
