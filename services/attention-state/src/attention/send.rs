//! `SendMessage`: an agent's answer becomes a message, a Message-ID with the keyed token, a row of OUTBOUND and an event,
//! in one transaction.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_kit::nats::{StreamKind, Subjects};
use hilo_kit::outbox::{MAX_PAYLOAD, OutboxRow, append};
use hilo_kit::{telemetry, thread_token};
use hilo_proto::inbound::v1::EmailAddress;
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope};
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::{
    Attention, Command, DeliveryState, InteractionId, MessageId, MessageKind, MessageSummary, UserKey,
};
use super::outbox;
use super::reply::{self, Reply};
use super::store::message::{self, Key, KeyRow, NewMessage, StoredAddress};
use super::store::{LastMessage, thread};
use super::work::{Actor, Work};
use crate::directory;
use crate::intake::preview;

/// Most recipients of one mail.
const MAX_RECIPIENTS: usize = 100;

/// What an agent wrote.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub interaction: InteractionId,
    pub agent: UserKey,
    pub text: String,
    /// Sanitised here.
    pub html: String,
    pub reply_all: bool,
    pub cc: Vec<StoredAddress>,
}

/// Commits the letter on a locked interaction; answers the id of its message.
///
/// # Errors
/// The rejection (`NOT_YOURS`, ...), `NO_RECIPIENT`, `TOO_MANY_RECIPIENTS`, `ACCOUNT_UNKNOWN`; database errors.
pub(crate) async fn send(
    tx: &mut PgConnection,
    subjects: &Subjects,
    thread_key: &[u8],
    work: &mut Work,
    letter: &Letter,
) -> Result<MessageId, Error> {
    let id = MessageId::new();
    let message = MessageSummary {
        id,
        occurred_at: work.now(),
        attachments: 0,
        kind: MessageKind::Outbound { delivery: DeliveryState::Queued },
    };
    let stored = work.traceparent(letter.interaction).to_owned();
    let span = telemetry::span_with_parent(Some(&stored), tracing::info_span!("attention.send"));
    let traceparent = span.in_scope(telemetry::current_traceparent).unwrap_or(stored);
    let command = Command::SendMessage { agent: letter.agent.clone(), message };
    let decision = work.decide(letter.interaction, command, &Actor::User(letter.agent.clone()))?;
    let after = decision.state.ok_or_else(super::commands::not_found)?;
    let reply = compose(tx, thread_key, &after, letter).await?;
    work.admit(after.id, reply.recipients().map(|one| crate::intake::normal(&one.address)));
    work.show(
        letter.interaction,
        LastMessage { preview: preview(&letter.text), at: work.now(), sender_verified: None },
    );
    work.write(tx, subjects).await?;
    let row = |key: Key| KeyRow { key, message: id, interaction: letter.interaction, attention: after.id };
    let keys: Vec<KeyRow> = [Some(Key::Send(id.uuid())), Key::internet(&reply.message_id)]
        .into_iter()
        .flatten()
        .map(row)
        .collect();
    message::insert_messages(tx, &[stored_message(work, &after, letter, &reply, id)]).await?;
    message::insert_keys(tx, &keys).await?;
    append(tx, &[outbound(subjects, work, &after, reply, id, traceparent)?]).await?;
    Ok(id)
}

