//! Where units are kept: chunks of cells, found by slot.
//!
//! # Invariants
//!
//! * A [`UnitId`] is a slot and a generation, and is given out once: a cell's
//!   generation goes up with every unit put there, also across the chunk being freed
//!   and made again, and across [`Arena::successor`].
//! * `roomy` holds the chunks that exist and have a vacant cell, `freed` those that
//!   do not exist at present.
//! * At most one chunk has no unit in it, the `spare`, so that a spec that goes back
//!   and forth between empty and not does not allocate each time.
//!
//! # Cost
//!
//! Everything is O(1) but making, freeing and choosing a chunk, O(log n). Growing
//! never moves a unit.

use std::{collections::BTreeSet, iter};

use super::unit::{Slot, Unit};
use crate::model::UnitId;

/// Cells of a chunk.
const CHUNK: u32 = 256;

/// The end of a chunk's list of vacant cells.
const NO_CELL: u16 = u16::MAX;

#[derive(Debug)]
enum Cell {
    Vacant {
        /// The generation of the next unit here.
        generation: u32,
        /// The next vacant cell of the chunk.
        next: u16,
    },
    Taken(Unit),
}

#[derive(Debug)]
struct Chunk {
    /// Empty while the chunk is freed.
    cells: Box<[Cell]>,
    taken: u16,
    first_vacant: u16,
    /// The generation that its cells start with when it is made again.
    generation: u32,
}

impl Chunk {
    fn make(&mut self) {
        let generation = self.generation;
        let next = (1..).take(CHUNK as usize - 1).chain(iter::once(NO_CELL));
        self.cells = next.map(|next| Cell::Vacant { generation, next }).collect();
        self.first_vacant = 0;
    }
}

/// Units by slot.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    /// The number of the first chunk.
    base: u32,
    /// The generation that new chunks start with.
    floor: u32,
    /// The highest generation given out.
    highest: u32,
    roomy: BTreeSet<u32>,
    freed: BTreeSet<u32>,
    spare: Option<u32>,
    len: usize,
}

