//! The beginning of attempts, committed before anything goes out: in order, in the window, at the customer's pace.

use std::collections::HashMap;
use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{self, Lease};
use hilo_kit::nats::Subjects;
use hilo_proto::delivery::v1::SendState;
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::Store;
use super::reports::{self, Report};
use super::turn::{Due, due, files_room};
use crate::domain::compose::{self, Composed};
use crate::domain::outgoing::FileNeeded;
use crate::domain::pace::PairPace;
use crate::domain::unfit::{Unfit, Unsendable};

/// A send whose attempt is committed and may begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Picked {
    /// Send.
    pub send_id: Uuid,
    /// Its ordering key.
    pub conversation_key: Uuid,
    /// Account that sends.
    pub account_key: String,
    /// The customer, as the pace knows him.
    pub recipient: String,
    /// Body of the request, without the ids of its files.
    pub request: Value,
    /// Files that must be at Meta first.
    pub files: Vec<FileNeeded>,
    /// True for a read mark.
    pub is_mark: bool,
    /// Trace context stored with the interaction.
    pub traceparent: Option<String>,
    /// Attempts begun, this one included.
    pub attempts: i32,
    /// Epoch it was begun under.
    pub epoch: i64,
    /// Time since it was taken.
    pub age: Duration,
    /// Reason of its last report.
    pub reason: String,
}

/// What a look at the due sends did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Begun {
    /// Attempts that may begin.
    pub picked: Vec<Picked>,
    /// Sends that failed, were put off or wait for others with files: there may be more behind them.
    pub others: usize,
    /// The number must not send for so long.
    pub paused: Option<Duration>,
}

/// What may be begun at one look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask {
    /// Attempts at most.
    pub limit: usize,
    /// Attempts with files that are not at Meta yet, those under way included.
    pub files: usize,
    /// Pace towards one customer.
    pub pace: PairPace,
    /// Name of this beginning: whoever never learns of its commit names it to [`Store::recover`].
    pub begun_by: Uuid,
}

impl Store {
    /// Begins attempts of due sends. A send waits for its predecessor in the conversation to be in the ledger (or among the dead
    /// letters), and for every earlier one to have its end: one in flight per conversation. One with files that was cut off goes while no
    /// other one of the number is with its files, and before any that was not, so that what ends the process takes nothing along.
    ///
    /// # Errors
    /// `STALE_EPOCH` when another replica owns the number; database errors.
    pub async fn begin(&self, account: &str, lease: &Lease, ask: Ask) -> Result<Begun, Error> {
        let (account, lease, subjects) = (account.to_owned(), lease.clone(), self.subjects.clone());
        self.db
            .transaction(move |tx| {
                let (account, lease, subjects) = (account.clone(), lease.clone(), subjects.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    if let Some(pause) = paused(tx, &account).await? {
                        return Ok(Begun { paused: Some(pause), ..Begun::default() });
                    }
                    begin(tx, &subjects, &account, lease.epoch, ask).await
                })
            })
            .await
    }
}

async fn paused(tx: &mut PgConnection, account: &str) -> Result<Option<Duration>, Error> {
    let left = sqlx::query_scalar!(
        r#"SELECT extract(epoch FROM until - now())::float8 AS "left!" FROM whatsapp.pause
           WHERE account_key = $1 AND until > now()"#,
        account,
    )
    .fetch_optional(tx)
    .await?;
    Ok(left.map(|left| Duration::from_secs_f64(left.max(0.0))))
}

async fn begin(
    tx: &mut PgConnection,
    subjects: &Subjects,
    account: &str,
    epoch: i64,
    ask: Ask,
) -> Result<Begun, Error> {
    let mut room = files_room(tx, account, ask.files).await?;
    let due = due(tx, account, ask.limit, room).await?;
    if due.is_empty() {
        return Ok(Begun::default());
    }
    let now = hilo_kit::db::db_now(tx).await?;
    let mut pairs = pairs(tx, account, &due).await?;
    let mut begun = Begun::default();
    let (mut failed, mut late, mut left) = (Vec::new(), Vec::new(), 0);
    for one in due {
        if one.with_files && room.free < 1 {
            left += 1;
            continue;
        }
        let request = match unfit(&one, now) {
            Some(unfit) => Err(unfit),
            None => compose::request(&one.item, &one.send_id.to_string()),
        };
        let request = match request {
            Ok(request) => request,
            Err(unfit) => {
                failed.push((one, unfit));
                continue;
            }
        };
        let recipient = compose::recipient(&one.item);
        if !compose::is_mark(&one.item) {
            let ahead = pairs.entry(recipient.clone()).or_insert(0.0);
            match ask.pace.ask(*ahead) {
                Ok(next) => *ahead = next,
                Err(wait) => {
                    late.push((one.send_id, wait));
                    continue;
                }
            }
        }
        room.free -= i64::from(one.with_files);
        begun.picked.push(picked(one, account, recipient, request, epoch));
    }
    begun.others = failed.len() + late.len() + left;
    write_begun(tx, &begun.picked, epoch, ask.begun_by).await?;
    write_pairs(tx, account, &begun.picked, &pairs).await?;
    put_off(tx, &late).await?;
    fail(tx, subjects, account, failed).await?;
    Ok(begun)
}

