//! What an item asks of whoever takes it, as the engine would say it, in the words of the contracts: for explanations.

use std::sync::Arc;

use hilo_proto::directory::v1::SkillLevel;
use hilo_proto::event::v1::InteractionSnapshot;
use hilo_proto::internal::v1::{RoutingAgent, RoutingCampaign};

use crate::convert::{self, Item};
use crate::domain::{
    Instant, ItemState, ItemView, Level, Preferred, Presence, Rule, Selection, Skill, Traits, suffices,
};
use crate::names::Names;

/// What it asks for now.
#[derive(Debug)]
pub struct Asked {
    names: Names,
    selection: Selection,
    now: Instant,
    waiting_since: Instant,
    /// False once it rings at everyone: then it asks for nothing.
    choosy: bool,
    weight: u32,
    preferred: Option<Preferred>,
    passed_by: Vec<String>,
    reserved_for: Option<(Arc<str>, Instant)>,
}

impl Asked {
    /// Of an item of the campaign; without a snapshot, of one of which nothing is known any more but its campaign.
    pub fn of(campaign: &RoutingCampaign, snapshot: Option<&InteractionSnapshot>, now: Instant) -> Self {
        let mut names = Names::default();
        let selection = convert::campaign(campaign, 0, &mut names).selection;
        let view = snapshot.and_then(|one| match convert::item(one, &mut names) {
            Ok(Item::Live(view)) => Some(view),
            // What contradicts its contract is not offered either, for a reason that is logged where it is met.
            Ok(Item::Ended { .. }) | Err(_) => None,
        });
        let since = snapshot.and_then(|one| one.waiting_since.as_ref()).map_or(now, convert::instant);
        let demand = view.as_ref().and_then(|view| view.demand.as_deref());
        let overflowed = |view: &ItemView| match view.state {
            ItemState::Queued(queued) => queued.overflowed,
            ItemState::Open(_) => false,
        };
        Self {
            selection,
            now,
            waiting_since: since,
            choosy: !view.as_ref().is_some_and(overflowed),
            weight: demand.map_or(1, |demand| demand.weight.max(1)),
            preferred: demand.and_then(|demand| demand.preferred).filter(|preferred| preferred.until > now),
            passed_by: snapshot.map(|one| one.passed_by.clone()).unwrap_or_default(),
            reserved_for: None,
            names,
        }
    }

    /// Finds out whether whom it prefers is a member, not gone, and has not let it pass: only then it is kept for him.
    pub fn reserve(&mut self, members: &[RoutingAgent], presences: &[Presence]) {
        let Some(preferred) = self.preferred.filter(|_| self.choosy) else { return };
        let key = self.names.agent_key(preferred.agent);
        let here = members.iter().zip(presences).any(|(member, presence)| {
            member.agent_key == *key && member.active && *presence != Presence::Absent
        });
        let passed = self.passed_by.iter().any(|passed| **passed == *key);
        self.reserved_for = (here && !passed).then_some((key, preferred.until));
    }

    /// Whom it is kept for, and until when at the latest.
    pub fn reserved_for(&self) -> Option<(&str, Instant)> {
        self.reserved_for.as_ref().map(|(key, until)| (&**key, *until))
    }

    /// How much capacity it takes.
    pub fn weight(&self) -> u32 {
        if self.choosy { self.weight } else { 1 }
    }

    fn required(&self) -> Vec<Skill> {
        if self.choosy { self.selection.asked(&[], self.waiting_since, self.now) } else { Vec::new() }
    }

    /// The skills it asks for now.
    pub fn skills(&self) -> Vec<SkillLevel> {
        let named = |asked: Skill| SkillLevel {
            skill_key: self.names.skill_key(asked.skill).to_string(),
            level: asked.level.into(),
        };
        self.required().into_iter().map(named).collect()
    }

    /// Why it is not for a member although he takes offers; the order of the rules is that of the engine.
    pub fn unfit(&mut self, member: &RoutingAgent, traits: Traits) -> Option<Rule> {
        if self.reserved_for().is_some_and(|(key, _)| key != member.agent_key) {
            return Some(Rule::Reserved);
        }
        let skills = convert::agent(member, &mut self.names).skills;
        if !suffices(&self.required(), &skills) {
            return Some(Rule::Skill);
        }
        (traits.capacity.saturating_sub(traits.load) < self.weight()).then_some(Rule::TooHeavy)
    }

    /// The skills a member lacks: which, the level asked for, his level.
    pub fn lacking(&mut self, member: &RoutingAgent) -> Vec<(Arc<str>, Level, Level)> {
        let own = convert::agent(member, &mut self.names).skills;
        let level = |asked: &Skill| {
            let of_skill = own.iter().filter(|one| one.skill == asked.skill);
            of_skill.map(|one| one.level).max().unwrap_or(0)
        };
        let lacking = self.required().into_iter().filter(|asked| level(asked) < asked.level);
        lacking.map(|asked| (self.names.skill_key(asked.skill), asked.level, level(&asked))).collect()
    }

    /// When a member's skills will suffice, if they do not now.
    pub fn suffice_at(&mut self, member: &RoutingAgent) -> Option<Instant> {
        let own = convert::agent(member, &mut self.names).skills;
        self.selection.suffice_at(&[], self.waiting_since, self.now, &own)
    }
}
