//! Work specs.

use super::{CallError, CallResult, JobServer, bare_count, done, no_such_spec, refused};
use crate::{
    backend::{Backend, Spec},
    clock::{Clock, Timestamp},
    model::{NamespaceId, NewSpec, SpecChange},
    wire::{ListWorkSpecs, Reply, SpecMeta, Value},
};

impl<B: Backend, C: Clock> JobServer<B, C> {
    /// `set_work_spec(work_spec)`
    pub(super) async fn set_work_spec<'a>(
        &self,
        namespace: NamespaceId,
        spec: NewSpec,
    ) -> CallResult<'a> {
        self.cache.put_spec(namespace, &spec).await?;
        // It may have been paused before, or had other limits.
        self.available(namespace, usize::MAX);
        Ok(done())
    }

    /// `get_work_spec(work_spec_name)`
    pub(super) async fn get_work_spec<'a>(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> CallResult<'a> {
        let spec = self.spec(namespace, name).await?;
        Ok(Reply::Bare(spec.map_or(Value::Nil, |spec| {
            Value::Definition(spec.definition)
        })))
    }

    /// `get_work_spec_meta(work_spec_name)`
    pub(super) async fn get_work_spec_meta<'a>(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> CallResult<'a> {
        Ok(match self.spec(namespace, name).await? {
            Some(Spec {
                options,
                next_continuous,
                ..
            }) => Reply::Pair(
                Value::SpecMeta(SpecMeta {
                    options,
                    next_continuous,
                }),
                None,
            ),
            None => Reply::Pair(Value::Nil, Some(no_such_spec(name))),
        })
    }

    /// `control_work_spec(work_spec_name, options)`
    pub(super) async fn control_work_spec<'a>(
        &self,
        now: Timestamp,
        namespace: NamespaceId,
        name: &str,
        change: SpecChange,
    ) -> CallResult<'a> {
        let changed = self
            .cache
            .with_spec(namespace, name, |spec| {
                self.cache.backend().change_spec(now, spec, &change)
            })
            .await?;
        Ok(match changed {
            None => refused(no_such_spec(name)),
            Some(false) => refused(format_args!(
                "work spec {name} cannot be continuous: its definition does not say so"
            )),
            Some(true) => {
                self.available(namespace, usize::MAX);
                done()
            }
        })
    }

    /// `list_work_specs(options)`
    pub(super) async fn list_work_specs<'a>(
        &self,
        namespace: NamespaceId,
        call: ListWorkSpecs<'_>,
    ) -> CallResult<'a> {
        let limit = call.limit.unwrap_or(usize::MAX);
        if limit == 0 {
            return Ok(Reply::Bare(Value::Definitions(Vec::new(), None)));
        }
        // One more tells whether there is a next page, and where it starts.
        let listed = limit.saturating_add(1);
        let mut specs = self
            .cache
            .backend()
            .specs(namespace, call.start, listed)
            .await?;
        let next = specs.get(limit).map(|spec| spec.name.clone());
        specs.truncate(limit);
        let definitions = specs.into_iter().map(|spec| spec.definition).collect();
        Ok(Reply::Bare(Value::Definitions(definitions, next)))
    }

    /// `del_work_spec(work_spec_name)`
    pub(super) async fn del_work_spec<'a>(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> CallResult<'a> {
        let deleted = self
            .cache
            .with_spec(namespace, name, |spec| {
                self.cache.backend().delete_spec(spec)
            })
            .await?;
        Ok(match deleted {
            Some(()) => done(),
            None => refused(no_such_spec(name)),
        })
    }

    /// `clear()`
    pub(super) async fn clear<'a>(&self, namespace: NamespaceId) -> CallResult<'a> {
        Ok(bare_count(
            self.cache.backend().delete_specs(namespace).await?,
        ))
    }

    async fn spec(&self, namespace: NamespaceId, name: &str) -> Result<Option<Spec>, CallError> {
        let spec = |spec| self.cache.backend().spec(spec);
        Ok(self.cache.with_spec(namespace, name, spec).await?)
    }
}
