//! Applies one event to the state. Total: an event that does not fit the state leaves it as it was, which the property
//! tests show never to happen for events that `decide` made.

use time::OffsetDateTime;

use super::delivery::DeliveryState;
use super::event::Event;
use super::keys::{TagKey, UserKey};
use super::state::{Attention, Demand, Direction, Interaction, MessageKind, Offer, Phase, Stage};
use super::transfer;

/// The state after `event`; every event raises the attention's sequence by one.
pub fn evolve(state: Option<Attention>, event: &Event) -> Option<Attention> {
    let Some(mut attention) = state else { return begin(event) };
    attention.sequence += 1;
    match event {
        Event::AttentionOpened { .. } => {}
        Event::AttentionLinked { to } => attention.linked = Some(*to),
        Event::AttentionTagged { tag, on } => tagged(&mut attention, tag, *on),
        Event::ContactChanged { contact } => {
            attention.contact = *contact;
            change(&mut attention, |_| {});
        }
        Event::AttentionClosed { at, because: _ } => attention.phase = Phase::Closed { at: *at },
        Event::InteractionQueued { .. } => queue(&mut attention, event),
        Event::MessageReceived { message: _, begins } => {
            attention.messages += 1;
            if !begins {
                change(&mut attention, |interaction| interaction.message_count += 1);
            }
        }
        Event::MessageQueued { message } | Event::NoteAdded { message } => {
            attention.messages += 1;
            if let MessageKind::Outbound { .. } = message.kind {
                attention.sends += 1;
            }
            change(&mut attention, |interaction| interaction.message_count += 1);
        }
        Event::MessageStatusChanged { message } => {
            // Only a repetition leads back to the queue: it is a send of its own.
            if message.kind == (MessageKind::Outbound { delivery: DeliveryState::Queued }) {
                attention.sends += 1;
            }
            change(&mut attention, |_| {});
        }
        Event::WindowExpiryAnnounced { ends_at } => {
            attention.window_ends_at = Some(*ends_at);
            change(&mut attention, |_| {});
        }
        Event::MessageChanged { .. } => change(&mut attention, |_| {}),
        Event::FormSaved | Event::InteractionTransferredIn { because: _ } => change(&mut attention, |_| {}),
        Event::InteractionOffered { offer, because: _ } => {
            change(&mut attention, |i| i.stage = offered(&i.stage, offer))
        }
        Event::OfferWithdrawn { passed_by, rings_on, .. } => {
            change(&mut attention, |i| i.stage = withdrawn(&i.stage, passed_by.as_ref(), *rings_on));
        }
        Event::InteractionOverflowed => change(&mut attention, overflow),
        Event::InteractionTransferredOut { from, to, at, because } => {
            attention.campaign = to.clone();
            change(&mut attention, |interaction| transfer::moved(interaction, from, to, *at, *because));
        }
        Event::InteractionOpened { agent, at, because: _ } => change(&mut attention, |i| {
            i.stage = Stage::Open { agent: agent.clone(), opened_at: *at };
        }),
        Event::InteractionReleased { agent, at, because: _ } => {
            change(&mut attention, |i| enqueue(i, *at, vec![agent.clone()]));
        }
        Event::InteractionOrphaned { agent: _, at } => {
            change(&mut attention, |i| enqueue(i, *at, Vec::new()));
        }
        Event::InteractionReopened { agent, at } => {
            attention.phase = Phase::Open;
            change(&mut attention, |i| i.stage = Stage::Open { agent: agent.clone(), opened_at: *at });
        }
        Event::InteractionStarted { .. } => start(&mut attention, event),
        Event::InteractionEnded { at, closes } => {
            change(&mut attention, |i| i.stage = ended(&i.stage, *at, *closes));
        }
    }
    Some(attention)
}

/// Only an opening makes something out of nothing.
fn begin(event: &Event) -> Option<Attention> {
    let Event::AttentionOpened { opening, campaign, waits } = event else { return None };
    Some(Attention {
        id: opening.attention,
        number: opening.number,
        channel: opening.channel,
        account: opening.account.clone(),
        campaign: campaign.clone(),
        contact: opening.contact,
        linked: opening.linked,
        sequence: 1,
        messages: 0,
        sends: 0,
        interactions: 0,
        phase: if *waits { Phase::Waiting } else { Phase::Open },
        window_ends_at: None,
        tags: Vec::new(),
        interaction: None,
    })
}

