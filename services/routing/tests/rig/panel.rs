//! What the stand-in answers to supervisors' questions, counted from its state.

use hilo_kit::clock::to_proto;
use hilo_proto::event::v1::{InteractionSnapshot, InteractionState};
use hilo_proto::internal::v1::{
    CampaignQueue, ListDecisionsResponse, LiveInteraction, ReadQueuesResponse, RoutingAgent, StoredDecision,
};
use time::OffsetDateTime;

use super::truth::{State, Truth};

/// Target of every campaign.
const TARGET_SECONDS: i32 = 60;

fn snapshots(state: &State) -> impl Iterator<Item = &InteractionSnapshot> {
    state.live.values().filter_map(|live| live.interaction.as_ref())
}

/// An agent with his load as counted.
fn loaded(state: &State, agent: &RoutingAgent) -> RoutingAgent {
    let mut agent = agent.clone();
    let holds = |snapshot: &&InteractionSnapshot| {
        snapshot.agent_key == agent.agent_key
            || snapshot.offer.as_ref().is_some_and(|offer| offer.agent_key == agent.agent_key)
    };
    let load = snapshots(state).filter(holds).count() as i32;
    if let Some(email) = agent.loads.first_mut() {
        email.load = load;
    }
    agent
}

impl Truth {
    /// Queues in numbers.
    pub fn reading(&self) -> ReadQueuesResponse {
        let state = self.state.lock();
        let queues = state.campaigns.iter().map(|campaign| {
            let of_campaign = || snapshots(&state).filter(|one| one.campaign_key == campaign.campaign_key);
            let queued = || of_campaign().filter(|one| one.state() == InteractionState::Queued);
            let waiting = queued().count() as i32;
            CampaignQueue {
                campaign_key: campaign.campaign_key.clone(),
                waiting,
                offered: queued().filter(|one| one.offer.is_some()).count() as i32,
                oldest_waiting_since: queued()
                    .filter_map(|one| one.waiting_since)
                    .min_by_key(|at| (at.seconds, at.nanos)),
                open: of_campaign().count() as i32 - waiting,
                target_seconds: TARGET_SECONDS,
                ..CampaignQueue::default()
            }
        });
        let agents = state.agents.values().map(|agent| loaded(&state, agent));
        let now = Some(to_proto(OffsetDateTime::now_utc()));
        ReadQueuesResponse { queues: queues.collect(), agents: agents.collect(), now }
    }

    /// Decisions of an interaction, and what a new one would be made from.
    pub fn standing(&self, id: &str, with_members: bool) -> Option<ListDecisionsResponse> {
        let state = self.state.lock();
        let live: &LiveInteraction = state.live.get(id)?;
        let snapshot = live.interaction.as_ref()?;
        let decided_at = Some(to_proto(OffsetDateTime::now_utc()));
        let stored = StoredDecision { decided_at, decision: None, offer_id: String::new() };
        let mut answer = ListDecisionsResponse {
            decisions: vec![stored],
            campaign_key: snapshot.campaign_key.clone(),
            live: Some(live.clone()),
            ..ListDecisionsResponse::default()
        };
        let queued = snapshot.state() == InteractionState::Queued;
        if queued || with_members {
            answer.campaign =
                state.campaigns.iter().find(|one| one.campaign_key == snapshot.campaign_key).cloned();
            let keys = answer.campaign.iter().flat_map(|campaign| campaign.member_keys.iter());
            answer.members = keys.filter_map(|key| Some(loaded(&state, state.agents.get(key)?))).collect();
        }
        if queued {
            let before = |other: &&InteractionSnapshot| {
                other.campaign_key == snapshot.campaign_key
                    && other.state() == InteractionState::Queued
                    && other.offer.is_none()
                    && other.interaction_id < snapshot.interaction_id
            };
            answer.ahead = snapshots(&state).filter(before).count() as i32;
        }
        Some(answer)
    }
}
