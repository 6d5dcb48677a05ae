//! Storing a thread whose messages lie in `arriving_message`: everything is moved and merged by the database, so that a
//! thread of gigabytes costs this process only the ids of its messages.
//!
//! The rules are those of [`crate::domain::merge`]: what was once said is never replaced by nothing, and a message that the
//! newer version lacks stays at its place.

use hilo_kit::error::Error;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::gathering::Gathered;
use super::{Stored, read, recipients, staging, write};
use crate::domain::merge::{self, Contents};
use crate::domain::thread::{InteractionId, Thread};

/// Messages moved by one statement, so that none takes long.
const MOVED_AT_ONCE: i32 = 200;

/// Keeps the thread (its messages are in the pages, not in it) unless its interaction is there at the same or a newer
/// version.
pub(super) async fn put(
    tx: &mut PgConnection,
    thread: &Thread,
    gathered: &Gathered,
) -> Result<Stored, Error> {
    let id = thread.head.interaction_id;
    complete(tx, gathered).await?;
    let before = read::lock(tx, id).await?;
    if before.is_some_and(|before| before.has(thread.version)) {
        staging::drop_fetch(tx, gathered.fetch).await?;
        return Ok(Stored::Known);
    }
    let kept = Contents { messages: Vec::new(), ..read::form_and_notes(tx, id).await? };
    let merged = merge::keep_contents(thread.clone(), kept);
    match write::upsert_head(tx, &merged, &gathered.customer_folded).await? {
        None => return Ok(Stored::Known),
        Some(replaced) if replaced != before.is_some() => return Err(write::lost_race()),
        Some(_) => {}
    }
    let old_words = before.is_some() && keeps_old_contents(tx, id, gathered.fetch).await?;
    move_messages(tx, id, gathered).await?;
    write::replace_form_and_notes(tx, &merged).await?;
    if !old_words {
        write::delete_words(tx, id).await?;
    }
    if !old_words || gathered.has_content {
        write::append_words(tx, id, &gathered.words).await?;
    }
    staging::drop_fetch(tx, gathered.fetch).await?;
    Ok(if before.is_some() { Stored::Replaced } else { Stored::New })
}

/// A crash of PostgreSQL empties tables that are not logged.
async fn complete(tx: &mut PgConnection, gathered: &Gathered) -> Result<(), Error> {
    let there = sqlx::query_scalar!(
        r#"SELECT count(*) AS "there!" FROM arriving_message WHERE fetch_id = $1"#,
        gathered.fetch
    )
    .fetch_one(tx)
    .await?;
    if there == i64::from(gathered.messages) {
        return Ok(());
    }
    Err(Error::unavailable("PAGES_LOST", "pages of a thread were lost on their way; they are fetched again"))
}

/// True when a stored message keeps a body that the newer version does not bring: its words must stay searchable.
async fn keeps_old_contents(tx: &mut PgConnection, id: InteractionId, fetch: Uuid) -> Result<bool, Error> {
    let keeps = sqlx::query_scalar!(
        r#"SELECT EXISTS (
             SELECT 1 FROM message m
             LEFT JOIN arriving_message a ON a.fetch_id = $2 AND a.message_id = m.message_id
               AND (a.body_text <> '' OR a.body_html <> '' OR a.attachments <> '[]' OR a.whatsapp IS NOT NULL)
             WHERE m.interaction_id = $1 AND a.message_id IS NULL AND (m.body_text <> '' OR m.body_html <> ''
               OR EXISTS (SELECT 1 FROM attachment f WHERE f.interaction_id = $1 AND f.message_id = m.message_id))
           ) AS "keeps!""#,
        id.uuid(),
        fetch
    )
    .fetch_one(tx)
    .await?;
    Ok(keeps)
}

async fn move_messages(tx: &mut PgConnection, id: InteractionId, gathered: &Gathered) -> Result<(), Error> {
    let stored = ids(tx, id).await?;
    let order = merge::order(arriving(tx, gathered.fetch).await?, &stored);
    // Places are checked at the end of the transaction, when every message has got its own.
    let mut from = 0;
    while from < gathered.messages {
        let to = from + MOVED_AT_ONCE;
        update_known(tx, id, gathered.fetch, from, to).await?;
        insert_new(tx, id, gathered.fetch, from, to).await?;
        replace_attachments(tx, id, gathered.fetch, from, to).await?;
        from = to;
    }
    sqlx::query!(
        "UPDATE message AS m SET position = o.position
         FROM unnest($2::uuid[]) WITH ORDINALITY AS o(message_id, position)
         WHERE m.interaction_id = $1 AND m.message_id = o.message_id AND m.position <> o.position",
        id.uuid(),
        &order
    )
    .execute(&mut *tx)
    .await?;
    recipients::settle(tx, id).await?;
    let held = i32::try_from(order.len()).unwrap_or(i32::MAX);
    sqlx::query!(
        "UPDATE thread SET message_count = greatest(message_count, $2) WHERE interaction_id = $1",
        id.uuid(),
        held
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn ids(tx: &mut PgConnection, id: InteractionId) -> Result<Vec<Uuid>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT message_id FROM message WHERE interaction_id = $1 ORDER BY position",
        id.uuid()
    )
    .fetch_all(tx)
    .await?;
    Ok(ids)
}

