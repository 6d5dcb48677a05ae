//! Messages whose handling panics every time: each ends as a dead letter after its last allowed try, and the other
//! conversations have their effects as if it were not there.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use hdrhistogram::Histogram;
use hilo_kit::consumer::{BatchHandler, Consumer, ConsumerSpec, Delivery, Outcome};
use hilo_kit::db::Db;
use hilo_kit::dead::DeadLetters;
use hilo_kit::inbox;
use hilo_kit::nats::StreamKind;
use hilo_kit::outbox::{OutboxRow, Relay, RelayConfig};
use hilo_test_support::eventually;
use parking_lot::Mutex;
use uuid::Uuid;

use super::bench::{Bench, PATIENCE, event};

const CONSUMER: &str = "cases-victim";
const POISON: &[u8] = b"poison";

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Poison {
    /// Conversations.
    pub conversations: usize,
    /// Messages of them, in each of the two halves: without poison, and with it.
    pub messages: usize,
    /// Poisonous messages of the second half, each of a conversation of its own.
    pub poison: usize,
    /// Messages per second.
    pub rate: f64,
}

/// What a run found.
#[derive(Debug)]
pub struct PoisonReport {
    /// Dead letters with the right reason and number of tries, one per poisonous message.
    pub buried: i64,
    /// Other dead letters.
    pub buried_wrongly: i64,
    /// Tries of the poisonous messages: fewest and most.
    pub tries: (u32, u32),
    /// Most tries of any other message: two when it was in a batch with a poisonous one.
    pub tries_of_others: u32,
    /// Messages of the others without exactly one effect.
    pub wrong: i64,
    /// Effects that came before their predecessor's.
    pub out_of_order: i64,
    /// 99th percentile from commit to effect, without poison.
    pub p99_without: Duration,
    /// The same with poison.
    pub p99_with: Duration,
    /// From the commit of the first poisonous message to the last dead letter.
    pub buried_after: Duration,
    size: Poison,
    allowed: u32,
}

impl PoisonReport {
    /// True when exactly the poison is buried, after its tries, and nothing else noticed.
    pub fn is_exact(&self) -> bool {
        usize::try_from(self.buried).is_ok_and(|buried| buried == self.size.poison)
            && self.buried_wrongly == 0
            && self.tries == (self.allowed, self.allowed)
            && self.tries_of_others <= 2
            && self.wrong == 0
            && self.out_of_order == 0
    }

    /// How much slower the others were, at the 99th percentile.
    pub fn ratio(&self) -> f64 {
        self.p99_with.as_secs_f64() / self.p99_without.as_secs_f64().max(0.000_001)
    }
}

impl fmt::Display for PoisonReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} poisonous messages dead after {} to {} tries, the last after {:.1} s; others: {} wrong, {} out of order, at most {} tries, p99 {:.1} ms without and {:.1} ms with poison (x {:.2})",
            self.buried,
            self.size.poison,
            self.tries.0,
            self.tries.1,
            self.buried_after.as_secs_f64(),
            self.wrong,
            self.out_of_order,
            self.tries_of_others,
            self.p99_without.as_secs_f64() * 1_000.0,
            self.p99_with.as_secs_f64() * 1_000.0,
            self.ratio()
        )
    }
}

