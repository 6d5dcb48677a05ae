//! Notices that the event stream was lost, re-created or rolled back, and puts every row it lost back to publish.
//!
//! What is compared: when the stream was made, and the id of the message this partition had acknowledged last. Healing
//! reads the ids the stream still holds, walks seven days of the log and puts back, per key, everything from the first
//! missing sequence on, also what is there already: a reader sees the missing ones before anything newer.

use std::collections::{HashMap, HashSet};

use sqlx::FromRow;
use sqlx::postgres::PgConnection;
use time::Date;
use tokio::sync::watch;
use uuid::Uuid;

use super::RelayConfig;
use crate::db::Db;
use crate::error::Error;
use crate::lease::{self, Lease};
use crate::nats::{Nats, StreamKind, StreamReport};

#[cfg(test)]
#[path = "watch_tests.rs"]
mod watch_tests;

/// Rows of the log looked at in one transaction.
const PAGE: i64 = 2_000;

/// What a partition's owner knows of the event stream.
pub(super) struct Watch {
    active: bool,
    known: Option<Known>,
    incarnation: String,
    /// Last sequence when it was checked last.
    floor: u64,
    doubtful: bool,
    /// Events go out only while this tells the floor: what is sent from then on is acknowledged above it, or the stream began anew.
    gate: watch::Sender<Option<u64>>,
}

#[derive(Clone, Debug, FromRow)]
struct Known {
    incarnation: String,
    broker_sequence: i64,
    message_id: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The stream holds what it acknowledged.
    Whole,
    /// It does not.
    Lost,
}

impl Watch {
    pub async fn load(db: &Db, config: &RelayConfig, partition: i16) -> Result<Self, Error> {
        let known = db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query_as(
                        "SELECT incarnation, broker_sequence, message_id FROM kit.outbox_stream
                         WHERE stream = 'events' AND partition = $1",
                    )
                    .bind(partition)
                    .fetch_optional(conn)
                    .await?)
                })
            })
            .await?;
        let active = config.streams.contains(&StreamKind::Events);
        // Without a check nothing is known about the streams: the first one makes them.
        let gate = watch::Sender::new((!active).then_some(0));
        Ok(Self { active, known, incarnation: String::new(), floor: 0, doubtful: true, gate })
    }

    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// Follows whether rows of the stream may go out, and above which floor.
    pub fn gate(&self, stream: StreamKind) -> Option<watch::Receiver<Option<u64>>> {
        (stream == StreamKind::Events).then(|| self.gate.subscribe())
    }

    /// Closes the gate until the stream was checked: the connection was made anew.
    pub fn close_gate(&self) {
        if self.active {
            self.gate.send_replace(None);
        }
    }

    /// An acknowledgement came of what was sent above a floor; true when the stream must be checked at once. The newest floor says
    /// nothing: with hundreds on their way every check raises it above some of them.
    pub fn acked(
        &mut self,
        id: Uuid,
        stream: StreamKind,
        sequence: u64,
        duplicate: bool,
        sent_above: u64,
    ) -> bool {
        if stream != StreamKind::Events {
            return false;
        }
        // Remembered in any case: the check that follows looks whether the stream really holds it.
        let suspicious = sequence <= sent_above && !duplicate;
        if suspicious {
            self.doubtful = true;
            self.close_gate();
        }
        let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        if self.known.as_ref().is_none_or(|known| known.broker_sequence < sequence) {
            self.known = Some(Known {
                incarnation: self.incarnation.clone(),
                broker_sequence: sequence,
                message_id: id,
            });
        }
        suspicious
    }

    /// A publication found no stream.
    pub fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Checks the stream, makes missing streams anew, opens the gate when all is well.
    pub async fn verify(&mut self, nats: &Nats, config: &RelayConfig) -> Result<Verdict, Error> {
        if self.doubtful {
            restore(nats, config).await?;
            self.doubtful = false;
        }
        if !self.active {
            return Ok(Verdict::Whole);
        }
        let report = match nats.stream_report(StreamKind::Events).await? {
            Some(report) => report,
            None => {
                restore(nats, config).await?;
                nats.stream_report(StreamKind::Events)
                    .await?
                    .ok_or_else(|| Error::unavailable("STREAM_MISSING", "the event stream went away again"))?
            }
        };
        let verdict = self.compare(nats, &report).await?;
        self.incarnation = report.incarnation;
        self.floor = self.floor.max(report.last_sequence);
        if verdict == Verdict::Whole {
            self.gate.send_replace(Some(self.floor));
        }
        Ok(verdict)
    }

    async fn compare(&self, nats: &Nats, report: &StreamReport) -> Result<Verdict, Error> {
        let Some(known) = &self.known else { return Ok(Verdict::Whole) };
        let sequence = u64::try_from(known.broker_sequence).unwrap_or(0);
        if known.incarnation != report.incarnation || sequence > report.last_sequence {
            return Ok(Verdict::Lost);
        }
        // Aged out, or nothing was in the stream when it was recorded.
        if sequence < report.first_sequence || sequence == 0 {
            return Ok(Verdict::Whole);
        }
        let there = nats.id_at(StreamKind::Events, sequence).await?;
        Ok(if there == Some(known.message_id) { Verdict::Whole } else { Verdict::Lost })
    }
}

