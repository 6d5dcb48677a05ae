//! What cannot be handed over: dead letters that name a body of the ledger, and their way back.

use hilo_kit::consumer::{DeadLetter, Delivery};
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::StreamKind;
use hilo_kit::outbox::HEADER_ID;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::Store;

/// Name under which what cannot be parsed stands among the dead letters.
pub const PARSER: &str = "whatsapp-parser";
/// Reasons that say that the database was slow, with a body that may be as good as any.
pub const SLOW: [&str; 3] = ["STATEMENT_TIMEOUT", "TRANSACTION_TIMEOUT", "COMMIT_UNKNOWN"];
/// Strays are brought back by themselves for this long; after it only by an operator.
const REVIVED_FOR: &str = "24 hours";
/// A slow database has so long to recover before a body that it could not take is tried again.
const SLOW_PAUSE: &str = "10 minutes";
/// Bodies brought back to a database that was slow, at one time.
const SLOW_AT_ONCE: i64 = 100;

/// Everything of one body that cannot be handed over for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayAt<'a> {
    /// Stable reason.
    pub reason: &'a str,
    /// The first place; empty for the whole body.
    pub place: String,
    /// Number of places.
    pub count: usize,
    /// Meta's ids of the numbers it is for.
    pub numbers: Vec<String>,
}

impl<'a> StrayAt<'a> {
    /// The whole body.
    pub fn whole(reason: &'a str) -> Self {
        Self { reason, place: String::new(), count: 1, numbers: Vec::new() }
    }
}

/// A stray that may find its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The dead letter.
    pub dead_letter: Uuid,
    /// The body.
    pub webhook: Uuid,
    /// Names of the secrets it was signed by.
    pub signed_by: Vec<String>,
    /// Meta's ids of its numbers.
    pub numbers: Vec<String>,
}

/// Where a look at the strays stopped: the instant and the id of the last dead letter that was seen.
pub type StrayPlace = (OffsetDateTime, Uuid);

/// Some of the strays, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strays {
    /// Those of them that can be read.
    pub found: Vec<Stray>,
    /// Where to go on; `None` when nothing is behind them.
    pub next: Option<StrayPlace>,
}

/// What a dead letter holds: the body stays in the ledger, an operator sees where.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    webhook_id: Uuid,
    #[serde(default)]
    place: String,
    #[serde(default)]
    count: usize,
    #[serde(default)]
    numbers: Vec<String>,
    #[serde(default)]
    signed_by: Vec<String>,
}

impl Store {
    /// Puts a body into the queue again and settles its dead letter in the same transaction. What of it was handed over is
    /// known and stays alone.
    ///
    /// # Errors
    /// Database errors.
    pub async fn replay(&self, dead_letter: Uuid, webhook: Uuid) -> Result<(), Error> {
        self.db
            .transaction(move |tx| {
                Box::pin(async move {
                    sqlx::query!(
                        "WITH settled AS (
                           UPDATE kit.dead_letter SET state = 'replayed', settled_at = now()
                           WHERE id = $1 AND state IN ('dead', 'replaying') RETURNING id)
                         INSERT INTO whatsapp.parse_queue (webhook_id, position)
                         SELECT w.id, w.position FROM whatsapp.webhook w, settled WHERE w.id = $2 ON CONFLICT DO NOTHING",
                        dead_letter,
                        webhook,
                    )
                    .execute(tx)
                    .await?;
                    Ok(())
                })
            })
            .await?;
        self.unparsed.notify_one();
        Ok(())
    }

    /// What became a dead letter for one of these reasons not long ago, at most so many behind this place.
    ///
    /// # Errors
    /// Database errors.
    pub async fn strays(
        &self,
        reasons: &[&str],
        behind: Option<StrayPlace>,
        at_most: usize,
    ) -> Result<Strays, Error> {
        let (since, last) = behind.unzip();
        let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
        let reasons: Vec<String> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        let rows = self
            .db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query!(
                        "SELECT id, created_at, payload FROM kit.dead_letter
                         WHERE consumer = $1 AND state = 'dead' AND reason = ANY($2)
                           AND created_at > now() - $3::text::interval
                           AND ($5::timestamptz IS NULL OR (created_at, id) > ($5, $6::uuid))
                         ORDER BY created_at, id LIMIT $4",
                        PARSER,
                        &reasons,
                        REVIVED_FOR,
                        limit,
                        since,
                        last,
                    )
                    .fetch_all(conn)
                    .await?)
                })
            })
            .await?;
        let full = rows.len() >= at_most;
        let next = rows.last().filter(|_| full).map(|row| (row.created_at, row.id));
        let read = rows.into_iter().filter_map(|row| {
            let payload: Payload = serde_json::from_slice(&row.payload).ok()?;
            Some(Stray {
                dead_letter: row.id,
                webhook: payload.webhook_id,
                signed_by: payload.signed_by,
                numbers: payload.numbers,
            })
        });
        Ok(Strays { found: read.collect(), next })
    }

    /// Dead letters, with their bodies, of which the database was the reason some time ago, oldest first. A body that is slow by itself
    /// is one again after its attempts, and none of these any more a day after it came.
    ///
    /// # Errors
    /// Database errors.
    pub async fn slow_strays(&self) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let reasons = SLOW.map(str::to_owned);
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    let rows = sqlx::query!(
                        r#"SELECT d.id, w.id AS webhook FROM kit.dead_letter d
                           JOIN whatsapp.webhook w ON w.id = (convert_from(d.payload, 'UTF8')::jsonb ->> 'webhook_id')::uuid
                           WHERE d.consumer = $1 AND d.state = 'dead' AND d.reason = ANY($2)
                             AND d.created_at <= now() - $3::text::interval AND w.received_at > now() - $4::text::interval
                           ORDER BY d.created_at, d.id LIMIT $5"#,
                        PARSER,
                        &reasons,
                        SLOW_PAUSE,
                        REVIVED_FOR,
                        SLOW_AT_ONCE,
                    )
                    .fetch_all(conn)
                    .await?;
                    Ok(rows.into_iter().map(|row| (row.id, row.webhook)).collect())
                })
            })
            .await
    }

    /// The dead letter of a stray; again for the same body and reason it is the same.
    pub(super) fn letter(
        &self,
        webhook: Uuid,
        attempts: i32,
        signed_by: &[String],
        stray: &StrayAt<'_>,
    ) -> Result<DeadLetter, Error> {
        let id = Uuid::new_v5(&webhook, stray.reason.as_bytes());
        let payload = Payload {
            webhook_id: webhook,
            place: stray.place.clone(),
            count: stray.count,
            numbers: stray.numbers.clone(),
            signed_by: signed_by.to_vec(),
        };
        let payload = serde_json::to_vec(&payload).map_err(|error| {
            Error::internal("STRAY_UNWRITABLE", "a dead letter cannot be written").with_source(error)
        })?;
        // There may be no account; the subject only says which stream it never reached.
        let subject = self.subjects.handover(StreamKind::Inbound, super::CHANNEL, "unknown")?;
        Ok(DeadLetter {
            consumer: PARSER.to_owned(),
            stream: StreamKind::Inbound,
            delivery: Delivery::new(subject, vec![(HEADER_ID.to_owned(), id.to_string())], payload),
            reason: stray.reason.to_owned(),
            detail: format!("{} of webhook {webhook}: {}", stray.count, stray.place),
            attempts: attempts.unsigned_abs(),
        })
    }
}
