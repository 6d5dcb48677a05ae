//! The parser's side of the ledger: claims under the parser's lease, results that commit together with what they tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hilo_kit::dead;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{self, Lease};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::strays::StrayAt;
use super::{Store, statuses, written};
use crate::domain::item::Item;
use crate::domain::status::Status;
use crate::domain::webhook::Notice;

/// Attempts of a body alone before it is a dead letter; with the pauses between them about six minutes, which a slow database
/// needs to recover.
pub const MAX_ATTEMPTS: i32 = 6;
/// Bodies of one claim together, in bytes.
const CLAIM_BYTES: i64 = 8 * 1024 * 1024;

/// A body claimed for parsing.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Ledger id.
    pub id: Uuid,
    /// Attempts begun alone, this one included when it is alone.
    pub attempts: i32,
    /// True when nothing else was claimed with it: then this is an attempt that counts.
    pub alone: bool,
    /// The body.
    pub body: Vec<u8>,
    /// Names of the secrets it was signed by.
    pub signed_by: Vec<String>,
    /// Trace context of its arrival.
    pub traceparent: Option<String>,
    /// When it was committed.
    pub received_at: OffsetDateTime,
    /// Time since then.
    pub age: Duration,
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

/// What of a body waits for a newer directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// The version that did not know it.
    pub directory_version: i64,
    /// It is taken apart again after this time in any case.
    pub at_most: Duration,
}

/// A body taken apart; shared and never copied, for it may be large.
#[derive(Debug)]
pub struct Parsed {
    /// Ledger id.
    pub id: Uuid,
    /// Attempts begun alone.
    pub attempts: i32,
    /// True when nothing else was claimed with it.
    pub alone: bool,
    /// Names of the secrets it was signed by.
    pub signed_by: Vec<String>,
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
    pub strays: Vec<StrayAt<'static>>,
    /// Set when a part of it waits: it stays in the queue, and what is known of it already is left alone the next time.
    pub waits: Option<Waits>,
}

