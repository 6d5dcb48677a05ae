//! What an item asks of whoever takes it: skills, capacity, a certain person. Items that ask for the same make a class.

use std::sync::Arc;

use super::agent::{Agents, Presence};
use super::campaign::Campaign;
use super::ids::{AgentId, SkillId};
use super::item::{Item, Wait};
use super::time::{Instant, Span};

/// How well somebody masters a skill, or must; higher is better.
pub type Level = u8;

/// A skill at a level: what somebody has, or what is asked at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Skill {
    /// Which.
    pub skill: SkillId,
    /// How well.
    pub level: Level,
}

/// Whom the item is kept for at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preferred {
    /// Him: while he is a member, not gone, and has not let it pass.
    pub agent: AgentId,
    /// Until then; afterwards it is for everybody.
    pub until: Instant,
}

/// What an item asks for by itself, beyond what its campaign asks for every item.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    /// Skills, besides the campaign's.
    pub skills: Vec<Skill>,
    /// How much of an agent's capacity in the channel it takes; 0 means 1, as without a demand.
    pub weight: u32,
    /// True for a customer who goes before others by the campaign's bonus.
    pub vip: bool,
    /// Whom it is kept for at first.
    pub preferred: Option<Preferred>,
}

/// A step by which a requirement is relaxed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relaxation {
    /// Takes effect when the customer has waited this long.
    pub after: Span,
    /// The skill.
    pub skill: SkillId,
    /// From then on this level suffices, if more was asked; `None` drops the requirement.
    pub level: Option<Level>,
}

/// How a campaign chooses among items and agents beyond its mode. The default asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Skills that every item of the campaign asks for.
    pub required: Vec<Skill>,
    /// How requirements, the campaign's and the items' own, are relaxed while the customer waits.
    pub relaxation: Vec<Relaxation>,
    /// The effective priority of an item rises by one each time it has waited this long; `None`, or nothing, is off.
    /// Off, a priority always goes before a lower one. On, it is worth so much waiting, and items count as of priority 0
    /// that began to wait so much earlier, also where they meet items of campaigns without ageing.
    pub ageing: Option<Span>,
    /// Added to the priority of a VIP's items.
    pub vip_bonus: i32,
    /// An item heavier than 1 that waited this long in the queue of the campaign, because it fits nobody's free capacity,
    /// has the next capacity that frees saved for it; `None` is never. In the service this is the overflow time.
    pub saving_after: Option<Span>,
}

impl Selection {
    /// The skills an item asks for, the campaign's and its own, as relaxed by now for a customer who waits since then: each
    /// once, by skill.
    pub fn asked(&self, own: &[Skill], waiting_since: Instant, now: Instant) -> Vec<Skill> {
        let mut skills = merged(&self.required, own);
        for step in self.relaxation.iter().filter(|step| waiting_since + step.after <= now) {
            match step.level {
                None => skills.retain(|asked| asked.skill != step.skill),
                Some(level) => {
                    let lowered = skills.iter_mut().filter(|asked| asked.skill == step.skill);
                    lowered.for_each(|asked| asked.level = asked.level.min(level));
                }
            }
        }
        skills
    }

    /// The first instant from now on at which these skills suffice for it; `None` when they never will.
    pub fn suffice_at(
        &self,
        own: &[Skill],
        waiting_since: Instant,
        now: Instant,
        skills: &[Skill],
    ) -> Option<Instant> {
        let mut instants: Vec<Instant> =
            self.relaxation.iter().map(|step| waiting_since + step.after).filter(|at| *at > now).collect();
        instants.push(now);
        instants.sort_unstable();
        instants.into_iter().find(|at| suffices(&self.asked(own, waiting_since, *at), skills))
    }
}

/// True when these skills are what is asked at least.
pub fn suffices(asked: &[Skill], skills: &[Skill]) -> bool {
    let has = |asked: &Skill| skills.iter().any(|own| own.skill == asked.skill && own.level >= asked.level);
    asked.iter().all(has)
}

/// What a class of items asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Need {
    /// By skill, each once.
    pub(super) skills: Vec<Skill>,
    pub(super) weight: u32,
    pub(super) reserved_for: Option<AgentId>,
}

impl Need {
    /// What an item asks for that asks for nothing.
    pub(super) const NOTHING: Self = Self { skills: Vec::new(), weight: 1, reserved_for: None };

    /// What an item asks for now.
    pub(super) fn of(item: &Item, wait: Wait, campaign: &Campaign, agents: &Agents, now: Instant) -> Self {
        let selection = &campaign.config.selection;
        if wait.overflowed || (item.demand.is_none() && selection.required.is_empty()) {
            return Self::NOTHING;
        }
        let own = item.demand.as_ref().map_or(&[][..], |demand| &demand.skills);
        let skills = selection.asked(own, wait.since, now);
        let preferred = item.preferred_at(now).map(|preferred| preferred.agent);
        let here = |agent: &AgentId| {
            let known = agents.get(*agent).is_some_and(|known| known.is_here() && known.is_member(campaign));
            known && !item.has_passed(*agent)
        };
        Self { skills, weight: item.weight(), reserved_for: preferred.filter(here) }
    }

    /// True when these skills suffice.
    pub(super) fn suffices(&self, skills: &[Skill]) -> bool {
        suffices(&self.skills, skills)
    }
}

/// The campaign's skills and the item's own: each once, at the higher level, by skill.
pub(super) fn merged(required: &[Skill], own: &[Skill]) -> Vec<Skill> {
    let mut skills: Vec<Skill> = required.iter().chain(own).copied().collect();
    skills.sort_unstable_by_key(|asked| (asked.skill, std::cmp::Reverse(asked.level)));
    skills.dedup_by_key(|asked| asked.skill);
    skills
}

impl Item {
    /// How much capacity it takes.
    pub(super) fn weight(&self) -> u32 {
        self.demand.as_ref().map_or(1, |demand| demand.weight.max(1))
    }

    /// Whom it prefers while that holds.
    pub(super) fn preferred_at(&self, now: Instant) -> Option<Preferred> {
        self.demand.as_ref()?.preferred.filter(|preferred| preferred.until > now)
    }

    /// When what it asks for changes next by time alone.
    pub(super) fn need_changes_at(&self, wait: Wait, campaign: &Campaign, now: Instant) -> Option<Instant> {
        let selection = &campaign.config.selection;
        if wait.overflowed || (self.demand.is_none() && selection.required.is_empty()) {
            return None;
        }
        let steps = selection.relaxation.iter().map(|step| wait.since + step.after);
        let others =
            [self.preferred_at(now).map(|preferred| preferred.until), self.saving_at(wait, campaign)];
        steps.chain(others.into_iter().flatten()).filter(|at| *at > now).min()
    }

    /// From when on capacity is saved for it, if it is heavy.
    pub(super) fn saving_at(&self, wait: Wait, campaign: &Campaign) -> Option<Instant> {
        let after = campaign.config.selection.saving_after.filter(|_| self.weight() > 1 && !wait.overflowed);
        after.map(|after| wait.queued_at + after)
    }
}

impl super::agent::Agent {
    /// False when he is gone: nothing is kept for him then.
    pub(super) fn is_here(&self) -> bool {
        self.active && self.presence != Presence::Absent
    }

    fn is_member(&self, campaign: &Campaign) -> bool {
        let lane = self.lane(campaign.config.channel);
        lane.memberships.iter().any(|(id, _)| *id == campaign.config.campaign)
    }
}

/// A demand as items carry it: most have none, and those of one campaign often share theirs.
pub type SharedDemand = Option<Arc<Demand>>;
