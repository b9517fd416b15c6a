//! A worker: claims, works, reports; now and then it is late, gives up, dies, loses replies
//! and sends again. It writes down all it does.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use serde_cbor::Value;
use tokio::time::sleep;

use crate::{
    checker::history::{Ask, Call, Claim, Data, Event, Grant, Micros, Update},
    client::map,
    locker,
    output::Output,
    plan::Habits,
    record::Recorder,
    rpc::{Reply, Rpc},
    specs,
    value::{int, items, text},
    watcher::Watched,
    words::{self, json, seconds},
};

/// A claimed unit, and how it was claimed.
struct Job {
    grant: Grant,
    lease: Micros,
    /// The connection that was given it.
    connection: u64,
}

/// What becomes of a unit.
#[derive(Clone, Copy)]
enum Fate {
    /// It is done in time.
    Prompt,
    /// It takes more than one lease, which is renewed.
    Renewed,
    /// Its data is stored first, and the finish has none.
    Stored,
    /// It is finished when its lease is over, if nobody has it by then.
    Late,
    /// The reply to its finish is lost, and the finish sent again.
    Again,
    /// Its finish is sent twice without need.
    Twice,
    /// It is given back.
    Released,
    /// Its worker is no more.
    Dead,
}

/// One of the workers.
pub struct Worker {
    rpc: Rpc,
    recorder: Arc<Recorder>,
    watched: Arc<Watched>,
    habits: Habits,
    number: usize,
    /// Every new life has a new name.
    life: usize,
    /// Counts what is to have names of its own.
    counter: usize,
}

impl Worker {
    pub fn new(
        number: usize,
        rpc: Rpc,
        recorder: Arc<Recorder>,
        watched: Arc<Watched>,
        habits: Habits,
    ) -> Worker {
        Worker {
            rpc,
            recorder,
            watched,
            habits,
            number,
            life: 0,
            counter: 0,
        }
    }

    /// Works until the run is over.
    pub async fn work(mut self) {
        while !self.recorder.is_over() {
            for job in self.claim().await {
                let life = self.life;
                self.carry_out(job).await;
                if self.life > life {
                    break; // the others die with it
                }
            }
        }
    }

    fn name(&self) -> String {
        format!("worker {}.{}", self.number, self.life)
    }

    async fn claim(&mut self) -> Vec<Job> {
        let name = self.name();
        let lease = 1_000_000 + 250_000 * self.rpc.random.u64(0..=8);
        let jobs = match self.rpc.random.u32(0..10) {
            0 => 4,
            1 => 2,
            _ => 1,
        };
        let options = map([
            ("lease_time", seconds(lease)),
            ("max_jobs", int(jobs)),
            ("wait", Value::Float(0.25)),
            ("with_attempt", true.into()),
        ]);
        let (reply, call) = self.rpc.call("get_work", [text(&name), options]).await;
        let Some((work, _)) = words::pair(reply, &self.recorder) else {
            // What it was given, if anything, is another's, who is no more: a request that
            // is still on its way must not mix with those of this one.
            self.life += 1;
            self.back_off().await;
            return Vec::new();
        };
        let work = match jobs {
            1 => vec![work],
            _ => items(work),
        };
        let units: Vec<Grant> = work.into_iter().filter_map(words::grant).collect();
        if units.is_empty() {
            return Vec::new();
        }
        let connection = self.rpc.connection;
        let claimed = units.iter().cloned();
        let claimed = claimed.map(|grant| Job {
            grant,
            lease,
            connection,
        });
        let claimed = claimed.collect();
        self.recorder.write(&Event::Claim(Claim {
            call,
            worker: name,
            lease,
            units,
        }));
        claimed
    }

    fn fate(&mut self) -> Fate {
        let late = self.habits.late_per_mille;
        let lot = self.rpc.random.u32(0..1_000);
        match lot.checked_sub(2 * late) {
            None if lot < late => Fate::Late,
            None => Fate::Dead,
            Some(0..20) => Fate::Renewed,
            Some(20..70) => Fate::Stored,
            Some(70..100) => Fate::Again,
            Some(100..120) => Fate::Twice,
            Some(120..140) => Fate::Released,
            Some(_) => Fate::Prompt,
        }
    }

