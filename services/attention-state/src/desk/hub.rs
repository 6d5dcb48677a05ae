//! One reader of EVENTS per replica, fanned out in memory to the desks of this replica.
//!
//! Events carry no names or previews, so each batch is followed by one query for the items that changed. A desk that reads
//! too slowly loses its queue and gets a new snapshot; the hub never waits for anybody.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hilo_kit::consumer::{AlarmSink, BatchHandler, Consumer, ConsumerSpec, Delivery, Outcome};
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::{Deliver, Nats, StreamKind};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc, watch};
use uuid::Uuid;

use super::items::{self, Item, Place};
use super::told::Told;

/// Changes waiting for one desk; more mean a new snapshot.
const QUEUE: usize = 256;
/// Counters are read at most this often.
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// Counting long queues takes longer; it rests so many times as long, so that it takes a twentieth of a connection's time.
const COUNT_SHARE: u32 = 20;
/// Counters are never older than about this.
const COUNT_AT_LEAST_EVERY: Duration = Duration::from_secs(5);
/// The server forgets the reader of a replica that is gone for this long.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// Snapshots read at once: when hundreds of desks begin anew together, they leave connections of the database to others.
const SNAPSHOTS_AT_ONCE: usize = 4;
/// Pause between looks whether the reader was started anew (and may have missed events).
const RESTART_POLL: Duration = Duration::from_secs(1);

/// Queue lengths by campaign and channel.
pub(crate) type QueueLengths = HashMap<(String, String), i64>;

/// What a desk is told.
#[derive(Clone, Debug)]
pub(super) enum Update {
    /// An item changed.
    Item(Arc<Item>),
    /// Changes may have been missed: take a new snapshot.
    Resync,
}

/// The fan-out.
#[derive(Clone)]
pub(crate) struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    desks: Mutex<Desks>,
    lengths: watch::Sender<Arc<QueueLengths>>,
    dirty: Notify,
    snapshots: Semaphore,
}

#[derive(Default)]
struct Desks {
    next: u64,
    all: HashMap<u64, Desk>,
    by_campaign: HashMap<String, HashSet<u64>>,
    by_user: HashMap<String, HashSet<u64>>,
    /// Desks that show an item whatever its campaign: their user has it open.
    by_item: HashMap<Uuid, HashSet<u64>>,
}

struct Desk {
    followed: HashSet<Uuid>,
    user: String,
    campaigns: Vec<String>,
    queue: mpsc::Sender<Update>,
    lagged: Arc<AtomicBool>,
}

/// A desk's end of the fan-out; leaving is dropping it.
pub(super) struct Subscription {
    id: u64,
    updates: mpsc::Receiver<Update>,
    lagged: Arc<AtomicBool>,
    hub: Hub,
}

impl Hub {
    /// A hub that reads items by `db`.
    pub(crate) fn new(db: Db) -> Self {
        let lengths = watch::Sender::new(Arc::new(QueueLengths::new()));
        let snapshots = Semaphore::new(SNAPSHOTS_AT_ONCE);
        let shared = Shared { db, desks: Mutex::default(), lengths, dirty: Notify::new(), snapshots };
        Self { shared: Arc::new(shared) }
    }

    /// Starts reading EVENTS as `desk-<replica>`, counting queues, and telling desks when events may have been missed.
    pub(crate) fn spawn(&self, nats: Nats, replica: &str, shutdown: &Shutdown) -> Consumer {
        let mut spec = ConsumerSpec::new(StreamKind::Events, format!("desk-{replica}"));
        spec.deliver = Deliver::New;
        spec.inactive_threshold = FORGET_AFTER;
        spec.one_per_key = false;
        spec.max_batch = 256;
        let reader = Reader { hub: self.clone(), told: Mutex::default() };
        let consumer =
            Consumer::spawn(nats, spec, Arc::new(reader), Arc::new(AlarmSink::default()), shutdown);
        let (hub, stop) = (self.clone(), shutdown.clone());
        shutdown.spawn("desk counters", async move { hub.count(&stop).await });
        let (hub, stop, watched) = (self.clone(), shutdown.clone(), consumer.clone());
        shutdown.spawn("desk resync", async move { hub.resync_after_restarts(&watched, &stop).await });
        consumer
    }

