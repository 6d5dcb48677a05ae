//! Statuses of our messages: each heard once, each raising its send as the lattice says, with a report of every change.

use std::collections::HashSet;
use std::sync::Arc;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::Subjects;
use hilo_proto::delivery::v1::SendState;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::parsing::Parsed;
use super::reports::{self, Report};
use super::{Store, settling};
use crate::domain::class::class_of_status;
use crate::domain::send::State;
use crate::domain::status::{Effect, Reached, Status, Told, effect};
use crate::metrics;

/// Statuses without a send are looked at again for this long: the answer of the Graph API that names the message may be late.
const LATE: &str = "7 days";

/// A send as the lattice needs it.
#[derive(Clone, Debug)]
struct Standing {
    send_id: Uuid,
    account_key: String,
    conversation_key: Uuid,
    traceparent: Option<String>,
    attempts: i32,
    state: State,
    reached: Option<Reached>,
    wamid: Option<String>,
    reason: String,
    code: i32,
    text: String,
    changed: bool,
}

/// A status with its account.
type Heard<'a> = (&'a str, &'a Status);

/// Records the batch's new statuses and applies them; answers how many are new and how many contradict what is known.
pub(super) async fn hear(
    tx: &mut PgConnection,
    subjects: &Subjects,
    batch: &[Arc<Parsed>],
) -> Result<(usize, usize), Error> {
    let fresh = record(tx, batch).await?;
    if fresh.is_empty() {
        return Ok((0, 0));
    }
    let anomalies = apply(tx, subjects, &fresh).await?;
    Ok((fresh.len(), anomalies))
}

async fn record<'a>(tx: &mut PgConnection, batch: &'a [Arc<Parsed>]) -> Result<Vec<Heard<'a>>, Error> {
    let mut fresh = Vec::new();
    for parsed in batch.iter().filter(|parsed| !parsed.statuses.is_empty()) {
        let statuses = &parsed.statuses;
        let accounts: Vec<String> = statuses.iter().map(|(account, _)| account.clone()).collect();
        let wamids: Vec<String> = statuses.iter().map(|(_, one)| one.wamid.clone()).collect();
        let words: Vec<String> = statuses.iter().map(|(_, one)| one.told.as_str().to_owned()).collect();
        let opaque: Vec<Option<Uuid>> = statuses.iter().map(|(_, one)| one.opaque).collect();
        let codes: Vec<i32> = statuses.iter().map(|(_, one)| one.error_code).collect();
        let texts: Vec<String> = statuses.iter().map(|(_, one)| one.error_text.clone()).collect();
        let at: Vec<OffsetDateTime> = statuses.iter().map(|(_, one)| one.happened_at).collect();
        let new = sqlx::query!(
            "INSERT INTO whatsapp.status
               (account_key, wamid, status, webhook_id, opaque, error_code, error_text, happened_at)
             SELECT r.account, r.wamid, r.word, $1, r.opaque, r.code, r.words, r.at
             FROM unnest($2::text[], $3::text[], $4::text[], $5::uuid[], $6::int[], $7::text[], $8::timestamptz[])
                  AS r (account, wamid, word, opaque, code, words, at)
             ON CONFLICT DO NOTHING RETURNING account_key, wamid, status",
            parsed.id,
            &accounts,
            &wamids,
            &words,
            &opaque as _,
            &codes,
            &texts,
            &at,
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut new: HashSet<(String, String, String)> =
            new.into_iter().map(|row| (row.account_key, row.wamid, row.status)).collect();
        fresh.extend(statuses.iter().filter_map(|(account, status)| {
            let key = (account.clone(), status.wamid.clone(), status.told.as_str().to_owned());
            new.remove(&key).then_some((account.as_str(), status))
        }));
    }
    Ok(fresh)
}

/// Applies statuses that are recorded; those whose send nobody knows stay for later.
async fn apply(tx: &mut PgConnection, subjects: &Subjects, heard: &[Heard<'_>]) -> Result<usize, Error> {
    let mut sends = standings(tx, heard).await?;
    let mut reports = Vec::new();
    let mut anomalies = 0;
    for (account, status) in heard {
        let Some(send) = find(&mut sends, account, status) else { continue };
        let effect = effect(send.state, send.reached, status.told);
        match effect {
            Effect::Nothing => {}
            Effect::Anomaly => {
                anomalies += 1;
                metrics::anomaly();
            }
            Effect::Raise(reached) => {
                (send.state, send.reached, send.changed) = (State::Sent, Some(reached), true);
                (send.code, send.text, send.reason) = (0, String::new(), String::new());
            }
            Effect::Fail => {
                (send.state, send.changed) = (State::Failed, true);
                (send.code, send.text) = (status.error_code, status.error_text.clone());
                send.reason = class_of_status(status.error_code).reason().to_owned();
            }
        }
        // Else the answer of the Graph API has told whom it goes to already.
        let first = send.wamid.is_none();
        if first {
            (send.wamid, send.changed) = (Some(status.wamid.clone()), true);
        }
        mark(tx, account, status, send.send_id, effect == Effect::Anomaly).await?;
        if matches!(effect, Effect::Raise(_) | Effect::Fail) {
            metrics::status(status.told.as_str());
            reports.push(report(send, status, first));
            if effect == Effect::Fail && class_of_status(status.error_code).stops_number() {
                settling::stop_number(tx, account, class_of_status(status.error_code).reason()).await?;
            }
        }
    }
    for send in sends.iter().filter(|send| send.changed) {
        write(tx, send).await?;
    }
    reports::append(tx, subjects, reports).await?;
    Ok(anomalies)
}

/// Every send that a status may be about, locked in one order.
async fn standings(tx: &mut PgConnection, heard: &[Heard<'_>]) -> Result<Vec<Standing>, Error> {
    let accounts: Vec<String> = heard.iter().map(|(account, _)| (*account).to_owned()).collect();
    let wamids: Vec<String> = heard.iter().map(|(_, status)| status.wamid.clone()).collect();
    let opaque: Vec<Uuid> = heard.iter().filter_map(|(_, status)| status.opaque).collect();
    let rows = sqlx::query!(
        "SELECT send_id, account_key, conversation_key, traceparent, attempts, state, reached, wamid, reason, error_code,
                error_text
         FROM whatsapp.send
         WHERE send_id IN (
           SELECT send_id FROM whatsapp.send WHERE send_id = ANY($1)
           UNION SELECT s.send_id FROM unnest($2::text[], $3::text[]) AS w (account_key, wamid)
                 JOIN whatsapp.send s ON s.account_key = w.account_key AND s.wamid = w.wamid)
         ORDER BY send_id FOR UPDATE",
        &opaque,
        &accounts,
        &wamids,
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Standing {
                send_id: row.send_id,
                account_key: row.account_key,
                conversation_key: row.conversation_key,
                traceparent: row.traceparent,
                attempts: row.attempts,
                state: settling::state(&row.state)?,
                reached: row.reached.as_deref().and_then(Reached::parse),
                wamid: row.wamid,
                reason: row.reason,
                code: row.error_code,
                text: row.error_text,
                changed: false,
            })
        })
        .collect()
}

