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
/// Messages of one page weigh at most as much (but there is at least one, of at most 2 MiB: `envelope::MAX_BODIES`): with the head
/// well below the 4 MiB that gRPC takes.
const PAGE_BYTES: i64 = 2 * 1024 * 1024;
/// Messages of one page.
const PAGE_MESSAGES: usize = 500;

/// Where a page begins: the version that the first page was of, and how many messages came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub version: i64,
    pub offset: usize,
}

/// A page of an ended thread.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub thread: Thread,
    pub next: Option<Place>,
}

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
    // A version that changed meanwhile stays unconfirmed: history stored something older. Confirmed twice, it keeps its instant.
    let confirmed = sqlx::query!(
        "UPDATE attention.interaction AS i SET confirmed_version = v.version,
           confirmed_at = CASE WHEN i.confirmed_version = v.version THEN i.confirmed_at ELSE now() END
         FROM (SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS given(id, version) ORDER BY id) AS v
         WHERE i.interaction_id = v.id AND i.version = v.version AND i.state = 'ended'",
        &ids,
        &versions
    )
    .execute(tx)
    .await?;
    Ok(confirmed.rows_affected())
}

/// A page of the thread of an ended interaction, from `from` on; `None` when there is none, or it is not ended. Call it in
/// a snapshot.
///
/// # Errors
/// `THREAD_CHANGED` when it is not at the version of the first page any more; database errors.
pub(crate) async fn page(
    tx: &mut PgConnection,
    id: Uuid,
    from: Option<Place>,
) -> Result<Option<Page>, Error> {
    let Some(loaded) = store::interactions(tx, &[id]).await?.into_iter().next() else { return Ok(None) };
    let interaction = loaded.interaction;
    let Stage::Ended { agent, opened_at, ended_at, closed_attention } = &interaction.stage else {
        return Ok(None);
    };
    let Some(attention) = store::attention(tx, loaded.attention.uuid()).await? else { return Ok(None) };
    let head = &attention.head;
    let customer = contact::contact(tx, head.contact.uuid()).await?;
    let part = part(tx, id, interaction.version, from).await?;
    // Once the bodies are in the history, its notes are whole and ours are empty.
    let (notes, messages): (Vec<_>, Vec<_>) = part.entries.into_iter().partition(|one| one.internal);
    let notes = notes.into_iter().filter(|note| !note.body_in_history).map(note).collect();
    let summary = ThreadSummary {
        interaction_id: id.to_string(),
        attention_id: head.id.to_string(),
        attention_number: head.number,
        ordinal: interaction.ordinal,
        campaign_key: interaction.campaign.to_string(),
        agent_key: agent.to_string(),
        channel: head.channel.word().to_owned(),
        direction: published::direction(interaction.direction).into(),
        vip: customer.as_ref().is_some_and(|contact| contact.vip),
        customer_name: customer.map(|contact| contact.name).unwrap_or_default(),
        customer_address: attention.customer_address.clone(),
        subject: attention.subject.clone(),
        ended_at: Some(to_proto(*ended_at)),
        attention_closed: *closed_attention,
        message_count: part.messages,
        tags: head.tags.iter().map(ToString::to_string).collect(),
    };
    let thread = Thread {
        summary: Some(summary),
        version: interaction.version,
        messages,
        form: filled_form(tx, &interaction).await?,
        linked_attention_id: head.linked.map(|id| id.to_string()).unwrap_or_default(),
        account_key: head.account.to_string(),
        waiting_since: Some(to_proto(interaction.waiting_since)),
        opened_at: Some(to_proto(*opened_at)),
        contact_id: head.contact.to_string(),
        notes,
    };
    Ok(Some(Page { thread, next: part.next }))
}

/// The first page of a thread: all of it, in tests.
#[cfg(test)]
pub(crate) async fn whole(tx: &mut PgConnection, id: Uuid) -> Result<Option<Thread>, Error> {
    Ok(page(tx, id, None).await?.map(|page| page.thread))
}

/// Messages and notes of a page.
struct Part {
    entries: Vec<ThreadMessage>,
    /// Messages of the whole thread, without notes.
    messages: i32,
    next: Option<Place>,
}

async fn part(tx: &mut PgConnection, id: Uuid, version: i64, from: Option<Place>) -> Result<Part, Error> {
    if from.is_some_and(|from| from.version != version) {
        return Err(Error::conflict("THREAD_CHANGED", "the thread changed between two pages; begin again"));
    }
    let offset = from.map_or(0, |from| from.offset);
    let order = thread::order_of(tx, id, MAX_MESSAGES).await?;
    let mut bytes = 0;
    let fits = |one: &&thread::Weighed| {
        let first = bytes == 0;
        bytes += one.bytes;
        first || bytes <= PAGE_BYTES
    };
    let ids: Vec<Uuid> =
        order.iter().skip(offset).take(PAGE_MESSAGES).take_while(fits).map(|one| one.id).collect();
    let reached = offset + ids.len();
    let next = (reached < order.len()).then_some(Place { version, offset: reached });
    let messages = order.iter().filter(|one| !one.internal).count();
    Ok(Part {
        entries: thread::by_ids(tx, &ids).await?,
        messages: i32::try_from(messages).unwrap_or(i32::MAX),
        next,
    })
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
