//! Sends in the ledger: taken once for ever, recovered when an attempt was cut off, `unknown` when nobody told.

use std::collections::BTreeSet;
use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::inbox;
use hilo_kit::lease::{self, Lease};
use hilo_kit::nats::Subjects;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::outbound::v1::{OutboundEnvelope, outbound_envelope};
use prost::Message as _;
use sqlx::PgConnection;

use super::Store;
use super::reports::{self, Report};
use crate::domain::compose;

/// Durable consumer of OUTBOUND, and its name in the inbox.
pub const SENDER: &str = "whatsapp-sender";
/// Attempts in a row that may be cut off before anything leaves; with the pauses between them about six minutes, in which a process
/// that is stopped for other reasons comes back.
const MOST_CUT_OFFS: i32 = 6;
/// Reason of a failure after so many.
const CUT_OFF: &str = "CUT_OFF_TOO_OFTEN";

/// What waits for a number's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// A send is due; it may still wait for an earlier one of its conversation.
    pub sends: bool,
    /// A doubt has lasted long enough.
    pub doubts: bool,
    /// Time until something after that is due; `None` when nothing is planned.
    pub next: Option<Duration>,
}

impl Store {
    /// Takes sends into the ledger, each once for ever, all or none.
    ///
    /// # Errors
    /// `SEND_INVALID` or `SEND_PLACE_TAKEN` (corrupt) for a send that contradicts itself or the ledger; database errors.
    pub async fn take(&self, sends: Vec<(Uuid, OutboundEnvelope)>) -> Result<(), Error> {
        let accounts: BTreeSet<String> =
            sends.iter().map(|(_, envelope)| envelope.account_key.clone()).collect();
        self.db
            .transaction(move |tx| {
                let sends = sends.clone();
                Box::pin(async move {
                    let ids: Vec<Uuid> = sends.iter().map(|(id, _)| *id).collect();
                    let fresh = inbox::take(tx, SENDER, &ids).await?;
                    for (_, envelope) in sends.iter().filter(|(id, _)| fresh.contains(id)) {
                        take_one(tx, envelope).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        for account in accounts {
            self.unsent(&account).notify_one();
        }
        Ok(())
    }

    /// Accounts that have something open.
    ///
    /// # Errors
    /// Database errors.
    pub async fn accounts_with_open_sends(&self) -> Result<Vec<String>, Error> {
        self.db
            .read(|conn| {
                Box::pin(async move {
                    Ok(sqlx::query_scalar!(
                        "SELECT DISTINCT account_key FROM whatsapp.send WHERE next_at IS NOT NULL OR state = 'attempting'"
                    )
                    .fetch_all(conn)
                    .await?)
                })
            })
            .await
    }

    /// What is due for the account, and when something else will be. Reads only: a look that finds nothing costs no commit.
    ///
    /// # Errors
    /// Database errors.
    pub async fn due(&self, account: &str) -> Result<Due, Error> {
        let account = account.to_owned();
        let row = self
            .db
            .read(move |conn| {
                Box::pin(async move {
                    // The first entries of the index; as EXISTS the planner may read the whole table.
                    Ok(sqlx::query!(
                        r#"SELECT (SELECT true FROM whatsapp.send WHERE account_key = $1 AND next_at <= now()
                                   AND state = 'planned' ORDER BY next_at, sequence LIMIT 1) AS sends,
                             (SELECT true FROM whatsapp.send WHERE account_key = $1 AND next_at <= now()
                              AND state = 'doubtful' ORDER BY next_at, sequence LIMIT 1) AS doubts,
                             (SELECT extract(epoch FROM next_at - now())::float8 FROM whatsapp.send
                              WHERE account_key = $1 AND next_at > now() ORDER BY next_at, sequence LIMIT 1) AS next"#,
                        account,
                    )
                    .fetch_one(conn)
                    .await?)
                })
            })
            .await?;
        Ok(Due {
            sends: row.sends.unwrap_or(false),
            doubts: row.doubts.unwrap_or(false),
            next: row.next.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
        })
    }

    /// What is `attempting` and not at work here was cut off: it may have gone out, so a status is waited for. What was still with
    /// its files, and a mark, which is harmless twice, is planned again, each time a little later. With files it fails when that was
    /// too often; a mark has none that could be at fault, is cut off with whatever is, and ends by its age. What one of the
    /// `lost` beginnings began never left, because nobody learned of it: it is planned again at once. Answers how many were cut off.
    ///
    /// # Errors
    /// `STALE_EPOCH`; database errors.
    pub async fn recover(
        &self,
        account: &str,
        lease: &Lease,
        at_work: &[Uuid],
        lost: &[Uuid],
        doubt: Duration,
    ) -> Result<usize, Error> {
        let (account, lease, subjects) = (account.to_owned(), lease.clone(), self.subjects.clone());
        let (at_work, lost) = (at_work.to_vec(), lost.to_vec());
        self.db
            .transaction(move |tx| {
                let (account, lease, subjects) = (account.clone(), lease.clone(), subjects.clone());
                let (at_work, lost) = (at_work.clone(), lost.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    doubt_or_plan(tx, &subjects, &account, (lease.epoch, &at_work, &lost), doubt).await
                })
            })
            .await
    }

    /// What these beginnings began never left, because whoever lost them had no task for it: it is planned again, though another replica owns
    /// the number and doubts it. What is `unknown` already stays a person's matter. Answers how many.
    ///
    /// # Errors
    /// Database errors.
    pub async fn never_left(&self, account: &str, lost: &[Uuid]) -> Result<u64, Error> {
        let (of, lost) = (account.to_owned(), lost.to_vec());
        let planned = self.db.transaction(move |tx| {
            let (account, lost) = (of.clone(), lost.clone());
            Box::pin(async move {
                let planned = sqlx::query!(
                    "UPDATE whatsapp.send
                     SET state = 'planned', next_at = now(), epoch = NULL, begun_by = NULL, uploading = false, reason = '',
                         error_text = '', changed_at = now()
                     WHERE account_key = $1 AND begun_by = ANY($2) AND state IN ('attempting', 'doubtful')",
                    account,
                    &lost,
                );
                Ok(planned.execute(tx).await?.rows_affected())
            })
        });
        let planned = planned.await?;
        if planned > 0 {
            self.unsent(account).notify_one();
        }
        Ok(planned)
    }

    /// Doubts that no status has ended in time become `unknown`, each with its report. Answers how many.
    ///
    /// # Errors
    /// `STALE_EPOCH`; database errors.
    pub async fn end_doubts(&self, account: &str, lease: &Lease) -> Result<usize, Error> {
        let (account, lease, subjects) = (account.to_owned(), lease.clone(), self.subjects.clone());
        self.db
            .transaction(move |tx| {
                let (account, lease, subjects) = (account.clone(), lease.clone(), subjects.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    let rows = sqlx::query!(
                        "WITH over AS (
                           SELECT send_id FROM whatsapp.send
                           WHERE account_key = $1 AND state = 'doubtful' AND next_at <= now()
                           ORDER BY send_id LIMIT 500 FOR UPDATE SKIP LOCKED)
                         UPDATE whatsapp.send s SET state = 'unknown', next_at = NULL, changed_at = now()
                         FROM over WHERE s.send_id = over.send_id
                         RETURNING s.send_id, s.conversation_key, s.traceparent, s.attempts, s.wamid, s.error_text",
                        account,
                    )
                    .fetch_all(&mut *tx)
                    .await?;
                    let ended = rows.len();
                    let reports = rows
                        .into_iter()
                        .map(|row| Report {
                            send_id: row.send_id,
                            account_key: account.clone(),
                            conversation_key: row.conversation_key,
                            traceparent: row.traceparent,
                            attempts: row.attempts,
                            state: SendState::Unknown,
                            occurred_at: None,
                            wamid: row.wamid.unwrap_or_default(),
                            reason: "NO_ANSWER".to_owned(),
                            code: 0,
                            text: row.error_text,
                            reached: None,
                        })
                        .collect();
                    reports::append(tx, &subjects, reports).await?;
                    Ok(ended)
                })
            })
            .await
    }
}

async fn doubt_or_plan(
    tx: &mut PgConnection,
    subjects: &Subjects,
    account: &str,
    (epoch, at_work, lost): (i64, &[Uuid], &[Uuid]),
    doubt: Duration,
) -> Result<usize, Error> {
    let rows = sqlx::query!(
        r#"WITH cut AS (
             SELECT send_id, lost, lost OR uploading OR is_mark AS harmless, cut_offs + (NOT lost)::int AS times,
                    is_mark OR cut_offs + (NOT lost)::int < $5 AS again
             FROM whatsapp.send, LATERAL (SELECT coalesce(begun_by = ANY($7), false) AS lost) AS l
             WHERE account_key = $1 AND state = 'attempting' AND epoch <= $2 AND send_id <> ALL($3) FOR UPDATE OF send)
           UPDATE whatsapp.send s
           SET state = CASE WHEN NOT harmless THEN 'doubtful' WHEN again THEN 'planned' ELSE 'failed' END,
               next_at = CASE WHEN NOT harmless THEN now() + make_interval(secs => $4)
                              WHEN lost THEN now()
                              WHEN again THEN now() + make_interval(secs => least(4.0 ^ least(times - 1, 9), 300.0) * (0.5 + random())) END,
               reason = CASE WHEN NOT harmless THEN 'NO_ANSWER' WHEN again THEN '' ELSE $6 END,
               cut_offs = CASE WHEN harmless THEN times ELSE 0 END, epoch = NULL,
               begun_by = CASE WHEN NOT harmless THEN s.begun_by END,
               uploading = false, error_code = 0, error_text = 'the attempt was cut off', changed_at = now()
           FROM cut WHERE s.send_id = cut.send_id
           RETURNING s.send_id, s.conversation_key, s.sequence, s.traceparent, s.attempts, s.state = 'failed' AS "failed!",
                     lost AS "lost!""#,
        account,
        epoch,
        at_work,
        doubt.as_secs_f64(),
        MOST_CUT_OFFS,
        CUT_OFF,
        lost,
    )
    .fetch_all(&mut *tx)
    .await?;
    let count = rows.iter().filter(|row| !row.lost).count();
    let mut failed: Vec<_> = rows.into_iter().filter(|row| row.failed).collect();
    failed.sort_unstable_by_key(|row| (row.conversation_key, row.sequence));
    let reports = failed.into_iter().map(|row| Report {
        send_id: row.send_id,
        account_key: account.to_owned(),
        conversation_key: row.conversation_key,
        traceparent: row.traceparent,
        attempts: row.attempts,
        state: SendState::Failed,
        occurred_at: None,
        wamid: String::new(),
        reason: CUT_OFF.to_owned(),
        code: 0,
        text: "each attempt broke off with its process".to_owned(),
        reached: None,
    });
    reports::append(tx, subjects, reports.collect()).await?;
    Ok(count)
}

