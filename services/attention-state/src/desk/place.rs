//! Where each interaction stands among those of its attention ("1 of 14"), and who answers its messages now.

use std::collections::HashSet;

use hilo_proto::attention::v1::{InteractionPlace, MessagesAt};
use uuid::Uuid;

use crate::attention::store::LoadedInteraction;

/// Places of all interactions of one attention, given by ordinal, of which `gone` have left the live store.
pub(super) fn places(interactions: &[LoadedInteraction], gone: &[Uuid]) -> Vec<InteractionPlace> {
    let ids: Vec<Uuid> = interactions.iter().map(|one| one.interaction.id.uuid()).collect();
    in_order(&ids, &gone.iter().copied().collect())
}

fn in_order(ids: &[Uuid], gone: &HashSet<Uuid>) -> Vec<InteractionPlace> {
    let count = i32::try_from(ids.len()).unwrap_or(i32::MAX);
    let named = |at: Option<usize>| at.and_then(|at| ids.get(at)).map(Uuid::to_string).unwrap_or_default();
    ids.iter()
        .zip(1..)
        .enumerate()
        .map(|(at, (id, ordinal))| InteractionPlace {
            interaction_id: id.to_string(),
            ordinal,
            count,
            previous_interaction_id: named(at.checked_sub(1)),
            next_interaction_id: named(at.checked_add(1)),
            messages_at: if gone.contains(id) { MessagesAt::History } else { MessagesAt::Live }.into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_named_and_ends_have_one() {
        let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let places = in_order(&ids, &HashSet::from([Uuid::from_u128(1)]));
        let shown: Vec<(i32, i32, String, String, MessagesAt)> = places
            .into_iter()
            .map(|one| {
                let at = one.messages_at();
                (one.ordinal, one.count, one.previous_interaction_id, one.next_interaction_id, at)
            })
            .collect();
        let id = |number: usize| ids[number - 1].to_string();
        assert_eq!(
            shown,
            [
                (1, 3, String::new(), id(2), MessagesAt::History),
                (2, 3, id(1), id(3), MessagesAt::Live),
                (3, 3, id(2), String::new(), MessagesAt::Live),
            ]
        );
        assert!(in_order(&[], &HashSet::new()).is_empty());
    }
}
