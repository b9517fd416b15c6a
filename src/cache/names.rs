//! What the cache is keyed by, and the borrowed forms that requests look it up with,
//! so that a look-up copies nothing.

use std::hash::{Hash, Hasher};

use crate::model::{NamespaceId, SpecId, SpecName, UnitKey};

/// Identifies a work spec by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpecKey {
    pub(super) namespace: NamespaceId,
    pub(super) name: SpecName,
}

/// [`SpecKey`] as a request gives it.
pub(super) struct SpecRef<'a> {
    pub(super) namespace: NamespaceId,
    pub(super) name: &'a str,
}

impl Hash for SpecRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.namespace.hash(state);
        self.name.hash(state);
    }
}

impl Hash for SpecKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        SpecRef {
            namespace: self.namespace,
            name: self.name.as_str(),
        }
        .hash(state);
    }
}

impl quick_cache::Equivalent<SpecKey> for SpecRef<'_> {
    fn equivalent(&self, key: &SpecKey) -> bool {
        self.namespace == key.namespace && self.name == key.name.as_str()
    }
}

/// Identifies a unit by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AttemptKey {
    pub(super) spec: SpecId,
    pub(super) key: UnitKey,
}

/// [`AttemptKey`] as a request gives it.
pub(super) struct AttemptName<'a> {
    pub(super) spec: SpecId,
    pub(super) key: &'a [u8],
}

impl Hash for AttemptName<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.hash(state);
        self.key.hash(state);
    }
}

impl Hash for AttemptKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        AttemptName {
            spec: self.spec,
            key: self.key.as_bytes(),
        }
        .hash(state);
    }
}

impl quick_cache::Equivalent<AttemptKey> for AttemptName<'_> {
    fn equivalent(&self, key: &AttemptKey) -> bool {
        self.spec == key.spec && self.key == key.key.as_bytes()
    }
}
