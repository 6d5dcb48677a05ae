//! Writes domain states, many rows in one statement. Updates carry the version they were decided on in their WHERE
//! clause: a state that changed meanwhile is a conflict, never overwritten. They name their rows a second time by `= ANY`:
//! of a set returned by a function PostgreSQL expects a hundred rows, and would read a table of thousands whole for each.

use hilo_kit::error::Error;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attention::domain::{Attention, CampaignKey, Interaction, Phase, Stage, TagKey, UserKey};

/// What an attention's row holds beside the domain's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub customer_address: String,
    pub subject: String,
    pub lineage: Uuid,
    /// Whole list.
    pub participants: Vec<String>,
}

/// What a list shows of an interaction's last message, and the trace it began with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub last_message: Option<LastMessage>,
    pub traceparent: String,
}

/// The last message as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastMessage {
    pub preview: String,
    pub at: OffsetDateTime,
    /// `None` leaves the mark as it is (an agent's message says nothing of the customer).
    pub sender_verified: Option<bool>,
}

#[derive(Serialize)]
struct AttentionValues<'a> {
    attention_id: Uuid,
    number: i64,
    channel: &'static str,
    account_key: &'a str,
    campaign_key: &'a str,
    contact_id: Uuid,
    customer_address: &'a str,
    subject: &'a str,
    state: &'static str,
    #[serde(with = "time::serde::rfc3339::option")]
    closed_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    window_ends_at: Option<OffsetDateTime>,
    sequence: i64,
    /// Sequence before; 0 for a new one.
    was: i64,
    send_sequence: i64,
    message_position: i64,
    interaction_count: i32,
    linked_attention_id: Option<Uuid>,
    lineage_id: Uuid,
    participants: &'a [String],
    tags: Vec<&'a str>,
}

fn attention_values<'a>(was: i64, attention: &'a Attention, head: &'a Head) -> AttentionValues<'a> {
    let (state, closed_at) = match attention.phase {
        Phase::Waiting => ("waiting", None),
        Phase::Open => ("open", None),
        Phase::Closed { at } => ("closed", Some(at)),
    };
    AttentionValues {
        attention_id: attention.id.uuid(),
        number: attention.number,
        channel: attention.channel.word(),
        account_key: attention.account.as_str(),
        campaign_key: attention.campaign.as_str(),
        contact_id: attention.contact.uuid(),
        customer_address: &head.customer_address,
        subject: &head.subject,
        state,
        closed_at,
        window_ends_at: attention.window_ends_at,
        sequence: attention.sequence,
        was,
        send_sequence: attention.sends,
        message_position: attention.messages,
        interaction_count: attention.interactions,
        linked_attention_id: attention.linked.map(|id| id.uuid()),
        lineage_id: head.lineage,
        participants: &head.participants,
        tags: attention.tags.iter().map(TagKey::as_str).collect(),
    }
}

