//! Reading threads back.

use std::collections::{BTreeMap, HashMap};

use hilo_kit::error::Error;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::rows::{self, StoredMailbox, StoredRecipient};
use crate::domain::merge::Contents;
use crate::domain::thread::{
    Attachment, FilledForm, FormField, Head, InteractionId, Mailbox, Message, Note, Thread,
};

/// Those of the versions that are stored as they are or newer, with everything this release keeps of a thread.
pub(super) async fn known(
    conn: &mut PgConnection,
    versions: &[(InteractionId, i64)],
) -> Result<Vec<(InteractionId, i64)>, Error> {
    let ids: Vec<Uuid> = versions.iter().map(|(id, _)| id.uuid()).collect();
    let numbers: Vec<i64> = versions.iter().map(|(_, version)| *version).collect();
    let rows = sqlx::query!(
        r#"SELECT asked.id AS "id!", asked.version AS "version!"
           FROM unnest($1::uuid[], $2::bigint[]) AS asked(id, version)
           JOIN thread t ON t.interaction_id = asked.id AND t.version >= asked.version
           WHERE NOT EXISTS (SELECT 1 FROM message m
                             WHERE m.interaction_id = asked.id AND m.direction = 2 AND m.hidden_copies IS NULL)"#,
        &ids,
        &numbers,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id.into(), row.version)).collect())
}

/// Everything of a thread but its messages. Whether the caller may read it, [`super::scope::shows`] has said before.
pub(super) async fn without_messages(
    tx: &mut PgConnection,
    id: InteractionId,
) -> Result<Option<Thread>, Error> {
    let row = sqlx::query!(
        r#"SELECT interaction_id, version, attention_id, attention_number, ordinal, campaign_key, account_key,
               agent_key, channel, direction, customer_name, customer_address, subject, contact_id,
               linked_attention_id, waiting_since, opened_at, ended_at, attention_closed, message_count, tags, vip,
               form_key, form_version
           FROM thread
           WHERE interaction_id = $1"#,
        id.uuid(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let form = match (row.form_key, row.form_version) {
        (Some(key), Some(version)) => Some(FilledForm { key, version, fields: form_fields(tx, id).await? }),
        _ => None,
    };
    let head = Head {
        interaction_id: row.interaction_id.into(),
        attention_id: row.attention_id.into(),
        attention_number: row.attention_number,
        ordinal: row.ordinal,
        campaign_key: row.campaign_key,
        agent_key: row.agent_key,
        channel: row.channel,
        direction: rows::direction(row.direction)?,
        customer: Mailbox { address: row.customer_address, name: row.customer_name },
        subject: row.subject,
        ended_at: row.ended_at,
        attention_closed: row.attention_closed,
        message_count: row.message_count,
        tags: row.tags,
        vip: row.vip,
    };
    Ok(Some(Thread {
        version: row.version,
        head,
        account_key: row.account_key,
        waiting_since: row.waiting_since,
        opened_at: row.opened_at,
        linked_attention_id: row.linked_attention_id.map(Into::into),
        contact_id: row.contact_id.map(Into::into),
        messages: Vec::new(),
        form,
        notes: notes(tx, id).await?,
    }))
}

/// What is stored of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    version: i64,
    /// An earlier release stored it, without what this one keeps.
    lacking: bool,
}

impl Before {
    /// True when a thread of `version` adds nothing.
    pub(super) fn has(self, version: i64) -> bool {
        self.version > version || (self.version == version && !self.lacking)
    }
}

/// What is stored, its row locked until the transaction ends; `None` when the thread is not there.
pub(super) async fn lock(tx: &mut PgConnection, id: InteractionId) -> Result<Option<Before>, Error> {
    let before = sqlx::query_as!(
        Before,
        r#"SELECT version, EXISTS (
             SELECT 1 FROM message m WHERE m.interaction_id = $1 AND m.direction = 2 AND m.hidden_copies IS NULL
           ) AS "lacking!"
           FROM thread t WHERE interaction_id = $1 FOR UPDATE OF t"#,
        id.uuid()
    )
    .fetch_optional(tx)
    .await?;
    Ok(before)
}

/// Bytes of the stored bodies.
pub(super) async fn body_bytes(tx: &mut PgConnection, id: InteractionId) -> Result<i64, Error> {
    let bytes = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(octet_length(body_text) + octet_length(body_html)), 0)::bigint AS "bytes!"
           FROM message WHERE interaction_id = $1"#,
        id.uuid()
    )
    .fetch_one(tx)
    .await?;
    Ok(bytes)
}

/// What is stored of a thread that a newer version may come without.
pub(super) async fn contents(tx: &mut PgConnection, id: InteractionId) -> Result<Contents, Error> {
    Ok(Contents { messages: messages(tx, id).await?, ..form_and_notes(tx, id).await? })
}

/// The same without the messages.
pub(super) async fn form_and_notes(tx: &mut PgConnection, id: InteractionId) -> Result<Contents, Error> {
    let row = sqlx::query!("SELECT form_key, form_version FROM thread WHERE interaction_id = $1", id.uuid())
        .fetch_optional(&mut *tx)
        .await?;
    let form = match row.map(|row| (row.form_key, row.form_version)) {
        Some((Some(key), Some(version))) => {
            Some(FilledForm { key, version, fields: form_fields(tx, id).await? })
        }
        _ => None,
    };
    Ok(Contents { messages: Vec::new(), form, notes: notes(tx, id).await? })
}

