//! The relay's statements.

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use bytes::Bytes;
use sqlx::FromRow;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{HEADER_ID, HEADER_KEY, HEADER_SEQUENCE};
use crate::db::Db;
use crate::error::Error;
use crate::lease::Lease;
use crate::nats::StreamKind;

/// Bytes fetched at once; a relay holds at most about twice as much.
const MAX_FETCH_BYTES: i64 = 8 * 1024 * 1024;

/// A row to publish.
#[derive(Debug)]
pub(super) struct Pending {
    pub id: Uuid,
    pub stream: StreamKind,
    pub subject: String,
    pub key: Uuid,
    pub sequence: i64,
    pub round: i32,
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
}

#[derive(FromRow)]
struct Raw {
    id: Uuid,
    stream: String,
    subject: String,
    key: Uuid,
    sequence: i64,
    round: i32,
    headers: String,
    payload: Vec<u8>,
}

impl TryFrom<Raw> for Pending {
    type Error = Error;
    fn try_from(raw: Raw) -> Result<Self, Error> {
        Ok(Self {
            id: raw.id,
            stream: StreamKind::parse(&raw.stream)?,
            subject: raw.subject,
            key: raw.key,
            sequence: raw.sequence,
            round: raw.round,
            headers: serde_json::from_str(&raw.headers).map_err(|error| {
                Error::corrupt("INVALID_OUTBOX_ROW", "stored headers are broken").with_source(error)
            })?,
            payload: Bytes::from(raw.payload),
        })
    }
}

impl Pending {
    /// The same for every publication of one round, so that the broker drops a twin; fresh when published again.
    pub fn broker_id(&self) -> String {
        if self.round == 0 { self.id.to_string() } else { format!("{}-{}", self.id, self.round) }
    }

    pub fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            map.insert(name.as_str(), value.as_str());
        }
        map.insert(HEADER_ID, self.id.to_string());
        map.insert(HEADER_KEY, self.key.to_string());
        map.insert(HEADER_SEQUENCE, self.sequence.to_string());
        map.insert(NATS_MESSAGE_ID, self.broker_id());
        map
    }
}

/// Pending rows in position order. For each key the answer holds every visible row up to some position, so that a
/// later row of a key never comes without the earlier ones.
pub(super) async fn fetch(
    db: &Db,
    partition: i16,
    streams: Vec<String>,
    in_flight: Vec<Uuid>,
    limit: i64,
) -> Result<Vec<Pending>, Error> {
    let raw: Vec<Raw> = db
        .read(move |conn| {
            Box::pin(async move {
                Ok(sqlx::query_as(
                    "SELECT id, stream, subject, key, sequence, round, headers, payload FROM (
                       SELECT l.id, p.position, l.stream, l.subject, l.key, l.sequence, p.round, l.headers, l.payload,
                              sum(octet_length(l.payload)) OVER (ORDER BY p.position) - octet_length(l.payload) AS before
                       FROM (SELECT * FROM kit.outbox_pending
                             WHERE partition = $1 AND stream = ANY($2) AND id <> ALL($3)
                             ORDER BY position LIMIT $4) p
                       JOIN kit.outbox_log l ON l.day = p.day AND l.id = p.id) AS chosen
                     WHERE before < $5 ORDER BY position",
                )
                .bind(partition)
                .bind(streams)
                .bind(in_flight)
                .bind(limit)
                .bind(MAX_FETCH_BYTES)
                .fetch_all(conn)
                .await?)
            })
        })
        .await?;
    raw.into_iter().map(Pending::try_from).collect()
}

/// An acknowledged row.
#[derive(Clone, Debug)]
pub(super) struct Acked {
    pub id: Uuid,
    pub stream: StreamKind,
    pub broker_sequence: i64,
    /// When the acking stream was made.
    pub incarnation: String,
}

/// Deletes acknowledged rows and remembers what the stream acknowledged last, under the fence.
///
/// # Errors
/// `STALE_EPOCH`; database errors.
pub(super) async fn settle(db: &Db, lease: Lease, partition: i16, acked: Vec<Acked>) -> Result<(), Error> {
    db.transaction(move |tx| {
        let (lease, acked) = (lease.clone(), acked.clone());
        Box::pin(async move {
            crate::lease::guard(tx, &lease).await?;
            forget(tx, &acked).await?;
            remember_last(tx, partition, &acked).await
        })
    })
    .await
}

async fn forget(tx: &mut PgConnection, acked: &[Acked]) -> Result<(), Error> {
    sqlx::query(
        "WITH gone AS (
           DELETE FROM kit.outbox_pending p USING unnest($1::uuid[], $2::bigint[]) AS a(id, broker_sequence)
           WHERE p.id = a.id
           RETURNING p.id, p.day, p.position, p.partition, p.stream, p.key, p.sequence, p.round, a.broker_sequence)
         INSERT INTO kit.outbox_unconfirmed
           (id, day, position, partition, stream, key, sequence, round, broker_sequence)
         SELECT * FROM gone WHERE stream = ANY($3) ON CONFLICT (id) DO NOTHING",
    )
    .bind(acked.iter().map(|one| one.id).collect::<Vec<_>>())
    .bind(acked.iter().map(|one| one.broker_sequence).collect::<Vec<_>>())
    .bind(StreamKind::ALL.into_iter().filter(|kind| kind.is_handover()).map(StreamKind::as_str).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

async fn remember_last(tx: &mut PgConnection, partition: i16, acked: &[Acked]) -> Result<(), Error> {
    let events = acked.iter().filter(|one| one.stream == StreamKind::Events);
    let Some(last) = events.max_by_key(|one| one.broker_sequence) else { return Ok(()) };
    sqlx::query(
        "INSERT INTO kit.outbox_stream AS known (stream, partition, incarnation, broker_sequence, message_id)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (stream, partition) DO UPDATE
         SET broker_sequence = excluded.broker_sequence, message_id = excluded.message_id
         WHERE known.incarnation = excluded.incarnation AND known.broker_sequence < excluded.broker_sequence",
    )
    .bind(last.stream.as_str())
    .bind(partition)
    .bind(&last.incarnation)
    .bind(last.broker_sequence)
    .bind(last.id)
    .execute(tx)
    .await?;
    Ok(())
}