/// Inserts new attentions.
pub(crate) async fn insert_attentions(
    tx: &mut PgConnection,
    new: &[(&Attention, &Head)],
) -> Result<(), Error> {
    if new.is_empty() {
        return Ok(());
    }
    let values: Vec<_> = new.iter().map(|(attention, head)| attention_values(0, attention, head)).collect();
    sqlx::query!(
        "INSERT INTO attention.attention (attention_id, number, channel, account_key, campaign_key, contact_id,
           customer_address, subject, state, closed_at, sequence, send_sequence, message_position, interaction_count,
           linked_attention_id, lineage_id, participants, tags, window_ends_at)
         SELECT attention_id, number, channel, account_key, campaign_key, contact_id, customer_address, subject, state,
           closed_at, sequence, send_sequence, message_position, interaction_count, linked_attention_id, lineage_id,
           participants, tags, window_ends_at
         FROM json_to_recordset($1::json) AS v(attention_id uuid, number bigint, channel text, account_key text,
           campaign_key text, contact_id uuid, customer_address text, subject text, state text, closed_at timestamptz,
           sequence bigint, send_sequence bigint, message_position bigint, interaction_count integer,
           linked_attention_id uuid, lineage_id uuid, participants text[], tags text[],
           window_ends_at timestamptz)",
        Json(&values) as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Updates attentions that were at the given sequence.
///
/// # Errors
/// `LOST_UPDATE` (class conflict) when one was not: its lock was not held.
pub(crate) async fn update_attentions(
    tx: &mut PgConnection,
    changed: &[(i64, &Attention, &Head)],
) -> Result<(), Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let values: Vec<_> =
        changed.iter().map(|(was, attention, head)| attention_values(*was, attention, head)).collect();
    let ids: Vec<Uuid> = values.iter().map(|one| one.attention_id).collect();
    let updated = sqlx::query!(
        "UPDATE attention.attention AS a SET campaign_key = v.campaign_key, state = v.state, closed_at = v.closed_at,
           sequence = v.sequence, send_sequence = v.send_sequence, message_position = v.message_position,
           interaction_count = v.interaction_count, linked_attention_id = v.linked_attention_id,
           participants = v.participants, contact_id = v.contact_id, tags = v.tags,
           window_ends_at = v.window_ends_at
         FROM json_to_recordset($1::json) AS v(attention_id uuid, campaign_key text, state text, closed_at timestamptz,
           sequence bigint, was bigint, send_sequence bigint, message_position bigint, interaction_count integer,
           linked_attention_id uuid, participants text[], contact_id uuid, tags text[], window_ends_at timestamptz)
         WHERE a.attention_id = v.attention_id AND a.sequence = v.was AND a.attention_id = ANY($2)",
        Json(&values) as _,
        &ids
    )
    .execute(tx)
    .await?
    .rows_affected();
    all_updated(updated, changed.len())
}

/// Attentions whose interaction is full stand aside, so that another of their lineage may be open beside them.
pub(crate) async fn mark_flooded(tx: &mut PgConnection, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query!("UPDATE attention.attention SET flooded = true WHERE attention_id = ANY($1)", ids)
        .execute(tx)
        .await?;
    Ok(())
}

fn all_updated(updated: u64, wanted: usize) -> Result<(), Error> {
    if usize::try_from(updated) == Ok(wanted) {
        return Ok(());
    }
    Err(Error::conflict("LOST_UPDATE", "a state changed between reading and writing"))
}

/// Raises the version of the ended interactions of locked attentions, but for those that an event has raised already:
/// what history stored of them is no longer the whole truth (tags, the contact), so it fetches them again. No event
/// tells of it; each attention's own event does.
pub(crate) async fn raise_ended(
    tx: &mut PgConnection,
    attentions: &[Uuid],
    but: &[Uuid],
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE attention.interaction SET version = version + 1
         WHERE attention_id = ANY($1) AND state = 'ended' AND interaction_id <> ALL($2)",
        attentions,
        but
    )
    .execute(tx)
    .await?;
    Ok(())
}

#[derive(Serialize)]
struct InteractionValues<'a> {
    interaction_id: Uuid,
    attention_id: Uuid,
    ordinal: i32,
    version: i64,
    /// Version before; 0 for a new one.
    was: i64,
    state: &'static str,
    direction: &'static str,
    channel: &'static str,
    campaign_key: &'a str,
    agent_key: Option<&'a str>,
    #[serde(with = "time::serde::rfc3339")]
    waiting_since: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    queued_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    opened_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    ended_at: Option<OffsetDateTime>,
    offer_id: Option<Uuid>,
    offer_agent_key: Option<&'a str>,
    #[serde(with = "time::serde::rfc3339::option")]
    offered_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    offer_deadline_at: Option<OffsetDateTime>,
    offer_sender_key: Option<&'a str>,
    overflowed: bool,
    passed_by: Vec<&'a str>,
    overflowed_from: Vec<&'a str>,
    priority: i32,
    message_count: i32,
    weight: i32,
    vip: bool,
    preferred_agent_key: Option<&'a str>,
    #[serde(with = "time::serde::rfc3339::option")]
    preferred_until: Option<OffsetDateTime>,
    closed_attention: bool,
    preview: Option<&'a str>,
    #[serde(with = "time::serde::rfc3339::option")]
    last_message_at: Option<OffsetDateTime>,
    sender_verified: Option<bool>,
    traceparent: &'a str,
}

