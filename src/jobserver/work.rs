//! Doing work: handing out units, and taking in what became of them.

use std::{borrow::Cow, pin::pin, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    CallError, CallResult, JobServer, Session, done, no_such_spec, refused, waiting::Wishes,
};
use crate::{
    backend::{Backend, Candidate, Claim, Claims, Error},
    cache::{Fence, Update, Updated},
    clock::{Clock, Timestamp},
    limits::{LEASE_DEFAULT, LEASE_MAX, LEASE_MIN},
    model::{NamespaceId, RawData, Share, WorkerName, choose, duration},
    wire::{GetWork, Job, JobAttempt, Jobs, Reply, UpdateWorkUnit, Value},
};

impl<B: Backend, C: Clock> JobServer<B, C> {
    /// `get_work(worker_id, options)`
    pub(super) async fn get_work<'a>(
        &self,
        now: Timestamp,
        session: &mut Session,
        call: GetWork<'_>,
        leave: &CancellationToken,
    ) -> CallResult<'a> {
        let wanted = Wanted {
            namespace: session.namespace,
            worker: session.worker(call.worker)?,
            lease: lease(session, &call),
            units_max: match call.jobs {
                Jobs::One => 1,
                Jobs::UpTo(units) => units,
            },
            specs: sorted(call.specs),
            runtimes: call
                .runtimes
                .map_or(Cow::Borrowed(&[""]), |all| Cow::Owned(sorted(all))),
            memory: call.available_gb.filter(|_| self.enforce_min_gb),
        };
        let mut found = self.find_work(now, session, &wanted).await?;
        if found.is_none() && !call.wait.is_zero() {
            found = self
                .wait_for_work(now.after(call.wait), session, &wanted, leave)
                .await?;
        }
        let jobs = found.map_or_else(Vec::new, |(candidate, claims)| {
            hand_out(session, &candidate, claims, call.with_attempt)
        });
        let value = match call.jobs {
            Jobs::One => Value::OneJob(jobs.into_iter().next()),
            Jobs::UpTo(_) => Value::Jobs(jobs),
        };
        Ok(Reply::Pair(value, None))
    }

    /// Schedules once (semantics.md §4); `None` if there is nothing for this worker.
    async fn find_work(
        &self,
        now: Timestamp,
        session: &mut Session,
        wanted: &Wanted<'_>,
    ) -> Result<Option<(Candidate, Claims)>, Error> {
        loop {
            let mut board = self.cache.backend().board(now, wanted.namespace).await?;
            board
                .candidates
                .retain(|candidate| wanted.accepts(candidate));
            let mut exhausted = false;
            while let Some(chosen) = choose(&board.candidates, share, |below| {
                session.random.u128(..below)
            }) {
                let candidate = board.candidates.swap_remove(chosen);
                let claim = Claim {
                    spec: candidate.spec,
                    worker: wanted.worker.clone(),
                    units_max: wanted.units_max,
                    lease: wanted.lease,
                };
                let claims = match self.cache.claim(now, &claim).await {
                    Ok(claims) => claims,
                    Err(Error::Gone(_)) => continue,
                    Err(error) => return Err(error),
                };
                if !claims.units.is_empty() {
                    self.will_be_due(now.after(wanted.lease));
                    if candidate.options.continuous {
                        self.will_be_due(now.after(candidate.options.interval));
                    }
                    return Ok(Some((candidate, claims)));
                }
                if claims.exhausted > 0 {
                    exhausted = true;
                    break;
                }
            }
            if !exhausted {
                return Ok(None);
            }
            // Each round fails units for good, so this ends; others may go first.
            tokio::task::yield_now().await;
        }
    }

    /// Schedules until there is work, the deadline has come or the client leaves.
    async fn wait_for_work(
        &self,
        deadline: Timestamp,
        session: &mut Session,
        wanted: &Wanted<'_>,
        leave: &CancellationToken,
    ) -> Result<Option<(Candidate, Claims)>, Error> {
        let member = self.waiting.join(wanted.wishes());
        // What is due next matters only while someone waits.
        self.alarm.ring_earlier();
        let mut was_woken = false;
        loop {
            let mut woken = pin!(member.woken());
            // From here on a wake-up is not lost, so a look now misses nothing.
            woken.as_mut().enable();
            let now = self.clock.now();
            let found = self.find_work(now, session, wanted).await?;
            if found.is_some() {
                if was_woken {
                    member.pass_on();
                }
                return Ok(found);
            }
            if now >= deadline || leave.is_cancelled() {
                return Ok(None);
            }
            was_woken = tokio::select! {
                () = woken => true,
                () = self.clock.sleep_until(deadline) => false,
                () = leave.cancelled() => return Ok(None),
            };
        }
    }

    /// `update_work_unit(work_spec_name, work_unit_key, options)`
    pub(super) async fn update_work_unit<'a>(
        &self,
        now: Timestamp,
        session: &mut Session,
        call: UpdateWorkUnit<'_>,
    ) -> CallResult<'a> {
        let calls = std::slice::from_ref(&call);
        let answers = self.update_spec(now, session, call.spec, calls).await?;
        let Some(answer) = answers.into_iter().flatten().next() else {
            return Ok(refused(no_such_spec(call.spec)));
        };
        match answered(&call, answer) {
            Answer::True => Ok(done()),
            Answer::False(why) => Ok(refused(why)),
            Answer::Error(why) => Err(CallError(why)),
        }
    }

    /// `update_work_units(updates)`
    pub(super) async fn update_work_units<'a>(
        &self,
        now: Timestamp,
        session: &mut Session,
        calls: Vec<UpdateWorkUnit<'_>>,
    ) -> CallResult<'a> {
        let mut pairs = Vec::with_capacity(calls.len());
        for calls in calls.chunk_by(|one, next| one.spec == next.spec) {
            let spec = calls[0].spec;
            let Some(answers) = self.update_spec(now, session, spec, calls).await? else {
                pairs.extend(
                    calls
                        .iter()
                        .map(|call| (false, Some(no_such_spec(call.spec)))),
                );
                continue;
            };
            pairs.extend(calls.iter().zip(answers).map(|(call, answer)| {
                match answered(call, answer) {
                    Answer::True => (true, None),
                    // There is no place for an error of one update among others.
                    Answer::False(why) | Answer::Error(why) => (false, Some(why)),
                }
            }));
        }
        Ok(Reply::Bare(Value::Pairs(pairs)))
    }

    /// Carries out updates of units of one spec; `None` if there is no such spec.
    async fn update_spec(
        &self,
        now: Timestamp,
        session: &mut Session,
        spec: &str,
        calls: &[UpdateWorkUnit<'_>],
    ) -> Result<Option<Vec<Updated>>, Error> {
        let namespace = session.namespace;
        let updates: Vec<Update<'_>> = calls.iter().map(|call| update(session, call)).collect();
        let answers = self
            .cache
            .with_spec(namespace, spec, |id| {
                self.cache.update_units(now, namespace, id, &updates)
            })
            .await?;
        for (call, answer) in calls.iter().zip(answers.iter().flatten()) {
            if let Updated::Done(chained) = answer {
                self.changed(now, namespace, call, chained.map_or(0, |(_, units)| units));
            }
        }
        Ok(answers)
    }

    /// Tells those who wait that a unit has changed: it may be available itself, make
    /// room under `max_running`, or have led to others.
    fn changed(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        call: &UpdateWorkUnit<'_>,
        chained: usize,
    ) {
        self.available(namespace, chained.saturating_add(1));
        if !call.ask.delay.is_zero() {
            self.will_be_due(now.after(call.ask.delay));
        }
        if let Some(lease) = call.ask.lease {
            self.will_be_due(now.after(lease));
        }
    }
}

