//! The rules by linear scan over what the engine has been told: slow, without any index, and so plainly right.
//!
//! It follows the same inputs as the engine. `due` and `next_offer` say what must be decided; the only thing it cannot
//! foresee is whom the mode `random` draws, so there it accepts anybody who might be drawn.

use std::collections::{BTreeMap, BTreeSet};

use hilo_routing::domain::*;

use crate::world::weight;
use need::Need;

pub mod choice;
pub mod need;
mod telling;

pub const ROUND_PAUSE: Span = Span::seconds(1);
const HOLD_FIRST: Span = Span::millis(250);
const HOLD_LONGEST: Span = Span::seconds(30);
const LONG_AGO: Instant = Instant(i64::MIN);

/// An agent as told.
#[derive(Clone)]
pub struct Member {
    pub view: AgentView,
    pub presence: Presence,
    last_offered: [Instant; 2],
    idle_since: [Instant; 2],
    held_until: [Option<Instant>; 2],
    hold: [Span; 2],
}

/// An item as told, with what was decided for it and is not answered.
pub struct Line {
    pub view: ItemView,
    pub proposal: Option<Decision>,
    rest_until: Option<Instant>,
    passed_at: Instant,
}

/// A campaign as told, and the position offered last.
pub struct Rules {
    pub config: CampaignConfig,
    pointer: Option<u32>,
    /// The same for items that ask for something else than the campaign.
    side_pointers: BTreeMap<Need, u32>,
}

#[derive(Default)]
pub struct Reference {
    pub now: Instant,
    pub agents: BTreeMap<AgentId, Member>,
    pub campaigns: BTreeMap<CampaignId, Rules>,
    pub lines: BTreeMap<InteractionId, Line>,
    /// Heavy items, and whose capacity is saved for each.
    pub saved: BTreeMap<InteractionId, AgentId>,
    /// What rests since this input, which frees an agent at the same time: that is nobody new for it.
    rested: Option<(InteractionId, Instant)>,
}

/// Load of everybody, by channel.
pub type Loads = BTreeMap<(AgentId, Channel), u32>;

pub fn lane(channel: Channel) -> usize {
    LANES.iter().position(|lane| *lane == channel).unwrap()
}

pub fn agent_of(target: Target) -> Option<AgentId> {
    match target {
        Target::Agent(agent) => Some(agent),
        Target::Everyone => None,
    }
}

impl Line {
    /// Queued, as committed.
    pub fn queued(&self) -> Option<Queued> {
        match self.view.state {
            ItemState::Queued(queued) => Some(queued),
            ItemState::Open(_) => None,
        }
    }

    /// Queued without an offer, committed or proposed, and without any other proposal.
    pub fn waits(&self) -> bool {
        self.proposal.is_none() && self.queued().is_some_and(|queued| queued.offer.is_none())
    }

    /// As `waits`, and not set aside for a moment.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.waits() && self.rest_until.is_none_or(|rest| rest <= now)
    }

    /// Who has it as committed.
    fn holder(&self) -> Option<AgentId> {
        match self.view.state {
            ItemState::Open(agent) => Some(agent),
            ItemState::Queued(queued) => queued.offer.and_then(|ringing| agent_of(ringing.target)),
        }
    }

    fn occupant(&self) -> Option<AgentId> {
        match (self.view.state, self.proposal) {
            (ItemState::Open(agent), _) => Some(agent),
            (ItemState::Queued(Queued { offer: Some(ringing), .. }), _) => agent_of(ringing.target),
            (ItemState::Queued(_), Some(Decision::Offer(offer))) => agent_of(offer.target),
            (ItemState::Queued(_), _) => None,
        }
    }
}

impl Reference {
    pub fn channel(&self, campaign: CampaignId) -> Channel {
        self.campaigns[&campaign].config.channel
    }

    pub fn loads(&self) -> Loads {
        let mut loads = Loads::new();
        for line in self.lines.values() {
            if let Some(agent) = line.occupant() {
                *loads.entry((agent, self.channel(line.view.campaign))).or_default() += weight(&line.view);
            }
        }
        loads
    }