async fn arriving(tx: &mut PgConnection, fetch: Uuid) -> Result<Vec<Uuid>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT message_id FROM arriving_message WHERE fetch_id = $1 ORDER BY position",
        fetch
    )
    .fetch_all(tx)
    .await?;
    Ok(ids)
}

async fn update_known(
    tx: &mut PgConnection,
    id: InteractionId,
    fetch: Uuid,
    from: i32,
    to: i32,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE message AS m SET direction = a.direction, from_address = a.from_address, from_name = a.from_name,
           recipients = a.recipients, copies = a.copies,
           subject = CASE WHEN a.subject = '' THEN m.subject ELSE a.subject END,
           body_text = CASE WHEN a.content THEN a.body_text ELSE m.body_text END,
           body_html = CASE WHEN a.content THEN a.body_html ELSE m.body_html END,
           occurred_at = a.occurred_at, delivery_state = a.delivery_state, delivery_detail = a.delivery_detail,
           agent_key = a.agent_key, mail_class = a.mail_class, sender_verified = a.sender_verified,
           internet_message_id = a.internet_message_id, hidden_copies = a.hidden_copies,
           recipient_states = a.recipient_states, delivery_reason = a.delivery_reason,
           whatsapp = CASE WHEN a.content THEN a.whatsapp ELSE m.whatsapp END
         FROM (SELECT *, (body_text <> '' OR body_html <> '' OR attachments <> '[]' OR whatsapp IS NOT NULL)
                 AS content
               FROM arriving_message WHERE fetch_id = $2 AND position > $3 AND position <= $4) AS a
         WHERE m.interaction_id = $1 AND m.message_id = a.message_id",
        id.uuid(),
        fetch,
        from,
        to
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_new(
    tx: &mut PgConnection,
    id: InteractionId,
    fetch: Uuid,
    from: i32,
    to: i32,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO message (
           interaction_id, message_id, position, direction, from_address, from_name, recipients, copies, subject,
           body_text, body_html, occurred_at, delivery_state, delivery_detail, agent_key, mail_class,
           sender_verified, internet_message_id, hidden_copies, recipient_states, whatsapp, delivery_reason)
         SELECT $1, message_id, position, direction, from_address, from_name, recipients, copies, subject,
           body_text, body_html, occurred_at, delivery_state, delivery_detail, agent_key, mail_class,
           sender_verified, internet_message_id, hidden_copies, recipient_states, whatsapp, delivery_reason
         FROM arriving_message WHERE fetch_id = $2 AND position > $3 AND position <= $4
         ON CONFLICT (interaction_id, message_id) DO NOTHING",
        id.uuid(),
        fetch,
        from,
        to
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Only of messages that came with contents: a purged list of files never replaces a stored one.
async fn replace_attachments(
    tx: &mut PgConnection,
    id: InteractionId,
    fetch: Uuid,
    from: i32,
    to: i32,
) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM attachment AS f USING arriving_message AS a
         WHERE a.fetch_id = $2 AND a.position > $3 AND a.position <= $4
           AND (a.body_text <> '' OR a.body_html <> '' OR a.attachments <> '[]' OR a.whatsapp IS NOT NULL)
           AND f.interaction_id = $1 AND f.message_id = a.message_id",
        id.uuid(),
        fetch,
        from,
        to
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "INSERT INTO attachment (
           interaction_id, message_id, position, sha256, file_name, media_type, size_bytes, content_id, inline)
         SELECT $1, a.message_id, f.place, f.file ->> 'sha256', f.file ->> 'file_name', f.file ->> 'media_type',
           (f.file ->> 'size_bytes')::bigint, f.file ->> 'content_id', (f.file ->> 'inline')::boolean
         FROM arriving_message AS a, jsonb_array_elements(a.attachments) WITH ORDINALITY AS f(file, place)
         WHERE a.fetch_id = $2 AND a.position > $3 AND a.position <= $4",
        id.uuid(),
        fetch,
        from,
        to
    )
    .execute(tx)
    .await?;
    Ok(())
}