/// What a request for work asks for.
struct Wanted<'a> {
    namespace: NamespaceId,
    worker: WorkerName,
    lease: Duration,
    units_max: usize,
    /// Sorted; none is all.
    specs: Vec<&'a str>,
    /// Sorted.
    runtimes: Cow<'a, [&'a str]>,
    /// Gigabytes, if it matters.
    memory: Option<f64>,
}

impl Wanted<'_> {
    fn accepts(&self, candidate: &Candidate) -> bool {
        let options = &candidate.options;
        let named = || self.specs.binary_search(&candidate.name.as_str()).is_ok();
        self.runtimes.binary_search(&&*options.runtime).is_ok()
            && (self.specs.is_empty() || named())
            && self.memory.is_none_or(|memory| options.min_gb <= memory)
    }

    fn wishes(&self) -> Wishes {
        let owned = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        Wishes {
            namespace: self.namespace,
            specs: owned(&self.specs),
            runtimes: owned(&self.runtimes),
            memory: self.memory.map(f64::to_bits),
        }
    }
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

fn share(candidate: &Candidate) -> Share {
    Share {
        priority: candidate.options.priority,
        weight: candidate.options.weight,
        pending: candidate.pending,
    }
}

/// The lease that `get_work` grants (semantics.md §7).
fn lease(session: &mut Session, call: &GetWork<'_>) -> Duration {
    let Some(seconds) = call.lease_seconds else {
        return LEASE_DEFAULT;
    };
    let lease = duration(seconds);
    if (LEASE_MIN..=LEASE_MAX).contains(&lease) {
        return lease;
    }
    if session.first_bad_lease() {
        let (asked, granted) = (seconds, LEASE_DEFAULT.as_secs());
        warn!(
            worker = call.worker,
            asked, granted, "lease_time out of bounds"
        );
    }
    LEASE_DEFAULT
}

