//! How each unit ended: finished, once, for good, with the data that its last attempt gave.

use super::{
    Findings, Rule,
    history::{Ask, Data, Seen},
    index::{Attempt, Index, Life, Name},
};

pub const FINISHED: u8 = 4;

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    for (name, life) in &index.units {
        finished_once(*name, life, findings);
        finish_is_final(*name, index, life, findings);
        let Some(found) = life.found else {
            continue; // whether it should be there is the business of `chains.rs`
        };
        findings.unless(found.status == FINISHED, Rule::NoneLost, || {
            format!("not finished: {found:?}")
        });
        let Some(last) = life.last() else {
            findings.add(
                Rule::FinishIsFinal,
                format!("finished by nobody: {found:?}"),
            );
            continue;
        };
        findings.unless(last.finishes().count() > 0, Rule::FinishIsFinal, || {
            format!("its last attempt never finished: {found:?}")
        });
        let refused = last.finishes().find(|update| update.answer == Some(false));
        if let Some(refused) = refused {
            let what = format!("{found:?} by a finish that was refused: {refused:?}");
            findings.add(Rule::Fenced, what);
        }
        let expected = data(last);
        let fits = match &expected[..] {
            [] => found.data == last.grant.data,
            some => some.iter().any(|data| data.text == found.data),
        };
        findings.unless(fits, Rule::Data, || {
            format!("{found:?} instead of {expected:?} or the unit's own")
        });
    }
}

/// At most one attempt was told that it finished the unit, and the unit says the same.
fn finished_once(name: Name<'_>, life: &Life<'_>, findings: &mut Findings) {
    let told: Vec<u64> = life
        .acknowledged()
        .map(|(attempt, _)| attempt.grant.attempt)
        .collect();
    let agrees = match (&told[..], life.found) {
        ([], _) => true,
        ([one], Some(found)) => found.attempt == Some(*one),
        ([_], None) => {
            findings.add(Rule::NoneLost, format!("{name:?} was finished and is gone"));
            return;
        }
        _ => false,
    };
    findings.unless(agrees, Rule::FinishIsFinal, || {
        format!("{name:?} was finished by {told:?} and is {:?}", life.found)
    });
}

/// Once it is known to be finished, it is not handed out any more, and looks finished.
/// That units it chained are there is such knowledge too.
fn finish_is_final(name: Name<'_>, index: &Index<'_>, life: &Life<'_>, findings: &mut Findings) {
    let seen = index.seen_finished(life);
    let chained = life.last().into_iter().flat_map(data).flat_map(|data| {
        let then = index.then(name.0)?;
        let units = data.output.iter();
        units
            .filter_map(|new| index.seen_present((then, &new.key)))
            .min()
    });
    let Some(since) = seen.into_iter().chain(chained).min() else {
        return;
    };
    for attempt in life.attempts.values() {
        findings.unless(attempt.call.sent <= since, Rule::FinishIsFinal, || {
            let id = attempt.grant.attempt;
            format!("{name:?}, finished by {since} µs, was handed out again as {id}")
        });
    }
    for look in &life.looks {
        let is_less = matches!(look.seen, Seen::Unfinished | Seen::Missing);
        findings.unless(
            !(is_less && look.call.sent > since),
            Rule::FinishIsFinal,
            || format!("finished by {since} µs, but {look:?}"),
        );
    }
}

/// The data that an attempt gave when it finished. More than one if an answer is missing;
/// nothing if it never gave any.
pub fn data<'a>(attempt: &Attempt<'a>) -> Vec<&'a Data> {
    if let Some(data) = attempt.finishes().find_map(|update| update.data.as_ref()) {
        return vec![data];
    }
    let mut possible = Vec::new();
    for update in &attempt.updates {
        let (Ask::Renew(_), Some(data)) = (&update.ask, &update.data) else {
            continue;
        };
        match update.answer {
            Some(true) => possible = vec![data],
            Some(false) => {}
            None => possible.push(data),
        }
    }
    possible
}
