//! A set of small numbers with "the next one from here": the eligible members of a campaign in their fixed order.
//!
//! Words of 64 bits with summary levels above them, so that insert, remove and the search for the next member cost
//! log64 n: three steps for 262,144 members.

/// Ordered set of the numbers below its length.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    /// Level 0 has one bit per number, each further level one bit per word below it; the last has one word.
    levels: Vec<Vec<u64>>,
    count: u32,
}

impl Ring {
    /// An empty set for the numbers `0..length`.
    pub(super) fn new(length: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = length.div_ceil(64).max(1);
        levels.push(vec![0; words]);
        while words > 1 {
            words = words.div_ceil(64);
            levels.push(vec![0; words]);
        }
        Self { levels, count: 0 }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        let word = self.levels.first().and_then(|words| words.get(number as usize / 64));
        word.is_some_and(|word| word & bit(number as usize) != 0)
    }

    pub(super) fn insert(&mut self, number: u32) {
        if self.contains(number) {
            return;
        }
        self.count += 1;
        let mut index = number as usize;
        for words in &mut self.levels {
            let Some(word) = words.get_mut(index / 64) else { return };
            let was_empty = *word == 0;
            *word |= bit(index);
            if !was_empty {
                return;
            }
            index /= 64;
        }
    }

    pub(super) fn remove(&mut self, number: u32) {
        if !self.contains(number) {
            return;
        }
        self.count -= 1;
        let mut index = number as usize;
        for words in &mut self.levels {
            let Some(word) = words.get_mut(index / 64) else { return };
            *word &= !bit(index);
            if *word != 0 {
                return;
            }
            index /= 64;
        }
    }

    /// The smallest member that is `from` or more.
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        let mut index = from as usize;
        for (level, words) in self.levels.iter().enumerate() {
            let word = index / 64;
            let masked = words.get(word)? & (u64::MAX << (index % 64));
            if masked != 0 {
                return self.descend(level, word * 64 + masked.trailing_zeros() as usize);
            }
            index = word + 1;
        }
        None
    }

    /// The members in cyclic order, beginning after `pointer` (at the first one without a pointer).
    pub(super) fn cycle(&self, pointer: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        let start = pointer.map_or(0, |pointer| pointer + 1);
        let mut from = start;
        let mut wrapped = false;
        let mut left = self.count;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let found = match self.next(from) {
                Some(found) => Some(found),
                None if wrapped => None,
                None => {
                    wrapped = true;
                    self.next(0)
                }
            }?;
            from = found + 1;
            Some(found)
        })
    }

    fn descend(&self, level: usize, mut index: usize) -> Option<u32> {
        for words in self.levels.iter().take(level).rev() {
            index = index * 64 + words.get(index)?.trailing_zeros() as usize;
        }
        u32::try_from(index).ok()
    }
}

fn bit(index: usize) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Ring;

    proptest! {
        #[test]
        fn agrees_with_a_plain_ordered_set(
            length in 1_usize..20_000,
            changes in prop::collection::vec((any::<bool>(), 0_u32..20_000), 0..200),
            pointer in prop::option::of(0_u32..20_000),
        ) {
            let mut ring = Ring::new(length);
            let mut model = BTreeSet::new();
            for (add, number) in changes {
                let number = number % length as u32;
                if add { ring.insert(number); model.insert(number); } else { ring.remove(number); model.remove(&number); }
            }
            let pointer = pointer.map(|pointer| pointer % length as u32);
            let start = pointer.map_or(0, |pointer| pointer + 1);
            let expected: Vec<u32> = model.range(start..).chain(model.range(..start)).copied().collect();
            prop_assert_eq!(ring.count() as usize, model.len());
            prop_assert_eq!(ring.cycle(pointer).collect::<Vec<_>>(), expected);
        }
    }
}
