//! What attention-state would know: interactions, agents, leases; commits offers by compare-and-set and publishes events.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use hilo_kit::clock::to_proto;
use hilo_kit::nats::Nats;
use hilo_proto::event::v1::{
    AttentionEvent, EventType, InteractionSnapshot, InteractionState, OfferSnapshot,
};
use hilo_proto::internal::v1::assignment_change::Change;
use hilo_proto::internal::v1::{
    AssignmentChange, AssignmentMode, AssignmentOutcome, ChannelLoad, LiveInteraction, OverflowMode,
    RoutingAgent, RoutingCampaign,
};
use parking_lot::Mutex;
use time::OffsetDateTime;
use uuid::Uuid;

use super::service::PARTITIONS;

/// The one partition that the stand-in has campaigns in.
pub const PARTITION: i32 = 7;

pub fn campaign(key: &str, members: &[&str]) -> RoutingCampaign {
    RoutingCampaign {
        campaign_key: key.to_owned(),
        channel: "email".to_owned(),
        partition: PARTITION,
        mode: AssignmentMode::RoundRobin.into(),
        accept_timeout_seconds: 0,
        overflow_seconds: 0,
        overflow_mode: OverflowMode::None.into(),
        overflow_campaign_key: String::new(),
        member_keys: members.iter().map(|key| (*key).to_owned()).collect(),
        active: true,
        ..RoutingCampaign::default()
    }
}

/// A committed offer, for the assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    pub interaction: String,
    pub agent: String,
    pub partition: i32,
    pub epoch: i64,
}

#[derive(Debug, Default)]
pub struct State {
    pub config_version: i64,
    pub campaigns: Vec<RoutingCampaign>,
    pub agents: BTreeMap<String, RoutingAgent>,
    pub live: BTreeMap<String, LiveInteraction>,
    pub lease: HashMap<i32, (String, i64, Instant)>,
    /// Until when each replica counts as running.
    pub replicas: HashMap<String, Instant>,
    /// Who was given a partition under an epoch.
    pub grants: HashMap<(i32, i64), String>,
    /// Replicas that gave their partitions back.
    pub released: Vec<String>,
    pub offered: Vec<Offered>,
    pub refused_epochs: u32,
    /// Partition and epoch of each of them.
    pub refused: Vec<(i32, i64)>,
    pub refused_configs: u32,
    /// Changes asked for.
    pub attempts: u32,
    /// Answers BUSY this many times more.
    pub busy: u32,
    pub reports: Vec<(String, bool)>,
    pub fetched: Vec<String>,
    /// Users the directory does not know any more.
    pub dismissed: Vec<String>,
    pub snapshots: u32,
    /// Interactions in a page of the snapshot.
    pub page: usize,
}

impl State {
    /// Extends what a replica holds up to its fair share, gives back what exceeds it, and takes what is free.
    pub fn share_out(&mut self, replica: &str, now: Instant, term: Duration) {
        self.replicas.insert(replica.to_owned(), now + term);
        let running = self.replicas.values().filter(|until| **until > now).count();
        let share = (PARTITIONS as usize).div_ceil(running);
        let mut held = 0;
        for partition in 0..PARTITIONS {
            let (holder, _, until) = self.lease.entry(partition).or_insert((String::new(), 0, now));
            if holder == replica && *until > now {
                held += 1;
                *until = if held <= share { now + term } else { now };
                if held > share {
                    holder.clear();
                }
            }
        }
        for (partition, (holder, epoch, until)) in &mut self.lease {
            if held < share && *until <= now {
                (held, *epoch) = (held + 1, *epoch + 1);
                (*holder, *until) = (replica.to_owned(), now + term);
                self.grants.insert((*partition, *epoch), replica.to_owned());
            }
        }
    }
}

/// The state and how it is published.
#[derive(Default)]
pub struct Truth {
    pub state: Mutex<State>,
    nats: Mutex<Option<Nats>>,
    /// False keeps events back.
    pub publishing: AtomicBool,
    /// True keeps the answers to offers back, as a slow network would.
    pub answers_held: AtomicBool,
    /// How many answers are kept back now.
    pub answers_waiting: AtomicU32,
}

