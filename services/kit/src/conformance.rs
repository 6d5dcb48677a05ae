//! The conformance suite: what every consumer must survive. A service implements [`Candidate`] in its tests and runs
//! [`run`] (or one check after the other) on a real broker and fresh databases.
//!
//! Checked: redelivery and duplicates have one effect; a poison message ends as a dead letter and holds up nobody else;
//! duplicates of older messages after newer ones change nothing; a process that dies between commit and acknowledgement,
//! or between commit and publishing, loses and doubles nothing.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_trait::async_trait;
use uuid::Uuid;

use crate::config::{DatabaseConfig, NatsConfig};
use crate::consumer::{BatchHandler, Consumer, ConsumerSpec, Delivery, Outcome};
use crate::db::Db;
use crate::dead::DeadLetters;
use crate::error::Error;
use crate::lifecycle::Shutdown;
use crate::nats::{Nats, StreamKind};
use crate::outbox::{HEADER_ID, HEADER_KEY, HEADER_SEQUENCE, OutboxRow, Relay, RelayConfig};

const DEADLINE: Duration = Duration::from_secs(60);
const KEYS: u32 = 4;
const PER_KEY: i64 = 5;

/// A consumer under test with as much of its service as it needs.
#[async_trait]
pub trait Candidate: Send + Sync {
    /// The consumer as the service runs it (the suite shortens the ack time).
    fn spec(&self) -> ConsumerSpec;

    /// Brings an empty database to the service's schema.
    ///
    /// # Errors
    /// Fails the suite.
    async fn migrate(&self, database_url: &str) -> Result<(), Error>;

    /// Puts what the handler needs into the database (accounts, campaigns).
    ///
    /// # Errors
    /// Fails the suite.
    async fn prepare(&self, db: &Db) -> Result<(), Error> {
        let _ = db;
        Ok(())
    }

    /// The handler as the service runs it.
    fn handler(&self, db: Db, nats: Nats) -> Arc<dyn BatchHandler>;

    /// A valid message: number `sequence` (from 1) of key `key` (from 0). The same arguments give the same id and key.
    fn message(&self, key: u32, sequence: i64) -> OutboxRow;

    /// A message that can never be handled, of a key of its own.
    fn poison(&self) -> OutboxRow;

    /// Ids of the messages that had an effect, one entry per effect, in the order of the effects as far as it shows.
    ///
    /// # Errors
    /// Fails the suite.
    async fn effects(&self, db: &Db) -> Result<Vec<Uuid>, Error>;
}

/// An empty database and a broker without data.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Address of the database.
    pub database_url: String,
    /// Address of the broker.
    pub nats_url: String,
}

/// Runs every check, each on parts of its own.
///
/// # Errors
/// The first check that fails.
pub async fn run<F, Fut>(candidate: &dyn Candidate, mut parts: F) -> Result<(), Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Parts>,
{
    redelivery(candidate, parts().await).await?;
    poison(candidate, parts().await).await?;
    reorder(candidate, parts().await).await?;
    crash_between_commit_and_ack(candidate, parts().await).await?;
    crash_between_commit_and_publish(candidate, parts().await).await
}

/// Every message arrives three times under different broker ids, twice at once and once when the first has long been
/// handled: one effect each, in order per key.
///
/// # Errors
/// `NOT_CONFORMING`.
pub async fn redelivery(candidate: &dyn Candidate, parts: Parts) -> Result<(), Error> {
    let bench = Bench::new(candidate, &parts).await?;
    let handler = candidate.handler(bench.db.clone(), bench.nats.clone());
    for row in bench.messages() {
        bench.publish(&row, 0).await?;
        bench.publish(&row, 1).await?;
    }
    bench.consume(handler).await;
    bench.expect_all_once("twice at once").await?;
    for row in bench.messages() {
        bench.publish(&row, 2).await?;
    }
    bench.expect_all_once("redelivery").await?;
    bench.stop().await;
    Ok(())
}

/// A poison message among valid ones: a dead letter, everything else handled.
///
/// # Errors
/// `NOT_CONFORMING`.
pub async fn poison(candidate: &dyn Candidate, parts: Parts) -> Result<(), Error> {
    let bench = Bench::new(candidate, &parts).await?;
    let poison = candidate.poison();
    bench.publish(&poison, 0).await?;
    for row in bench.messages() {
        bench.publish(&row, 0).await?;
    }
    let handler = candidate.handler(bench.db.clone(), bench.nats.clone());
    bench.consume(handler).await;
    bench.expect_all_once("poison").await?;
    let consumer = bench.spec.durable.clone();
    let buried = bench
        .until(|| {
            let (db, consumer) = (bench.db.clone(), consumer.clone());
            async move { dead_letters(&db, &consumer).await.map(|dead| dead == [poison.id]) }
        })
        .await?;
    bench.stop().await;
    expect(buried, "poison: exactly the poison is a dead letter")
}