async fn take_one(tx: &mut PgConnection, envelope: &OutboundEnvelope) -> Result<(), Error> {
    let invalid = || Error::corrupt("SEND_INVALID", "a send has no WhatsApp content or no valid ids");
    let (Ok(send_id), Ok(key)) =
        (Uuid::try_parse(&envelope.send_id), Uuid::try_parse(&envelope.conversation_key))
    else {
        return Err(invalid());
    };
    let Some(outbound_envelope::Content::Whatsapp(item)) = &envelope.content else { return Err(invalid()) };
    if envelope.sequence < 1 || !hilo_kit::nats::is_token(&envelope.account_key) {
        return Err(invalid());
    }
    let traceparent = (!envelope.traceparent.is_empty()).then_some(envelope.traceparent.as_str());
    let inserted = sqlx::query!(
        "INSERT INTO whatsapp.send (send_id, account_key, conversation_key, sequence, envelope, traceparent, is_mark,
           bulk, with_files)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        send_id,
        envelope.account_key,
        key,
        envelope.sequence,
        envelope.encode_to_vec(),
        traceparent,
        compose::is_mark(item),
        item.bulk,
        compose::needs_files(item),
    )
    .execute(tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(Error::corrupt(
            "SEND_PLACE_TAKEN",
            "another send has this id or place in its conversation",
        ));
    }
    Ok(())
}
