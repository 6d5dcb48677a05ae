//! Client request ids: the same request gets the same answer for a day, another request under the same id is refused.

use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;

use crate::error::Error;

/// What a request id means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Never seen: do the work and call [`finish`] in the same transaction.
    Fresh,
    /// Done before: answer this.
    Replay(Vec<u8>),
    /// The id was used for another request.
    Reused,
}

impl Begin {
    /// Turns `Reused` into its error, `Replay` into `Some(answer)`.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED`.
    pub fn replay(self) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Begin::Fresh => Ok(None),
            Begin::Replay(answer) => Ok(Some(answer)),
            Begin::Reused => {
                Err(Error::rejected("REQUEST_ID_REUSED", "the request id was used for another request"))
            }
        }
    }
}

/// Hash of a request as [`begin`] wants it: SHA-256 of its encoded form without the request id.
pub fn hash(request: &[u8]) -> [u8; 32] {
    Sha256::digest(request).into()
}

/// Begins a request in the transaction of its effect. A concurrent twin waits here until the first one ends.
///
/// # Errors
/// Database errors.
pub async fn begin(
    tx: &mut PgConnection,
    principal: &str,
    rpc: &str,
    request_id: &str,
    request_hash: &[u8; 32],
) -> Result<Begin, Error> {
    // An entry older than a day is as good as none; replacing it here keeps the promise without a sweeper.
    let inserted = sqlx::query(
        "INSERT INTO kit.idempotency AS known (principal, rpc, request_id, request_hash) VALUES ($1, $2, $3, $4)
         ON CONFLICT (principal, rpc, request_id) DO UPDATE
         SET request_hash = excluded.request_hash, answer = NULL, created_at = now()
         WHERE known.created_at < now() - interval '24 hours'",
    )
    .bind(principal)
    .bind(rpc)
    .bind(request_id)
    .bind(request_hash.as_slice())
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if inserted == 1 {
        return Ok(Begin::Fresh);
    }
    let (hash, answer): (Vec<u8>, Option<Vec<u8>>) = sqlx::query_as(
        "SELECT request_hash, answer FROM kit.idempotency WHERE principal = $1 AND rpc = $2 AND request_id = $3",
    )
    .bind(principal)
    .bind(rpc)
    .bind(request_id)
    .fetch_one(tx)
    .await?;
    match answer {
        Some(answer) if hash == request_hash => Ok(Begin::Replay(answer)),
        // Without an answer the work of the first one was refused yet committed: nothing to replay.
        None if hash == request_hash => Ok(Begin::Fresh),
        _ => Ok(Begin::Reused),
    }
}

/// Keeps the answer, in the transaction of [`begin`].
///
/// # Errors
/// Database errors.
pub async fn finish(
    tx: &mut PgConnection,
    principal: &str,
    rpc: &str,
    request_id: &str,
    answer: &[u8],
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE kit.idempotency SET answer = $4 WHERE principal = $1 AND rpc = $2 AND request_id = $3",
    )
    .bind(principal)
    .bind(rpc)
    .bind(request_id)
    .bind(answer)
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes entries older than a day, a bounded number at a time; answers how many.
///
/// # Errors
/// Database errors.
pub async fn sweep(tx: &mut PgConnection) -> Result<u64, Error> {
    let swept = sqlx::query(
        "DELETE FROM kit.idempotency WHERE (principal, rpc, request_id) IN (
           SELECT principal, rpc, request_id FROM kit.idempotency
           WHERE created_at < now() - interval '24 hours' ORDER BY created_at LIMIT 5000)",
    )
    .execute(tx)
    .await?;
    Ok(swept.rows_affected())
}
