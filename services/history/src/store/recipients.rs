//! Threads that an earlier release stored without hidden recipients and states of recipients: they are fetched once more.

use hilo_kit::error::Error;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::domain::thread::InteractionId;

/// Threads that lack them, with their stored versions, by id after one.
pub(super) async fn lacking(
    conn: &mut PgConnection,
    after: Option<InteractionId>,
    limit: i64,
) -> Result<Vec<(InteractionId, i64)>, Error> {
    let rows = sqlx::query!(
        "SELECT interaction_id, version FROM thread
         WHERE interaction_id IN (
           SELECT DISTINCT m.interaction_id FROM message m
           WHERE m.direction = 2 AND m.hidden_copies IS NULL AND ($1::uuid IS NULL OR m.interaction_id > $1)
           ORDER BY m.interaction_id LIMIT $2)
         ORDER BY interaction_id",
        after.map(|id| id.uuid()),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.interaction_id.into(), row.version)).collect())
}

/// What is not known of this thread never will be: nobody has it, or it comes whole when it ends again.
pub(super) async fn settle(tx: &mut PgConnection, id: InteractionId) -> Result<(), Error> {
    let id: Uuid = id.uuid();
    sqlx::query!(
        "UPDATE message SET hidden_copies = '[]', recipient_states = '[]'
         WHERE interaction_id = $1 AND direction = 2 AND hidden_copies IS NULL",
        id
    )
    .execute(tx)
    .await?;
    Ok(())
}
