//! When something was certainly held: a lease or a lock, from the requests of its holder.

use super::{
    SLACK,
    history::{Call, Micros},
};

/// A request that gives, or prolongs, what is held until `length` after it.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    pub call: Call,
    pub length: Micros,
    /// Whether the reply said so. If not, it may have been carried out at any time since.
    pub certain: bool,
}

/// From an instant to another, at which it may be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    pub from: Micros,
    pub to: Micros,
}

/// When it was certainly held. `ended` is when the first request was sent that may have
/// ended it.
///
/// After a request at `sent`, the end is `sent + length` or later, unless another request
/// sets it anew: then it is no earlier than that one's own.
pub fn certain(given: &[Given], ended: Option<Micros>) -> Vec<Hold> {
    let mut holds = Vec::new();
    for (number, this) in given.iter().enumerate() {
        let (true, Some(from)) = (this.certain, this.call.received) else {
            continue;
        };
        let others = given.iter().enumerate();
        // What was asked before and answered is over; what was not answered may come late.
        let may_follow = others.filter(|(other, given)| *other >= number || !given.certain);
        let to = may_follow
            .map(|(_, given)| given.call.sent + given.length)
            .min();
        // The end is the server's to say, by its clock; what ended it before, the holder's.
        let to = to
            .unwrap_or(0)
            .saturating_sub(SLACK)
            .min(ended.unwrap_or(Micros::MAX));
        if from < to {
            holds.push(Hold { from, to });
        }
    }
    merged(holds)
}

/// The same instants, none of them twice.
fn merged(mut holds: Vec<Hold>) -> Vec<Hold> {
    holds.sort_unstable();
    let mut merged: Vec<Hold> = Vec::new();
    for hold in holds {
        match merged.last_mut() {
            Some(last) if hold.from <= last.to => last.to = last.to.max(hold.to),
            _ => merged.push(hold),
        }
    }
    merged
}
