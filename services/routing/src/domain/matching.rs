//! Matching: the longest waiting item of all campaigns that can offer, to the member whose turn it is, again and again
//! until nothing waits or nobody is left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::campaign::{Campaign, Mode, WaitKey};
use super::decision::{Decision, DecisionRecord, Offer};
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

impl Engine {
    /// Serves the listed campaigns, oldest item first among all of them.
    pub(super) fn match_waiting(&mut self, decisions: &mut Vec<Decision>) {
        if self.listed.is_empty() {
            return;
        }
        let mut heads: BinaryHeap<Reverse<(WaitKey, CampaignId)>> = BinaryHeap::new();
        for id in std::mem::take(&mut self.listed) {
            let campaign = self.campaign_mut(id);
            campaign.listed = false;
            heads.extend(head(campaign).map(|key| Reverse((key, id))));
        }
        while let Some(Reverse((key, id))) = heads.pop() {
            if decisions.len() >= self.limit {
                heads.push(Reverse((key, id)));
                break;
            }
            let Some(current) = self.campaign(id).and_then(head) else { continue };
            if current == key {
                self.serve(key.slot, decisions);
            }
            heads.extend(self.campaign(id).and_then(head).map(|key| Reverse((key, id))));
        }
        for Reverse((_, id)) in heads {
            self.campaign_mut(id).listed = true;
            self.listed.push(id);
        }
        self.unlist_idle();
    }

    /// An offer taken back within the call may have listed a campaign again that has nothing left to do.
    fn unlist_idle(&mut self) {
        let Self { campaigns, listed, .. } = self;
        listed.retain(|id| {
            let Some(campaign) = campaigns.get_mut(id.0 as usize) else { return false };
            campaign.listed = head(campaign).is_some();
            campaign.listed
        });
        listed.sort_unstable();
        listed.dedup();
    }

    fn serve(&mut self, slot: u32, decisions: &mut Vec<Decision>) {
        let Self { campaigns, items, random, now, .. } = self;
        let Some(item) = items.get(slot) else { return };
        let Some(campaign) = campaigns.get_mut(item.campaign.0 as usize) else { return };
        let State::Waiting(wait) = item.state else { return };
        let choice = choose(campaign, item, wait.overflowed, random, *now);
        let (target, record) = match choice {
            Choice::Rest(until) => {
                self.transition(slot, State::Waiting(wait), Some(until));
                return;
            }
            Choice::Everyone => (Target::Everyone, record(campaign, item, None)),
            Choice::Agent { pick, winner, new_round } => {
                // Who let it pass is cleared by the committed offer, not here: it may be refused.
                let record = record(campaign, item, Some((pick, winner, new_round)));
                campaign.pointer = Some(pick.winner);
                (Target::Agent(winner), record)
            }
        };
        let (interaction, version, id) = (item.interaction, item.version, item.campaign);
        let deadline = match target {
            Target::Agent(_) => campaign.config.accept_timeout.map(|timeout| *now + timeout),
            Target::Everyone => None,
        };
        let (channel, instant) = (campaign.config.channel, *now);
        let mut record = record;
        if let Target::Agent(agent) = target {
            let lane = self.agents.get_mut(agent).lane_mut(channel);
            lane.last_offered = lane.last_offered.max(instant);
            if record.mode == Mode::LeastBusy {
                record.score = lane.load;
            }
        }
        decisions.push(Decision::Offer(Offer {
            interaction,
            version,
            campaign: id,
            target,
            deadline,
            record,
        }));
        self.transition(slot, State::Offering(wait, target), None);
    }
}

/// The item to be served next, if the campaign can offer at all.
fn head(campaign: &Campaign) -> Option<WaitKey> {
    if campaign.can_offer() { campaign.waiting.first().copied() } else { None }
}

fn choose(campaign: &Campaign, item: &Item, overflowed: bool, random: &mut Random, now: Instant) -> Choice {
    if overflowed || campaign.config.mode == Mode::Everyone {
        return Choice::Everyone;
    }
    let pointer = match campaign.config.mode {
        Mode::RoundRobin => campaign.pointer,
        Mode::Everyone | Mode::LeastBusy | Mode::Random => None,
    };
    let not_passed = |position| campaign.member(position).is_some_and(|member| !item.has_passed(member));
    let (pick, new_round) = match campaign.pool.pick(pointer, random, not_passed) {
        Some(pick) => (pick, false),
        None => {
            let passed_at = item.passes.as_ref().map_or(Instant(i64::MIN), |passes| passes.at);
            if passed_at + ROUND_PAUSE > now {
                return Choice::Rest(passed_at + ROUND_PAUSE);
            }
            match campaign.pool.pick(pointer, random, |_| true) {
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

fn record(campaign: &Campaign, item: &Item, choice: Option<(Pick, AgentId, bool)>) -> DecisionRecord {
    let mode = campaign.config.mode;
    let mut record = DecisionRecord {
        config_version: campaign.config.version,
        mode,
        winner: None,
        candidates: campaign.config.members.len() as u32,
        removed: DecisionRecord::removed(&campaign.standings, 0),
        next_best: None,
        score: 0,
        pointer: None,
        new_round: false,
    };
    let Some((pick, winner, new_round)) = choice else { return record };
    let eligible = campaign.pool.len() as u32;
    let passed = if item.passes.is_none() { 0 } else { eligible.saturating_sub(left(campaign, item)) };
    record.removed = DecisionRecord::removed(&campaign.standings, passed);
    record.winner = Some(winner);
    record.next_best = pick.next.and_then(|position| campaign.member(position));
    record.new_round = new_round;
    if mode == Mode::RoundRobin {
        record.pointer = Some(winner);
        record.score = match campaign.pointer {
            Some(pointer) => (pick.winner + record.candidates - pointer - 1) % record.candidates.max(1) + 1,
            None => pick.winner + 1,
        };
    }
    record
}

/// Eligible members who have not let the item pass; only counted for items that somebody let pass.
fn left(campaign: &Campaign, item: &Item) -> u32 {
    let kept = |position: &u32| campaign.member(*position).is_some_and(|member| !item.has_passed(member));
    campaign.pool.positions().iter().filter(|position| kept(position)).count() as u32
}
