//! Configuration and agents: changes of who may be offered what, kept in every index at once.

use std::collections::BTreeSet;

use super::agent::{Indexed, LANES, NEVER_HELD, Presence, Standing};
use super::campaign::{Campaign, CampaignConfig};
use super::class::{Classes, Move};
use super::decision::Decision;
use super::engine::Engine;
use super::ids::{AgentId, CampaignId, Channel};
use super::input::AgentView;
use super::need::{Skill, merged};

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
        let slots = self.slots_of(id);
        slots.iter().for_each(|slot| self.unqueue(*slot));
        self.leave_indexes(id);
        let pointer = restored_pointer(&config, known_pointer, stored_pointer);
        let campaign = self.campaign_mut(id);
        campaign.classes = Classes::new(config.mode, config.members.len());
        campaign.usual_skills = merged(&config.selection.required, &[]);
        campaign.side_pointers.clear();
        campaign.config = config;
        campaign.pointer = pointer;
        if old_channel != new_channel {
            self.move_loads(&slots, old_channel, new_channel);
        }
        self.enter_indexes(id);
        slots.into_iter().for_each(|slot| self.replace(slot));
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
            let Some(state) = self.items.get(*slot).map(|item| item.state) else { continue };
            if let Some(agent) = state.occupant() {
                self.hand_over(state.holder(), None, from);
                self.hand_over(None, state.holder(), to);
                self.unseat(agent, from, *slot);
                self.seat(agent, to, *slot);
            }
        }
    }

    /// Puts an item of a changed campaign in its place. What rested because everybody eligible had let it pass is looked at
    /// again: these may be others now.
    fn replace(&mut self, slot: u32) {
        if let Some(item) = self.items.get_mut(slot)
            && item.rests_between_rounds()
        {
            item.rest_until = None;
        }
        self.touched.push(slot);
        self.enqueue(slot);
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
            let agent = agents.get_mut(member);
            let lane = agent.lane_mut(campaign.config.channel);
            lane.memberships.push((id, position));
            campaign.count(lane.standing, 1);
            if lane.standing == Standing::Eligible {
                let change = Move { agent: member, position, from: None, to: Some(lane.indexed) };
                campaign.classes.shift(change, &agent.skills, |_| {});
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
        let was_here =
            std::mem::replace(&mut agent.active, view.active) && agent.presence != Presence::Absent;
        agent.paused = view.paused;
        let values = view.capacity.iter().zip(view.last_offered).zip(view.idle_since);
        for (channel, ((capacity, last_offered), idle_since)) in LANES.into_iter().zip(values) {
            let lane = agent.lane_mut(channel);
            let changed = std::mem::replace(&mut lane.capacity, *capacity) != *capacity;
            lane.last_offered = lane.last_offered.max(last_offered.unwrap_or_default());
            lane.idle_since = lane.idle_since.max(idle_since.unwrap_or(NEVER_HELD));
            if changed {
                self.unsuited.extend(lane.saving_for);
            }
        }
        self.agent_changed(view.agent, was_here, decisions);
        self.learn(view.agent, merged(&view.skills, &[]));
    }

    /// An agent masters something else than before: he leaves every class and enters those he is for now.
    fn learn(&mut self, id: AgentId, skills: Vec<Skill>) {
        let agent = self.agents.get_mut(id);
        if agent.skills == skills {
            return;
        }
        let active = std::mem::replace(&mut agent.active, false);
        LANES.iter().for_each(|channel| self.refresh(id, *channel));
        let agent = self.agents.get_mut(id);
        agent.active = active;
        agent.skills = skills;
        LANES.iter().for_each(|channel| self.refresh(id, *channel));
    }

    /// Takes over what is known of an agent's session.
    pub(super) fn set_presence(&mut self, agent: AgentId, presence: Presence, decisions: &mut Vec<Decision>) {
        let known = self.agents.get_mut(agent);
        let was_here = known.is_here();
        known.presence = presence;
        self.agent_changed(agent, was_here, decisions);
    }

    fn agent_changed(&mut self, agent: AgentId, was_here: bool, decisions: &mut Vec<Decision>) {
        for channel in LANES {
            self.refresh(agent, channel);
        }
        let known = self.agents.get_mut(agent);
        let is_here = known.is_here();
        if !known.may_keep_offers() {
            for slot in known.items.clone() {
                self.withdraw_if_unavailable(slot, decisions);
            }
        }
        if was_here != is_here {
            let range = (agent, 0)..=(agent, u32::MAX);
            let slots: Vec<u32> = self.preferring.range(range).map(|(_, slot)| *slot).collect();
            slots.into_iter().for_each(|slot| self.requeue(slot));
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
        let key = lane.to_index();
        let old_key = std::mem::replace(&mut lane.indexed, key);
        let saved = lane.saving_for;
        if old == new && (new != Standing::Eligible || old_key == key) && saved.is_none() {
            return;
        }
        let lane = agent.lane(channel);
        let indexed = |standing: Standing, key: Indexed| (standing == Standing::Eligible).then_some(key);
        for (campaign_id, position) in &lane.memberships {
            let Some(campaign) = campaigns.get_mut(campaign_id.0 as usize) else { continue };
            if old == new && (new != Standing::Eligible || !campaign.classes.heed_loads()) {
                continue;
            }
            campaign.count(old, -1);
            campaign.count(new, 1);
            let change =
                Move { agent: id, position: *position, from: indexed(old, old_key), to: indexed(new, key) };
            let active = campaign.config.active;
            campaign.classes.shift(change, &agent.skills, |class| {
                if active {
                    listed.push((*campaign_id, class));
                }
            });
            if new == Standing::Eligible && old != Standing::Eligible {
                // Whoever becomes eligible ends the rest of what he has not let pass: it waited longer than what follows.
                let fresh = |slot: &&u32| items.get(**slot).is_some_and(|item| !item.has_passed(id));
                woken.extend(campaign.resting.iter().filter(fresh).copied());
            }
        }
        if let Some(slot) = saved {
            self.look_at_saved(id, slot, new, key.free());
        }
        for slot in woken {
            if let Some(state) = self.items.get(slot).map(|item| item.state) {
                self.transition(slot, state, None);
            }
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