impl Parsed {
    /// Nothing of it yet.
    pub fn of(claimed: &Claimed) -> Self {
        Self {
            id: claimed.id,
            attempts: claimed.attempts,
            alone: claimed.alone,
            signed_by: claimed.signed_by.clone(),
            traceparent: claimed.traceparent.clone(),
            received_at: claimed.received_at,
            items: Vec::new(),
            statuses: Vec::new(),
            notices: Vec::new(),
            strays: Vec::new(),
            waits: None,
        }
    }
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
    /// Claims the oldest bodies that are due; one that waits for a directory is due when there is another one than it waits to be
    /// replaced. One that was claimed before comes alone, and only that counts as an attempt, with a pause after it.
    ///
    /// # Errors
    /// `STALE_EPOCH`; database errors.
    pub async fn claim(
        &self,
        lease: &Lease,
        limit: i64,
        directory_version: i64,
    ) -> Result<Vec<Claimed>, Error> {
        let lease = lease.clone();
        self.db
            .transaction(move |tx| {
                let lease = lease.clone();
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    claim(tx, limit, directory_version).await
                })
            })
            .await
    }

    /// Commits a batch: everything new is handed over, everything known is left alone, the bodies leave the queue.
    ///
    /// # Errors
    /// `STALE_EPOCH`; `BODY_ENDED` when one has left the queue already; database errors: then nothing of the batch is committed.
    pub async fn parsed(
        &self,
        lease: &Lease,
        batch: Arc<[Arc<Parsed>]>,
        version: i32,
    ) -> Result<Heard, Error> {
        let (lease, store) = (lease.clone(), self.clone());
        let accounts: BTreeSet<String> =
            batch.iter().flat_map(|one| &one.statuses).map(|(account, _)| account.clone()).collect();
        let files = batch.iter().flat_map(|one| &one.items).any(|at| at.item.kind == "media");
        let heard = self
            .db
            .transaction(move |tx| {
                let (lease, store, batch) = (lease.clone(), store.clone(), batch.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    leave(tx, &batch).await?;
                    let items = written::items(tx, &store.subjects, &batch, version).await?;
                    let (statuses, anomalies) = statuses::hear(tx, &store.subjects, &batch).await?;
                    written::notices(tx, &batch).await?;
                    for parsed in batch.iter() {
                        for stray in &parsed.strays {
                            let letter =
                                store.letter(parsed.id, parsed.attempts, &parsed.signed_by, stray)?;
                            dead::bury_in(tx, &letter).await?;
                        }
                    }
                    Ok(Heard { items, statuses, anomalies })
                })
            })
            .await?;
        if files {
            self.unfetched.notify_one();
        }
        for account in accounts {
            // A doubt has ended and its conversation goes on.
            self.unsent(&account).notify_one();
        }
        Ok(heard)
    }

    /// Takes a whole body out of the queue into the dead letters. `false` when it is not there: a commit whose end nobody learned of
    /// has handed it over.
    ///
    /// # Errors
    /// `STALE_EPOCH` when another replica goes on with it; database errors.
    pub async fn quarantine(
        &self,
        lease: &Lease,
        id: Uuid,
        attempts: i32,
        reason: &str,
    ) -> Result<bool, Error> {
        let letter = self.letter(id, attempts, &[], &StrayAt::whole(reason))?;
        let lease = lease.clone();
        self.db
            .transaction(move |tx| {
                let (letter, lease) = (letter.clone(), lease.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    let there = leave_queue(tx, &[id]).await? > 0;
                    if there {
                        dead::bury_in(tx, &letter).await?;
                    }
                    Ok(there)
                })
            })
            .await
    }

    /// Puts claimed bodies back, uncounted: they are not at fault, or (`alone`) nobody knows yet which of them is.
    ///
    /// # Errors
    /// `STALE_EPOCH` when another replica has claimed them since; database errors.
    pub async fn put_back(&self, lease: &Lease, bodies: &[Arc<Parsed>], alone: bool) -> Result<(), Error> {
        let ids: Vec<Uuid> = bodies.iter().map(|one| one.id).collect();
        let counted: Vec<i32> = bodies.iter().map(|one| i32::from(one.alone)).collect();
        let lease = lease.clone();
        self.db
            .transaction(move |tx| {
                let (ids, counted, lease) = (ids.clone(), counted.clone(), lease.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    sqlx::query!(
                        "UPDATE whatsapp.parse_queue q
                         SET attempts = q.attempts - b.counted, not_before = now(), alone = $3
                         FROM unnest($1::uuid[], $2::int[]) AS b (id, counted) WHERE q.webhook_id = b.id",
                        &ids,
                        &counted,
                        alone,
                    )
                    .execute(tx)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Counts an attempt of a body that failed alone after it was claimed with others; answers how many there were.
    ///
    /// # Errors
    /// `STALE_EPOCH` when another replica goes on with it; database errors.
    pub async fn count_attempt(&self, lease: &Lease, id: Uuid) -> Result<i32, Error> {
        let lease = lease.clone();
        self.db
            .transaction(move |tx| {
                let lease = lease.clone();
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    let attempts = sqlx::query_scalar!(
                        "UPDATE whatsapp.parse_queue
                         SET attempts = attempts + 1, not_before = now() + make_interval(secs => least(4.0 ^ attempts, 300.0))
                         WHERE webhook_id = $1 RETURNING attempts",
                        id,
                    )
                    .fetch_optional(tx)
                    .await?;
                    Ok(attempts.unwrap_or(1))
                })
            })
            .await
    }
}

async fn claim(tx: &mut PgConnection, limit: i64, directory_version: i64) -> Result<Vec<Claimed>, Error> {
    let rows = sqlx::query!(
        r#"WITH due AS (
             SELECT q.webhook_id, row_number() OVER w AS n, sum(octet_length(b.body)) OVER w AS bytes,
                    bool_or(q.alone) OVER w AS alone
             FROM (SELECT * FROM whatsapp.parse_queue
                   WHERE not_before <= now() OR directory_version <> $3 ORDER BY position LIMIT $1) q
             JOIN whatsapp.webhook b ON b.id = q.webhook_id
             WINDOW w AS (ORDER BY q.position)),
           chosen AS (
             SELECT webhook_id, count(*) OVER () = 1 AS alone FROM due WHERE n = 1 OR (bytes <= $2 AND NOT alone)),
           claimed AS (
             UPDATE whatsapp.parse_queue q
             SET attempts = attempts + c.alone::int, alone = true, directory_version = NULL,
                 not_before = CASE WHEN c.alone THEN now() + make_interval(secs => least(4.0 ^ attempts, 300.0))
                              ELSE now() END
             FROM chosen c WHERE q.webhook_id = c.webhook_id
             RETURNING q.webhook_id, q.attempts, c.alone)
           SELECT b.id, c.attempts AS "attempts!", c.alone AS "alone!", b.body, b.signed_by, b.traceparent, b.received_at,
                  extract(epoch FROM now() - b.received_at)::float8 AS "age!"
           FROM claimed c JOIN whatsapp.webhook b ON b.id = c.webhook_id ORDER BY b.position"#,
        limit,
        CLAIM_BYTES,
        directory_version,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Claimed {
            id: row.id,
            attempts: row.attempts,
            alone: row.alone,
            body: row.body,
            signed_by: row.signed_by,
            traceparent: row.traceparent,
            received_at: row.received_at,
            age: Duration::from_secs_f64(row.age.max(0.0)),
        })
        .collect())
}

/// The bodies leave the queue, or wait in it. Before all else: whoever would end one of them otherwise, for nobody knows yet what
/// became of this transaction, waits for it here, or it ends here.
async fn leave(tx: &mut PgConnection, batch: &[Arc<Parsed>]) -> Result<(), Error> {
    let (mut found, mut done) = (0, Vec::new());
    for one in batch {
        match one.waits {
            Some(waits) => found += wait(tx, one.id, waits).await?,
            None => done.push(one.id),
        }
    }
    found += leave_queue(tx, &done).await?;
    if found < batch.len() as u64 {
        return Err(Error::rejected("BODY_ENDED", "a webhook has left the queue already"));
    }
    Ok(())
}

/// It stays in the queue until there is another directory, or its time is over; answers the number of rows.
async fn wait(tx: &mut PgConnection, id: Uuid, waits: Waits) -> Result<u64, Error> {
    let waiting = sqlx::query!(
        "UPDATE whatsapp.parse_queue
         SET directory_version = $2, not_before = now() + make_interval(secs => $3), attempts = 0, alone = false
         WHERE webhook_id = $1",
        id,
        waits.directory_version,
        waits.at_most.as_secs_f64(),
    )
    .execute(tx)
    .await?;
    Ok(waiting.rows_affected())
}

/// Answers how many were there.
async fn leave_queue(tx: &mut PgConnection, ids: &[Uuid]) -> Result<u64, Error> {
    let left = sqlx::query!("DELETE FROM whatsapp.parse_queue WHERE webhook_id = ANY($1)", ids);
    Ok(left.execute(tx).await?.rows_affected())
}

/// The counts of keys, in one order.
pub(super) fn counts(keys: impl Iterator<Item = Uuid>) -> BTreeMap<Uuid, i64> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0) += 1;
    }
    counts
}
