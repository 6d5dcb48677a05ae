//! Sends of an account that is switched off: they keep their place, say once that they wait, go out as soon as the account
//! is active again, and fail with that reason when they have waited as long as for a server that is away.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::lease::{self, Lease};
use hilo_kit::nats::StreamKind;
use sqlx::PgConnection;

use super::Store;
use super::sending::{AttemptResult, Picked, PickedRecipient, decode};
use super::settling::{recipients, report, settle};
use crate::domain::send::{self, GIVE_UP_AFTER, Outcome, RecipientState, Reply};

/// What agents and operators read meanwhile.
const WAITS: &str = "the account is switched off; it is sent when the account is active again";
/// What they read when it has waited too long.
const GAVE_UP: &str = "the account stayed switched off";

impl Store {
    /// Holds the due sends of an account that is switched off; answers how many of them are new or have given up.
    ///
    /// # Errors
    /// `STALE_EPOCH` when another replica owns the account; database errors.
    pub async fn hold(&self, account: &str, lease: &Lease, limit: usize) -> Result<usize, Error> {
        let subject = self.subjects.handover(StreamKind::Delivery, "email", account)?;
        let (account, lease) = (account.to_owned(), lease.clone());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db
            .transaction(move |tx| {
                let (account, lease, subject) = (account.clone(), lease.clone(), subject.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    let due = due(tx, &account, lease.epoch, limit).await?;
                    for picked in &due {
                        if picked.age >= GIVE_UP_AFTER {
                            give_up(tx, picked, subject.clone()).await?;
                        } else {
                            wait(tx, picked, subject.clone()).await?;
                        }
                    }
                    Ok(due.len())
                })
            })
            .await
    }
}

async fn due(tx: &mut PgConnection, account: &str, epoch: i64, limit: i64) -> Result<Vec<Picked>, Error> {
    let rows = sqlx::query!(
        r#"SELECT send_id, conversation_key, envelope, traceparent, attempts,
                  extract(epoch FROM now() - taken_at)::float8 AS "age!"
           FROM mail.send
           WHERE account_key = $1 AND next_at <= now()
             AND (held_since IS NULL OR taken_at <= now() - make_interval(secs => $2::float8))
           ORDER BY conversation_key, sequence LIMIT $3 FOR UPDATE"#,
        account,
        GIVE_UP_AFTER.as_secs_f64(),
        limit,
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut due = Vec::with_capacity(rows.len());
    for row in rows {
        let recipients = sqlx::query_as!(
            PickedRecipient,
            "SELECT position, address, maybe_sent FROM mail.recipient WHERE send_id = $1 AND retry",
            row.send_id,
        )
        .fetch_all(&mut *tx)
        .await?;
        due.push(Picked {
            send_id: row.send_id,
            conversation_key: row.conversation_key,
            account_key: account.to_owned(),
            envelope: decode(&row.envelope)?,
            traceparent: row.traceparent,
            attempts: row.attempts,
            epoch,
            age: Duration::from_secs_f64(row.age.max(0.0)),
            recipients,
        });
    }
    Ok(due)
}

/// It keeps `next_at`, so it is due at once when the account is active again.
async fn wait(tx: &mut PgConnection, picked: &Picked, subject: String) -> Result<(), Error> {
    sqlx::query!("UPDATE mail.send SET held_since = now() WHERE send_id = $1", picked.send_id)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "UPDATE mail.recipient SET reply_code = 0, enhanced_code = '', reply_text = $2
         WHERE send_id = $1 AND state = 'planned'",
        picked.send_id,
        WAITS,
    )
    .execute(&mut *tx)
    .await?;
    let recipients = recipients(tx, picked.send_id).await?;
    let states: Vec<RecipientState> = recipients.iter().map(|(_, state, _)| *state).collect();
    report(tx, picked, send::whole(&states).reported(), recipients, subject).await
}

async fn give_up(tx: &mut PgConnection, picked: &Picked, subject: String) -> Result<(), Error> {
    let outcome = Outcome::NotYet(Reply::local(GAVE_UP));
    let outcomes = picked.recipients.iter().map(|one| (one.position, outcome.clone())).collect();
    settle(tx, picked, &AttemptResult { outcomes, unknown_retry: None, jitter: 0.0 }, subject).await
}
