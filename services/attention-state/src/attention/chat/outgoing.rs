//! An item of ours as it is committed: its row in the thread, the key by which reports find it, its row of OUTBOUND. One way for
//! whoever composed it: an agent who answers or writes first, a dialer.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_kit::outbox::{OutboxRow, append};
use hilo_proto::history::v1::WhatsAppItem;
use hilo_proto::inbound::v1::{WhatsAppContext, WhatsAppIdentity};
use hilo_proto::outbound::v1::OutboundWhatsApp;
use hilo_proto::outbound::v1::outbound_envelope::Content;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::compose::Composed;
use crate::attention::domain::{
    Attention, DeliveryState, InteractionId, MessageId, MessageKind, MessageSummary, UserKey,
};
use crate::attention::envelope::Post;
use crate::attention::store::message::{self, Key, KeyRow, NewMessage, StoredAddress};
use crate::attention::work::Work;

/// A composed item with who sends it to whom.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub id: MessageId,
    pub interaction: InteractionId,
    /// `None` when no person wrote it.
    pub agent: Option<UserKey>,
    /// Our number and the account's name.
    pub from: StoredAddress,
    pub to: WhatsAppIdentity,
    pub composed: Composed,
    /// Message it replies to, and Meta's id of that.
    pub reply_to: Option<(Uuid, String)>,
}

impl Outgoing {
    /// What the domain is told of it.
    pub(crate) fn summary(id: MessageId, files: usize, now: OffsetDateTime) -> MessageSummary {
        MessageSummary {
            id,
            occurred_at: now,
            attachments: i32::try_from(files).unwrap_or(i32::MAX),
            kind: MessageKind::Outbound { delivery: DeliveryState::Queued },
        }
    }

    /// What the channel gets.
    pub(crate) fn outbound(&self, attention: &Attention) -> OutboundWhatsApp {
        let reply_to_wamid = self.reply_to.as_ref().map(|(_, wamid)| wamid.clone()).unwrap_or_default();
        OutboundWhatsApp { reply_to_wamid, ..outbound(attention, &self.to, &self.composed) }
    }

    fn item(&self) -> WhatsAppItem {
        let context = self
            .reply_to
            .as_ref()
            .map(|(_, wamid)| WhatsAppContext { wamid: wamid.clone(), ..WhatsAppContext::default() });
        WhatsAppItem {
            context,
            reply_to_message_id: self.reply_to.as_ref().map(|(id, _)| id.to_string()).unwrap_or_default(),
            ..item(&self.to, &self.composed)
        }
    }

    /// Its row in the thread, at the attention's newest place, which `after` has.
    pub(crate) fn message(&self, after: &Attention, now: OffsetDateTime) -> NewMessage {
        NewMessage {
            message_id: self.id.uuid(),
            attention_id: after.id.uuid(),
            interaction_id: self.interaction.uuid(),
            position: after.messages,
            direction: "outbound",
            from_address: self.from.address.clone(),
            from_name: self.from.name.clone(),
            to_addresses: vec![StoredAddress { address: address(&self.to), name: String::new() }],
            cc_addresses: Vec::new(),
            bcc_addresses: Vec::new(),
            reply_to_addresses: Vec::new(),
            subject: String::new(),
            text_body: self.composed.text.clone(),
            html_body: String::new(),
            attachments: self.composed.files.clone(),
            occurred_at: now,
            internet_message_id: String::new(),
            reference_ids: Vec::new(),
            agent_key: self.agent.as_ref().map(UserKey::to_string),
            mail_class: "",
            sender_verified: true,
            delivery_state: Some(DeliveryState::Queued.word()),
            conversation_key: None,
            conversation_number: None,
            whatsapp: Some(self.item()),
            wamid: String::new(),
        }
    }
}

/// What the channel gets of a composed item. Only a template may leave after the window of `attention`. A customer waits for it, whoever
/// wrote it; what nobody waits for says so itself (`bulk`).
pub(crate) fn outbound(
    attention: &Attention,
    to: &WhatsAppIdentity,
    composed: &Composed,
) -> OutboundWhatsApp {
    let window_ends_at = attention.window_ends_at.filter(|_| !composed.is_template());
    OutboundWhatsApp {
        to: Some(to.clone()),
        reply_to_wamid: String::new(),
        window_ends_at: window_ends_at.map(to_proto),
        bulk: false,
        kind: Some(composed.kind.clone()),
    }
}

/// What is stored of a composed item beside its text: also whom it is sent to, so that what follows goes there as well.
pub(crate) fn item(to: &WhatsAppIdentity, composed: &Composed) -> WhatsAppItem {
    WhatsAppItem { customer: Some(to.clone()), ..composed.item.clone() }
}

/// What a customer is reached by, as a thread shows it.
pub(crate) fn address(to: &WhatsAppIdentity) -> String {
    let shown = [&to.phone, &to.wa_id, &to.user_id].into_iter().find(|one| !one.is_empty());
    shown.cloned().unwrap_or_default()
}

/// What a message to a customer is addressed to: his WhatsApp id, else his number, else his user id, as the channel does.
pub(super) fn reached_at(to: &WhatsAppIdentity) -> &str {
    [&to.wa_id, &to.phone, &to.user_id].into_iter().find(|one| !one.is_empty()).map_or("", String::as_str)
}

/// The row of OUTBOUND of an item at the attention's newest place in the order of sends (`attention.sends`), for the outbox of the
/// same transaction. Reports come back under `send`.
///
/// # Errors
/// `MESSAGE_TOO_LARGE`; an invalid subject.
pub(crate) async fn row(
    post: &Post,
    attention: &Attention,
    send: Uuid,
    now: OffsetDateTime,
    traceparent: &str,
    outbound: OutboundWhatsApp,
) -> Result<OutboxRow, Error> {
    post.row(attention, send, now, traceparent, Content::Whatsapp(outbound)).await
}

/// Commits the item at the attention's newest place, which `after` has: message, key of its send, row of OUTBOUND. `Work` is written
/// before.
///
/// # Errors
/// As [`row`]; database errors.
pub(crate) async fn commit(
    tx: &mut PgConnection,
    post: &Post,
    work: &Work,
    after: &Attention,
    traceparent: &str,
    outgoing: &Outgoing,
) -> Result<(), Error> {
    let (id, now) = (outgoing.id, work.now());
    let key = KeyRow {
        key: Key::Send(id.uuid()),
        message: id,
        interaction: outgoing.interaction,
        attention: after.id,
    };
    message::insert_messages(tx, &[outgoing.message(after, now)]).await?;
    message::insert_keys(tx, &[key]).await?;
    append(tx, &[row(post, after, id.uuid(), now, traceparent, outgoing.outbound(after)).await?]).await
}
