//! Claims of customers' files: a few per account, fewer when Meta answers with errors, and one alone when its process did not live to
//! end it.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;

use super::media::{decode, end, media_of};
use super::{Store, Wanted};
use crate::domain::media::{Failure, KEPT};

/// Answers of Meta that may be errors, per account and hour; each fetch under way may become one. Partners of Meta's report that it
/// shuts out for half an hour whoever has 20: two replicas that claim at the same instant may go beyond by what one claims.
const ERRORS_PER_HOUR: i64 = 15;
/// Claims in a row that nobody ended; with the pauses between them about six minutes, in which a process that is stopped for other
/// reasons comes back.
const MOST_CUT_OFFS: i32 = 6;

impl Store {
    /// Claims due files of an account for so long, at most so many with those that are under way at any replica; fewer, or none, when
    /// Meta has answered with too many errors. A file whose claim nobody ended goes alone, so that it takes no other one along, each
    /// time a little later, and ends as `MEDIA_UNAVAILABLE` when that was too often.
    ///
    /// # Errors
    /// Database errors.
    pub async fn claim_files(
        &self,
        account: &str,
        at_once: usize,
        lasts: Duration,
    ) -> Result<Vec<Wanted>, Error> {
        let (account, subjects) = (account.to_owned(), self.subjects.clone());
        let at_once = i64::try_from(at_once).unwrap_or(i64::MAX);
        self.db
            .transaction(move |tx| {
                let (account, subjects) = (account.clone(), subjects.clone());
                Box::pin(async move {
                    end_hopeless(tx, &subjects, &account).await?;
                    claim(tx, &account, at_once, lasts).await
                })
            })
            .await
    }
}

/// Takes claims back that are over, counts them, and ends the files of which there were too many, or that Meta has no more. The pauses
/// differ by chance: files of two accounts know nothing of each other, and in step one would take the other along each time.
async fn end_hopeless(tx: &mut PgConnection, subjects: &Subjects, account: &str) -> Result<(), Error> {
    let last = Uuid::now_v7();
    let rows = sqlx::query!(
        r#"WITH over AS (
             SELECT item_id, cut_offs + 1 AS times,
                    cut_offs + 1 >= $2 OR received_at <= now() - make_interval(secs => $3) AS hopeless
             FROM whatsapp.media WHERE account_key = $1 AND claim IS NOT NULL AND next_at <= now()
             ORDER BY item_id LIMIT 100 FOR UPDATE SKIP LOCKED)
           UPDATE whatsapp.media m
           SET cut_offs = times, claim = CASE WHEN hopeless THEN $4::uuid END, reason = 'CUT_OFF', changed_at = now(),
               next_at = now() + make_interval(secs => CASE WHEN times = 1 THEN 0
                                                            ELSE least(4.0 ^ (times - 1), 300.0) * (0.5 + random()) END)
           FROM over WHERE m.item_id = over.item_id
           RETURNING m.item_id, m.item, m.traceparent, m.attempts, m.faults, m.cut_offs, hopeless AS "hopeless!",
                     extract(epoch FROM now() - m.received_at)::float8 AS "age!""#,
        account,
        MOST_CUT_OFFS,
        KEPT.as_secs_f64(),
        last,
    )
    .fetch_all(&mut *tx)
    .await?;
    for row in rows {
        tracing::warn!(item = %row.item_id, account, times = row.cut_offs, "a fetch was cut off");
        if row.hopeless {
            let wanted = Wanted {
                item_id: row.item_id,
                claim: last,
                account_key: account.to_owned(),
                media: media_of(decode(&row.item)?)?,
                traceparent: row.traceparent,
                attempts: row.attempts.unsigned_abs(),
                faults: row.faults.unsigned_abs(),
                age: Duration::from_secs_f64(row.age.max(0.0)),
            };
            end(tx, subjects, &wanted, Err((Failure::Unavailable, false))).await?;
        }
    }
    Ok(())
}

async fn claim(
    tx: &mut PgConnection,
    account: &str,
    at_once: i64,
    lasts: Duration,
) -> Result<Vec<Wanted>, Error> {
    let claim = Uuid::now_v7();
    let rows = sqlx::query!(
        r#"WITH errors AS (
             SELECT count(*) AS answers FROM whatsapp.media_error
             WHERE account_key = $1 AND happened_at > now() - interval '1 hour'),
           under_way AS (
             SELECT count(*) AS files, coalesce(bool_or(cut_offs > 0), false) AS alone FROM whatsapp.media
             WHERE account_key = $1 AND claim IS NOT NULL AND next_at > now()),
           waits AS (
             SELECT EXISTS (SELECT FROM whatsapp.media
                            WHERE account_key = $1 AND next_at <= now() AND cut_offs > 0) AS alone),
           free AS (
             SELECT CASE WHEN under_way.alone OR (waits.alone AND under_way.files > 0) THEN 0
                         WHEN waits.alone THEN greatest(0, least(1, $2, $3 - answers))
                         ELSE greatest(0, least($2, $3 - answers) - under_way.files) END AS files, waits.alone
             FROM errors, under_way, waits),
           due AS (
             SELECT item_id FROM whatsapp.media
             WHERE account_key = $1 AND next_at <= now() AND (cut_offs > 0 OR NOT (SELECT alone FROM free))
             ORDER BY next_at LIMIT (SELECT files FROM free) FOR UPDATE SKIP LOCKED)
           UPDATE whatsapp.media m
           SET claim = $4, attempts = attempts + 1, next_at = now() + make_interval(secs => $5), changed_at = now()
           FROM due WHERE m.item_id = due.item_id
           RETURNING m.item_id, m.item, m.traceparent, m.attempts, m.faults,
                     extract(epoch FROM now() - m.received_at)::float8 AS "age!""#,
        account,
        at_once,
        ERRORS_PER_HOUR,
        claim,
        lasts.as_secs_f64(),
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Wanted {
                item_id: row.item_id,
                claim,
                account_key: account.to_owned(),
                media: media_of(decode(&row.item)?)?,
                traceparent: row.traceparent,
                attempts: row.attempts.unsigned_abs(),
                faults: row.faults.unsigned_abs(),
                age: Duration::from_secs_f64(row.age.max(0.0)),
            })
        })
        .collect()
}
