//! Tables of messages and of the keys by which later messages and statuses find them.

use hilo_kit::error::Error;
use hilo_proto::history::v1::WhatsAppItem;
use hilo_proto::inbound::v1::{Attachment, EmailAddress};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attention::domain::{AttentionId, InteractionId, MessageId};

/// An address as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredAddress {
    pub address: String,
    #[serde(default)]
    pub name: String,
}

/// An attachment as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredAttachment {
    pub sha256: String,
    pub file_name: String,
    pub media_type: String,
    pub size_bytes: i64,
    pub content_id: String,
    pub inline: bool,
}

impl From<EmailAddress> for StoredAddress {
    fn from(from: EmailAddress) -> Self {
        Self { address: from.address, name: from.name }
    }
}

impl From<StoredAddress> for EmailAddress {
    fn from(from: StoredAddress) -> Self {
        Self { address: from.address, name: from.name }
    }
}

impl From<Attachment> for StoredAttachment {
    fn from(from: Attachment) -> Self {
        Self {
            sha256: from.sha256,
            file_name: from.file_name,
            media_type: from.media_type,
            size_bytes: from.size_bytes,
            content_id: from.content_id,
            inline: from.inline,
        }
    }
}

impl From<StoredAttachment> for Attachment {
    fn from(from: StoredAttachment) -> Self {
        Self {
            sha256: from.sha256,
            file_name: from.file_name,
            media_type: from.media_type,
            size_bytes: from.size_bytes,
            content_id: from.content_id,
            inline: from.inline,
        }
    }
}

/// A message with its content, to be stored.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NewMessage {
    pub message_id: Uuid,
    pub attention_id: Uuid,
    pub interaction_id: Uuid,
    /// The attention's message counter after it.
    pub position: i64,
    pub direction: &'static str,
    pub from_address: String,
    pub from_name: String,
    pub to_addresses: Vec<StoredAddress>,
    pub cc_addresses: Vec<StoredAddress>,
    pub bcc_addresses: Vec<StoredAddress>,
    pub reply_to_addresses: Vec<StoredAddress>,
    pub subject: String,
    pub text_body: String,
    pub html_body: String,
    pub attachments: Vec<StoredAttachment>,
    #[serde(with = "time::serde::rfc3339")]
    pub occurred_at: OffsetDateTime,
    pub internet_message_id: String,
    pub reference_ids: Vec<String>,
    pub agent_key: Option<String>,
    pub mail_class: &'static str,
    pub sender_verified: bool,
    pub delivery_state: Option<&'static str>,
    /// Place in the channel ledger's order, of an inbound message.
    pub conversation_key: Option<Uuid>,
    pub conversation_number: Option<i64>,
    /// What a WhatsApp item is beyond its text; of mails nothing.
    #[serde(serialize_with = "encoded")]
    pub whatsapp: Option<WhatsAppItem>,
    /// Meta's id, of an inbound WhatsApp item.
    pub wamid: String,
}

/// As PostgreSQL reads bytes in text: `\x` and hexadecimal digits.
fn encoded<S: serde::Serializer>(item: &Option<WhatsAppItem>, serializer: S) -> Result<S::Ok, S::Error> {
    match item {
        Some(item) => serializer.serialize_some(&format!("\\x{}", hex::encode(item.encode_to_vec()))),
        None => serializer.serialize_none(),
    }
}

/// Inserts messages.
pub(crate) async fn insert_messages(tx: &mut PgConnection, new: &[NewMessage]) -> Result<(), Error> {
    if new.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO attention.message (message_id, attention_id, interaction_id, position, direction, from_address,
           from_name, to_addresses, cc_addresses, bcc_addresses, reply_to_addresses, subject, text_body, html_body, attachments,
           occurred_at, internet_message_id, reference_ids, agent_key, mail_class, sender_verified, delivery_state,
           conversation_key, conversation_number, whatsapp, wamid)
         SELECT message_id, attention_id, interaction_id, position, direction, from_address, from_name, to_addresses,
           cc_addresses, bcc_addresses, reply_to_addresses, subject, text_body, html_body, attachments, occurred_at,
           internet_message_id, reference_ids, agent_key, mail_class, sender_verified, delivery_state,
           conversation_key, conversation_number, whatsapp, wamid
         FROM json_to_recordset($1::json) AS v(message_id uuid, attention_id uuid, interaction_id uuid, position bigint,
           direction text, from_address text, from_name text, to_addresses jsonb, cc_addresses jsonb, bcc_addresses jsonb,
           reply_to_addresses jsonb, subject text, text_body text, html_body text, attachments jsonb,
           occurred_at timestamptz, internet_message_id text, reference_ids text[], agent_key text, mail_class text,
           sender_verified boolean, delivery_state text, conversation_key uuid, conversation_number bigint,
           whatsapp bytea, wamid text)",
        Json(new) as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What a message is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Ledger id of an inbound item.
    External(Uuid),
    /// Id of a send.
    Send(Uuid),
    /// SHA-256 of a Message-ID.
    Internet([u8; 32]),
    /// SHA-256 of an account and Meta's id of an item, which is unique for a number.
    Wamid([u8; 32]),
}

