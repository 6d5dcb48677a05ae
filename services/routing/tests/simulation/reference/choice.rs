//! What must be decided now.

use std::cmp::Reverse;

use hilo_routing::domain::*;

use super::{Line, Loads, ROUND_PAUSE, Reference, Rules, agent_of, lane};

/// Order of service.
pub type Turn = (Reverse<i32>, Instant, InteractionId);

impl Reference {
    /// Place in the order of service of an item that is queued.
    pub fn turn(&self, line: &Line) -> Option<Turn> {
        let queued = line.queued()?;
        let selection = &self.campaigns[&line.view.campaign].config.selection;
        let vip = line.view.demand.as_ref().is_some_and(|demand| demand.vip);
        let priority = line.view.priority + if vip { selection.vip_bonus } else { 0 };
        Some(match selection.ageing {
            None => (Reverse(priority), queued.waiting_since, line.view.interaction),
            Some(step) => {
                let earlier = Instant(queued.waiting_since.0 - i64::from(priority) * step.0);
                (Reverse(0), earlier, line.view.interaction)
            }
        })
    }

    /// Offers that must end and overflows that must take effect now, in no particular order.
    pub fn due(&self) -> Vec<Decision> {
        self.lines.values().filter_map(|line| self.due_of(line)).collect()
    }

    fn due_of(&self, line: &Line) -> Option<Decision> {
        let queued = line.queued().filter(|_| line.proposal.is_none())?;
        let (interaction, version) = (line.view.interaction, line.view.version);
        let expire = |offer, reason| Decision::Expire { interaction, version, offer, reason };
        if let Some(Ringing { offer, target: Target::Agent(agent), .. }) = queued.offer
            && let Some(member) = self.agents.get(&agent)
        {
            if !member.view.active || member.presence == Presence::Absent {
                return Some(expire(offer, ExpireReason::AgentAbsent));
            }
            if member.view.paused {
                return Some(expire(offer, ExpireReason::AgentPaused));
            }
        }
        if line.rest_until.is_some_and(|rest| rest > self.now) {
            return None;
        }
        if self.overflow_at(line, queued).is_some_and(|at| at <= self.now) {
            return Some(Decision::Overflow { interaction, version });
        }
        let ringing = queued.offer.filter(|ringing| ringing.deadline.is_some_and(|at| at <= self.now));
        ringing.map(|ringing| expire(ringing.offer, ExpireReason::AcceptTimeout))
    }

    fn overflow_at(&self, line: &Line, queued: Queued) -> Option<Instant> {
        let overflow = self.campaigns[&line.view.campaign].config.overflow?;
        let pointless = match overflow.action {
            OverflowAction::AssignToAll => {
                queued.offer.is_some_and(|ringing| ringing.target == Target::Everyone)
            }
            OverflowAction::SendToCampaign(to) => {
                to == line.view.campaign || line.view.overflowed_from.contains(&to)
            }
        };
        let transferred = queued.offer.is_some_and(|ringing| ringing.transferred);
        (!queued.overflowed && !pointless && !transferred).then(|| queued.queued_at + overflow.after)
    }

    /// The offer that must be made next, if any; `decided` is the one that was made, which tells whom the mode `random` drew,
    /// and which of several items went first for which capacity was saved.
    pub fn next_offer(&mut self, decided: Option<&Offer>) -> Option<Offer> {
        loop {
            let loads = self.loads();
            let enough = self.enough(&loads);
            let of_these =
                enough.iter().find(|(id, _)| decided.is_some_and(|offer| offer.interaction == *id));
            if let Some((id, agent)) = of_these.or(enough.first()).copied() {
                self.release(id);
                let line = &self.lines[&id];
                let rules = &self.campaigns[&line.view.campaign];
                return Some(self.to(line, rules, vec![agent], &self.loads()));
            }
            let offerable = |line: &&Line| {
                let config = &self.campaigns[&line.view.campaign].config;
                let offered = || !self.eligible(line, &loads).is_empty();
                let saved = || !self.saved.contains_key(&line.view.interaction) && self.is_starving(line);
                line.is_ready(self.now)
                    && config.active
                    && (offered() || (saved() && self.saver(line, &loads).is_some()))
            };
            let first = self.lines.values().filter(offerable).min_by_key(|line| self.turn(line))?;
            let (id, rules) = (first.view.interaction, &self.campaigns[&first.view.campaign]);
            if self.eligible(first, &loads).is_empty() {
                let saver = self.saver(first, &loads)?;
                self.saved.insert(id, saver);
                continue;
            }
            let drawn = decided.and_then(|offer| agent_of(offer.target));
            match self.choose(first, rules, drawn, &loads) {
                Ok(offer) => return Some(offer),
                Err(rest) => self.lines.get_mut(&id).unwrap().rest_until = Some(rest),
            }
        }
    }

