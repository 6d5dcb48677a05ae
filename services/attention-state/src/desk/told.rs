//! What desks of this replica were told last of an interaction. An item is read as it is now, not as it was after the event, so of
//! the events that one transaction wrote the first brings the whole change and the others need no reading.

use std::collections::HashMap;

use uuid::Uuid;

/// Interactions remembered; about twice as many are kept. What is forgotten is only read once more.
const REMEMBERED: usize = 8_192;

/// An interaction's version, and the campaign whose desks were told of it.
type Last = (i64, String);

/// The last versions told, newest last.
#[derive(Debug, Default)]
pub(super) struct Told {
    young: HashMap<Uuid, Last>,
    old: HashMap<Uuid, Last>,
}

impl Told {
    /// Notes what is being told.
    pub(super) fn note(&mut self, interaction: Uuid, version: i64, campaign: &str) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(interaction, (version, campaign.to_owned()));
    }

    /// True when the desks of the campaign were told of this version or a later one.
    pub(super) fn holds(&self, interaction: Uuid, version: i64, campaign: &str) -> bool {
        let last = self.young.get(&interaction).or_else(|| self.old.get(&interaction));
        last.is_some_and(|(told, to)| *told >= version && to == campaign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_same_campaign_was_told_of_is_held() {
        let (mut told, id) = (Told::default(), Uuid::from_u128(1));
        assert!(!told.holds(id, 1, "a"));
        told.note(id, 3, "a");
        for (version, campaign, holds) in [(2, "a", true), (3, "a", true), (4, "a", false), (3, "b", false)] {
            assert_eq!(told.holds(id, version, campaign), holds, "{version} {campaign}");
        }
        told.note(id, 4, "b");
        assert!(!told.holds(id, 3, "a"), "those it left are told again");
        assert!(told.holds(id, 4, "b"));
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let mut told = Told::default();
        for number in 0..3 * REMEMBERED {
            told.note(Uuid::from_u128(number as u128), 1, "a");
        }
        assert!(told.young.len() + told.old.len() <= 2 * REMEMBERED);
        assert!(!told.holds(Uuid::from_u128(0), 1, "a"));
        assert!(told.holds(Uuid::from_u128(3 * REMEMBERED as u128 - 1), 1, "a"));
    }
}
