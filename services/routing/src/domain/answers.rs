//! How the answers of attention-state correct the view.

use super::agent::{HOLD_FIRST, HOLD_LONGEST};
use super::decision::Decision;
use super::engine::Engine;
use super::ids::{AgentId, Channel};
use super::input::{Answer, Outcome, Target};
use super::item::State;
use super::time::{Instant, Span};
use super::timers::{Timer, TimerKind};

/// Pause before the same item is proposed again after an answer that does not say what changed.
const AFTER_CONFLICT: Span = Span::millis(200);
/// Pause after "too early": the clocks differ by this order.
const AFTER_TOO_EARLY: Span = Span::millis(20);

impl Engine {
    /// Takes over the answer to a proposal. An answer to a superseded proposal changes nothing but what it carries.
    pub(super) fn answered(&mut self, answer: Answer, decisions: &mut Vec<Decision>) {
        let Answer { interaction, version, outcome, current } = answer;
        if let Some(view) = current
            && self.items.find(interaction).is_some()
        {
            self.merge(view, decisions);
        }
        let Some(slot) = self.items.find(interaction) else { return };
        let Some(item) = self.items.get(slot) else { return };
        if item.version != version {
            self.forgive_after(outcome, item.state, item.campaign.0);
            return;
        }
        let (state, campaign) = (item.state, item.campaign);
        if outcome == Outcome::Gone {
            self.discard(slot);
            return;
        }
        if !state.is_proposed() {
            return;
        }
        let later = |pause: Span| Some(self.now + pause);
        let rest_until = match outcome {
            Outcome::NoCapacity | Outcome::NotAvailable => {
                if let State::Offering(_, Target::Agent(agent)) = state {
                    let channel = self.campaign_mut(campaign).config.channel;
                    self.hold(agent, channel);
                    None
                } else {
                    later(AFTER_CONFLICT)
                }
            }
            Outcome::TooEarly => later(AFTER_TOO_EARLY),
            Outcome::Applied | Outcome::Conflict | Outcome::Unanswered | Outcome::Gone => {
                later(AFTER_CONFLICT)
            }
        };
        self.transition(slot, state.without_proposal(), rest_until);
        self.withdraw_if_unavailable(slot, decisions);
    }

    /// A committed offer shows that the agent's view is right again: his next hold starts small.
    fn forgive_after(&mut self, outcome: Outcome, state: State, campaign: u32) {
        let (Outcome::Applied, State::Ringing(_, ringing)) = (outcome, state) else { return };
        let Target::Agent(agent) = ringing.target else { return };
        let Some(channel) = self.campaigns.get(campaign as usize).map(|campaign| campaign.config.channel)
        else {
            return;
        };
        self.agents.get_mut(agent).lane_mut(channel).hold = HOLD_FIRST;
    }

    /// Leaves an agent out for a moment, doubling: the view of him is wrong and an event will correct it.
    fn hold(&mut self, agent: AgentId, channel: Channel) {
        let now = self.now;
        let lane = self.agents.get_mut(agent).lane_mut(channel);
        let until: Instant = now + lane.hold;
        lane.hold = lane.hold.doubled(HOLD_LONGEST);
        if let Some(at) = lane.held_until.replace(until) {
            self.timers.forget(at);
        }
        self.timers.push(Timer { at: until, kind: TimerKind::Hold { agent, channel } });
        self.refresh(agent, channel);
    }

    /// Ends a hold whose timer was taken from the heap.
    pub(super) fn release_hold(&mut self, agent: AgentId, channel: Channel) {
        self.agents.get_mut(agent).lane_mut(channel).held_until = None;
        self.refresh(agent, channel);
    }
}
