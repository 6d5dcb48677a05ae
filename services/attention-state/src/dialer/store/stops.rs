//! What customers set in WhatsApp's own menu: table `dialer.stop`.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Notes what a customer wants of an account, under a number of his or his user id; what he wanted later stays, and of one second the
/// stop.
pub(crate) async fn note(
    tx: &mut PgConnection,
    (account, name): (&str, &str),
    stop: bool,
    said_at: OffsetDateTime,
) -> Result<bool, Error> {
    let noted = sqlx::query!(
        "INSERT INTO dialer.stop AS known (account_key, number, stopped, said_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (account_key, number) DO UPDATE SET stopped = excluded.stopped, said_at = excluded.said_at
         WHERE excluded.said_at > known.said_at OR (excluded.said_at = known.said_at AND excluded.stopped)",
        account,
        name,
        stop,
        said_at
    );
    Ok(noted.execute(tx).await?.rows_affected() > 0)
}

/// Whether a customer wants nothing of the account, by one of these numbers and user ids.
pub(crate) async fn binds(tx: &mut PgConnection, account: &str, names: &[String]) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM dialer.stop WHERE account_key = $1 AND number = ANY($2) AND stopped) AS "binds!""#,
        account,
        names
    )
    .fetch_one(tx)
    .await?)
}

/// A person takes it back for the accounts of a campaign, of a number and of all that the customer is known by whose it is; false when
/// there was none. An older stop does not come back, nor the same one when it is told again: Meta's instants are whole seconds.
pub(crate) async fn lift(tx: &mut PgConnection, campaign: &str, number: &str) -> Result<bool, Error> {
    let lifted = sqlx::query!(
        "UPDATE dialer.stop AS s SET stopped = false, said_at = s.said_at + interval '1 microsecond' FROM directory.account a
         WHERE a.account_key = s.account_key AND a.campaign_key = $1 AND s.stopped AND (s.number = $2 OR s.number IN (
           SELECT CASE WHEN his.kind = 'bsuid' THEN his.value ELSE '+' || ltrim(his.value, '+') END
           FROM contact.identity n JOIN contact.identity his USING (contact_id)
           WHERE n.kind IN ('phone', 'whatsapp') AND n.value IN ($2, ltrim($2, '+')) AND his.kind IN ('phone', 'whatsapp', 'bsuid')))",
        campaign,
        number
    );
    Ok(lifted.execute(tx).await?.rows_affected() > 0)
}
