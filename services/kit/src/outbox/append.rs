//! Writing outbox rows in the transaction of the state they tell about.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{OutboxRow, Partitions, partition_of};
use crate::error::Error;

/// Largest payload: the broker's default `max_payload` of 1 MiB less room for headers. Larger bytes go into the object
/// store and travel as a reference inside the message.
pub const MAX_PAYLOAD: usize = 960 * 1024;
/// Headers of one row, all together.
const MAX_HEADERS: usize = 32 * 1024;

/// Appends rows. Within one call rows of a key are put into `sequence` order.
///
/// # Errors
/// `PAYLOAD_TOO_LARGE` or `INVALID_OUTBOX_ROW` before anything is written; database errors.
pub async fn append(tx: &mut PgConnection, rows: &[OutboxRow]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    for row in rows {
        check(row)?;
    }
    let mut sorted: Vec<&OutboxRow> = rows.iter().collect();
    sorted.sort_by_key(|row| (row.key, row.sequence));
    let headers =
        sorted.iter().map(|row| serde_json::to_string(&row.headers)).collect::<Result<Vec<_>, _>>().map_err(
            |error| Error::internal("INVALID_OUTBOX_ROW", "headers cannot be encoded").with_source(error),
        )?;
    let partitions: Vec<i16> = sorted.iter().map(|row| partition_of(row.key)).collect();
    let woken = Partitions::of(partitions.iter().copied());
    // The pending row repeats what the relay orders and filters by, so that its scan never touches the log.
    sqlx::query(
        "WITH written AS (
           INSERT INTO kit.outbox_log (id, day, partition, stream, subject, key, sequence, headers, payload)
           SELECT r.id, (now() AT TIME ZONE 'UTC')::date, r.partition, r.stream, r.subject, r.key, r.sequence,
                  r.headers, r.payload
           FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::uuid[], $6::bigint[], $7::text[],
                       $8::bytea[]) WITH ORDINALITY
                AS r(id, partition, stream, subject, key, sequence, headers, payload, n)
           ORDER BY r.n
           RETURNING id, day, position, partition, stream, key, sequence)
         INSERT INTO kit.outbox_pending (id, day, position, partition, stream, key, sequence)
         SELECT id, day, position, partition, stream, key, sequence FROM written",
    )
    .bind(sorted.iter().map(|row| row.id).collect::<Vec<Uuid>>())
    .bind(partitions)
    .bind(sorted.iter().map(|row| row.stream.as_str()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| row.subject.as_str()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| row.key).collect::<Vec<Uuid>>())
    .bind(sorted.iter().map(|row| row.sequence).collect::<Vec<i64>>())
    .bind(headers)
    .bind(sorted.iter().map(|row| row.payload.as_slice()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    crate::db::mark_appended(woken);
    Ok(())
}

fn check(row: &OutboxRow) -> Result<(), Error> {
    if row.payload.len() > MAX_PAYLOAD {
        return Err(Error::invalid(
            "PAYLOAD_TOO_LARGE",
            format!("a message has at most {MAX_PAYLOAD} bytes"),
        )
        .field("payload", format!("{} bytes", row.payload.len())));
    }
    let size: usize = row.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let clean = |text: &str| !text.is_empty() && !text.contains(['\r', '\n', '\0']);
    let named = row.headers.iter().all(|(name, value)| {
        clean(name) && !name.contains(':') && name.is_ascii() && !value.contains(['\r', '\n', '\0'])
    });
    let subject = clean(&row.subject) && !row.subject.contains(['*', '>', ' ']);
    if size > MAX_HEADERS || !named || !subject {
        return Err(Error::invalid("INVALID_OUTBOX_ROW", "subject or headers are not fit for the broker"));
    }
    Ok(())
}
