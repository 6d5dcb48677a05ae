//! Who holds which partition. A lease is taken by one conditional UPDATE under the database's clock; its epoch is the
//! fence that `ApplyOffers` checks. Each replica gets its fair share of all partitions.

use std::collections::HashMap;
use std::time::Duration;

use hilo_kit::Error;
use hilo_kit::db::Db;
use hilo_proto::internal::v1::HeldPartition;
use sqlx::PgConnection;

use crate::directory::domain::groups::PARTITIONS;

/// Extends what the replica holds and takes its share of what is free.
///
/// Renewing and taking are two transactions: taking waits for batches of the former owner, and a renewal must not wait
/// with it.
///
/// # Errors
/// Database errors.
pub async fn hold(db: &Db, replica: &str, term: Duration) -> Result<Vec<HeldPartition>, Error> {
    let replica = replica.to_owned();
    let renewing = replica.clone();
    let wanted = db
        .transaction(move |tx| {
            let replica = renewing.clone();
            Box::pin(async move { renew(tx, &replica, term).await })
        })
        .await?;
    // What is held is held, whatever becomes of the rest: that comes with the next call.
    if let Err(error) = take_share(db, &replica, wanted, term).await {
        error.log("taking partitions");
    }
    db.read(move |conn| Box::pin(async move { held(conn, &replica).await })).await
}

/// Gives everything back, so that others need not wait for the expiry.
///
/// # Errors
/// Database errors; then the leases expire.
pub async fn release(db: &Db, replica: &str) -> Result<(), Error> {
    let replica = replica.to_owned();
    db.transaction(move |tx| {
        let replica = replica.clone();
        Box::pin(async move {
            sqlx::query!("DELETE FROM assignment.replica WHERE replica_id = $1", replica)
                .execute(&mut *tx)
                .await?;
            sqlx::query!(
                "UPDATE assignment.partition_lease SET holder = NULL, expires_at = now() WHERE holder = $1",
                replica,
            )
            .execute(tx)
            .await?;
            Ok(())
        })
    })
    .await
}

/// Notes the replica as alive, extends its leases, gives back what exceeds its fair share. Answers how many it may take.
async fn renew(tx: &mut PgConnection, replica: &str, term: Duration) -> Result<i64, Error> {
    let term = term.as_secs_f64();
    sqlx::query!(
        "INSERT INTO assignment.replica (replica_id, expires_at) VALUES ($1, now() + make_interval(secs => $2))
         ON CONFLICT (replica_id) DO UPDATE SET expires_at = excluded.expires_at",
        replica,
        term,
    )
    .execute(&mut *tx)
    .await?;
    let live =
        sqlx::query_scalar!(r#"SELECT count(*) AS "live!" FROM assignment.replica WHERE expires_at > now()"#)
            .fetch_one(&mut *tx)
            .await?;
    let share = fair_share(live);
    // An expired lease is not extended, although nobody may have taken it: who let it lapse has dropped its view, and a
    // new epoch says so.
    let kept = sqlx::query_scalar!(
        r#"WITH mine AS (
               SELECT partition, row_number() OVER (ORDER BY partition) AS place
               FROM assignment.partition_lease WHERE holder = $1 AND expires_at > now()
           ), written AS (
               UPDATE assignment.partition_lease AS lease SET
                   holder = CASE WHEN place <= $3 THEN $1 END,
                   expires_at = CASE WHEN place <= $3 THEN now() + make_interval(secs => $2) ELSE now() END
               FROM mine WHERE lease.partition = mine.partition AND lease.holder = $1
               RETURNING place
           )
           SELECT count(*) FILTER (WHERE place <= $3) AS "kept!" FROM written"#,
        replica,
        term,
        share,
    )
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query!(
        "DELETE FROM assignment.replica WHERE replica_id IN (
             SELECT replica_id FROM assignment.replica WHERE expires_at < now() - interval '1 hour'
             FOR UPDATE SKIP LOCKED)"
    )
    .execute(tx)
    .await?;
    Ok(share - kept)
}

/// Partitions per replica, rounded up, so that none is left over.
fn fair_share(live: i64) -> i64 {
    let live = live.max(1);
    (i64::from(PARTITIONS) + live - 1) / live
}

/// Takes what is free: first at once what no batch is being committed on, then, waiting for it, the others.
async fn take_share(db: &Db, replica: &str, wanted: i64, term: Duration) -> Result<(), Error> {
    let mut wanted = wanted;
    for idle_only in [true, false] {
        if wanted > 0 {
            let replica = replica.to_owned();
            let taken = db.transaction(move |tx| {
                let replica = replica.clone();
                Box::pin(async move { take(tx, &replica, wanted, term, idle_only).await })
            });
            wanted -= taken.await?;
        }
    }
    Ok(())
}

