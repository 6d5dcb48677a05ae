//! A live item inside the engine: what is committed, and what has been proposed but not answered.

use super::campaign::{Campaign, OverflowAction, WaitKey};
use super::ids::{AgentId, CampaignId, InteractionId};
use super::input::{ItemState, Queued, Ringing, Target};
use super::need::SharedDemand;
use super::time::{Instant, Span};

/// The clocks of a queued item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) since: Instant,
    pub(super) queued_at: Instant,
    pub(super) overflowed: bool,
}

impl Wait {
    /// Clocks of an item that is not in any index (not yet admitted, or being discarded).
    pub(super) const NEVER: Self =
        Self { since: Instant(i64::MAX), queued_at: Instant(i64::MAX), overflowed: true };
}

/// State of an item. A proposed change exists at most once: there is no state with two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Queued without an offer.
    Waiting(Wait),
    /// An offer is proposed.
    Offering(Wait, Target),
    /// An offer is committed.
    Ringing(Wait, Ringing),
    /// The end of the committed offer is proposed.
    Expiring(Wait, Ringing),
    /// The overflow is proposed.
    Overflowing(Wait, Option<Ringing>),
    /// Handled by an agent.
    Open(AgentId),
}

impl State {
    /// The state as committed by attention-state.
    pub(super) fn committed(state: ItemState) -> Self {
        match state {
            ItemState::Open(agent) => Self::Open(agent),
            ItemState::Queued(Queued { waiting_since, queued_at, overflowed, offer }) => {
                let wait = Wait { since: waiting_since, queued_at, overflowed };
                match offer {
                    Some(ringing) => Self::Ringing(wait, ringing),
                    None => Self::Waiting(wait),
                }
            }
        }
    }

    /// The state without what was only proposed.
    pub(super) fn without_proposal(self) -> Self {
        match self {
            Self::Offering(wait, _) | Self::Overflowing(wait, None) => Self::Waiting(wait),
            Self::Expiring(wait, ringing) | Self::Overflowing(wait, Some(ringing)) => {
                Self::Ringing(wait, ringing)
            }
            Self::Waiting(_) | Self::Ringing(..) | Self::Open(_) => self,
        }
    }

    /// True while a proposal is not answered.
    pub(super) fn is_proposed(self) -> bool {
        match self {
            Self::Offering(..) | Self::Expiring(..) | Self::Overflowing(..) => true,
            Self::Waiting(_) | Self::Ringing(..) | Self::Open(_) => false,
        }
    }

    /// Who has it as committed: open, or ringing at him.
    pub(super) fn holder(self) -> Option<AgentId> {
        if matches!(self, Self::Offering(..)) { None } else { self.occupant() }
    }

    /// The agent whose load the item counts for.
    pub(super) fn occupant(self) -> Option<AgentId> {
        let target = match self {
            Self::Open(agent) => return Some(agent),
            Self::Waiting(_) | Self::Overflowing(_, None) => return None,
            Self::Offering(_, target) => target,
            Self::Ringing(_, ringing) | Self::Expiring(_, ringing) | Self::Overflowing(_, Some(ringing)) => {
                ringing.target
            }
        };
        match target {
            Target::Agent(agent) => Some(agent),
            Target::Everyone => None,
        }
    }
}

/// Who let an item pass in this round.
#[derive(Debug)]
pub(super) struct Passes {
    /// Sorted.
    pub(super) by: Vec<AgentId>,
    /// When the engine learned of the last one; long ago for one that was read from a snapshot.
    pub(super) at: Instant,
}

impl Passes {
    pub(super) fn of(mut by: Vec<AgentId>, at: Instant) -> Option<Box<Self>> {
        by.sort_unstable();
        if by.is_empty() { None } else { Some(Box::new(Self { by, at })) }
    }
}

/// The campaigns an item left by overflow.
#[derive(Debug)]
pub(super) struct Trail(Vec<CampaignId>);

impl Trail {
    pub(super) fn of(left: Vec<CampaignId>) -> Option<Box<Self>> {
        if left.is_empty() { None } else { Some(Box::new(Self(left))) }
    }
}

