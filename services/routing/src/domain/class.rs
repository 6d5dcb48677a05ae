//! The items of a campaign that ask for the same, and the members who could take one of them now.
//!
//! A class has an order of items and a pool of members of its own, so that an item which fits nobody stands in nobody's
//! way and none has to be looked at to find the next. Whatever becomes of an agent is noted in every class that is for
//! more than one person, and in those that are kept for him: that is what a class costs, and why only so many are kept in
//! which nothing waits. One in which something waits is always there, however many there are: whatever bound were set on
//! those, an item beyond it would wait while somebody could have it.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::{Agents, Indexed, Standing};
use super::campaign::{CampaignConfig, Mode, WaitKey};
use super::ids::AgentId;
use super::need::{Need, Skill};
use super::pool::Pool;

/// As many classes of a campaign that are for more than one person are kept though nothing waits in them: making one costs
/// a look at every member, and the next such item may come at once. Each change of an agent costs a step per class, a few
/// microseconds with this many. Beyond it a class lives only while something waits in it; a campaign whose waiting items
/// come in far more kinds is slower, and nobody waits longer in it for that.
pub(super) const KEPT_CLASSES: usize = 64;

/// The class of items that ask for nothing, which every campaign has.
pub(super) const PLAIN: u32 = 0;
/// Where an item is that does not wait.
pub(super) const NOWHERE: u32 = u32::MAX;

/// A class.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) need: Need,
    /// Members who could take an item of it now.
    pub(super) pool: Pool,
    /// Heavy classes: members who could but for their free capacity, most free capacity first, by position.
    pub(super) short: BTreeSet<(std::cmp::Reverse<u32>, u32)>,
    /// How many take offers and have the skills, whether the item fits their capacity or not.
    pub(super) skilled: u32,
    /// Items that wait without an offer and may be offered now.
    pub(super) waiting: BTreeSet<WaitKey>,
    /// Those of them for which capacity is to be saved, and is not yet.
    pub(super) starving: BTreeSet<WaitKey>,
    /// True while it is on the list of those to be matched.
    pub(super) listed: bool,
    /// While matching: the item it stands in the order of classes with.
    pub(super) lined_up: Option<WaitKey>,
}

impl Class {
    fn new(need: Need, mode: Mode, members: usize) -> Self {
        let pool = match need.reserved_for {
            Some(_) => Pool::new(Mode::LeastBusy, 0),
            None => Pool::new(mode, members),
        };
        let (waiting, starving) = (BTreeSet::new(), BTreeSet::new());
        Self {
            need,
            pool,
            short: BTreeSet::new(),
            skilled: 0,
            waiting,
            starving,
            listed: false,
            lined_up: None,
        }
    }

    fn is_for(&self, agent: AgentId, skills: &[Skill]) -> bool {
        self.need.reserved_for.is_none_or(|only| only == agent) && self.need.suffices(skills)
    }

    /// A member takes offers from now on.
    fn enter(&mut self, mode: Mode, lane: Indexed, position: u32) {
        self.skilled += 1;
        if lane.free() >= self.need.weight {
            self.pool.insert(lane.order(mode, position));
        } else if lane.capacity >= self.need.weight {
            self.short.insert((std::cmp::Reverse(lane.free()), position));
        }
    }

    /// A member who took offers takes none any more, given as he was when he entered.
    fn leave(&mut self, mode: Mode, lane: Indexed, position: u32) {
        self.skilled = self.skilled.saturating_sub(1);
        if lane.free() >= self.need.weight {
            self.pool.remove(lane.order(mode, position));
        } else {
            self.short.remove(&(std::cmp::Reverse(lane.free()), position));
        }
    }

    /// The item to be looked at next: to be offered, or to have capacity saved for it.
    pub(super) fn head(&self) -> Option<WaitKey> {
        if !self.pool.is_empty() {
            self.waiting.first().copied()
        } else if !self.short.is_empty() {
            self.starving.first().copied()
        } else {
            None
        }
    }
}

/// An agent's change as the classes see it: the standings and lane values before and after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub(super) agent: AgentId,
    pub(super) position: u32,
    pub(super) from: Option<Indexed>,
    pub(super) to: Option<Indexed>,
}

/// All classes of a campaign.
#[derive(Debug)]
pub(super) struct Classes {
    mode: Mode,
    slots: Vec<Option<Class>>,
    free: Vec<u32>,
    by_need: BTreeMap<Need, u32>,
    /// Those for more than one person; the plain one first.
    open: Vec<u32>,
    reserved: BTreeMap<AgentId, Vec<u32>>,
    /// Number of those that ask for a weight.
    heavy: u32,
}

impl Classes {
    pub(super) fn new(mode: Mode, members: usize) -> Self {
        Self {
            mode,
            slots: vec![Some(Class::new(Need::NOTHING, mode, members))],
            free: Vec::new(),
            by_need: BTreeMap::from([(Need::NOTHING, PLAIN)]),
            open: vec![PLAIN],
            reserved: BTreeMap::new(),
            heavy: 0,
        }
    }

