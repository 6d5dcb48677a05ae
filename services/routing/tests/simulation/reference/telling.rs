//! What each input changes.

use std::collections::BTreeSet;

use hilo_routing::domain::*;

use super::{HOLD_FIRST, HOLD_LONGEST, LONG_AGO, Line, Member, Reference, Rules, agent_of, lane};

impl Reference {
    /// Takes over an input, and lets time pass.
    pub fn take(&mut self, input: &Input, now: Instant) {
        self.now = self.now.max(now);
        let before = self.free_lanes();
        match input {
            Input::Campaign(config) => self.configure(config.clone()),
            Input::CampaignRemoved(campaign) => {
                self.lines.retain(|_, line| line.view.campaign != *campaign);
                self.campaigns.remove(campaign);
            }
            Input::Agent(view) => self.meet(view),
            Input::Presence { agent, presence } => self.sees(*agent, *presence),
            Input::Presences(changes) => {
                changes.iter().for_each(|(agent, presence)| self.sees(*agent, *presence));
            }
            Input::Item(view) => self.tell(view.clone()),
            Input::Gone { interaction, version } => {
                if self.lines.get(interaction).is_some_and(|line| line.view.version <= *version) {
                    self.lines.remove(interaction);
                }
            }
            Input::Answer(answer) => self.answer(answer),
            Input::Tick => {}
        }
        self.wake(&before);
        let before = self.free_lanes();
        for held in self.agents.values_mut().flat_map(|member| &mut member.held_until) {
            *held = held.filter(|until| *until > self.now);
        }
        self.wake(&before);
    }

    fn meet(&mut self, view: &AgentView) {
        let member = self.agents.entry(view.agent).or_insert_with(|| Member {
            view: *view,
            presence: Presence::Unknown,
            last_offered: [Instant::default(); 2],
            held_until: [None; 2],
            hold: [HOLD_FIRST; 2],
        });
        if view.version < member.view.version {
            return;
        }
        member.view = *view;
        for (known, stored) in member.last_offered.iter_mut().zip(view.last_offered) {
            *known = (*known).max(stored.unwrap_or_default());
        }
    }

    fn sees(&mut self, agent: AgentId, presence: Presence) {
        if let Some(member) = self.agents.get_mut(&agent) {
            member.presence = presence;
        }
    }

    fn tell(&mut self, view: ItemView) {
        let set = |by: &[AgentId]| by.iter().copied().collect::<BTreeSet<_>>();
        let mut passed_at = LONG_AGO;
        if let Some(known) = self.lines.get(&view.interaction) {
            if view.version <= known.view.version {
                return;
            }
            if view.campaign == known.view.campaign && view.priority == known.view.priority {
                let same = set(&view.passed_by) == set(&known.view.passed_by);
                passed_at = if same { known.passed_at } else { self.now };
            }
        }
        self.lines.insert(view.interaction, Line { view, proposal: None, rest_until: None, passed_at });
    }

    fn answer(&mut self, answer: &Answer) {
        let Answer { interaction, version, outcome, current } = answer;
        if let Some(current) = current.clone().filter(|_| self.lines.contains_key(interaction)) {
            self.tell(current);
        }
        let now = self.now;
        let Some(line) = self.lines.get_mut(interaction) else { return };
        let channel = self.campaigns[&line.view.campaign].config.channel;
        if line.view.version != *version {
            let ringing = line.queued().and_then(|queued| queued.offer).filter(|_| line.proposal.is_none());
            let agent = ringing.and_then(|ringing| agent_of(ringing.target));
            if let (Outcome::Applied, Some(agent)) = (outcome, agent) {
                self.agents.get_mut(&agent).unwrap().hold[lane(channel)] = HOLD_FIRST;
            }
            return;
        }
        if *outcome == Outcome::Gone {
            self.lines.remove(interaction);
            return;
        }
        let Some(proposal) = line.proposal.take() else { return };
        let offered = match proposal {
            Decision::Offer(offer) => agent_of(offer.target),
            Decision::Expire { .. } | Decision::Overflow { .. } => None,
        };
        match (outcome, offered) {
            (Outcome::NoCapacity | Outcome::NotAvailable, Some(agent)) => {
                let member = self.agents.get_mut(&agent).unwrap();
                member.held_until[lane(channel)] = Some(now + member.hold[lane(channel)]);
                member.hold[lane(channel)] = member.hold[lane(channel)].doubled(HOLD_LONGEST);
            }
            (Outcome::TooEarly, _) => line.rest_until = Some(now + Span::millis(20)),
            _ => line.rest_until = Some(now + Span::millis(200)),
        }
    }

    fn configure(&mut self, mut config: CampaignConfig) {
        let mut seen = BTreeSet::new();
        config.members.retain(|member| seen.insert(*member));
        let stored = config.pointer.take();
        let place = |agent: AgentId| {
            config.members.iter().position(|member| *member == agent).map(|position| position as u32)
        };
        let Some(rules) = self.campaigns.get_mut(&config.campaign) else {
            let pointer = stored.and_then(place);
            self.campaigns.insert(config.campaign, Rules { pointer, config });
            return;
        };
        if rules.config.version > config.version {
            return;
        }
        rules.config.version = config.version;
        if rules.config == config {
            return;
        }
        rules.pointer = match rules.pointer {
            Some(pointer) => {
                let offered = rules.config.members.get(pointer as usize).copied();
                let left = || pointer.min(config.members.len() as u32).checked_sub(1);
                offered.and_then(place).or_else(left)
            }
            None => stored.and_then(place),
        };
        let id = config.campaign;
        rules.config = config;
        let rests =
            |line: &&mut Line| line.view.campaign == id && line.waits() && !line.view.passed_by.is_empty();
        self.lines.values_mut().filter(rests).for_each(|line| line.rest_until = None);
    }
}