/// The columns that depend on the stage.
#[derive(Default)]
struct StageValues<'a> {
    state: &'static str,
    agent: Option<&'a str>,
    opened_at: Option<OffsetDateTime>,
    ended_at: Option<OffsetDateTime>,
    closed_attention: bool,
    overflowed: bool,
    passed_by: Vec<&'a str>,
    overflowed_from: Vec<&'a str>,
}

fn stage_values(stage: &Stage) -> StageValues<'_> {
    match stage {
        Stage::Queued { offer: _, overflowed, passed_by, overflowed_from } => StageValues {
            state: "queued",
            overflowed: *overflowed,
            passed_by: passed_by.iter().map(UserKey::as_str).collect(),
            overflowed_from: overflowed_from.iter().map(CampaignKey::as_str).collect(),
            ..StageValues::default()
        },
        Stage::Open { agent, opened_at } => StageValues {
            state: "open",
            agent: Some(agent.as_str()),
            opened_at: Some(*opened_at),
            ..StageValues::default()
        },
        Stage::Ended { agent, opened_at, ended_at, closed_attention } => StageValues {
            state: "ended",
            agent: Some(agent.as_str()),
            opened_at: Some(*opened_at),
            ended_at: Some(*ended_at),
            closed_attention: *closed_attention,
            ..StageValues::default()
        },
    }
}

fn interaction_values<'a>(
    was: i64,
    attention: &Attention,
    interaction: &'a Interaction,
    lines: &'a Lines,
) -> InteractionValues<'a> {
    let stage = stage_values(&interaction.stage);
    let offer = match &interaction.stage {
        Stage::Queued { offer, .. } => offer.as_ref(),
        Stage::Open { .. } | Stage::Ended { .. } => None,
    };
    let (last, demand) = (lines.last_message.as_ref(), &interaction.demand);
    InteractionValues {
        interaction_id: interaction.id.uuid(),
        attention_id: attention.id.uuid(),
        ordinal: interaction.ordinal,
        version: interaction.version,
        was,
        state: stage.state,
        direction: interaction.direction.word(),
        channel: attention.channel.word(),
        campaign_key: interaction.campaign.as_str(),
        agent_key: stage.agent,
        waiting_since: interaction.waiting_since,
        queued_at: interaction.queued_at,
        opened_at: stage.opened_at,
        ended_at: stage.ended_at,
        offer_id: offer.map(|offer| offer.id.uuid()),
        offer_agent_key: offer.and_then(|offer| offer.agent.as_ref()).map(UserKey::as_str),
        offered_at: offer.map(|offer| offer.offered_at),
        offer_deadline_at: offer.and_then(|offer| offer.deadline_at),
        offer_sender_key: offer.and_then(|offer| offer.sender.as_ref()).map(UserKey::as_str),
        overflowed: stage.overflowed,
        passed_by: stage.passed_by,
        overflowed_from: stage.overflowed_from,
        priority: interaction.priority,
        message_count: interaction.message_count,
        weight: demand.weight,
        vip: demand.vip,
        preferred_agent_key: demand.preferred.as_ref().map(|preferred| preferred.agent.as_str()),
        preferred_until: demand.preferred.as_ref().map(|preferred| preferred.until),
        closed_attention: stage.closed_attention,
        preview: last.map(|last| last.preview.as_str()),
        last_message_at: last.map(|last| last.at),
        sender_verified: last.and_then(|last| last.sender_verified),
        traceparent: &lines.traceparent,
    }
}

