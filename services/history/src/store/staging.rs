//! Pages of a large thread on their way in: each is committed by itself, so that no page is held in memory while the next
//! one is fetched, and no transaction waits for the network.

use hilo_kit::error::Error;
use serde::Serialize;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::rows;
use crate::domain::thread::{Attachment, Message};

/// An attachment inside of the JSON column.
#[derive(Serialize)]
struct StoredAttachment<'a> {
    sha256: &'a str,
    file_name: &'a str,
    media_type: &'a str,
    size_bytes: i64,
    content_id: &'a str,
    inline: bool,
}

impl<'a> From<&'a Attachment> for StoredAttachment<'a> {
    fn from(from: &'a Attachment) -> Self {
        Self {
            sha256: &from.sha256,
            file_name: &from.file_name,
            media_type: &from.media_type,
            size_bytes: from.size_bytes,
            content_id: &from.content_id,
            inline: from.inline,
        }
    }
}

/// The attachments of a message, for the JSON column.
fn files(message: &Message) -> Result<serde_json::Value, Error> {
    let files: Vec<_> = message.attachments.iter().map(StoredAttachment::from).collect();
    serde_json::to_value(files).map_err(|error| {
        Error::internal("UNENCODABLE", "attachments could not be written as JSON").with_source(error)
    })
}

/// Adds messages behind the `before` that are there; again is harmless.
pub(super) async fn add(
    tx: &mut PgConnection,
    fetch: Uuid,
    before: i32,
    messages: &[Message],
) -> Result<(), Error> {
    let column =
        |of: fn(&Message) -> &str| messages.iter().map(|one| of(one).to_owned()).collect::<Vec<String>>();
    let ids: Vec<Uuid> = messages.iter().map(|one| one.id.uuid()).collect();
    let directions: Vec<i16> = messages.iter().map(|one| rows::direction_number(one.direction)).collect();
    let to = messages.iter().map(|one| rows::mailboxes(&one.to)).collect::<Result<Vec<_>, _>>()?;
    let cc = messages.iter().map(|one| rows::mailboxes(&one.cc)).collect::<Result<Vec<_>, _>>()?;
    let bcc = messages.iter().map(|one| rows::mailboxes(&one.bcc)).collect::<Result<Vec<_>, _>>()?;
    let states =
        messages.iter().map(|one| rows::recipients(&one.recipients)).collect::<Result<Vec<_>, _>>()?;
    let items: Vec<Option<Vec<u8>>> = messages.iter().map(|one| one.whatsapp.clone()).collect();
    let files = messages.iter().map(files).collect::<Result<Vec<_>, _>>()?;
    let at: Vec<_> = messages.iter().map(|one| one.occurred_at).collect();
    let verified: Vec<bool> = messages.iter().map(|one| one.sender_verified).collect();
    sqlx::query!(
        r#"
        INSERT INTO arriving_message (
            fetch_id, position, message_id, direction, from_address, from_name, recipients, copies, subject, body_text,
            body_html, attachments, occurred_at, delivery_state, delivery_detail, agent_key, mail_class,
            sender_verified, internet_message_id, hidden_copies, recipient_states, whatsapp, delivery_reason
        )
        SELECT $1, $2 + m.position::integer, m.id, m.direction, m.from_address, m.from_name, m.recipients, m.copies,
            m.subject, m.body_text, m.body_html, m.attachments, m.occurred_at, m.delivery_state, m.delivery_detail,
            m.agent_key, m.mail_class, m.sender_verified, m.internet_message_id, m.hidden_copies, m.recipient_states,
            m.whatsapp, m.delivery_reason
        FROM unnest(
            $3::uuid[], $4::smallint[], $5::text[], $6::text[], $7::jsonb[], $8::jsonb[], $9::text[], $10::text[],
            $11::text[], $12::jsonb[], $13::timestamptz[], $14::text[], $15::text[], $16::text[], $17::text[],
            $18::boolean[], $19::text[], $20::jsonb[], $21::jsonb[], $22::bytea[], $23::text[]
        ) WITH ORDINALITY AS m(
            id, direction, from_address, from_name, recipients, copies, subject, body_text, body_html, attachments,
            occurred_at, delivery_state, delivery_detail, agent_key, mail_class, sender_verified, internet_message_id,
            hidden_copies, recipient_states, whatsapp, delivery_reason, position
        )
        ON CONFLICT (fetch_id, position) DO NOTHING
        "#,
        fetch,
        before,
        &ids,
        &directions,
        &column(|one| &one.from.address),
        &column(|one| &one.from.name),
        &to,
        &cc,
        &column(|one| &one.subject),
        &column(|one| &one.text),
        &column(|one| &one.html),
        &files,
        &at,
        &column(|one| &one.delivery_state),
        &column(|one| &one.delivery_detail),
        &column(|one| &one.agent_key),
        &column(|one| &one.mail_class),
        &verified,
        &column(|one| &one.internet_message_id),
        &bcc,
        &states,
        &items as _,
        &column(|one| &one.delivery_reason),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Drops what a fetch brought.
pub(super) async fn drop_fetch(tx: &mut PgConnection, fetch: Uuid) -> Result<(), Error> {
    sqlx::query!("DELETE FROM arriving_message WHERE fetch_id = $1", fetch).execute(tx).await?;
    Ok(())
}

/// Drops what fetches brought that broke off an hour ago; no fetch takes as long.
pub(super) async fn drop_old(tx: &mut PgConnection) -> Result<u64, Error> {
    let dropped = sqlx::query!("DELETE FROM arriving_message WHERE arrived_at < now() - interval '1 hour'")
        .execute(tx)
        .await?;
    Ok(dropped.rows_affected())
}
