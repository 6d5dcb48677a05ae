//! Sends of an account that is switched off or is not in the directory: they keep their place, say once that they wait, go out as
//! soon as the account is there and active again, and fail with that reason when they have waited as long as for Meta.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::lease::{self, Lease};
use hilo_proto::delivery::v1::SendState;
use sqlx::PgConnection;

use super::Store;
use super::reports::{self, Report};
use crate::domain::send::GIVE_UP_AFTER;

/// Sends looked at in one transaction.
const AT_ONCE: i64 = 100;
/// A send may be faster than the directory that names its account.
const DIRECTORY_GRACE: Duration = Duration::from_secs(10);

/// Why an account sends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is in the directory and switched off.
    SwitchedOff,
    /// It is not in the directory, or has no number there.
    Unknown,
}

impl Held {
    /// Stable reason of reports.
    pub fn reason(self) -> &'static str {
        match self {
            Held::SwitchedOff => "NUMBER_SWITCHED_OFF",
            Held::Unknown => "NUMBER_UNKNOWN",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Held::SwitchedOff => "the number is switched off; it is sent when the number is active again",
            Held::Unknown => "the number is not in the directory; it is sent when it is there again",
        }
    }

    fn grace(self) -> Duration {
        match self {
            Held::SwitchedOff => Duration::ZERO,
            Held::Unknown => DIRECTORY_GRACE,
        }
    }
}

impl Store {
    /// Holds the due sends of an account that sends nothing; answers how many of them are new or have given up.
    ///
    /// # Errors
    /// `STALE_EPOCH` when another replica owns the account; database errors.
    pub async fn hold(&self, account: &str, lease: &Lease, held: Held) -> Result<usize, Error> {
        let (account, lease, subjects) = (account.to_owned(), lease.clone(), self.subjects.clone());
        self.db
            .transaction(move |tx| {
                let (account, lease, subjects) = (account.clone(), lease.clone(), subjects.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    let reports = hold(tx, &account, held).await?;
                    let count = reports.len();
                    reports::append(tx, &subjects, reports).await?;
                    Ok(count)
                })
            })
            .await
    }
}

/// A held one keeps `next_at`, so that it is due at once when the account is active again.
async fn hold(tx: &mut PgConnection, account: &str, held: Held) -> Result<Vec<Report>, Error> {
    let mut rows = sqlx::query!(
        r#"WITH due AS (
             SELECT send_id, taken_at <= now() - make_interval(secs => $2) AS over FROM whatsapp.send
             WHERE account_key = $1 AND state = 'planned' AND next_at <= now()
               AND taken_at <= now() - make_interval(secs => $3)
               AND (reason <> $4 AND NOT is_mark OR taken_at <= now() - make_interval(secs => $2))
             ORDER BY conversation_key, sequence LIMIT $6 FOR UPDATE SKIP LOCKED)
           UPDATE whatsapp.send s
           SET reason = $4, error_code = 0, error_text = $5, changed_at = now(),
               state = CASE WHEN due.over THEN 'failed' ELSE 'planned' END,
               next_at = CASE WHEN due.over THEN NULL ELSE next_at END
           FROM due WHERE s.send_id = due.send_id
           RETURNING s.send_id, s.conversation_key, s.sequence, s.traceparent, s.attempts, due.over AS "over!""#,
        account,
        GIVE_UP_AFTER.as_secs_f64(),
        held.grace().as_secs_f64(),
        held.reason(),
        held.text(),
        AT_ONCE,
    )
    .fetch_all(tx)
    .await?;
    rows.sort_unstable_by_key(|row| (row.conversation_key, row.sequence));
    let reports = rows.into_iter().map(|row| Report {
        send_id: row.send_id,
        account_key: account.to_owned(),
        conversation_key: row.conversation_key,
        traceparent: row.traceparent,
        attempts: row.attempts,
        state: if row.over { SendState::Failed } else { SendState::Queued },
        occurred_at: None,
        wamid: String::new(),
        reason: held.reason().to_owned(),
        code: 0,
        text: held.text().to_owned(),
        reached: None,
    });
    Ok(reports.collect())
}
