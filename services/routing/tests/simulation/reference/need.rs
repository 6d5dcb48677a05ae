//! What items ask for, whom they fit, and whose capacity is saved for them.

use std::collections::BTreeMap;

use hilo_routing::domain::*;

use super::{Line, Loads, Reference, Rules, lane};
use crate::world::weight;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Need {
    pub skills: BTreeMap<SkillId, Level>,
    pub weight: u32,
    pub reserved_for: Option<AgentId>,
}

impl Rules {
    /// True when an item asks for exactly what the campaign asks of every item.
    pub fn is_usual(&self, need: &Need) -> bool {
        let mut usual = BTreeMap::new();
        ask(&mut usual, &self.config.selection.required);
        need.skills == usual && need.weight == 1 && need.reserved_for.is_none()
    }

    /// The member after whom the rotation goes on for an item.
    pub fn pointer_for(&self, need: &Need) -> Option<u32> {
        let side = self.side_pointers.get(need).copied().filter(|_| !self.is_usual(need));
        side.or(self.pointer)
    }
}

fn ask(skills: &mut BTreeMap<SkillId, Level>, asked: &[Skill]) {
    for one in asked {
        let level = skills.entry(one.skill).or_default();
        *level = (*level).max(one.level);
    }
}

impl Reference {
    pub fn need(&self, line: &Line) -> Need {
        let selection = &self.campaigns[&line.view.campaign].config.selection;
        let queued = line.queued().filter(|queued| !queued.overflowed);
        let mut skills = BTreeMap::new();
        let nothing = Need { skills: BTreeMap::new(), weight: 1, reserved_for: None };
        let Some(queued) = queued else { return nothing };
        ask(&mut skills, &selection.required);
        ask(&mut skills, line.view.demand.as_ref().map_or(&[], |demand| &demand.skills));
        for step in selection.relaxation.iter().filter(|step| queued.waiting_since + step.after <= self.now) {
            match step.level {
                None => {
                    skills.remove(&step.skill);
                }
                Some(level) => {
                    skills.entry(step.skill).and_modify(|asked| *asked = (*asked).min(level));
                }
            }
        }
        let preferred = line.view.demand.as_ref().and_then(|demand| demand.preferred);
        let members = &self.campaigns[&line.view.campaign].config.members;
        let here = |preferred: &Preferred| {
            preferred.until > self.now
                && members.contains(&preferred.agent)
                && self.is_here(preferred.agent)
                && !line.view.passed_by.contains(&preferred.agent)
        };
        let reserved_for = preferred.filter(here).map(|preferred| preferred.agent);
        Need { skills, weight: weight(&line.view), reserved_for }
    }

    pub fn is_here(&self, agent: AgentId) -> bool {
        let here = |member: &super::Member| member.view.active && member.presence != Presence::Absent;
        self.agents.get(&agent).is_some_and(here)
    }

    /// Why somebody who takes offers cannot have an item with this need.
    pub fn unfit(&self, need: &Need, agent: AgentId, channel: Channel, loads: &Loads) -> Option<Rule> {
        if need.reserved_for.is_some_and(|only| only != agent) {
            return Some(Rule::Reserved);
        }
        if !self.masters(need, agent) {
            // Of an item kept for one person nobody else is asked what he masters.
            return Some(Rule::Skill);
        }
        (self.free(agent, channel, loads) < need.weight).then_some(Rule::TooHeavy)
    }

    fn masters(&self, need: &Need, agent: AgentId) -> bool {
        let own = &self.agents[&agent].view.skills;
        let has = |(skill, level): (&SkillId, &Level)| {
            own.iter().any(|one| one.skill == *skill && one.level >= *level)
        };
        need.skills.iter().all(has)
    }

    pub fn free(&self, agent: AgentId, channel: Channel, loads: &Loads) -> u32 {
        let capacity = self.agents[&agent].view.capacity[lane(channel)];
        capacity.saturating_sub(loads.get(&(agent, channel)).copied().unwrap_or(0))
    }

    /// True when his capacity in the channel is saved for something.
    pub fn saves(&self, agent: AgentId, channel: Channel) -> bool {
        self.saved
            .iter()
            .any(|(id, by)| *by == agent && self.channel(self.lines[id].view.campaign) == channel)
    }

    /// A heavy item that waited so long that capacity is to be saved for it.
    pub fn is_starving(&self, line: &Line) -> bool {
        let (need, Some(queued)) = (self.need(line), line.queued()) else { return false };
        let after = self.campaigns[&line.view.campaign].config.selection.saving_after;
        need.weight > 1 && after.is_some_and(|after| queued.queued_at + after <= self.now)
    }

    /// Whose capacity to save for a starving item: who is free but not enough, could ever be, and lacks least.
    pub fn saver(&self, line: &Line, loads: &Loads) -> Option<AgentId> {
        let config = &self.campaigns[&line.view.campaign].config;
        let need = self.need(line);
        let could = |agent: &&AgentId| {
            self.kept_away(**agent, config.channel, loads).is_none()
                && self.unfit(&need, **agent, config.channel, loads) == Some(Rule::TooHeavy)
                && self.agents[*agent].view.capacity[lane(config.channel)] >= need.weight
        };
        let could: Vec<AgentId> = config.members.iter().filter(could).copied().collect();
        let free = |agent: &&AgentId| std::cmp::Reverse(self.free(**agent, config.channel, loads));
        let fresh = could.iter().filter(|agent| !line.view.passed_by.contains(agent)).min_by_key(free);
        fresh.or_else(|| could.iter().min_by_key(free)).copied()
    }

    /// A heavy item whose agent has enough free capacity by now.
    pub fn enough(&self, loads: &Loads) -> Vec<(InteractionId, AgentId)> {
        let enough = |(id, agent): &(&InteractionId, &AgentId)| {
            let line = &self.lines[id];
            let channel = self.channel(line.view.campaign);
            self.kept_away(**agent, channel, loads) == Some(Rule::Saving)
                && self.free(**agent, channel, loads) >= weight(&line.view)
        };
        self.saved.iter().filter(enough).map(|(id, agent)| (*id, *agent)).collect()
    }

    /// When what the item asks for changes by time alone, after this instant.
    pub fn need_changes_after(&self, line: &Line, after: Instant) -> Option<Instant> {
        let selection = &self.campaigns[&line.view.campaign].config.selection;
        let queued = line.queued()?;
        let steps = selection.relaxation.iter().map(|step| queued.waiting_since + step.after);
        let preferred = line.view.demand.as_ref().and_then(|demand| demand.preferred);
        let until = preferred.map(|preferred| preferred.until);
        steps.chain(until).filter(|at| *at > after).min()
    }
}
