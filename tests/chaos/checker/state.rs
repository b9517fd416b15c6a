//! The state in the end: counts, and units that the server made.

use std::collections::{BTreeMap, HashMap};

use super::{
    Findings, Rule,
    history::{History, Micros},
};

/// The server writes the time into a key without what is less than a millisecond.
const KEY_PRECISION: Micros = 1_000;

pub fn check(history: &History, findings: &mut Findings) {
    counts(history, findings);
    for spec in &history.specs {
        let Some(interval) = spec.interval else {
            continue;
        };
        let units = history.units.iter().filter(|unit| unit.spec == spec.name);
        let mut made: Vec<Micros> = Vec::new();
        for unit in units {
            match time_in(&unit.key) {
                Some(time) => made.push(time),
                None => findings.add(Rule::NothingFromNowhere, format!("{unit:?}")),
            }
        }
        made.sort_unstable();
        for two in made.windows(2) {
            let apart = two[1] - two[0] + KEY_PRECISION;
            findings.unless(apart >= interval, Rule::OnePerInterval, || {
                format!("{} made units at {two:?} µs", spec.name)
            });
        }
    }
}

/// Every daemon counts what there is.
fn counts(history: &History, findings: &mut Findings) {
    let mut recount: HashMap<&str, BTreeMap<u8, usize>> = HashMap::new();
    for unit in &history.units {
        let of_spec = recount.entry(&unit.spec).or_default();
        *of_spec.entry(unit.status).or_default() += 1;
    }
    for count in &history.counts {
        let found: Vec<(u8, usize)> = recount
            .get(count.spec.as_str())
            .into_iter()
            .flatten()
            .map(|(status, number)| (*status, *number))
            .collect();
        findings.unless(count.counts == found, Rule::CountsAreExact, || {
            format!("{count:?}, but there are {found:?}")
        });
    }
    for spec in &history.specs {
        let counted = history.counts.iter().any(|count| count.spec == spec.name);
        findings.unless(counted, Rule::CountsAreExact, || {
            format!("nobody counted {}", spec.name)
        });
    }
}

/// `seconds.millis`, in microseconds.
fn time_in(key: &str) -> Option<Micros> {
    let (seconds, millis) = key.split_once('.')?;
    let (seconds, number) = (seconds.parse::<u64>().ok()?, millis.parse::<u64>().ok()?);
    (millis.len() == 3).then(|| (seconds * 1_000 + number) * 1_000)
}
