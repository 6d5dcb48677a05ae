//! Domain events as the world sees them: `hilo.event.v1.AttentionEvent`, state after the event, no bodies or addresses.

use hilo_kit::clock::to_proto;
use hilo_proto::event::v1::{
    AttentionEvent, AttentionState, Direction as ProtoDirection, EventType, InteractionSnapshot,
    InteractionState, MessageSummary as ProtoMessage, OfferSnapshot,
};
use time::OffsetDateTime;

use super::domain::{
    Attention, CampaignKey, Direction, Event, Happened, Interaction, MailClass, MessageKind, MessageSummary,
    Offer, Phase, Stage, TagKey, UserKey,
};

/// The event as published: `at` is the instant of the transaction, `actor` the person who caused it.
pub(crate) fn event(happened: &Happened, at: OffsetDateTime, actor: Option<&UserKey>) -> AttentionEvent {
    let after = &happened.after;
    let interaction = of_interaction(&happened.event).then_some(after.interaction.as_ref()).flatten();
    let campaign = interaction.map_or(&after.campaign, |interaction| &interaction.campaign);
    AttentionEvent {
        r#type: event_type(&happened.event).into(),
        attention_id: after.id.to_string(),
        attention_number: after.number,
        sequence: after.sequence,
        occurred_at: Some(to_proto(at)),
        attention_state: attention_state(after).into(),
        channel: after.channel.word().to_owned(),
        account_key: after.account.to_string(),
        campaign_key: told_to(&happened.event).unwrap_or(campaign).to_string(),
        linked_attention_id: after.linked.map(|id| id.to_string()).unwrap_or_default(),
        contact_id: after.contact.to_string(),
        interaction: interaction.map(snapshot),
        message: message_of(&happened.event).map(message),
        actor_key: actor.map(UserKey::to_string).unwrap_or_default(),
        reason: reason(&happened.event).to_owned(),
        out_of_hours: false,
        tags: after.tags.iter().map(TagKey::to_string).collect(),
        window_ends_at: after.window_ends_at.map(to_proto),
    }
}

/// The public type of an event.
pub(crate) fn event_type(event: &Event) -> EventType {
    match event {
        Event::AttentionOpened { .. } => EventType::AttentionOpened,
        Event::AttentionLinked { .. } => EventType::AttentionLinked,
        Event::AttentionTagged { .. } => EventType::AttentionTagged,
        Event::ContactChanged { .. } => EventType::ContactChanged,
        Event::AttentionClosed { .. } => EventType::AttentionClosed,
        Event::InteractionQueued { .. } => EventType::InteractionQueued,
        Event::MessageReceived { .. } => EventType::MessageReceived,
        Event::InteractionOffered { .. } => EventType::InteractionOffered,
        Event::OfferWithdrawn { .. } => EventType::OfferWithdrawn,
        Event::InteractionOverflowed => EventType::InteractionOverflowed,
        Event::InteractionTransferredOut { .. } => EventType::InteractionTransferredOut,
        Event::InteractionTransferredIn { .. } => EventType::InteractionTransferredIn,
        Event::InteractionOpened { .. } => EventType::InteractionOpened,
        Event::InteractionReleased { .. } => EventType::InteractionReleased,
        Event::MessageQueued { .. } => EventType::MessageQueued,
        Event::MessageStatusChanged { .. } => EventType::MessageStatusChanged,
        Event::FormSaved => EventType::FormSaved,
        Event::InteractionEnded { .. } => EventType::InteractionEnded,
        Event::InteractionReopened { .. } => EventType::InteractionReopened,
        Event::InteractionStarted { .. } => EventType::InteractionStarted,
        Event::InteractionOrphaned { .. } => EventType::InteractionOrphaned,
        Event::NoteAdded { .. } => EventType::NoteAdded,
        Event::WindowExpiryAnnounced { .. } => EventType::WindowExpiryAnnounced,
        Event::MessageChanged { .. } => EventType::MessageChanged,
    }
}

