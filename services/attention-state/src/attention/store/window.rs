//! Until when free text may be sent to a customer on a number of ours, whatever attention he wrote in: table `attention.chat_window`.

use std::collections::{BTreeMap, HashMap};

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::attention::domain::{AttentionId, ContactId};

/// How long free text may be sent after the customer wrote, less a minute: our clock is not Meta's
/// (<https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages>).
pub(crate) const LASTS: Duration = Duration::seconds(24 * 3_600 - 60);

/// A customer as an account knows him: account and one of his ids ([`crate::contact::whatsapp::names`]).
pub(crate) type Named = (String, String);

/// Notes that customers wrote under these ids, until when free text may be sent therefore; answers whose windows these are from now on and
/// when they end. Windows only move later. Lock the identities first.
///
/// # Errors
/// Database errors.
pub(crate) async fn note(
    tx: &mut PgConnection,
    wrote: &BTreeMap<Named, (ContactId, OffsetDateTime)>,
) -> Result<HashMap<Named, (ContactId, OffsetDateTime)>, Error> {
    if wrote.is_empty() {
        return Ok(HashMap::new());
    }
    let (accounts, names): (Vec<String>, Vec<String>) = wrote.keys().cloned().unzip();
    let (contacts, ends): (Vec<Uuid>, Vec<OffsetDateTime>) =
        wrote.values().map(|(contact, ends_at)| (contact.uuid(), *ends_at)).unzip();
    // What a former owner wrote before does not come back with an item of his that is late.
    let rows = sqlx::query!(
        "INSERT INTO attention.chat_window AS known (identity, account_key, contact_id, ends_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[])
         ON CONFLICT (identity, account_key) DO UPDATE SET
           contact_id = CASE WHEN excluded.ends_at > known.ends_at THEN excluded.contact_id ELSE known.contact_id END,
           ends_at = greatest(known.ends_at, excluded.ends_at)
         RETURNING identity, account_key, contact_id, ends_at",
        &names,
        &accounts,
        &contacts,
        &ends
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.account_key, row.identity), (ContactId(row.contact_id), row.ends_at)))
        .collect())
}

/// The end of the window that is open at `now` for a contact under one of these ids, or for another contact whom the attention
/// reaches under the id that Meta named ([`super::reached`]); each of the two is looked up by key.
///
/// # Errors
/// Database errors.
pub(crate) async fn open(
    tx: &mut PgConnection,
    account: &str,
    (contact, names): (ContactId, &[String]),
    attention: AttentionId,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, Error> {
    Ok(sqlx::query_scalar!(
        "SELECT max(ends_at) FROM (
           SELECT w.ends_at FROM attention.chat_window w
           WHERE w.identity = ANY($3) AND w.account_key = $1 AND w.contact_id = $2
           UNION ALL
           SELECT w.ends_at FROM attention.reached r
           JOIN attention.chat_window w ON w.identity = ltrim(r.identity, '+') AND w.account_key = $1 AND w.contact_id = r.contact_id
           WHERE r.attention_id = $4) AS his
         WHERE ends_at > $5",
        account,
        contact.uuid(),
        names,
        attention.uuid(),
        now
    )
    .fetch_one(tx)
    .await?)
}

/// Whether a contact wrote under one of these ids, to any number of ours, after this instant; by the windows, which tell of a day.
///
/// # Errors
/// Database errors.
pub(crate) async fn wrote_since(
    tx: &mut PgConnection,
    (contact, names): (ContactId, &[String]),
    at: OffsetDateTime,
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM attention.chat_window
             WHERE identity = ANY($2) AND contact_id = $1 AND ends_at > $3::timestamptz + make_interval(secs => $4)) AS "wrote!""#,
        contact.uuid(),
        names,
        at,
        LASTS.as_seconds_f64()
    )
    .fetch_one(tx)
    .await?)
}

/// The windows of one contact are those of the one it is merged into. Call it while he still has his identities.
///
/// # Errors
/// Database errors.
pub(crate) async fn merged(tx: &mut PgConnection, goes: Uuid, stays: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE attention.chat_window SET contact_id = $2 WHERE contact_id = $1
           AND identity IN (SELECT ltrim(value, '+') FROM contact.identity WHERE contact_id = $1)",
        goes,
        stays
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets windows that are over, of one page of the table behind a place; answers how many, and the last place of the page when there
/// are more. By pages, because all of a day are more than one statement has time for; by the key, because an index on the ends would cost
/// each message of a customer more than the walk costs once an hour.
///
/// # Errors
/// Database errors.
pub(crate) async fn forget(
    tx: &mut PgConnection,
    (account, identity): &Named,
    page: i64,
) -> Result<(u64, Option<Named>), Error> {
    let rows = sqlx::query!(
        r#"SELECT identity, account_key, ends_at < now() AS "over!" FROM attention.chat_window
           WHERE (identity, account_key) > ($1, $2) ORDER BY identity, account_key LIMIT $3"#,
        identity,
        account,
        page
    )
    .fetch_all(&mut *tx)
    .await?;
    let whole = i64::try_from(rows.len()).is_ok_and(|found| found >= page);
    let last = rows.last().filter(|_| whole).map(|row| (row.account_key.clone(), row.identity.clone()));
    let over = rows.into_iter().filter(|row| row.over);
    let (identities, accounts): (Vec<String>, Vec<String>) =
        over.map(|row| (row.identity, row.account_key)).unzip();
    if identities.is_empty() {
        return Ok((0, last));
    }
    // It waits for nobody who opens one anew: whoever does waits for it.
    let gone = sqlx::query!(
        "DELETE FROM attention.chat_window WHERE (identity, account_key) IN
           (SELECT identity, account_key FROM attention.chat_window JOIN unnest($1::text[], $2::text[]) AS o (identity, account_key)
              USING (identity, account_key)
            WHERE ends_at < now() FOR UPDATE OF chat_window SKIP LOCKED)",
        &identities,
        &accounts
    )
    .execute(tx)
    .await?;
    Ok((gone.rows_affected(), last))
}
