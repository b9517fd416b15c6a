//! Random histories: after every step the indexes agree with the units, what a
//! reader is shown agrees with a recount, and no unit is lost.

use proptest::prelude::*;

use super::*;
use crate::{
    backend::{UnitPage, UnitSelection},
    model::{Outcome, Phase, PriorityChange, StatusSet},
};

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: u8,
        priority: i8,
        delay: u8,
    },
    Claim {
        who: u8,
        units: u8,
    },
    Change {
        key: u8,
        effect: u8,
        seconds: u8,
        stale: bool,
        chains: u8,
    },
    Prioritize {
        key: u8,
        by: i8,
    },
    Delete {
        key: u8,
        state: u8,
    },
    DeleteState {
        state: u8,
    },
    DeleteAll,
    Wait {
        seconds: u8,
    },
    Sweep {
        steps: u8,
    },
    Archive,
}

const KEYS: u8 = 9;

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    prop_oneof![
        6 => (key.clone(), -2i8..3, 0u8..3)
            .prop_map(|(key, priority, delay)| Step::Put { key, priority, delay }),
        6 => (0u8..3, 1u8..4).prop_map(|(who, units)| Step::Claim { who, units }),
        9 => (key.clone(), 0u8..6, 0u8..3, prop::bool::weighted(0.2), 0..KEYS).prop_map(
            |(key, effect, seconds, stale, chains)| {
                Step::Change { key, effect, seconds, stale, chains }
            }
        ),
        1 => (key.clone(), -2i8..3).prop_map(|(key, by)| Step::Prioritize { key, by }),
        1 => (key, 1u8..6).prop_map(|(key, state)| Step::Delete { key, state }),
        1 => (1u8..6).prop_map(|state| Step::DeleteState { state }),
        1 => Just(Step::DeleteAll),
        4 => (0u8..5).prop_map(|seconds| Step::Wait { seconds }),
        2 => (1u8..4).prop_map(|steps| Step::Sweep { steps }),
        1 => Just(Step::Archive),
    ]
}

fn name(key: u8) -> String {
    format!("k{key}")
}

struct History {
    w: World,
    spec: SpecId,
    options: SpecOptions,
    /// Units that were archived; they are in the counts only.
    archived: u64,
    stale: Vec<UnitChange>,
}

impl History {
    async fn new(max_running: u64, max_retries: u64) -> History {
        let w = World::keeping(Retention {
            attempt_history: 2,
            completed_count: Some(2),
            completed_age: None,
        })
        .await;
        let options = SpecOptions {
            max_running,
            max_retries,
            then: Some(SpecName::new("s").unwrap()),
            ..SpecOptions::default()
        };
        History {
            spec: w.spec_with("s", options.clone()).await,
            w,
            options,
            archived: 0,
            stale: Vec::new(),
        }
    }

    async fn all(&self) -> Vec<Unit> {
        let page = UnitPage {
            statuses: StatusSet::ALL,
            after: None,
            limit: 1_000,
        };
        self.w
            .memory
            .page_units(self.w.now, self.spec, page)
            .await
            .unwrap()
    }

    async fn take(&mut self, step: Step) {
        let (spec, now) = (self.spec, self.w.now);
        let before = self.all().await;
        let removes = matches!(
            step,
            Step::Delete { .. }
                | Step::DeleteState { .. }
                | Step::DeleteAll
                | Step::Sweep { .. }
                | Step::Archive
        );
        match step {
            Step::Put {
                key,
                priority,
                delay,
            } => {
                let new = NewUnit {
                    priority: Priority::new(priority.into()).unwrap(),
                    delay: seconds(delay.into()),
                    ..unit(&name(key))
                };
                self.w.put_units(spec, vec![new]).await;
            }
            Step::Claim { who, units } => {
                let claim = Claim {
                    spec,
                    worker: worker(&who.to_string()),
                    units_max: units.into(),
                    lease: seconds(2),
                };
                let claims = self.w.memory.claim(now, &claim).await.unwrap();
                let available = |u: &&Unit| u.status == UnitStatus::Available;
                let mut queue: Vec<&Unit> = before.iter().filter(available).collect();
                queue.sort_by_key(|u| (u.priority.rank(), u.key.clone()));
                let retries = self.options.max_retries;
                queue.retain(|u| retries == 0 || u64::from(u.attempts) < retries);
                for (claimed, expected) in claims.units.iter().zip(queue) {
                    assert_eq!(claimed.key, expected.key, "not in order");
                }
            }
            Step::Change {
                key,
                effect,
                seconds,
                stale,
                chains,
            } => {
                self.change(key, effect, seconds, stale, chains).await;
            }
            Step::Prioritize { key, by } => {
                let keys = [name(key)];
                let change = PriorityChange::Adjust(by.into());
                let keys = [keys[0].as_bytes()];
                self.w
                    .memory
                    .prioritize_units(now, spec, &keys, change)
                    .await
                    .unwrap();
            }
            Step::Delete { key, state } => {
                let (key, state) = (name(key), StatusSet::NONE.with_wire(state.into()));
                let selection = UnitSelection::Keys(vec![key.as_bytes()], state);
                self.delete(&before, selection, |u| {
                    u.key.as_bytes() == key.as_bytes() && state.contains(u.status)
                })
                .await;
            }
            Step::DeleteState { state } => {
                let state = StatusSet::NONE.with_wire(state.into());
                let selection = UnitSelection::Statuses(state);
                self.delete(&before, selection, |u| state.contains(u.status))
                    .await;
            }
            Step::DeleteAll => {
                self.delete(&before, UnitSelection::All, |_| true).await;
                self.archived = 0;
            }
            Step::Wait { seconds: span } => self.w.advance(seconds(span.into())),
            Step::Sweep { steps } => {
                self.w.memory.sweep(now, steps.into()).await.unwrap();
                self.archived += (before.len() - self.all().await.len()) as u64;
            }
            Step::Archive => {
                self.w
                    .memory
                    .archive(now, self.w.namespace, None)
                    .await
                    .unwrap();
                let after = self.all().await;
                self.archived += (before.len() - after.len()) as u64;
                let kept = |status| after.iter().filter(|u| u.status == status).count();
                assert!(kept(UnitStatus::Finished) <= 2 && kept(UnitStatus::Failed) <= 2);
            }
        }
        self.check(&before, removes).await;
    }