/// Runs both halves.
///
/// # Errors
/// When the parts cannot be used, or something is never handled or never buried.
pub async fn poison(size: Poison) -> Result<PoisonReport> {
    let bench = Bench::start(16).await?;
    bench.run("CREATE TABLE effect (n bigserial PRIMARY KEY, id uuid, key uuid, sequence bigint)").await?;
    let victim = Arc::new(Victim { db: bench.db.clone(), notes: Mutex::default() });
    let spec = ConsumerSpec::new(StreamKind::Events, CONSUMER);
    let allowed = spec.max_attempts;
    let relay = RelayConfig::new("cases", [StreamKind::Events]);
    Relay::spawn(bench.db.clone(), bench.nats.clone(), relay, &bench.shutdown);
    let sink = Arc::new(DeadLetters::new(bench.db.clone()));
    let consumer = Consumer::spawn(bench.nats.clone(), spec, victim.clone(), sink, &bench.shutdown);
    tokio::time::timeout(PATIENCE, consumer.confirmed()).await.context("the consumer is not confirmed")?;
    let mut traffic = Traffic::new(&bench, &victim, size);
    // The first messages find cold caches and a relay without leases.
    traffic.send(size.conversations, 0).await?;
    traffic.handled().await?;
    traffic.send(size.messages, 0).await?;
    let without = traffic.handled().await?;
    let began = Instant::now();
    traffic.send(size.messages, size.poison).await?;
    let with = traffic.handled().await?;
    let wanted = i64::try_from(size.poison)?;
    let buried = || async { bench.count(ALL_DEAD).await.is_ok_and(|dead| dead >= wanted) };
    eventually("the poison is buried", PATIENCE * 2, buried).await?;
    let buried_after = began.elapsed();
    let report = judge(&bench, &victim, &traffic.poisonous).await?;
    let report = PoisonReport {
        p99_without: without,
        p99_with: with,
        buried_after,
        size,
        allowed,
        wrong: report.wrong + traffic.unequal(&bench).await?,
        ..report
    };
    bench.stop().await;
    Ok(report)
}

const ALL_DEAD: &str = "SELECT count(*) FROM kit.dead_letter";

async fn judge(bench: &Bench, victim: &Victim, poisonous: &[Uuid]) -> Result<PoisonReport> {
    let right = "SELECT count(*) FROM kit.dead_letter
                 WHERE state = 'dead' AND reason = 'HANDLER_PANICKED' AND attempts = 5 AND payload = 'poison'";
    let (all, buried) = (bench.count(ALL_DEAD).await?, bench.count(right).await?);
    let notes = victim.notes.lock().clone();
    let of = |id: &Uuid| notes.tries.get(id).copied().unwrap_or(0);
    let tries = poisonous.iter().map(of);
    let others = notes.tries.iter().filter(|(id, _)| !poisonous.contains(id));
    Ok(PoisonReport {
        buried,
        buried_wrongly: all - buried,
        tries: (tries.clone().min().unwrap_or(0), tries.max().unwrap_or(0)),
        tries_of_others: others.map(|(_, tries)| *tries).max().unwrap_or(0),
        wrong: bench
            .count("SELECT count(*) FROM (SELECT id FROM effect GROUP BY id HAVING count(*) <> 1) wrong")
            .await?,
        out_of_order: bench
            .count(
                "SELECT count(*) FROM (SELECT sequence, lag(sequence) OVER (PARTITION BY key ORDER BY n) AS before
                 FROM effect) o WHERE before > sequence",
            )
            .await?,
        p99_without: Duration::ZERO,
        p99_with: Duration::ZERO,
        buried_after: Duration::ZERO,
        size: Poison { conversations: 0, messages: 0, poison: 0, rate: 0.0 },
        allowed: 0,
    })
}

/// Messages on a fixed schedule.
struct Traffic<'a> {
    bench: &'a Bench,
    victim: &'a Victim,
    size: Poison,
    keys: Vec<(Uuid, i64)>,
    sent: usize,
    poisonous: Vec<Uuid>,
}

impl<'a> Traffic<'a> {
    fn new(bench: &'a Bench, victim: &'a Victim, size: Poison) -> Self {
        let keys = (0..size.conversations).map(|_| (Uuid::new_v4(), 0)).collect();
        Self { bench, victim, size, keys, sent: 0, poisonous: Vec::new() }
    }