/// Remembers what the connection is given, and puts it into the shape of the reply.
fn hand_out(
    session: &mut Session,
    candidate: &Candidate,
    claims: Claims,
    with_attempt: bool,
) -> Vec<Job> {
    let jobs = claims.units.into_iter().map(|unit| {
        let spec = candidate.name.clone();
        session
            .given
            .insert(spec.clone(), unit.key.clone(), unit.attempt);
        let attempt = with_attempt.then_some(JobAttempt {
            id: unit.attempt,
            number: unit.number,
            expires: unit.expires,
            priority: unit.priority,
        });
        Job {
            spec,
            key: unit.key,
            data: unit.data,
            attempt,
        }
    });
    jobs.collect()
}

fn update<'a>(session: &mut Session, call: &UpdateWorkUnit<'a>) -> Update<'a> {
    Update {
        key: call.key.bytes,
        ask: call.ask,
        data: call.data.map(RawData::new),
        fence: Fence {
            worker: call.worker,
            attempt: call.attempt,
            // A client that names its attempt knows better than its connection does.
            connection: match call.attempt {
                Some(_) => None,
                None => session.given.get(call.spec, call.key.bytes),
            },
        },
    }
}

enum Answer {
    True,
    False(String),
    Error(String),
}

/// What a client is told of an update (semantics.md §7).
fn answered(call: &UpdateWorkUnit<'_>, updated: Updated) -> Answer {
    let key = || call.key.bytes.escape_ascii();
    match updated {
        Updated::Done(_) | Updated::Accepted => Answer::True,
        Updated::Refused(why) => Answer::False(why.to_owned()),
        Updated::Impossible(why) => Answer::Error(format!(
            "{why} (work spec {}, work unit {})",
            call.spec,
            key()
        )),
        Updated::Lost(Some(holder)) => Answer::False(format!(
            "lease lost: the current attempt on work unit {} is {holder}'s",
            key()
        )),
        Updated::Lost(None) => {
            Answer::False(format!("lease lost: nobody holds work unit {}", key()))
        }
        Updated::Full => Answer::False(format!(
            "lease lost: work spec {} has as many pending units as its max_running allows",
            call.spec
        )),
        Updated::NoSuchUnit => Answer::False(format!(
            "no such work unit: {} in work spec {}",
            key(),
            call.spec
        )),
        Updated::Busy => Answer::Error(format!(
            "work unit {} of work spec {} changed each time it was looked at; try again",
            key(),
            call.spec
        )),
    }
}
