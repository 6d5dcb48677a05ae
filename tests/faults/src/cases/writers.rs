//! Many writers who commit to many conversations in any order: every outbox row is published, per conversation in order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hilo_kit::db::Db;
use hilo_kit::error::{Class, Error};
use hilo_kit::nats::StreamKind;
use hilo_kit::outbox::{self, Relay, RelayConfig};
use rand::Rng;
use sqlx::PgConnection;
use uuid::Uuid;

use super::bench::{Bench, PATIENCE, event, follow};

/// One further row of so many goes to one of a few conversations that everybody writes to.
const BUSY_SHARE: u32 = 4;
const BUSY: usize = 64;
/// Tries of a transaction that finds its conversations locked for long.
const MAX_TRIES: u32 = 20;

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Writers {
    /// Writers, each with a connection.
    pub writers: usize,
    /// Conversations.
    pub conversations: usize,
    /// Transactions of each writer; each writes to one to three conversations, all together to every one.
    pub transactions: usize,
}

/// What a run found.
#[derive(Debug)]
pub struct WritersReport {
    size: Writers,
    /// Rows committed.
    pub committed: usize,
    /// Distinct rows in the stream.
    pub published: usize,
    /// Conversations whose last number in the stream is not the one in the database.
    pub incomplete: usize,
    /// Rows that came before their predecessor.
    pub out_of_order: usize,
    /// Rows a subscriber saw again.
    pub repeats: usize,
    /// Conversations that were written to.
    pub touched: usize,
}

impl WritersReport {
    /// True when every row was published in order.
    pub fn is_exact(&self) -> bool {
        self.touched == self.size.conversations
            && self.committed == self.published
            && self.incomplete == 0
            && self.out_of_order == 0
    }
}

impl fmt::Display for WritersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writers, {} of {} conversations written to: {} rows committed, {} published, {} out of order, {} conversations incomplete, {} repeated",
            self.size.writers,
            self.touched,
            self.size.conversations,
            self.committed,
            self.published,
            self.out_of_order,
            self.incomplete,
            self.repeats
        )
    }
}

/// Writes and publishes at the same time, then compares the stream with the database.
///
/// # Errors
/// When the parts cannot be used, or rows stay unpublished.
pub async fn writers(size: Writers) -> Result<WritersReport> {
    let bench = Bench::start(u32::try_from(size.writers)? + 16).await?;
    bench.run("CREATE TABLE numbered (key uuid PRIMARY KEY, last bigint NOT NULL)").await?;
    let keys: Arc<Vec<Uuid>> = Arc::new((0..size.conversations).map(|_| Uuid::new_v4()).collect());
    let numbered = keys.clone();
    let filled = bench.db.transaction(move |tx| {
        let keys = numbered.clone();
        Box::pin(async move {
            sqlx::query("INSERT INTO numbered SELECT key, 0 FROM unnest($1::uuid[]) AS key")
                .bind(keys.as_slice())
                .execute(tx)
                .await?;
            Ok(())
        })
    });
    filled.await.context("conversations")?;
    let config = RelayConfig::new("cases", [StreamKind::Events]);
    Relay::spawn(bench.db.clone(), bench.nats.clone(), config, &bench.shutdown);
    let tasks: Vec<_> = (0..size.writers)
        .map(|writer| {
            let turns = writer * size.transactions..(writer + 1) * size.transactions;
            tokio::spawn(write(bench.db.clone(), keys.clone(), turns))
        })
        .collect();
    let mut committed = 0;
    for task in tasks {
        committed += task.await??;
    }
    let pending = "SELECT count(*) FROM kit.outbox_pending";
    bench.until_none("every row is published", pending, PATIENCE * 5).await?;
    let truth: Vec<(Uuid, i64)> = bench
        .db
        .read(|conn| {
            Box::pin(async move {
                Ok(sqlx::query_as("SELECT key, last FROM numbered WHERE last > 0").fetch_all(conn).await?)
            })
        })
        .await
        .context("numbers")?;
    let truth: BTreeMap<Uuid, i64> = truth.into_iter().collect();
    let followed = follow(&bench.nats).await?;
    bench.stop().await;
    let incomplete = truth.iter().filter(|(key, last)| followed.last.get(key) != Some(last)).count();
    Ok(WritersReport {
        size,
        committed,
        published: followed.ids.len(),
        incomplete,
        out_of_order: followed.out_of_order,
        repeats: followed.repeats,
        touched: truth.len(),
    })
}

/// One writer; answers how many rows it committed.
async fn write(db: Db, keys: Arc<Vec<Uuid>>, turns: std::ops::Range<usize>) -> Result<usize> {
    let mut rows = 0;
    for turn in turns {
        let chosen = choose(&keys, turn);
        let (before, after) = (rand::rng().random_range(0..4), rand::rng().random_range(0..12));
        rows += chosen.len();
        let mut tries = 0;
        loop {
            let again = chosen.clone();
            let written = db.transaction(move |tx| {
                let chosen = again.clone();
                Box::pin(async move { numbered(tx, &chosen, before, after).await })
            });
            match written.await {
                Ok(()) => break,
                // A lock that was not granted in time: nothing was written.
                Err(error) if error.class() == Class::Conflict && tries < MAX_TRIES => tries += 1,
                Err(error) => return Err(error).context("a writer's transaction"),
            }
        }
    }
    Ok(rows)
}

/// The conversation whose turn it is and up to two at random, in the order in which everybody locks them.
fn choose(keys: &[Uuid], turn: usize) -> Vec<Uuid> {
    let mut random = rand::rng();
    let mut chosen: Vec<Uuid> = keys.get(turn % keys.len().max(1)).copied().into_iter().collect();
    for _ in 0..random.random_range(0..=2) {
        let busy = random.random_ratio(1, BUSY_SHARE);
        let among = if busy { BUSY.min(keys.len()) } else { keys.len() };
        chosen.extend(keys.get(random.random_range(0..among)));
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// Numbers are made under the row locks of the conversations; the commit comes when it comes.
async fn numbered(tx: &mut PgConnection, keys: &[Uuid], before: u64, after: u64) -> Result<(), Error> {
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys {
        let sequence: i64 =
            sqlx::query_scalar("UPDATE numbered SET last = last + 1 WHERE key = $1 RETURNING last")
                .bind(key)
                .fetch_one(&mut *tx)
                .await?;
        rows.push(event(*key, sequence));
    }
    tokio::time::sleep(Duration::from_millis(before)).await;
    outbox::append(tx, &rows).await?;
    tokio::time::sleep(Duration::from_millis(after)).await;
    Ok(())
}