fn queue(attention: &mut Attention, event: &Event) {
    let Event::InteractionQueued { interaction, direction, campaign, waiting_since, queued_at } = event
    else {
        return;
    };
    let before = wakes(attention);
    attention.interactions += 1;
    attention.campaign = campaign.clone();
    attention.interaction = Some(Interaction {
        id: *interaction,
        ordinal: attention.interactions,
        version: 1,
        direction: *direction,
        campaign: campaign.clone(),
        waiting_since: *waiting_since,
        queued_at: *queued_at,
        priority: 0,
        message_count: before + 1,
        demand: Demand::default(),
        stage: Stage::Queued {
            offer: None,
            overflowed: false,
            passed_by: Vec::new(),
            overflowed_from: Vec::new(),
        },
    });
}

fn start(attention: &mut Attention, event: &Event) {
    let Event::InteractionStarted { interaction, campaign, agent, at } = event else { return };
    let before = wakes(attention);
    attention.interactions += 1;
    attention.campaign = campaign.clone();
    attention.interaction = Some(Interaction {
        id: *interaction,
        ordinal: attention.interactions,
        version: 1,
        direction: Direction::Outbound,
        campaign: campaign.clone(),
        waiting_since: *at,
        queued_at: *at,
        priority: 0,
        message_count: before,
        demand: Demand::default(),
        stage: Stage::Open { agent: agent.clone(), opened_at: *at },
    });
}

/// A waiting attention becomes an open one; answers how many messages it has, which are its first interaction's from now on.
fn wakes(attention: &mut Attention) -> i32 {
    match attention.phase {
        Phase::Waiting => {
            attention.phase = Phase::Open;
            i32::try_from(attention.messages).unwrap_or(i32::MAX)
        }
        Phase::Open | Phase::Closed { .. } => 0,
    }
}

fn tagged(attention: &mut Attention, tag: &TagKey, on: bool) {
    attention.tags.retain(|known| known != tag);
    if on {
        attention.tags.push(tag.clone());
        attention.tags.sort_unstable();
    }
    change(attention, |_| {});
}

/// From here on everybody of the campaign is asked, also who let an offer pass.
fn overflow(interaction: &mut Interaction) {
    if let Stage::Queued { overflowed, passed_by, .. } = &mut interaction.stage {
        *overflowed = true;
        passed_by.clear();
    }
}

/// Into the queue: the overflow clock starts anew, the customer's waiting goes on.
fn enqueue(interaction: &mut Interaction, at: OffsetDateTime, passed_by: Vec<UserKey>) {
    interaction.queued_at = at;
    interaction.stage =
        Stage::Queued { offer: None, overflowed: false, passed_by, overflowed_from: Vec::new() };
}

/// Raises the version of the addressed interaction and changes it.
fn change(attention: &mut Attention, with: impl FnOnce(&mut Interaction)) {
    if let Some(interaction) = &mut attention.interaction {
        interaction.version += 1;
        with(interaction);
    }
}

/// An offer to somebody who let one pass begins a new round: all did.
fn offered(stage: &Stage, offer: &Offer) -> Stage {
    match stage {
        Stage::Queued { overflowed, passed_by, overflowed_from, .. } => {
            let again = offer.agent.as_ref().is_none_or(|agent| passed_by.contains(agent));
            let passed_by = if again { Vec::new() } else { passed_by.clone() };
            Stage::Queued {
                offer: Some(offer.clone()),
                overflowed: *overflowed,
                passed_by,
                overflowed_from: overflowed_from.clone(),
            }
        }
        Stage::Open { .. } | Stage::Ended { .. } => stage.clone(),
    }
}

fn withdrawn(stage: &Stage, by: Option<&UserKey>, rings_on: bool) -> Stage {
    match stage {
        Stage::Queued { offer, overflowed, passed_by, overflowed_from } => {
            let mut passed_by = passed_by.clone();
            if let Some(agent) = by
                && !passed_by.contains(agent)
            {
                passed_by.push(agent.clone());
            }
            let offer = if rings_on { offer.clone() } else { None };
            let (overflowed, overflowed_from) = (*overflowed, overflowed_from.clone());
            Stage::Queued { offer, overflowed, passed_by, overflowed_from }
        }
        Stage::Open { .. } | Stage::Ended { .. } => stage.clone(),
    }
}

fn ended(stage: &Stage, at: OffsetDateTime, closes: bool) -> Stage {
    match stage {
        Stage::Open { agent, opened_at } => Stage::Ended {
            agent: agent.clone(),
            opened_at: *opened_at,
            ended_at: at,
            closed_attention: closes,
        },
        Stage::Queued { .. } | Stage::Ended { .. } => stage.clone(),
    }
}
