//! Where units come from: an add, or the output of exactly one finish. Both are one step.

use std::collections::HashMap;

use super::{
    Findings, Rule, SLACK,
    history::{Micros, New, Seen},
    index::{Index, Life, Name},
    outcome::{FINISHED, data},
};

/// What put a unit where it is.
struct Origin<'a> {
    new: &'a New,
    /// Not before this.
    sent: Micros,
    /// Whether it is certain.
    certain: bool,
}

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    adds(index, findings);
    let origins = origins(index, findings);
    for (name, life) in &index.units {
        let made_by_server = index
            .specs
            .get(name.0)
            .is_some_and(|s| s.interval.is_some());
        match origins.get(name) {
            Some(origin) => came_so(*name, life, origin, findings),
            None if made_by_server => {}
            None => {
                let is_there = life.found.is_some() || !life.attempts.is_empty();
                findings.unless(!is_there, Rule::NothingFromNowhere, || {
                    format!("{name:?}: {:?}", life.found)
                });
            }
        }
    }
}

/// All units of an acknowledged call are there, and all or none of any other.
fn adds(index: &Index<'_>, findings: &mut Findings) {
    for add in &index.history.adds {
        let is_there = |new: &&New| {
            let life = index.units.get(&(add.spec.as_str(), new.key.as_str()));
            life.is_some_and(|life| life.found.is_some())
        };
        let missing: Vec<&New> = add.units.iter().filter(|new| !is_there(new)).collect();
        if add.done {
            for new in &missing {
                findings.add(Rule::NoneLost, format!("{}: {new:?}", add.spec));
            }
        } else {
            let is_one_step = missing.is_empty() || missing.len() == add.units.len();
            findings.unless(is_one_step, Rule::AddIsOneStep, || {
                format!("{}: of a call these are missing: {missing:?}", add.spec)
            });
        }
    }
}

fn origins<'a>(index: &Index<'a>, findings: &mut Findings) -> HashMap<Name<'a>, Origin<'a>> {
    let mut origins: HashMap<Name<'a>, Origin<'a>> = HashMap::new();
    for add in &index.history.adds {
        for new in &add.units {
            let origin = Origin {
                new,
                sent: add.call.sent,
                certain: add.done,
            };
            origins.insert((&add.spec, &new.key), origin);
        }
    }
    for (name, life) in &index.units {
        let (Some(then), Some(last)) = (index.then(name.0), life.last()) else {
            continue;
        };
        let is_finished = life.found.is_some_and(|found| found.status == FINISHED);
        let sent = last.finishes().map(|update| update.call.sent).min();
        let (true, Some(sent)) = (is_finished, sent) else {
            continue;
        };
        let possible = data(last);
        // In a list of units, the last of a key counts: the recorder leaves out the others.
        for new in possible.iter().flat_map(|data| &data.output) {
            let certain = possible.len() == 1;
            let origin = Origin { new, sent, certain };
            if origins.insert((then, &new.key), origin).is_some() {
                let what = format!("{name:?} chained {new:?}, which was there");
                findings.add(Rule::ChainIsOneStep, what);
            }
        }
        for data in possible {
            one_step(index, *name, life, then, &data.output, findings);
        }
    }
    origins
}

/// As soon as a unit is seen finished, all that it chained is seen.
fn one_step(
    index: &Index<'_>,
    name: Name<'_>,
    life: &Life<'_>,
    then: &str,
    output: &[New],
    findings: &mut Findings,
) {
    let Some(since) = index.seen_finished(life) else {
        return;
    };
    for new in output {
        let looks = index.units.get(&(then, new.key.as_str()));
        for look in looks.iter().flat_map(|chained| &chained.looks) {
            let is_missing = look.seen == Seen::Missing && look.call.sent > since;
            findings.unless(!is_missing, Rule::ChainIsOneStep, || {
                format!("{name:?} was finished by {since} µs, but {look:?}")
            });
        }
    }
}

/// The unit is there, and looked to its workers as it should.
fn came_so(name: Name<'_>, life: &Life<'_>, origin: &Origin<'_>, findings: &mut Findings) {
    let is_lost = origin.certain && life.found.is_none();
    findings.unless(!is_lost, Rule::ChainIsOneStep, || {
        format!("{name:?} is not there: {:?}", origin.new)
    });
    let earliest = origin.sent + origin.new.delay;
    for attempt in life.attempts.values() {
        let received = attempt.received();
        findings.unless(attempt.grant.data == origin.new.data, Rule::Data, || {
            format!("{name:?} was {:?} and not {:?}", attempt.grant, origin.new)
        });
        findings.unless(received >= origin.sent, Rule::NothingFromNowhere, || {
            format!("{name:?} was handed out before whatever made it was asked for")
        });
        findings.unless(received + SLACK >= earliest, Rule::NotEarly, || {
            format!("{name:?} came at {received} µs, not before {earliest} it should")
        });
        released_later(name, life, attempt.grant.attempt, findings);
    }
}

/// A unit that was given back with a delay is not handed out before that is over.
fn released_later(name: Name<'_>, life: &Life<'_>, id: u64, findings: &mut Findings) {
    let Some(attempt) = life.attempts.get(&id) else {
        return;
    };
    let released = attempt.updates.iter().find_map(|update| match update.ask {
        super::history::Ask::Release(delay) if update.answer == Some(true) => {
            Some(update.call.sent + delay)
        }
        _ => None,
    });
    let next = life.attempts.range(id + 1..).next();
    if let (Some(earliest), Some((_, next))) = (released, next) {
        let received = next.received();
        findings.unless(received + SLACK >= earliest, Rule::NotEarly, || {
            format!("{name:?}, given back until {earliest} µs, came at {received}")
        });
    }
}