    async fn delete(
        &self,
        before: &[Unit],
        selection: UnitSelection<'_>,
        is_selected: impl Fn(&Unit) -> bool,
    ) {
        let deleted = self
            .w
            .memory
            .delete_units(self.w.now, self.spec, selection)
            .await
            .unwrap();
        let left: Vec<&UnitKey> = before
            .iter()
            .filter(|u| !is_selected(u))
            .map(|u| &u.key)
            .collect();
        assert_eq!(deleted, (before.len() - left.len()) as u64);
        let after = self.all().await;
        assert_eq!(after.iter().map(|u| &u.key).collect::<Vec<_>>(), left);
    }

    async fn change(&mut self, key: u8, effect: u8, span: u8, stale: bool, chains: u8) {
        let span = seconds(span.into());
        if stale && let Some(change) = self.stale.pop() {
            let key_of = |change: &UnitChange| (change.unit, change.phase, change.attempt);
            let as_decided = self
                .decisions()
                .await
                .iter()
                .any(|now| key_of(now) == key_of(&change));
            let made = self.w.make(self.spec, change).await;
            let is_conflict = matches!(made, Err(Conflict::Gone | Conflict::Changed));
            assert_eq!(is_conflict, !as_decided, "{made:?}");
            return;
        }
        let key = name(key);
        if self.w.unit(self.spec, &key).await.is_none() {
            return;
        }
        let decided = self.w.decided(self.spec, &key, Effect::Fail).await;
        let effects = match decided.phase {
            Phase::Idle => vec![
                Effect::Prepare { delay: span },
                Effect::Start(Outcome::Pending(span)),
                Effect::Start(Outcome::Finished),
                Effect::Start(Outcome::Failed),
            ],
            Phase::Open => vec![
                Effect::Renew { lease: Some(span) },
                Effect::Renew { lease: None },
                Effect::Clear { delay: span },
                Effect::Finish,
                Effect::Fail,
            ],
            Phase::Finished => vec![Effect::Clear { delay: span }],
            Phase::Failed => vec![Effect::Clear { delay: span }, Effect::Finish],
        };
        let effect = effects[usize::from(effect) % effects.len()];
        let data = Some(output(&[&name(chains)]));
        let change = UnitChange {
            effect,
            data,
            ..decided
        };
        self.stale.push(change.clone());
        match self.w.make(self.spec, change).await {
            Ok(changed) => {
                let fresh = self.w.decided(self.spec, &key, Effect::Fail).await;
                assert_eq!(changed.active.phase, fresh.phase);
                assert_eq!(changed.active.attempt_id(), fresh.attempt);
            }
            Err(conflict) => assert_eq!(conflict, Conflict::Full, "it was just decided"),
        }
    }

    async fn decisions(&self) -> Vec<UnitChange> {
        let mut decisions = Vec::new();
        for unit in self.all().await {
            let key = String::from_utf8(unit.key.as_bytes().to_vec()).unwrap();
            decisions.push(self.w.decided(self.spec, &key, Effect::Fail).await);
        }
        decisions
    }

    async fn check(&self, before: &[Unit], removes: bool) {
        self.w.check();
        let (all, counts) = (self.all().await, self.w.counts(self.spec).await);
        let count = |status| all.iter().filter(|u| u.status == status).count() as u64;
        assert_eq!(counts.available, count(UnitStatus::Available));
        assert_eq!(counts.delayed, count(UnitStatus::Delayed));
        assert_eq!(counts.pending, count(UnitStatus::Pending));
        let completed = count(UnitStatus::Finished) + count(UnitStatus::Failed);
        assert_eq!(counts.finished + counts.failed, completed + self.archived);
        if self.options.max_running > 0 {
            assert!(counts.pending <= self.options.max_running);
        }
        for unit in &all {
            let old = before.iter().find(|old| old.key == unit.key);
            assert!(
                old.is_none_or(|old| old.attempts <= unit.attempts),
                "attempts were lost"
            );
            let pending = unit.status == UnitStatus::Pending;
            let ends = unit.current.as_ref().map(|current| current.ends);
            assert!(
                !pending || ends >= Some(self.w.now),
                "an ended lease is shown"
            );
        }
        assert!(
            all.is_sorted_by(|a, b| a.key < b.key),
            "pages are not in order"
        );
        let is_listed = |old: &Unit| all.iter().any(|unit| unit.key == old.key);
        assert!(removes || before.iter().all(is_listed), "a unit was lost");
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_books_balance(
        max_running in 0u64..3,
        max_retries in 0u64..4,
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut history = History::new(max_running, max_retries).await;
            for step in steps {
                history.take(step).await;
            }
        });
    }
}
