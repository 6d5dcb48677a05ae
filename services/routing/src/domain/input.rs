//! What the engine is told: configuration, agents, items with versions, answers of the one writer, time.

use super::agent::Presence;
use super::campaign::CampaignConfig;
use super::ids::{AgentId, CampaignId, InteractionId, OfferId};
use super::need::{SharedDemand, Skill};
use super::time::Instant;

/// At whom an offer rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// One agent.
    Agent(AgentId),
    /// Every available agent of the campaign.
    Everyone,
}

/// A committed offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ringing {
    /// The offer.
    pub offer: OfferId,
    /// At whom.
    pub target: Target,
    /// When it moves on; `None` when the accept timeout is off.
    pub deadline: Option<Instant>,
    /// An agent transferred it and gets it back when nobody takes it: no overflow ends it.
    pub transferred: bool,
}

/// A queued item as committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Since when the customer waits: the order of service.
    pub waiting_since: Instant,
    /// When it entered the queue of this campaign: the overflow clock.
    pub queued_at: Instant,
    /// True once the overflow took effect: it rings at everyone.
    pub overflowed: bool,
    /// The outstanding offer.
    pub offer: Option<Ringing>,
}

/// State of a live item as committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemState {
    /// Nobody has opened it.
    Queued(Queued),
    /// This agent handles it.
    Open(AgentId),
}

/// A live item as attention-state has it; events, snapshot pages and answers all carry this whole state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemView {
    /// The interaction.
    pub interaction: InteractionId,
    /// Raised by every change; newer wins.
    pub version: i64,
    /// Campaign it belongs to.
    pub campaign: CampaignId,
    /// Higher first; 0 is normal.
    pub priority: i32,
    /// State.
    pub state: ItemState,
    /// Agents who let an offer pass in this round.
    pub passed_by: Vec<AgentId>,
    /// Campaigns it left by overflow since it was queued; it overflows into none of them again.
    pub overflowed_from: Vec<CampaignId>,
    /// What it asks for; `None` asks for nothing beyond its campaign.
    pub demand: SharedDemand,
}

/// An agent as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentView {
    /// The agent.
    pub agent: AgentId,
    /// Raised by every change; newer wins.
    pub version: i64,
    /// False when deactivated.
    pub active: bool,
    /// True while the agent chose a pause.
    pub paused: bool,
    /// Most items at once (most weight, where items have a weight), in the order of [`super::LANES`].
    pub capacity: [u32; 2],
    /// When an offer was made last, in the order of [`super::LANES`].
    pub last_offered: [Option<Instant>; 2],
    /// The last moment he had an item or an offer, in the order of [`super::LANES`]; `None` for never, or not known.
    pub idle_since: [Option<Instant>; 2],
    /// What he masters.
    pub skills: Vec<Skill>,
}

/// How attention-state answered a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Committed.
    Applied,
    /// The interaction has another version.
    Conflict,
    /// The agent has no free capacity.
    NoCapacity,
    /// The agent is not a member, not active, paused or absent.
    NotAvailable,
    /// The deadline or overflow time has not come by the database's clock.
    TooEarly,
    /// No such live interaction.
    Gone,
    /// Not answered at all (the call failed, or the whole batch was refused); decide again.
    Unanswered,
}

/// The answer to one decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The interaction.
    pub interaction: InteractionId,
    /// The version the decision was made on.
    pub version: i64,
    /// Outcome.
    pub outcome: Outcome,
    /// State now, where the answer carries it.
    pub current: Option<ItemView>,
}

/// Everything that can enable, change or end a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A new or changed campaign.
    Campaign(CampaignConfig),
    /// The campaign left the directory or this partition.
    CampaignRemoved(CampaignId),
    /// A new or changed agent.
    Agent(AgentView),
    /// An agent's session came, went or became unknown.
    Presence {
        /// The agent.
        agent: AgentId,
        /// What is known now.
        presence: Presence,
    },
    /// The same of several at one instant, with nothing decided in between: the first of them must not get what the
    /// rotation holds for the next.
    Presences(Vec<(AgentId, Presence)>),
    /// An item was queued, offered, opened, released, moved, or read from a snapshot.
    Item(ItemView),
    /// An item ended or left the partition.
    Gone {
        /// The interaction.
        interaction: InteractionId,
        /// Version with which it went.
        version: i64,
    },
    /// attention-state answered a decision.
    Answer(Answer),
    /// Time has passed.
    Tick,
}
