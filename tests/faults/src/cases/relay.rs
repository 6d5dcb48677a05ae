//! A relay killed (`kill -9`) between the broker's acknowledgement and the mark in the database, again and again: nothing is
//! lost, and a consumer shows no effect twice although the broker delivers what was published twice.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use hilo_kit::config::DatabaseConfig;
use hilo_kit::consumer::{BatchHandler, Consumer, ConsumerSpec, Delivery, Outcome};
use hilo_kit::db::Db;
use hilo_kit::dead::DeadLetters;
use hilo_kit::inbox;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::StreamKind;
use hilo_kit::outbox::{Relay, RelayConfig};
use hilo_test_support::{Launch, Process, eventually};
use parking_lot::Mutex;
use uuid::Uuid;

use super::bench::{Bench, PATIENCE, connect, event};

/// After the broker acknowledged, before the row is marked.
const POINT: &str = "cases.outbox.before_settle";
const DATABASE: &str = "HILO_CASE_DATABASE";
const BROKER: &str = "HILO_CASE_BROKER";
const CONSUMER: &str = "cases-reader";
/// Conversations; each gets a row per kill.
const KEYS: usize = 8;

/// Size of a run.
#[derive(Clone, Debug)]
pub struct RelayKills {
    /// Kills.
    pub kills: u32,
    /// Arguments with which the running program starts [`child_relay`] in a process of its own.
    pub child: Vec<String>,
}

/// What a run found.
#[derive(Debug)]
pub struct RelayKillsReport {
    /// Kills that landed: the process stood at the point, by its id, and was killed there.
    pub landed: u32,
    /// Rows committed.
    pub committed: i64,
    /// Rows that had no effect at the consumer.
    pub lost: i64,
    /// Rows with more than one effect.
    pub doubled: i64,
    /// Effects that came before their predecessor's.
    pub out_of_order: i64,
    /// Rows the broker had acknowledged and the dead relays had not marked, over all kills.
    pub unmarked: i64,
    /// Deliveries of a row the consumer had seen.
    pub repeats: u64,
}

impl RelayKillsReport {
    /// True when nothing was lost or doubled, and the kills left something to lose or double.
    pub fn is_exact(&self, kills: u32) -> bool {
        self.landed == kills
            && self.unmarked >= i64::from(kills)
            && self.repeats > 0
            && self.lost == 0
            && self.doubled == 0
            && self.out_of_order == 0
    }
}

impl fmt::Display for RelayKillsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills between acknowledgement and mark left {} rows unmarked; of {} rows {} lost, {} with two effects, {} out of order, {} deliveries repeated",
            self.landed,
            self.unmarked,
            self.committed,
            self.lost,
            self.doubled,
            self.out_of_order,
            self.repeats
        )
    }
}

/// The relay that is killed: runs until then. Call it in a process started by [`relay_kills`].
///
/// # Errors
/// When the environment names no database and broker, or they do not answer.
pub async fn child_relay() -> Result<()> {
    hilo_kit::install_crypto();
    let url = std::env::var(DATABASE).context(DATABASE)?;
    let db = Db::connect(&DatabaseConfig::new(url)).await.context("database")?;
    let nats = connect(&std::env::var(BROKER).context(BROKER)?).await?;
    Relay::spawn(db, nats, RelayConfig::new("cases", [StreamKind::Events]), &Shutdown::new());
    std::future::pending().await
}

