//! The router: one task that owns every partition held here, and carries out what they ask for.
//!
//! All news come through one bounded channel, so nothing is shared and nothing is locked. The task sleeps until the next
//! deadline of any partition; there is no polling timer in the path.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hilo_kit::consumer::Consumer;
use hilo_kit::error::Error;
use hilo_kit::health::Condition;
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::internal::v1::{
    ApplyOffersResponse, GetRoutingConfigResponse, HeldPartition, LiveInteraction, RoutingAgent,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant as Monotonic;

use crate::consumer::Arrived;
use crate::directory::Refresh;
use crate::domain::{Changed, Instant, Span};
use crate::partition::{Batch, Partition, Surroundings, Verdict};
use crate::tasks::Tasks;

/// Messages waiting; a full channel slows the consumer down, which the broker bears.
pub const WAITING: usize = 1_024;
/// Messages taken together before decisions are sent, so that a burst becomes a batch.
const TOGETHER: usize = 64;
/// The longest sleep: how soon a restarted consumer or a lapsed lease is noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// News for the router.
#[derive(Debug)]
pub enum Message {
    /// Events, in order.
    Events(Vec<Arrived>),
    /// Attentions of which an event could not be read.
    Unreadable(Vec<String>),
    /// What is held, and until when without another word.
    Held {
        /// The partitions.
        partitions: Vec<HeldPartition>,
        /// When to give them up.
        until: Monotonic,
    },
    /// A configuration.
    Config {
        /// All of it.
        config: Box<GetRoutingConfigResponse>,
        /// When it was asked for.
        asked: Monotonic,
    },
    /// Agents whose state changed.
    Agents(Vec<RoutingAgent>),
    /// Presence changed.
    Presence(Changed),
    /// A task of a partition has something; ignored when the partition is not held under that epoch any more.
    Result {
        /// The partition.
        partition: i32,
        /// The epoch the task was started under.
        epoch: i64,
        /// What it has.
        result: TaskResult,
    },
}

/// What the tasks of partitions come back with.
#[derive(Debug)]
pub enum TaskResult {
    /// A page of snapshot `0`.
    Page(u64, Vec<LiveInteraction>),
    /// Snapshot `0` is complete, or failed.
    Synced(u64, bool),
    /// One attention as it is now.
    Fetched(String, Vec<LiveInteraction>),
    /// The answer to a batch.
    Applied(Batch, Result<ApplyOffersResponse, Error>),
    /// The answer to reports about these agents.
    Reported(Vec<String>, Option<Vec<RoutingAgent>>),
}

/// Whether an agent is paused, by the version of his state; for the answers to heartbeats.
pub type Paused = Arc<Mutex<HashMap<String, (i64, bool)>>>;

/// Readiness as far as the router knows it.
#[derive(Debug)]
pub struct Conditions {
    /// The configuration was read.
    pub configured: Condition,
    /// The lease was granted (maybe for no partition at all).
    pub leased: Condition,
    /// The consumer stands.
    pub events: Condition,
}

/// The router.
#[derive(Debug)]
pub struct Router {
    around: Surroundings,
    tasks: Tasks,
    consumer: Consumer,
    restarts: u64,
    refresh: Refresh,
    paused: Paused,
    conditions: Conditions,
    resync: Span,
    /// Partition of each campaign.
    homes: HashMap<String, i32>,
    partitions: BTreeMap<i32, Partition>,
    until: Monotonic,
}

impl Router {
    /// Nothing is held yet.
    pub fn new(
        around: Surroundings,
        tasks: Tasks,
        consumer: Consumer,
        refresh: Refresh,
        paused: Paused,
        conditions: Conditions,
        resync: Duration,
    ) -> Self {
        Self {
            around,
            tasks,
            restarts: consumer.restarts(),
            consumer,
            refresh,
            paused,
            conditions,
            resync: Span(i64::try_from(resync.as_micros()).unwrap_or(i64::MAX)),
            homes: HashMap::new(),
            partitions: BTreeMap::new(),
            until: Monotonic::now(),
        }
    }

    /// Routes until the shutdown begins.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>, stop: Shutdown) {
        loop {
            let sleep = self.turn();
            tokio::select! {
                message = messages.recv() => {
                    let Some(message) = message else { return };
                    self.take(message);
                    for _ in 1..TOGETHER {
                        let Ok(message) = messages.try_recv() else { break };
                        self.take(message);
                    }
                }
                () = tokio::time::sleep(sleep) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Lets time pass in every partition and carries out what they want; answers how long nothing has to be done.
    fn turn(&mut self) -> Duration {
        if Monotonic::now() >= self.until && !self.partitions.is_empty() {
            tracing::warn!(
                partitions = self.partitions.len(),
                "the lease was not renewed in time; partitions given up"
            );
            self.partitions.clear();
        }
        self.conditions.events.set(self.consumer.is_confirmed());
        self.resync_after_restart();
        let now = self.now();
        let mut sleep = LONGEST_SLEEP
            .min(self.until.saturating_duration_since(Monotonic::now()).max(Duration::from_millis(1)));
        for (number, partition) in &mut self.partitions {
            if let Some(deadline) = partition.tick(now) {
                sleep = sleep.min(self.around.clock.until(deadline));
            }
            for effect in partition.effects(now) {
                self.tasks.carry_out(*number, partition.epoch(), effect, &self.refresh);
            }
        }
        sleep
    }

    fn now(&self) -> Instant {
        self.around.clock.now().unwrap_or_default()
    }

    /// A pull that began anew may have begun with a new consumer, which does not know what was missed.
    fn resync_after_restart(&mut self) {
        let restarts = self.consumer.restarts();
        if restarts != self.restarts && self.consumer.is_confirmed() {
            self.restarts = restarts;
            tracing::info!("the event consumer started anew; comparing with the snapshot");
            self.partitions.values_mut().for_each(Partition::start_sync);
        }
    }

    fn take(&mut self, message: Message) {
        let now = self.now();
        self.around.touched.notify_one();
        match message {
            Message::Events(events) => events.iter().for_each(|arrived| self.event(arrived, now)),
            Message::Unreadable(attentions) => {
                for attention in attentions {
                    self.partitions.values_mut().for_each(|partition| partition.refetch(attention.clone()));
                }
            }
            Message::Held { partitions, until } => self.held(&partitions, until),
            Message::Config { config, asked } => self.configured(&config, asked, now),
            Message::Agents(agents) => {
                self.note_paused(&agents);
                for agent in &agents {
                    self.partitions.values_mut().for_each(|partition| partition.agent(agent, now));
                }
            }
            Message::Presence(changed) => {
                self.partitions.values_mut().for_each(|partition| partition.presence(&changed, now));
            }
            Message::Result { partition, epoch, result } => self.result(partition, epoch, result, now),
        }
    }

    fn event(&mut self, arrived: &Arrived, now: Instant) {
        let event = &arrived.event;
        let inside = event.interaction.as_ref().map(|interaction| &interaction.campaign_key);
        let home = self.homes.get(&event.campaign_key).copied();
        let other =
            inside.filter(|key| **key != event.campaign_key).and_then(|key| self.homes.get(key)).copied();
        if home.is_none() {
            // A campaign newer than the configuration: with it comes a reading of the snapshot.
            self.refresh.by_version();
        }
        for number in [home, other.filter(|_| other != home)].into_iter().flatten() {
            if let Some(partition) = self.partitions.get_mut(&number) {
                partition.event(arrived, now);
            }
        }
    }

    fn held(&mut self, held: &[HeldPartition], until: Monotonic) {
        self.until = until;
        let epochs: HashMap<i32, i64> = held.iter().map(|one| (one.partition, one.epoch)).collect();
        let before = self.partitions.len();
        self.partitions.retain(|number, partition| epochs.get(number) == Some(&partition.epoch()));
        let kept = self.partitions.len();
        for (number, epoch) in epochs {
            if self.partitions.contains_key(&number) {
                continue;
            }
            // What was read before does not know how far the holder before came with the rotation.
            self.partitions.insert(number, Partition::new(number, epoch, self.around.clone()));
            self.refresh.whole();
        }
        if before != kept || kept != self.partitions.len() {
            tracing::info!(held = self.partitions.len(), given_up = before - kept, "partitions changed");
        }
        self.conditions.leased.set(true);
    }

    fn configured(&mut self, config: &GetRoutingConfigResponse, asked: Monotonic, now: Instant) {
        self.homes = config
            .campaigns
            .iter()
            .map(|campaign| (campaign.campaign_key.clone(), campaign.partition))
            .collect();
        self.note_paused(&config.agents);
        let held_before = |partition: &&mut Partition| partition.held_since() <= asked;
        let partitions = self.partitions.values_mut().filter(held_before);
        partitions.for_each(|partition| partition.configure(config, now));
        self.conditions.configured.set(true);
    }

    fn note_paused(&self, agents: &[RoutingAgent]) {
        let mut paused = self.paused.lock();
        for agent in agents {
            let known = paused.entry(agent.agent_key.clone()).or_default();
            *known = (*known).max((agent.version, agent.paused));
        }
    }

    fn result(&mut self, number: i32, epoch: i64, result: TaskResult, now: Instant) {
        let Some(partition) = self.partitions.get_mut(&number).filter(|partition| partition.epoch() == epoch)
        else {
            return;
        };
        match result {
            TaskResult::Page(sync, interactions) => partition.page(sync, &interactions, now),
            TaskResult::Synced(sync, complete) => partition.synced(sync, complete, self.resync, now),
            TaskResult::Fetched(attention, interactions) => partition.fetched(&attention, &interactions, now),
            TaskResult::Reported(keys, answer) => partition.reported(&keys, answer.as_deref(), now),
            TaskResult::Applied(batch, answer) => {
                if partition.applied(batch, answer, now) == Verdict::Lost {
                    tracing::warn!(
                        partition = number,
                        epoch,
                        "the epoch is stale: another replica holds the partition"
                    );
                    self.partitions.remove(&number);
                }
            }
        }
    }
}
