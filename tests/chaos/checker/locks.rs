//! Locks: paths that overlap have one owner at a time, who keeps them until their time.

use std::collections::BTreeMap;

use super::{
    Findings, Rule, SLACK,
    history::{History, Lock, LockAsk, Micros, ReadLock},
    holds::{self, Given, Hold},
};

/// Everything an owner did. It takes its paths once.
struct Owner<'a> {
    name: &'a str,
    paths: &'a [Vec<String>],
    /// In the order in which they were sent.
    calls: Vec<&'a Lock>,
    reads: Vec<&'a ReadLock>,
}

pub fn check(history: &History, findings: &mut Findings) {
    let owners = owners(history);
    let all = owners.iter().enumerate();
    let mut held: Vec<(Hold, usize)> = all
        .flat_map(|(number, owner)| holds(owner, None).into_iter().map(move |h| (h, number)))
        .collect();
    held.sort_unstable();
    exclusive(&owners, &held, findings);
    given_back(&owners, &held, findings);
    for owner in &owners {
        kept(owner, findings);
    }
    freed(&owners, findings);
}

/// Nobody gives back what another certainly holds.
fn given_back(owners: &[Owner<'_>], held: &[(Hold, usize)], findings: &mut Findings) {
    let longest = held.iter().map(|(hold, _)| hold.to - hold.from).max();
    let longest = longest.unwrap_or(0);
    for owner in owners {
        for lock in &owner.calls {
            if lock.ask != LockAsk::Release || lock.answer != Some(true) {
                continue;
            }
            let (sent, received) = (lock.call.sent, lock.call.received.unwrap_or(0));
            let begin = held.partition_point(|(hold, _)| hold.from + longest < sent);
            let begun = held[begin..]
                .iter()
                .take_while(|(hold, _)| hold.from <= sent);
            for (hold, other) in begun {
                let other = &owners[*other];
                let is_anothers = other.name != owner.name
                    && received < hold.to
                    && overlap(other.paths, owner.paths);
                findings.unless(!is_anothers, Rule::LockIsExclusive, || {
                    format!("{} held it when this was accepted: {lock:?}", other.name)
                });
            }
        }
    }
}

fn owners(history: &History) -> Vec<Owner<'_>> {
    let mut owners: BTreeMap<&str, Owner<'_>> = BTreeMap::new();
    for lock in &history.locks {
        let owner = owners.entry(&lock.owner).or_insert(Owner {
            name: &lock.owner,
            paths: &lock.paths,
            calls: Vec::new(),
            reads: Vec::new(),
        });
        owner.calls.push(lock);
    }
    for read in &history.read_locks {
        if let Some(owner) = read
            .owner
            .as_ref()
            .and_then(|name| owners.get_mut(name.as_str()))
        {
            owner.reads.push(read);
        }
    }
    let mut owners: Vec<Owner<'_>> = owners.into_values().collect();
    for owner in &mut owners {
        owner.calls.sort_by_key(|lock| lock.call.sent);
    }
    owners
}

/// When the owner certainly held its paths, whatever became of `besides`.
fn holds(owner: &Owner<'_>, besides: Option<&Lock>) -> Vec<Hold> {
    let (mut given, mut ended) = (Vec::new(), None);
    for lock in &owner.calls {
        if besides.is_some_and(|besides| std::ptr::eq(*lock, besides)) {
            continue;
        }
        match lock.ask {
            LockAsk::Take(_) | LockAsk::Renew(_) if lock.answer == Some(false) => {}
            LockAsk::Take(length) => {
                given.push(Given {
                    call: lock.call,
                    length,
                    certain: lock.answer == Some(true),
                });
                // That the owner was seen later is as good as a reply.
                for read in &owner.reads {
                    let mut call = lock.call;
                    call.received = read.call.received;
                    given.push(Given {
                        call,
                        length,
                        certain: lock.answer.is_none(),
                    });
                }
            }
            LockAsk::Renew(length) => given.push(Given {
                call: lock.call,
                length,
                certain: lock.answer == Some(true),
            }),
            LockAsk::Release => {
                let sent = lock.call.sent;
                ended = Some(ended.map_or(sent, |ended: Micros| ended.min(sent)));
            }
        }
    }
    holds::certain(&given, ended)
}

