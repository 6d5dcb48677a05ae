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

use super::domain::{AttentionId, MAX_MESSAGES};
use super::store::{self, Wait};

/// How often a replica looks.
const INTERVAL: Duration = Duration::from_secs(30);
/// Most interactions of one transaction.
const AT_ONCE: i64 = 20;
/// Most messages of one transaction, which others wait for; one interaction may hold as many ([`MAX_MESSAGES`]).
const MESSAGES_AT_ONCE: i64 = MAX_MESSAGES as i64;
/// Messages of one statement. A mail may have two mebibytes, and the server ends a statement after five seconds.
const MESSAGES_OF_A_STATEMENT: i64 = 100;
/// Interactions that may fail before a round gives up.
const MAX_FAILURES: usize = 20;

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

/// Purges until nothing is due that can be had now; answers how many interactions were. One that cannot be purged is logged
/// and holds up no other.
///
/// # Errors
/// Database errors; the last failure when there were too many.
pub(crate) async fn all(db: &Db, grace: Duration) -> Result<usize, Error> {
    let (mut total, mut failed) = (0, Vec::new());
    loop {
        let passed_over = failed.clone();
        let due = db.read(move |conn| Box::pin(async move { due(conn, grace, &passed_over).await })).await?;
        let (before, failures) = (total, failed.len());
        match together(db, due.clone(), grace).await {
            Ok(purged) => total += purged,
            Err(error) => {
                tracing::debug!(error = %error.chain(), "ended threads are purged one by one");
                for one in due {
                    let interaction = one.interaction;
                    match together(db, vec![one], grace).await {
                        Ok(purged) => total += purged,
                        Err(error) if failed.len() >= MAX_FAILURES => return Err(error),
                        Err(error) => {
                            tracing::warn!(%interaction, "an ended thread could not be purged");
                            error.log("purging an ended thread");
                            failed.push(interaction);
                        }
                    }
                }
            }
        }
        if (total, failed.len()) == (before, failures) {
            return Ok(total);
        }
    }
}

/// An interaction that may be purged.
#[derive(Clone, Debug)]
struct Due {
    interaction: Uuid,
    attention: Uuid,
    messages: i32,
}

/// So many of the oldest that are due as one transaction takes.
async fn due(conn: &mut PgConnection, grace: Duration, passed_over: &[Uuid]) -> Result<Vec<Due>, Error> {
    let due = sqlx::query_as!(
        Due,
        "SELECT interaction_id AS interaction, attention_id AS attention, message_count AS messages
         FROM attention.interaction
         WHERE state = 'ended' AND purged_at IS NULL AND confirmed_version = version
           AND coalesce(confirmed_at, ended_at) <= now() - make_interval(secs => $1) AND interaction_id <> ALL($3)
         ORDER BY coalesce(confirmed_at, ended_at), interaction_id LIMIT $2",
        grace.as_secs_f64(),
        AT_ONCE,
        passed_over
    );
    Ok(bounded(due.fetch_all(conn).await?))
}

/// The first ones that hold no more messages together than a transaction may, and the first one in any case.
fn bounded(due: Vec<Due>) -> Vec<Due> {
    let mut messages = 0;
    let mut fits = |at: usize, one: &Due| {
        messages += i64::from(one.messages);
        at == 0 || messages <= MESSAGES_AT_ONCE
    };
    due.into_iter().enumerate().take_while(|(at, one)| fits(*at, one)).map(|(_, one)| one).collect()
}

/// Purges these in one transaction; answers how many it could.
async fn together(db: &Db, due: Vec<Due>, grace: Duration) -> Result<usize, Error> {
    if due.is_empty() {
        return Ok(0);
    }
    let purged = db
        .transaction(move |tx| {
            let due = due.clone();
            Box::pin(async move { locked(tx, &due, grace).await })
        })
        .await?;
    if purged > 0 {
        fault::point("attention.purge.after_commit").await;
        crate::metrics::purged(purged);
    }
    Ok(purged)
}

async fn locked(tx: &mut PgConnection, due: &[Due], grace: Duration) -> Result<usize, Error> {
    let mut attentions: Vec<Uuid> = due.iter().map(|one| one.attention).collect();
    attentions.sort_unstable();
    attentions.dedup();
    // A thread that is being changed comes with a later round.
    let locked = store::lock_attentions(tx, &attentions, Wait::Skip).await?;
    let free: Vec<Uuid> = due
        .iter()
        .filter(|one| locked.contains_key(&AttentionId(one.attention)))
        .map(|one| one.interaction)
        .collect();
    let purged = purge(tx, &free, grace).await?;
    if !purged.is_empty() {
        fault::point("attention.purge.before_commit").await;
    }
    Ok(purged.len())
}

/// Purges those of the interactions that still may be: ended, at the version that history has, for long enough. What
/// became of them since they were chosen decides, so call it under their attentions' locks. What the release before
/// confirmed, which notes no instant, counts from its end.
pub(crate) async fn purge(
    tx: &mut PgConnection,
    interactions: &[Uuid],
    grace: Duration,
) -> Result<Vec<Uuid>, Error> {
    let purged = sqlx::query_scalar!(
        "UPDATE attention.interaction SET purged_at = now(), preview = ''
         WHERE interaction_id = ANY($1) AND state = 'ended' AND purged_at IS NULL AND confirmed_version = version
           AND coalesce(confirmed_at, ended_at) <= now() - make_interval(secs => $2)
         RETURNING interaction_id",
        interactions,
        grace.as_secs_f64()
    )
    .fetch_all(&mut *tx)
    .await?;
    if purged.is_empty() {
        return Ok(purged);
    }
    while empty_some(tx, &purged).await? > 0 {}
    sqlx::query!("DELETE FROM attention.draft WHERE interaction_id = ANY($1)", &purged)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("DELETE FROM attention.form_answer WHERE interaction_id = ANY($1)", &purged)
        .execute(tx)
        .await?;
    Ok(purged)
}

/// Takes the bodies of some messages; answers how many, none once all are empty.
async fn empty_some(tx: &mut PgConnection, interactions: &[Uuid]) -> Result<u64, Error> {
    let emptied = sqlx::query!(
        "UPDATE attention.message SET text_body = '', html_body = '', whatsapp = NULL, purged = true,
           purged_attachments = jsonb_array_length(attachments), attachments = '[]'
         WHERE message_id IN (SELECT message_id FROM attention.message WHERE interaction_id = ANY($1) AND NOT purged
                              LIMIT $2)",
        interactions,
        MESSAGES_OF_A_STATEMENT
    )
    .execute(tx)
    .await?;
    Ok(emptied.rows_affected())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_takes_no_more_messages_than_a_full_interaction_holds() {
        let taken = |held: &[i32]| {
            let due = held.iter().map(|messages| Due {
                interaction: Uuid::nil(),
                attention: Uuid::nil(),
                messages: *messages,
            });
            bounded(due.collect()).len()
        };
        for (held, expected) in [
            (&[][..], 0),
            (&[1, 2, 3], 3),
            (&[5_000, 1], 1),
            (&[5_001], 1),
            (&[5_001, 0], 1),
            (&[2_500, 2_500, 1], 2),
            (&[4_999, 2, 1], 1),
        ] {
            assert_eq!(taken(held), expected, "{held:?}");
        }
    }
}