/// Inserts new interactions.
pub(crate) async fn insert_interactions(
    tx: &mut PgConnection,
    new: &[(&Attention, &Interaction, &Lines)],
) -> Result<(), Error> {
    if new.is_empty() {
        return Ok(());
    }
    let values: Vec<_> = new.iter().map(|(a, i, lines)| interaction_values(0, a, i, lines)).collect();
    sqlx::query!(
        "INSERT INTO attention.interaction (interaction_id, attention_id, ordinal, version, state, direction, channel,
           campaign_key, agent_key, waiting_since, queued_at, opened_at, ended_at, offer_id, offer_agent_key, offered_at,
           offer_deadline_at, overflowed, passed_by, overflowed_from, priority, message_count, closed_attention, preview,
           last_message_at, sender_verified, traceparent, weight, vip, preferred_agent_key, preferred_until)
         SELECT interaction_id, attention_id, ordinal, version, state, direction, channel, campaign_key, agent_key,
           waiting_since, queued_at, opened_at, ended_at, offer_id, offer_agent_key, offered_at, offer_deadline_at,
           overflowed, passed_by, overflowed_from, priority, message_count, closed_attention, coalesce(preview, ''),
           coalesce(last_message_at, queued_at), coalesce(sender_verified, true), traceparent,
           weight, vip, preferred_agent_key, preferred_until
         FROM json_to_recordset($1::json) AS v(interaction_id uuid, attention_id uuid, ordinal integer, version bigint,
           state text, direction text, channel text, campaign_key text, agent_key text, waiting_since timestamptz,
           queued_at timestamptz, opened_at timestamptz, ended_at timestamptz, offer_id uuid, offer_agent_key text,
           offered_at timestamptz, offer_deadline_at timestamptz, overflowed boolean, passed_by text[], overflowed_from text[],
           priority integer, message_count integer, closed_attention boolean, preview text,
           last_message_at timestamptz, sender_verified boolean, traceparent text, weight integer, vip boolean,
           preferred_agent_key text, preferred_until timestamptz)",
        Json(&values) as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Updates interactions that were at the given version.
///
/// # Errors
/// `LOST_UPDATE` (class conflict) when one was not.
pub(crate) async fn update_interactions(
    tx: &mut PgConnection,
    changed: &[(i64, &Attention, &Interaction, &Lines)],
) -> Result<(), Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let values: Vec<_> =
        changed.iter().map(|(was, a, i, lines)| interaction_values(*was, a, i, lines)).collect();
    let ids: Vec<Uuid> = values.iter().map(|one| one.interaction_id).collect();
    let updated = sqlx::query!(
        "UPDATE attention.interaction AS i SET version = v.version, state = v.state, campaign_key = v.campaign_key,
           agent_key = v.agent_key, queued_at = v.queued_at, opened_at = v.opened_at,
           first_opened_at = coalesce(i.first_opened_at, v.opened_at), ended_at = v.ended_at,
           offer_id = v.offer_id, offer_agent_key = v.offer_agent_key, offered_at = v.offered_at,
           offer_deadline_at = v.offer_deadline_at, offer_sender_key = v.offer_sender_key,
           overflowed = v.overflowed, passed_by = v.passed_by, overflowed_from = v.overflowed_from,
           priority = v.priority, message_count = v.message_count, closed_attention = v.closed_attention,
           preview = coalesce(v.preview, i.preview), last_message_at = coalesce(v.last_message_at, i.last_message_at),
           sender_verified = coalesce(v.sender_verified, i.sender_verified), weight = v.weight, vip = v.vip,
           preferred_agent_key = v.preferred_agent_key, preferred_until = v.preferred_until
         FROM json_to_recordset($1::json) AS v(interaction_id uuid, version bigint, was bigint, state text,
           campaign_key text, agent_key text, queued_at timestamptz, opened_at timestamptz, ended_at timestamptz,
           offer_id uuid, offer_agent_key text, offered_at timestamptz, offer_deadline_at timestamptz,
           offer_sender_key text, overflowed boolean, passed_by text[], overflowed_from text[], priority integer,
           message_count integer, closed_attention boolean,
           preview text, last_message_at timestamptz, sender_verified boolean, weight integer, vip boolean,
           preferred_agent_key text, preferred_until timestamptz)
         WHERE i.interaction_id = v.interaction_id AND i.version = v.was AND i.interaction_id = ANY($2)",
        Json(&values) as _,
        &ids
    )
    .execute(tx)
    .await?
    .rows_affected();
    all_updated(updated, changed.len())
}
