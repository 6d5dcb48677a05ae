//! How far the events of each attention have been seen: duplicates are ignored, gaps are noticed.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::domain::InteractionId;

/// Attentions without a live item that are still remembered, so that a late duplicate does not bring an item back. One
/// that comes later still is refused by attention-state, which then corrects the view.
const REMEMBERED: usize = 100_000;

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Seen before, or contained in a state seen before.
    Old,
    /// The next one, or the first of an attention that was not known.
    Next,
    /// At least one event before it has not come.
    Gap,
}

#[derive(Debug)]
struct Known {
    sequence: i64,
    /// Sequence of the newest state of its interactions that was taken over; 0 for none.
    stated: i64,
    /// Its live item here.
    live: Option<InteractionId>,
}

/// Last sequence per attention.
#[derive(Debug, Default)]
pub struct Attentions {
    known: HashMap<Uuid, Known>,
    ended: VecDeque<Uuid>,
}

impl Attentions {
    /// Notes an event and says where it stands.
    pub fn arrived(&mut self, attention: Uuid, sequence: i64) -> Place {
        let Some(known) = self.known.get_mut(&attention) else {
            self.contains(attention, sequence);
            return Place::Next;
        };
        if sequence <= known.sequence {
            return Place::Old;
        }
        let next = sequence == known.sequence + 1;
        known.sequence = sequence;
        if next { Place::Next } else { Place::Gap }
    }

    /// Notes a state that contains all events up to `sequence`.
    pub fn contains(&mut self, attention: Uuid, sequence: i64) {
        match self.known.get_mut(&attention) {
            Some(known) => known.sequence = known.sequence.max(sequence),
            None => {
                self.known.insert(attention, Known { sequence, stated: 0, live: None });
                self.may_be_forgotten(attention);
            }
        }
    }

    /// Notes that the state of its interaction as of `sequence` was taken over.
    pub fn stated(&mut self, attention: Uuid, sequence: i64) {
        if let Some(known) = self.known.get_mut(&attention) {
            known.stated = known.stated.max(sequence);
        }
    }

    /// True when a state newer than `sequence` was taken over: an answer or a page that was read before an event, and
    /// comes after it, must not bring back an item that has ended meanwhile.
    pub fn is_superseded(&self, attention: Uuid, sequence: i64) -> bool {
        self.known.get(&attention).is_some_and(|known| sequence < known.stated)
    }

    /// The attention has this live item here.
    pub fn holds(&mut self, attention: Uuid, interaction: InteractionId) {
        if let Some(known) = self.known.get_mut(&attention) {
            known.live = Some(interaction);
        }
    }

    /// The attention has no live item here (any more).
    pub fn ended(&mut self, attention: Uuid) {
        if self.known.get_mut(&attention).is_some_and(|known| known.live.take().is_some()) {
            self.may_be_forgotten(attention);
        }
    }

    /// The attention's live item here.
    pub fn live_item(&self, attention: Uuid) -> Option<InteractionId> {
        self.known.get(&attention)?.live
    }

    fn may_be_forgotten(&mut self, attention: Uuid) {
        self.ended.push_back(attention);
        while self.ended.len() > REMEMBERED {
            let Some(oldest) = self.ended.pop_front() else { return };
            if self.known.get(&oldest).is_some_and(|known| known.live.is_none()) {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_gaps_are_told_apart() {
        let mut attentions = Attentions::default();
        let id = Uuid::from_u128(1);
        assert_eq!(attentions.arrived(id, 3), Place::Next);
        assert_eq!(attentions.arrived(id, 3), Place::Old);
        assert_eq!(attentions.arrived(id, 4), Place::Next);
        assert_eq!(attentions.arrived(id, 6), Place::Gap);
        attentions.contains(id, 9);
        assert_eq!(attentions.arrived(id, 8), Place::Old);
        assert_eq!(attentions.arrived(id, 10), Place::Next);
        attentions.holds(id, InteractionId(7));
        assert_eq!(attentions.live_item(id), Some(InteractionId(7)));
        attentions.ended(id);
        assert_eq!(attentions.live_item(id), None);
        assert_eq!(attentions.arrived(id, 10), Place::Old, "remembered for a while after the end");
    }

    #[test]
    fn an_event_without_a_state_supersedes_nothing() {
        let mut attentions = Attentions::default();
        let id = Uuid::from_u128(1);
        attentions.arrived(id, 5);
        assert!(!attentions.is_superseded(id, 4), "the page of 4 is all that is known of its item");
        attentions.stated(id, 5);
        assert!(attentions.is_superseded(id, 4));
        assert!(!attentions.is_superseded(id, 5));
    }

    #[test]
    fn what_has_ended_is_forgotten_in_the_end() {
        let mut attentions = Attentions::default();
        for number in 0..(REMEMBERED as u128 + 10) {
            attentions.arrived(Uuid::from_u128(number), 1);
            attentions.holds(Uuid::from_u128(number), InteractionId(number));
            attentions.ended(Uuid::from_u128(number));
        }
        assert!(attentions.known.len() <= REMEMBERED);
    }
}
