//! The purge: what history has confirmed leaves the hot tables after a grace time. Bodies, attachments' lists, forms and
//! drafts go; heads, message keys and participants stay for ever, so that later mails, late statuses and desks still find
//! what they look for. [`super::reload`] brings bodies back for a reopening.

use std::time::Duration;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::lifecycle::Shutdown;
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::AttentionId;
use super::store::{self, Wait};

/// How often a replica looks.
const INTERVAL: Duration = Duration::from_secs(30);
/// Interactions of one transaction; each may hold thousands of messages.
const AT_ONCE: i64 = 20;

/// Starts the purge. Every replica runs it: of two at the same interaction one finds nothing left to do.
pub(crate) fn spawn(db: &Db, grace: Duration, shutdown: &Shutdown) {
    let (db, stop) = (db.clone(), shutdown.clone());
    shutdown.spawn("purge of ended threads", async move {
        loop {
            match all(&db, grace).await {
                Ok(0) => {}
                Ok(purged) => tracing::info!(purged, "bodies of ended threads left for the history"),
                Err(error) => error.log("purging ended threads"),
            }
            if !stop.sleep(INTERVAL.min(grace.max(Duration::from_secs(1)))).await {
                return;
            }
        }
    });
}

/// Purges until nothing is due that can be had now; answers how many interactions were.
///
/// # Errors
/// Database errors.
pub(crate) async fn all(db: &Db, grace: Duration) -> Result<usize, Error> {
    let mut total = 0;
    loop {
        let purged = db.transaction(move |tx| Box::pin(async move { some(tx, grace).await })).await?;
        if purged == 0 {
            return Ok(total);
        }
        fault::point("attention.purge.after_commit").await;
        crate::metrics::purged(purged);
        total += purged;
    }
}

async fn some(tx: &mut PgConnection, grace: Duration) -> Result<usize, Error> {
    let due = sqlx::query!(
        "SELECT interaction_id, attention_id FROM attention.interaction
         WHERE state = 'ended' AND purged_at IS NULL AND confirmed_version = version
           AND confirmed_at <= now() - make_interval(secs => $1)
         ORDER BY confirmed_at, interaction_id LIMIT $2",
        grace.as_secs_f64(),
        AT_ONCE
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut attentions: Vec<Uuid> = due.iter().map(|row| row.attention_id).collect();
    attentions.sort_unstable();
    attentions.dedup();
    // A thread that is being changed comes with a later round.
    let locked = store::lock_attentions(tx, &attentions, Wait::Skip).await?;
    let free: Vec<Uuid> = due
        .iter()
        .filter(|row| locked.contains_key(&AttentionId(row.attention_id)))
        .map(|row| row.interaction_id)
        .collect();
    let purged = purge(tx, &free, grace).await?;
    if !purged.is_empty() {
        fault::point("attention.purge.before_commit").await;
    }
    Ok(purged.len())
}

/// Purges those of the interactions that still may be: ended, at the version that history has, for long enough. What
/// became of them since they were chosen decides, so call it under their attentions' locks.
pub(crate) async fn purge(
    tx: &mut PgConnection,
    interactions: &[Uuid],
    grace: Duration,
) -> Result<Vec<Uuid>, Error> {
    let purged = sqlx::query_scalar!(
        "UPDATE attention.interaction SET purged_at = now(), preview = ''
         WHERE interaction_id = ANY($1) AND state = 'ended' AND purged_at IS NULL AND confirmed_version = version
           AND confirmed_at <= now() - make_interval(secs => $2)
         RETURNING interaction_id",
        interactions,
        grace.as_secs_f64()
    )
    .fetch_all(&mut *tx)
    .await?;
    if purged.is_empty() {
        return Ok(purged);
    }
    sqlx::query!(
        "UPDATE attention.message SET text_body = '', html_body = '', purged = true,
           purged_attachments = jsonb_array_length(attachments), attachments = '[]'
         WHERE interaction_id = ANY($1) AND NOT purged",
        &purged
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("DELETE FROM attention.draft WHERE interaction_id = ANY($1)", &purged)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("DELETE FROM attention.form_answer WHERE interaction_id = ANY($1)", &purged)
        .execute(tx)
        .await?;
    Ok(purged)
}

/// Interactions of an attention that have messages without bodies, by ordinal.
pub(crate) async fn purged_of(tx: &mut PgConnection, attention: Uuid) -> Result<Vec<Uuid>, Error> {
    let purged = sqlx::query_scalar!(
        "SELECT interaction_id FROM attention.interaction AS i WHERE attention_id = $1 AND state = 'ended'
           AND EXISTS (SELECT 1 FROM attention.message AS m WHERE m.interaction_id = i.interaction_id AND m.purged)
         ORDER BY ordinal",
        attention
    )
    .fetch_all(tx)
    .await?;
    Ok(purged)
}
