//! Handing units out (semantics.md §4, steps 4 and 5, and §5).

use super::{
    shard::Shard,
    unit::{Attempt, Slot, Unit},
};
use crate::{
    backend::{Claim, Claims},
    clock::Timestamp,
    limits::{CLAIM_BYTES_MAX, CLAIM_UNITS_MAX, CONTINUOUS_KEYS_MAX, EXHAUSTED_UNITS_MAX},
    model::{
        Claimed, KeyRef, Priority, RawData, SpecOptions, StringType, TOO_MANY_RETRIES, UnitKey,
        UnitStatus, WorkerName, with_traceback,
    },
};

impl Shard {
    /// [`Backend::claim`](crate::backend::Backend::claim).
    pub(super) fn claim(&mut self, now: Timestamp, claim: &Claim, options: &SpecOptions) -> Claims {
        let mut claims = Claims::default();
        if options.paused {
            return claims;
        }
        self.catch_up(now);
        self.make_continuous(now, options);
        let units_max = self.claimable(claim.units_max, options);
        if units_max == 0 {
            return claims;
        }
        let worker = self.workers.share(&claim.worker);
        let expires = now.after(claim.lease);
        let (mut bytes, mut exhausted_bytes) = (0usize, 0usize);
        while claims.units.len() < units_max
            && let Some(slot) = self.units.first_ready()
        {
            let unit = self.units.get(slot);
            let size = unit.data.len();
            if options.max_retries > 0 && u64::from(unit.tries()) >= options.max_retries {
                // Copies their data, and may go on for as long as there are units.
                if claims.exhausted == EXHAUSTED_UNITS_MAX || exhausted_bytes > CLAIM_BYTES_MAX {
                    break;
                }
                exhausted_bytes = exhausted_bytes.saturating_add(size);
                claims.exhausted += 1;
                self.exhaust(now, slot, &worker);
                continue;
            }
            bytes = bytes.saturating_add(size);
            if bytes > CLAIM_BYTES_MAX && !claims.units.is_empty() {
                break;
            }
            let attempt = Attempt {
                id: self.next_attempt(now),
                worker: worker.clone(),
                started: now,
                ends: expires,
                data: None,
            };
            claims.units.push(self.hand_out(slot, attempt));
        }
        claims
    }

    /// Most units that a claim of `asked` may have.
    fn claimable(&self, asked: usize, options: &SpecOptions) -> usize {
        let limit = |max: u64| match max {
            0 => usize::MAX,
            max => usize::try_from(max).unwrap_or(usize::MAX),
        };
        let room = match options.max_running {
            0 => usize::MAX,
            max => usize::try_from(max.saturating_sub(self.pending())).unwrap_or(usize::MAX),
        };
        asked
            .min(CLAIM_UNITS_MAX)
            .min(limit(options.max_getwork))
            .min(room)
    }

    fn hand_out(&mut self, slot: Slot, attempt: Attempt) -> Claimed {
        let unit = self.units.id(slot);
        self.units.update(slot, |stored| {
            let (id, expires) = (attempt.id, attempt.ends);
            stored.begin(attempt, UnitStatus::Pending);
            Claimed {
                unit,
                key: stored.key.clone(),
                data: stored.data.clone(),
                attempt: id,
                number: stored.tries(),
                expires,
                priority: stored.priority,
            }
        })
    }

    /// Fails a unit that was attempted as often as it may be.
    fn exhaust(&mut self, now: Timestamp, slot: Slot, worker: &WorkerName) {
        let attempt = Attempt {
            id: self.next_attempt(now),
            worker: worker.clone(),
            started: now,
            ends: now,
            data: Some(with_traceback(&self.units.get(slot).data, TOO_MANY_RETRIES)),
        };
        self.units
            .update(slot, |unit| unit.begin(attempt, UnitStatus::Failed));
    }

    /// Makes the unit of a continuous spec that has nothing else to do, if it is time.
    fn make_continuous(&mut self, now: Timestamp, options: &SpecOptions) {
        let is_due = self.next_continuous.is_none_or(|at| at <= now);
        if !options.continuous || !is_due || !self.is_idle() {
            return;
        }
        let millis = now.as_micros().div_euclid(1_000);
        let mut keys = (millis..millis.saturating_add(CONTINUOUS_KEYS_MAX)).map(continuous_key);
        if let Some(key) = keys.find(|key| self.units.find(key.as_bytes()).is_none()) {
            let unit = Unit::new(key, RawData::empty_map(), Priority::ZERO);
            self.units.insert(unit);
            self.next_continuous = Some(now.after(options.interval));
        }
    }
}

/// The key of a unit that the server makes: the Unix time with three decimals.
fn continuous_key(millis: i64) -> UnitKey {
    let text = format!(
        "{}.{:03}",
        millis.div_euclid(1_000),
        millis.rem_euclid(1_000)
    );
    let key = KeyRef {
        bytes: text.as_bytes(),
        string_type: StringType::Text,
    };
    UnitKey::new(key).expect("a number is short")
}
