//! `StartAttention`: an agent's first message begins an attention: contact, attention, interaction, message, Message-ID
//! with the keyed token and row of OUTBOUND in one transaction. The customer's answer joins it like any other.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_kit::nats::{StreamKind, Subjects};
use hilo_kit::outbox::{OutboxRow, append};
use hilo_kit::{telemetry, thread_token};
use hilo_proto::inbound::v1::EmailAddress;
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope};
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::commands::not_found;
use super::domain::{
    AccountKey, Attention, AttentionId, CampaignKey, Channel, Command, ContactId, DeliveryState,
    InteractionId, MessageId, MessageKind, MessageSummary, Opening, UserKey,
};
use super::outbox;
use super::quote::Original;
use super::reply::{self, Mode, Reply};
use super::store::answered::Answered;
use super::store::message::{self, Key, KeyRow, NewMessage, StoredAddress};
use super::store::{self, Head, LastMessage, Wait};
use super::work::{Actor, Work};
use crate::contact::{self, EmailIdentity};
use crate::conversation::html;
use crate::directory::domain::model::Campaign;
use crate::intake::{self, normal, preview};

/// What an agent begins with.
#[derive(Clone, Debug)]
pub(crate) struct First {
    pub agent: UserKey,
    pub account: AccountKey,
    /// Address and name of the account.
    pub from: StoredAddress,
    /// At least one; the first is the customer.
    pub to: Vec<StoredAddress>,
    pub cc: Vec<StoredAddress>,
    pub bcc: Vec<StoredAddress>,
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Commits the message and everything that begins with it; answers the attention after it and the id of the message.
///
/// # Errors
/// `NO_RECIPIENT` when every recipient is the account itself; database errors.
pub(crate) async fn start(
    tx: &mut PgConnection,
    subjects: &Subjects,
    thread_key: &[u8],
    campaign: &Campaign,
    first: &First,
) -> Result<(Attention, MessageId), Error> {
    let (attention, interaction, id) = (AttentionId::new(), InteractionId::new(), MessageId::new());
    let mail = compose(thread_key, campaign, attention, first);
    let customer =
        mail.to.first().cloned().ok_or_else(|| {
            Error::rejected("NO_RECIPIENT", "nobody but the account itself would receive it")
        })?;
    let contact = resolve(tx, &customer).await?;
    let number = store::draw_numbers(tx, 1).await?.pop();
    let number = number.ok_or_else(|| Error::internal("NO_NUMBER", "too few numbers were drawn"))?;
    let mut work = Work::lock(tx, &[], Wait::Block).await?;
    let command = Command::Start {
        opening: Opening {
            attention,
            number,
            channel: Channel::Email,
            account: first.account.clone(),
            contact,
            linked: None,
        },
        campaign: CampaignKey::new(campaign.key.as_str()),
        interaction,
        agent: first.agent.clone(),
        message: MessageSummary {
            id,
            occurred_at: work.now(),
            attachments: 0,
            kind: MessageKind::Outbound { delivery: DeliveryState::Queued },
        },
    };
    let head = Head {
        customer_address: normal(&customer.address),
        subject: mail.subject.clone(),
        lineage: attention.uuid(),
        participants: mail.recipients().map(|one| normal(&one.address)).collect(),
    };
    let traceparent = telemetry::current_traceparent().unwrap_or_default();
    work.begin_by(command, head, &traceparent, "", &Actor::User(first.agent.clone()))?;
    let last = LastMessage { preview: preview(&first.text), at: work.now(), sender_verified: None };
    work.show(interaction, last);
    work.write(tx, subjects).await?;
    let after = work.state(attention, Some(interaction)).ok_or_else(not_found)?;
    store_message(tx, &work, &after, interaction, first, &mail, id).await?;
    append(tx, &[outbound(subjects, &work, &after, mail, id, &traceparent)?]).await?;
    Ok((after, id))
}

/// A new mail is a reply to nothing: its own subject, no references.
fn compose(thread_key: &[u8], campaign: &Campaign, attention: AttentionId, first: &First) -> Reply {
    // It answers nothing.
    let answered = Answered {
        from: first.from.clone(),
        to: Vec::new(),
        cc: Vec::new(),
        reply_to: Vec::new(),
        outbound: false,
        answerable: true,
        purged: false,
        original: Original::default(),
        internet_message_id: String::new(),
        reference_ids: Vec::new(),
    };
    reply::compose(reply::Parts {
        account: first.from.clone(),
        answered,
        mode: Mode::Reply,
        to: first.to.clone(),
        cc: first.cc.clone(),
        bcc: first.bcc.clone(),
        subject: &first.subject,
        text: &first.text,
        html: &html::outgoing(&first.html).unwrap_or_default(),
        quote: false,
        signature: &campaign.signature,
        token: &thread_token::make(thread_key, attention.uuid()),
        unique: Uuid::now_v7(),
    })
}

async fn resolve(tx: &mut PgConnection, customer: &StoredAddress) -> Result<ContactId, Error> {
    let address = normal(&customer.address);
    intake::lock_address(tx, &address).await?;
    let wanted = [EmailIdentity { address: address.clone(), name: customer.name.clone() }];
    let contact = contact::resolve_emails(tx, &wanted).await?.get(&address).copied();
    contact.ok_or_else(|| Error::internal("NO_CONTACT", "the contact was not resolved"))
}

async fn store_message(
    tx: &mut PgConnection,
    work: &Work,
    after: &Attention,
    interaction: InteractionId,
    first: &First,
    mail: &Reply,
    id: MessageId,
) -> Result<(), Error> {
    let row = NewMessage {
        message_id: id.uuid(),
        attention_id: after.id.uuid(),
        interaction_id: interaction.uuid(),
        position: after.messages,
        direction: "outbound",
        from_address: mail.from.address.clone(),
        from_name: mail.from.name.clone(),
        to_addresses: mail.to.clone(),
        cc_addresses: mail.cc.clone(),
        bcc_addresses: mail.bcc.clone(),
        reply_to_addresses: Vec::new(),
        subject: mail.subject.clone(),
        text_body: mail.text.clone(),
        html_body: mail.html.clone(),
        attachments: Vec::new(),
        occurred_at: work.now(),
        internet_message_id: mail.message_id.clone(),
        reference_ids: Vec::new(),
        agent_key: Some(first.agent.to_string()),
        mail_class: "",
        sender_verified: true,
        delivery_state: Some(DeliveryState::Queued.word()),
        conversation_key: None,
        conversation_number: None,
    };
    message::insert_messages(tx, &[row]).await?;
    let key = |key: Key| KeyRow { key, message: id, interaction, attention: after.id };
    let keys: Vec<KeyRow> = [Some(Key::Send(id.uuid())), Key::internet(&mail.message_id)]
        .into_iter()
        .flatten()
        .map(key)
        .collect();
    message::insert_keys(tx, &keys).await
}

fn outbound(
    subjects: &Subjects,
    work: &Work,
    after: &Attention,
    mail: Reply,
    id: MessageId,
    traceparent: &str,
) -> Result<OutboxRow, Error> {
    let list = |from: Vec<StoredAddress>| from.into_iter().map(EmailAddress::from).collect();
    let envelope = OutboundEnvelope {
        send_id: id.to_string(),
        account_key: after.account.to_string(),
        conversation_key: after.id.to_string(),
        sequence: after.sends,
        created_at: Some(to_proto(work.now())),
        traceparent: traceparent.to_owned(),
        content: Some(Content::Email(OutboundEmail {
            message_id: mail.message_id,
            from: Some(mail.from.into()),
            to: list(mail.to),
            cc: list(mail.cc),
            bcc: list(mail.bcc),
            subject: mail.subject,
            text: mail.text,
            html: mail.html,
            reply_to: mail.reply_to,
            ..OutboundEmail::default()
        })),
    };
    let headers = outbox::trace(traceparent).map(|trace| ("traceparent".to_owned(), trace));
    Ok(OutboxRow {
        id: Uuid::now_v7(),
        stream: StreamKind::Outbound,
        subject: subjects.handover(StreamKind::Outbound, after.channel.word(), after.account.as_str())?,
        key: after.id.uuid(),
        sequence: after.sends,
        headers: headers.into_iter().collect(),
        payload: envelope.encode_to_vec(),
    })
}