impl Key {
    /// Of a Message-ID without angle brackets; `None` for an empty one.
    pub(crate) fn internet(message_id: &str) -> Option<Self> {
        let message_id = message_id.trim();
        (!message_id.is_empty()).then(|| Self::Internet(Sha256::digest(message_id.as_bytes()).into()))
    }

    /// Of Meta's id of an item; `None` for an empty one.
    pub(crate) fn wamid(account: &str, wamid: &str) -> Option<Self> {
        let digest = || Sha256::new().chain_update(account).chain_update([0]).chain_update(wamid).finalize();
        (!wamid.is_empty()).then(|| Self::Wamid(digest().into()))
    }

    fn kind(&self) -> &'static str {
        match self {
            Key::External(_) => "external",
            Key::Send(_) => "send",
            Key::Internet(_) => "internet",
            Key::Wamid(_) => "wamid",
        }
    }

    /// The key as stored.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Key::External(id) | Key::Send(id) => id.as_bytes().to_vec(),
            Key::Internet(digest) | Key::Wamid(digest) => digest.to_vec(),
        }
    }
}

/// A key with what it leads to.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub key: Key,
    pub message: MessageId,
    pub interaction: InteractionId,
    pub attention: AttentionId,
}

/// Inserts keys. An external id or send id that is known already violates `own_key_names_one_message`.
pub(crate) async fn insert_keys(tx: &mut PgConnection, keys: &[KeyRow]) -> Result<(), Error> {
    let kinds: Vec<String> = keys.iter().map(|row| row.key.kind().to_owned()).collect();
    let bytes: Vec<Vec<u8>> = keys.iter().map(|row| row.key.bytes()).collect();
    let messages: Vec<Uuid> = keys.iter().map(|row| row.message.uuid()).collect();
    let interactions: Vec<Uuid> = keys.iter().map(|row| row.interaction.uuid()).collect();
    let attentions: Vec<Uuid> = keys.iter().map(|row| row.attention.uuid()).collect();
    sqlx::query!(
        "INSERT INTO attention.message_key (kind, key, message_id, interaction_id, attention_id)
         SELECT * FROM unnest($1::text[], $2::bytea[], $3::uuid[], $4::uuid[], $5::uuid[])",
        &kinds,
        &bytes,
        &messages,
        &interactions,
        &attentions
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A Message-ID as known in an attention.
#[derive(Clone, Debug)]
pub(crate) struct KnownId {
    pub digest: Vec<u8>,
    pub attention: Uuid,
    /// True when a mail that we sent carries it.
    pub sent: bool,
}

/// Attentions in which Message-IDs are known.
pub(crate) async fn attentions_of_message_ids(
    tx: &mut PgConnection,
    digests: &[Vec<u8>],
) -> Result<Vec<KnownId>, Error> {
    // The id of a send is the id of its message, and its key stays for ever.
    let rows = sqlx::query!(
        r#"SELECT i.key, i.attention_id, bool_or(s.key IS NOT NULL) AS "sent!"
           FROM attention.message_key i
           LEFT JOIN attention.message_key s ON s.kind = 'send' AND s.key = uuid_send(i.message_id)
           WHERE i.kind = 'internet' AND i.key = ANY($1) GROUP BY i.key, i.attention_id"#,
        digests
    )
    .fetch_all(tx)
    .await?;
    let known =
        rows.into_iter().map(|row| KnownId { digest: row.key, attention: row.attention_id, sent: row.sent });
    Ok(known.collect())
}

/// How many reports of machines interactions hold; those without any are left out.
pub(crate) async fn reports_of(
    tx: &mut PgConnection,
    interactions: &[Uuid],
) -> Result<Vec<(InteractionId, i64)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT interaction_id, count(*) AS "reports!" FROM attention.message
           WHERE interaction_id = ANY($1) AND mail_class IN ('delivery-report', 'own-loop') GROUP BY interaction_id"#,
        interactions
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (InteractionId(row.interaction_id), row.reports)).collect())
}

/// Counts reports that were left out. Call it under the attentions' locks.
pub(crate) async fn leave_out_reports(
    tx: &mut PgConnection,
    interactions: &[InteractionId],
) -> Result<(), Error> {
    let ids: Vec<Uuid> = interactions.iter().map(|id| id.uuid()).collect();
    sqlx::query!(
        "UPDATE attention.interaction AS i SET reports_left_out = i.reports_left_out + v.reports
         FROM (SELECT id, count(*) AS reports FROM unnest($1::uuid[]) AS id GROUP BY id) AS v
         WHERE i.interaction_id = v.id",
        &ids
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Which ledger ids were taken in before.
pub(crate) async fn known_externals(tx: &mut PgConnection, ledger_ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    let keys: Vec<Vec<u8>> = ledger_ids.iter().map(|id| id.as_bytes().to_vec()).collect();
    // One by one along the index. Of a list a plan made for an empty table makes a filter over all keys of the kind.
    let rows = sqlx::query_scalar!(
        r#"SELECT known.key AS "key!" FROM unnest($1::bytea[]) AS asked (key)
           CROSS JOIN LATERAL (SELECT key FROM attention.message_key
             WHERE kind = 'external' AND key = asked.key LIMIT 1) AS known"#,
        &keys
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.iter().filter_map(|key| Uuid::from_slice(key).ok()).collect())
}