impl Truth {
    pub fn new(campaigns: Vec<RoutingCampaign>, agents: &[(&str, i32)]) -> Self {
        let truth = Self { publishing: AtomicBool::new(true), ..Self::default() };
        let mut state = truth.state.lock();
        (state.config_version, state.page) = (1, 3);
        state.campaigns = campaigns;
        for (key, capacity) in agents {
            let load = |channel: &str| ChannelLoad {
                channel: channel.to_owned(),
                load: 0,
                capacity: *capacity,
                ..ChannelLoad::default()
            };
            let agent = RoutingAgent {
                agent_key: (*key).to_owned(),
                active: true,
                paused: false,
                loads: vec![load("email"), load("whatsapp")],
                version: 1,
                ..RoutingAgent::default()
            };
            state.agents.insert((*key).to_owned(), agent);
        }
        drop(state);
        truth
    }

    pub fn connect(&self, nats: Nats) {
        *self.nats.lock() = Some(nats);
    }

    /// A new attention with a queued interaction; its interaction id.
    pub async fn queue(&self, campaign: &str) -> String {
        let now = Some(to_proto(OffsetDateTime::now_utc()));
        let snapshot = InteractionSnapshot {
            interaction_id: Uuid::now_v7().to_string(),
            version: 1,
            state: InteractionState::Queued.into(),
            ordinal: 1,
            campaign_key: campaign.to_owned(),
            waiting_since: now,
            queued_at: now,
            ..InteractionSnapshot::default()
        };
        let id = snapshot.interaction_id.clone();
        let live = LiveInteraction {
            attention_id: Uuid::now_v7().to_string(),
            sequence: 1,
            channel: "email".to_owned(),
            interaction: Some(snapshot),
            traceparent: String::new(),
        };
        self.state.lock().live.insert(id.clone(), live.clone());
        self.publish(&live, EventType::InteractionQueued).await;
        id
    }

    /// A person opens it.
    pub async fn open(&self, id: &str, agent: &str) {
        let live = self.change(id, |snapshot| {
            snapshot.state = InteractionState::Open.into();
            snapshot.agent_key = agent.to_owned();
            snapshot.offer = None;
        });
        self.publish(&live, EventType::InteractionOpened).await;
    }

    pub async fn end(&self, id: &str) {
        let live = self.change(id, |snapshot| snapshot.state = InteractionState::Ended.into());
        self.state.lock().live.remove(id);
        self.publish(&live, EventType::InteractionEnded).await;
    }