/// Older messages come again after newer ones: no effect.
///
/// # Errors
/// `NOT_CONFORMING`.
pub async fn reorder(candidate: &dyn Candidate, parts: Parts) -> Result<(), Error> {
    let bench = Bench::new(candidate, &parts).await?;
    let handler = candidate.handler(bench.db.clone(), bench.nats.clone());
    bench.consume(handler).await;
    for row in bench.messages() {
        bench.publish(&row, 0).await?;
    }
    bench.expect_all_once("reorder, first time").await?;
    let mut backwards = bench.messages();
    backwards.reverse();
    for row in backwards {
        bench.publish(&row, 1).await?;
    }
    bench.drained().await?;
    bench.expect_all_once("reorder, backwards again").await?;
    bench.stop().await;
    Ok(())
}

/// A process dies after its commits, before its acknowledgements; another one goes on.
///
/// # Errors
/// `NOT_CONFORMING`.
pub async fn crash_between_commit_and_ack(candidate: &dyn Candidate, parts: Parts) -> Result<(), Error> {
    let bench = Bench::new(candidate, &parts).await?;
    for row in bench.messages() {
        bench.publish(&row, 0).await?;
    }
    let dying = Nats::connect(&nats_config(&parts)).await?;
    let (committed, mut landed) = tokio::sync::mpsc::channel(1);
    let inner = candidate.handler(bench.db.clone(), dying.clone());
    let sink = Arc::new(DeadLetters::new(bench.db.clone()));
    let shutdown = Shutdown::new();
    let handler = Arc::new(DiesAfterCommit { inner, committed });
    Consumer::spawn(dying.clone(), bench.spec.clone(), handler, sink, &shutdown);
    let reached = tokio::time::timeout(DEADLINE, landed.recv()).await;
    expect(matches!(reached, Ok(Some(()))), "crash: the first process committed something")?;
    // Nothing of the dead process reaches the broker any more.
    let _ = dying.client().drain().await;
    let handler = candidate.handler(bench.db.clone(), bench.nats.clone());
    bench.consume(handler).await;
    bench.expect_all_once("crash between commit and ack").await?;
    bench.drained().await?;
    shutdown.begin();
    bench.stop().await;
    Ok(())
}

/// What the handler wrote to its outbox is published after a restart, once each, although nobody published it before.
///
/// # Errors
/// `NOT_CONFORMING`.
pub async fn crash_between_commit_and_publish(candidate: &dyn Candidate, parts: Parts) -> Result<(), Error> {
    let bench = Bench::new(candidate, &parts).await?;
    for row in bench.messages() {
        bench.publish(&row, 0).await?;
    }
    let handler = candidate.handler(bench.db.clone(), bench.nats.clone());
    bench.consume(handler).await;
    bench.expect_all_once("crash between commit and publish").await?;
    bench.drained().await?;
    let written: HashSet<Uuid> = written(&bench.db).await?.into_iter().collect();
    // The restart: only now a relay runs.
    let others: Vec<StreamKind> = StreamKind::ALL.into_iter().collect();
    Relay::spawn(
        bench.db.clone(),
        bench.nats.clone(),
        RelayConfig::new("conformance", others.clone()),
        &bench.shutdown,
    );
    let published = bench
        .until(|| {
            let (nats, written) = (bench.nats.clone(), written.clone());
            let consumed = bench.spec.stream;
            let others = others.clone();
            async move {
                let mut found = HashSet::new();
                for kind in others.into_iter().filter(|kind| *kind != consumed) {
                    found.extend(ids_one_by_one(&nats, kind).await?);
                }
                Ok(written.is_subset(&found))
            }
        })
        .await?;
    bench.stop().await;
    expect(published, "crash between commit and publish: every outbox row is published")
}

struct DiesAfterCommit {
    inner: Arc<dyn BatchHandler>,
    committed: tokio::sync::mpsc::Sender<()>,
}

#[async_trait]
impl BatchHandler for DiesAfterCommit {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        self.inner.handle(batch).await;
        // A full channel says the same.
        let _ = self.committed.try_send(());
        std::future::pending().await
    }
}

struct Bench<'a> {
    candidate: &'a dyn Candidate,
    spec: ConsumerSpec,
    db: Db,
    nats: Nats,
    shutdown: Shutdown,
    /// The stream's number of the last message published.
    last: AtomicU64,
}

impl<'a> Bench<'a> {
    async fn new(candidate: &'a dyn Candidate, parts: &Parts) -> Result<Self, Error> {
        candidate.migrate(&parts.database_url).await?;
        let db = Db::connect(&DatabaseConfig::new(parts.database_url.clone())).await?;
        candidate.prepare(&db).await?;
        let nats = Nats::connect(&nats_config(parts)).await?;
        let spec = ConsumerSpec { ack_wait: Duration::from_secs(1), ..candidate.spec() };
        nats.ensure_streams(&[spec.stream]).await?;
        Ok(Self { candidate, spec, db, nats, shutdown: Shutdown::new(), last: AtomicU64::new(0) })
    }