    /// Sends messages of the conversations in turn, and poison evenly among them.
    async fn send(&mut self, messages: usize, poison: usize) -> Result<()> {
        let began = Instant::now();
        let every = messages / poison.max(1);
        for index in 0..messages {
            let due = began + Duration::from_secs_f64(index as f64 / self.size.rate);
            tokio::time::sleep_until(due.into()).await;
            let turn = self.sent % self.keys.len().max(1);
            let (key, last) = self.keys.get_mut(turn).context("no conversation")?;
            *last += 1;
            let row = event(*key, *last);
            self.sent += 1;
            let mut rows = vec![row.clone()];
            if poison > 0 && index.is_multiple_of(every.max(1)) && self.poisonous.len() < poison {
                let bad = OutboxRow { payload: POISON.to_vec(), ..event(Uuid::new_v4(), 1) };
                self.poisonous.push(bad.id);
                rows.push(bad);
            }
            self.victim.notes.lock().due.insert(row.id, due);
            self.bench.append(rows).await?;
        }
        Ok(())
    }

    /// Waits until everything but the poison has its effect; the 99th percentile since the last call.
    async fn handled(&self) -> Result<Duration> {
        let all = || async { self.victim.notes.lock().handled == self.sent };
        eventually("the other conversations are handled", PATIENCE * 2, all).await?;
        let mut notes = self.victim.notes.lock();
        let mut times = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
        for time in notes.times.drain(..) {
            times.saturating_record(u64::try_from(time.as_micros())?);
        }
        Ok(Duration::from_micros(times.value_at_quantile(0.99)))
    }

    /// Conversations whose effects are not as many as their messages.
    async fn unequal(&self, bench: &Bench) -> Result<i64> {
        let effects: Vec<(Uuid, i64)> = bench
            .db
            .read(|conn| {
                Box::pin(async move {
                    Ok(sqlx::query_as("SELECT key, count(*) FROM effect GROUP BY key")
                        .fetch_all(conn)
                        .await?)
                })
            })
            .await
            .context("effects")?;
        let effects: BTreeMap<Uuid, i64> = effects.into_iter().collect();
        let unequal = self.keys.iter().filter(|(key, last)| effects.get(key).copied().unwrap_or(0) != *last);
        Ok(i64::try_from(unequal.count())? + i64::from(effects.len() > self.keys.len()))
    }
}

#[derive(Clone, Default)]
struct Notes {
    tries: HashMap<Uuid, u32>,
    due: HashMap<Uuid, Instant>,
    times: Vec<Duration>,
    handled: usize,
}

/// Panics on poison; everything else has its effect with its inbox row.
struct Victim {
    db: Db,
    notes: Mutex<Notes>,
}

impl Victim {
    async fn one(&self, delivery: &Delivery) -> Result<(), hilo_kit::Error> {
        let (id, key, sequence) = (delivery.id(), delivery.key(), delivery.sequence());
        let taken = self.db.transaction(move |tx| {
            Box::pin(async move {
                if inbox::take(tx, CONSUMER, &[id]).await?.is_empty() {
                    return Ok(false);
                }
                sqlx::query("INSERT INTO effect (id, key, sequence) VALUES ($1, $2, $3)")
                    .bind(id)
                    .bind(key)
                    .bind(sequence)
                    .execute(tx)
                    .await?;
                Ok(true)
            })
        });
        if taken.await? {
            let mut notes = self.notes.lock();
            notes.handled += 1;
            let since = notes.due.remove(&id).map(|due| due.elapsed());
            notes.times.extend(since);
        }
        Ok(())
    }
}

#[async_trait]
impl BatchHandler for Victim {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        for delivery in batch {
            *self.notes.lock().tries.entry(delivery.id()).or_default() += 1;
        }
        // The whole batch goes down with it, before any effect: the worst that one message can do to its neighbours.
        if batch.iter().any(|delivery| delivery.payload().as_ref() == POISON) {
            std::panic::resume_unwind(Box::new("poison"));
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for delivery in batch {
            outcomes.push(match self.one(delivery).await {
                Ok(()) => Outcome::Ack,
                Err(error) => Outcome::of(error),
            });
        }
        outcomes
    }
}