    /// The first rule that keeps the agent from an offer in the channel.
    pub fn kept_away(&self, agent: AgentId, channel: Channel, loads: &Loads) -> Option<Rule> {
        let Some(member) = self.agents.get(&agent) else { return Some(Rule::Inactive) };
        let load = loads.get(&(agent, channel)).copied().unwrap_or(0);
        let rules = [
            (!member.view.active, Rule::Inactive),
            (member.presence == Presence::Absent, Rule::Absent),
            (member.presence == Presence::Unknown, Rule::Unknown),
            (member.view.paused, Rule::Paused),
            (load >= member.view.capacity[lane(channel)], Rule::Full),
            (member.held_until[lane(channel)].is_some(), Rule::Held),
            (self.saves(agent, channel), Rule::Saving),
        ];
        rules.into_iter().find(|(applies, _)| *applies).map(|(_, rule)| rule)
    }

    /// Members of the campaign who could take this item now, in their fixed order.
    pub fn eligible(&self, line: &Line, loads: &Loads) -> Vec<AgentId> {
        let config = &self.campaigns[&line.view.campaign].config;
        let need = self.need(line);
        let free = |agent: &&AgentId| {
            let unfit = || self.unfit(&need, **agent, config.channel, loads);
            self.kept_away(**agent, config.channel, loads).or_else(unfit).is_none()
        };
        config.members.iter().filter(free).copied().collect()
    }

    /// Takes over what was decided.
    pub fn note(&mut self, decision: &Decision) {
        let (interaction, _) = decision.subject();
        let Some(need) = self.lines.get(&interaction).map(|line| self.need(line)) else { return };
        self.release(interaction);
        let Some(line) = self.lines.get_mut(&interaction) else { return };
        line.proposal = Some(*decision);
        let Decision::Offer(Offer { target: Target::Agent(agent), campaign, .. }) = decision else { return };
        let (now, rules) = (self.now, self.campaigns.get_mut(campaign).unwrap());
        let position = rules.config.members.iter().position(|member| member == agent);
        let position = position.map(|position| position as u32);
        if rules.is_usual(&need) {
            rules.pointer = position;
        } else if need.reserved_for.is_none() {
            rules.side_pointers.extend(position.map(|position| (need, position)));
        }
        let last = &mut self.agents.get_mut(agent).unwrap().last_offered[lane(rules.config.channel)];
        *last = (*last).max(now);
    }

    /// Nobody's capacity is saved for this item any more, which may wake others.
    fn release(&mut self, interaction: InteractionId) {
        if self.saved.contains_key(&interaction) {
            let before = self.free_lanes();
            self.saved.remove(&interaction);
            self.wake(&before);
        }
    }

    /// The earlier, the longer he has had nothing in the channel; `None` while he has something.
    pub fn idle_since(&self, agent: AgentId, channel: Channel, loads: &Loads) -> Option<Instant> {
        let busy = loads.get(&(agent, channel)).is_some_and(|load| *load > 0);
        (!busy).then(|| self.agents[&agent].idle_since[lane(channel)])
    }

    fn free_lanes(&self) -> BTreeSet<(AgentId, Channel)> {
        let loads = self.loads();
        let all = self.agents.keys().flat_map(|agent| LANES.map(|channel| (*agent, channel)));
        all.filter(|(agent, channel)| self.kept_away(*agent, *channel, &loads).is_none()).collect()
    }

    /// Whoever became free ends the rest between two rounds of what he has not let pass.
    fn wake(&mut self, before: &BTreeSet<(AgentId, Channel)>) {
        for (agent, channel) in self.free_lanes().difference(before) {
            for line in self.lines.values_mut() {
                let config = &self.campaigns[&line.view.campaign].config;
                let fits = config.channel == *channel && config.members.contains(agent);
                if fits
                    && line.waits()
                    && !line.view.passed_by.is_empty()
                    && !line.view.passed_by.contains(agent)
                {
                    line.rest_until = None;
                }
            }
        }
    }
}