fn picked(one: Due, account: &str, recipient: String, request: Composed, epoch: i64) -> Picked {
    Picked {
        send_id: one.send_id,
        conversation_key: one.conversation_key,
        account_key: account.to_owned(),
        recipient,
        request: request.body,
        files: request.files,
        is_mark: compose::is_mark(&one.item),
        traceparent: one.traceparent,
        attempts: one.attempts + 1,
        epoch,
        age: one.age,
        reason: one.reason,
    }
}

/// A sign of writing older than this tells the customer something that is not so.
const TYPING_LATE: Duration = Duration::from_secs(60);
/// After an outage of an hour a customer has his answer or waits for one, and whatever is read from then on marks all before it: marks
/// that piled up would only take the number's pace from the answers.
const MARK_LATE: Duration = Duration::from_secs(3600);

/// Free text does not go out after the window, however late this look is; and no mark that has become untrue or idle, for instance
/// in an outage.
fn unfit(one: &Due, now: OffsetDateTime) -> Option<Unsendable> {
    let item = &one.item;
    if compose::is_typing(item) && one.age > TYPING_LATE {
        let text = "the sign of writing is older than a minute";
        return Some(Unsendable { why: Unfit::TypingTooLate, text });
    }
    if compose::is_mark(item) && one.age > MARK_LATE {
        let text = "the read mark is older than an hour";
        return Some(Unsendable { why: Unfit::MarkTooLate, text });
    }
    let ends = item.window_ends_at.as_ref().and_then(hilo_kit::clock::from_proto)?;
    (ends <= now && !compose::outlives_window(item)).then_some(Unsendable {
        why: Unfit::WindowClosed,
        text: "the customer service window closed before the message went out",
    })
}

/// Seconds to the theoretical arrival time of every customer of these sends.
async fn pairs(tx: &mut PgConnection, account: &str, due: &[Due]) -> Result<HashMap<String, f64>, Error> {
    let recipients: Vec<String> = due.iter().map(|one| compose::recipient(&one.item)).collect();
    let rows = sqlx::query!(
        r#"SELECT recipient, extract(epoch FROM tat - now())::float8 AS "ahead!" FROM whatsapp.pair
           WHERE account_key = $1 AND recipient = ANY($2)"#,
        account,
        &recipients,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.recipient, row.ahead)).collect())
}

async fn write_begun(
    tx: &mut PgConnection,
    picked: &[Picked],
    epoch: i64,
    begun_by: Uuid,
) -> Result<(), Error> {
    let ids: Vec<Uuid> = picked.iter().map(|one| one.send_id).collect();
    let with_files = picked.iter().filter(|one| !one.files.is_empty());
    let with_files: Vec<Uuid> = with_files.map(|one| one.send_id).collect();
    sqlx::query!(
        "UPDATE whatsapp.send SET state = 'attempting', epoch = $2, attempts = attempts + 1, next_at = NULL,
             uploading = send_id = ANY($3), with_files = send_id = ANY($3), begun_by = $4, changed_at = now() WHERE send_id = ANY($1)",
        &ids,
        epoch,
        &with_files,
        begun_by,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn write_pairs(
    tx: &mut PgConnection,
    account: &str,
    picked: &[Picked],
    pairs: &HashMap<String, f64>,
) -> Result<(), Error> {
    let mut recipients: Vec<String> = picked.iter().map(|one| one.recipient.clone()).collect();
    recipients.sort_unstable();
    recipients.dedup();
    recipients.retain(|one| pairs.contains_key(one));
    let ahead: Vec<f64> = recipients.iter().map(|one| pairs.get(one).copied().unwrap_or(0.0)).collect();
    sqlx::query!(
        "INSERT INTO whatsapp.pair (account_key, recipient, tat)
         SELECT $1, r.recipient, now() + make_interval(secs => r.ahead)
         FROM unnest($2::text[], $3::float8[]) AS r (recipient, ahead)
         ON CONFLICT (account_key, recipient) DO UPDATE SET tat = excluded.tat",
        account,
        &recipients,
        &ahead,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn put_off(tx: &mut PgConnection, late: &[(Uuid, f64)]) -> Result<(), Error> {
    let (ids, waits): (Vec<Uuid>, Vec<f64>) = late.iter().copied().unzip();
    sqlx::query!(
        "UPDATE whatsapp.send s SET next_at = now() + make_interval(secs => l.wait), changed_at = now()
         FROM unnest($1::uuid[], $2::float8[]) AS l (id, wait) WHERE s.send_id = l.id",
        &ids,
        &waits,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What can never go out fails without an attempt.
async fn fail(
    tx: &mut PgConnection,
    subjects: &Subjects,
    account: &str,
    failed: Vec<(Due, Unsendable)>,
) -> Result<(), Error> {
    let mut reports = Vec::with_capacity(failed.len());
    for (one, unfit) in failed {
        sqlx::query!(
            "UPDATE whatsapp.send SET state = 'failed', next_at = NULL, reason = $2, error_text = $3, changed_at = now()
             WHERE send_id = $1",
            one.send_id,
            unfit.why.as_str(),
            unfit.text,
        )
        .execute(&mut *tx)
        .await?;
        reports.push(Report {
            send_id: one.send_id,
            account_key: account.to_owned(),
            conversation_key: one.conversation_key,
            traceparent: one.traceparent,
            attempts: one.attempts.max(1),
            state: SendState::Failed,
            occurred_at: None,
            wamid: String::new(),
            reason: unfit.why.as_str().to_owned(),
            code: 0,
            text: unfit.text.to_owned(),
            reached: None,
        });
    }
    reports::append(tx, subjects, reports).await
}