    pub(super) fn get(&self, class: u32) -> Option<&Class> {
        self.slots.get(class as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, class: u32) -> Option<&mut Class> {
        self.slots.get_mut(class as usize)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Class> {
        self.slots.iter().flatten()
    }

    /// True when it matters here that an eligible member's load, or anything his order depends on, changed.
    pub(super) fn heed_loads(&self) -> bool {
        self.heavy > 0 || matches!(self.mode, Mode::LeastBusy | Mode::LongestIdle)
    }

    /// The class for a need, made if there is none, in the place of one in which nothing waits if there are many.
    pub(super) fn place(&mut self, need: &Need, config: &CampaignConfig, agents: &Agents) -> u32 {
        if let Some(class) = self.by_need.get(need) {
            return *class;
        }
        if need.reserved_for.is_none() && self.open.len() >= KEPT_CLASSES {
            let idle = |id: &u32| *id != PLAIN && self.get(*id).is_some_and(|class| class.waiting.is_empty());
            if let Some(idle) = self.open.iter().copied().find(idle) {
                self.drop_class(idle);
            }
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let mut class = Class::new(need.clone(), self.mode, config.members.len());
        let mode = self.mode;
        let mut enter = |member: AgentId, position: u32| {
            let Some(agent) = agents.get(member) else { return };
            let lane = agent.lane(config.channel);
            if lane.standing == Standing::Eligible && class.is_for(member, &agent.skills) {
                class.enter(mode, lane.indexed, position);
            }
        };
        match need.reserved_for {
            Some(only) => {
                let known = agents.get(only).map_or(&[][..], |agent| &agent.lane(config.channel).memberships);
                known
                    .iter()
                    .filter(|(id, _)| *id == config.campaign)
                    .for_each(|(_, position)| enter(only, *position));
                self.reserved.entry(only).or_default().push(id);
            }
            None => {
                (0..).zip(&config.members).for_each(|(position, member)| enter(*member, position));
                self.open.push(id);
            }
        }
        self.heavy += u32::from(need.weight > 1);
        self.by_need.insert(need.clone(), id);
        if let Some(place) = self.slots.get_mut(id as usize) {
            *place = Some(class);
        }
        id
    }

    /// Nothing waits in this class any more.
    pub(super) fn emptied(&mut self, id: u32) {
        let reserved = self.get(id).is_some_and(|class| class.need.reserved_for.is_some());
        if reserved || (id != PLAIN && self.open.len() > KEPT_CLASSES) {
            self.drop_class(id);
        }
    }

    fn drop_class(&mut self, id: u32) {
        let Some(class) = self.slots.get_mut(id as usize).and_then(Option::take) else { return };
        self.free.push(id);
        self.by_need.remove(&class.need);
        self.heavy -= u32::from(class.need.weight > 1);
        if let Some(agent) = class.need.reserved_for {
            if let Some(kept) = self.reserved.get_mut(&agent) {
                kept.retain(|other| *other != id);
                if kept.is_empty() {
                    self.reserved.remove(&agent);
                }
            }
        } else {
            self.open.retain(|other| *other != id);
        }
    }

    /// Brings every class in step with an agent's change, and answers those which then have something to do.
    pub(super) fn shift(&mut self, change: Move, skills: &[Skill], mut ready: impl FnMut(u32)) {
        let kept = self.reserved.get(&change.agent).map_or(&[][..], Vec::as_slice);
        for id in self.open.iter().chain(kept) {
            let Some(class) = self.slots.get_mut(*id as usize).and_then(Option::as_mut) else { continue };
            if !class.is_for(change.agent, skills) {
                continue;
            }
            if let Some(from) = change.from {
                class.leave(self.mode, from, change.position);
            }
            if let Some(to) = change.to {
                class.enter(self.mode, to, change.position);
            }
            if !class.listed && class.head().is_some() {
                class.listed = true;
                ready(*id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::campaign::Campaign;
    use crate::domain::ids::{CampaignId, InteractionId, SkillId};
    use crate::domain::time::Instant;

    #[test]
    fn classes_in_which_nothing_waits_do_not_pile_up() {
        let config = Campaign::undescribed(CampaignId(0)).config;
        let mut classes = Classes::new(Mode::RoundRobin, 0);
        let need =
            |number: u32| Need { skills: vec![Skill { skill: SkillId(number), level: 1 }], ..Need::NOTHING };
        let key = WaitKey {
            negated_priority: 0,
            waiting_since: Instant(0),
            interaction: InteractionId(0),
            slot: 0,
        };
        let mut made = Vec::new();
        for number in 0..500 {
            let id = classes.place(&need(number), &config, &Agents::default());
            classes.get_mut(id).expect("just made").waiting.insert(key);
            made.push(id);
        }
        assert_eq!(classes.open.len(), 501, "one each, while something waits in them");
        for id in made {
            classes.get_mut(id).expect("something waits in it").waiting.clear();
            classes.emptied(id);
        }
        assert_eq!(classes.open.len(), KEPT_CLASSES);
        for number in 500..600 {
            let id = classes.place(&need(number), &config, &Agents::default());
            classes.emptied(id);
        }
        assert_eq!(classes.open.len(), KEPT_CLASSES, "the next takes the place of another");
        assert_eq!(classes.slots.iter().flatten().count(), KEPT_CLASSES);
        assert!(classes.get(PLAIN).is_some());
    }
}
