//! The relay: publishes what is pending, one unacknowledged row per key, many keys at once, while it holds the
//! partition's lease.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use opentelemetry::metrics::Counter;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::rows::{self, Acked, Pending};
use super::{PARTITIONS, RelayConfig, heal, lag, partitions, reconcile};
use crate::clock;
use crate::db::Db;
use crate::error::Error;
use crate::fault;
use crate::lease::{Keeper, Lease};
use crate::lifecycle::Shutdown;
use crate::nats::{Nats, StreamKind};

/// Rows a partition holds at once, published or waiting for their key.
const MAX_HELD: usize = 1_024;
const FETCH: i64 = 512;
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(3);

/// The relay of one service.
#[derive(Debug)]
pub struct Relay;

impl Relay {
    /// Starts the relay's tasks: one per partition, wake-ups between replicas, the reconciler, the log's upkeep.
    pub fn spawn(db: Db, nats: Nats, config: RelayConfig, shutdown: &Shutdown) {
        let holder = format!("{}-{}", config.service, Uuid::new_v4());
        let config = Arc::new(config);
        let wakes = Wakes::default();
        for partition in 0..PARTITIONS {
            let name = format!("outbox/{partition}");
            let keeper = Keeper::spawn(db.clone(), name, holder.clone(), config.lease_term, shutdown);
            let worker = Worker::new(db.clone(), nats.clone(), config.clone(), partition, keeper, wakes.get(partition));
            let stop = shutdown.clone();
            shutdown.spawn(format!("outbox relay {partition}"), async move { worker.run(&stop).await });
        }
        spawn_wakes(&db, &nats, &config, &wakes, shutdown);
        spawn_upkeep(db.clone(), shutdown);
        lag::spawn(db.clone(), config.service.clone(), shutdown);
        reconcile::spawn(db, nats, config, holder, shutdown);
    }
}

#[derive(Clone, Default)]
struct Wakes(Arc<[Arc<Notify>; PARTITIONS as usize]>);

impl Wakes {
    fn get(&self, partition: i16) -> Arc<Notify> {
        self.0.get(partition.unsigned_abs() as usize).cloned().unwrap_or_default()
    }

    fn all(&self) {
        for wake in self.0.iter() {
            wake.notify_one();
        }
    }
}

/// A commit here wakes the relays here and, by a ping, those of other replicas; theirs wake ours.
fn spawn_wakes(db: &Db, nats: &Nats, config: &RelayConfig, wakes: &Wakes, shutdown: &Shutdown) {
    let subject = nats.subjects().outbox_wake(&config.service);
    let (committed, nats, local, stop) = (db.outbox_wake(), nats.clone(), wakes.clone(), shutdown.clone());
    let (heard_nats, heard_subject, heard) = (nats.clone(), subject.clone(), wakes.clone());
    shutdown.spawn("outbox wake-up", async move {
        loop {
            tokio::select! {
                () = committed.notified() => {}
                () = stop.cancelled() => return,
            }
            local.all();
            if nats.is_connected() {
                nats.ping(subject.clone()).await;
            }
        }
    });
    let stop = shutdown.clone();
    shutdown.spawn("outbox wake-up of replicas", async move {
        while !stop.is_cancelled() {
            if let Ok(mut pings) = heard_nats.client().subscribe(heard_subject.clone()).await {
                loop {
                    tokio::select! {
                        ping = pings.next() => if ping.is_some() { heard.all() } else { break },
                        () = stop.cancelled() => return,
                    }
                }
            }
            stop.sleep(Duration::from_secs(1)).await;
        }
    });
}

fn spawn_upkeep(db: Db, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    shutdown.spawn("outbox upkeep", async move {
        loop {
            if let Err(error) = partitions::maintain(&db).await {
                error.log("outbox upkeep");
            }
            let swept = db.transaction(|tx| Box::pin(async move { crate::idempotency::sweep(tx).await })).await;
            if let Err(error) = swept {
                error.log("sweeping request ids");
            }
            if !stop.sleep(Duration::from_secs(3600)).await {
                return;
            }
        }
    });
}

type LaneKey = (StreamKind, Uuid);
type Publishing = BoxFuture<'static, (LaneKey, Result<Ack, Error>)>;

/// The broker's answer to a publication.
#[derive(Clone, Copy)]
struct Ack {
    sequence: u64,
    duplicate: bool,
}

/// Rows of one key in order; the first one is being published or waits for its next try.
#[derive(Default)]
struct Lane {
    rows: VecDeque<Arc<Pending>>,
    failures: u32,
}

struct Worker {
    db: Db,
    nats: Nats,
    config: Arc<RelayConfig>,
    partition: i16,
    keeper: Keeper,
    wake: Arc<Notify>,
    published: Counter<u64>,
}

