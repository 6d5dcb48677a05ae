//! The engine: applies one input at one instant and answers what it wants done.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::{Agents, Presence};
use super::campaign::Campaign;
use super::class::NOWHERE;
use super::decision::{Decision, ExpireReason};
use super::ids::{AgentId, CampaignId, InteractionId};
use super::input::{Input, ItemView, Target};
use super::item::{Item, Passes, State, Trail, Wait};
use super::items::Items;
use super::random::Random;
use super::time::Instant;
use super::timers::{Timer, TimerKind, Timers};
use super::view::EngineView;

/// Most decisions of one call, so that a burst (ten thousand items that ring at everyone when the first agent arrives)
/// does not hold up everything else. What is left follows with the next call: `next_deadline` is then the present.
pub const MAX_DECISIONS: usize = 4_096;

/// The routing engine of one partition.
#[derive(Debug)]
pub struct Engine {
    pub(super) agents: Agents,
    pub(super) campaigns: Vec<Campaign>,
    pub(super) items: Items,
    pub(super) timers: Timers,
    /// Classes of campaigns in which something waits and somebody is eligible.
    pub(super) listed: Vec<(CampaignId, u32)>,
    /// Items that wait and are or could be kept for an agent, by him.
    pub(super) preferring: BTreeSet<(AgentId, u32)>,
    /// Slots of heavy items for which an agent's capacity is saved.
    pub(super) kept: BTreeMap<u32, AgentId>,
    /// Those of them for which it is enough now.
    pub(super) enough: Vec<(u32, AgentId)>,
    /// Those of them whose agent is of no use any more.
    pub(super) unsuited: Vec<u32>,
    /// Slots whose timer must be looked at before the call returns.
    pub(super) touched: Vec<u32>,
    pub(super) random: Random,
    /// The latest instant seen; time never goes back inside the engine.
    pub(super) now: Instant,
    /// Length the caller's list may reach in this call.
    pub(super) limit: usize,
}

impl Engine {
    /// An empty engine; `seed` feeds the mode `random` and nothing else.
    pub fn new(seed: u64) -> Self {
        Self {
            agents: Agents::default(),
            campaigns: Vec::new(),
            items: Items::default(),
            timers: Timers::default(),
            listed: Vec::new(),
            preferring: BTreeSet::new(),
            kept: BTreeMap::new(),
            enough: Vec::new(),
            unsuited: Vec::new(),
            touched: Vec::new(),
            random: Random::new(seed),
            now: Instant(i64::MIN),
            limit: MAX_DECISIONS,
        }
    }