/// The last token of the subject and of the CloudEvents type: the enum's name in snake case, without its prefix.
pub(crate) fn event_name(event_type: EventType) -> String {
    let name = event_type.as_str_name();
    name.strip_prefix("EVENT_TYPE_").unwrap_or(name).to_ascii_lowercase()
}

/// The campaign whose readers are told, where that is not the one the interaction is in after the event.
fn told_to(event: &Event) -> Option<&CampaignKey> {
    if let Event::InteractionTransferredOut { from, .. } = event { Some(from) } else { None }
}

/// True when the event is about the addressed interaction, so that the snapshot belongs to it.
fn of_interaction(event: &Event) -> bool {
    match event {
        Event::AttentionOpened { .. } | Event::AttentionLinked { .. } => false,
        Event::AttentionClosed { .. }
        | Event::AttentionTagged { .. }
        | Event::ContactChanged { .. }
        | Event::InteractionQueued { .. }
        | Event::MessageReceived { .. }
        | Event::InteractionOffered { .. }
        | Event::OfferWithdrawn { .. }
        | Event::InteractionOverflowed
        | Event::InteractionTransferredOut { .. }
        | Event::InteractionTransferredIn { .. }
        | Event::InteractionOpened { .. }
        | Event::InteractionReleased { .. }
        | Event::MessageQueued { .. }
        | Event::MessageStatusChanged { .. }
        | Event::FormSaved
        | Event::InteractionEnded { .. }
        | Event::InteractionReopened { .. }
        | Event::InteractionStarted { .. }
        | Event::InteractionOrphaned { .. }
        | Event::NoteAdded { .. }
        | Event::WindowExpiryAnnounced { .. }
        | Event::MessageChanged { .. } => true,
    }
}

fn message_of(event: &Event) -> Option<&MessageSummary> {
    match event {
        Event::MessageReceived { message, .. }
        | Event::MessageQueued { message }
        | Event::MessageStatusChanged { message }
        | Event::NoteAdded { message }
        | Event::MessageChanged { message, .. } => Some(message),
        Event::AttentionOpened { .. }
        | Event::AttentionLinked { .. }
        | Event::AttentionTagged { .. }
        | Event::ContactChanged { .. }
        | Event::AttentionClosed { .. }
        | Event::InteractionQueued { .. }
        | Event::InteractionOffered { .. }
        | Event::OfferWithdrawn { .. }
        | Event::InteractionOverflowed
        | Event::InteractionTransferredOut { .. }
        | Event::InteractionTransferredIn { .. }
        | Event::InteractionOpened { .. }
        | Event::InteractionReleased { .. }
        | Event::FormSaved
        | Event::InteractionEnded { .. }
        | Event::InteractionReopened { .. }
        | Event::InteractionStarted { .. }
        | Event::InteractionOrphaned { .. }
        | Event::WindowExpiryAnnounced { .. } => None,
    }
}

fn reason(event: &Event) -> &'static str {
    match event {
        Event::OfferWithdrawn { because, .. } => because.word(),
        Event::InteractionOffered { because, .. } => because.word(),
        Event::InteractionOpened { because, .. } => because.word(),
        Event::MessageChanged { because, .. } => because.word(),
        Event::AttentionClosed { because, .. } => because.word(),
        Event::InteractionReleased { because, .. }
        | Event::InteractionTransferredOut { because, .. }
        | Event::InteractionTransferredIn { because } => because.word(),
        Event::AttentionTagged { on, .. } => match on {
            true => "tagged",
            false => "untagged",
        },
        Event::AttentionOpened { .. }
        | Event::AttentionLinked { .. }
        | Event::ContactChanged { .. }
        | Event::InteractionQueued { .. }
        | Event::MessageReceived { .. }
        | Event::InteractionOverflowed
        | Event::MessageQueued { .. }
        | Event::MessageStatusChanged { .. }
        | Event::FormSaved
        | Event::InteractionEnded { .. }
        | Event::InteractionReopened { .. }
        | Event::InteractionStarted { .. }
        | Event::InteractionOrphaned { .. }
        | Event::NoteAdded { .. }
        | Event::WindowExpiryAnnounced { .. } => "",
    }
}

