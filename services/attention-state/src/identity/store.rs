//! Rows of credentials, of what was given last, and of revoked tokens.

use std::collections::BTreeMap;

use hilo_kit::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Most revoked tokens that are told to other services; far more than people sign out within twelve hours.
const MAX_REVOKED: i64 = 20_000;

/// The stored hash of an active user.
///
/// # Errors
/// Database errors.
pub async fn hash_of(conn: &mut PgConnection, user: &str) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(
        "SELECT password_hash FROM identity.credential
         JOIN directory.app_user USING (user_key) WHERE user_key = $1 AND active",
        user,
    )
    .fetch_optional(conn)
    .await?)
}

/// True while this is the stored hash; holds it until the transaction ends.
///
/// # Errors
/// Database errors.
pub async fn is_hash(tx: &mut PgConnection, user: &str, hash: &str) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        "SELECT 1 FROM identity.credential WHERE user_key = $1 AND password_hash = $2 FOR SHARE",
        user,
        hash,
    );
    Ok(found.fetch_optional(tx).await?.is_some())
}

/// The hashes that a text last gave these users, active or not; those who never had one have no entry.
///
/// # Errors
/// Database errors.
pub async fn given_hashes(
    conn: &mut PgConnection,
    users: &[String],
) -> Result<BTreeMap<String, String>, Error> {
    let rows = sqlx::query!(
        r#"SELECT user_key, coalesce(given_hash, password_hash) AS "hash!"
           FROM identity.credential WHERE user_key = ANY($1)"#,
        users
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.user_key, row.hash)).collect())
}

/// Stores hashes given by a text.
///
/// # Errors
/// Database errors.
pub async fn store_given(tx: &mut PgConnection, users: &[String], hashes: &[String]) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO identity.credential (user_key, password_hash) SELECT * FROM unnest($1::text[], $2::text[])
         ON CONFLICT (user_key) DO UPDATE SET password_hash = excluded.password_hash, given_hash = NULL,
             changed_at = now()",
        users,
        hashes,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Puts the hash of a password that the user has chosen himself in the place of `before`; false when that is not in force
/// any more. The one a text gave is remembered.
///
/// # Errors
/// Database errors.
pub async fn replace_hash(
    tx: &mut PgConnection,
    user: &str,
    before: &str,
    hash: &str,
) -> Result<bool, Error> {
    let replaced = sqlx::query!(
        "UPDATE identity.credential SET given_hash = coalesce(given_hash, password_hash), password_hash = $3,
             changed_at = now()
         WHERE user_key = $1 AND password_hash = $2",
        user,
        before,
        hash,
    )
    .execute(tx)
    .await?;
    Ok(replaced.rows_affected() == 1)
}

/// What the last text gave in clear, as one hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// argon2id PHC string over users and passwords.
    pub fingerprint: String,
    /// Those users, sorted.
    pub users: Vec<String>,
    /// SHA-256 over their given hashes.
    pub hashes: Vec<u8>,
}

/// The fingerprint, when there is one.
///
/// # Errors
/// Database errors.
pub async fn fingerprint(conn: &mut PgConnection) -> Result<Option<Fingerprint>, Error> {
    Ok(sqlx::query_as!(Fingerprint, "SELECT fingerprint, user_keys AS users, hashes FROM identity.given")
        .fetch_optional(conn)
        .await?)
}

/// Replaces the fingerprint.
///
/// # Errors
/// Database errors.
pub async fn store_fingerprint(tx: &mut PgConnection, of: &Fingerprint) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO identity.given (fingerprint, user_keys, hashes) VALUES ($1, $2, $3)
         ON CONFLICT (only_row) DO UPDATE SET fingerprint = excluded.fingerprint, user_keys = excluded.user_keys,
             hashes = excluded.hashes",
        of.fingerprint,
        &of.users,
        of.hashes,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Revokes a token and forgets those that have expired by themselves.
///
/// # Errors
/// Database errors.
pub async fn revoke(
    tx: &mut PgConnection,
    token_id: Uuid,
    user: &str,
    expires_at: OffsetDateTime,
) -> Result<(), Error> {
    // An hour of grace, so that a machine with a slow clock does not take an expired token for a living one.
    sqlx::query!("DELETE FROM identity.revoked_token WHERE expires_at < now() - interval '1 hour'")
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "INSERT INTO identity.revoked_token (token_id, user_key, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        token_id,
        user,
        expires_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes a token that was issued and forgets those that have expired by themselves.
///
/// # Errors
/// Database errors.
pub async fn note_issued(
    tx: &mut PgConnection,
    token_id: Uuid,
    user: &str,
    expires_at: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!("DELETE FROM identity.issued_token WHERE expires_at < now() - interval '1 hour'")
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "INSERT INTO identity.issued_token (token_id, user_key, expires_at) VALUES ($1, $2, $3)",
        token_id,
        user,
        expires_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Revokes every token issued to these users so far.
///
/// # Errors
/// Database errors.
pub async fn revoke_all(tx: &mut PgConnection, users: &[String]) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO identity.revoked_token (token_id, user_key, expires_at)
         SELECT token_id, user_key, expires_at FROM identity.issued_token WHERE user_key = ANY($1)
         ON CONFLICT DO NOTHING",
        users,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ids of tokens that are revoked and not dead by themselves, newest first.
///
/// # Errors
/// Database errors.
pub async fn revoked(conn: &mut PgConnection) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        "SELECT token_id FROM identity.revoked_token WHERE expires_at >= now() - interval '1 hour'
         ORDER BY revoked_at DESC LIMIT $1",
        MAX_REVOKED,
    )
    .fetch_all(conn)
    .await?)
}

/// True when the token was revoked.
///
/// # Errors
/// Database errors.
pub async fn is_revoked(conn: &mut PgConnection, token_id: Uuid) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!("SELECT 1 FROM identity.revoked_token WHERE token_id = $1", token_id)
        .fetch_optional(conn)
        .await?
        .is_some())
}
