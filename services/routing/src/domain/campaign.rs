//! A campaign inside the engine: its configuration, who of its members could take an item now, and what waits.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::{STANDINGS, Standing};
use super::class::{Class, Classes, PLAIN};
use super::ids::{AgentId, CampaignId, Channel, InteractionId};
use super::need::{Need, Selection, Skill};
use super::time::{Instant, Span};

/// Most rotation pointers of a campaign besides its own. They outlive the items they were for, so that a kind of which
/// nothing waits for an hour goes on where it stopped; with more kinds than this all begin at the campaign's pointer again.
const MOST_POINTERS: usize = 4_096;

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
    /// Who has had nothing in the channel for the longest time: idle since the last moment he held an item or an offer,
    /// never having held one first; tie: position. Where everybody holds something, who was offered one longest ago.
    LongestIdle,
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
    /// What it asks for, and what goes first, beyond the mode.
    pub selection: Selection,
}

/// Order in which waiting items are served: priority, then the longest wait, then the id so that ties never depend on
/// the order of events. With ageing, priority stands in the wait: an item that gains a step each A seconds and has P of
/// them goes where one of priority 0 goes that began to wait P·A seconds earlier, for both gain alike from now on. So no
/// key ever changes with time. The slot is only carried along.
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
    /// Position of the member offered last, of the items that ask for what the campaign asks for.
    pub(super) pointer: Option<u32>,
    /// What the campaign asks for, by skill.
    pub(super) usual_skills: Vec<Skill>,
    /// The same of items that ask for something else, so that they leave nobody out of the turn of the others.
    pub(super) side_pointers: BTreeMap<Need, u32>,
    /// What waits and who could take it, by what is asked.
    pub(super) classes: Classes,
    /// Members by standing.
    pub(super) standings: [u32; STANDINGS],
    /// Slots of the items that everybody eligible let pass a moment ago.
    pub(super) resting: BTreeSet<u32>,
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
            selection: Selection::default(),
        };
        Self {
            config,
            pointer: None,
            usual_skills: Vec::new(),
            side_pointers: BTreeMap::new(),
            classes: Classes::new(Mode::Everyone, 0),
            standings: [0; STANDINGS],
            resting: BTreeSet::new(),
        }
    }

    /// What is to be looked at next in a class, if the campaign offers at all.
    pub(super) fn head(&self, class: u32) -> Option<WaitKey> {
        self.config.active.then(|| self.classes.get(class)?.head()).flatten()
    }

    /// Members who could take an item that asks for nothing.
    pub(super) fn free(&self) -> Option<&Class> {
        self.classes.get(PLAIN)
    }

    /// The rotation's pointer for items that ask for this.
    pub(super) fn pointer_for(&self, need: &Need) -> Option<u32> {
        if self.is_usual(need) {
            self.pointer
        } else {
            self.side_pointers.get(need).copied().or(self.pointer)
        }
    }

    /// The member at this position was offered an item that asks for this; true when that moves the stored pointer.
    pub(super) fn advance_pointer(&mut self, need: &Need, position: u32) -> bool {
        if need.reserved_for.is_some() {
            return false;
        }
        if self.is_usual(need) {
            self.pointer = Some(position);
            return true;
        }
        if self.side_pointers.len() >= MOST_POINTERS && !self.side_pointers.contains_key(need) {
            self.side_pointers.clear();
        }
        self.side_pointers.insert(need.clone(), position);
        false
    }

    /// True for items that ask for what every item of the campaign asks for, and no more.
    fn is_usual(&self, need: &Need) -> bool {
        need.weight == 1 && need.reserved_for.is_none() && need.skills == self.usual_skills
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
