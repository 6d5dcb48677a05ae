//! Tables of attentions and interactions: rows to domain states and back, many at a time.

pub(crate) mod answered;
pub(crate) mod aside;
pub(crate) mod chat;
pub(crate) mod delivery;
pub(crate) mod demand;
pub(crate) mod message;
pub(crate) mod reached;
mod row;
pub(crate) mod thread;
pub(crate) mod window;
mod write;

use std::collections::BTreeMap;

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) use row::{LoadedAttention, LoadedInteraction};
pub(crate) use write::{
    Head, LastMessage, Lines, insert_attentions, insert_interactions, mark_flooded, raise_ended,
    update_attentions, update_interactions,
};

use super::domain::AttentionId;

/// What to do about rows that another transaction has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Leave them out; the caller answers `BUSY` and tries again.
    Skip,
    /// Wait for them, at most the session's lock timeout.
    Block,
}

/// The database's clock, read after the locks were taken, so that instants of one attention never go back.
pub(crate) async fn clock(tx: &mut PgConnection) -> Result<OffsetDateTime, Error> {
    Ok(sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(tx).await?)
}

/// Locks attentions in the order of their ids and reads them.
pub(crate) async fn lock_attentions(
    tx: &mut PgConnection,
    ids: &[Uuid],
    wait: Wait,
) -> Result<BTreeMap<AttentionId, LoadedAttention>, Error> {
    // Both statements lock in id order; only their answer to a locked row differs.
    let rows = match wait {
        Wait::Skip => {
            sqlx::query_as!(
                row::AttentionRow,
                "SELECT attention_id, number, channel, account_key, campaign_key, contact_id, customer_address, subject,
                   closed_at, window_ends_at, sequence, send_sequence, message_position, interaction_count, linked_attention_id,
                   lineage_id, participants, flooded, tags
                 FROM attention.attention WHERE attention_id = ANY($1) ORDER BY attention_id FOR UPDATE SKIP LOCKED",
                ids
            )
            .fetch_all(tx)
            .await?
        }
        Wait::Block => {
            sqlx::query_as!(
                row::AttentionRow,
                "SELECT attention_id, number, channel, account_key, campaign_key, contact_id, customer_address, subject,
                   closed_at, window_ends_at, sequence, send_sequence, message_position, interaction_count, linked_attention_id,
                   lineage_id, participants, flooded, tags
                 FROM attention.attention WHERE attention_id = ANY($1) ORDER BY attention_id FOR UPDATE",
                ids
            )
            .fetch_all(tx)
            .await?
        }
    };
    rows.into_iter().map(|row| row.load().map(|loaded| (loaded.head.id, loaded))).collect()
}

/// Attentions of interactions; unknown ids are left out.
pub(crate) async fn attentions_of(
    tx: &mut PgConnection,
    interactions: &[Uuid],
) -> Result<BTreeMap<Uuid, Uuid>, Error> {
    let rows = sqlx::query!(
        "SELECT interaction_id, attention_id FROM attention.interaction WHERE interaction_id = ANY($1)",
        interactions
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.interaction_id, row.attention_id)).collect())
}

/// Reads interactions. Lock their attentions first when they are to be changed.
pub(crate) async fn interactions(
    tx: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<LoadedInteraction>, Error> {
    let rows = sqlx::query_as!(
        row::InteractionRow,
        "SELECT interaction_id, attention_id, ordinal, version, state, direction, campaign_key, agent_key, waiting_since,
           queued_at, opened_at, ended_at, offer_id, offer_agent_key, offered_at, offer_deadline_at, offer_sender_key,
           overflowed, passed_by, overflowed_from, priority, message_count, weight, vip, preferred_agent_key, preferred_until,
           closed_attention, traceparent
         FROM attention.interaction WHERE interaction_id = ANY($1) ORDER BY interaction_id",
        ids
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(row::InteractionRow::load).collect()
}

/// Reads all interactions of attentions, by ordinal.
pub(crate) async fn interactions_of(
    tx: &mut PgConnection,
    attentions: &[Uuid],
) -> Result<Vec<LoadedInteraction>, Error> {
    let rows = sqlx::query_as!(
        row::InteractionRow,
        "SELECT interaction_id, attention_id, ordinal, version, state, direction, campaign_key, agent_key, waiting_since,
           queued_at, opened_at, ended_at, offer_id, offer_agent_key, offered_at, offer_deadline_at, offer_sender_key,
           overflowed, passed_by, overflowed_from, priority, message_count, weight, vip, preferred_agent_key, preferred_until,
           closed_attention, traceparent
         FROM attention.interaction WHERE attention_id = ANY($1) ORDER BY attention_id, ordinal",
        attentions
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(row::InteractionRow::load).collect()
}

/// Reads the live or else the last interaction of each attention: the one a customer's message is for.
pub(crate) async fn current_interactions(
    tx: &mut PgConnection,
    attentions: &[Uuid],
) -> Result<Vec<LoadedInteraction>, Error> {
    let rows = sqlx::query_as!(
        row::InteractionRow,
        "SELECT DISTINCT ON (attention_id)
           interaction_id, attention_id, ordinal, version, state, direction, campaign_key, agent_key, waiting_since,
           queued_at, opened_at, ended_at, offer_id, offer_agent_key, offered_at, offer_deadline_at, offer_sender_key,
           overflowed, passed_by, overflowed_from, priority, message_count, weight, vip, preferred_agent_key, preferred_until,
           closed_attention, traceparent
         FROM attention.interaction WHERE attention_id = ANY($1)
         ORDER BY attention_id, (state <> 'ended') DESC, ordinal DESC",
        attentions
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(row::InteractionRow::load).collect()
}

/// Reads one attention without locking it.
pub(crate) async fn attention(tx: &mut PgConnection, id: Uuid) -> Result<Option<LoadedAttention>, Error> {
    let row = sqlx::query_as!(
        row::AttentionRow,
        "SELECT attention_id, number, channel, account_key, campaign_key, contact_id, customer_address, subject,
           closed_at, window_ends_at, sequence, send_sequence, message_position, interaction_count, linked_attention_id,
           lineage_id, participants, flooded, tags
         FROM attention.attention WHERE attention_id = $1",
        id
    )
    .fetch_optional(tx)
    .await?;
    row.map(row::AttentionRow::load).transpose()
}

/// Draws human numbers.
pub(crate) async fn draw_numbers(tx: &mut PgConnection, count: usize) -> Result<Vec<i64>, Error> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let numbers = sqlx::query_scalar!(
        r#"SELECT nextval('attention.attention_number') AS "number!" FROM generate_series(1, $1::bigint)"#,
        count
    )
    .fetch_all(tx)
    .await?;
    Ok(numbers)
}

/// Takes from interactions that came to another campaign the version of the form they kept: that campaign has its own.
pub(crate) async fn forget_kept_forms(tx: &mut PgConnection, moved: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE attention.form_answer SET kept = false WHERE interaction_id = ANY($1) AND kept",
        moved
    )
    .execute(tx)
    .await?;
    Ok(())
}