    async fn carry_out(&mut self, job: Job) {
        if self.rpc.random.u32(0..1_000) < self.habits.locked_per_mille {
            self.counter += 1;
            let owner = format!("{}/{}", self.name(), self.counter);
            locker::hold_some(&mut self.rpc, &self.recorder, owner).await;
        }
        self.pause(0..8).await;
        // One in twenty says nothing of what came out.
        let is_silent = self.rpc.random.u32(0..20) == 0;
        let output = Output::of(&job.grant, &mut self.rpc.random);
        let output = (!is_silent).then_some(&output);
        match self.fate() {
            Fate::Prompt => self.finish(&job, output).await,
            Fate::Renewed => {
                self.pause(0..job.lease / 1_500).await;
                let lease = 1_000_000 + 250_000 * self.rpc.random.u64(0..=8);
                if self.update(&job, Ask::Renew(lease), None).await != Some(false) {
                    self.pause(0..lease / 2_000).await;
                    self.finish(&job, output).await;
                }
            }
            Fate::Stored => {
                let stored = self.update(&job, Ask::Renew(job.lease), output).await;
                match stored {
                    Some(true) => self.finish_told(&job, None, output).await,
                    Some(false) => {}
                    None => self.finish(&job, output).await,
                }
            }
            Fate::Late => {
                let lease = job.lease / 1_000;
                self.pause(lease..lease + 1_500).await;
                self.finish(&job, output).await;
            }
            Fate::Again => {
                self.lose_finish(&job, output).await;
                self.finish(&job, output).await;
            }
            Fate::Twice => {
                self.finish(&job, output).await;
                self.update(&job, Ask::Finish, output).await;
            }
            Fate::Released => {
                let delay = 100_000 * self.rpc.random.u64(0..8);
                self.update(&job, Ask::Release(delay), None).await;
            }
            Fate::Dead => {
                self.rpc.hang_up();
                self.life += 1;
            }
        }
    }

    async fn finish(&mut self, job: &Job, output: Option<&Output>) {
        self.finish_told(job, output, output).await;
    }

    /// Finishes it with `data`, however often that takes, and has somebody watch what
    /// becomes of it and of its output.
    async fn finish_told(&mut self, job: &Job, data: Option<&Output>, output: Option<&Output>) {
        if let Some(output) = output {
            self.watched.announce(&job.grant, output);
        }
        loop {
            match self.update(job, Ask::Finish, data).await {
                Some(true) => {
                    self.recorder.finished.fetch_add(1, Relaxed);
                    if specs::is_source(&job.grant.spec) {
                        self.recorder.sources_finished.fetch_add(1, Relaxed);
                    }
                    return;
                }
                Some(false) => {
                    self.recorder.stale_finishes.fetch_add(1, Relaxed);
                    return;
                }
                None if self.recorder.is_over() => return,
                None => self.back_off().await,
            }
        }
    }

    /// Sends a finish whose reply is not waited for.
    async fn lose_finish(&mut self, job: &Job, output: Option<&Output>) {
        let options = self.options(job, &Ask::Finish, output);
        let (spec, key) = (text(&job.grant.spec), text(&job.grant.key));
        let call = self
            .rpc
            .send_and_leave("update_work_unit", [spec, key, options])
            .await;
        self.write(job, call, Ask::Finish, output, None);
    }

    /// Sends an update; whether it was accepted, or nothing if there is no telling.
    async fn update(&mut self, job: &Job, ask: Ask, output: Option<&Output>) -> Option<bool> {
        let options = self.options(job, &ask, output);
        let (spec, key) = (text(&job.grant.spec), text(&job.grant.key));
        let (reply, call) = if self.rpc.random.u32(0..8) == 0 {
            let one = Value::Array(vec![Value::Array(vec![spec, key, options])]);
            let (reply, call) = self.rpc.call("update_work_units", [one]).await;
            let reply = match reply {
                Reply::Result(pairs) => Reply::Result(items(pairs).remove(0)),
                other => other,
            };
            (reply, call)
        } else {
            let update = [spec, key, options];
            self.rpc.call("update_work_unit", update).await
        };
        let answer = words::pair(reply, &self.recorder);
        let answer = answer.map(|(answer, _)| answer == Value::Bool(true));
        self.write(job, call, ask, output, answer);
        answer
    }

    /// The options of an update.
    fn options(&mut self, job: &Job, ask: &Ask, output: Option<&Output>) -> Value {
        let mut options = match ask {
            Ask::Renew(lease) => vec![("lease_time", seconds(*lease))],
            Ask::Finish => vec![("status", int(4))],
            Ask::Release(delay) => vec![("status", int(1)), ("delay", seconds(*delay))],
        };
        if let Some(output) = output {
            options.push(("data", output.data.clone()));
        }
        // Its id tells which attempt is meant, or the connection that was given it; but that
        // is not there any more for a request that is sent again over another. The worker
        // alone would not do: if a successor has given the unit back, whoever names no
        // attempt begins one (semantics.md §7).
        let lot = self.rpc.random.u32(0..10);
        if lot > 0 || !self.rpc.is_still(job.connection) {
            options.push(("attempt_id", int(job.grant.attempt)));
        }
        if lot == 1 {
            options.push(("worker_id", text(&self.name())));
        }
        Value::Map(options.into_iter().map(|(k, v)| (text(k), v)).collect())
    }

    fn write(
        &self,
        job: &Job,
        call: Call,
        ask: Ask,
        output: Option<&Output>,
        answer: Option<bool>,
    ) {
        let Grant {
            spec, key, attempt, ..
        } = job.grant.clone();
        let data = output.map(|output| Data {
            text: json(&output.data),
            output: output.units.clone(),
        });
        self.recorder.write(&Event::Update(Update {
            call,
            worker: self.name(),
            spec,
            key,
            attempt,
            ask,
            data,
            answer,
        }));
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        let pause = Duration::from_millis(self.rpc.random.u64(millis));
        sleep(pause).await; // reason: leases of real daemons run out in real time
    }

    async fn back_off(&mut self) {
        self.pause(5..50).await;
    }
}
