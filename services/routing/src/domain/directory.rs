//! Configuration and agents: changes of who may be offered what, kept in every index at once.

use std::collections::BTreeSet;

use super::agent::{LANES, Presence, Standing};
use super::campaign::{Campaign, CampaignConfig};
use super::decision::Decision;
use super::engine::Engine;
use super::ids::{AgentId, CampaignId, Channel};
use super::input::AgentView;
use super::pool::Pool;

impl Engine {
    /// Takes over a campaign's configuration; costs its members and items, and nothing when only the version changed.
    pub(super) fn set_campaign(&mut self, mut config: CampaignConfig) {
        let mut seen = BTreeSet::new();
        config.members.retain(|member| seen.insert(*member));
        let id = config.campaign;
        let campaign = self.campaign_mut(id);
        let (version, stored_pointer) = (config.version, config.pointer.take());
        if campaign.config.version > version {
            return;
        }
        campaign.config.version = version;
        if campaign.config == config {
            return;
        }
        let known_pointer = campaign.pointer.map(|position| (position, campaign.member(position)));
        let (old_channel, new_channel) = (campaign.config.channel, config.channel);
        campaign.waiting.clear();
        campaign.resting.clear();
        let slots = self.slots_of(id);
        self.leave_indexes(id);
        let pointer = restored_pointer(&config, known_pointer, stored_pointer);
        let campaign = self.campaign_mut(id);
        campaign.pool = Pool::new(config.mode, config.members.len());
        campaign.config = config;
        campaign.pointer = pointer;
        if old_channel != new_channel {
            self.move_loads(&slots, old_channel, new_channel);
        }
        self.enter_indexes(id);
        slots.into_iter().for_each(|slot| self.requeue(id, slot));
        self.list(id);
    }

    /// The campaign leaves with its items.
    pub(super) fn remove_campaign(&mut self, id: CampaignId) {
        self.slots_of(id).into_iter().for_each(|slot| self.discard(slot));
        self.leave_indexes(id);
        *self.campaign_mut(id) = Campaign::undescribed(id);
    }

    fn slots_of(&self, id: CampaignId) -> Vec<u32> {
        self.items.iter().filter(|(_, item)| item.campaign == id).map(|(slot, _)| slot).collect()
    }

    /// Counts the items of a campaign in another channel than before.
    fn move_loads(&mut self, slots: &[u32], from: Channel, to: Channel) {
        for slot in slots {
            if let Some(agent) = self.items.get(*slot).and_then(|item| item.state.occupant()) {
                self.unseat(agent, from, *slot);
                self.seat(agent, to, *slot);
            }
        }
    }

    /// Puts an item of a changed campaign in its place. What rested because everybody eligible had let it pass is looked at
    /// again: these may be others now.
    fn requeue(&mut self, id: CampaignId, slot: u32) {
        let Some(item) = self.items.get_mut(slot) else { return };
        if item.rests_between_rounds() {
            item.rest_until = None;
        }
        item.resting = false;
        let key = item.wait_key(slot);
        self.touched.push(slot);
        self.campaign_mut(id).waiting.extend(key);
    }

    fn leave_indexes(&mut self, id: CampaignId) {
        let campaign = self.campaign_mut(id);
        let (channel, members) = (campaign.config.channel, std::mem::take(&mut campaign.config.members));
        campaign.standings = Default::default();
        for member in members {
            let lane = self.agents.get_mut(member).lane_mut(channel);
            lane.memberships.retain(|(campaign, _)| *campaign != id);
        }
    }

    fn enter_indexes(&mut self, id: CampaignId) {
        let Self { agents, campaigns, .. } = self;
        let Some(campaign) = campaigns.get_mut(id.0 as usize) else { return };
        for position in 0..campaign.config.members.len() as u32 {
            let Some(member) = campaign.member(position) else { continue };
            let lane = agents.get_mut(member).lane_mut(campaign.config.channel);
            lane.memberships.push((id, position));
            campaign.count(lane.standing, 1);
            if lane.standing == Standing::Eligible {
                campaign.pool.insert((lane.indexed.0, lane.indexed.1, position));
            }
        }
    }

