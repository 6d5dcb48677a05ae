//! The move of an interaction to the queue of another campaign: two events, out under the old campaign and in, with the
//! full state, under the new one.

use time::OffsetDateTime;

use super::event::{Event, Handover};
use super::keys::CampaignKey;
use super::state::{Demand, Interaction, Stage};

/// The events of a move, in order. An offer that rings must have been withdrawn before.
pub(super) fn events(
    from: &CampaignKey,
    to: &CampaignKey,
    because: Handover,
    at: OffsetDateTime,
) -> [Event; 2] {
    [
        Event::InteractionTransferredOut { from: from.clone(), to: to.clone(), at, because },
        Event::InteractionTransferredIn { because },
    ]
}

/// The interaction after the move: queued anew, while the customer's wait goes on. Only an overflow remembers where it
/// came from, so that a chain of overflows visits each campaign at most once.
pub(super) fn moved(
    interaction: &mut Interaction,
    from: &CampaignKey,
    to: &CampaignKey,
    at: OffsetDateTime,
    because: Handover,
) {
    let overflowed_from = match (because, &interaction.stage) {
        (Handover::Overflow, Stage::Queued { overflowed_from, .. }) => {
            overflowed_from.iter().chain([from]).cloned().collect()
        }
        (Handover::Overflow, Stage::Open { .. } | Stage::Ended { .. }) => vec![from.clone()],
        (Handover::Released | Handover::Transferred | Handover::Reassigned, _) => Vec::new(),
    };
    interaction.campaign = to.clone();
    interaction.queued_at = at;
    // What it asks for in the new one is fixed as it is written.
    interaction.demand = Demand::default();
    interaction.stage =
        Stage::Queued { offer: None, overflowed: false, passed_by: Vec::new(), overflowed_from };
}
