//! What customers set in WhatsApp's own menu: table `dialer.stop`.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Notes what a number wants of an account; what it wanted later stays, and of one second the stop.
pub(crate) async fn note(
    tx: &mut PgConnection,
    (account, number): (&str, &str),
    stop: bool,
    said_at: OffsetDateTime,
) -> Result<bool, Error> {
    let noted = sqlx::query!(
        "INSERT INTO dialer.stop AS known (account_key, number, stopped, said_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (account_key, number) DO UPDATE SET stopped = excluded.stopped, said_at = excluded.said_at
         WHERE excluded.said_at > known.said_at OR (excluded.said_at = known.said_at AND excluded.stopped)",
        account,
        number,
        stop,
        said_at
    );
    Ok(noted.execute(tx).await?.rows_affected() > 0)
}

/// Whether one of these numbers wants nothing of the account.
pub(crate) async fn binds(tx: &mut PgConnection, account: &str, numbers: &[String]) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM dialer.stop WHERE account_key = $1 AND number = ANY($2) AND stopped) AS "binds!""#,
        account,
        numbers
    )
    .fetch_one(tx)
    .await?)
}

/// A person takes it back for the accounts of a campaign; false when there was none. An older stop does not come back.
pub(crate) async fn lift(tx: &mut PgConnection, campaign: &str, number: &str) -> Result<bool, Error> {
    let lifted = sqlx::query!(
        "UPDATE dialer.stop AS s SET stopped = false FROM directory.account a
         WHERE a.account_key = s.account_key AND a.campaign_key = $1 AND s.number = $2 AND s.stopped",
        campaign,
        number
    );
    Ok(lifted.execute(tx).await?.rows_affected() > 0)
}
