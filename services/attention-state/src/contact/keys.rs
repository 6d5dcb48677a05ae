//! Locks on addresses and numbers, whether a contact has them yet or not. Intake, creation, change and merge take them
//! first and in one order, so that two of them never decide at once whose an address is.

use std::collections::BTreeSet;

use hilo_kit::error::Error;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::domain::Identity;

/// The advisory lock's number of a key; kinds are `email`, `phone`, `bsuid` and, for intake, `internet` (a Message-ID).
pub(crate) fn lock_number(kind: &[u8], key: &[u8]) -> i64 {
    let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(key).finalize();
    digest.iter().take(8).fold(0i64, |number, byte| (number << 8) | i64::from(*byte))
}

/// Locks identities until the transaction ends.
///
/// # Errors
/// `LOCK_TIMEOUT`; database errors.
pub(super) async fn lock<'a>(
    tx: &mut PgConnection,
    identities: impl IntoIterator<Item = &'a Identity>,
) -> Result<(), Error> {
    let numbers: BTreeSet<i64> = identities
        .into_iter()
        .map(|one| lock_number(one.kind.word().as_bytes(), one.value.as_bytes()))
        .collect();
    let numbers: Vec<i64> = numbers.into_iter().collect();
    sqlx::query!(
        r#"SELECT count(pg_advisory_xact_lock(number)) AS "locked!"
           FROM (SELECT number FROM unnest($1::bigint[]) AS number ORDER BY number) AS sorted"#,
        &numbers
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}