/// A live item.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) interaction: InteractionId,
    pub(super) version: i64,
    pub(super) campaign: CampaignId,
    pub(super) priority: i32,
    pub(super) state: State,
    /// What it asks for; shared or none, so it takes a word.
    pub(super) demand: SharedDemand,
    /// Who let it pass in this round; boxed because most items have none.
    pub(super) passes: Option<Box<Passes>>,
    /// Where it came from by overflow; boxed for the same reason.
    pub(super) trail: Option<Box<Trail>>,
    /// Nothing is proposed for it before this instant.
    pub(super) rest_until: Option<Instant>,
    /// The instant of its timer in the heap.
    pub(super) timer: Option<Instant>,
    /// True while it is in its campaign's list of items that rest between two rounds.
    pub(super) resting: bool,
    /// Where it stands in the list of its occupant's items.
    pub(super) seat: u32,
    /// The class it waits in, or `NOWHERE`.
    pub(super) place: u32,
}

impl Item {
    /// Its key in the order of service, given that it waits.
    pub(super) fn wait_key(&self, slot: u32, campaign: &Campaign) -> Option<WaitKey> {
        let State::Waiting(wait) = self.state else { return None };
        let selection = &campaign.config.selection;
        let vip = self.demand.as_ref().is_some_and(|demand| demand.vip);
        let bonus = if vip { selection.vip_bonus } else { 0 };
        let priority = self.priority.saturating_add(bonus);
        let (negated_priority, waiting_since) = match selection.ageing.filter(|step| *step > Span::default())
        {
            None => (priority.saturating_neg(), wait.since),
            Some(step) => {
                let worth = step.0.saturating_mul(i64::from(priority));
                (0, Instant(wait.since.0.saturating_sub(worth)))
            }
        };
        Some(WaitKey { negated_priority, waiting_since, interaction: self.interaction, slot })
    }

    /// True while it rests because everybody eligible let it pass: somebody new may have it at once.
    pub(super) fn rests_between_rounds(&self) -> bool {
        matches!(self.state, State::Waiting(_)) && self.rest_until.is_some() && self.passes.is_some()
    }

    pub(super) fn has_passed(&self, agent: AgentId) -> bool {
        self.passes.as_ref().is_some_and(|passes| passes.by.binary_search(&agent).is_ok())
    }

    /// True when it is in this campaign or overflowed out of it before.
    fn has_been_in(&self, campaign: CampaignId) -> bool {
        self.campaign == campaign || self.trail.as_ref().is_some_and(|trail| trail.0.contains(&campaign))
    }

    /// When the overflow is due, if one is still to come.
    pub(super) fn overflow_at(&self, campaign: &Campaign) -> Option<Instant> {
        let (wait, ringing) = match self.state {
            State::Waiting(wait) => (wait, None),
            State::Ringing(wait, ringing) => (wait, Some(ringing)),
            State::Offering(..) | State::Expiring(..) | State::Overflowing(..) | State::Open(_) => {
                return None;
            }
        };
        let overflow = campaign.config.overflow?;
        if ringing.is_some_and(|ringing| ringing.transferred) {
            return None;
        }
        let pointless = match overflow.action {
            OverflowAction::AssignToAll => ringing.is_some_and(|ringing| ringing.target == Target::Everyone),
            OverflowAction::SendToCampaign(target) => self.has_been_in(target),
        };
        if wait.overflowed || pointless { None } else { campaign.overflow_at(wait.queued_at) }
    }

    /// When something is to be done for it by itself.
    pub(super) fn wake_at(&self, campaign: &Campaign, now: Instant) -> Option<Instant> {
        match self.state {
            State::Waiting(wait) => self
                .rest_until
                .or_else(|| earliest(self.overflow_at(campaign), self.need_changes_at(wait, campaign, now))),
            State::Ringing(_, ringing) => {
                let due = earliest(ringing.deadline, self.overflow_at(campaign))?;
                Some(self.rest_until.map_or(due, |rest| rest.max(due)))
            }
            State::Offering(..) | State::Expiring(..) | State::Overflowing(..) | State::Open(_) => None,
        }
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