/// Kills relays; the last one is left alone and publishes the rest.
///
/// # Errors
/// When the parts cannot be used, or a relay never comes to the point.
pub async fn relay_kills(size: &RelayKills) -> Result<RelayKillsReport> {
    let bench = Bench::start(12).await?;
    bench.run("CREATE TABLE effect (n bigserial PRIMARY KEY, id uuid, key uuid, sequence bigint)").await?;
    bench.nats.ensure_streams(&[StreamKind::Events]).await.context("streams")?;
    let reader = Arc::new(Reader { db: bench.db.clone(), seen: Mutex::default() });
    let sink = Arc::new(DeadLetters::new(bench.db.clone()));
    let spec = ConsumerSpec::new(StreamKind::Events, CONSUMER);
    Consumer::spawn(bench.nats.clone(), spec, reader.clone(), sink, &bench.shutdown);
    let keys: Vec<Uuid> = (0..KEYS).map(|_| Uuid::new_v4()).collect();
    let folder = tempfile::tempdir()?;
    let (mut landed, mut unmarked) = (0, 0);
    for turn in 1..=size.kills {
        bench.append(keys.iter().map(|key| event(*key, i64::from(turn))).collect()).await?;
        let point = arm(folder.path())?;
        let mut relay = spawn(size, &bench, folder.path())?;
        let reached =
            || async { std::fs::read_to_string(&point).is_ok_and(|id| id == relay.id().to_string()) };
        let came = eventually("the relay stops before its mark", PATIENCE, reached).await;
        came.with_context(|| relay.log_tail())?;
        relay.kill_9()?;
        landed += 1;
        unmarked += acknowledged(&bench).await?;
        // The broker forgets a twin's number after its window of two minutes: those left behind go out as after a longer outage.
        // The lease goes on at once, as its expiry is another case.
        bench.run("UPDATE kit.outbox_pending SET round = round + 1").await?;
        bench.run("UPDATE kit.lease SET expires_at = '-infinity'").await?;
    }
    let last = spawn(size, &bench, folder.path())?;
    bench.until_none("all is published", "SELECT count(*) FROM kit.outbox_pending", PATIENCE).await?;
    drop(last);
    let missing =
        "SELECT count(*) FROM kit.outbox_log l WHERE NOT EXISTS (SELECT 1 FROM effect e WHERE e.id = l.id)";
    let waited = bench.until_none("every row has its effect", missing, PATIENCE).await;
    let report = RelayKillsReport {
        landed,
        unmarked,
        committed: bench.count("SELECT count(*) FROM kit.outbox_log").await?,
        lost: bench.count(missing).await?,
        doubled: bench.count("SELECT count(*) FROM (SELECT id FROM effect GROUP BY id HAVING count(*) > 1) d").await?,
        out_of_order: bench
            .count(
                "SELECT count(*) FROM (SELECT sequence, lag(sequence) OVER (PARTITION BY key ORDER BY n) AS before
                 FROM effect) o WHERE before > sequence",
            )
            .await?,
        repeats: reader.repeats(),
    };
    bench.stop().await;
    if report.lost == 0 { waited.map(|()| report) } else { Ok(report) }
}

/// The next relay that comes to the point stops there; the file in which it says so.
fn arm(folder: &Path) -> Result<PathBuf> {
    let reached = folder.join(format!("{POINT}.reached"));
    if reached.exists() {
        std::fs::remove_file(&reached)?;
    }
    std::fs::write(folder.join(format!("{POINT}.armed")), "")?;
    Ok(reached)
}

fn spawn(size: &RelayKills, bench: &Bench, folder: &Path) -> Result<Process> {
    let environment = [
        (DATABASE, bench.url.clone()),
        (BROKER, bench.server.url()),
        ("HILO_FAULT_DIR", folder.display().to_string()),
    ];
    let launch = Launch {
        program: std::env::current_exe()?,
        arguments: size.child.iter().map(Into::into).collect(),
        environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        log: folder.join("relay.log"),
        ..Launch::default()
    };
    launch.spawn()
}

/// Rows that the stream holds and the outbox still calls pending.
async fn acknowledged(bench: &Bench) -> Result<i64> {
    let pending: Vec<Uuid> = bench
        .db
        .read(|conn| {
            Box::pin(async move {
                Ok(sqlx::query_scalar("SELECT id FROM kit.outbox_pending").fetch_all(conn).await?)
            })
        })
        .await
        .context("pending rows")?;
    let report =
        bench.nats.stream_report(StreamKind::Events).await.context("stream")?.context("no stream")?;
    let newest = report.last_sequence.saturating_sub(u64::try_from(KEYS * 2)?).max(report.first_sequence);
    let mut found = HashSet::new();
    for sequence in newest..=report.last_sequence {
        let id = bench.nats.id_at(StreamKind::Events, sequence).await.context("a message")?;
        found.extend(id.filter(|id| pending.contains(id)));
    }
    Ok(i64::try_from(found.len())?)
}

/// Effect and inbox row in one transaction, as every consumer does it.
struct Reader {
    db: Db,
    seen: Mutex<BTreeMap<Uuid, u64>>,
}

impl Reader {
    fn repeats(&self) -> u64 {
        self.seen.lock().values().map(|times| times - 1).sum()
    }

    async fn one(&self, delivery: &Delivery) -> Result<(), hilo_kit::Error> {
        let (id, key, sequence) = (delivery.id(), delivery.key(), delivery.sequence());
        let taken = self.db.transaction(move |tx| {
            Box::pin(async move {
                if inbox::take(tx, CONSUMER, &[id]).await?.is_empty() {
                    return Ok(());
                }
                sqlx::query("INSERT INTO effect (id, key, sequence) VALUES ($1, $2, $3)")
                    .bind(id)
                    .bind(key)
                    .bind(sequence)
                    .execute(tx)
                    .await?;
                Ok(())
            })
        });
        taken.await
    }
}

#[async_trait]
impl BatchHandler for Reader {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for delivery in batch {
            *self.seen.lock().entry(delivery.id()).or_default() += 1;
            outcomes.push(match self.one(delivery).await {
                Ok(()) => Outcome::Ack,
                Err(error) => Outcome::of(error),
            });
        }
        outcomes
    }
}