/// State of an attention as published.
pub(crate) fn attention_state(attention: &Attention) -> AttentionState {
    match attention.phase {
        Phase::Waiting => AttentionState::Waiting,
        Phase::Open => AttentionState::Open,
        Phase::Closed { .. } => AttentionState::Closed,
    }
}

/// An interaction as published.
pub(crate) fn snapshot(interaction: &Interaction) -> InteractionSnapshot {
    let mut snapshot = InteractionSnapshot {
        interaction_id: interaction.id.to_string(),
        version: interaction.version,
        ordinal: interaction.ordinal,
        direction: direction(interaction.direction).into(),
        campaign_key: interaction.campaign.to_string(),
        waiting_since: Some(to_proto(interaction.waiting_since)),
        queued_at: Some(to_proto(interaction.queued_at)),
        priority: interaction.priority,
        message_count: interaction.message_count,
        // As the contract has it, left out where it is 1.
        weight: if interaction.demand.weight == 1 { 0 } else { interaction.demand.weight },
        vip: interaction.demand.vip,
        ..InteractionSnapshot::default()
    };
    if let Some(preferred) = &interaction.demand.preferred {
        snapshot.preferred_agent_key = preferred.agent.to_string();
        snapshot.preferred_until = Some(to_proto(preferred.until));
    }
    match &interaction.stage {
        Stage::Queued { offer, overflowed, passed_by, overflowed_from } => {
            snapshot.state = InteractionState::Queued.into();
            snapshot.offer = offer.as_ref().map(offer_snapshot);
            snapshot.overflowed = *overflowed;
            snapshot.passed_by = passed_by.iter().map(UserKey::to_string).collect();
            snapshot.overflowed_from = overflowed_from.iter().map(CampaignKey::to_string).collect();
        }
        Stage::Open { agent, opened_at } => {
            snapshot.state = InteractionState::Open.into();
            snapshot.agent_key = agent.to_string();
            snapshot.opened_at = Some(to_proto(*opened_at));
        }
        Stage::Ended { agent, opened_at, ended_at, closed_attention: _ } => {
            snapshot.state = InteractionState::Ended.into();
            snapshot.agent_key = agent.to_string();
            snapshot.opened_at = Some(to_proto(*opened_at));
            snapshot.ended_at = Some(to_proto(*ended_at));
        }
    }
    snapshot
}

fn offer_snapshot(offer: &Offer) -> OfferSnapshot {
    OfferSnapshot {
        offer_id: offer.id.to_string(),
        agent_key: offer.agent.as_ref().map(UserKey::to_string).unwrap_or_default(),
        offered_at: Some(to_proto(offer.offered_at)),
        deadline_at: offer.deadline_at.map(to_proto),
        sender_key: offer.sender.as_ref().map(UserKey::to_string).unwrap_or_default(),
    }
}

/// A direction as published.
pub(crate) fn direction(direction: Direction) -> ProtoDirection {
    match direction {
        Direction::Inbound => ProtoDirection::Inbound,
        Direction::Outbound => ProtoDirection::Outbound,
    }
}

fn message(message: &MessageSummary) -> ProtoMessage {
    let (direction, delivery_state, mail_class, sender_verified) = match message.kind {
        MessageKind::Inbound { class, sender_verified } => {
            (ProtoDirection::Inbound, "", class.map_or("", MailClass::word), sender_verified)
        }
        MessageKind::Outbound { delivery } => (ProtoDirection::Outbound, delivery.word(), "", true),
        MessageKind::Note => (ProtoDirection::Outbound, "", "", true),
    };
    ProtoMessage {
        message_id: message.id.to_string(),
        direction: direction.into(),
        delivery_state: delivery_state.to_owned(),
        occurred_at: Some(to_proto(message.occurred_at)),
        attachment_count: message.attachments,
        mail_class: mail_class.to_owned(),
        sender_verified,
        internal: message.kind == MessageKind::Note,
    }
}
