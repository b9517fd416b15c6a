//! The database and the daemons on it, which are killed, frozen and started again.

use std::{sync::Arc, thread, time::Duration};

use rustix::process::Signal;

use crate::{daemon::Daemon, plan::Plan, postgres::OwnCluster, record::Recorder, rpc::Addresses};

/// A cluster of its own, which keeps what it has acknowledged, and daemons on it.
pub struct Servers {
    cluster: OwnCluster,
    daemons: Vec<Option<Daemon>>,
    addresses: Arc<Addresses>,
    recorder: Arc<Recorder>,
    random: fastrand::Rng,
    /// How often a daemon was killed.
    pub kills: usize,
    /// How often a daemon was stopped for a while.
    pub freezes: usize,
    /// How often the database was stopped.
    pub restarts: usize,
    /// Log lines that tell of a mistake in a daemon, of those that were killed too.
    pub mistakes: Vec<String>,
}

/// One thing that is done to them.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    KillOne,
    KillAll,
    /// Stops the process for longer than some leases; then it goes on with what it had
    /// begun.
    FreezeOne,
    /// Ends the server after it has written everything.
    StopDatabase,
    /// Ends it as a crash does, and a daemon at the same time.
    CrashDatabase,
}

impl Servers {
    pub fn start(plan: &Plan, recorder: Arc<Recorder>) -> Servers {
        let mut servers = Servers {
            cluster: OwnCluster::durable(|_| String::new()),
            daemons: (0..plan.daemons).map(|_| None).collect(),
            addresses: Arc::new(Addresses::new(plan.daemons)),
            recorder,
            random: plan.random(u64::MAX),
            kills: 0,
            freezes: 0,
            restarts: 0,
            mistakes: Vec::new(),
        };
        for number in 0..plan.daemons {
            servers.revive(number);
        }
        servers
    }

    pub fn addresses(&self) -> Arc<Addresses> {
        self.addresses.clone()
    }

    /// What is done in a run, in its order.
    pub fn troubles(plan: &Plan, random: &mut fastrand::Rng) -> Vec<Trouble> {
        let mut troubles: Vec<Trouble> = (0..plan.kills)
            .map(|number| match number % 5 {
                4 => Trouble::KillAll,
                _ => Trouble::KillOne,
            })
            .collect();
        troubles.extend((0..plan.kills.div_ceil(4)).map(|_| Trouble::FreezeOne));
        random.shuffle(&mut troubles);
        // Spread over the run.
        for number in 0..plan.database_restarts {
            let at = (2 * number + 1) * troubles.len() / (2 * plan.database_restarts);
            let trouble = match number % 2 {
                0 => Trouble::CrashDatabase,
                _ => Trouble::StopDatabase,
            };
            troubles.insert(at, trouble);
        }
        troubles
    }

    /// Makes the trouble, and mends it again after a while.
    pub fn suffer(&mut self, trouble: Trouble) {
        let one = self.random.usize(0..self.daemons.len());
        match trouble {
            Trouble::KillOne => {
                self.kill(one);
                self.pause(50..500);
            }
            Trouble::KillAll => {
                for number in 0..self.daemons.len() {
                    self.kill(number);
                }
                self.pause(50..300);
            }
            Trouble::FreezeOne => self.freeze(one),
            Trouble::StopDatabase => {
                self.stop_database("fast");
                self.pause(100..800);
                self.start_database();
            }
            Trouble::CrashDatabase => {
                self.kill(one);
                self.stop_database("immediate");
                self.pause(100..800);
                self.start_database();
            }
        }
        for number in 0..self.daemons.len() {
            if self.daemons[number].is_none() {
                self.revive(number);
            }
        }
    }

    /// Whether a daemon has ended by itself, or has logged a mistake of its own.
    pub fn find_mistakes(&mut self) -> &[String] {
        for number in 0..self.daemons.len() {
            self.look_at(number);
        }
        &self.mistakes
    }

    fn look_at(&mut self, number: usize) {
        let Some(daemon) = &self.daemons[number] else {
            return;
        };
        for message in ["panicked", "call panicked", "statement failed"] {
            let times = daemon.times_logged(message);
            if times > 0 {
                let line = daemon.logged(|line| line["message"] == message);
                let mistake = format!("daemon {number} logged {times} times: {line}");
                self.mistakes.push(mistake);
            }
        }
    }

    fn kill(&mut self, number: usize) {
        self.look_at(number);
        self.addresses.set(number, None);
        if self.daemons[number].take().is_some() {
            self.kills += 1;
            self.recorder.fault(format!("daemon {number} killed"));
        }
    }

    fn freeze(&mut self, number: usize) {
        self.recorder.fault(format!("daemon {number} frozen"));
        let signal = |daemon: &Option<Daemon>, signal| daemon.iter().for_each(|d| d.signal(signal));
        signal(&self.daemons[number], Signal::STOP);
        self.pause(500..2_500);
        signal(&self.daemons[number], Signal::CONT);
        self.recorder.fault(format!("daemon {number} goes on"));
        self.freezes += 1;
    }

    fn revive(&mut self, number: usize) {
        let backend = format!("postgres:{}", self.cluster.connection());
        let daemon = Daemon::with(&["--backend", &backend]);
        self.addresses.set(number, Some(daemon.address()));
        self.daemons[number] = Some(daemon);
        self.recorder.fault(format!("daemon {number} started"));
    }

    fn stop_database(&mut self, mode: &str) {
        self.recorder.fault(format!("database stops ({mode})"));
        self.cluster.stop_in(mode);
        self.restarts += 1;
    }

    fn start_database(&self) {
        self.cluster.start();
        self.recorder.fault("database runs".to_owned());
    }

    fn pause(&mut self, millis: std::ops::Range<u64>) {
        let pause = Duration::from_millis(self.random.u64(millis));
        thread::sleep(pause); // reason: how long something is away, in real time
    }
}
