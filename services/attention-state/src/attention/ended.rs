//! Ended threads for history: what it has not confirmed yet, whole threads, and its confirmations.

use std::collections::BTreeMap;

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_proto::history::v1::{FilledForm, Thread, ThreadMessage, ThreadNote, ThreadSummary};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::domain::{Interaction, Stage};
use super::published;
use super::store::{self, thread};
use crate::{contact, directory};

/// Messages of a thread; the domain allows no more.
const MAX_MESSAGES: i64 = super::domain::MAX_MESSAGES as i64;

/// An ended interaction at a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub interaction: Uuid,
    pub version: i64,
    pub ended_at: OffsetDateTime,
}

/// Ended interactions that history has not confirmed at their version, oldest first, after a place.
pub(crate) async fn unconfirmed(
    tx: &mut PgConnection,
    after: Option<(OffsetDateTime, Uuid)>,
    limit: i64,
) -> Result<Vec<Ended>, Error> {
    let rows = sqlx::query!(
        r#"SELECT interaction_id, version, ended_at AS "ended_at!" FROM attention.interaction
           WHERE state = 'ended' AND confirmed_version IS DISTINCT FROM version
             AND ($1::timestamptz IS NULL OR (ended_at, interaction_id) > ($1, $2::uuid))
           ORDER BY ended_at, interaction_id LIMIT $3"#,
        after.map(|(at, _)| at),
        after.map(|(_, id)| id),
        limit
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Ended { interaction: row.interaction_id, version: row.version, ended_at: row.ended_at })
        .collect())
}

/// Notes that history has stored these versions; answers how many were still at them.
pub(crate) async fn confirm(tx: &mut PgConnection, stored: &[(Uuid, i64)]) -> Result<u64, Error> {
    let ids: Vec<Uuid> = stored.iter().map(|(id, _)| *id).collect();
    let versions: Vec<i64> = stored.iter().map(|(_, version)| *version).collect();
    // A version that changed meanwhile stays unconfirmed: history stored something older.
    let confirmed = sqlx::query!(
        "UPDATE attention.interaction AS i SET confirmed_version = v.version
         FROM (SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS given(id, version) ORDER BY id) AS v
         WHERE i.interaction_id = v.id AND i.version = v.version AND i.state = 'ended'",
        &ids,
        &versions
    )
    .execute(tx)
    .await?;
    Ok(confirmed.rows_affected())
}

/// The whole thread of an ended interaction; `None` when there is none, or it is not ended. Call it in a snapshot.
pub(crate) async fn whole(tx: &mut PgConnection, id: Uuid) -> Result<Option<Thread>, Error> {
    let Some(loaded) = store::interactions(tx, &[id]).await?.into_iter().next() else { return Ok(None) };
    let interaction = loaded.interaction;
    let Stage::Ended { agent, opened_at, ended_at, closed_attention } = &interaction.stage else {
        return Ok(None);
    };
    let Some(attention) = store::attention(tx, loaded.attention.uuid()).await? else { return Ok(None) };
    let head = &attention.head;
    let customer = contact::contact(tx, head.contact.uuid()).await?;
    let all = thread::all_of(tx, head.id.uuid(), id, MAX_MESSAGES).await?;
    let (notes, messages): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.internal);
    let summary = ThreadSummary {
        interaction_id: id.to_string(),
        attention_id: head.id.to_string(),
        attention_number: head.number,
        ordinal: interaction.ordinal,
        campaign_key: interaction.campaign.to_string(),
        agent_key: agent.to_string(),
        channel: head.channel.word().to_owned(),
        direction: published::direction(interaction.direction).into(),
        customer_name: customer.map(|contact| contact.name).unwrap_or_default(),
        customer_address: attention.customer_address.clone(),
        subject: attention.subject.clone(),
        ended_at: Some(to_proto(*ended_at)),
        attention_closed: *closed_attention,
        message_count: i32::try_from(messages.len()).unwrap_or(i32::MAX),
        tags: head.tags.iter().map(ToString::to_string).collect(),
        ..ThreadSummary::default()
    };
    Ok(Some(Thread {
        summary: Some(summary),
        version: interaction.version,
        messages,
        form: filled_form(tx, &interaction).await?,
        linked_attention_id: head.linked.map(|id| id.to_string()).unwrap_or_default(),
        account_key: head.account.to_string(),
        waiting_since: Some(to_proto(interaction.waiting_since)),
        opened_at: Some(to_proto(*opened_at)),
        contact_id: head.contact.to_string(),
        notes: notes.into_iter().map(note).collect(),
    }))
}

/// A note has no recipients and no delivery: history keeps what is left of it.
fn note(note: ThreadMessage) -> ThreadNote {
    let ThreadMessage { message_id, agent_key, text, occurred_at, .. } = note;
    ThreadNote { note_id: message_id, author_key: agent_key, text, created_at: occurred_at }
}

async fn filled_form(tx: &mut PgConnection, interaction: &Interaction) -> Result<Option<FilledForm>, Error> {
    let row = sqlx::query!(
        r#"SELECT form_key, form_version, answers AS "answers: Json<BTreeMap<String, String>>"
           FROM attention.form_answer WHERE interaction_id = $1"#,
        interaction.id.uuid()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let definition = directory::form(tx, &row.form_key, Some(row.form_version)).await?;
    let labels =
        definition.map(|form| form.fields.into_iter().map(|field| (field.key, field.label)).collect());
    Ok(Some(FilledForm {
        form_key: row.form_key,
        form_version: row.form_version,
        values: row.answers.0.into_iter().collect(),
        labels: labels.unwrap_or_default(),
    }))
}
