//! The parser's side of the ledger: claims under the parser's lease, results that commit together with what they tell.

use std::collections::{BTreeMap, BTreeSet};

use hilo_kit::consumer::{DeadLetter, Delivery};
use hilo_kit::dead;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{self, Lease};
use hilo_kit::nats::StreamKind;
use hilo_kit::outbox::HEADER_ID;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Store, statuses, written};
use crate::domain::item::Item;
use crate::domain::status::Status;
use crate::domain::webhook::Notice;

/// Name under which what cannot be parsed stands among the dead letters.
pub const PARSER: &str = "whatsapp-parser";
/// Bodies of one claim together, in bytes.
const CLAIM_BYTES: i64 = 8 * 1024 * 1024;

/// A body claimed for parsing.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Ledger id.
    pub id: Uuid,
    /// Attempts begun, this one included.
    pub attempts: i32,
    /// The body.
    pub body: Vec<u8>,
    /// Names of the secrets it was signed by.
    pub signed_by: Vec<String>,
    /// Trace context of its arrival.
    pub traceparent: Option<String>,
    /// When it was committed.
    pub received_at: OffsetDateTime,
}

/// An item of a body, with the account it is for.
#[derive(Clone, Debug)]
pub struct ItemAt {
    /// Account.
    pub account_key: String,
    /// Meta's id of the number.
    pub phone_number_id: String,
    /// Where in the body.
    pub place: String,
    /// The item.
    pub item: Item,
}

/// Everything of one body that cannot be handed over for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayAt {
    /// Stable reason.
    pub reason: &'static str,
    /// The first place.
    pub place: String,
    /// Number of places.
    pub count: usize,
}

/// A body taken apart.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// Ledger id.
    pub id: Uuid,
    /// Attempts begun.
    pub attempts: i32,
    /// Trace context of its arrival.
    pub traceparent: Option<String>,
    /// When it was committed.
    pub received_at: OffsetDateTime,
    /// Customers' items, in order.
    pub items: Vec<ItemAt>,
    /// Statuses with their account, in order.
    pub statuses: Vec<(String, Status)>,
    /// Notices with their place.
    pub notices: Vec<(String, Notice)>,
    /// What cannot be handed over.
    pub strays: Vec<StrayAt>,
}

/// What was new in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Items handed over.
    pub items: usize,
    /// Statuses never heard before.
    pub statuses: usize,
    /// Of them, those that contradict what is known.
    pub anomalies: usize,
}

