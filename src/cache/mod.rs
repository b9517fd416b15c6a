//! Names to ids.
//!
//! Clients speak names; the backend speaks ids. The cache remembers which id a
//! name had, so that a worker that reports on the unit it was just given costs
//! one backend call instead of two. It holds no data and no counts: everything
//! else goes straight to the backend.
//!
//! **Invariant:** a wrong entry costs time, never correctness. Ids are not reused,
//! and every change is conditional on the attempt it was decided on, so a stale
//! entry is answered with [`Error::Gone`] or [`Conflict::Changed`](crate::backend::Conflict::Changed); the entry is
//! forgotten and the name resolved anew, a bounded number of times. An answer that
//! changes nothing is only ever given after a fresh look.

mod names;
mod update;

use std::{future::Future, sync::Arc};

use names::{AttemptKey, AttemptName, SpecKey, SpecRef};
pub use update::{Fence, Update, Updated};

use crate::{
    backend::{ActiveAttempt, Backend, Claim, Claims, Error, Kind, Result},
    clock::Timestamp,
    model::{NamespaceId, NewSpec, NewUnit, Phase, SpecId, SpecName},
};

/// A backend, and what is known about names in it.
#[derive(Debug)]
pub struct Cache<B> {
    backend: Arc<B>,
    specs: quick_cache::sync::Cache<SpecKey, SpecId>,
    attempts: quick_cache::sync::Cache<AttemptKey, ActiveAttempt>,
}

impl<B: Backend> Cache<B> {
    /// Remembers up to `entries` units and as many specs. 0 turns the cache off.
    pub fn new(backend: Arc<B>, entries: usize) -> Cache<B> {
        Cache {
            backend,
            specs: quick_cache::sync::Cache::new(entries),
            attempts: quick_cache::sync::Cache::new(entries),
        }
    }

    /// The backend, for calls that need no name.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Runs `call` with the id of the named spec; if that id turns out to be
    /// stale, resolves the name again and runs `call` once more.
    ///
    /// `None` if there is no spec of that name.
    ///
    /// # Errors
    /// Those of `call`. [`Error::Gone`] only if the spec was deleted between the
    /// second look and the call; to the client it is the same as `None`.
    pub async fn with_spec<T, F>(
        &self,
        namespace: NamespaceId,
        name: &str,
        mut call: impl FnMut(SpecId) -> F,
    ) -> Result<Option<T>>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let key = SpecRef { namespace, name };
        if let Some(spec) = self.specs.get(&key) {
            match call(spec).await {
                Err(Error::Gone(Kind::Spec)) => drop(self.specs.remove(&key)),
                answer => return answer.map(Some),
            }
        }
        let Some(spec) = self.backend.find_spec(namespace, name).await? else {
            return Ok(None);
        };
        if let Ok(name) = SpecName::new(name) {
            self.specs.insert(SpecKey { namespace, name }, spec);
        }
        match call(spec).await {
            Err(Error::Gone(Kind::Spec)) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// [`Backend::put_spec`], remembering the spec's id.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn put_spec(&self, namespace: NamespaceId, spec: &NewSpec) -> Result<()> {
        let id = self.backend.put_spec(namespace, spec).await?;
        self.specs.insert(
            SpecKey {
                namespace,
                name: spec.name.clone(),
            },
            id,
        );
        Ok(())
    }

    /// [`Backend::put_units`]. Most of what is added is claimed before it is updated, so
    /// nothing is remembered of it.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn put_units(&self, now: Timestamp, spec: SpecId, units: &[NewUnit]) -> Result<()> {
        self.backend.put_units(now, spec, units).await
    }

    /// [`Backend::claim`], remembering what was handed out.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn claim(&self, now: Timestamp, claim: &Claim) -> Result<Claims> {
        let claims = self.backend.claim(now, claim).await?;
        for c in &claims.units {
            let active = ActiveAttempt {
                unit: c.unit,
                phase: Phase::Open,
                attempt: Some((c.attempt, claim.worker.clone())),
            };
            let key = AttemptKey {
                spec: claim.spec,
                key: c.key.clone(),
            };
            self.attempts.insert(key, active);
        }
        Ok(claims)
    }

    fn known(&self, spec: SpecId, key: &[u8]) -> Option<ActiveAttempt> {
        self.attempts.get(&AttemptName { spec, key })
    }

    fn forget(&self, spec: SpecId, key: &[u8]) {
        self.attempts.remove(&AttemptName { spec, key });
    }
}
