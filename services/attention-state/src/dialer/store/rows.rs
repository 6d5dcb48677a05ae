//! Rows of dialers: the list as it came, and what became of each number.

use hilo_kit::error::Error;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::dialer::domain::DialerId;
use crate::dialer::domain::csv::GoodRow;

/// Rows of one statement that skips many.
const SKIPPED_AT_ONCE: usize = 5_000;

/// A row as people look at it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub ordinal: i32,
    pub number: String,
    pub values: Vec<String>,
    /// Word of a row state.
    pub state: String,
    pub skipped: String,
    pub delivery_reason: String,
    pub delivery_detail: String,
    pub attention_id: Option<Uuid>,
    pub answer_attention_id: Option<Uuid>,
    pub sent_at: Option<OffsetDateTime>,
    pub answered_at: Option<OffsetDateTime>,
    pub gave_up_at: Option<OffsetDateTime>,
}

#[derive(Serialize)]
struct NewRow<'a> {
    place: usize,
    number: &'a str,
    values: &'a [String],
}

/// Adds rows to a locked dialer that has `total` of them; those whose number is there already are left out. Answers how many came in.
pub(crate) async fn insert(
    tx: &mut PgConnection,
    id: DialerId,
    total: i32,
    rows: &[GoodRow],
) -> Result<u64, Error> {
    let new: Vec<NewRow<'_>> = (1..)
        .zip(rows)
        .map(|(place, row)| NewRow { place, number: row.number.as_str(), values: &row.values })
        .collect();
    Ok(sqlx::query!(
        r#"INSERT INTO dialer.row (dialer_id, ordinal, number, "values")
           SELECT $1, $2 + row_number() OVER (ORDER BY place)::integer, number, "values"
           FROM json_to_recordset($3::json) AS v(place integer, number text, "values" text[])
           WHERE NOT EXISTS (SELECT 1 FROM dialer.row known WHERE known.dialer_id = $1 AND known.number = v.number)"#,
        id.uuid(),
        total,
        Json(&new) as _
    )
    .execute(tx)
    .await?
    .rows_affected())
}

/// Rows by state; states without rows are left out.
pub(crate) async fn counts(conn: &mut PgConnection, id: DialerId) -> Result<Vec<(String, i64)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT state, count(*) AS "rows!" FROM dialer.row WHERE dialer_id = $1 GROUP BY state ORDER BY state"#,
        id.uuid()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.rows)).collect())
}

/// Rows in the order of the list behind a place, of one state when it is named.
pub(crate) async fn page(
    conn: &mut PgConnection,
    id: DialerId,
    state: Option<&str>,
    after: i32,
    limit: i64,
) -> Result<Vec<Seen>, Error> {
    Ok(sqlx::query_as!(
        Seen,
        r#"SELECT ordinal, number, "values", state, skipped, delivery_reason, delivery_detail, attention_id,
             answer_attention_id, sent_at, answered_at, gave_up_at
           FROM dialer.row WHERE dialer_id = $1 AND ordinal > $2 AND ($3::text IS NULL OR state = $3)
           ORDER BY ordinal LIMIT $4"#,
        id.uuid(),
        after,
        state,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// A row that has not had its turn.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub ordinal: i32,
    pub number: String,
    pub values: Vec<String>,
}

/// The next row of a claimed dialer.
pub(crate) async fn next(tx: &mut PgConnection, id: DialerId) -> Result<Option<Pending>, Error> {
    Ok(sqlx::query_as!(
        Pending,
        r#"SELECT ordinal, number, "values" FROM dialer.row WHERE dialer_id = $1 AND state = 'pending'
           ORDER BY ordinal LIMIT 1"#,
        id.uuid()
    )
    .fetch_optional(tx)
    .await?)
}

/// Nothing is sent to this row.
pub(crate) async fn skip(
    tx: &mut PgConnection,
    id: DialerId,
    ordinal: i32,
    reason: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE dialer.row SET skipped = $3 WHERE dialer_id = $1 AND ordinal = $2 AND state = 'pending'",
        id.uuid(),
        ordinal,
        reason
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Nothing is sent to all that have not had their turn; answers how many. `total` rows are gone through in spans, because all of a long
/// list are more than one statement has time for on a busy server.
pub(crate) async fn skip_pending(
    tx: &mut PgConnection,
    id: DialerId,
    total: i32,
    reason: &str,
) -> Result<u64, Error> {
    let mut skipped = 0;
    for behind in (0..total).step_by(SKIPPED_AT_ONCE) {
        skipped += sqlx::query!(
            "UPDATE dialer.row SET skipped = $2
             WHERE dialer_id = $1 AND state = 'pending' AND ordinal > $3 AND ordinal <= $3::integer + $4::integer",
            id.uuid(),
            reason,
            behind,
            i32::try_from(SKIPPED_AT_ONCE).unwrap_or(i32::MAX)
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
    }
    Ok(skipped)
}

/// True when so many of its rows were handed to the channel within the last hour and have not been reported on: the number is paused
/// or slower than the dialer, and more would only pile up in front of it. Older ones are lost to it in any case.
pub(crate) async fn is_ahead(tx: &mut PgConnection, id: DialerId, most: i64) -> Result<bool, Error> {
    let unreported = sqlx::query_scalar!(
        r#"SELECT count(*) AS "rows!" FROM (
             SELECT 1 FROM dialer.row WHERE dialer_id = $1 AND state = 'queued' AND sent_at > now() - interval '1 hour'
             LIMIT $2) AS unreported"#,
        id.uuid(),
        most
    )
    .fetch_one(tx)
    .await?;
    Ok(unreported >= most)
}
