//! One partition as this replica holds it: an engine, fed from configuration, presence, snapshot and events.
//!
//! Synchronous: whatever takes time is answered as an [`Effect`] for the router to carry out, whose result comes back as
//! a call. A partition is thrown away whole when its lease or epoch is lost, and built anew from the snapshot.

mod attentions;
mod items;
mod offers;
mod people;
mod sync;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hilo_proto::internal::v1::{ApplyOffersRequest, PresenceReport, RoutingAgent};
use tokio::sync::Notify;
use tokio::time::Instant as Monotonic;

use crate::clock::DatabaseClock;
use crate::domain::{Decision, Engine, Input, Instant, InteractionId};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::presence::PresenceBoard;

pub use offers::{Batch, Verdict};

/// Something that takes time.
#[derive(Debug)]
pub enum Effect {
    /// Commit these decisions.
    Apply(ApplyOffersRequest, Batch),
    /// Read the snapshot from the beginning.
    Sync(u64),
    /// Read one attention again.
    Fetch(String),
    /// Say who is present or gone.
    Report(Vec<PresenceReport>),
    /// Read the configuration now.
    RefreshConfig,
}

/// What partitions share.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Presence as this replica sees it.
    pub board: PresenceBoard,
    /// The database's clock.
    pub clock: DatabaseClock,
    /// Instruments.
    pub metrics: Metrics,
    /// Told of everything that may change what the live panel shows.
    pub touched: Arc<Notify>,
}

/// A held partition.
#[derive(Debug)]
pub struct Partition {
    number: i32,
    epoch: i64,
    held_since: Monotonic,
    around: Surroundings,
    engine: Engine,
    names: Names,
    config_version: i64,
    /// Keys of the campaigns of this partition.
    campaigns: HashSet<String>,
    /// Members of those campaigns, as last heard of.
    agents: HashMap<Arc<str>, RoutingAgent>,
    /// Agents whose report is on its way.
    reporting: HashSet<Arc<str>>,
    /// Some report failed or was ignored: look at everybody again then.
    recheck_at: Option<Instant>,
    /// True during that second look.
    insisting: bool,
    attentions: attentions::Attentions,
    /// Trace contexts of queued items.
    traces: HashMap<InteractionId, String>,
    sync: sync::SyncState,
    offers: offers::Offers,
    effects: Vec<Effect>,
    decisions: Vec<Decision>,
}

impl Partition {
    /// A partition nothing is known of yet.
    pub fn new(number: i32, epoch: i64, around: Surroundings) -> Self {
        // Any seed serves; this one differs between holders, so that `random` does not repeat itself.
        let seed = (epoch as u64) << 16 | (number as u64);
        Self {
            number,
            epoch,
            held_since: Monotonic::now(),
            around,
            engine: Engine::new(seed),
            names: Names::default(),
            config_version: 0,
            campaigns: HashSet::new(),
            agents: HashMap::new(),
            reporting: HashSet::new(),
            recheck_at: None,
            insisting: false,
            attentions: attentions::Attentions::default(),
            traces: HashMap::new(),
            sync: sync::SyncState::default(),
            offers: offers::Offers::default(),
            effects: Vec::new(),
            decisions: Vec::new(),
        }
    }

    /// Since when it is held here, as known here; what was read earlier may be older than the last change of the holder
    /// before.
    pub fn held_since(&self) -> Monotonic {
        self.held_since
    }

    /// The epoch it is held under.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Lets time pass; answers when it has to be called again.
    pub fn tick(&mut self, now: Instant) -> Option<Instant> {
        self.feed(Input::Tick, now);
        self.offers.wake(now);
        if self.recheck_at.is_some_and(|at| at <= now) {
            self.recheck_at = None;
            self.look_again(now);
        }
        self.sync_if_due(now);
        let deadlines =
            [self.engine.next_deadline(), self.offers.next_retry(), self.recheck_at, self.sync.due_at()];
        deadlines.into_iter().flatten().min()
    }

    /// What is to be carried out since the last call.
    pub fn effects(&mut self, now: Instant) -> Vec<Effect> {
        self.send_offers(now);
        std::mem::take(&mut self.effects)
    }

    /// Tells the engine and queues what it decides.
    fn feed(&mut self, input: Input, now: Instant) {
        self.engine.apply_into(input, now, &mut self.decisions);
        for decision in self.decisions.drain(..) {
            self.offers.push(decision, self.config_version);
        }
    }
}
