//! `SendMessage` by WhatsApp: what an agent wrote becomes a message, a row of OUTBOUND and an event, in one transaction, while the
//! 24-hour window is open.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_kit::outbox::append;
use hilo_kit::telemetry;
use hilo_proto::history::v1::WhatsAppItem;
use hilo_proto::inbound::v1::{WhatsAppContext, WhatsAppIdentity};
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_proto::outbound::v1::{OutboundWhatsApp, SendText};
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::{
    Attention, AttentionId, Command, DeliveryState, InteractionId, MessageId, MessageKind, MessageSummary,
    UserKey,
};
use super::envelope::Post;
use super::store::message::{self, Key, KeyRow, NewMessage, StoredAddress};
use super::store::{LastMessage, chat};
use super::work::{Actor, Work};
use crate::contact::whatsapp;
use crate::directory;
use crate::intake::preview;

/// Longest text (<https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/text-messages>).
pub(crate) const MAX_TEXT: usize = 4_096;

/// What an agent wrote.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub interaction: InteractionId,
    pub agent: UserKey,
    pub text: String,
    /// The message it replies to.
    pub reply_to: Option<Uuid>,
}

/// Commits the message on a locked interaction; answers its id.
///
/// # Errors
/// The rejection (`NOT_YOURS`, `WINDOW_CLOSED`, ...), `NO_RECIPIENT`, `MESSAGE_NOT_FOUND`, `MESSAGE_NOT_NAMED_YET`,
/// `ACCOUNT_UNKNOWN`; database errors.
pub(crate) async fn send(
    tx: &mut PgConnection,
    post: &Post,
    work: &mut Work,
    said: &Said,
) -> Result<MessageId, Error> {
    let id = MessageId::new();
    let stored = work.traceparent(said.interaction).to_owned();
    let span = telemetry::span_with_parent(Some(&stored), tracing::info_span!("attention.send"));
    let traceparent = span.in_scope(telemetry::current_traceparent).unwrap_or(stored);
    let summary = MessageSummary {
        id,
        occurred_at: work.now(),
        attachments: 0,
        kind: MessageKind::Outbound { delivery: DeliveryState::Queued },
    };
    let command = Command::SendMessage { agent: said.agent.clone(), message: summary };
    let decision = work.decide(said.interaction, command, &Actor::User(said.agent.clone()))?;
    let after = decision.state.ok_or_else(super::commands::not_found)?;
    let to = recipient(tx, &after).await?;
    let reply_to_wamid = replied_to(tx, after.id, said.reply_to).await?;
    let from = sender(tx, &after).await?;
    work.show(
        said.interaction,
        LastMessage { preview: preview(&said.text), at: work.now(), sender_verified: None },
    );
    work.write(tx, &post.subjects).await?;
    let key =
        KeyRow { key: Key::Send(id.uuid()), message: id, interaction: said.interaction, attention: after.id };
    let row = new_message(work, &after, said, id, from, address(&to), &reply_to_wamid);
    message::insert_messages(tx, &[row]).await?;
    message::insert_keys(tx, &[key]).await?;
    let outbound = OutboundWhatsApp {
        to: Some(to),
        reply_to_wamid,
        window_ends_at: after.window_ends_at.map(to_proto),
        kind: Some(Kind::Text(SendText { body: said.text.clone(), preview_url: false })),
    };
    let content = Content::Whatsapp(outbound);
    append(tx, &[post.row(&after, id.uuid(), work.now(), &traceparent, content).await?]).await?;
    Ok(id)
}

/// Whom to, by the newest that came from him; names are not needed for sending. A number that has passed to somebody else since
/// is not his any more: then only his user id is.
async fn recipient(tx: &mut PgConnection, attention: &Attention) -> Result<WhatsAppIdentity, Error> {
    let unknown = || Error::rejected("NO_RECIPIENT", "the customer of this attention is not known");
    let mut customer = chat::customer(tx, attention.id).await?.ok_or_else(unknown)?;
    if !whatsapp::is_of(tx, attention.contact, &customer.wa_id).await? {
        customer.wa_id.clear();
        customer.phone.clear();
    }
    if customer.wa_id.is_empty() && customer.user_id.is_empty() {
        return Err(Error::rejected("NO_RECIPIENT", "the customer's number belongs to somebody else now"));
    }
    Ok(WhatsAppIdentity { username: String::new(), profile_name: String::new(), ..customer })
}

fn address(to: &WhatsAppIdentity) -> String {
    let shown = [&to.phone, &to.wa_id, &to.user_id].into_iter().find(|one| !one.is_empty());
    shown.cloned().unwrap_or_default()
}

/// The number it is sent from, as customers see it, and the name of the account.
async fn sender(tx: &mut PgConnection, attention: &Attention) -> Result<StoredAddress, Error> {
    let unknown =
        || Error::rejected("ACCOUNT_UNKNOWN", "the account of this attention is not in the directory");
    let (address, name) =
        directory::whatsapp_sender(tx, attention.account.as_str()).await?.ok_or_else(unknown)?;
    Ok(StoredAddress { address, name })
}

async fn replied_to(
    tx: &mut PgConnection,
    attention: AttentionId,
    message: Option<Uuid>,
) -> Result<String, Error> {
    let Some(message) = message else { return Ok(String::new()) };
    match chat::wamid_of(tx, attention, message).await? {
        Some(wamid) if !wamid.is_empty() => Ok(wamid),
        Some(_) => Err(Error::rejected(
            "MESSAGE_NOT_NAMED_YET",
            "the message to reply to has not been sent yet, so nobody can refer to it",
        )),
        None => Err(Error::missing("MESSAGE_NOT_FOUND", "the attention has no such message")
            .field("message_id", "no message of this attention")),
    }
}

fn new_message(
    work: &Work,
    after: &Attention,
    said: &Said,
    id: MessageId,
    from: StoredAddress,
    to: String,
    reply_to_wamid: &str,
) -> NewMessage {
    let context = WhatsAppContext { wamid: reply_to_wamid.to_owned(), ..WhatsAppContext::default() };
    let item = WhatsAppItem {
        kind: "text".to_owned(),
        context: said.reply_to.map(|_| context),
        reply_to_message_id: said.reply_to.map(|id| id.to_string()).unwrap_or_default(),
        ..WhatsAppItem::default()
    };
    NewMessage {
        message_id: id.uuid(),
        attention_id: after.id.uuid(),
        interaction_id: said.interaction.uuid(),
        position: after.messages,
        direction: "outbound",
        from_address: from.address,
        from_name: from.name,
        to_addresses: vec![StoredAddress { address: to, name: String::new() }],
        cc_addresses: Vec::new(),
        bcc_addresses: Vec::new(),
        reply_to_addresses: Vec::new(),
        subject: String::new(),
        text_body: said.text.clone(),
        html_body: String::new(),
        attachments: Vec::new(),
        occurred_at: work.now(),
        internet_message_id: String::new(),
        reference_ids: Vec::new(),
        agent_key: Some(said.agent.to_string()),
        mail_class: "",
        sender_verified: true,
        delivery_state: Some(DeliveryState::Queued.word()),
        conversation_key: None,
        conversation_number: None,
        whatsapp: Some(item),
        wamid: String::new(),
    }
}