/// Makes the streams and, by the callbacks, the durable consumers that may be missing.
async fn restore(nats: &Nats, config: &RelayConfig) -> Result<(), Error> {
    nats.ensure_streams(&config.streams).await?;
    for callback in &config.on_restore {
        callback().await?;
    }
    Ok(())
}

#[derive(FromRow)]
pub(super) struct Logged {
    pub id: Uuid,
    pub day: Date,
    pub position: i64,
    pub key: Uuid,
    pub sequence: i64,
    pub pending: bool,
}

/// Puts back every event row of the partition that the stream lost. Nothing of the partition may be publishing.
pub(super) async fn heal(
    db: &Db,
    nats: &Nats,
    config: &RelayConfig,
    lease: &Lease,
    partition: i16,
) -> Result<(), Error> {
    tracing::warn!(partition, "the event stream lost messages; publishing them again");
    restore(nats, config).await?;
    // What an abandoned publication still had in the socket arrives before the scan.
    nats.client().flush().await.map_err(|error| {
        Error::unavailable("NATS_UNAVAILABLE", "the connection could not be flushed").with_source(error)
    })?;
    let report = nats
        .stream_report(StreamKind::Events)
        .await?
        .ok_or_else(|| Error::unavailable("STREAM_MISSING", "the event stream went away again"))?;
    let present = nats.ids_in(&report).await?;
    let mut first_missing: HashMap<Uuid, i64> = HashMap::new();
    let mut after = 0;
    let mut put_back = 0;
    loop {
        let page = page(db, partition, after).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        let lost = lost_rows(page, &present, &mut first_missing);
        put_back += lost.len();
        requeue(db, lease, partition, lost).await?;
    }
    remember(db, nats, lease, partition, &report).await?;
    tracing::warn!(partition, rows = put_back, "event rows are pending again");
    crate::telemetry::meter()
        .u64_counter("hilo.outbox.healed")
        .build()
        .add(u64::try_from(put_back).unwrap_or(u64::MAX), &[]);
    Ok(())
}

/// True when the stream lacks a row that is not pending; the slow check of older rows.
pub(super) async fn sweep(db: &Db, nats: &Nats, partition: i16) -> Result<bool, Error> {
    let Some(report) = nats.stream_report(StreamKind::Events).await? else { return Ok(true) };
    let present = nats.ids_in(&report).await?;
    let mut after = 0;
    loop {
        let page = page(db, partition, after).await?;
        let Some(last) = page.last() else { return Ok(false) };
        after = last.position;
        if page.iter().any(|row| !row.pending && !present.contains(&row.id)) {
            return Ok(true);
        }
    }
}

/// Rows from the first missing sequence of their key on, except those that are pending anyway.
fn lost_rows(
    page: Vec<Logged>,
    present: &HashSet<Uuid>,
    first_missing: &mut HashMap<Uuid, i64>,
) -> Vec<Logged> {
    let mut lost = Vec::new();
    for row in page {
        if !present.contains(&row.id) {
            first_missing.entry(row.key).or_insert(row.sequence);
        }
        if first_missing.get(&row.key).is_some_and(|first| row.sequence >= *first) && !row.pending {
            lost.push(row);
        }
    }
    lost
}

