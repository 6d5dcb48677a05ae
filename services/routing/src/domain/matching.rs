//! Matching: the longest waiting item of all campaigns that can offer, to the member whose turn it is, again and again
//! until nothing waits or nobody is left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::agent::{NEVER_HELD, Standing};
use super::campaign::{Campaign, Mode, WaitKey};
use super::class::Class;
use super::decision::{Decision, DecisionRecord, Offer, Unfit};
use super::engine::Engine;
use super::ids::{AgentId, CampaignId};
use super::input::Target;
use super::item::{Item, State};
use super::pool::Pick;
use super::random::Random;
use super::time::{Instant, Span};

/// Pause between two rounds of an item that everybody eligible let pass, counted from the last pass. It lets the items
/// behind it ring first, and keeps a client that declines by itself from making an endless loop of offers.
pub(super) const ROUND_PAUSE: Span = Span::seconds(1);

/// What to do with the item at the head of a queue.
enum Choice {
    Everyone,
    Agent { pick: Pick, winner: AgentId, new_round: bool },
    Rest(Instant),
}

/// A class with its first item, in the order of service.
type Head = Reverse<(WaitKey, CampaignId, u32)>;

impl Engine {
    /// Serves the listed classes, oldest item first among all of them.
    pub(super) fn match_waiting(&mut self, decisions: &mut Vec<Decision>) {
        self.serve_saved(decisions);
        if self.listed.is_empty() {
            return;
        }
        let mut heads: BinaryHeap<Head> = BinaryHeap::new();
        loop {
            self.take_listed(&mut heads);
            let Some(Reverse((key, id, class))) = heads.pop() else { return };
            if !self.is_lined_up(id, class, key) {
                continue;
            }
            if decisions.len() >= self.limit {
                self.listed.push((id, class));
                break;
            }
            if self.campaign(id).and_then(|campaign| campaign.head(class)) == Some(key) {
                self.serve(key.slot, id, class, decisions);
                self.release_unsuited();
                self.serve_saved(decisions);
            }
            heads.extend(self.next_head(id, class));
        }
        for Reverse((key, id, class)) in heads {
            if self.is_lined_up(id, class, key) {
                self.listed.push((id, class));
            }
        }
    }

    /// Takes a class out of the line, unless it stands there with another item by now.
    fn is_lined_up(&mut self, id: CampaignId, class: u32, key: WaitKey) -> bool {
        let class =
            self.campaigns.get_mut(id.0 as usize).and_then(|campaign| campaign.classes.get_mut(class));
        class.is_some_and(|class| class.lined_up.take_if(|lined_up| *lined_up == key).is_some())
    }

    fn take_listed(&mut self, heads: &mut BinaryHeap<Head>) {
        while let Some((id, class)) = self.listed.pop() {
            heads.extend(self.next_head(id, class));
        }
    }

    /// What a class on the list has to do next; one without anything is taken off the list.
    fn next_head(&mut self, id: CampaignId, class: u32) -> Option<Head> {
        let campaign = self.campaigns.get_mut(id.0 as usize)?;
        let head = campaign.head(class);
        let found = campaign.classes.get_mut(class)?;
        found.listed = head.is_some();
        let before = std::mem::replace(&mut found.lined_up, head);
        head.filter(|_| before != head).map(|key| Reverse((key, id, class)))
    }

    /// Heavy items whose agent has enough capacity by now.
    fn serve_saved(&mut self, decisions: &mut Vec<Decision>) {
        while let Some((slot, agent)) = self.enough.pop() {
            let Some(item) = self.items.get(slot).filter(|_| self.kept.get(&slot) == Some(&agent)) else {
                continue;
            };
            let (id, class, has_passed) = (item.campaign, item.place, item.has_passed(agent));
            let (Some(campaign), Some(known)) = (self.campaign(id), self.agents.get(agent)) else { continue };
            let lane = known.lane(campaign.config.channel);
            if lane.standing != Standing::Saving || lane.indexed.free() < item.weight() {
                continue;
            }
            let position = campaign.config.members.iter().position(|member| *member == agent);
            let Some(winner) = position.map(|position| position as u32) else { continue };
            let pick = Pick { winner, next: None };
            self.let_go(slot);
            let choice = Choice::Agent { pick, winner: agent, new_round: has_passed };
            self.offer(slot, id, class, choice, decisions);
        }
    }

    fn serve(&mut self, slot: u32, id: CampaignId, class: u32, decisions: &mut Vec<Decision>) {
        let Self { campaigns, items, random, now, .. } = self;
        let (Some(item), Some(campaign)) = (items.get(slot), campaigns.get(id.0 as usize)) else { return };
        let (State::Waiting(wait), Some(found)) = (item.state, campaign.classes.get(class)) else { return };
        if found.pool.is_empty() {
            self.save_for(slot, id, class);
            return;
        }
        let choice = choose(campaign, found, item, wait.overflowed, random, *now);
        self.offer(slot, id, class, choice, decisions);
    }

