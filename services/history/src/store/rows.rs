//! How rows become domain values. A row that contradicts the table's own checks is CORRUPT.

use hilo_kit::error::Error;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use crate::domain::thread::{Direction, Head, Mailbox, Recipient};

/// A mailbox inside of a JSON column.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredMailbox {
    address: String,
    #[serde(default)]
    name: String,
}

pub(super) fn mailboxes(list: &[Mailbox]) -> Result<serde_json::Value, Error> {
    let list: Vec<_> = list
        .iter()
        .map(|one| StoredMailbox { address: one.address.clone(), name: one.name.clone() })
        .collect();
    serde_json::to_value(list).map_err(|error| {
        Error::internal("UNENCODABLE", "recipients could not be written as JSON").with_source(error)
    })
}

pub(super) fn from_mailboxes(list: Json<Vec<StoredMailbox>>) -> Vec<Mailbox> {
    list.0.into_iter().map(|one| Mailbox { address: one.address, name: one.name }).collect()
}

/// What became of a recipient, inside of a JSON column.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredRecipient {
    address: String,
    state: String,
    code: i32,
    enhanced: String,
    words: String,
}

pub(super) fn recipients(list: &[Recipient]) -> Result<serde_json::Value, Error> {
    let list: Vec<_> = list
        .iter()
        .cloned()
        .map(|one| StoredRecipient {
            address: one.address,
            state: one.state,
            code: one.reply_code,
            enhanced: one.enhanced_code,
            words: one.reply_text,
        })
        .collect();
    serde_json::to_value(list).map_err(|error| {
        Error::internal("UNENCODABLE", "states of recipients could not be written as JSON").with_source(error)
    })
}

pub(super) fn from_recipients(list: Json<Vec<StoredRecipient>>) -> Vec<Recipient> {
    list.0
        .into_iter()
        .map(|one| Recipient {
            address: one.address,
            state: one.state,
            reply_code: one.code,
            enhanced_code: one.enhanced,
            reply_text: one.words,
        })
        .collect()
}

pub(super) fn direction(stored: i16) -> Result<Direction, Error> {
    match stored {
        1 => Ok(Direction::Inbound),
        2 => Ok(Direction::Outbound),
        _ => Err(Error::corrupt("UNKNOWN_DIRECTION", "a stored direction is neither inbound nor outbound")),
    }
}

pub(super) fn direction_number(direction: Direction) -> i16 {
    match direction {
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    }
}

/// Columns that [`head`] reads, of table `thread` under the alias `t`.
pub(super) const HEAD_COLUMNS: &str = "t.interaction_id, t.attention_id, t.attention_number, t.ordinal, t.campaign_key, \
    t.agent_key, t.channel, t.direction, t.customer_name, t.customer_address, t.subject, t.ended_at, \
    t.attention_closed, t.message_count, t.tags, t.vip";

pub(super) fn head(row: &PgRow) -> Result<Head, Error> {
    let interaction: uuid::Uuid = row.try_get("interaction_id")?;
    let attention: uuid::Uuid = row.try_get("attention_id")?;
    Ok(Head {
        interaction_id: interaction.into(),
        attention_id: attention.into(),
        attention_number: row.try_get("attention_number")?,
        ordinal: row.try_get("ordinal")?,
        campaign_key: row.try_get("campaign_key")?,
        agent_key: row.try_get("agent_key")?,
        channel: row.try_get("channel")?,
        direction: direction(row.try_get("direction")?)?,
        customer: Mailbox { address: row.try_get("customer_address")?, name: row.try_get("customer_name")? },
        subject: row.try_get("subject")?,
        ended_at: row.try_get("ended_at")?,
        attention_closed: row.try_get("attention_closed")?,
        message_count: row.try_get("message_count")?,
        tags: row.try_get("tags")?,
        vip: row.try_get("vip")?,
    })
}
