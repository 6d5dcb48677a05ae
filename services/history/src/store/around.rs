//! What stands around a thread: its neighbours in the attention, and the form fields that its campaigns know.

use std::collections::BTreeSet;

use hilo_kit::error::Error;
use sqlx::postgres::PgConnection;
use sqlx::{QueryBuilder, Row};
use uuid::Uuid;

use super::scope::restrict;
use crate::domain::thread::{Attachment, InteractionId, MessageId, Place};
use crate::domain::{AttentionId, Scope};

/// Fields of one installation's forms that are answered at most.
const MAX_FIELDS: i64 = 5_000;

/// The thread's place among those of its attention that the scope covers; `None` when it is not one of them.
pub(super) async fn place(
    conn: &mut PgConnection,
    scope: &Scope,
    attention: AttentionId,
    id: InteractionId,
) -> Result<Option<Place>, Error> {
    let mut sql = QueryBuilder::new(
        "SELECT s.position, s.total, s.before, s.after FROM (
             SELECT t.interaction_id, row_number() OVER line AS position, count(*) OVER () AS total,
                 lag(t.interaction_id) OVER line AS before, lead(t.interaction_id) OVER line AS after
             FROM thread t WHERE t.attention_id = ",
    );
    sql.push_bind(attention.uuid());
    restrict(&mut sql, scope, "t.campaign_key");
    sql.push(" WINDOW line AS (ORDER BY t.ordinal, t.interaction_id)) AS s WHERE s.interaction_id = ");
    sql.push_bind(id.uuid());
    let Some(row) = sql.build().fetch_optional(conn).await? else { return Ok(None) };
    let number = |name: &str| row.try_get::<i64, _>(name).map(|n| i32::try_from(n).unwrap_or(i32::MAX));
    Ok(Some(Place {
        position: number("position")?,
        total: number("total")?,
        previous: row.try_get::<Option<Uuid>, _>("before")?.map(Into::into),
        next: row.try_get::<Option<Uuid>, _>("after")?.map(Into::into),
    }))
}

/// An attachment of a thread that the scope covers, by its place in its message, from 0.
pub(super) async fn attachment(
    conn: &mut PgConnection,
    scope: &Scope,
    thread: InteractionId,
    message: MessageId,
    index: i32,
) -> Result<Option<Attachment>, Error> {
    let mut sql = QueryBuilder::new(
        "SELECT a.sha256, a.file_name, a.media_type, a.size_bytes, a.content_id, a.inline
         FROM attachment a JOIN thread t USING (interaction_id) WHERE a.interaction_id = ",
    );
    sql.push_bind(thread.uuid()).push(" AND a.message_id = ").push_bind(message.uuid());
    sql.push(" AND a.position::bigint = ").push_bind(i64::from(index) + 1);
    restrict(&mut sql, scope, "t.campaign_key");
    let Some(row) = sql.build().fetch_optional(conn).await? else { return Ok(None) };
    Ok(Some(Attachment {
        sha256: row.try_get("sha256")?,
        file_name: row.try_get("file_name")?,
        media_type: row.try_get("media_type")?,
        size_bytes: row.try_get("size_bytes")?,
        content_id: row.try_get("content_id")?,
        inline: row.try_get("inline")?,
    }))
}

/// Keys of the fields that forms of the scope's campaigns (or of one of them) were ever filled in with.
pub(super) async fn form_fields(
    conn: &mut PgConnection,
    scope: &Scope,
    campaign: Option<&str>,
) -> Result<BTreeSet<String>, Error> {
    let mut sql = QueryBuilder::new("SELECT DISTINCT field_key FROM form_field WHERE TRUE");
    restrict(&mut sql, scope, "campaign_key");
    if let Some(key) = campaign {
        sql.push(" AND campaign_key = ").push_bind(key.to_owned());
    }
    sql.push(" ORDER BY field_key LIMIT ").push_bind(MAX_FIELDS);
    let rows = sql.build().fetch_all(conn).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}
