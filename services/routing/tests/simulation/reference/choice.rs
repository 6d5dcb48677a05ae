//! What must be decided now.

use std::cmp::Reverse;

use hilo_routing::domain::*;

use super::{Line, Loads, ROUND_PAUSE, Reference, Rules, lane};

/// Order of service.
pub type Turn = (Reverse<i32>, Instant, InteractionId);

impl Reference {
    /// Place in the order of service of an item that is queued.
    pub fn turn(&self, line: &Line) -> Option<Turn> {
        let queued = line.queued()?;
        Some((Reverse(line.view.priority), queued.waiting_since, line.view.interaction))
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

    /// The offer that must be made next, if any; `drawn` is whom the mode `random` drew.
    pub fn next_offer(&mut self, drawn: Option<AgentId>) -> Option<Offer> {
        loop {
            let loads = self.loads();
            let offerable = |line: &&Line| {
                let config = &self.campaigns[&line.view.campaign].config;
                line.is_ready(self.now) && config.active && !self.eligible(config, &loads).is_empty()
            };
            let first = self.lines.values().filter(offerable).min_by_key(|line| self.turn(line))?;
            let (id, rules) = (first.view.interaction, &self.campaigns[&first.view.campaign]);
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
        let eligible = self.eligible(config, loads);
        let record = self.record(config, loads);
        let mut offer = Offer {
            interaction: line.view.interaction,
            version: line.view.version,
            campaign: config.campaign,
            target: Target::Everyone,
            deadline: None,
            record,
        };
        if queued.overflowed || config.mode == Mode::Everyone {
            return Ok(offer);
        }
        let passed = |agent: &AgentId| line.view.passed_by.contains(agent);
        let fresh: Vec<AgentId> = eligible.iter().filter(|agent| !passed(agent)).copied().collect();
        let new_round = fresh.is_empty();
        if new_round && line.passed_at + ROUND_PAUSE > self.now {
            return Err(line.passed_at + ROUND_PAUSE);
        }
        let asked = if new_round { eligible.clone() } else { fresh };
        let order = self.order(rules, asked, drawn, loads);
        let winner = order[0];
        offer.target = Target::Agent(winner);
        offer.deadline = config.accept_timeout.map(|timeout| self.now + timeout);
        let passed_by = eligible.iter().filter(|agent| passed(agent)).count() as u32;
        offer.record.removed[rule_index(Rule::Passed)] = passed_by;
        offer.record.winner = Some(winner);
        offer.record.next_best = order.get(1).copied();
        offer.record.new_round = new_round;
        offer.record.pointer = (config.mode == Mode::RoundRobin).then_some(winner);
        Ok(offer)
    }

    /// Those who are asked, best first.
    fn order(
        &self,
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
                let first = rules.pointer.map_or(0, |pointer| pointer + 1);
                asked.sort_by_key(|agent| (position(agent) + size - first) % size);
            }
            Mode::LeastBusy => asked.sort_by_key(|agent| {
                let load = loads.get(&(*agent, config.channel)).copied().unwrap_or(0);
                (load, self.agents[agent].last_offered[lane(config.channel)], position(agent))
            }),
            // Nobody can say whom chance picks; that it is one of these is all there is to check.
            Mode::Random => asked.sort_by_key(|agent| Some(*agent) != drawn),
        }
        asked
    }

    fn record(&self, config: &CampaignConfig, loads: &Loads) -> DecisionRecord {
        let mut removed = [0; RULES.len()];
        for rule in config.members.iter().filter_map(|member| self.kept_away(*member, config.channel, loads))
        {
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
