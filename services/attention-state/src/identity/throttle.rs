//! Sign-in attempts per name. An attempt is counted as failed before its password is looked at and forgiven when it was
//! right, so that many attempts at the same instant cannot all slip through.

use hilo_kit::Error;
use sqlx::PgConnection;

/// Seconds until the next attempt after the first, second, … failure; the last one holds for all later ones.
const DELAYS: [i32; 14] = [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300];
/// A name not tried for this long starts again from nothing.
const COLD_SECONDS: f64 = 3600.0;
/// Cold rows removed with each attempt, so that names tried at random do not pile up.
const SWEEP: i64 = 10;

/// Counts an attempt.
///
/// # Errors
/// `LOGIN_THROTTLED` while the name is blocked; the attempt is not counted then.
pub async fn begin(tx: &mut PgConnection, name: &str) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM identity.login_throttle
         WHERE (user_key = $3 AND attempted_at < now() - make_interval(secs => $1))
            OR user_key IN (
             SELECT user_key FROM identity.login_throttle
             WHERE attempted_at < now() - make_interval(secs => $1) LIMIT $2 FOR UPDATE SKIP LOCKED)",
        COLD_SECONDS,
        SWEEP,
        name,
    )
    .execute(&mut *tx)
    .await?;
    let counted = sqlx::query_scalar!(
        r#"INSERT INTO identity.login_throttle AS known (user_key, failures, blocked_until, attempted_at)
           VALUES ($1, 1, now() + make_interval(secs => ($2::int[])[1]), now())
           ON CONFLICT (user_key) DO UPDATE SET
               failures = known.failures + 1,
               blocked_until = now() + make_interval(secs => ($2::int[])[least(known.failures + 1, cardinality($2))]),
               attempted_at = now()
           WHERE known.blocked_until <= now()
           RETURNING failures"#,
        name,
        &DELAYS[..],
    )
    .fetch_optional(tx)
    .await?;
    match counted {
        Some(_) => Ok(()),
        None => Err(Error::exhausted(
            "LOGIN_THROTTLED",
            "too many failed sign-ins for this user; wait before the next",
        )),
    }
}

/// Forgives a name after a right password.
///
/// # Errors
/// Database errors.
pub async fn forgive(tx: &mut PgConnection, name: &str) -> Result<(), Error> {
    sqlx::query!("DELETE FROM identity.login_throttle WHERE user_key = $1", name).execute(tx).await?;
    Ok(())
}
