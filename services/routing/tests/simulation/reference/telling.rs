//! What each input changes.

use std::collections::BTreeSet;

use hilo_routing::domain::*;

use super::{HOLD_FIRST, HOLD_LONGEST, LONG_AGO, Line, Member, Reference, Rules, agent_of, lane};

impl Reference {
    /// Takes over an input, and lets time pass.
    pub fn take(&mut self, input: &Input, now: Instant) {
        let last = self.now;
        self.now = self.now.max(now);
        let mut before = self.free_lanes();
        let held: BTreeSet<_> = self.lines.values().filter_map(|line| self.holding(line)).collect();
        let known: Vec<_> = self.agents.values().cloned().collect();
        match input {
            Input::Campaign(config) => self.configure(config.clone()),
            Input::CampaignRemoved(campaign) => {
                self.lines.retain(|_, line| line.view.campaign != *campaign);
                self.campaigns.remove(campaign);
            }
            Input::Agent(view) => {
                let newer = |known: &&Member| view.version >= known.view.version;
                if self
                    .agents
                    .get(&view.agent)
                    .filter(newer)
                    .is_some_and(|known| known.view.skills != view.skills)
                {
                    // He may be somebody new for what rests.
                    before.retain(|(agent, _)| *agent != view.agent);
                }
                self.meet(view);
            }
            Input::Presence { agent, presence } => self.sees(*agent, *presence),
            Input::Presences(changes) => {
                changes.iter().for_each(|(agent, presence)| self.sees(*agent, *presence));
            }
            Input::Item(view) => self.tell(view.clone()),
            Input::Gone { interaction, version } => {
                if self.lines.get(interaction).is_some_and(|line| line.view.version <= *version) {
                    self.lines.remove(interaction);
                    self.saved.remove(interaction);
                }
            }
            Input::Answer(answer) => self.answer(answer),
            Input::Tick => {}
        }
        let holding: BTreeSet<_> = self.lines.values().filter_map(|line| self.holding(line)).collect();
        for (agent, lane) in held.difference(&holding) {
            if let Some(member) = self.agents.get_mut(agent) {
                member.idle_since[*lane] = self.now;
            }
        }
        self.let_go(&known, last);
        self.wake(&before);
        if let Some((id, rest)) = self.rested.take()
            && let Some(line) = self.lines.get_mut(&id)
        {
            line.rest_until = Some(rest);
        }
        let before = self.free_lanes();
        for held in self.agents.values_mut().flat_map(|member| &mut member.held_until) {
            *held = held.filter(|until| *until > self.now);
        }
        self.wake(&before);
    }

    fn holding(&self, line: &Line) -> Option<(AgentId, usize)> {
        line.holder().map(|agent| (agent, lane(self.channel(line.view.campaign))))
    }

    /// Capacity is saved no longer for what does not wait any more or asks for something else, nor by whom it is of no use
    /// to save it; `known` and `last` are the agents and the time before.
    fn let_go(&mut self, known: &[Member], last: Instant) {
        let loads = self.loads();
        let of_use = |id: &InteractionId, agent: &AgentId| {
            let Some(line) = self.lines.get(id).filter(|line| line.is_ready(self.now)) else { return false };
            let channel = self.channel(line.view.campaign);
            let before = |agent: AgentId| known.iter().find(|member| member.view.agent == agent);
            let same = before(*agent).zip(self.agents.get(agent)).is_some_and(|(before, member)| {
                let capacity = |member: &Member| member.view.capacity[lane(channel)];
                before.view.skills == member.view.skills && capacity(before) == capacity(member)
            });
            let preferred = line.view.demand.as_ref().and_then(|demand| demand.preferred);
            let still = preferred.filter(|preferred| preferred.until > self.now);
            let flips = still.and_then(|preferred| before(preferred.agent)).is_some_and(|before| {
                let was_here = before.view.active && before.presence != Presence::Absent;
                was_here != self.is_here(before.view.agent)
            });
            let changed = self.need_changes_after(line, last).is_some_and(|at| at <= self.now);
            let away = self.kept_away(*agent, channel, &loads);
            let saving = matches!(away, Some(Rule::Saving | Rule::Full | Rule::Held));
            same && !flips && !changed && saving
        };
        let gone: Vec<_> =
            self.saved.iter().filter(|(id, agent)| !of_use(id, agent)).map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| {
            self.saved.remove(id);
        });
    }

    fn meet(&mut self, view: &AgentView) {
        let member = self.agents.entry(view.agent).or_insert_with(|| Member {
            view: view.clone(),
            presence: Presence::Unknown,
            last_offered: [Instant::default(); 2],
            idle_since: [LONG_AGO; 2],
            held_until: [None; 2],
            hold: [HOLD_FIRST; 2],
        });
        if view.version < member.view.version {
            return;
        }
        member.view = view.clone();
        for (known, stored) in member.last_offered.iter_mut().zip(view.last_offered) {
            *known = (*known).max(stored.unwrap_or_default());
        }
        for (known, stored) in member.idle_since.iter_mut().zip(view.idle_since) {
            *known = (*known).max(stored.unwrap_or(LONG_AGO));
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
            let same = view.campaign == known.view.campaign && view.priority == known.view.priority;
            if same && view.demand == known.view.demand {
                let same = set(&view.passed_by) == set(&known.view.passed_by);
                passed_at = if same { known.passed_at } else { self.now };
            }
        }
        self.saved.remove(&view.interaction);
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
            self.saved.remove(interaction);
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
            (Outcome::TooEarly, _) => self.rested = Some((*interaction, now + Span::millis(20))),
            _ => self.rested = Some((*interaction, now + Span::millis(200))),
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
            let side_pointers = Default::default();
            self.campaigns.insert(config.campaign, Rules { pointer, config, side_pointers });
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
        rules.side_pointers.clear();
        let lines = &self.lines;
        self.saved.retain(|saved, _| lines.get(saved).is_some_and(|line| line.view.campaign != id));
        let rests =
            |line: &&mut Line| line.view.campaign == id && line.waits() && !line.view.passed_by.is_empty();
        self.lines.values_mut().filter(rests).for_each(|line| line.rest_until = None);
    }
}
