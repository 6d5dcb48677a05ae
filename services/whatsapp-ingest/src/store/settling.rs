//! The end of an attempt: the send's new state, what else waits because of it, and the report, in one transaction.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;

use super::reports::{self, Report};
use super::{Picked, Store};
use crate::domain::pace::PairPace;
use crate::domain::send::{self, Attempted, Hold, Next, Outcome, State};

/// How an attempt ended, and the rules by which that is judged.
#[derive(Clone, Debug)]
pub struct AttemptResult {
    /// What Meta said.
    pub outcome: Outcome,
    /// First pause before a repetition.
    pub retry: Duration,
    /// How long a status is waited for after no answer.
    pub doubt: Duration,
    /// Pace towards one customer.
    pub pace: PairPace,
    /// Spreads repetitions, 0 to 1.
    pub jitter: f64,
}

impl Store {
    /// Writes how an attempt ended. `false` when it is not this attempt's to end any more: a status or a new owner was faster, and
    /// nothing better is known here.
    ///
    /// # Errors
    /// Database errors: then it stays `attempting` and the next owner doubts it.
    pub async fn settle(&self, picked: &Picked, result: AttemptResult) -> Result<bool, Error> {
        let (picked, subjects) = (picked.clone(), self.subjects.clone());
        self.db
            .transaction(move |tx| {
                let (picked, result, subjects) = (picked.clone(), result.clone(), subjects.clone());
                Box::pin(async move { settle(tx, &subjects, &picked, result).await })
            })
            .await
    }
}

async fn settle(
    tx: &mut PgConnection,
    subjects: &Subjects,
    picked: &Picked,
    result: AttemptResult,
) -> Result<bool, Error> {
    let row = sqlx::query!(
        "SELECT state, epoch, attempts, wamid FROM whatsapp.send WHERE send_id = $1 FOR UPDATE",
        picked.send_id,
    )
    .fetch_one(&mut *tx)
    .await?;
    let state = state(&row.state)?;
    let certain = !matches!(result.outcome, Outcome::NoAnswer(_));
    let mine = match state {
        State::Attempting => row.epoch == Some(picked.epoch),
        // Doubt that a new owner wrote yields to the truth.
        State::Doubtful | State::Unknown => certain,
        State::Planned | State::Sent | State::Failed => false,
    };
    if row.attempts != picked.attempts || !mine {
        if let Outcome::Accepted { wamid, .. } = &result.outcome
            && row.wamid.is_none()
            && !wamid.is_empty()
        {
            // A status was faster and gave no id of ours; later ones are found by Meta's.
            sqlx::query!("UPDATE whatsapp.send SET wamid = $2 WHERE send_id = $1", picked.send_id, wamid)
                .execute(tx)
                .await?;
        }
        return Ok(false);
    }
    let at = Attempted {
        attempts: picked.attempts.unsigned_abs(),
        age: picked.age,
        pauses: pauses(tx, &picked.account_key).await?,
        retry: result.retry,
        doubt: result.doubt,
        jitter: result.jitter,
    };
    let decide = if picked.is_mark { send::next_of_mark } else { send::next };
    let mut next = decide(result.outcome, at);
    if state == State::Unknown {
        next = next.after_unknown();
    }
    write(tx, picked, &next).await?;
    hold(tx, picked, &next, result.pace).await?;
    // A wait is told once and of a mark never, every end always.
    let ended = next.state == State::Sent || next.state == State::Failed;
    if ended || (!picked.is_mark && next.reason != picked.reason) {
        reports::append(tx, subjects, vec![report(picked, &next)]).await?;
    }
    Ok(true)
}

fn report(picked: &Picked, next: &Next) -> Report {
    Report {
        send_id: picked.send_id,
        account_key: picked.account_key.clone(),
        conversation_key: picked.conversation_key,
        traceparent: hilo_kit::telemetry::current_traceparent().or_else(|| picked.traceparent.clone()),
        attempts: picked.attempts,
        state: next.state.reported(),
        occurred_at: None,
        wamid: next.wamid.clone(),
        reason: next.reason.to_owned(),
        code: next.code,
        text: next.text.clone(),
        reached: next.reached.as_deref().cloned(),
    }
}

async fn write(tx: &mut PgConnection, picked: &Picked, next: &Next) -> Result<(), Error> {
    let wamid = (!next.wamid.is_empty()).then_some(next.wamid.as_str());
    sqlx::query!(
        "UPDATE whatsapp.send
         SET state = $2, epoch = NULL, uploading = false, cut_offs = 0, wamid = coalesce(wamid, $3), reason = $4, error_code = $5, error_text = $6,
             reached = CASE WHEN $2 = 'sent' THEN coalesce(reached, 'sent') ELSE reached END,
             next_at = CASE WHEN $7::float8 IS NULL THEN NULL ELSE now() + make_interval(secs => $7::float8) END,
             changed_at = now()
         WHERE send_id = $1",
        picked.send_id,
        next.state.as_str(),
        wamid,
        next.reason,
        next.code,
        next.text,
        next.after.map(|after| after.as_secs_f64()),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn hold(tx: &mut PgConnection, picked: &Picked, next: &Next, pace: PairPace) -> Result<(), Error> {
    match next.hold {
        Hold::Nothing if next.state == State::Sent => {
            sqlx::query!(
                "DELETE FROM whatsapp.pause WHERE account_key = $1 AND until <= now()",
                picked.account_key
            )
            .execute(tx)
            .await?;
        }
        Hold::Nothing => {}
        Hold::Number(pause) => {
            sqlx::query!(
                "INSERT INTO whatsapp.pause AS known (account_key, until, reason, times)
                 VALUES ($1, now() + make_interval(secs => $2), $3, 1)
                 ON CONFLICT (account_key) DO UPDATE
                 SET until = excluded.until, reason = excluded.reason, times = known.times + 1
                 WHERE known.until <= now()",
                picked.account_key,
                pause.as_secs_f64(),
                next.reason,
            )
            .execute(tx)
            .await?;
        }
        Hold::Pair(pause) => {
            sqlx::query!(
                "INSERT INTO whatsapp.pair AS known (account_key, recipient, tat)
                 VALUES ($1, $2, now() + make_interval(secs => $3))
                 ON CONFLICT (account_key, recipient) DO UPDATE SET tat = greatest(known.tat, excluded.tat)",
                picked.account_key,
                picked.recipient,
                pace.paused(pause),
            )
            .execute(tx)
            .await?;
        }
    }
    Ok(())
}

async fn pauses(tx: &mut PgConnection, account: &str) -> Result<u32, Error> {
    let times = sqlx::query_scalar!("SELECT times FROM whatsapp.pause WHERE account_key = $1", account)
        .fetch_optional(tx)
        .await?;
    Ok(times.map_or(0, i32::unsigned_abs))
}

/// Nothing of the number goes out for a minute, because a status said that Meta refuses it altogether.
pub(super) async fn stop_number(tx: &mut PgConnection, account: &str, reason: &str) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO whatsapp.pause AS known (account_key, until, reason, times)
         VALUES ($1, now() + interval '1 minute', $2, 1)
         ON CONFLICT (account_key) DO UPDATE
         SET until = excluded.until, reason = excluded.reason, times = known.times + 1 WHERE known.until <= now()",
        account,
        reason,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A stored state.
pub(super) fn state(text: &str) -> Result<State, Error> {
    State::parse(text).ok_or_else(|| Error::corrupt("UNKNOWN_STATE", "a send has an unknown state"))
}
