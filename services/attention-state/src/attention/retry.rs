//! `RetryMessage`: a person has a mail sent again to those it has not reached for certain. The same mail under the same
//! Message-ID, by which receivers recognise it, as a new send.

use hilo_kit::error::Error;
use hilo_kit::outbox::append;
use hilo_kit::thread_token;
use hilo_proto::inbound::v1::{Attachment, EmailAddress};
use hilo_proto::outbound::v1::OutboundEmail;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::domain::{
    Attention, Command, DeliveryState, InteractionId, MessageId, MessageKind, MessageSummary, UserKey,
};
use super::envelope::Post;
use super::store::delivery::{self, Change, KnownSend, StoredRecipient};
use super::store::message::{self, Key, KeyRow, StoredAddress, StoredAttachment};
use super::work::{Actor, Work};

/// The interaction of a mail that an agent wrote and that is still here with its body. Automatic mails go once.
pub(crate) async fn interaction_of(
    tx: &mut PgConnection,
    message: Uuid,
) -> Result<Option<InteractionId>, Error> {
    let id = sqlx::query_scalar!(
        "SELECT interaction_id FROM attention.message WHERE message_id = $1 AND direction = 'outbound'
           AND agent_key IS NOT NULL AND NOT purged",
        message
    )
    .fetch_optional(tx)
    .await?;
    Ok(id.map(InteractionId))
}

/// Sends a mail of a locked interaction again.
///
/// # Errors
/// `MESSAGE_NOT_FOUND` also when the purge took the body since the caller looked; `NOTHING_TO_RETRY`, `NOT_YOURS` while
/// another agent has the interaction open; database errors.
pub(crate) async fn retry(
    tx: &mut PgConnection,
    post: &Post,
    work: &mut Work,
    agent: &UserKey,
    message: Uuid,
) -> Result<(), Error> {
    let missing = || Error::missing("MESSAGE_NOT_FOUND", "there is no such message of ours");
    // The purge may have held the lock that the caller waited for; without its body the mail would go out empty.
    interaction_of(tx, message).await?.ok_or_else(missing)?;
    let known = delivery::sends(tx, &[message]).await?.pop().ok_or_else(missing)?;
    let mail = stored(tx, message).await?.ok_or_else(missing)?;
    let again = unreached(&known, &mail);
    let summary = MessageSummary {
        id: MessageId(message),
        occurred_at: known.occurred_at,
        attachments: known.attachments,
        kind: MessageKind::Outbound { delivery: known.state },
    };
    let recipients = again.len();
    let command =
        Command::RetryMessage { agent: agent.clone(), message: summary, recipients, template: false };
    let decision = work.decide(known.interaction, command, &Actor::User(agent.clone()))?;
    let after = decision.state.ok_or_else(super::commands::not_found)?;
    let traceparent = work.traceparent(known.interaction).to_owned();
    work.write(tx, &post.subjects).await?;
    let send = Uuid::now_v7();
    note(tx, &known, &again, send).await?;
    let key = KeyRow {
        key: Key::Send(send),
        message: MessageId(message),
        interaction: known.interaction,
        attention: after.id,
    };
    message::insert_keys(tx, &[key]).await?;
    let email = email(mail, &after, &post.thread_key, again);
    append(tx, &[post.mail(&after, send, work.now(), &traceparent, email).await?]).await
}

/// Who has not got it for certain: everybody, when nothing is known of single recipients.
fn unreached(known: &KnownSend, mail: &Stored) -> Vec<String> {
    let doubtful =
        |state: &str| [DeliveryState::Failed, DeliveryState::Unknown].iter().any(|one| one.word() == state);
    if known.recipients.is_empty() && doubtful(known.state.word()) {
        return mail.recipients().map(|one| one.address.clone()).collect();
    }
    known.recipients.iter().filter(|one| doubtful(&one.state)).map(|one| one.address.clone()).collect()
}

/// The message is queued again, under a new send.
pub(super) async fn note(
    tx: &mut PgConnection,
    known: &KnownSend,
    again: &[String],
    send: Uuid,
) -> Result<(), Error> {
    let queued = |address: &String| StoredRecipient {
        address: address.clone(),
        state: DeliveryState::Queued.word().to_owned(),
        code: 0,
        enhanced: String::new(),
        words: String::new(),
        send: Some(send),
    };
    let newer: Vec<StoredRecipient> = again.iter().map(queued).collect();
    let change = Change {
        message: known.message,
        state: DeliveryState::Queued,
        detail: String::new(),
        reason: String::new(),
        recipients: delivery::merged(&known.recipients, &newer),
    };
    delivery::set_delivery(tx, &[change]).await?;
    sqlx::query!("UPDATE attention.message SET current_send = $2 WHERE message_id = $1", known.message, send)
        .execute(tx)
        .await?;
    Ok(())
}

/// The mail as it was first sent.
struct Stored {
    from: StoredAddress,
    to: Vec<StoredAddress>,
    cc: Vec<StoredAddress>,
    bcc: Vec<StoredAddress>,
    subject: String,
    text: String,
    html: String,
    attachments: Vec<StoredAttachment>,
    message_id: String,
    references: Vec<String>,
}

impl Stored {
    fn recipients(&self) -> impl Iterator<Item = &StoredAddress> {
        self.to.iter().chain(&self.cc).chain(&self.bcc)
    }
}

async fn stored(tx: &mut PgConnection, message: Uuid) -> Result<Option<Stored>, Error> {
    let row = sqlx::query!(
        r#"SELECT from_address, from_name, to_addresses AS "to: Json<Vec<StoredAddress>>",
             cc_addresses AS "cc: Json<Vec<StoredAddress>>", bcc_addresses AS "bcc: Json<Vec<StoredAddress>>", subject,
             text_body, html_body, attachments AS "attachments: Json<Vec<StoredAttachment>>", internet_message_id,
             reference_ids
           FROM attention.message WHERE message_id = $1 AND direction = 'outbound'"#,
        message
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Stored {
        from: StoredAddress { address: row.from_address, name: row.from_name },
        to: row.to.0,
        cc: row.cc.0,
        bcc: row.bcc.0,
        subject: row.subject,
        text: row.text_body,
        html: row.html_body,
        attachments: row.attachments.0,
        message_id: row.internet_message_id,
        references: row.reference_ids,
    }))
}

fn email(mail: Stored, attention: &Attention, thread_key: &[u8], again: Vec<String>) -> OutboundEmail {
    let list = |from: Vec<StoredAddress>| from.into_iter().map(EmailAddress::from).collect();
    let token = thread_token::make(thread_key, attention.id.uuid());
    OutboundEmail {
        message_id: mail.message_id,
        reply_to: thread_token::plus_address(&mail.from.address, &token).unwrap_or_default(),
        from: Some(mail.from.into()),
        to: list(mail.to),
        cc: list(mail.cc),
        bcc: list(mail.bcc),
        subject: mail.subject,
        text: mail.text,
        html: mail.html,
        attachments: mail.attachments.into_iter().map(Attachment::from).collect(),
        in_reply_to: mail.references.last().cloned().unwrap_or_default(),
        references: mail.references,
        only_recipients: again,
        ..OutboundEmail::default()
    }
}
