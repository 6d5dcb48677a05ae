//! What a partition's owner holds in memory: rows by key, publications on the way, acknowledged rows to be deleted.
//! Thrown away when the lease is lost; the rows are in the database.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::publish::PublishAck;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use uuid::Uuid;

use super::rows::{self, Acked, Pending};
use super::{RelayConfig, heal};
use crate::clock;
use crate::db::Db;
use crate::error::Error;
use crate::fault;
use crate::lease::Lease;
use crate::nats::{Nats, StreamKind};

/// Rows a partition holds at once, published or waiting for their key.
const MAX_HELD: usize = 1_024;
/// So many acknowledged rows are deleted at once ...
const SETTLE_AT: usize = 256;
/// ... and fewer after this time.
const SETTLE_AFTER: Duration = Duration::from_millis(25);
pub(super) const RETRY_BASE: Duration = Duration::from_millis(100);
pub(super) const RETRY_CAP: Duration = Duration::from_secs(3);

pub(super) type LaneKey = (StreamKind, Uuid);
type Publishing = BoxFuture<'static, (LaneKey, Result<Ack, Error>)>;
type Settling = BoxFuture<'static, (Vec<Uuid>, Result<(), Error>)>;

/// The broker's answer to a publication.
#[derive(Clone, Copy)]
pub(super) struct Ack {
    sequence: u64,
    duplicate: bool,
    /// Floor of the event stream when it was sent.
    sent_above: u64,
}

/// Rows of one key in order; the first one is being published or waits for its next try.
#[derive(Default)]
struct Lane {
    rows: VecDeque<Arc<Pending>>,
    failures: u32,
}

pub(super) struct Held {
    pub lease: Lease,
    pub events: heal::Watch,
    pub publishing: FuturesUnordered<Publishing>,
    pub settling: Option<Settling>,
    lanes: HashMap<LaneKey, Lane>,
    ids: HashSet<Uuid>,
    acked: Vec<Acked>,
    /// When the first of them was acknowledged.
    acked_since: Option<Instant>,
    nats: Nats,
    config: Arc<RelayConfig>,
}

impl Held {
    pub fn new(lease: Lease, events: heal::Watch, nats: Nats, config: Arc<RelayConfig>) -> Self {
        Self {
            lease,
            events,
            publishing: FuturesUnordered::new(),
            settling: None,
            lanes: HashMap::new(),
            ids: HashSet::new(),
            acked: Vec::new(),
            acked_since: None,
            nats,
            config,
        }
    }

    pub fn has_room(&self) -> bool {
        self.ids.len() < MAX_HELD
    }

    /// Ids not to be fetched again.
    pub fn ids(&self) -> Vec<Uuid> {
        self.ids.iter().copied().collect()
    }

    /// Takes a fetched row in; the first one of a key goes out at once.
    pub fn push(&mut self, row: Pending) {
        self.ids.insert(row.id);
        let key = (row.stream, row.key);
        let lane = self.lanes.entry(key).or_default();
        lane.rows.push_back(Arc::new(row));
        if lane.rows.len() == 1 {
            self.publish_first(key, Duration::ZERO);
        }
    }

    fn publish_first(&mut self, key: LaneKey, delay: Duration) {
        let Some(row) = self.lanes.get(&key).and_then(|lane| lane.rows.front()).cloned() else { return };
        let (nats, config, gate) = (self.nats.clone(), self.config.clone(), self.events.gate(row.stream));
        self.publishing.push(Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let mut sent_above = 0;
            if let Some(mut gate) = gate {
                // The sender lives as long as this future's owner.
                sent_above = gate.wait_for(Option::is_some).await.ok().and_then(|floor| *floor).unwrap_or(0);
            }
            fault::point_of(&config.service, "outbox.before_publish").await;
            let ack = nats.publish(row.subject.clone(), row.header_map(), row.payload.clone()).await;
            fault::point_of(&config.service, "outbox.after_publish").await;
            let known =
                |ack: PublishAck| Ack { sequence: ack.sequence, duplicate: ack.duplicate, sent_above };
            (key, ack.map(known))
        }));
    }

    /// A publication ended; true when the streams must be checked at once.
    pub fn on_published(&mut self, key: LaneKey, outcome: Result<Ack, Error>) -> bool {
        match outcome {
            Ok(ack) => self.on_acked(key, ack),
            Err(error) => self.on_failed(key, &error),
        }
    }

    fn on_acked(&mut self, key: LaneKey, ack: Ack) -> bool {
        let Some(lane) = self.lanes.get_mut(&key) else { return false };
        lane.failures = 0;
        let row = lane.rows.pop_front();
        if lane.rows.is_empty() {
            self.lanes.remove(&key);
        } else {
            self.publish_first(key, Duration::ZERO);
        }
        let Some(row) = row else { return false };
        let suspicious = self.events.acked(row.id, row.stream, ack.sequence, ack.duplicate, ack.sent_above);
        self.acked_since.get_or_insert_with(Instant::now);
        self.acked.push(Acked {
            id: row.id,
            stream: row.stream,
            broker_sequence: i64::try_from(ack.sequence).unwrap_or(i64::MAX),
            incarnation: self.events.incarnation().to_owned(),
        });
        suspicious
    }

    fn on_failed(&mut self, key: LaneKey, error: &Error) -> bool {
        let Some(lane) = self.lanes.get_mut(&key) else { return false };
        if lane.failures == 0 {
            error.log("publishing an outbox row");
        }
        let delay = clock::backoff(lane.failures, RETRY_BASE, RETRY_CAP);
        lane.failures += 1;
        let missing = error.reason() == "STREAM_MISSING";
        if missing {
            self.events.doubt();
        }
        self.publish_first(key, delay);
        missing
    }

    /// When what was acknowledged is to be deleted; `None` while nothing is, or a settlement runs. What a crash finds undeleted
    /// goes out once more, which readers ignore, so a few wait for each other: a commit for each would cost more than the
    /// publication.
    pub fn settle_at(&self) -> Option<Instant> {
        let since = self.acked_since.filter(|_| self.settling.is_none())?;
        Some(if self.acked.len() >= SETTLE_AT { since } else { since + SETTLE_AFTER })
    }

    /// Starts deleting what was acknowledged, one settlement at a time.
    pub fn start_settling(&mut self, db: &Db, partition: i16) {
        if self.settling.is_some() || self.acked.is_empty() {
            return;
        }
        let acked = std::mem::take(&mut self.acked);
        self.acked_since = None;
        let (db, lease, config) = (db.clone(), self.lease.clone(), self.config.clone());
        self.settling = Some(Box::pin(async move {
            let ids = acked.iter().map(|one| one.id).collect();
            fault::point_of(&config.service, "outbox.before_settle").await;
            (ids, rows::settle(&db, lease, partition, acked).await)
        }));
    }

    /// Resolves when the running settlement ends; never when there is none.
    pub async fn settled(settling: &mut Option<Settling>) -> (Vec<Uuid>, Result<(), Error>) {
        match settling {
            Some(future) => {
                let result = future.await;
                *settling = None;
                result
            }
            None => std::future::pending().await,
        }
    }

    pub fn forget(&mut self, ids: &[Uuid]) {
        for id in ids {
            self.ids.remove(id);
        }
    }

    /// Waits for the running settlement: it would otherwise go on behind the back of whoever owns the rows next.
    pub async fn finish_settling(&mut self) -> Result<(), Error> {
        match self.settling.take() {
            Some(settling) => settling.await.1,
            None => Ok(()),
        }
    }
}
