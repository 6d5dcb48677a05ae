//! Attempts and dead letters as rows of this service's database.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::consumer::{DeadLetter, DeadLetterSink, Delivery, Replay};
use crate::db::Db;
use crate::error::Error;

/// The sink of services with a database.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    db: Db,
}

impl DeadLetters {
    /// In this database.
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl DeadLetterSink for DeadLetters {
    async fn begin_attempts(&self, consumer: &str, ids: &[Uuid]) -> Result<Vec<u32>, Error> {
        let (consumer, wanted) = (consumer.to_owned(), ids.to_vec());
        let counted: Vec<(Uuid, i32)> = self
            .db
            .transaction(move |tx| {
                let (consumer, mut ids) = (consumer.clone(), wanted.clone());
                ids.sort_unstable();
                Box::pin(async move {
                    // Sorted against deadlocks; the first row counts two: the uncounted first attempt and this one.
                    Ok(sqlx::query_as(
                        "INSERT INTO kit.attempt AS known (consumer, id, attempts)
                         SELECT $1, id, 2 FROM unnest($2::uuid[]) AS id
                         ON CONFLICT (consumer, id) DO UPDATE SET attempts = known.attempts + 1, begun_at = now()
                         RETURNING id, attempts",
                    )
                    .bind(consumer)
                    .bind(ids)
                    .fetch_all(tx)
                    .await?)
                })
            })
            .await?;
        let counted: std::collections::HashMap<Uuid, i32> = counted.into_iter().collect();
        Ok(ids.iter().map(|id| counted.get(id).map_or(2, |count| count.unsigned_abs())).collect())
    }

    async fn take_back_attempts(&self, consumer: &str, ids: &[Uuid]) -> Result<(), Error> {
        let (consumer, mut ids) = (consumer.to_owned(), ids.to_vec());
        ids.sort_unstable();
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE kit.attempt SET attempts = attempts - 1
                         WHERE consumer = $1 AND id = ANY($2) AND attempts > 1",
                    )
                    .bind(consumer)
                    .bind(ids)
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn forget_attempts(&self, consumer: &str, ids: &[Uuid]) -> Result<(), Error> {
        let (consumer, ids) = (consumer.to_owned(), ids.to_vec());
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    sqlx::query("DELETE FROM kit.attempt WHERE consumer = $1 AND id = ANY($2)")
                        .bind(consumer)
                        .bind(ids)
                        .execute(conn)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<(), Error> {
        let letter = letter.clone();
        self.db
            .transaction(move |tx| {
                let letter = letter.clone();
                Box::pin(async move { bury_in(tx, &letter).await })
            })
            .await
    }

    async fn replays(&self, consumer: &str) -> Result<Vec<Replay>, Error> {
        let consumer = consumer.to_owned();
        let rows: Vec<(Uuid, String, String, Vec<u8>)> = self
            .db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query_as(
                        "SELECT id, subject, headers, payload FROM kit.dead_letter
                         WHERE consumer = $1 AND state = 'replaying' ORDER BY id LIMIT 20",
                    )
                    .bind(consumer)
                    .fetch_all(conn)
                    .await?)
                })
            })
            .await?;
        rows.into_iter()
            .map(|(dead_letter, subject, headers, payload)| {
                let headers = serde_json::from_str(&headers).map_err(|error| {
                    Error::corrupt("INVALID_HEADERS", "stored headers are broken").with_source(error)
                })?;
                Ok(Replay { dead_letter, delivery: Delivery::new(subject, headers, payload) })
            })
            .collect()
    }

    async fn settle_replay(&self, dead_letter: Uuid, failure: Option<&Error>) -> Result<(), Error> {
        let failure = failure.map(|error| (error.reason().to_owned(), error.message().to_owned()));
        self.db
            .transaction(move |tx| {
                let failure = failure.clone();
                Box::pin(async move {
                    let query = match &failure {
                        None => sqlx::query(
                            "UPDATE kit.dead_letter SET state = 'replayed', settled_at = now()
                             WHERE id = $1 AND state = 'replaying'",
                        )
                        .bind(dead_letter),
                        Some((reason, detail)) => sqlx::query(
                            "UPDATE kit.dead_letter
                             SET state = 'dead', reason = $2, detail = $3, attempts = attempts + 1, settled_by = NULL
                             WHERE id = $1 AND state = 'replaying'",
                        )
                        .bind(dead_letter)
                        .bind(reason)
                        .bind(detail),
                    };
                    query.execute(tx).await?;
                    Ok(())
                })
            })
            .await
    }
}

/// Commits a dead letter with the rest of the caller's transaction (a service that quarantines what it did not get from
/// the broker); again for the same message is harmless.
///
/// # Errors
/// Database errors.
pub async fn bury_in(tx: &mut PgConnection, letter: &DeadLetter) -> Result<(), Error> {
    let headers = serde_json::to_string(letter.delivery.headers()).map_err(|error| {
        Error::internal("INVALID_HEADERS", "headers cannot be encoded").with_source(error)
    })?;
    sqlx::query(
        "INSERT INTO kit.dead_letter
           (id, consumer, message_id, stream, subject, headers, payload, reason, detail, attempts)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (consumer, message_id) WHERE state IN ('dead', 'replaying') DO NOTHING",
    )
    .bind(Uuid::now_v7())
    .bind(&letter.consumer)
    .bind(letter.delivery.id())
    .bind(letter.stream.as_str())
    .bind(letter.delivery.subject())
    .bind(headers)
    .bind(letter.delivery.payload().as_ref())
    .bind(&letter.reason)
    .bind(&letter.detail)
    .bind(i32::try_from(letter.attempts).unwrap_or(i32::MAX))
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM kit.attempt WHERE consumer = $1 AND id = $2")
        .bind(&letter.consumer)
        .bind(letter.delivery.id())
        .execute(tx)
        .await?;
    Ok(())
}
