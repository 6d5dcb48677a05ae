//! WhatsApp items as they are stored: what customers change of them, what waits for them, and whom to write to.

use std::collections::HashMap;

use hilo_kit::error::Error;
use hilo_proto::history::v1::WhatsAppItem;
use hilo_proto::inbound::v1::{InboundWhatsApp, WhatsAppIdentity};
use prost::Message as _;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::message::{Key, StoredAttachment};
use crate::attention::domain::{
    AttentionId, DeliveryState, InteractionId, MessageId, MessageKind, MessageSummary,
};

/// Where an item is that others name by its wamid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub message: Uuid,
    pub attention: AttentionId,
}

/// Items by the keys of their wamids; unknown ones are left out.
pub(crate) async fn targets(
    tx: &mut PgConnection,
    keys: &[Vec<u8>],
) -> Result<HashMap<Vec<u8>, Target>, Error> {
    let rows = sqlx::query!(
        "SELECT key, message_id, attention_id FROM attention.message_key WHERE kind = 'wamid' AND key = ANY($1)",
        keys
    )
    .fetch_all(tx)
    .await?;
    let target = |message, attention| Target { message, attention: AttentionId(attention) };
    Ok(rows.into_iter().map(|row| (row.key, target(row.message_id, row.attention_id))).collect())
}

/// An item that may be changed.
#[derive(Clone, Debug)]
pub(crate) struct StoredItem {
    pub message: Uuid,
    pub inbound: bool,
    pub position: i64,
    pub occurred_at: OffsetDateTime,
    pub delivery: Option<DeliveryState>,
    pub text: String,
    pub files: Vec<StoredAttachment>,
    pub item: WhatsAppItem,
    /// Its contents are in the history only.
    pub purged: bool,
}

impl StoredItem {
    /// What the domain is told of it.
    pub(crate) fn summary(&self) -> MessageSummary {
        let kind = match self.delivery {
            Some(delivery) => MessageKind::Outbound { delivery },
            None => MessageKind::Inbound { class: None, sender_verified: true },
        };
        MessageSummary {
            id: MessageId(self.message),
            occurred_at: self.occurred_at,
            attachments: i32::try_from(self.files.len()).unwrap_or(i32::MAX),
            kind,
        }
    }
}

/// Items by their message ids. Lock their attentions first.
///
/// # Errors
/// `ROW_CONTRADICTS_ITSELF`; database errors.
pub(crate) async fn items(tx: &mut PgConnection, messages: &[Uuid]) -> Result<Vec<StoredItem>, Error> {
    let rows = sqlx::query!(
        r#"SELECT message_id, direction, position, occurred_at, delivery_state, text_body,
             attachments AS "attachments: Json<Vec<StoredAttachment>>", whatsapp, purged
           FROM attention.message WHERE message_id = ANY($1) AND direction IN ('inbound', 'outbound')"#,
        messages
    )
    .fetch_all(tx)
    .await?;
    let unreadable = || Error::corrupt("ROW_CONTRADICTS_ITSELF", "a WhatsApp item cannot be read");
    rows.into_iter()
        .map(|row| {
            Ok(StoredItem {
                message: row.message_id,
                inbound: row.direction == "inbound",
                position: row.position,
                occurred_at: row.occurred_at,
                delivery: row.delivery_state.as_deref().and_then(DeliveryState::of),
                text: row.text_body,
                files: row.attachments.0,
                item: WhatsAppItem::decode(row.whatsapp.unwrap_or_default().as_slice())
                    .map_err(|_| unreadable())?,
                purged: row.purged,
            })
        })
        .collect()
}