    /// Joins with the campaigns a user serves.
    pub(super) fn join(&self, user: &str, campaigns: Vec<String>) -> Subscription {
        let (queue, updates) = mpsc::channel(QUEUE);
        let lagged = Arc::new(AtomicBool::new(false));
        let mut desks = self.shared.desks.lock();
        desks.next += 1;
        let id = desks.next;
        for campaign in &campaigns {
            desks.by_campaign.entry(campaign.clone()).or_default().insert(id);
        }
        desks.by_user.entry(user.to_owned()).or_default().insert(id);
        let desk = Desk {
            followed: HashSet::new(),
            user: user.to_owned(),
            campaigns,
            queue,
            lagged: lagged.clone(),
        };
        desks.all.insert(id, desk);
        drop(desks);
        self.shared.dirty.notify_one();
        Subscription { id, updates, lagged, hub: self.clone() }
    }

    fn leave(&self, id: u64) {
        let mut desks = self.shared.desks.lock();
        let Some(desk) = desks.all.remove(&id) else { return };
        for campaign in &desk.campaigns {
            remove(&mut desks.by_campaign, campaign, id);
        }
        for item in &desk.followed {
            remove(&mut desks.by_item, item, id);
        }
        remove(&mut desks.by_user, &desk.user, id);
    }

    /// A turn to read a snapshot; `None` never, the semaphore is not closed.
    pub(super) async fn snapshot_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.shared.snapshots.acquire().await.ok()
    }

    /// Follows the queue lengths; a new value comes at most twice a second.
    pub(super) fn lengths(&self) -> watch::Receiver<Arc<QueueLengths>> {
        self.shared.lengths.subscribe()
    }

    /// True when a desk here may show the item: by its campaign, because it shows it, or because its user opened it.
    fn concerns(&self, campaign: &str, item: &InteractionHead) -> bool {
        let desks = self.shared.desks.lock();
        desks.by_campaign.contains_key(campaign)
            || desks.by_item.contains_key(&item.interaction_id)
            || desks.by_user.contains_key(&item.agent_key)
    }

    fn has_desks(&self) -> bool {
        !self.shared.desks.lock().all.is_empty()
    }

    /// Tells every desk that may show the item, or showed it under a campaign of its events.
    fn tell(&self, event_campaigns: &BTreeSet<String>, item: Arc<Item>) {
        let desks = self.shared.desks.lock();
        let mut told: HashSet<u64> = HashSet::new();
        for campaign in event_campaigns.iter().chain([&item.campaign]) {
            told.extend(desks.by_campaign.get(campaign).into_iter().flatten());
        }
        told.extend(desks.by_item.get(&item.interaction).into_iter().flatten());
        if let Place::OpenBy(user) = &item.place {
            told.extend(desks.by_user.get(user).into_iter().flatten());
        }
        for desk in told.iter().filter_map(|id| desks.all.get(id)) {
            desk.tell(Update::Item(item.clone()));
        }
    }

    fn resync(&self) {
        for desk in self.shared.desks.lock().all.values() {
            desk.tell(Update::Resync);
        }
    }

    async fn resync_after_restarts(&self, consumer: &Consumer, stop: &Shutdown) {
        let mut seen = consumer.restarts();
        while stop.sleep(RESTART_POLL).await {
            let now = consumer.restarts();
            // Only once it reads again: what was missed before lies in the new snapshot then.
            if now != seen && consumer.is_confirmed() {
                seen = now;
                self.resync();
            }
        }
    }

    async fn count(&self, stop: &Shutdown) {
        loop {
            tokio::select! {
                () = self.shared.dirty.notified() => {}
                () = stop.cancelled() => return,
            }
            let began = Instant::now();
            if self.has_desks() {
                match self.shared.db.read(|conn| Box::pin(items::queue_lengths(conn))).await {
                    Ok(rows) => {
                        let lengths =
                            rows.into_iter().map(|(campaign, channel, n)| ((campaign, channel), n)).collect();
                        self.shared.lengths.send_replace(Arc::new(lengths));
                    }
                    Err(error) => error.log("counting queues"),
                }
            }
            if !stop.sleep(rest_after(began.elapsed())).await {
                return;
            }
        }
    }
}

fn remove<K, Q>(index: &mut HashMap<K, HashSet<u64>>, key: &Q, id: u64)
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