    /// Applies one input and answers the decisions that follow from it and from the time passed.
    pub fn apply(&mut self, input: Input, now: Instant) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.apply_into(input, now, &mut decisions);
        decisions
    }

    /// As [`Self::apply`], appending to a list the caller uses again.
    pub fn apply_into(&mut self, input: Input, now: Instant, decisions: &mut Vec<Decision>) {
        self.now = self.now.max(now);
        self.limit = decisions.len() + MAX_DECISIONS;
        match input {
            Input::Campaign(config) => self.set_campaign(config),
            Input::CampaignRemoved(campaign) => self.remove_campaign(campaign),
            Input::Agent(view) => self.set_agent(&view, decisions),
            Input::Presence { agent, presence } => self.set_presence(agent, presence, decisions),
            Input::Presences(changes) => {
                for (agent, presence) in changes {
                    self.set_presence(agent, presence, decisions);
                }
            }
            Input::Item(view) => self.merge(view, decisions),
            Input::Gone { interaction, version } => self.gone(interaction, version),
            Input::Answer(answer) => self.answered(answer, decisions),
            Input::Tick => {}
        }
        self.settle_timers();
        self.fire_due(decisions);
        self.release_unsuited();
        self.match_waiting(decisions);
        self.settle_timers();
    }

    /// Lets time pass: fires every timer that is due.
    pub fn tick(&mut self, now: Instant) -> Vec<Decision> {
        self.apply(Input::Tick, now)
    }

    /// When `tick` must be called at the latest; `None` when nothing depends on time alone. It may be earlier than
    /// needed (a timer that no longer counts, the begin of a bucket of timers); such a tick finds nothing to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.listed.is_empty() { self.timers.first() } else { Some(self.now) }
    }

    /// Number of live items.
    pub fn live_items(&self) -> usize {
        self.items.len()
    }

    /// Items that wait without an offer, over all campaigns.
    pub fn waiting_items(&self) -> usize {
        let of =
            |campaign: &Campaign| campaign.classes.iter().map(|class| class.waiting.len()).sum::<usize>();
        self.campaigns.iter().map(of).sum()
    }

    /// The version an item is known with.
    pub fn version_of(&self, interaction: InteractionId) -> Option<i64> {
        Some(self.items.get(self.items.find(interaction)?)?.version)
    }

    /// Every live item with its version; for comparing with a snapshot.
    pub fn live(&self) -> impl Iterator<Item = (InteractionId, i64)> + '_ {
        self.items.iter().map(|(_, item)| (item.interaction, item.version))
    }

    /// The whole state in a canonical form.
    pub fn view(&self) -> EngineView {
        EngineView::of(self)
    }

    pub(super) fn campaign(&self, campaign: CampaignId) -> Option<&Campaign> {
        self.campaigns.get(campaign.0 as usize)
    }

    /// The campaign, undescribed if nobody has described it yet.
    pub(super) fn campaign_mut(&mut self, campaign: CampaignId) -> &mut Campaign {
        while self.campaigns.len() <= campaign.0 as usize {
            let next = CampaignId(self.campaigns.len() as u32);
            self.campaigns.push(Campaign::undescribed(next));
        }
        self.campaigns.get_mut(campaign.0 as usize).expect("invariant: filled up to the index")
    }

    /// Takes over a committed state if it is newer than what is known.
    pub(super) fn merge(&mut self, view: ItemView, decisions: &mut Vec<Decision>) {
        self.campaign_mut(view.campaign);
        let slot = match self.items.find(view.interaction) {
            None => self.admit(view),
            Some(slot) => {
                let Some(item) = self.items.get(slot) else { return };
                if view.version <= item.version {
                    return;
                }
                let same = item.campaign == view.campaign && item.priority == view.priority;
                if !same || item.demand != view.demand {
                    self.discard(slot);
                    self.admit(view)
                } else {
                    self.renew(slot, view);
                    slot
                }
            }
        };
        self.withdraw_if_unavailable(slot, decisions);
    }

    fn admit(&mut self, view: ItemView) -> u32 {
        let passes = Passes::of(view.passed_by, Instant(i64::MIN));
        let trail = Trail::of(view.overflowed_from);
        let slot = self.items.insert(Item {
            interaction: view.interaction,
            version: view.version,
            campaign: view.campaign,
            priority: view.priority,
            state: State::Overflowing(Wait::NEVER, None),
            demand: view.demand,
            passes,
            trail,
            rest_until: None,
            timer: None,
            resting: false,
            seat: 0,
            place: NOWHERE,
        });
        self.transition(slot, State::committed(view.state), None);
        slot
    }

    fn renew(&mut self, slot: u32, view: ItemView) {
        let now = self.now;
        if let Some(item) = self.items.get_mut(slot) {
            item.version = view.version;
            item.trail = Trail::of(view.overflowed_from);
            let passes = Passes::of(view.passed_by, now);
            if passes.as_ref().map(|new| &new.by) != item.passes.as_ref().map(|old| &old.by) {
                item.passes = passes;
            }
        }
        self.transition(slot, State::committed(view.state), None);
    }

    fn gone(&mut self, interaction: InteractionId, version: i64) {
        if let Some(slot) = self.items.find(interaction)
            && self.items.get(slot).is_some_and(|item| item.version <= version)
        {
            self.discard(slot);
        }
    }

    /// Removes an item from every index.
    pub(super) fn discard(&mut self, slot: u32) {
        self.transition(slot, State::Overflowing(Wait::NEVER, None), None);
        if let Some(at) = self.items.remove(slot).and_then(|item| item.timer) {
            self.timers.forget(at);
        }
    }

    /// The one way an item changes its state: keeps queue, loads and timers in step.
    pub(super) fn transition(&mut self, slot: u32, state: State, rest_until: Option<Instant>) {
        self.unqueue(slot);
        let Some(item) = self.items.get_mut(slot) else { return };
        let old = std::mem::replace(&mut item.state, state);
        item.rest_until = rest_until;
        let id = item.campaign;
        self.touched.push(slot);
        let Some(campaign) = self.campaigns.get(id.0 as usize) else { return };
        let channel = campaign.config.channel;
        if old.holder() != state.holder() {
            self.hand_over(old.holder(), state.holder(), channel);
        }
        if old.occupant() != state.occupant() {
            if let Some(agent) = old.occupant() {
                self.unseat(agent, channel, slot);
            }
            if let Some(agent) = state.occupant() {
                self.seat(agent, channel, slot);
            }
        }
        self.enqueue(slot);
    }

    /// Ends a committed offer that rings at somebody who is not there to hear it.
    pub(super) fn withdraw_if_unavailable(&mut self, slot: u32, decisions: &mut Vec<Decision>) {
        let Some(item) = self.items.get(slot) else { return };
        let State::Ringing(_, ringing) = item.state else { return };
        let Target::Agent(agent) = ringing.target else { return };
        let Some(agent) = self.agents.get(agent) else { return };
        if agent.may_keep_offers() || agent.version == i64::MIN {
            return;
        }
        let reason = if agent.active && agent.presence != Presence::Absent {
            ExpireReason::AgentPaused
        } else {
            ExpireReason::AgentAbsent
        };
        self.expire(slot, reason, decisions);
    }

    pub(super) fn expire(&mut self, slot: u32, reason: ExpireReason, decisions: &mut Vec<Decision>) {
        let Some(item) = self.items.get(slot) else { return };
        let State::Ringing(wait, ringing) = item.state else { return };
        let (interaction, version) = (item.interaction, item.version);
        decisions.push(Decision::Expire { interaction, version, offer: ringing.offer, reason });
        self.transition(slot, State::Expiring(wait, ringing), None);
    }

    fn settle_timers(&mut self) {
        let now = self.now;
        while let Some(slot) = self.touched.pop() {
            let Some(item) = self.items.get_mut(slot) else { continue };
            let campaign = self.campaigns.get(item.campaign.0 as usize);
            let wake = campaign.and_then(|campaign| item.wake_at(campaign, now));
            if wake == item.timer {
                continue;
            }
            if let Some(at) = std::mem::replace(&mut item.timer, wake) {
                self.timers.forget(at);
            }
            if let Some(at) = wake {
                self.timers.push(Timer { at, kind: TimerKind::Item { slot } });
            }
        }
        let (items, agents) = (&self.items, &self.agents);
        self.timers.sweep_some(|timer| counts(items, agents, timer));
    }

    fn fire_due(&mut self, decisions: &mut Vec<Decision>) {
        while decisions.len() < self.limit {
            let (items, agents) = (&self.items, &self.agents);
            let Some(timer) = self.timers.pop_due(self.now, |timer| counts(items, agents, timer)) else {
                return;
            };
            match timer.kind {
                TimerKind::Hold { agent, channel } => self.release_hold(agent, channel),
                TimerKind::Item { slot } => self.wake(slot, decisions),
            }
            self.settle_timers();
        }
    }

    fn wake(&mut self, slot: u32, decisions: &mut Vec<Decision>) {
        let Some(item) = self.items.get_mut(slot) else { return };
        item.timer = None;
        let (state, resting) = (item.state, item.rest_until.is_some());
        let Some(item) = self.items.get(slot) else { return };
        let Some(campaign) = self.campaign(item.campaign) else { return };
        let overflow_due = item.overflow_at(campaign).is_some_and(|at| at <= self.now);
        let subject = (item.interaction, item.version);
        match state {
            State::Waiting(wait) | State::Ringing(wait, _) if overflow_due => {
                let ringing = if let State::Ringing(_, ringing) = state { Some(ringing) } else { None };
                decisions.push(Decision::Overflow { interaction: subject.0, version: subject.1 });
                self.transition(slot, State::Overflowing(wait, ringing), None);
            }
            State::Ringing(_, ringing) if ringing.deadline.is_some_and(|at| at <= self.now) => {
                self.expire(slot, ExpireReason::AcceptTimeout, decisions);
            }
            // A rest has ended, or what it asks for is less from now on.
            State::Waiting(_) => self.transition(slot, state, None),
            State::Ringing(..) if resting => self.transition(slot, state, None),
            State::Ringing(..)
            | State::Offering(..)
            | State::Expiring(..)
            | State::Overflowing(..)
            | State::Open(_) => self.touched.push(slot),
        }
    }
}

/// True while a timer in the heap still means something.
fn counts(items: &Items, agents: &Agents, timer: &Timer) -> bool {
    match timer.kind {
        TimerKind::Item { slot } => items.get(slot).is_some_and(|item| item.timer == Some(timer.at)),
        TimerKind::Hold { agent, channel } => {
            agents.get(agent).is_some_and(|agent| agent.lane(channel).held_until == Some(timer.at))
        }
    }
}