/// Writes changed items, contents that are here only. Call it under their attentions' locks.
pub(crate) async fn write_items(tx: &mut PgConnection, changed: &[StoredItem]) -> Result<(), Error> {
    for one in changed {
        let files = serde_json::to_value(&one.files)
            .map_err(|error| Error::internal("UNENCODABLE", "files cannot be stored").with_source(error))?;
        sqlx::query!(
            "UPDATE attention.message SET text_body = $2, attachments = $3, whatsapp = $4
             WHERE message_id = $1 AND NOT purged",
            one.message,
            one.text,
            files,
            one.item.encode_to_vec()
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// A reaction, edit, revoke or content of a file that waits for its target.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub ledger: Uuid,
    /// Place in the channel's order of its conversation.
    pub number: i64,
    pub item: InboundWhatsApp,
}

/// What waits for these targets, by their keys, each in the order in which it came.
///
/// # Errors
/// `ROW_CONTRADICTS_ITSELF`; database errors.
pub(crate) async fn waiting(
    tx: &mut PgConnection,
    targets: &[Vec<u8>],
) -> Result<HashMap<Vec<u8>, Vec<Waiting>>, Error> {
    let rows = sqlx::query!(
        "SELECT ledger_id, target, number, item FROM attention.alteration WHERE state = 'waiting' AND target = ANY($1)
         ORDER BY came_at, ledger_id FOR UPDATE",
        targets
    )
    .fetch_all(tx)
    .await?;
    let unreadable = || Error::corrupt("ROW_CONTRADICTS_ITSELF", "an item that waits cannot be read");
    let mut found: HashMap<Vec<u8>, Vec<Waiting>> = HashMap::new();
    for row in rows {
        let item = InboundWhatsApp::decode(row.item.as_slice()).map_err(|_| unreadable())?;
        found.entry(row.target).or_default().push(Waiting {
            ledger: row.ledger_id,
            number: row.number,
            item,
        });
    }
    Ok(found)
}

/// What became of a reaction, edit or revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its target is not known yet.
    Waits,
    /// It was applied, or told nothing new.
    Applied,
    /// Its target cannot take it.
    Gone,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Fate::Waits => "waiting",
            Fate::Applied => "applied",
            Fate::Gone => "gone",
        }
    }
}

/// One that came, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Alteration {
    pub ledger: Uuid,
    /// Place in the channel's order of its conversation.
    pub number: i64,
    pub target: Key,
    pub item: InboundWhatsApp,
    pub fate: Fate,
}

/// Notes what became of one that came.
pub(crate) async fn note_alteration(tx: &mut PgConnection, came: &Alteration) -> Result<(), Error> {
    let item = match came.fate {
        Fate::Waits => came.item.encode_to_vec(),
        Fate::Applied | Fate::Gone => Vec::new(),
    };
    sqlx::query!(
        "INSERT INTO attention.alteration (ledger_id, target, number, item, state) VALUES ($1, $2, $3, $4, $5)",
        came.ledger,
        came.target.bytes(),
        came.number,
        item,
        came.fate.word()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Those that waited wait no more.
pub(crate) async fn settle_waiting(tx: &mut PgConnection, settled: &[Uuid], fate: Fate) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE attention.alteration SET state = $2, item = '' WHERE ledger_id = ANY($1) AND state = 'waiting'",
        settled,
        fate.word()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Those that waited longer than a week for a target that never came; answers how many.
pub(crate) async fn give_up_waiting(tx: &mut PgConnection) -> Result<u64, Error> {
    let gone = sqlx::query!(
        "UPDATE attention.alteration SET state = 'gone', item = ''
         WHERE state = 'waiting' AND came_at < now() - interval '7 days'"
    )
    .execute(tx)
    .await?;
    Ok(gone.rows_affected())
}

/// A message that is here, or in the history, and for which an alteration waits.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    pub message: Uuid,
    pub interaction: InteractionId,
    /// Key of its wamid, as stored.
    pub target: Vec<u8>,
    /// Its contents are in the history only.
    pub purged: bool,
}

/// Messages for which alterations wait although they are known and whose turn it is, the longest waiting first.
pub(crate) async fn late(conn: &mut PgConnection, limit: i64) -> Result<Vec<Late>, Error> {
    let rows = sqlx::query!(
        "SELECT m.message_id, m.interaction_id, a.target, m.purged FROM
           (SELECT target, min(next_at) AS since FROM attention.alteration
            WHERE state = 'waiting' AND next_at <= now() GROUP BY target) AS a
         JOIN attention.message_key AS k ON k.kind = 'wamid' AND k.key = a.target
         JOIN attention.message AS m USING (message_id)
         ORDER BY a.since LIMIT $1",
        limit
    )
    .fetch_all(conn)
    .await?;
    let late = |message, interaction, target, purged| Late {
        message,
        interaction: InteractionId(interaction),
        target,
        purged,
    };
    Ok(rows.into_iter().map(|row| late(row.message_id, row.interaction_id, row.target, row.purged)).collect())
}

/// What waits for this target has its next turn after a pause: 10 s, doubling up to an hour.
pub(crate) async fn put_off(tx: &mut PgConnection, target: &[u8]) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE attention.alteration SET tries = tries + 1,
           next_at = now() + least(interval '10 s' * (2 ^ least(tries, 12)), interval '1 hour')
         WHERE target = $1 AND state = 'waiting'",
        target
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ledger ids of reactions, edits and revokes that came before.
pub(crate) async fn known_alterations(tx: &mut PgConnection, ledgers: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar!("SELECT ledger_id FROM attention.alteration WHERE ledger_id = ANY($1)", ledgers)
        .fetch_all(tx)
        .await?)
}

