//! The domain as a text table of every state and command, and properties over random courses of commands.

mod chat;
mod course;
mod table;

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::*;

/// The day on which all tests happen.
pub(super) fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::seconds(seconds)
}

pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(super) fn user(key: &str) -> UserKey {
    UserKey::new(key)
}

pub(super) fn inbound(number: u128) -> MessageSummary {
    MessageSummary {
        id: MessageId(id(number)),
        occurred_at: at(0),
        attachments: 0,
        kind: MessageKind::Inbound { class: Some(MailClass::Human), sender_verified: true },
    }
}

pub(super) fn outbound(number: u128, delivery: DeliveryState) -> MessageSummary {
    MessageSummary { kind: MessageKind::Outbound { delivery }, ..inbound(number) }
}

pub(super) fn note(number: u128) -> MessageSummary {
    MessageSummary { kind: MessageKind::Note, ..inbound(number) }
}

/// Rings at an agent, by a person's hand.
pub(super) fn to_agent(number: u128, agent: &str) -> Destination {
    Destination::Agent { offer: OfferId(id(number)), agent: user(agent), deadline_at: at(30) }
}

pub(super) fn to_campaign(key: &str) -> Destination {
    Destination::Campaign(CampaignKey::new(key))
}

pub(super) fn start(number: u128, agent: &str) -> Command {
    Command::Start {
        opening: opening(),
        campaign: CampaignKey::new("ventas"),
        interaction: InteractionId(id(number + 500_000)),
        agent: user(agent),
        message: outbound(number, DeliveryState::Queued),
    }
}

fn opening() -> Opening {
    Opening {
        attention: AttentionId(id(1)),
        number: 5804,
        channel: Channel::Email,
        account: AccountKey::new("correo"),
        contact: ContactId(id(2)),
        linked: None,
    }
}

pub(super) fn dial(number: u128) -> Command {
    Command::Dial {
        opening: Opening { channel: Channel::Whatsapp, ..opening() },
        campaign: CampaignKey::new("ventas"),
        message: outbound(number, DeliveryState::Queued),
    }
}

pub(super) fn take_over(number: u128, agent: &str) -> Command {
    Command::TakeOver {
        interaction: InteractionId(id(number + 500_000)),
        campaign: CampaignKey::new("ventas"),
        agent: user(agent),
        message: outbound(number, DeliveryState::Queued),
    }
}

pub(super) fn receive(number: u128) -> Command {
    Command::ReceiveMessage {
        message: inbound(number),
        waiting_since: at(0),
        interaction: InteractionId(id(number + 500_000)),
        campaign: CampaignKey::new("ventas"),
        opening: Some(opening()),
    }
}