async fn notes(tx: &mut PgConnection, id: InteractionId) -> Result<Vec<Note>, Error> {
    let rows = sqlx::query!(
        "SELECT note_id, author_key, body_text, created_at FROM note WHERE interaction_id = $1
         ORDER BY created_at, note_id",
        id.uuid()
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Note {
            id: row.note_id.into(),
            author_key: row.author_key,
            text: row.body_text,
            created_at: row.created_at,
        })
        .collect())
}

async fn form_fields(tx: &mut PgConnection, id: InteractionId) -> Result<BTreeMap<String, FormField>, Error> {
    let rows =
        sqlx::query!("SELECT field_key, label, value FROM form_value WHERE interaction_id = $1", id.uuid())
            .fetch_all(tx)
            .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.field_key, FormField { label: row.label, value: row.value }))
        .collect())
}

/// The messages of a thread in their order.
async fn messages(tx: &mut PgConnection, id: InteractionId) -> Result<Vec<Message>, Error> {
    messages_between(tx, id, 0, i32::MAX).await
}

/// Positions after one, with about how many bytes their messages take in an answer.
pub(super) async fn weights(
    tx: &mut PgConnection,
    id: InteractionId,
    after: i32,
) -> Result<Vec<(i32, i64)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT position, (octet_length(body_text) + octet_length(body_html) + octet_length(recipients::text)
               + octet_length(copies::text) + coalesce(octet_length(hidden_copies::text), 0)
               + coalesce(octet_length(recipient_states::text), 0) + octet_length(subject) + octet_length(delivery_detail)
               + coalesce(octet_length(whatsapp), 0) + 1000
               + (SELECT count(*) * 1000 FROM attachment f
                  WHERE f.interaction_id = m.interaction_id AND f.message_id = m.message_id))::bigint AS "bytes!"
           FROM message m WHERE interaction_id = $1 AND position > $2 ORDER BY position"#,
        id.uuid(),
        after
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.position, row.bytes)).collect())
}

/// The messages after one position up to another.
pub(super) async fn messages_between(
    tx: &mut PgConnection,
    id: InteractionId,
    after: i32,
    until: i32,
) -> Result<Vec<Message>, Error> {
    let mut files = attachments(tx, id, after, until).await?;
    let rows = sqlx::query_as!(
        MessageRow,
        r#"SELECT message_id, direction, from_address, from_name,
               recipients AS "recipients: Json<Vec<StoredMailbox>>", copies AS "copies: Json<Vec<StoredMailbox>>",
               subject, body_text, body_html, occurred_at, delivery_state, delivery_detail, agent_key, mail_class,
               sender_verified, internet_message_id, whatsapp, delivery_reason,
               coalesce(hidden_copies, '[]') AS "hidden_copies!: Json<Vec<StoredMailbox>>",
               coalesce(recipient_states, '[]') AS "recipient_states!: Json<Vec<StoredRecipient>>"
           FROM message WHERE interaction_id = $1 AND position > $2 AND position <= $3 ORDER BY position"#,
        id.uuid(),
        after,
        until,
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let attachments = files.remove(&row.message_id).unwrap_or_default();
            row.into_message(attachments)
        })
        .collect()
}

struct MessageRow {
    message_id: Uuid,
    direction: i16,
    from_address: String,
    from_name: String,
    recipients: Json<Vec<StoredMailbox>>,
    copies: Json<Vec<StoredMailbox>>,
    subject: String,
    body_text: String,
    body_html: String,
    occurred_at: OffsetDateTime,
    delivery_state: String,
    delivery_detail: String,
    agent_key: String,
    mail_class: String,
    sender_verified: bool,
    internet_message_id: String,
    whatsapp: Option<Vec<u8>>,
    delivery_reason: String,
    hidden_copies: Json<Vec<StoredMailbox>>,
    recipient_states: Json<Vec<StoredRecipient>>,
}

impl MessageRow {
    fn into_message(self, attachments: Vec<Attachment>) -> Result<Message, Error> {
        Ok(Message {
            id: self.message_id.into(),
            direction: rows::direction(self.direction)?,
            from: Mailbox { address: self.from_address, name: self.from_name },
            to: rows::from_mailboxes(self.recipients),
            cc: rows::from_mailboxes(self.copies),
            subject: self.subject,
            text: self.body_text,
            html: self.body_html,
            attachments,
            occurred_at: self.occurred_at,
            delivery_state: self.delivery_state,
            delivery_detail: self.delivery_detail,
            delivery_reason: self.delivery_reason,
            agent_key: self.agent_key,
            mail_class: self.mail_class,
            sender_verified: self.sender_verified,
            internet_message_id: self.internet_message_id,
            bcc: rows::from_mailboxes(self.hidden_copies),
            recipients: rows::from_recipients(self.recipient_states),
            whatsapp: self.whatsapp,
        })
    }
}

async fn attachments(
    tx: &mut PgConnection,
    id: InteractionId,
    after: i32,
    until: i32,
) -> Result<HashMap<Uuid, Vec<Attachment>>, Error> {
    let rows = sqlx::query!(
        "SELECT f.message_id, f.sha256, f.file_name, f.media_type, f.size_bytes, f.content_id, f.inline
         FROM attachment f JOIN message m USING (interaction_id, message_id)
         WHERE f.interaction_id = $1 AND m.position > $2 AND m.position <= $3 ORDER BY f.message_id, f.position",
        id.uuid(),
        after,
        until,
    )
    .fetch_all(tx)
    .await?;
    let mut files: HashMap<Uuid, Vec<Attachment>> = HashMap::new();
    for row in rows {
        files.entry(row.message_id).or_default().push(Attachment {
            sha256: row.sha256,
            file_name: row.file_name,
            media_type: row.media_type,
            size_bytes: row.size_bytes,
            content_id: row.content_id,
            inline: row.inline,
        });
    }
    Ok(files)
}