    fn offer(
        &mut self,
        slot: u32,
        id: CampaignId,
        class: u32,
        choice: Choice,
        decisions: &mut Vec<Decision>,
    ) {
        let Self { campaigns, items, now, .. } = self;
        let (Some(item), Some(campaign)) = (items.get(slot), campaigns.get_mut(id.0 as usize)) else {
            return;
        };
        let (State::Waiting(wait), Some(found)) = (item.state, campaign.classes.get(class)) else { return };
        let (target, mut record) = match choice {
            Choice::Rest(until) => {
                self.transition(slot, State::Waiting(wait), Some(until));
                return;
            }
            Choice::Everyone => (Target::Everyone, record(campaign, found, item, None)),
            Choice::Agent { pick, winner, new_round } => {
                // Who let it pass is cleared by the committed offer, not here: it may be refused.
                let mut record = record(campaign, found, item, Some((pick, winner, new_round)));
                let need = found.need.clone();
                if campaign.advance_pointer(&need, pick.winner) && record.mode == Mode::RoundRobin {
                    record.pointer = Some(winner);
                }
                (Target::Agent(winner), record)
            }
        };
        let (interaction, version, instant) = (item.interaction, item.version, *now);
        let deadline = match target {
            Target::Agent(_) => campaign.config.accept_timeout.map(|timeout| instant + timeout),
            Target::Everyone => None,
        };
        let channel = campaign.config.channel;
        if let Target::Agent(agent) = target {
            let lane = self.agents.get_mut(agent).lane_mut(channel);
            lane.last_offered = lane.last_offered.max(instant);
            record.score = match record.mode {
                Mode::LeastBusy => lane.load,
                Mode::LongestIdle if lane.load == 0 && lane.idle_since != NEVER_HELD => {
                    u32::try_from((instant - lane.idle_since).0 / 1_000_000).unwrap_or(0)
                }
                Mode::LongestIdle | Mode::RoundRobin | Mode::Random | Mode::Everyone => record.score,
            };
        }
        let offer = Offer { interaction, version, campaign: id, target, deadline, record };
        decisions.push(Decision::Offer(offer));
        self.transition(slot, State::Offering(wait, target), None);
    }
}

fn choose(
    campaign: &Campaign,
    class: &Class,
    item: &Item,
    overflowed: bool,
    random: &mut Random,
    now: Instant,
) -> Choice {
    if overflowed || campaign.config.mode == Mode::Everyone {
        return Choice::Everyone;
    }
    let pointer = match campaign.config.mode {
        Mode::RoundRobin => campaign.pointer_for(&class.need),
        Mode::Everyone | Mode::LeastBusy | Mode::Random | Mode::LongestIdle => None,
    };
    let not_passed = |position| campaign.member(position).is_some_and(|member| !item.has_passed(member));
    let (pick, new_round) = match class.pool.pick(pointer, random, not_passed) {
        Some(pick) => (pick, false),
        None => {
            let passed_at = item.passes.as_ref().map_or(Instant(i64::MIN), |passes| passes.at);
            if passed_at + ROUND_PAUSE > now {
                return Choice::Rest(passed_at + ROUND_PAUSE);
            }
            match class.pool.pick(pointer, random, |_| true) {
                Some(pick) => (pick, true),
                None => return Choice::Rest(now + ROUND_PAUSE),
            }
        }
    };
    match campaign.member(pick.winner) {
        Some(winner) => Choice::Agent { pick, winner, new_round },
        None => Choice::Rest(now + ROUND_PAUSE),
    }
}

fn record(
    campaign: &Campaign,
    class: &Class,
    item: &Item,
    choice: Option<(Pick, AgentId, bool)>,
) -> DecisionRecord {
    let (mode, fitting) = (campaign.config.mode, class.pool.len() as u32);
    let [eligible, ..] = campaign.standings;
    let unfit = match class.need.reserved_for {
        Some(_) => Unfit { reserved: eligible.saturating_sub(fitting), ..Unfit::default() },
        None => Unfit {
            reserved: 0,
            skill: eligible.saturating_sub(class.skilled),
            too_heavy: class.skilled.saturating_sub(fitting),
        },
    };
    let mut record = DecisionRecord {
        config_version: campaign.config.version,
        mode,
        winner: None,
        candidates: campaign.config.members.len() as u32,
        removed: DecisionRecord::removed(&campaign.standings, unfit, 0),
        next_best: None,
        score: 0,
        pointer: None,
        new_round: false,
    };
    let Some((pick, winner, new_round)) = choice else { return record };
    let passed = if item.passes.is_none() { 0 } else { fitting.saturating_sub(left(campaign, class, item)) };
    record.removed = DecisionRecord::removed(&campaign.standings, unfit, passed);
    record.winner = Some(winner);
    record.next_best = pick.next.and_then(|position| campaign.member(position));
    record.new_round = new_round;
    if mode == Mode::RoundRobin {
        record.score = match campaign.pointer_for(&class.need) {
            Some(pointer) => (pick.winner + record.candidates - pointer - 1) % record.candidates.max(1) + 1,
            None => pick.winner + 1,
        };
    }
    record
}

/// Fitting members who have not let the item pass; only counted for items that somebody let pass.
fn left(campaign: &Campaign, class: &Class, item: &Item) -> u32 {
    let kept = |position: &u32| campaign.member(*position).is_some_and(|member| !item.has_passed(member));
    class.pool.positions().iter().filter(|position| kept(position)).count() as u32
}