/// How long counters rest after a count that took so long.
fn rest_after(took: Duration) -> Duration {
    (took * COUNT_SHARE).clamp(COUNT_EVERY, COUNT_AT_LEAST_EVERY)
}

impl Desk {
    fn tell(&self, update: Update) {
        if self.queue.try_send(update).is_err() {
            // Full: the desk finds the mark with the next update it takes, of which there are plenty.
            self.lagged.store(true, Ordering::Release);
        }
    }
}

impl Subscription {
    /// From now on tells of exactly these items whatever campaign they are in: those the user has open.
    pub(super) fn follow(&self, items: &HashSet<Uuid>) {
        let mut desks = self.hub.shared.desks.lock();
        let Some(desk) = desks.all.get_mut(&self.id) else { return };
        let before = std::mem::replace(&mut desk.followed, items.clone());
        for item in before.difference(items) {
            remove(&mut desks.by_item, item, self.id);
        }
        for item in items.difference(&before) {
            desks.by_item.entry(*item).or_default().insert(self.id);
        }
    }

    /// The next update; [`Update::Resync`] after a loss, with everything older dropped.
    pub(super) async fn next(&mut self) -> Option<Update> {
        let update = self.updates.recv().await?;
        let lost = self.lagged.swap(false, Ordering::AcqRel);
        if lost || matches!(update, Update::Resync) {
            while self.updates.try_recv().is_ok() {}
            crate::metrics::resync();
            return Some(Update::Resync);
        }
        Some(update)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave(self.id);
    }
}

/// The handler behind the durable consumer.
struct Reader {
    hub: Hub,
    told: Mutex<Told>,
}

/// What the hub reads of an event's data.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventHead {
    campaign_key: String,
    interaction: Option<InteractionHead>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InteractionHead {
    interaction_id: Uuid,
    #[serde(default)]
    agent_key: String,
    /// Proto3 JSON has 64-bit numbers as text.
    #[serde(default)]
    version: String,
}

impl InteractionHead {
    /// True when desks of the campaign know this state or a later one.
    fn is_in(&self, told: &Told, campaign: &str) -> bool {
        self.version.parse().is_ok_and(|version| told.holds(self.interaction_id, version, campaign))
    }
}

impl Reader {
    /// Interactions of the batch that concern a desk here, with the campaigns of their events (a transfer has two) and
    /// the trace of the newest.
    fn changed(&self, batch: &[Delivery]) -> BTreeMap<Uuid, (BTreeSet<String>, String)> {
        let mut changed: BTreeMap<Uuid, (BTreeSet<String>, String)> = BTreeMap::new();
        for delivery in batch {
            let Ok(head) = serde_json::from_slice::<EventHead>(delivery.payload()) else {
                tracing::warn!(event = %delivery.id(), "an event could not be read");
                continue;
            };
            let told = |item: &InteractionHead| item.is_in(&self.told.lock(), &head.campaign_key);
            let concerned = head
                .interaction
                .filter(|item| !told(item))
                .filter(|item| self.hub.concerns(&head.campaign_key, item));
            if let Some(interaction) = concerned {
                let (campaigns, traceparent) = changed.entry(interaction.interaction_id).or_default();
                campaigns.insert(head.campaign_key);
                *traceparent = delivery.traceparent().unwrap_or_default().to_owned();
            }
        }
        changed
    }

    async fn spread(&self, batch: &[Delivery]) -> Result<(), Error> {
        let changed = self.changed(batch);
        if changed.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = changed.keys().copied().collect();
        let read =
            self.hub.shared.db.look(move |tx| Box::pin(async move { items::by_ids(tx, &ids).await })).await?;
        for mut item in read {
            if let Some((campaigns, traceparent)) = changed.get(&item.interaction) {
                item.traceparent.clone_from(traceparent);
                self.told.lock().note(item.interaction, item.version, &item.campaign);
                self.hub.tell(campaigns, Arc::new(item));
            }
        }
        self.hub.shared.dirty.notify_one();
        Ok(())
    }
}

#[async_trait]
impl BatchHandler for Reader {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        if let Err(error) = self.spread(batch).await {
            // Never held up: whoever missed something gets a new snapshot.
            error.log("reading changed items");
            self.hub.resync();
        }
        batch.iter().map(|_| Outcome::Ack).collect()
    }
}