    /// Keys interleaved, each in order.
    fn messages(&self) -> Vec<OutboxRow> {
        (1..=PER_KEY)
            .flat_map(|sequence| (0..KEYS).map(move |key| (key, sequence)))
            .map(|(key, sequence)| self.candidate.message(key, sequence))
            .collect()
    }

    async fn publish(&self, row: &OutboxRow, round: u32) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in &row.headers {
            headers.insert(name.as_str(), value.as_str());
        }
        headers.insert(HEADER_ID, row.id.to_string());
        headers.insert(HEADER_KEY, row.key.to_string());
        headers.insert(HEADER_SEQUENCE, row.sequence.to_string());
        headers.insert(NATS_MESSAGE_ID, format!("{}-{round}", row.id));
        let taken = self.nats.publish(row.subject.clone(), headers, row.payload.clone().into()).await?;
        self.last.fetch_max(taken.sequence, Ordering::Relaxed);
        Ok(())
    }

    async fn consume(&self, handler: Arc<dyn BatchHandler>) {
        let sink = Arc::new(DeadLetters::new(self.db.clone()));
        Consumer::spawn(self.nats.clone(), self.spec.clone(), handler, sink, &self.shutdown);
    }

    /// Every message has exactly one effect, in order per key; waits for the effects.
    async fn expect_all_once(&self, check: &str) -> Result<(), Error> {
        let wanted = self.messages();
        self.until(|| async { Ok(self.candidate.effects(&self.db).await?.len() >= wanted.len()) }).await?;
        self.drained().await?;
        let effects = self.candidate.effects(&self.db).await?;
        let numbers: HashMap<Uuid, (Uuid, i64)> =
            wanted.iter().map(|row| (row.id, (row.key, row.sequence))).collect();
        let mut seen = HashSet::new();
        let mut last: HashMap<Uuid, i64> = HashMap::new();
        for id in &effects {
            let Some((key, sequence)) = numbers.get(id) else { continue };
            expect(seen.insert(*id), &format!("{check}: message {sequence} of a key had two effects"))?;
            let before = last.insert(*key, *sequence).unwrap_or(0);
            expect(
                before < *sequence,
                &format!("{check}: {sequence} of a key had its effect after {before}"),
            )?;
        }
        expect(
            seen.len() == wanted.len(),
            &format!("{check}: {} of {} had an effect", seen.len(), wanted.len()),
        )
    }

    /// Waits until the broker has nothing for the consumer any more; its count of messages to come lags behind a publish.
    async fn drained(&self) -> Result<(), Error> {
        let drained = self
            .until(|| async {
                let name = self.nats.subjects().stream(self.spec.stream);
                let consumer: Result<async_nats::jetstream::consumer::PullConsumer, _> =
                    self.nats.jetstream().get_consumer_from_stream(self.spec.durable.as_str(), name).await;
                Ok(consumer.is_ok_and(|consumer| {
                    let (info, last) = (consumer.cached_info(), self.last.load(Ordering::Relaxed));
                    let given = info.num_pending == 0 && info.delivered.stream_sequence >= last;
                    given && info.num_ack_pending == 0
                }))
            })
            .await?;
        expect(drained, "everything is acknowledged in the end")
    }

    async fn until<F, Fut>(&self, mut condition: F) -> Result<bool, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<bool, Error>>,
    {
        let started = tokio::time::Instant::now();
        loop {
            if condition().await? {
                return Ok(true);
            }
            if started.elapsed() > DEADLINE {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        self.shutdown.drain(Duration::from_secs(5)).await;
    }
}

fn nats_config(parts: &Parts) -> NatsConfig {
    NatsConfig { url: parts.nats_url.clone(), ..NatsConfig::default() }
}

async fn dead_letters(db: &Db, consumer: &str) -> Result<Vec<Uuid>, Error> {
    let consumer = consumer.to_owned();
    db.read(move |conn| {
        Box::pin(async move {
            Ok(sqlx::query_scalar("SELECT message_id FROM kit.dead_letter WHERE consumer = $1")
                .bind(consumer)
                .fetch_all(conn)
                .await?)
        })
    })
    .await
}

async fn written(db: &Db) -> Result<Vec<Uuid>, Error> {
    db.read(|conn| {
        Box::pin(
            async move { Ok(sqlx::query_scalar("SELECT id FROM kit.outbox_log").fetch_all(conn).await?) },
        )
    })
    .await
}

/// Read one by one, because a work queue allows no second reader.
async fn ids_one_by_one(nats: &Nats, kind: StreamKind) -> Result<HashSet<Uuid>, Error> {
    let mut ids = HashSet::new();
    if let Some(report) = nats.stream_report(kind).await? {
        for sequence in report.first_sequence..=report.last_sequence {
            ids.extend(nats.id_at(kind, sequence).await?);
        }
    }
    Ok(ids)
}

fn expect(holds: bool, what: &str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::internal("NOT_CONFORMING", what.to_owned())) }
}
