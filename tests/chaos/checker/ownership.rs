//! Leases: who held a unit when, and whether those who did not were kept out.

use std::collections::HashMap;

use super::{
    Findings, Rule, SLACK,
    history::{Ask, Micros, Update},
    holds::{self, Given, Hold},
    index::{Attempt, Index, Life, Name},
};

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    let mut running: HashMap<&str, Vec<Hold>> = HashMap::new();
    for (name, life) in &index.units {
        let mut held: Vec<(Hold, u64)> = Vec::new();
        for (id, attempt) in &life.attempts {
            let holds = holds(attempt, None);
            held.extend(holds.iter().map(|hold| (*hold, *id)));
            running.entry(name.0).or_default().extend(holds);
        }
        one_owner(*name, held, findings);
        attempts_rise(*name, life, findings);
        fences(*name, life, findings);
    }
    for (spec, held) in running {
        let limit = index.specs.get(spec).map_or(0, |spec| spec.max_running);
        if limit > 0 {
            max_running(spec, limit, held, findings);
        }
    }
    lease_lengths(index, findings);
}

/// When the attempt certainly held its unit, whatever became of `besides`, an update.
fn holds(attempt: &Attempt<'_>, besides: Option<&Update>) -> Vec<Hold> {
    let mut given = vec![Given {
        call: attempt.call,
        length: attempt.lease,
        certain: true,
    }];
    let mut ended = None;
    for update in &attempt.updates {
        if besides.is_some_and(|besides| std::ptr::eq(*update, besides)) {
            continue;
        }
        match update.ask {
            Ask::Renew(_) if update.answer == Some(false) => {}
            Ask::Renew(length) => given.push(Given {
                call: update.call,
                length,
                certain: update.answer == Some(true),
            }),
            Ask::Finish | Ask::Release(_) => {
                let sent = update.call.sent;
                ended = Some(ended.map_or(sent, |ended: Micros| ended.min(sent)));
            }
        }
    }
    holds::certain(&given, ended)
}

fn one_owner(name: Name<'_>, mut held: Vec<(Hold, u64)>, findings: &mut Findings) {
    held.sort_unstable();
    let mut longest: Option<(Hold, u64)> = None;
    for (hold, attempt) in held {
        if let Some((before, other)) = longest
            && other != attempt
            && hold.from < before.to
        {
            let what = format!("{name:?} by {other} in {before:?} and {attempt} in {hold:?}");
            findings.add(Rule::OneOwner, what);
        }
        if longest.is_none_or(|(before, _)| hold.to > before.to) {
            longest = Some((hold, attempt));
        }
    }
}

/// Of two claims one of which was over before the other began, the later has the higher id
/// and number.
fn attempts_rise(name: Name<'_>, life: &Life<'_>, findings: &mut Findings) {
    let mut number = 0;
    for attempt in life.attempts.values() {
        let next = attempt.grant.number;
        findings.unless(next > number, Rule::AttemptsRise, || {
            format!("{name:?}: number {next} after {number}, by id")
        });
        number = next;
    }
    // By id: whoever is later in this list must not have been answered before anyone
    // earlier in it asked.
    let mut latest_sent = 0;
    for attempt in life.attempts.values() {
        findings.unless(
            attempt.received() >= latest_sent,
            Rule::AttemptsRise,
            || {
                let id = attempt.grant.attempt;
                format!("{name:?}: a lower attempt than {id} was handed out after it")
            },
        );
        latest_sent = latest_sent.max(attempt.call.sent);
    }
    if let Some(found) = life.found {
        let (known, counted) = (life.attempts.len() as u64, found.attempts.max(number));
        findings.unless(
            counted == found.attempts && known <= counted,
            Rule::AttemptsRise,
            || format!("{name:?}: {known} attempts, up to number {number}: {found:?}"),
        );
    }
}

/// Who has been superseded is refused, who has not is not.
fn fences(name: Name<'_>, life: &Life<'_>, findings: &mut Findings) {
    for (id, attempt) in &life.attempts {
        let later = life.attempts.range(id + 1..).map(|(_, later)| later);
        let superseded = later.map(Attempt::received).min();
        for update in &attempt.updates {
            let (sent, received) = (update.call.sent, update.call.received);
            let accepted = update.answer == Some(true);
            let is_late = superseded.is_some_and(|superseded| superseded < sent);
            findings.unless(!(accepted && is_late), Rule::Fenced, || {
                format!("{name:?} was claimed anew when this was accepted: {update:?}")
            });
            if update.answer == Some(false) {
                let holds = holds(attempt, Some(update));
                let is_holder = holds.iter().any(|hold| {
                    hold.from <= sent && received.is_some_and(|received| received < hold.to)
                });
                findings.unless(!is_holder, Rule::HolderIsHeard, || {
                    format!("{name:?} was held all the time when this was refused: {update:?}")
                });
            }
        }
        released(name, attempt, findings);
    }
}

/// Once a release was acknowledged, the attempt can do nothing more.
fn released(name: Name<'_>, attempt: &Attempt<'_>, findings: &mut Findings) {
    let is_done =
        |update: &&&Update| matches!(update.ask, Ask::Release(_)) && update.answer == Some(true);
    let over = attempt.updates.iter().find(is_done);
    let Some(over) = over.and_then(|update| update.call.received) else {
        return;
    };
    for update in &attempt.updates {
        let is_accepted = update.answer == Some(true) && update.call.sent > over;
        findings.unless(!is_accepted, Rule::Fenced, || {
            format!("{name:?} was given back when this was accepted: {update:?}")
        });
    }
}

fn max_running(spec: &str, limit: usize, held: Vec<Hold>, findings: &mut Findings) {
    // At equal times ends come first.
    let ends = held.iter().map(|hold| (hold.to, false));
    let mut changes: Vec<_> = held
        .iter()
        .map(|hold| (hold.from, true))
        .chain(ends)
        .collect();
    changes.sort_unstable();
    let (mut running, mut most) = (0_usize, (0, 0));
    for (at, is_more) in changes {
        running = if is_more { running + 1 } else { running - 1 };
        most = most.max((running, at));
    }
    findings.unless(most.0 <= limit, Rule::MaxRunning, || {
        format!("{} of {spec} at {} µs, {limit} may", most.0, most.1)
    });
}

/// The server's clock is some constant ahead of the clients'. Each claim says how much at
/// least and at most, if its lease has the length that was asked for.
fn lease_lengths(index: &Index<'_>, findings: &mut Findings) {
    let (mut least, mut most) = ((i128::MIN, 0), (i128::MAX, 0));
    for claim in &index.history.claims {
        for grant in &claim.units {
            let begun = i128::from(grant.expires) - i128::from(claim.lease);
            let received = i128::from(claim.call.received.unwrap_or(Micros::MAX));
            least = least.max((begun - received, grant.attempt));
            most = most.min((begun - i128::from(claim.call.sent), grant.attempt));
        }
    }
    let apart = least.0.saturating_sub(most.0);
    findings.unless(apart <= i128::from(SLACK), Rule::LeaseLength, || {
        format!(
            "the clocks of attempts {} and {} are {apart} µs apart",
            least.1, most.1
        )
    });
}
