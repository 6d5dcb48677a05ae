//! A campaign inside the engine: its configuration, who of its members could take an item now, and what waits.

use std::collections::BTreeSet;

use super::agent::{STANDINGS, Standing};
use super::ids::{AgentId, CampaignId, Channel, InteractionId};
use super::pool::Pool;
use super::time::{Instant, Span};

/// How the work of a campaign is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// All available agents see it at once; the first to open wins.
    Everyone,
    /// Fixed order of members; the pointer is the member offered last.
    RoundRobin,
    /// Fewest items in the channel; tie: offered longest ago.
    LeastBusy,
    /// Uniformly among the eligible.
    Random,
}

/// What happens to an item that waited longer than the overflow time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverflowAction {
    /// It rings at everyone.
    AssignToAll,
    /// It moves to the queue of this campaign, unless it overflowed out of it before.
    SendToCampaign(CampaignId),
}

/// The overflow rule of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow {
    /// Counted from the instant the item entered the queue of the campaign.
    pub after: Span,
    /// What then happens.
    pub action: OverflowAction,
}

/// The configuration of a campaign as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignConfig {
    /// The campaign.
    pub campaign: CampaignId,
    /// Configuration version it belongs to; written into every decision record.
    pub version: i64,
    /// Channel.
    pub channel: Channel,
    /// False when the campaign takes no new offers.
    pub active: bool,
    /// Mode.
    pub mode: Mode,
    /// Time an agent has to take an offer; `None` is off.
    pub accept_timeout: Option<Span>,
    /// Overflow; `None` is off.
    pub overflow: Option<Overflow>,
    /// Members in their fixed order.
    pub members: Vec<AgentId>,
    /// Round robin: the member offered last, as stored; `None` keeps what the engine has.
    pub pointer: Option<AgentId>,
}

/// Order in which waiting items are served: priority, then the longest wait, then the id so that ties never depend on
/// the order of events. The slot is only carried along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaitKey {
    pub(super) negated_priority: i32,
    pub(super) waiting_since: Instant,
    pub(super) interaction: InteractionId,
    pub(super) slot: u32,
}

/// A campaign with its indexes.
#[derive(Debug)]
pub(super) struct Campaign {
    pub(super) config: CampaignConfig,
    /// Position of the member offered last.
    pub(super) pointer: Option<u32>,
    /// Members who could take an item now.
    pub(super) pool: Pool,
    /// Members by standing.
    pub(super) standings: [u32; STANDINGS],
    /// Items that wait without an offer and may be offered now.
    pub(super) waiting: BTreeSet<WaitKey>,
    /// Slots of the items that everybody eligible let pass a moment ago.
    pub(super) resting: BTreeSet<u32>,
    /// True while the campaign is on the list of those to be matched.
    pub(super) listed: bool,
}

impl Campaign {
    /// A campaign nobody has described yet: items may wait in it, nothing is offered.
    pub(super) fn undescribed(campaign: CampaignId) -> Self {
        let config = CampaignConfig {
            campaign,
            version: 0,
            channel: Channel::Email,
            active: false,
            mode: Mode::Everyone,
            accept_timeout: None,
            overflow: None,
            members: Vec::new(),
            pointer: None,
        };
        Self {
            config,
            pointer: None,
            pool: Pool::new(Mode::Everyone, 0),
            standings: [0; STANDINGS],
            waiting: BTreeSet::new(),
            resting: BTreeSet::new(),
            listed: false,
        }
    }

    /// True when somebody could be offered something.
    pub(super) fn can_offer(&self) -> bool {
        self.config.active && !self.pool.is_empty()
    }

    pub(super) fn member(&self, position: u32) -> Option<AgentId> {
        self.config.members.get(position as usize).copied()
    }

    pub(super) fn count(&mut self, standing: Standing, change: i32) {
        if let Some(count) = self.standings.get_mut(standing as usize) {
            *count = count.saturating_add_signed(change);
        }
    }

    /// Instant at which an item queued at `queued_at` overflows.
    pub(super) fn overflow_at(&self, queued_at: Instant) -> Option<Instant> {
        self.config.overflow.map(|overflow| queued_at + overflow.after)
    }
}