    /// Takes over an agent's state if it is not older than what is known.
    pub(super) fn set_agent(&mut self, view: &AgentView, decisions: &mut Vec<Decision>) {
        let agent = self.agents.get_mut(view.agent);
        if view.version < agent.version {
            return;
        }
        agent.version = view.version;
        agent.active = view.active;
        agent.paused = view.paused;
        let values = view.capacity.iter().zip(view.last_offered);
        for (channel, (capacity, last_offered)) in LANES.into_iter().zip(values) {
            let lane = agent.lane_mut(channel);
            lane.capacity = *capacity;
            lane.last_offered = lane.last_offered.max(last_offered.unwrap_or_default());
        }
        self.agent_changed(view.agent, decisions);
    }

    /// Takes over what is known of an agent's session.
    pub(super) fn set_presence(&mut self, agent: AgentId, presence: Presence, decisions: &mut Vec<Decision>) {
        self.agents.get_mut(agent).presence = presence;
        self.agent_changed(agent, decisions);
    }

    fn agent_changed(&mut self, agent: AgentId, decisions: &mut Vec<Decision>) {
        for channel in LANES {
            self.refresh(agent, channel);
        }
        let known = self.agents.get_mut(agent);
        if !known.may_keep_offers() {
            for slot in known.items.clone() {
                self.withdraw_if_unavailable(slot, decisions);
            }
        }
    }

    /// Brings the campaigns' indexes in step with an agent; costs his campaigns, and nothing unless he crossed a line.
    pub(super) fn refresh(&mut self, id: AgentId, channel: Channel) {
        let Self { agents, campaigns, listed, items, .. } = self;
        let agent = agents.get_mut(id);
        let mut woken = Vec::new();
        let new = agent.standing(channel);
        let lane = agent.lane_mut(channel);
        let old = std::mem::replace(&mut lane.standing, new);
        let key = (lane.load, lane.last_offered);
        let old_key = std::mem::replace(&mut lane.indexed, key);
        if old == new && (new != Standing::Eligible || old_key == key) {
            return;
        }
        for (campaign_id, position) in &lane.memberships {
            let Some(campaign) = campaigns.get_mut(campaign_id.0 as usize) else { continue };
            if old == new && !campaign.pool.is_keyed() {
                continue;
            }
            campaign.count(old, -1);
            campaign.count(new, 1);
            if old == Standing::Eligible {
                campaign.pool.remove((old_key.0, old_key.1, *position));
            }
            if new == Standing::Eligible {
                campaign.pool.insert((key.0, key.1, *position));
            }
            if new == Standing::Eligible && old != Standing::Eligible {
                // Whoever becomes eligible ends the rest of what he has not let pass: it waited longer than what follows.
                let fresh = |slot: &&u32| items.get(**slot).is_some_and(|item| !item.has_passed(id));
                woken.extend(campaign.resting.iter().filter(fresh).copied());
            }
            if campaign.can_offer() && !campaign.waiting.is_empty() && !campaign.listed {
                campaign.listed = true;
                listed.push(*campaign_id);
            }
        }
        for slot in woken {
            if let Some(state) = self.items.get(slot).map(|item| item.state) {
                self.transition(slot, state, None);
            }
        }
    }

    fn list(&mut self, id: CampaignId) {
        let campaign = self.campaign_mut(id);
        if campaign.can_offer() && !campaign.waiting.is_empty() && !campaign.listed {
            campaign.listed = true;
            self.listed.push(id);
        }
    }
}

/// Where the rotation goes on: the engine's own pointer, else the stored one; if that member left, the place he had.
fn restored_pointer(
    config: &CampaignConfig,
    known: Option<(u32, Option<AgentId>)>,
    stored: Option<AgentId>,
) -> Option<u32> {
    let place =
        |agent: AgentId| config.members.iter().position(|member| *member == agent).map(|at| at as u32);
    match known {
        Some((position, agent)) => {
            let last = config.members.len() as u32;
            agent.and_then(place).or_else(|| position.min(last).checked_sub(1))
        }
        None => stored.and_then(place),
    }
}