impl Store {
    /// Claims the oldest bodies; each claim counts as an attempt. One that was claimed before comes alone.
    ///
    /// # Errors
    /// `STALE_EPOCH`; database errors.
    pub async fn claim(&self, lease: &Lease, limit: i64) -> Result<Vec<Claimed>, Error> {
        let lease = lease.clone();
        self.db
            .transaction(move |tx| {
                let lease = lease.clone();
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    claim(tx, limit).await
                })
            })
            .await
    }

    /// Commits a batch: everything new is handed over, everything known is left alone, the bodies leave the queue.
    ///
    /// # Errors
    /// `STALE_EPOCH`; database errors: then nothing of the batch is committed.
    pub async fn parsed(&self, lease: &Lease, batch: Vec<Parsed>, version: i32) -> Result<Heard, Error> {
        let (lease, store) = (lease.clone(), self.clone());
        let batch = std::sync::Arc::new(batch);
        let accounts: BTreeSet<String> =
            batch.iter().flat_map(|one| &one.statuses).map(|(account, _)| account.clone()).collect();
        let heard = self
            .db
            .transaction(move |tx| {
                let (lease, store, batch) = (lease.clone(), store.clone(), batch.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    let items = written::items(tx, &store.subjects, &batch, version).await?;
                    let (statuses, anomalies) = statuses::hear(tx, &store.subjects, &batch).await?;
                    written::notices(tx, &batch).await?;
                    for parsed in batch.iter() {
                        for stray in &parsed.strays {
                            dead::bury_in(tx, &store.letter(parsed.id, parsed.attempts, stray)?).await?;
                        }
                    }
                    leave_queue(tx, &batch.iter().map(|one| one.id).collect::<Vec<_>>()).await?;
                    Ok(Heard { items, statuses, anomalies })
                })
            })
            .await?;
        for account in accounts {
            // A doubt has ended and its conversation goes on.
            self.unsent(&account).notify_one();
        }
        Ok(heard)
    }

    /// Takes a whole body out of the queue into the dead letters.
    ///
    /// # Errors
    /// Database errors.
    pub async fn quarantine(&self, id: Uuid, attempts: i32, reason: &'static str) -> Result<(), Error> {
        let letter = self.letter(id, attempts, &StrayAt { reason, place: String::new(), count: 1 })?;
        self.db
            .transaction(move |tx| {
                let letter = letter.clone();
                Box::pin(async move {
                    dead::bury_in(tx, &letter).await?;
                    leave_queue(tx, &[id]).await
                })
            })
            .await
    }

    /// Leaves a body alone for a while: uncounted, it is not at fault.
    ///
    /// # Errors
    /// Database errors.
    pub async fn put_back(&self, ids: Vec<Uuid>, pause: std::time::Duration) -> Result<(), Error> {
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    sqlx::query!(
                        "UPDATE whatsapp.parse_queue SET attempts = attempts - 1,
                             not_before = now() + make_interval(secs => $2) WHERE webhook_id = ANY($1)",
                        &ids,
                        pause.as_secs_f64(),
                    )
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

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
                        "UPDATE kit.dead_letter SET state = 'replayed', settled_at = now()
                         WHERE id = $1 AND state = 'replaying'",
                        dead_letter,
                    )
                    .execute(&mut *tx)
                    .await?;
                    sqlx::query!(
                        "INSERT INTO whatsapp.parse_queue (webhook_id, position)
                         SELECT id, position FROM whatsapp.webhook WHERE id = $1 ON CONFLICT DO NOTHING",
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

    /// The body stays in the ledger; an operator sees where.
    fn letter(&self, webhook: Uuid, attempts: i32, stray: &StrayAt) -> Result<DeadLetter, Error> {
        let id = Uuid::new_v5(&webhook, stray.reason.as_bytes());
        let payload =
            serde_json::json!({ "webhook_id": webhook, "place": stray.place, "count": stray.count });
        // There may be no account; the subject only says which stream it never reached.
        let subject = self.subjects.handover(StreamKind::Inbound, super::CHANNEL, "unknown")?;
        Ok(DeadLetter {
            consumer: PARSER.to_owned(),
            stream: StreamKind::Inbound,
            delivery: Delivery::new(
                subject,
                vec![(HEADER_ID.to_owned(), id.to_string())],
                payload.to_string(),
            ),
            reason: stray.reason.to_owned(),
            detail: format!("{} of webhook {webhook}: {}", stray.count, stray.place),
            attempts: attempts.unsigned_abs(),
        })
    }
}

async fn claim(tx: &mut PgConnection, limit: i64) -> Result<Vec<Claimed>, Error> {
    let rows = sqlx::query!(
        r#"WITH due AS (
             SELECT q.webhook_id, q.position, row_number() OVER w AS n, sum(octet_length(b.body)) OVER w AS bytes,
                    max(q.attempts) OVER w AS tried
             FROM (SELECT * FROM whatsapp.parse_queue WHERE not_before <= now() ORDER BY position LIMIT $1) q
             JOIN whatsapp.webhook b ON b.id = q.webhook_id
             WINDOW w AS (ORDER BY q.position)),
           claimed AS (
             UPDATE whatsapp.parse_queue q SET attempts = attempts + 1
             FROM due WHERE q.webhook_id = due.webhook_id AND (due.n = 1 OR (due.bytes <= $2 AND due.tried = 0))
             RETURNING q.webhook_id, q.attempts)
           SELECT b.id, c.attempts AS "attempts!", b.body, b.signed_by, b.traceparent, b.received_at
           FROM claimed c JOIN whatsapp.webhook b ON b.id = c.webhook_id ORDER BY b.position"#,
        limit,
        CLAIM_BYTES,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Claimed {
            id: row.id,
            attempts: row.attempts,
            body: row.body,
            signed_by: row.signed_by,
            traceparent: row.traceparent,
            received_at: row.received_at,
        })
        .collect())
}

async fn leave_queue(tx: &mut PgConnection, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query!("DELETE FROM whatsapp.parse_queue WHERE webhook_id = ANY($1)", ids).execute(tx).await?;
    Ok(())
}

/// The counts of keys, in one order.
pub(super) fn counts(keys: impl Iterator<Item = Uuid>) -> BTreeMap<Uuid, i64> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0) += 1;
    }
    counts
}
