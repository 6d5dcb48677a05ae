//! The domain as a text table of every state and command, and properties over random courses of commands.

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

pub(super) fn receive(number: u128) -> Command {
    Command::ReceiveMessage {
        message: inbound(number),
        waiting_since: at(0),
        interaction: InteractionId(id(number + 500_000)),
        campaign: CampaignKey::new("ventas"),
        opening: Some(Opening {
            attention: AttentionId(id(1)),
            number: 5804,
            channel: Channel::Email,
            account: AccountKey::new("correo"),
            contact: ContactId(id(2)),
            linked: None,
        }),
    }
}