/// In position order, which within a key is sequence order.
async fn page(db: &Db, partition: i16, after: i64) -> Result<Vec<Logged>, Error> {
    db.read(move |conn| {
        Box::pin(async move {
            Ok(sqlx::query_as(
                "SELECT l.id, l.day, l.position, l.key, l.sequence, p.id IS NOT NULL AS pending
                 FROM kit.outbox_log l LEFT JOIN kit.outbox_pending p ON p.id = l.id
                 WHERE l.stream = 'events' AND l.partition = $1 AND l.position > $2
                   AND l.created_at > now() - interval '7 days'
                   AND l.day >= (now() AT TIME ZONE 'UTC')::date - 8
                 ORDER BY l.position LIMIT $3",
            )
            .bind(partition)
            .bind(after)
            .bind(PAGE)
            .fetch_all(conn)
            .await?)
        })
    })
    .await
}

pub(super) async fn requeue(db: &Db, lease: &Lease, partition: i16, rows: Vec<Logged>) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let (lease, rows) = (lease.clone(), std::sync::Arc::new(rows));
    // Any number that no earlier publication used makes the Msg-Id fresh.
    let round = i32::try_from(rand::random::<u32>() >> 1).unwrap_or(1).max(1);
    db.transaction(move |tx| {
        let (lease, rows) = (lease.clone(), rows.clone());
        Box::pin(async move {
            lease::guard(tx, &lease).await?;
            insert_pending(tx, partition, round, &rows).await
        })
    })
    .await
}

async fn insert_pending(
    tx: &mut PgConnection,
    partition: i16,
    round: i32,
    rows: &[Logged],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO kit.outbox_pending (id, day, position, partition, stream, key, sequence, round)
         SELECT r.id, r.day, r.position, $1, 'events', r.key, r.sequence, $2
         FROM unnest($3::uuid[], $4::date[], $5::bigint[], $6::uuid[], $7::bigint[])
              AS r(id, day, position, key, sequence)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(partition)
    .bind(round)
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.day).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.position).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.key).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.sequence).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// From here on the stream is compared with what it holds now. Only after every page was put back: a healing that was
/// cut off is done again from the start.
async fn remember(
    db: &Db,
    nats: &Nats,
    lease: &Lease,
    partition: i16,
    report: &StreamReport,
) -> Result<(), Error> {
    let last = match report.last_sequence {
        0 => None,
        sequence => nats.id_at(StreamKind::Events, sequence).await?,
    };
    let sequence = if last.is_some() { i64::try_from(report.last_sequence).unwrap_or(0) } else { 0 };
    let (lease, incarnation) = (lease.clone(), report.incarnation.clone());
    db.transaction(move |tx| {
        let (lease, incarnation) = (lease.clone(), incarnation.clone());
        Box::pin(async move {
            lease::guard(tx, &lease).await?;
            sqlx::query(
                "INSERT INTO kit.outbox_stream (stream, partition, incarnation, broker_sequence, message_id)
                 VALUES ('events', $1, $2, $3, $4)
                 ON CONFLICT (stream, partition) DO UPDATE SET incarnation = excluded.incarnation,
                     broker_sequence = excluded.broker_sequence, message_id = excluded.message_id",
            )
            .bind(partition)
            .bind(incarnation)
            .bind(sequence)
            .bind(last.unwrap_or_default())
            .execute(tx)
            .await?;
            Ok(())
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u128, key: u128, sequence: i64, pending: bool) -> Logged {
        let day = Date::from_ordinal_date(2026, 1).unwrap();
        Logged {
            id: Uuid::from_u128(id),
            day,
            position: sequence,
            key: Uuid::from_u128(key),
            sequence,
            pending,
        }
    }

    #[test]
    fn from_the_first_missing_sequence_of_a_key_everything_goes_again() {
        let present = [11, 13, 21].map(Uuid::from_u128).into();
        let page = vec![
            row(11, 1, 1, false),
            row(12, 1, 2, false),
            row(21, 2, 1, false),
            row(13, 1, 3, false),
            row(14, 1, 4, true),
        ];
        let mut first_missing = HashMap::new();
        let lost: Vec<u128> =
            lost_rows(page, &present, &mut first_missing).iter().map(|row| row.id.as_u128()).collect();
        assert_eq!(lost, vec![12, 13], "13 is there but must follow 12; 14 is pending anyway");
    }
}