impl Arena {
    /// An empty arena that gives out none of the ids that this one did.
    pub(super) fn successor(&self) -> Arena {
        let (base, floor) = match self.highest.checked_add(1) {
            Some(floor) => (self.base, floor),
            None => (self.base + self.chunks.len() as u32, 0),
        };
        Arena {
            base,
            floor,
            highest: floor,
            ..Arena::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, slot: Slot) -> &Unit {
        match self.cell(slot) {
            Some(Cell::Taken(unit)) => unit,
            _ => unreachable!("an index names slot {slot}, which is vacant"),
        }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Unit {
        let chunk = &mut self.chunks[(slot / CHUNK - self.base) as usize];
        match &mut chunk.cells[(slot % CHUNK) as usize] {
            Cell::Taken(unit) => unit,
            Cell::Vacant { .. } => unreachable!("an index names slot {slot}, which is vacant"),
        }
    }

    pub(super) fn id(&self, slot: Slot) -> UnitId {
        UnitId::new(u64::from(self.get(slot).generation) << 32 | u64::from(slot))
    }

    /// The slot of a unit that may be gone.
    pub(super) fn resolve(&self, unit: UnitId) -> Option<Slot> {
        let slot = unit.get() as u32;
        match self.cell(slot)? {
            Cell::Taken(found) if u64::from(found.generation) == unit.get() >> 32 => Some(slot),
            _ => None,
        }
    }

    fn cell(&self, slot: Slot) -> Option<&Cell> {
        let chunk = (slot / CHUNK).checked_sub(self.base)?;
        let cells = &self.chunks.get(chunk as usize)?.cells;
        cells.get((slot % CHUNK) as usize)
    }

    pub(super) fn insert(&mut self, mut unit: Unit) -> Slot {
        let index = self.roomy_chunk();
        let chunk = &mut self.chunks[index as usize];
        let at = chunk.first_vacant;
        let cell = &mut chunk.cells[usize::from(at)];
        let Cell::Vacant { generation, next } = *cell else {
            unreachable!("a chunk's list of vacant cells names a unit");
        };
        unit.generation = generation;
        self.highest = self.highest.max(generation);
        *cell = Cell::Taken(unit);
        chunk.first_vacant = next;
        chunk.taken += 1;
        if next == NO_CELL {
            self.roomy.remove(&index);
        }
        if self.spare == Some(index) {
            self.spare = None;
        }
        self.len += 1;
        let chunk = self.base.checked_add(index);
        chunk
            .and_then(|chunk| chunk.checked_mul(CHUNK)?.checked_add(at.into()))
            .expect("a spec has fewer than 2^32 units")
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Unit {
        let index = slot / CHUNK - self.base;
        let chunk = &mut self.chunks[index as usize];
        let at = (slot % CHUNK) as u16;
        let cell = &mut chunk.cells[usize::from(at)];
        let generation = match cell {
            Cell::Taken(unit) => unit.generation.checked_add(1),
            Cell::Vacant { .. } => unreachable!("slot {slot} is vacant already"),
        };
        let vacant = Cell::Vacant {
            generation: generation.unwrap_or(u32::MAX),
            next: chunk.first_vacant,
        };
        let Cell::Taken(unit) = std::mem::replace(cell, vacant) else {
            unreachable!("just looked");
        };
        chunk.taken -= 1;
        // A cell that has no generation left is not used again.
        if generation.is_some() {
            chunk.first_vacant = at;
            self.roomy.insert(index);
        }
        self.len -= 1;
        if self.chunks[index as usize].taken == 0 {
            match self.spare {
                None => self.spare = Some(index),
                Some(spare) => {
                    self.spare = Some(spare.min(index));
                    self.free(spare.max(index));
                }
            }
        }
        unit
    }

    /// The lowest chunk that has room, so that those above run empty.
    fn roomy_chunk(&mut self) -> u32 {
        if let Some(&index) = self.roomy.first() {
            return index;
        }
        let index = self.freed.pop_first().unwrap_or_else(|| {
            self.chunks.push(Chunk {
                cells: Box::default(),
                taken: 0,
                first_vacant: NO_CELL,
                generation: self.floor,
            });
            u32::try_from(self.chunks.len() - 1).expect("fewer chunks than slots")
        });
        self.chunks[index as usize].make();
        self.roomy.insert(index);
        index
    }

    fn free(&mut self, index: u32) {
        let chunk = &mut self.chunks[index as usize];
        let generations = chunk.cells.iter().map(|cell| match cell {
            Cell::Vacant { generation, .. } => *generation,
            Cell::Taken(_) => unreachable!("a chunk with a unit is freed"),
        });
        chunk.generation = generations.max().unwrap_or(u32::MAX);
        chunk.cells = Box::default();
        self.roomy.remove(&index);
        // Where generations ran out, the chunk is not made again.
        if chunk.generation < u32::MAX {
            self.freed.insert(index);
        }
    }

    /// The slots that have units, and asserts the invariants.
    #[cfg(test)]
    pub(super) fn check(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        for (index, chunk) in (0u32..).zip(&self.chunks) {
            let taken: Vec<u32> = (0..CHUNK)
                .filter(|&at| matches!(chunk.cells.get(at as usize), Some(Cell::Taken(_))))
                .collect();
            assert_eq!(taken.len(), usize::from(chunk.taken));
            let exists = !chunk.cells.is_empty();
            assert_eq!(exists, !self.freed.contains(&index));
            assert_eq!(
                exists && taken.len() < CHUNK as usize,
                self.roomy.contains(&index)
            );
            assert_eq!(exists && taken.is_empty(), self.spare == Some(index));
            slots.extend(taken.iter().map(|at| (self.base + index) * CHUNK + at));
        }
        assert_eq!(slots.len(), self.len);
        slots
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::{KeyRef, Priority, RawData, StringType, UnitKey};

    fn unit() -> Unit {
        let key = KeyRef {
            bytes: b"k",
            string_type: StringType::Bytes,
        };
        Unit::new(
            UnitKey::new(key).unwrap(),
            RawData::empty_map(),
            Priority::ZERO,
        )
    }

    #[test]
    fn ids_are_never_given_out_twice_however_chunks_come_and_go() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut arena, mut slots, mut ids) = (Arena::default(), Vec::new(), HashSet::new());
        for round in 0..60 {
            while slots.len() < random.usize(..1_500) {
                let slot = arena.insert(unit());
                assert!(ids.insert(arena.id(slot)), "an id came twice");
                assert_eq!(arena.resolve(arena.id(slot)), Some(slot));
                slots.push(slot);
            }
            random.shuffle(&mut slots);
            for slot in slots.drain(random.usize(..=slots.len())..) {
                let id = arena.id(slot);
                arena.remove(slot);
                assert_eq!(arena.resolve(id), None);
            }
            arena.check();
            if round % 20 == 19 {
                (arena, slots) = (arena.successor(), Vec::new());
                assert!(ids.iter().all(|&id| arena.resolve(id).is_none()));
            }
        }
    }

    #[test]
    fn an_empty_arena_keeps_one_chunk_and_gives_back_the_others() {
        let mut arena = Arena::default();
        let slots: Vec<Slot> = (0..CHUNK * 5).map(|_| arena.insert(unit())).collect();
        slots.into_iter().for_each(|slot| drop(arena.remove(slot)));
        let existing = arena.chunks.iter().filter(|c| !c.cells.is_empty()).count();
        assert_eq!((existing, arena.len()), (1, 0));
    }

    #[test]
    fn a_cell_without_generations_left_is_not_used_again() {
        let mut arena = Arena {
            floor: u32::MAX - 1,
            ..Arena::default()
        };
        let slot = arena.insert(unit());
        arena.remove(slot);
        assert_eq!(arena.insert(unit()), slot, "one generation is left");
        arena.remove(slot);
        let other = arena.insert(unit());
        assert_ne!(other, slot);
        let successor = arena.successor();
        assert_eq!((successor.base, successor.floor), (1, 0));
        assert_eq!(successor.resolve(arena.id(other)), None);
    }

    #[test]
    fn a_cell_takes_no_more_memory_than_a_unit() {
        assert_eq!(size_of::<Cell>(), size_of::<Unit>());
    }
}
