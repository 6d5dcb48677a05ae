//! Numbers that the dialers of a campaign do not write to.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// An entry of the list.
#[derive(Clone, Debug)]
pub(crate) struct OptOut {
    pub campaign_key: String,
    pub number: String,
    /// `None` when it was the customer, by Meta.
    pub added_by: Option<String>,
    pub added_at: OffsetDateTime,
    pub reason: String,
}

/// Adds a number; the entry that is there already stays as it is.
pub(crate) async fn add(
    tx: &mut PgConnection,
    campaign: &str,
    number: &str,
    by: &str,
    reason: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO dialer.opt_out (campaign_key, number, added_by, reason) VALUES ($1, $2, $3, $4)
         ON CONFLICT (campaign_key, number) DO NOTHING",
        campaign,
        number,
        by,
        reason
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Adds numbers of campaigns whose customers said so, by Meta, in the order given; entries that are there already stay as they are.
pub(crate) async fn add_by_customers(
    tx: &mut PgConnection,
    numbers: &[(String, String)],
    reason: &str,
) -> Result<(), Error> {
    let (campaigns, numbers): (Vec<String>, Vec<String>) = numbers.iter().cloned().unzip();
    sqlx::query!(
        "INSERT INTO dialer.opt_out (campaign_key, number, added_by, reason)
         SELECT campaign, number, NULL, $3 FROM unnest($1::text[], $2::text[]) AS v(campaign, number)
         ON CONFLICT (campaign_key, number) DO NOTHING",
        &campaigns,
        &numbers,
        reason
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The entry of a number.
pub(crate) async fn find(
    conn: &mut PgConnection,
    campaign: &str,
    number: &str,
) -> Result<Option<OptOut>, Error> {
    Ok(sqlx::query_as!(
        OptOut,
        "SELECT campaign_key, number, added_by, added_at, reason FROM dialer.opt_out
         WHERE campaign_key = $1 AND number = $2",
        campaign,
        number
    )
    .fetch_optional(conn)
    .await?)
}

/// Takes a number off the list; false when it was not there.
pub(crate) async fn remove(tx: &mut PgConnection, campaign: &str, number: &str) -> Result<bool, Error> {
    let gone =
        sqlx::query!("DELETE FROM dialer.opt_out WHERE campaign_key = $1 AND number = $2", campaign, number);
    Ok(gone.execute(tx).await?.rows_affected() > 0)
}

/// Entries of a campaign by number, behind one; with what customers set in WhatsApp's own menu for its accounts, under the reason `stopped`
/// and the numbers that are known of who set it. Of a number that has both the entry of the list.
pub(crate) async fn page(
    conn: &mut PgConnection,
    campaign: &str,
    (after, limit): (&str, i64),
    stopped: &str,
) -> Result<Vec<OptOut>, Error> {
    Ok(sqlx::query_as!(
        OptOut,
        r#"SELECT DISTINCT ON (number) campaign_key AS "campaign_key!", number AS "number!", added_by, added_at AS "added_at!",
             reason AS "reason!"
           FROM (
             SELECT campaign_key, number, added_by, added_at, reason, 0 AS place FROM dialer.opt_out
             WHERE campaign_key = $1 AND number > $2
             UNION ALL
             SELECT a.campaign_key, s.number, NULL, s.said_at, $4, 1 FROM dialer.stop s JOIN directory.account a USING (account_key)
             WHERE a.campaign_key = $1 AND s.stopped AND s.number > $2 AND s.number LIKE '+%'
             UNION ALL
             SELECT a.campaign_key, '+' || ltrim(n.value, '+'), NULL, s.said_at, $4, 1
             FROM dialer.stop s JOIN directory.account a USING (account_key)
             JOIN contact.identity u ON u.kind = 'bsuid' AND u.value = s.number JOIN contact.identity n USING (contact_id)
             WHERE a.campaign_key = $1 AND s.stopped AND n.kind IN ('phone', 'whatsapp') AND '+' || ltrim(n.value, '+') > $2) AS listed
           ORDER BY number, place LIMIT $3"#,
        campaign,
        after,
        limit,
        stopped
    )
    .fetch_all(conn)
    .await?)
}
