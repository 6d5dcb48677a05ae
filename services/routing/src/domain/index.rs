//! Where an interaction's item is: an open-addressed table of eight bytes per entry.
//!
//! Half a million entries take eight megabytes and a look-up touches one cache line before the item itself, which is
//! what keeps the cost with a long queue close to the cost with a short one; the standard map takes three times that.

/// An entry: half of the id's hash, and the slot. A slot of `EMPTY` marks a free place.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    slot: u32,
}

const EMPTY: u32 = u32::MAX;
const FREE: Entry = Entry { hash: 0, slot: EMPTY };
/// The table doubles when more than this share (of 8) is taken.
const FULLEST_OF_EIGHT: usize = 6;
const SMALLEST: usize = 64;

/// The table. It never stores the ids: the caller says whether a slot holds the one that is looked for.
#[derive(Debug)]
pub(super) struct Index {
    entries: Vec<Entry>,
    taken: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { entries: vec![FREE; SMALLEST], taken: 0 }
    }
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    /// The slot stored under this hash for which `is_it` holds.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.place(hash, is_it).and_then(|place| self.entries.get(place)).map(|entry| entry.slot)
    }

    /// Adds a slot that is not in the table.
    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        if (self.taken + 1) * 8 > self.entries.len() * FULLEST_OF_EIGHT {
            let grown = vec![FREE; self.entries.len() * 2];
            let old = std::mem::replace(&mut self.entries, grown);
            old.into_iter().filter(|entry| entry.slot != EMPTY).for_each(|entry| self.put(entry));
        }
        self.put(Entry { hash, slot });
        self.taken += 1;
    }

    /// Removes a slot and moves up those behind it, so that no tombstones remain.
    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        let Some(mut hole) = self.place(hash, |candidate| candidate == slot) else { return };
        self.taken -= 1;
        let mask = self.mask();
        let mut next = (hole + 1) & mask;
        while let Some(entry) = self.entries.get(next).copied()
            && entry.slot != EMPTY
        {
            let home = entry.hash as usize & mask;
            // It may move into the hole when the hole lies between its home and its place, in cyclic order.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.write(hole, entry);
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.write(hole, FREE);
    }

    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    fn place(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        let mask = self.mask();
        let mut place = hash as usize & mask;
        loop {
            let entry = self.entries.get(place)?;
            if entry.slot == EMPTY {
                return None;
            }
            if entry.hash == hash && is_it(entry.slot) {
                return Some(place);
            }
            place = (place + 1) & mask;
        }
    }

    fn put(&mut self, entry: Entry) {
        let mask = self.mask();
        let mut place = entry.hash as usize & mask;
        while self.entries.get(place).is_some_and(|entry| entry.slot != EMPTY) {
            place = (place + 1) & mask;
        }
        self.write(place, entry);
    }

    fn write(&mut self, place: usize, entry: Entry) {
        if let Some(target) = self.entries.get_mut(place) {
            *target = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Index;

    proptest! {
        /// Few distinct hashes, so that runs, wraps and moves happen all the time.
        #[test]
        fn agrees_with_a_plain_map(changes in prop::collection::vec((any::<bool>(), 0_u32..200), 0..600)) {
            let hash_of = |slot: u32| (slot % 13).wrapping_mul(0x9E37_79B9);
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for (add, slot) in changes {
                if add && !model.contains_key(&slot) {
                    index.insert(hash_of(slot), slot);
                    model.insert(slot, ());
                } else if !add && model.remove(&slot).is_some() {
                    index.remove(hash_of(slot), slot);
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for slot in 0..200 {
                let found = index.find(hash_of(slot), |candidate| candidate == slot);
                prop_assert_eq!(found.is_some(), model.contains_key(&slot));
            }
        }
    }
}
