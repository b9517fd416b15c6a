//! Work units: adding, listing, counting, changing and deleting them in bulk.

use super::{CallResult, JobServer, done, no_such_spec, refused};
use crate::{
    backend::{Backend, UnitPage, UnitSelection},
    clock::{Clock, Timestamp},
    model::{KeyRef, NamespaceId, NewUnit, PriorityChange, StatusSet, Unit, UnitStatus},
    wire::{DelWorkUnits, ListedKey, PrioritizeWorkUnits, Reply, Status, UnitListing, Value},
};

impl<B: Backend, C: Clock> JobServer<B, C> {
    /// `add_work_units(work_spec_name, work_unit_key_vals)`
    pub(super) async fn add_work_units<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        name: &str,
        units: Vec<NewUnit>,
    ) -> CallResult<'a> {
        let added = self
            .cache
            .with_spec(namespace, name, |spec| {
                self.cache.put_units(now, spec, &units)
            })
            .await?;
        if added.is_none() {
            return Ok(refused(no_such_spec(name)));
        }
        self.available(namespace, units.len());
        let delays = units
            .iter()
            .map(|unit| unit.delay)
            .filter(|delay| !delay.is_zero());
        if let Some(soonest) = delays.min() {
            self.will_be_due(now.after(soonest));
        }
        Ok(done())
    }

    /// `count_work_units(work_spec_name)`
    pub(super) async fn count_work_units<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        name: &str,
    ) -> CallResult<'a> {
        let counts = self
            .cache
            .with_spec(namespace, name, |spec| {
                self.cache.backend().count_units(now, spec)
            })
            .await?;
        Ok(match counts {
            Some(counts) => Reply::Pair(Value::Counts(counts), None),
            None => Reply::Pair(Value::Nil, Some(no_such_spec(name))),
        })
    }

    /// `get_work_units(work_spec_name, options)`
    pub(super) async fn get_work_units<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        name: &str,
        which: UnitListing<'a>,
    ) -> CallResult<'a> {
        let listed = match which {
            UnitListing::Keys(keys) => {
                self.named_units(now, namespace, name, &keys)
                    .await?
                    .map(|units| {
                        let listed = |(key, unit): (KeyRef<'a>, Option<Unit>)| match unit {
                            Some(unit) => (ListedKey::Stored(unit.key), Some(unit.data)),
                            None => (ListedKey::Asked(key), None),
                        };
                        keys.into_iter().zip(units).map(listed).collect()
                    })
            }
            UnitListing::Page {
                statuses,
                after,
                limit,
            } => {
                let page = UnitPage {
                    statuses,
                    after,
                    limit,
                };
                let units = self
                    .cache
                    .with_spec(namespace, name, |spec| {
                        self.cache.backend().page_units(now, spec, page)
                    })
                    .await?;
                let listed = |unit: Unit| (ListedKey::Stored(unit.key), Some(unit.data));
                units.map(|units| units.into_iter().map(listed).collect())
            }
        };
        Ok(match listed {
            Some(listed) => Reply::Pair(Value::Units(listed), None),
            None => Reply::Pair(Value::Nil, Some(no_such_spec(name))),
        })
    }

    /// `get_work_unit_status(work_spec_name, work_unit_keys)`
    pub(super) async fn get_work_unit_status<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        name: &str,
        keys: Vec<KeyRef<'_>>,
    ) -> CallResult<'a> {
        Ok(match self.named_units(now, namespace, name, &keys).await? {
            Some(units) => {
                let statuses = units.into_iter().map(|unit| unit.map(status)).collect();
                Reply::Pair(Value::Statuses(statuses), None)
            }
            None => Reply::Pair(Value::Nil, Some(no_such_spec(name))),
        })
    }

    /// `prioritize_work_units(work_spec_name, options)`
    pub(super) async fn prioritize_work_units<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        call: PrioritizeWorkUnits<'_>,
    ) -> CallResult<'a> {
        let Some(keys) = call.keys else {
            return Ok(refused("missing work_unit_keys"));
        };
        let keys = bytes(&keys);
        // Without a change the spec must exist all the same.
        let keys = if call.change.is_some() {
            &keys[..]
        } else {
            &[]
        };
        let change = call.change.unwrap_or(PriorityChange::Adjust(0.0));
        let changed = self
            .cache
            .with_spec(namespace, call.spec, |spec| {
                self.cache
                    .backend()
                    .prioritize_units(now, spec, keys, change)
            })
            .await?;
        Ok(match changed {
            Some(()) => done(),
            None => refused(no_such_spec(call.spec)),
        })
    }

    /// `del_work_units(work_spec_name, options)`
    pub(super) async fn del_work_units<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        call: DelWorkUnits<'_>,
    ) -> CallResult<'a> {
        let selection = match (call.all, &call.keys, call.statuses) {
            (true, _, _) => UnitSelection::All,
            (false, Some(keys), statuses) => {
                UnitSelection::Keys(bytes(keys), statuses.unwrap_or(StatusSet::ALL))
            }
            (false, None, Some(statuses)) => UnitSelection::Statuses(statuses),
            (false, None, None) => {
                let why = "no usable options to del_work_units".to_owned();
                return Ok(Reply::Pair(Value::Unsigned(0), Some(why)));
            }
        };
        let deleted = self
            .cache
            .with_spec(namespace, call.spec, |spec| {
                self.cache
                    .backend()
                    .delete_units(now, spec, selection.clone())
            })
            .await?;
        Ok(match deleted {
            Some(deleted) => {
                // A pending unit that is gone makes room under max_running.
                self.available(namespace, usize::MAX);
                Reply::Pair(Value::Unsigned(deleted), None)
            }
            None => Reply::Pair(Value::Unsigned(0), Some(no_such_spec(call.spec))),
        })
    }

    /// `archive(options)`
    pub(super) async fn archive<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        specs: Option<Vec<&str>>,
    ) -> CallResult<'a> {
        self.cache
            .backend()
            .archive(now, namespace, specs.as_deref())
            .await?;
        Ok(Reply::Bare(Value::Nil))
    }

    /// The units of these keys, in order; `None` if there is no such spec.
    async fn named_units(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        name: &str,
        keys: &[KeyRef<'_>],
    ) -> Result<Option<Vec<Option<Unit>>>, crate::backend::Error> {
        let keys = bytes(keys);
        self.cache
            .with_spec(namespace, name, |spec| {
                self.cache.backend().units(now, spec, &keys)
            })
            .await
    }
}

fn bytes<'a>(keys: &[KeyRef<'a>]) -> Vec<&'a [u8]> {
    keys.iter().map(|key| key.bytes).collect()
}

/// What `get_work_unit_status` shows of a unit.
fn status(unit: Unit) -> Status {
    let attempt = unit.current.as_ref().map(|current| current.id);
    // An attempt whose lease has run out is over, though nobody has said so yet.
    let lasting = match unit.status {
        UnitStatus::Available | UnitStatus::Delayed => None,
        UnitStatus::Pending | UnitStatus::Finished | UnitStatus::Failed => unit.current,
    };
    Status {
        status: unit.status.wire(),
        expiration: lasting.as_ref().map(|current| current.ends),
        worker: lasting.map(|current| current.worker),
        data: unit.data,
        attempts: unit.attempts,
        attempt,
    }
}