async fn compose(
    tx: &mut PgConnection,
    thread_key: &[u8],
    after: &Attention,
    letter: &Letter,
) -> Result<Reply, Error> {
    let account = after.account.as_str();
    let (address, display_name) = directory::sender(tx, account).await?.ok_or_else(|| {
        Error::rejected("ACCOUNT_UNKNOWN", "the account of this attention is not in the directory")
    })?;
    let campaign = directory::campaign(tx, after.campaign.as_str()).await?;
    let answered = thread::last_inbound(tx, after.id, letter.interaction)
        .await?
        .ok_or_else(|| Error::rejected("NO_RECIPIENT", "there is no mail to answer"))?;
    let token = thread_token::make(thread_key, after.id.uuid());
    let reply = reply::compose(reply::Parts {
        account: StoredAddress { address, name: display_name },
        answered,
        reply_all: letter.reply_all,
        cc: letter.cc.clone(),
        text: &letter.text,
        html: &letter.html,
        signature: campaign.as_ref().map_or("", |campaign| campaign.signature.as_str()),
        token: &token,
        unique: Uuid::now_v7(),
    });
    match reply.recipients().count() {
        0 => Err(Error::rejected("NO_RECIPIENT", "the mail to answer has no author")),
        count if count > MAX_RECIPIENTS => {
            Err(Error::invalid("TOO_MANY_RECIPIENTS", format!("at most {MAX_RECIPIENTS} recipients"))
                .field("cc", "too many"))
        }
        _ => Ok(reply),
    }
}

fn stored_message(
    work: &Work,
    after: &Attention,
    letter: &Letter,
    reply: &Reply,
    id: MessageId,
) -> NewMessage {
    NewMessage {
        message_id: id.uuid(),
        attention_id: after.id.uuid(),
        interaction_id: letter.interaction.uuid(),
        position: after.messages,
        direction: "outbound",
        from_address: reply.from.address.clone(),
        from_name: reply.from.name.clone(),
        to_addresses: reply.to.clone(),
        cc_addresses: reply.cc.clone(),
        reply_to_addresses: Vec::new(),
        subject: reply.subject.clone(),
        text_body: reply.text.clone(),
        html_body: reply.html.clone(),
        attachments: Vec::new(),
        occurred_at: work.now(),
        internet_message_id: reply.message_id.clone(),
        reference_ids: reply.references.clone(),
        agent_key: Some(letter.agent.to_string()),
        mail_class: "",
        sender_verified: true,
        delivery_state: Some(DeliveryState::Queued.word()),
        conversation_key: None,
        conversation_number: None,
    }
}

fn outbound(
    subjects: &Subjects,
    work: &Work,
    after: &Attention,
    reply: Reply,
    id: MessageId,
    traceparent: String,
) -> Result<OutboxRow, Error> {
    let list = |from: Vec<StoredAddress>| from.into_iter().map(EmailAddress::from).collect();
    let envelope = OutboundEnvelope {
        send_id: id.to_string(),
        account_key: after.account.to_string(),
        conversation_key: after.id.to_string(),
        sequence: after.sends,
        created_at: Some(to_proto(work.now())),
        traceparent: traceparent.clone(),
        content: Some(Content::Email(OutboundEmail {
            message_id: reply.message_id,
            from: Some(reply.from.into()),
            to: list(reply.to),
            cc: list(reply.cc),
            bcc: Vec::new(),
            subject: reply.subject,
            text: reply.text,
            html: reply.html,
            attachments: Vec::new(),
            in_reply_to: reply.in_reply_to,
            references: reply.references,
            reply_to: reply.reply_to,
            automatic: false,
        })),
    };
    let payload = envelope.encode_to_vec();
    if payload.len() > MAX_PAYLOAD {
        // Each is within its own limit, and still they do not fit the broker together.
        let text =
            format!("text, HTML and signature together have {} bytes, at most {MAX_PAYLOAD}", payload.len());
        return Err(
            Error::invalid("MESSAGE_TOO_LARGE", "the mail is too large to be sent").field("html", text)
        );
    }
    let headers = outbox::trace(&traceparent).map(|trace| ("traceparent".to_owned(), trace));
    Ok(OutboxRow {
        id: Uuid::now_v7(),
        stream: StreamKind::Outbound,
        subject: subjects.handover(StreamKind::Outbound, after.channel.word(), after.account.as_str())?,
        key: after.id.uuid(),
        sequence: after.sends,
        headers: headers.into_iter().collect(),
        payload,
    })
}
