//! Confirms hand-over rows end to end: what the reader knows is done; what neither the reader knows nor the stream
//! still holds is published again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{HandoverPeer, Partitions, Reader, RelayConfig};
use crate::db::Db;
use crate::error::Error;
use crate::lease::{self, Keeper, Lease};
use crate::lifecycle::Shutdown;
use crate::nats::{Nats, StreamKind};

/// Rows asked about at once; at most [`crate::inbox::MAX_IDS`].
const PAGE: i64 = 500;
/// Messages read back from the broker in one round; the rest waits for the next.
const MAX_READ_BACK: usize = 2_000;

pub(super) fn spawn(db: Db, nats: Nats, config: Arc<RelayConfig>, holder: String, shutdown: &Shutdown) {
    if config.readers.is_empty() {
        return;
    }
    let keeper = Keeper::spawn(db.clone(), "outbox/reconciler", holder, config.lease_term, shutdown);
    let stop = shutdown.clone();
    shutdown.spawn("outbox reconciler", async move {
        let mut failing = false;
        let mut seen = Seen::default();
        while stop.sleep(config.reconcile_every).await {
            let Some(lease) = keeper.current() else { continue };
            match round(&db, &nats, &config, &lease, &mut seen).await {
                Ok(()) => failing = false,
                Err(error) => {
                    // The reader or the broker is away; said once.
                    if !failing {
                        error.log("confirming hand-over rows");
                    }
                    failing = true;
                }
            }
        }
    });
}

#[derive(Clone, Debug, FromRow)]
struct Unconfirmed {
    id: Uuid,
    broker_sequence: i64,
    published_at: OffsetDateTime,
}

/// The streams as they were when every row was last asked about, whatever its age.
type Seen = HashMap<(StreamKind, Option<&'static str>), Option<String>>;

async fn round(
    db: &Db,
    nats: &Nats,
    config: &RelayConfig,
    lease: &Lease,
    seen: &mut Seen,
) -> Result<(), Error> {
    let mut result = Ok(());
    for Reader { stream, channel, peer } in &config.readers {
        let incarnation = nats.stream_report(*stream).await?.map(|report| report.incarnation);
        // A stream made anew has lost what was waiting in it, so nobody waits out the usual time.
        let whose = (*stream, *channel);
        let fresh = seen.get(&whose) != Some(&incarnation);
        let age = if fresh { Duration::ZERO } else { config.confirm_after };
        let reconciler =
            Reconciler { db, nats, peer: peer.as_ref(), stream: *stream, channel: *channel, lease };
        match reconciler.run(age).await {
            Ok(()) => {
                seen.insert(whose, incarnation);
            }
            // One reader that is away must not keep the others' rows unconfirmed.
            Err(error) => result = Err(error),
        }
    }
    result
}

struct Reconciler<'a> {
    db: &'a Db,
    nats: &'a Nats,
    peer: &'a dyn HandoverPeer,
    stream: StreamKind,
    channel: Option<&'static str>,
    lease: &'a Lease,
}

impl Reconciler<'_> {
    async fn run(&self, confirm_after: Duration) -> Result<(), Error> {
        let mut after = (OffsetDateTime::UNIX_EPOCH, Uuid::nil());
        let mut read_back = 0;
        loop {
            let page = self.page(after, confirm_after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.published_at, last.id);
            let unknown = self.confirm(page).await?;
            if read_back + unknown.len() > MAX_READ_BACK {
                continue;
            }
            read_back += unknown.len();
            let gone = self.gone(unknown).await?;
            // Asked again after the stream: whoever acknowledged in between has committed before.
            let lost = self.confirm(gone).await?;
            self.publish_again(lost).await?;
        }
    }

    async fn page(&self, after: (OffsetDateTime, Uuid), age: Duration) -> Result<Vec<Unconfirmed>, Error> {
        let (stream, channel) = (self.stream, self.channel);
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query_as(
                        "SELECT id, broker_sequence, published_at FROM kit.outbox_unconfirmed AS u
                         WHERE stream = $1 AND (published_at, id) > ($2, $3)
                           AND published_at < now() - make_interval(secs => $4)
                           AND ($6::text IS NULL OR EXISTS (
                             SELECT 1 FROM kit.outbox_log l WHERE l.day = u.day AND l.id = u.id
                               AND l.subject LIKE '%.' || $1 || '.' || $6 || '.%'))
                         ORDER BY published_at, id LIMIT $5",
                    )
                    .bind(stream.as_str())
                    .bind(after.0)
                    .bind(after.1)
                    .bind(age.as_secs_f64())
                    .bind(PAGE)
                    .bind(channel)
                    .fetch_all(conn)
                    .await?)
                })
            })
            .await
    }

    /// Forgets what the reader knows; answers the rest.
    async fn confirm(&self, rows: Vec<Unconfirmed>) -> Result<Vec<Unconfirmed>, Error> {
        if rows.is_empty() {
            return Ok(rows);
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let known: HashSet<Uuid> = self.peer.known(&ids).await?;
        let (known, unknown): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| known.contains(&row.id));
        let known: Vec<Uuid> = known.into_iter().map(|row| row.id).collect();
        if !known.is_empty() {
            self.db
                .read(move |conn| {
                    Box::pin(async move {
                        sqlx::query("DELETE FROM kit.outbox_unconfirmed WHERE id = ANY($1)")
                            .bind(known)
                            .execute(conn)
                            .await?;
                        Ok(())
                    })
                })
                .await?;
        }
        Ok(unknown)
    }

    /// Those the stream does not hold any more under the sequence it acknowledged.
    async fn gone(&self, rows: Vec<Unconfirmed>) -> Result<Vec<Unconfirmed>, Error> {
        if rows.is_empty() {
            return Ok(rows);
        }
        let report = self.nats.stream_report(self.stream).await?;
        let mut gone = Vec::new();
        for row in rows {
            let sequence = u64::try_from(row.broker_sequence).unwrap_or(0);
            let held = match &report {
                Some(report) if (report.first_sequence..=report.last_sequence).contains(&sequence) => {
                    self.nats.id_at(self.stream, sequence).await? == Some(row.id)
                }
                _ => false,
            };
            if !held {
                gone.push(row);
            }
        }
        Ok(gone)
    }

    async fn publish_again(&self, rows: Vec<Unconfirmed>) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        tracing::warn!(stream = %self.stream, rows = rows.len(), "neither reader nor stream has them; publishing again");
        put_back(self.db, self.lease, rows.iter().map(|row| row.id).collect()).await
    }
}

/// Makes acknowledged rows pending again, to be published under a fresh Msg-Id.
pub(super) async fn put_back(db: &Db, lease: &Lease, ids: Vec<Uuid>) -> Result<(), Error> {
    let lease = lease.clone();
    db.transaction(move |tx| {
        let (lease, ids) = (lease.clone(), ids.clone());
        Box::pin(async move {
            lease::guard(tx, &lease).await?;
            let partitions: Vec<i16> = sqlx::query_scalar(
                "WITH gone AS (DELETE FROM kit.outbox_unconfirmed WHERE id = ANY($1) RETURNING *)
                 INSERT INTO kit.outbox_pending (id, day, position, partition, stream, key, sequence, round)
                 SELECT id, day, position, partition, stream, key, sequence, round + 1 FROM gone
                 ON CONFLICT (id) DO NOTHING RETURNING partition",
            )
            .bind(ids)
            .fetch_all(tx)
            .await?;
            crate::db::mark_appended(Partitions::of(partitions));
            Ok(())
        })
    })
    .await
}
