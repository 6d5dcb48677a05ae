//! The owner of one partition: fetches what is pending, publishes it in order per key, deletes what was acknowledged,
//! and checks that the event stream keeps what it acknowledged.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::StreamExt;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::held::{Held, RETRY_BASE, RETRY_CAP};
use super::{RelayConfig, Wakes, heal, rows};
use crate::clock;
use crate::db::Db;
use crate::error::Error;
use crate::lease::{Keeper, Lease};
use crate::lifecycle::Shutdown;
use crate::nats::{Nats, StreamKind};

/// Rows in one fetch.
const FETCH: i64 = 512;
/// At least this long between two looks: rows committed one by one are fetched together, and none waits longer for it.
const FETCH_PAUSE: Duration = Duration::from_millis(4);

pub(super) struct Worker {
    db: Db,
    nats: Nats,
    config: Arc<RelayConfig>,
    partition: i16,
    keeper: Keeper,
    wakes: Arc<Wakes>,
    published: Counter<u64>,
}

/// Why the owner stops owning.
enum Ending {
    /// The lease is lost or the process stops.
    Released,
    /// The event stream lost rows.
    StreamLost,
}

/// When what is due, and the sweep that may be running.
struct Timers {
    fetch: Instant,
    fetched: Instant,
    verify: Instant,
    sweep: Instant,
    sweeping: Option<JoinHandle<Result<bool, Error>>>,
}

impl Worker {
    pub fn new(db: Db, nats: Nats, config: Arc<RelayConfig>, partition: i16, keeper: Keeper) -> Self {
        let wakes = db.outbox_wakes();
        let published = crate::telemetry::meter().u64_counter("hilo.outbox.published").build();
        Self { db, nats, config, partition, keeper, wakes, published }
    }

    pub async fn run(self, stop: &Shutdown) {
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
    async fn own(
        &self,
        lease: Lease,
        leases: &mut watch::Receiver<Option<Lease>>,
        stop: &Shutdown,
    ) -> Result<(), Error> {
        let events = heal::Watch::load(&self.db, &self.config, self.partition).await?;
        let mut held = Held::new(lease.clone(), events, self.nats.clone(), self.config.clone());
        let ending = self.publish(&mut held, leases, stop).await;
        let settled = held.finish_settling().await;
        match ending? {
            Ending::Released => {
                settled?;
                // The rest of what was acknowledged; a stale epoch is refused there.
                held.start_settling(&self.db, self.partition);
                held.finish_settling().await
            }
            Ending::StreamLost => {
                // Nothing newer may go out before what is missing, so everything in flight is given up; what was
                // acknowledged and not settled stays pending and goes out once more, which readers ignore.
                drop(held);
                heal::heal(&self.db, &self.nats, &self.config, &lease, self.partition).await
            }
        }
    }

    async fn publish(
        &self,
        held: &mut Held,
        leases: &mut watch::Receiver<Option<Lease>>,
        stop: &Shutdown,
    ) -> Result<Ending, Error> {
        let mut connections = self.nats.connections();
        let now = Instant::now();
        let mut timers = Timers {
            fetch: now,
            fetched: now,
            verify: now,
            sweep: now + self.config.sweep_every,
            sweeping: None,
        };
        loop {
            let owner = self.keeper.current().map(|current| current.epoch) == Some(held.lease.epoch);
            if !owner || stop.is_cancelled() {
                return Ok(Ending::Released);
            }
            if self.stream_is_lost(held, &mut timers).await {
                return Ok(Ending::StreamLost);
            }
            if Instant::now() >= timers.fetch && held.has_room() {
                let full = self.fetch(held).await?;
                timers.fetched = Instant::now();
                timers.fetch = Instant::now() + if full { Duration::ZERO } else { self.config.poll };
            }
            if held.settle_at().is_some_and(|at| at <= Instant::now()) {
                held.start_settling(&self.db, self.partition);
            }
            let settle_at = held.settle_at();
            let has_room = held.has_room();
            tokio::select! {
                biased;
                Some((lane, outcome)) = held.publishing.next(), if !held.publishing.is_empty() => {
                    self.count(outcome.is_ok(), lane.0);
                    if held.on_published(lane, outcome) {
                        timers.verify = Instant::now();
                    }
                }
                (ids, settled) = Held::settled(&mut held.settling) => {
                    settled?;
                    held.forget(&ids);
                }
                () = self.wakes.rung(self.partition) => timers.fetch = timers.fetched + FETCH_PAUSE,
                () = tokio::time::sleep_until(timers.fetch), if has_room => {}
                () = until(settle_at) => {}
                () = tokio::time::sleep_until(timers.verify) => {}
                _ = leases.changed() => {}
                _ = connections.changed() => {
                    // Another server, or the same one without its data.
                    held.events.doubt();
                    held.events.close_gate();
                    timers.verify = Instant::now();
                }
                () = stop.cancelled() => {}
            }
        }
    }

    /// Checks the stream when it is due: what was acknowledged last, and now and then everything.
    async fn stream_is_lost(&self, held: &mut Held, timers: &mut Timers) -> bool {
        let now = Instant::now();
        if now >= timers.verify {
            timers.verify = now + self.config.verify_every;
            match held.events.verify(&self.nats, &self.config).await {
                Ok(heal::Verdict::Whole) => {}
                Ok(heal::Verdict::Lost) => return true,
                Err(error) => {
                    // The broker is away; rows wait, and publishing finds out by itself.
                    held.events.close_gate();
                    tracing::debug!(error = %error.chain(), "the event stream could not be checked");
                }
            }
        }
        if let Some(sweeping) = timers.sweeping.take_if(|sweeping| sweeping.is_finished()) {
            timers.sweep = now + self.config.sweep_every;
            if matches!(sweeping.await, Ok(Ok(true))) {
                return true;
            }
        }
        let due = now >= timers.sweep && timers.sweeping.is_none();
        if due && self.config.streams.contains(&StreamKind::Events) {
            let (db, nats, partition) = (self.db.clone(), self.nats.clone(), self.partition);
            timers.sweeping = Some(tokio::spawn(async move { heal::sweep(&db, &nats, partition).await }));
        }
        false
    }

    /// True when there may be more.
    async fn fetch(&self, held: &mut Held) -> Result<bool, Error> {
        let streams = self.config.streams.iter().map(|kind| kind.as_str().to_owned()).collect();
        let rows = rows::fetch(&self.db, self.partition, streams, held.ids(), FETCH).await?;
        let full = rows.len() >= usize::try_from(FETCH).unwrap_or(usize::MAX);
        for row in rows {
            held.push(row);
        }
        Ok(full)
    }

    fn count(&self, published: bool, stream: StreamKind) {
        let outcome = if published { "published" } else { "failed" };
        let labels = [KeyValue::new("stream", stream.as_str()), KeyValue::new("outcome", outcome)];
        self.published.add(1, &labels);
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
