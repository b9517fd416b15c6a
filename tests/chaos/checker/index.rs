//! A history by unit and by attempt.

use std::collections::{BTreeMap, HashMap};

use super::{
    Findings, Rule,
    history::{Add, Ask, Call, Claim, Grant, History, Look, Micros, New, Seen, Spec, Unit, Update},
};

/// A unit's spec and key.
pub type Name<'a> = (&'a str, &'a str);

/// Everything that is known of one attempt.
#[derive(Debug)]
pub struct Attempt<'a> {
    pub call: Call,
    pub lease: Micros,
    pub grant: &'a Grant,
    /// In the order in which they were sent.
    pub updates: Vec<&'a Update>,
}

impl<'a> Attempt<'a> {
    /// When it was certainly claimed.
    pub fn received(&self) -> Micros {
        self.call.received.unwrap_or(Micros::MAX)
    }

    /// Its requests to finish.
    pub fn finishes(&self) -> impl Iterator<Item = &'a Update> {
        let updates = self.updates.iter().copied();
        updates.filter(|update| update.ask == Ask::Finish)
    }

    /// The reply that says that this attempt finished the unit, if one came.
    pub fn acknowledged(&self) -> Option<&'a Update> {
        self.finishes().find(|update| update.answer == Some(true))
    }
}

/// Everything that is known of one unit.
#[derive(Debug, Default)]
pub struct Life<'a> {
    pub added: Vec<(&'a Add, &'a New)>,
    /// By id.
    pub attempts: BTreeMap<u64, Attempt<'a>>,
    pub looks: Vec<&'a Look>,
    /// In the end.
    pub found: Option<&'a Unit>,
}

impl<'a> Life<'a> {
    /// The attempts that said they finished it, and were believed.
    pub fn acknowledged(&self) -> impl Iterator<Item = (&Attempt<'a>, &'a Update)> {
        let attempts = self.attempts.values();
        attempts.filter_map(|attempt| Some((attempt, attempt.acknowledged()?)))
    }

    /// The attempt that it ended with, if that is known from a claim.
    pub fn last(&self) -> Option<&Attempt<'a>> {
        self.attempts.get(&self.found?.attempt?)
    }
}

/// A history by unit.
#[derive(Debug)]
pub struct Index<'a> {
    pub history: &'a History,
    pub specs: HashMap<&'a str, &'a Spec>,
    pub units: HashMap<Name<'a>, Life<'a>>,
}

impl<'a> Index<'a> {
    /// Finds attempts that are handed out twice, and updates of none.
    pub fn new(history: &'a History, findings: &mut Findings) -> Index<'a> {
        let specs = history.specs.iter();
        let mut index = Index {
            history,
            specs: specs.map(|spec| (spec.name.as_str(), spec)).collect(),
            units: HashMap::new(),
        };
        for add in &history.adds {
            for new in &add.units {
                index.life(&add.spec, &new.key).added.push((add, new));
            }
        }
        let mut attempts = HashMap::new();
        for claim in &history.claims {
            for grant in &claim.units {
                let name = (grant.spec.as_str(), grant.key.as_str());
                if let Some(other) = attempts.insert(grant.attempt, name) {
                    let what = format!("{} of {name:?} and of {other:?}", grant.attempt);
                    findings.add(Rule::AttemptsRise, what);
                }
                let attempt = attempt(claim, grant);
                let life = index.life(name.0, name.1);
                life.attempts.insert(grant.attempt, attempt);
            }
        }
        for update in &history.updates {
            let life = index.life(&update.spec, &update.key);
            match life.attempts.get_mut(&update.attempt) {
                Some(attempt) => attempt.updates.push(update),
                None => findings.add(
                    Rule::AttemptsRise,
                    format!("nobody was given the attempt of {update:?}"),
                ),
            }
        }
        for look in &history.looks {
            index.life(&look.spec, &look.key).looks.push(look);
        }
        for unit in &history.units {
            let life = index.life(&unit.spec, &unit.key);
            if life.found.replace(unit).is_some() {
                findings.add(Rule::CountsAreExact, format!("listed twice: {unit:?}"));
            }
        }
        for life in index.units.values_mut() {
            for attempt in life.attempts.values_mut() {
                attempt.updates.sort_by_key(|update| update.call.sent);
            }
        }
        index
    }

    fn life(&mut self, spec: &'a str, key: &'a str) -> &mut Life<'a> {
        self.units.entry((spec, key)).or_default()
    }

    /// The spec that gets the output of this one.
    pub fn then(&self, spec: &str) -> Option<&'a str> {
        self.specs.get(spec)?.then.as_deref()
    }

    /// The earliest instant at which the unit is known to have been finished, from what
    /// its workers and those who looked at it saw.
    pub fn seen_finished(&self, life: &Life<'a>) -> Option<Micros> {
        let told = life.acknowledged().filter_map(|(_, u)| u.call.received);
        let looks = life.looks.iter();
        let seen = looks.filter(|look| look.seen == Seen::Finished);
        told.chain(seen.filter_map(|look| look.call.received)).min()
    }

    /// The earliest instant at which the unit is known to have been there.
    pub fn seen_present(&self, name: Name<'_>) -> Option<Micros> {
        let life = self.units.get(&name)?;
        let claims = life.attempts.values().map(Attempt::received);
        let looks = life.looks.iter();
        let seen = looks.filter(|look| look.seen != Seen::Missing);
        claims
            .chain(seen.filter_map(|look| look.call.received))
            .min()
    }
}

fn attempt<'a>(claim: &'a Claim, grant: &'a Grant) -> Attempt<'a> {
    Attempt {
        call: claim.call,
        lease: claim.lease,
        grant,
        updates: Vec::new(),
    }
}