/// The send of a status: the one of the account with its wamid, else the one whose id it gives back.
fn find<'a>(sends: &'a mut [Standing], account: &str, status: &Status) -> Option<&'a mut Standing> {
    let mine = |send: &Standing| send.account_key == account;
    let at = sends
        .iter()
        .position(|send| mine(send) && send.wamid.as_deref() == Some(status.wamid.as_str()))
        .or_else(|| sends.iter().position(|send| mine(send) && Some(send.send_id) == status.opaque))?;
    sends.get_mut(at)
}

fn report(send: &Standing, status: &Status, first: bool) -> Report {
    Report {
        send_id: send.send_id,
        account_key: send.account_key.clone(),
        conversation_key: send.conversation_key,
        traceparent: send.traceparent.clone(),
        attempts: send.attempts.max(1),
        state: match status.told {
            Told::Failed => SendState::Failed,
            Told::Reached(reached) => reached.reported(),
        },
        occurred_at: Some(status.happened_at),
        wamid: status.wamid.clone(),
        reason: send.reason.clone(),
        code: send.code,
        text: send.text.clone(),
        reached: status.reached.clone().filter(|_| first),
    }
}

async fn mark(
    tx: &mut PgConnection,
    account: &str,
    status: &Status,
    send_id: Uuid,
    anomaly: bool,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE whatsapp.status SET send_id = $4, anomaly = $5 WHERE account_key = $1 AND wamid = $2 AND status = $3",
        account,
        status.wamid,
        status.told.as_str(),
        send_id,
        anomaly,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn write(tx: &mut PgConnection, send: &Standing) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE whatsapp.send
         SET state = $2, reached = $3, wamid = $4, reason = $5, error_code = $6, error_text = $7, changed_at = now(),
             epoch = CASE WHEN $2 = 'attempting' THEN epoch END, uploading = uploading AND $2 = 'attempting',
             next_at = CASE WHEN $2 IN ('planned', 'doubtful') THEN next_at END
         WHERE send_id = $1",
        send.send_id,
        send.state.as_str(),
        send.reached.map(Reached::as_str),
        send.wamid,
        send.reason,
        send.code,
        send.text,
    )
    .execute(tx)
    .await?;
    Ok(())
}

impl Store {
    /// Applies statuses that came before anybody knew whose they were: Meta gave our id not back, and the answer that names the
    /// message came after its first status. Answers how many were applied.
    ///
    /// # Errors
    /// Database errors.
    pub async fn late_statuses(&self, limit: i64) -> Result<usize, Error> {
        let subjects = self.subjects.clone();
        self.db
            .transaction(move |tx| {
                let subjects = subjects.clone();
                Box::pin(async move {
                    let rows = sqlx::query!(
                        r#"SELECT t.account_key, t.wamid, t.status, t.opaque, t.error_code, t.error_text, t.happened_at
                           FROM whatsapp.status t
                           JOIN whatsapp.send s ON s.account_key = t.account_key AND s.wamid = t.wamid
                           WHERE t.send_id IS NULL AND t.parsed_at > now() - $1::text::interval
                           ORDER BY t.parsed_at LIMIT $2 FOR UPDATE OF t SKIP LOCKED"#,
                        LATE,
                        limit,
                    )
                    .fetch_all(&mut *tx)
                    .await?;
                    let late: Vec<(String, Status)> = rows
                        .into_iter()
                        .filter_map(|row| {
                            let told = Told::parse(&row.status)?;
                            let status = Status {
                                wamid: row.wamid,
                                told,
                                opaque: row.opaque,
                                happened_at: row.happened_at,
                                error_code: row.error_code,
                                error_text: row.error_text,
                                // Their sends are found by the answer of the Graph API, which told.
                                reached: None,
                            };
                            Some((row.account_key, status))
                        })
                        .collect();
                    let heard: Vec<Heard<'_>> = late.iter().map(|(account, one)| (account.as_str(), one)).collect();
                    if !heard.is_empty() {
                        apply(tx, &subjects, &heard).await?;
                    }
                    Ok(heard.len())
                })
            })
            .await
    }
}