    /// Whose turn it is for this item, or until when it rests.
    fn choose(
        &self,
        line: &Line,
        rules: &Rules,
        drawn: Option<AgentId>,
        loads: &Loads,
    ) -> Result<Offer, Instant> {
        let (config, queued) = (&rules.config, line.queued().unwrap());
        let eligible = self.eligible(line, loads);
        if queued.overflowed || config.mode == Mode::Everyone {
            return Ok(self.to_everyone(line, rules, loads));
        }
        let passed = |agent: &AgentId| line.view.passed_by.contains(agent);
        let fresh: Vec<AgentId> = eligible.iter().filter(|agent| !passed(agent)).copied().collect();
        let new_round = fresh.is_empty();
        if new_round && line.passed_at + ROUND_PAUSE > self.now {
            return Err(line.passed_at + ROUND_PAUSE);
        }
        let asked = if new_round { eligible } else { fresh };
        let order = self.order(line, rules, asked, drawn, loads);
        Ok(self.to(line, rules, order, loads))
    }

    fn to_everyone(&self, line: &Line, rules: &Rules, loads: &Loads) -> Offer {
        Offer {
            interaction: line.view.interaction,
            version: line.view.version,
            campaign: rules.config.campaign,
            target: Target::Everyone,
            deadline: None,
            record: self.record(line, &rules.config, loads),
        }
    }

    /// The offer to the first of these, of whom the second is the next best.
    fn to(&self, line: &Line, rules: &Rules, order: Vec<AgentId>, loads: &Loads) -> Offer {
        let (config, winner) = (&rules.config, order[0]);
        let passed = |agent: &AgentId| line.view.passed_by.contains(agent);
        let mut offer = self.to_everyone(line, rules, loads);
        offer.target = Target::Agent(winner);
        offer.deadline = config.accept_timeout.map(|timeout| self.now + timeout);
        let passed_by = self.eligible(line, loads).iter().filter(|agent| passed(agent)).count() as u32;
        offer.record.removed[rule_index(Rule::Passed)] = passed_by;
        offer.record.winner = Some(winner);
        offer.record.next_best = order.get(1).copied();
        offer.record.new_round = passed(&winner);
        let stored = config.mode == Mode::RoundRobin && rules.is_usual(&self.need(line));
        offer.record.pointer = stored.then_some(winner);
        offer
    }

    /// Those who are asked, best first.
    fn order(
        &self,
        line: &Line,
        rules: &Rules,
        mut asked: Vec<AgentId>,
        drawn: Option<AgentId>,
        loads: &Loads,
    ) -> Vec<AgentId> {
        let (config, size) = (&rules.config, rules.config.members.len() as u32);
        let position =
            |agent: &AgentId| config.members.iter().position(|member| member == agent).unwrap() as u32;
        match config.mode {
            Mode::Everyone => {}
            Mode::RoundRobin => {
                let first = rules.pointer_for(&self.need(line)).map_or(0, |pointer| pointer + 1);
                asked.sort_by_key(|agent| (position(agent) + size - first) % size);
            }
            Mode::LeastBusy => asked.sort_by_key(|agent| {
                let load = loads.get(&(*agent, config.channel)).copied().unwrap_or(0);
                (load, self.agents[agent].last_offered[lane(config.channel)], position(agent))
            }),
            Mode::LongestIdle => asked.sort_by_key(|agent| {
                let member = &self.agents[agent];
                let busy = loads.get(&(*agent, config.channel)).is_some_and(|load| *load > 0);
                let since = if busy { member.last_offered } else { member.idle_since };
                (busy, since[lane(config.channel)], position(agent))
            }),
            // Nobody can say whom chance picks; that it is one of these is all there is to check.
            Mode::Random => asked.sort_by_key(|agent| Some(*agent) != drawn),
        }
        asked
    }

    fn record(&self, line: &Line, config: &CampaignConfig, loads: &Loads) -> DecisionRecord {
        let mut removed = [0; RULES.len()];
        let need = self.need(line);
        let rule = |member: &AgentId| {
            let unfit = || self.unfit(&need, *member, config.channel, loads);
            self.kept_away(*member, config.channel, loads).or_else(unfit)
        };
        for rule in config.members.iter().filter_map(rule) {
            removed[rule_index(rule)] += 1;
        }
        DecisionRecord {
            config_version: config.version,
            mode: config.mode,
            winner: None,
            candidates: config.members.len() as u32,
            removed,
            next_best: None,
            score: 0,
            pointer: None,
            new_round: false,
        }
    }
}

pub fn rule_index(rule: Rule) -> usize {
    RULES.iter().position(|other| *other == rule).unwrap()
}

/// An offer without what the reference does not compute (the score) or cannot foresee (whom chance would pick next).
pub fn comparable(offer: &Offer) -> Offer {
    let mut offer = *offer;
    offer.record.score = 0;
    if offer.record.mode == Mode::Random {
        offer.record.next_best = None;
    }
    offer
}
