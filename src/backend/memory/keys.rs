//! Units by key.
//!
//! Many small hash tables instead of a large one: a table that grows is rehashed
//! under the spec's lock, and at ten million units a part takes two milliseconds
//! where the whole would take half a second. About 8 bytes a unit.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::{
    arena::Arena,
    unit::{Slot, Unit},
};

/// How many tables.
const PARTS: usize = 256;

/// Tables with room for fewer are not worth shrinking.
const SHRINK_CAPACITY_MIN: usize = 64;

/// Slots by the hash of their unit's key.
#[derive(Debug)]
pub(super) struct Keys {
    parts: Box<[HashTable<Slot>]>,
    /// Keyed at random: keys come from clients.
    hasher: RandomState,
}

impl Keys {
    pub(super) fn new() -> Keys {
        Keys {
            parts: (0..PARTS).map(|_| HashTable::new()).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn find(&self, arena: &Arena, key: &[u8]) -> Option<Slot> {
        let hash = self.hasher.hash_one(key);
        self.parts[part(hash)]
            .find(hash, |&slot| arena.get(slot).key.as_bytes() == key)
            .copied()
    }

    /// Adds a unit whose key is not there yet.
    pub(super) fn insert(&mut self, arena: &Arena, slot: Slot) {
        let hasher = &self.hasher;
        let hash = |slot: Slot| hasher.hash_one(arena.get(slot).key.as_bytes());
        let hashed = hash(slot);
        self.parts[part(hashed)].insert_unique(hashed, slot, |&other| hash(other));
    }

    /// Removes a unit that is no longer in the arena.
    pub(super) fn remove(&mut self, arena: &Arena, slot: Slot, unit: &Unit) {
        let hasher = &self.hasher;
        let hashed = hasher.hash_one(unit.key.as_bytes());
        let table = &mut self.parts[part(hashed)];
        let entry = table.find_entry(hashed, |&other| other == slot);
        assert!(entry.is_ok(), "unit {:?} was not found by key", unit.key);
        if let Ok(entry) = entry {
            entry.remove();
        }
        if table.capacity() >= SHRINK_CAPACITY_MIN && table.len() < table.capacity() / 8 {
            table.shrink_to(table.len() * 2, |&other| {
                hasher.hash_one(arena.get(other).key.as_bytes())
            });
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }
}

/// Which table. The tables themselves use the highest bits and the lowest.
fn part(hash: u64) -> usize {
    (hash >> 40) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyRef, Priority, RawData, StringType, UnitKey};

    fn unit(number: u32) -> Unit {
        let key = KeyRef {
            bytes: &number.to_be_bytes(),
            string_type: StringType::Bytes,
        };
        let key = UnitKey::new(key).unwrap();
        Unit::new(key, RawData::empty_map(), Priority::ZERO)
    }

    #[test]
    fn every_key_is_found_until_it_is_removed_and_then_its_memory_is_given_back() {
        let (mut arena, mut keys) = (Arena::default(), Keys::new());
        const UNITS: u32 = 50_000;
        let slots: Vec<Slot> = (0..UNITS).map(|n| arena.insert(unit(n))).collect();
        slots.iter().for_each(|&slot| keys.insert(&arena, slot));
        let room = |keys: &Keys| keys.parts.iter().map(HashTable::capacity).sum::<usize>();
        assert!(room(&keys) >= UNITS as usize);
        for (number, &slot) in (0..UNITS).zip(&slots) {
            assert_eq!(keys.find(&arena, &number.to_be_bytes()), Some(slot));
            let removed = arena.remove(slot);
            keys.remove(&arena, slot, &removed);
            assert_eq!(keys.find(&arena, &number.to_be_bytes()), None);
        }
        assert_eq!(keys.len(), 0);
        assert!(room(&keys) <= PARTS * SHRINK_CAPACITY_MIN);
    }
}