/// Takes up to `wanted` free or expired partitions under new epochs; answers how many.
async fn take(
    tx: &mut PgConnection,
    replica: &str,
    wanted: i64,
    term: Duration,
    idle_only: bool,
) -> Result<i64, Error> {
    let free = sqlx::query_scalar!(
        "SELECT partition FROM assignment.partition_lease WHERE holder IS NULL OR expires_at <= now()
         ORDER BY partition LIMIT $1 FOR UPDATE SKIP LOCKED",
        wanted,
    )
    .fetch_all(&mut *tx)
    .await?;
    // Raising the epoch waits for batches that the former owner is committing: after it, no write of his can come.
    let taken = if idle_only { raise_idle(tx, &free).await? } else { raise(tx, &free).await? };
    sqlx::query!(
        "UPDATE assignment.partition_lease SET holder = $1, expires_at = now() + make_interval(secs => $3)
         WHERE partition = ANY($2)",
        replica,
        &taken,
        term.as_secs_f64(),
    )
    .execute(tx)
    .await?;
    Ok(i64::try_from(taken.len()).unwrap_or(i64::MAX))
}

async fn raise(tx: &mut PgConnection, partitions: &[i32]) -> Result<Vec<i32>, Error> {
    let raised = sqlx::query_scalar!(
        "WITH locked AS MATERIALIZED (
             SELECT partition FROM assignment.partition WHERE partition = ANY($1) ORDER BY partition FOR UPDATE
         )
         UPDATE assignment.partition AS row SET epoch = row.epoch + 1 FROM locked
         WHERE row.partition = locked.partition RETURNING row.partition",
        partitions,
    )
    .fetch_all(tx)
    .await?;
    Ok(raised)
}

async fn raise_idle(tx: &mut PgConnection, partitions: &[i32]) -> Result<Vec<i32>, Error> {
    let raised = sqlx::query_scalar!(
        "WITH locked AS MATERIALIZED (
             SELECT partition FROM assignment.partition WHERE partition = ANY($1) ORDER BY partition
             FOR UPDATE SKIP LOCKED
         )
         UPDATE assignment.partition AS row SET epoch = row.epoch + 1 FROM locked
         WHERE row.partition = locked.partition RETURNING row.partition",
        partitions,
    )
    .fetch_all(tx)
    .await?;
    Ok(raised)
}

async fn held(conn: &mut PgConnection, replica: &str) -> Result<Vec<HeldPartition>, Error> {
    let rows = sqlx::query!(
        "SELECT partition, epoch FROM assignment.partition_lease JOIN assignment.partition USING (partition)
         WHERE holder = $1 AND expires_at > now() ORDER BY partition",
        replica,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| HeldPartition { partition: row.partition, epoch: row.epoch }).collect())
}

/// What a batch was decided under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Partition.
    pub partition: i32,
    /// Epoch of its owner.
    pub epoch: i64,
    /// Version of the configuration.
    pub config_version: i64,
}

/// The fences of batches: holds epochs and configurations of their partitions until the transaction ends, and says of each
/// batch whether it may be applied: not (`STALE_EPOCH`) when another replica took its partition over, not (`STALE_CONFIG`) when
/// one of its groups has changed since, nor where there is no such partition (`UNKNOWN_PARTITION`).
///
/// # Errors
/// Database errors.
pub async fn guard(tx: &mut PgConnection, fences: &[Fence]) -> Result<Vec<Result<(), Error>>, Error> {
    let partitions: Vec<i32> = fences.iter().map(|fence| fence.partition).collect();
    let rows = sqlx::query!(
        "SELECT partition, epoch, config_version FROM assignment.partition WHERE partition = ANY($1)
         ORDER BY partition FOR SHARE",
        &partitions,
    )
    .fetch_all(tx)
    .await?;
    let now: HashMap<i32, (i64, i64)> =
        rows.into_iter().map(|row| (row.partition, (row.epoch, row.config_version))).collect();
    Ok(fences.iter().map(|fence| fence.holds(now.get(&fence.partition).copied())).collect())
}

impl Fence {
    /// Against epoch and configuration as they are now.
    fn holds(&self, now: Option<(i64, i64)>) -> Result<(), Error> {
        match now {
            None => Err(Error::invalid("UNKNOWN_PARTITION", "there is no such partition")
                .field("partition", "from 0 to 63")),
            Some((epoch, _)) if epoch != self.epoch => {
                Err(Error::rejected("STALE_EPOCH", "another replica holds the partition"))
            }
            Some((_, version)) if version > self.config_version => {
                Err(Error::rejected("STALE_CONFIG", "the configuration of the partition has changed"))
            }
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_all_partitions() {
        for (live, share) in [(0, 64), (1, 64), (2, 32), (3, 22), (64, 1), (200, 1)] {
            assert_eq!(fair_share(live), share);
        }
    }
}
