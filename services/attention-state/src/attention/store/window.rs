//! Until when free text may be sent to a customer on a number of ours, whatever attention he wrote in: table `attention.chat_window`.

use std::collections::{BTreeMap, HashMap};

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attention::domain::{AttentionId, ContactId};

/// A customer as an account knows him: account and one of his ids ([`crate::contact::whatsapp::names`]).
pub(crate) type Named = (String, String);

/// Notes that customers wrote under these ids, until when free text may be sent therefore; answers what holds from now on, of those
/// ids that are still of the same contact. Windows only move later. Lock the identities first.
///
/// # Errors
/// Database errors.
pub(crate) async fn note(
    tx: &mut PgConnection,
    wrote: &BTreeMap<Named, (ContactId, OffsetDateTime)>,
) -> Result<HashMap<Named, OffsetDateTime>, Error> {
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
    let of = |named: &Named| wrote.get(named).map(|(contact, _)| contact.uuid());
    Ok(rows
        .into_iter()
        .map(|row| ((row.account_key, row.identity), row.contact_id, row.ends_at))
        .filter(|(named, contact, _)| of(named) == Some(*contact))
        .map(|(named, _, ends_at)| (named, ends_at))
        .collect())
}

/// The end of the window that is open at `now` for a contact under one of these ids, or for another contact whom the attention
/// reaches under the id that Meta named ([`super::reached`]).
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
        "SELECT max(w.ends_at) FROM attention.chat_window w
         WHERE w.account_key = $1 AND w.ends_at > $5
           AND (w.contact_id = $2 AND w.identity = ANY($3)
             OR (w.contact_id, w.identity) IN
               (SELECT r.contact_id, ltrim(r.identity, '+') FROM attention.reached r WHERE r.attention_id = $4))",
        account,
        contact.uuid(),
        names,
        attention.uuid(),
        now
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

/// Forgets windows that are over; answers how many.
///
/// # Errors
/// Database errors.
pub(crate) async fn forget(tx: &mut PgConnection) -> Result<u64, Error> {
    // It waits for nobody who opens one anew: whoever does waits for it.
    let gone = sqlx::query!(
        "DELETE FROM attention.chat_window WHERE (identity, account_key) IN
           (SELECT identity, account_key FROM attention.chat_window WHERE ends_at < now() FOR UPDATE SKIP LOCKED)"
    )
    .execute(tx)
    .await?;
    Ok(gone.rows_affected())
}