/// What a partition's owner holds in memory; thrown away when the lease is lost.
struct Held {
    lease: Lease,
    lanes: HashMap<LaneKey, Lane>,
    ids: HashSet<Uuid>,
    publishing: FuturesUnordered<Publishing>,
    acked: Vec<Acked>,
    settling: Option<BoxFuture<'static, (Vec<Uuid>, Result<(), Error>)>>,
    events: heal::Watch,
}

impl Worker {
    fn new(db: Db, nats: Nats, config: Arc<RelayConfig>, partition: i16, keeper: Keeper, wake: Arc<Notify>) -> Self {
        let published = crate::telemetry::meter().u64_counter("hilo.outbox.published").build();
        Self { db, nats, config, partition, keeper, wake, published }
    }

    async fn run(self, stop: &Shutdown) {
        let mut leases = self.keeper.watch();
        let mut failures = 0;
        while !stop.is_cancelled() {
            let Some(lease) = self.keeper.current() else {
                tokio::select! {
                    changed = leases.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
                continue;
            };
            match self.own(lease, &mut leases, stop).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    error.log("outbox relay");
                    stop.sleep(clock::backoff(failures, RETRY_BASE, RETRY_CAP)).await;
                    failures += 1;
                }
            }
        }
    }

    /// Publishes until the lease is lost, the process stops or something fails; the caller starts again.
    async fn own(&self, lease: Lease, leases: &mut watch::Receiver<Option<Lease>>, stop: &Shutdown) -> Result<(), Error> {
        let events = heal::Watch::load(&self.db, &self.config, self.partition).await?;
        let mut held = Held {
            lease,
            lanes: HashMap::new(),
            ids: HashSet::new(),
            publishing: FuturesUnordered::new(),
            acked: Vec::new(),
            settling: None,
            events,
        };
        let mut connections = self.nats.connections();
        let mut next_fetch = Instant::now();
        let mut next_verify = Instant::now();
        let mut next_sweep = Instant::now() + self.config.sweep_every;
        let mut swept: Option<JoinHandle<Result<bool, Error>>> = None;
        loop {
            if self.keeper.current().map(|current| current.epoch) != Some(held.lease.epoch) || stop.is_cancelled() {
                // What was acknowledged is settled; a stale epoch is refused there.
                return self.finish(held).await;
            }
            if Instant::now() >= next_verify {
                match held.events.verify(&self.nats, &self.config).await {
                    Ok(heal::Verdict::Whole) => {}
                    Ok(heal::Verdict::Lost) => return self.heal(held).await,
                    // The broker is away; rows wait, and publishing finds out by itself.
                    Err(error) => {
                        held.events.close_gate();
                        tracing::debug!(error = %error.chain(), "the event stream could not be checked");
                    }
                }
                next_verify = Instant::now() + self.config.verify_every;
            }
            if swept.as_ref().is_some_and(JoinHandle::is_finished) && let Some(done) = swept.take() {
                if matches!(done.await, Ok(Ok(true))) {
                    return self.heal(held).await;
                }
                next_sweep = Instant::now() + self.config.sweep_every;
            }
            if swept.is_none() && Instant::now() >= next_sweep && self.config.streams.contains(&StreamKind::Events) {
                let (db, nats, partition) = (self.db.clone(), self.nats.clone(), self.partition);
                swept = Some(tokio::spawn(async move { heal::sweep(&db, &nats, partition).await }));
            }
            if Instant::now() >= next_fetch && held.ids.len() < MAX_HELD {
                let full = self.fetch(&mut held).await?;
                next_fetch = Instant::now() + if full { Duration::ZERO } else { self.config.poll };
            }
            held.start_settling(&self.db, &self.config, self.partition);
            let may_fetch = held.ids.len() < MAX_HELD;
            tokio::select! {
                biased;
                Some((lane, outcome)) = held.publishing.next(), if !held.publishing.is_empty() => {
                    if self.on_published(&mut held, lane, outcome) {
                        next_verify = Instant::now();
                    }
                }
                (ids, settled) = settled(&mut held.settling) => {
                    settled?;
                    for id in ids {
                        held.ids.remove(&id);
                    }
                }
                () = self.wake.notified() => next_fetch = Instant::now(),
                () = tokio::time::sleep_until(next_fetch), if may_fetch => {}
                () = tokio::time::sleep_until(next_verify) => {}
                _ = leases.changed() => {}
                _ = connections.changed() => {
                    // Another server, or the same one without its data.
                    held.events.doubt();
                    held.events.close_gate();
                    next_verify = Instant::now();
                }
                () = stop.cancelled() => {}
            }
        }
    }

    /// Nothing newer may go out before what is missing, so everything in flight is given up first; what was acknowledged
    /// and not settled is published once more, which readers ignore.
    async fn heal(&self, held: Held) -> Result<(), Error> {
        let lease = held.lease.clone();
        drop(held);
        heal::heal(&self.db, &self.nats, &self.config, &lease, self.partition).await
    }

    async fn fetch(&self, held: &mut Held) -> Result<bool, Error> {
        let streams = self.config.streams.iter().map(|kind| kind.as_str().to_owned()).collect();
        let in_flight = held.ids.iter().copied().collect();
        let rows = rows::fetch(&self.db, self.partition, streams, in_flight, FETCH).await?;
        let full = rows.len() >= usize::try_from(FETCH).unwrap_or(usize::MAX);
        for row in rows {
            held.ids.insert(row.id);
            let key = (row.stream, row.key);
            let lane = held.lanes.entry(key).or_default();
            lane.rows.push_back(Arc::new(row));
            if lane.rows.len() == 1 {
                self.publish_first(held, key, Duration::ZERO);
            }
        }
        Ok(full)
    }

    fn publish_first(&self, held: &mut Held, key: LaneKey, delay: Duration) {
        let Some(row) = held.lanes.get(&key).and_then(|lane| lane.rows.front()).cloned() else { return };
        let nats = self.nats.clone();
        let (gate, config) = (held.events.gate(row.stream), self.config.clone());
        held.publishing.push(Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if let Some(mut gate) = gate {
                // The sender lives as long as this future's owner.
                let _ = gate.wait_for(|open| *open).await;
            }
            fault::point_of(&config.service, "outbox.before_publish").await;
            let ack = nats.publish(row.subject.clone(), row.header_map(), row.payload.clone()).await;
            fault::point_of(&config.service, "outbox.after_publish").await;
            (key, ack.map(|ack| Ack { sequence: ack.sequence, duplicate: ack.duplicate }))
        }));
    }

    /// True when the streams must be checked at once.
    fn on_published(&self, held: &mut Held, key: LaneKey, outcome: Result<Ack, Error>) -> bool {
        let Some(lane) = held.lanes.get_mut(&key) else { return false };
        let ack = match outcome {
            Ok(ack) => ack,
            Err(error) => {
                if lane.failures == 0 {
                    error.log("publishing an outbox row");
                }
                let delay = clock::backoff(lane.failures, RETRY_BASE, RETRY_CAP);
                lane.failures += 1;
                let missing = error.reason() == "STREAM_MISSING";
                if missing {
                    held.events.doubt();
                }
                self.publish_first(held, key, delay);
                return missing;
            }
        };
        lane.failures = 0;
        let mut suspicious = false;
        if let Some(row) = lane.rows.pop_front() {
            self.published.add(1, &[opentelemetry::KeyValue::new("stream", key.0.as_str())]);
            suspicious = held.events.acked(row.id, row.stream, ack.sequence, ack.duplicate);
            held.acked.push(Acked {
                id: row.id,
                stream: row.stream,
                broker_sequence: i64::try_from(ack.sequence).unwrap_or(i64::MAX),
                incarnation: held.events.incarnation().to_owned(),
            });
        }
        if lane.rows.is_empty() {
            held.lanes.remove(&key);
        } else {
            self.publish_first(held, key, Duration::ZERO);
        }
        suspicious
    }

    async fn finish(&self, mut held: Held) -> Result<(), Error> {
        if let Some(settling) = held.settling.take() {
            settling.await.1?;
        }
        if held.acked.is_empty() {
            return Ok(());
        }
        rows::settle(&self.db, held.lease, self.partition, held.acked).await
    }
}

impl Held {
    fn start_settling(&mut self, db: &Db, config: &Arc<RelayConfig>, partition: i16) {
        if self.settling.is_some() || self.acked.is_empty() {
            return;
        }
        let acked = std::mem::take(&mut self.acked);
        let (db, lease, config) = (db.clone(), self.lease.clone(), config.clone());
        self.settling = Some(Box::pin(async move {
            let ids = acked.iter().map(|one| one.id).collect();
            fault::point_of(&config.service, "outbox.before_settle").await;
            (ids, rows::settle(&db, lease, partition, acked).await)
        }));
    }
}

/// Resolves when the running settlement ends; never when there is none.
async fn settled(
    settling: &mut Option<BoxFuture<'static, (Vec<Uuid>, Result<(), Error>)>>,
) -> (Vec<Uuid>, Result<(), Error>) {
    match settling {
        Some(future) => {
            let result = future.await;
            *settling = None;
            result
        }
        None => std::future::pending().await,
    }
}
