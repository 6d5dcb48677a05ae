//! The eligible members of a campaign, kept in the order its mode needs.

use std::collections::BTreeSet;

use super::agent::OrderKey;
use super::campaign::Mode;
use super::random::Random;
use super::ring::Ring;

/// Marks a member who is not in the dense list.
const NOWHERE: u32 = u32::MAX;

/// Eligible members by position in the campaign's fixed order.
#[derive(Debug)]
pub(super) enum Pool {
    /// Everyone and round robin: fixed order.
    Ordered(Ring),
    /// Least busy and longest idle: by the mode's order.
    Keyed(BTreeSet<OrderKey>),
    /// Random: a dense list and where each member stands in it.
    Dense {
        /// Positions of the eligible members, in no order.
        list: Vec<u32>,
        /// Index into `list` by position.
        place: Vec<u32>,
    },
}

/// What a pool answers: the winner and the one who would have been next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) winner: u32,
    pub(super) next: Option<u32>,
}

impl Pool {
    pub(super) fn new(mode: Mode, members: usize) -> Self {
        match mode {
            Mode::Everyone | Mode::RoundRobin => Self::Ordered(Ring::new(members)),
            Mode::LeastBusy | Mode::LongestIdle => Self::Keyed(BTreeSet::new()),
            Mode::Random => Self::Dense { list: Vec::new(), place: vec![NOWHERE; members] },
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ordered(ring) => ring.count() as usize,
            Self::Keyed(set) => set.len(),
            Self::Dense { list, .. } => list.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a member under his present key.
    pub(super) fn insert(&mut self, key: OrderKey) {
        let position = key.2;
        match self {
            Self::Ordered(ring) => ring.insert(position),
            Self::Keyed(set) => {
                set.insert(key);
            }
            Self::Dense { list, place } => {
                if let Some(slot) = place.get_mut(position as usize)
                    && *slot == NOWHERE
                {
                    *slot = list.len() as u32;
                    list.push(position);
                }
            }
        }
    }

    /// Removes a member, given the key he was added under.
    pub(super) fn remove(&mut self, key: OrderKey) {
        let position = key.2;
        match self {
            Self::Ordered(ring) => ring.remove(position),
            Self::Keyed(set) => {
                set.remove(&key);
            }
            Self::Dense { list, place } => {
                let Some(slot) = place.get_mut(position as usize) else { return };
                let at = std::mem::replace(slot, NOWHERE);
                if at == NOWHERE {
                    return;
                }
                list.swap_remove(at as usize);
                if let Some(moved) = list.get(at as usize)
                    && let Some(slot) = place.get_mut(*moved as usize)
                {
                    *slot = at;
                }
            }
        }
    }

    /// The member whose turn it is among those `allowed` accepts.
    ///
    /// Members who let the item pass are stepped over one by one: a handful in practice, never more than the round has
    /// had offers, each of which took an accept timeout or a refusal by hand.
    pub(super) fn pick(
        &self,
        pointer: Option<u32>,
        random: &mut Random,
        allowed: impl Fn(u32) -> bool,
    ) -> Option<Pick> {
        match self {
            Self::Ordered(ring) => first_two(ring.cycle(pointer), allowed),
            Self::Keyed(set) => first_two(set.iter().map(|key| key.2), allowed),
            Self::Dense { list, .. } => {
                let start = random.below(list.len() as u32) as usize;
                let (before, after) = list.split_at_checked(start)?;
                first_two(after.iter().chain(before).copied(), allowed)
            }
        }
    }

    /// The eligible positions in ascending order; for views and tests.
    pub(super) fn positions(&self) -> Vec<u32> {
        let mut positions: Vec<u32> = match self {
            Self::Ordered(ring) => ring.cycle(None).collect(),
            Self::Keyed(set) => set.iter().map(|key| key.2).collect(),
            Self::Dense { list, .. } => list.clone(),
        };
        positions.sort_unstable();
        positions
    }
}

fn first_two(order: impl Iterator<Item = u32>, allowed: impl Fn(u32) -> bool) -> Option<Pick> {
    let mut order = order.filter(|position| allowed(*position));
    let winner = order.next()?;
    Some(Pick { winner, next: order.next() })
}
