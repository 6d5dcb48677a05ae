//! The log's daily partitions: made ahead, dropped when old and no row in them is needed any more.

use sqlx::Row;
use sqlx::postgres::PgConnection;
use time::{Date, Duration as Days};

use crate::db::Db;
use crate::error::Error;

/// A day's rows stay at least this long.
pub const RETENTION_DAYS: i64 = 8;
/// Partitions exist this far ahead; a service that was down longer makes them at its start.
const AHEAD_DAYS: i64 = 14;

/// Makes the partitions of yesterday and the next two weeks; those that exist are left alone.
///
/// # Errors
/// Database errors.
pub async fn make_partitions(conn: &mut PgConnection) -> Result<(), Error> {
    let today: Date =
        sqlx::query_scalar("SELECT (now() AT TIME ZONE 'UTC')::date").fetch_one(&mut *conn).await?;
    for ahead in -1..=AHEAD_DAYS {
        let day = today.saturating_add(Days::days(ahead));
        let next = day.saturating_add(Days::days(1));
        // Names and bounds come from a date of ours, never from outside.
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS kit.{} PARTITION OF kit.outbox_log FOR VALUES FROM ('{day}') TO ('{next}')",
            name(day)
        );
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Makes partitions ahead and drops those older than [`RETENTION_DAYS`] in which every row is published and confirmed.
/// Answers how many were dropped.
///
/// # Errors
/// Database errors.
pub async fn maintain(db: &Db) -> Result<usize, Error> {
    db.read(|conn| Box::pin(async move { make_partitions(conn).await })).await?;
    let droppable = db.read(|conn| Box::pin(async move { droppable(conn).await })).await?;
    let mut dropped = 0;
    for day in droppable {
        dropped += db
            .transaction(move |tx| Box::pin(async move { drop_day(tx, day).await }))
            .await
            .map(usize::from)
            .unwrap_or_else(|error| {
                // A reader holds the table; the next round drops it.
                error.log("dropping an old outbox day");
                0
            });
    }
    Ok(dropped)
}

async fn droppable(conn: &mut PgConnection) -> Result<Vec<Date>, Error> {
    let rows = sqlx::query(
        "SELECT to_date(substring(c.relname FROM 'outbox_log_(\\d{8})$'), 'YYYYMMDD') AS day
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'kit.outbox_log'::regclass AND c.relname ~ '^outbox_log_\\d{8}$'
         ORDER BY 1",
    )
    .fetch_all(&mut *conn)
    .await?;
    let today: Date =
        sqlx::query_scalar("SELECT (now() AT TIME ZONE 'UTC')::date").fetch_one(&mut *conn).await?;
    let oldest_kept = today.saturating_sub(Days::days(RETENTION_DAYS));
    let mut old = Vec::new();
    for row in rows {
        let day: Date = row.try_get("day")?;
        if day < oldest_kept && !needed(conn, day).await? {
            old.push(day);
        }
    }
    Ok(old)
}

async fn needed(conn: &mut PgConnection, day: Date) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM kit.outbox_pending WHERE day = $1)
             OR EXISTS (SELECT 1 FROM kit.outbox_unconfirmed WHERE day = $1)",
    )
    .bind(day)
    .fetch_one(conn)
    .await?)
}

/// Checks again under the lock: a reconciler may have put a row back meanwhile.
async fn drop_day(tx: &mut PgConnection, day: Date) -> Result<bool, Error> {
    sqlx::query("LOCK TABLE kit.outbox_pending, kit.outbox_unconfirmed IN SHARE MODE")
        .execute(&mut *tx)
        .await?;
    if needed(tx, day).await? {
        return Ok(false);
    }
    let sql = format!("DROP TABLE IF EXISTS kit.{}", name(day));
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(tx).await?;
    Ok(true)
}

fn name(day: Date) -> String {
    format!("outbox_log_{:04}{:02}{:02}", day.year(), u8::from(day.month()), day.day())
}