    /// Changes an interaction as a command would, without publishing.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut InteractionSnapshot)) -> LiveInteraction {
        let mut state = self.state.lock();
        let live = state.live.get_mut(id).unwrap();
        live.sequence += 1;
        let snapshot = live.interaction.as_mut().unwrap();
        snapshot.version += 1;
        change(snapshot);
        live.clone()
    }

    pub fn snapshot(&self, id: &str) -> InteractionSnapshot {
        self.state.lock().live[id].interaction.clone().unwrap()
    }

    /// At whom it rings: an agent's key, or "everyone".
    pub fn rings_at(&self, id: &str) -> Option<String> {
        let offer = self.state.lock().live.get(id)?.interaction.as_ref()?.offer.clone()?;
        Some(if offer.agent_key.is_empty() { "everyone".to_owned() } else { offer.agent_key })
    }

    pub fn offers(&self) -> Vec<(String, String)> {
        self.state.lock().offered.iter().map(|one| (one.interaction.clone(), one.agent.clone())).collect()
    }

    pub async fn publish(&self, live: &LiveInteraction, kind: EventType) {
        if !self.publishing.load(Ordering::Relaxed) {
            return;
        }
        let name = kind.as_str_name().trim_start_matches("EVENT_TYPE_").to_lowercase();
        let snapshot = live.interaction.clone().unwrap();
        let event = AttentionEvent {
            r#type: kind.into(),
            attention_id: live.attention_id.clone(),
            sequence: live.sequence,
            campaign_key: snapshot.campaign_key.clone(),
            channel: "email".to_owned(),
            occurred_at: Some(to_proto(OffsetDateTime::now_utc())),
            interaction: Some(snapshot.clone()),
            ..AttentionEvent::default()
        };
        let body = hilo_proto::json::to_json("hilo.event.v1.AttentionEvent", &event).unwrap();
        self.publish_raw(&snapshot.campaign_key, &name, &live.attention_id, body).await;
    }

    pub async fn publish_raw(&self, campaign: &str, name: &str, attention: &str, body: Vec<u8>) {
        let nats = self.nats.lock().clone().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", Uuid::now_v7().to_string().as_str());
        headers.insert("ce-subject", attention);
        let subject = nats.subjects().event(campaign, name).unwrap();
        // A broker that is being killed in a test takes nothing; routing has to do without.
        let _ = nats.publish(subject, headers, body.into()).await;
    }

    /// Commits one change; the state after it for the event.
    pub fn apply(
        &self,
        change: &AssignmentChange,
        (partition, epoch): (i32, i64),
    ) -> (AssignmentOutcome, Option<(LiveInteraction, EventType)>) {
        let mut state = self.state.lock();
        state.attempts += 1;
        if state.busy > 0 {
            state.busy -= 1;
            return (AssignmentOutcome::Busy, None);
        }
        let outcome = judge(&state, change);
        if outcome != AssignmentOutcome::Applied {
            return (outcome, None);
        }
        let timeout = state.campaigns.first().map_or(0, |campaign| campaign.accept_timeout_seconds);
        let Some(live) = state.live.get_mut(&change.interaction_id) else {
            return (AssignmentOutcome::Gone, None);
        };
        live.sequence += 1;
        let snapshot = live.interaction.as_mut().unwrap();
        snapshot.version += 1;
        let kind = match change.change.as_ref().unwrap() {
            Change::Offer(offer) => {
                let now = OffsetDateTime::now_utc();
                let limited = timeout > 0 && !offer.agent_key.is_empty();
                snapshot.offer = Some(OfferSnapshot {
                    offer_id: Uuid::now_v7().to_string(),
                    agent_key: offer.agent_key.clone(),
                    offered_at: Some(to_proto(now)),
                    deadline_at: limited.then(|| to_proto(now + Duration::from_secs(timeout as u64))),
                    ..OfferSnapshot::default()
                });
                EventType::InteractionOffered
            }
            Change::Expire(expire) => {
                let offer = snapshot.offer.take().unwrap();
                if expire.reason == "accept_timeout" {
                    snapshot.passed_by.push(offer.agent_key);
                }
                EventType::OfferWithdrawn
            }
            Change::Overflow(_) => {
                snapshot.overflowed = true;
                snapshot.offer = None;
                EventType::InteractionOverflowed
            }
        };
        let live = live.clone();
        if let Some(Change::Offer(offer)) = &change.change {
            let campaign = live.interaction.as_ref().map(|snapshot| snapshot.campaign_key.clone());
            let stored = state.campaigns.iter_mut().find(|one| Some(&one.campaign_key) == campaign.as_ref());
            if let Some(stored) = stored.filter(|_| !offer.rotation_pointer.is_empty()) {
                stored.rotation_pointer = offer.rotation_pointer.clone();
            }
            let interaction = change.interaction_id.clone();
            state.offered.push(Offered { interaction, agent: offer.agent_key.clone(), partition, epoch });
        }
        (outcome, Some((live, kind)))
    }
}

fn judge(state: &State, change: &AssignmentChange) -> AssignmentOutcome {
    let Some(live) = state.live.get(&change.interaction_id) else { return AssignmentOutcome::Gone };
    let snapshot = live.interaction.as_ref().unwrap();
    if snapshot.version != change.version || snapshot.state() != InteractionState::Queued {
        return AssignmentOutcome::Conflict;
    }
    let Some(Change::Offer(offer)) = &change.change else { return AssignmentOutcome::Applied };
    if offer.agent_key.is_empty() {
        return AssignmentOutcome::Applied;
    }
    let Some(agent) = state.agents.get(&offer.agent_key) else { return AssignmentOutcome::NotAvailable };
    if agent.paused || agent.absent_since.is_some() || !agent.active {
        return AssignmentOutcome::NotAvailable;
    }
    let holds = |live: &&LiveInteraction| {
        live.interaction.as_ref().is_some_and(|snapshot| {
            snapshot.agent_key == offer.agent_key
                || snapshot.offer.as_ref().is_some_and(|other| other.agent_key == offer.agent_key)
        })
    };
    let load = state.live.values().filter(holds).count();
    if load as i32 >= agent.loads[0].capacity {
        AssignmentOutcome::NoCapacity
    } else {
        AssignmentOutcome::Applied
    }
}
