//! Attempts and the moment from which they cannot be taken back: the final dot leaves only after this is committed, so
//! that whoever finds an attempt cut off knows whether the mail may have left.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{self, Lease};
use hilo_kit::nats::StreamKind;
use sqlx::PgConnection;

use super::Store;
use super::sending::{AttemptResult, Picked, PickedRecipient, decode};
use super::settling::settle;
use crate::domain::send::{Outcome, Reply};

impl Store {
    /// Commits that the final dot of this attempt is about to leave. `false` when the attempt is not this owner's any
    /// more: then it must not leave.
    ///
    /// # Errors
    /// Database errors: then it must not leave either.
    pub async fn release_dot(&self, picked: &Picked) -> Result<bool, Error> {
        let (send_id, epoch, attempts) = (picked.send_id, picked.epoch, picked.attempts);
        self.db
            .transaction(move |tx| {
                Box::pin(async move {
                    let released = sqlx::query!(
                        "UPDATE mail.send SET dot_held_attempt = NULL
                         WHERE send_id = $1 AND state = 'attempting' AND epoch = $2 AND attempts = $3",
                        send_id,
                        epoch,
                        attempts,
                    )
                    .execute(tx)
                    .await?;
                    Ok(released.rows_affected() == 1)
                })
            })
            .await
    }

    /// What is `attempting` and not at work here was cut off: an earlier owner left it, or it was begun by a commit whose
    /// answer got lost. While its final dot was held back it was certainly not sent and is made again; else it may have
    /// been sent: `unknown`. Each with its report; answers how many.
    ///
    /// # Errors
    /// `STALE_EPOCH`; database errors.
    pub async fn recover(
        &self,
        account: &str,
        lease: &Lease,
        at_work: &[Uuid],
        unknown_retry: Duration,
    ) -> Result<usize, Error> {
        let subject = self.subjects.handover(StreamKind::Delivery, "email", account)?;
        let (account, lease, at_work) = (account.to_owned(), lease.clone(), at_work.to_vec());
        self.db
            .transaction(move |tx| {
                let (account, lease, subject) = (account.clone(), lease.clone(), subject.clone());
                let at_work = at_work.clone();
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    let left = left_behind(tx, &account, lease.epoch, &at_work).await?;
                    for (picked, unsent) in &left {
                        let outcome = if *unsent {
                            Outcome::CutOff(Reply::local("the attempt was cut off before the mail left"))
                        } else {
                            Outcome::Unknown(Reply::local("the attempt was cut off; it may have been sent"))
                        };
                        let outcomes =
                            picked.recipients.iter().map(|one| (one.position, outcome.clone())).collect();
                        let unknown_retry = picked.repetition(unknown_retry);
                        let result = AttemptResult { outcomes, unknown_retry, jitter: 0.0 };
                        settle(tx, picked, &result, subject.clone()).await?;
                    }
                    Ok(left.len())
                })
            })
            .await
    }
}

/// Attempts nobody works on, each with whether it was certainly not sent.
async fn left_behind(
    tx: &mut PgConnection,
    account: &str,
    epoch: i64,
    at_work: &[Uuid],
) -> Result<Vec<(Picked, bool)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT send_id, conversation_key, envelope, traceparent, attempts, epoch AS "epoch!",
                  (dot_held_attempt IS NOT DISTINCT FROM attempts) AS "unsent!",
                  extract(epoch FROM now() - taken_at)::float8 AS "age!"
           FROM mail.send WHERE account_key = $1 AND state = 'attempting' AND epoch <= $2 AND send_id <> ALL($3)
           ORDER BY conversation_key, sequence FOR UPDATE"#,
        account,
        epoch,
        at_work,
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut left = Vec::with_capacity(rows.len());
    for row in rows {
        let recipients = sqlx::query_as!(
            PickedRecipient,
            "SELECT position, address, maybe_sent FROM mail.recipient WHERE send_id = $1 AND state = 'attempting'",
            row.send_id,
        )
        .fetch_all(&mut *tx)
        .await?;
        let picked = Picked {
            send_id: row.send_id,
            conversation_key: row.conversation_key,
            account_key: account.to_owned(),
            envelope: decode(&row.envelope)?,
            traceparent: row.traceparent,
            attempts: row.attempts,
            epoch: row.epoch,
            age: Duration::from_secs_f64(row.age.max(0.0)),
            recipients,
        };
        left.push((picked, row.unsent));
    }
    Ok(left)
}