/// Notes Meta's id of a message of ours; again is harmless. Answers false when another message has it.
pub(crate) async fn note_wamid(
    tx: &mut PgConnection,
    key: &Key,
    wamid: &str,
    message: Uuid,
) -> Result<bool, Error> {
    let noted = sqlx::query!(
        "INSERT INTO attention.message_key (kind, key, message_id, interaction_id, attention_id)
         SELECT 'wamid', $1, message_id, interaction_id, attention_id FROM attention.message WHERE message_id = $2
         ON CONFLICT DO NOTHING",
        key.bytes(),
        message
    )
    .execute(&mut *tx)
    .await?;
    if noted.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!("UPDATE attention.message SET wamid = $2 WHERE message_id = $1", message, wamid)
        .execute(tx)
        .await?;
    Ok(true)
}

/// Who the customer of a conversation is to Meta, by the newest that came from him.
///
/// # Errors
/// `ROW_CONTRADICTS_ITSELF`; database errors.
pub(crate) async fn customer(
    tx: &mut PgConnection,
    attention: AttentionId,
) -> Result<Option<WhatsAppIdentity>, Error> {
    let item = sqlx::query_scalar!(
        r#"SELECT whatsapp AS "whatsapp!" FROM attention.message
           WHERE attention_id = $1 AND direction = 'inbound' AND whatsapp IS NOT NULL ORDER BY position DESC LIMIT 1"#,
        attention.uuid()
    )
    .fetch_optional(tx)
    .await?;
    item.map_or(Ok(None), |item| customer_of(&item))
}

/// Whom the newest item of ours in a conversation was sent to; `None` when there is none, or only of a release that did not note it.
///
/// # Errors
/// `ROW_CONTRADICTS_ITSELF`; database errors.
pub(crate) async fn written_to(
    tx: &mut PgConnection,
    attention: AttentionId,
) -> Result<Option<WhatsAppIdentity>, Error> {
    let item = sqlx::query_scalar!(
        r#"SELECT whatsapp AS "whatsapp!" FROM attention.message
           WHERE attention_id = $1 AND direction = 'outbound' AND whatsapp IS NOT NULL ORDER BY position DESC LIMIT 1"#,
        attention.uuid()
    )
    .fetch_optional(tx)
    .await?;
    item.map_or(Ok(None), |item| customer_of(&item))
}

fn customer_of(item: &[u8]) -> Result<Option<WhatsAppIdentity>, Error> {
    let unreadable = |_| Error::corrupt("ROW_CONTRADICTS_ITSELF", "a WhatsApp item cannot be read");
    Ok(WhatsAppItem::decode(item).map_err(unreadable)?.customer)
}

/// Meta's id of a message of an attention; empty while it is not known. `None` when the attention has no such message.
pub(crate) async fn wamid_of(
    tx: &mut PgConnection,
    attention: AttentionId,
    message: Uuid,
) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(
        "SELECT wamid FROM attention.message
         WHERE message_id = $2 AND attention_id = $1 AND direction IN ('inbound', 'outbound')",
        attention.uuid(),
        message
    )
    .fetch_optional(tx)
    .await?)
}
