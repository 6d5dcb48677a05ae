//! Rows of `automatic_reply`.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::own_address;
use super::rule::Counted;

/// Number of the lock under which replies are decided one at a time: the letters `autorepl`.
const LOCK: i64 = 0x6175_746f_7265_706c;

/// A reply that is due.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub attention: Uuid,
    pub interaction: Uuid,
    pub address: String,
    pub noted_at: OffsetDateTime,
}

/// True when no other transaction decides automatic replies; until the end of this one.
pub(super) async fn alone(tx: &mut PgConnection) -> Result<bool, Error> {
    let locked = sqlx::query_scalar!(r#"SELECT pg_try_advisory_xact_lock($1) AS "locked!""#, LOCK);
    Ok(locked.fetch_one(tx).await?)
}

/// The oldest reply that is due, after a place.
pub(super) async fn next(
    tx: &mut PgConnection,
    after: Option<(OffsetDateTime, Uuid)>,
) -> Result<Option<Due>, Error> {
    let due = sqlx::query_as!(
        Due,
        "SELECT attention_id AS attention, interaction_id AS interaction, address, noted_at
         FROM attention.automatic_reply
         WHERE state = 'due' AND ($1::timestamptz IS NULL OR (noted_at, attention_id) > ($1, $2::uuid))
         ORDER BY noted_at, attention_id LIMIT 1",
        after.map(|(at, _)| at),
        after.map(|(_, id)| id)
    );
    Ok(due.fetch_optional(tx).await?)
}

/// True while it is still due. Ask under the lock of [`alone`].
pub(super) async fn is_due(tx: &mut PgConnection, attention: Uuid) -> Result<bool, Error> {
    let due = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM attention.automatic_reply WHERE attention_id = $1 AND state = 'due') AS "due!""#,
        attention
    );
    Ok(due.fetch_one(tx).await?)
}

/// What the rules count.
pub(super) async fn count(tx: &mut PgConnection, due: &Due) -> Result<Counted, Error> {
    let row = sqlx::query!(
        r#"SELECT
             (SELECT extract(epoch FROM now() - noted_at)::bigint FROM attention.automatic_reply
              WHERE attention_id = $1) AS "age_seconds!",
             (SELECT count(*) FROM attention.automatic_reply WHERE state = 'sent' AND address = $2
                AND settled_at > now() - interval '24 hours') AS "to_address!",
             (SELECT count(*) FROM attention.automatic_reply WHERE state = 'sent'
                AND settled_at > now() - interval '1 hour') AS "to_all!",
             EXISTS (SELECT FROM directory.account WHERE lower(address) IN ($2, $3)) AS "ours!""#,
        due.attention,
        due.address,
        own_address(&due.address)
    )
    .fetch_one(tx)
    .await?;
    Ok(Counted {
        age_seconds: row.age_seconds,
        to_address: row.to_address,
        to_all: row.to_all,
        ours: row.ours,
    })
}

/// Settles a reply: sent, or withheld for a reason.
pub(super) async fn settle(
    tx: &mut PgConnection,
    attention: Uuid,
    withheld: Option<&'static str>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE attention.automatic_reply SET settled_at = now(), reason = coalesce($2, ''),
           state = CASE WHEN $2::text IS NULL THEN 'sent' ELSE 'withheld' END
         WHERE attention_id = $1",
        attention,
        withheld
    )
    .execute(tx)
    .await?;
    Ok(())
}
