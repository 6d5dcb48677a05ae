//! Which messages a consumer has taken: written in the transaction of their effect, kept for ever, so that neither a
//! redelivery nor a rebuilt stream can have an effect twice.

use std::collections::HashSet;

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::db::Db;
use crate::error::Error;

/// Most ids in one look-up.
pub const MAX_IDS: usize = 1_000;

/// Takes the messages for this consumer; answers those that were never taken before, in the order given, once each.
///
/// Two transactions that take the same id at once: the second waits for the first and then finds it taken.
///
/// # Errors
/// Database errors.
pub async fn take(tx: &mut PgConnection, consumer: &str, ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    // Sorted, so that two overlapping batches wait for each other in one order and cannot deadlock.
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let fresh: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO kit.inbox (consumer, id) SELECT $1, id FROM unnest($2::uuid[]) AS id
         ON CONFLICT DO NOTHING RETURNING id",
    )
    .bind(consumer)
    .bind(&sorted)
    .fetch_all(tx)
    .await?;
    let mut fresh: HashSet<Uuid> = fresh.into_iter().collect();
    Ok(ids.iter().copied().filter(|id| fresh.remove(id)).collect())
}

/// Which of the ids this consumer ever took or gave up as dead letters (dead letters count: the reader has them).
///
/// # Errors
/// `TOO_MANY_IDS` above [`MAX_IDS`]; database errors.
pub async fn known(db: &Db, consumer: &str, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
    if ids.len() > MAX_IDS {
        return Err(Error::invalid("TOO_MANY_IDS", "too many ids").field("ids", format!("at most {MAX_IDS}")));
    }
    let (consumer, ids) = (consumer.to_owned(), ids.to_vec());
    db.read(move |conn| {
        Box::pin(async move {
            let known: Vec<Uuid> = sqlx::query_scalar(
                "SELECT id FROM kit.inbox WHERE consumer = $1 AND id = ANY($2)
                 UNION SELECT message_id FROM kit.dead_letter WHERE consumer = $1 AND message_id = ANY($2)",
            )
            .bind(consumer)
            .bind(ids)
            .fetch_all(conn)
            .await?;
            Ok(known.into_iter().collect())
        })
    })
    .await
}