fn overlap(one: &[Vec<String>], other: &[Vec<String>]) -> bool {
    one.iter()
        .any(|a| other.iter().any(|b| a.starts_with(b) || b.starts_with(a)))
}

fn exclusive(owners: &[Owner<'_>], held: &[(Hold, usize)], findings: &mut Findings) {
    let mut open: Vec<(Hold, usize)> = Vec::new();
    for &(hold, number) in held {
        open.retain(|(before, _)| before.to > hold.from);
        let owner = &owners[number];
        for (before, other) in &open {
            let other = &owners[*other];
            let is_shared = other.name != owner.name && overlap(other.paths, owner.paths);
            findings.unless(!is_shared, Rule::LockIsExclusive, || {
                format!(
                    "{:?} of {} in {before:?} and {:?} of {} in {hold:?}",
                    other.paths, other.name, owner.paths, owner.name
                )
            });
        }
        open.push((hold, number));
    }
}

/// What is certainly held can be renewed and given back.
fn kept(owner: &Owner<'_>, findings: &mut Findings) {
    for lock in &owner.calls {
        if matches!(lock.ask, LockAsk::Take(_)) || lock.answer != Some(false) {
            continue;
        }
        let received = lock.call.received.unwrap_or(Micros::MAX);
        let is_held = holds(owner, Some(lock))
            .iter()
            .any(|hold| hold.from <= lock.call.sent && received < hold.to);
        findings.unless(!is_held, Rule::LockIsKept, || {
            format!("held all the time when this was refused: {lock:?}")
        });
    }
}

/// What is refused, somebody else may hold: somebody who has asked for it, has not
/// certainly been refused, and whose time is not certainly over.
fn freed(owners: &[Owner<'_>], findings: &mut Findings) {
    let mut possible: Vec<(Hold, usize)> = Vec::new();
    for (number, owner) in owners.iter().enumerate() {
        possible.extend(may_hold(owner).map(|hold| (hold, number)));
    }
    possible.sort_unstable();
    for (number, owner) in owners.iter().enumerate() {
        for lock in &owner.calls {
            let (LockAsk::Take(_), Some(false)) = (lock.ask, lock.answer) else {
                continue;
            };
            let received = lock.call.received.unwrap_or(Micros::MAX);
            let end = possible.partition_point(|(hold, _)| hold.from <= received);
            let has_reason = possible[..end].iter().rev().any(|(hold, other)| {
                *other != number
                    && hold.to >= lock.call.sent
                    && overlap(owners[*other].paths, owner.paths)
            });
            // An earlier request of its own may have been carried out.
            let own = may_hold(owner).is_some_and(|hold| hold.from < lock.call.sent);
            findings.unless(has_reason || own, Rule::LockIsFreed, || {
                format!("nobody can have held what this was refused: {lock:?}")
            });
        }
    }
}

/// From when to when it may have held its paths.
fn may_hold(owner: &Owner<'_>) -> Option<Hold> {
    let mut hold: Option<Hold> = None;
    for lock in &owner.calls {
        match lock.ask {
            LockAsk::Take(length) | LockAsk::Renew(length) if lock.answer != Some(false) => {
                let to = match (lock.call.received, lock.answer) {
                    (Some(received), Some(_)) => received + length + SLACK,
                    _ => Micros::MAX, // there is no telling when it was carried out
                };
                let from = hold.map_or(lock.call.sent, |hold| hold.from);
                let to = hold.map_or(to, |hold| hold.to.max(to));
                hold = Some(Hold { from, to });
            }
            _ => {}
        }
    }
    let is_over = |lock: &&&Lock| lock.ask == LockAsk::Release && lock.answer == Some(true);
    let over = owner.calls.iter().find(is_over);
    let mut hold = hold?;
    if let Some(over) = over.and_then(|lock| lock.call.received) {
        hold.to = hold.to.min(over + SLACK);
    }
    Some(hold)
}
