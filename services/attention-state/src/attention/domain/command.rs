//! What can be asked of an attention. Ids and instants that a command may need are made by the caller.

use time::{Duration, OffsetDateTime};

use super::delivery::DeliveryState;
use super::event::Altered;
use super::keys::{AccountKey, AttentionId, CampaignKey, ContactId, InteractionId, OfferId, TagKey, UserKey};
use super::rejection::FieldProblem;
use super::state::{Channel, MessageSummary};

/// A command; `decide` answers events or a rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A message of the customer: appended to the live interaction, or begins one, or begins the attention.
    ReceiveMessage {
        /// The message.
        message: MessageSummary,
        /// Since when the customer waits, should an interaction begin.
        waiting_since: OffsetDateTime,
        /// Id of the interaction, should one begin.
        interaction: InteractionId,
        /// Campaign of the interaction, should one begin.
        campaign: CampaignKey,
        /// How the attention begins when there is none yet.
        opening: Option<Opening>,
    },
    /// The router's offer. A compare-and-set on the version.
    MakeOffer {
        /// Version it was decided on.
        version: i64,
        /// Id of the offer.
        offer: OfferId,
        /// Whom it rings at; `None` is everyone.
        agent: Option<UserKey>,
        /// When it moves on.
        deadline_at: Option<OffsetDateTime>,
    },
    /// The outstanding offer moves on.
    ExpireOffer {
        /// Version it was decided on.
        version: i64,
        /// The offer.
        offer: OfferId,
        /// Why.
        because: Expire,
        /// True when whoever transferred it is there to take it back.
        returns: bool,
    },
    /// The overflow time passed: it rings at everyone, or moves to another campaign.
    Overflow {
        /// Version it was decided on.
        version: i64,
        /// Overflow time of the campaign.
        after: Duration,
        /// Campaign it moves to; `None` rings at everyone.
        to: Option<CampaignKey>,
    },
    /// An agent lets his offer pass.
    DeclineOffer {
        /// The offer.
        offer: OfferId,
        /// Who declines.
        agent: UserKey,
        /// True when whoever transferred it is there to take it back.
        returns: bool,
    },
    /// An agent opens the interaction: the one atomic claim.
    Open {
        /// Who.
        agent: UserKey,
    },
    /// An agent gives it back to the queue.
    Release {
        /// Who.
        agent: UserKey,
    },
    /// An agent gives an item of his to a campaign or, as an offer, to another agent.
    Transfer {
        /// Who has it open.
        agent: UserKey,
        /// Where to.
        to: Destination,
    },
    /// A supervisor moves a live item, whoever has it.
    Reassign {
        /// Where to.
        to: Destination,
    },
    /// A supervisor gives an open item back to its queue, whoever has it.
    TakeBack,
    /// Its agent went away and did not come back in time.
    Orphan {
        /// Who has it open.
        agent: UserKey,
        /// Since when he is gone.
        absent_since: OffsetDateTime,
        /// Orphan timeout of the campaign.
        after: Duration,
    },
    /// An agent opens an ended interaction again, and with it a closed attention.
    Reopen {
        /// Who.
        agent: UserKey,
        /// True when another interaction of the attention is live.
        live: bool,
        /// True when an open attention follows this closed one.
        successor_open: bool,
    },
    /// An agent starts an attention by a message of his.
    Start {
        /// How it begins.
        opening: Opening,
        /// Its campaign.
        campaign: CampaignKey,
        /// Id of its interaction.
        interaction: InteractionId,
        /// Who.
        agent: UserKey,
        /// The message.
        message: MessageSummary,
    },
    /// A dialer writes first: the attention waits for the customer's answer.
    Dial {
        /// How it begins.
        opening: Opening,
        /// Its campaign.
        campaign: CampaignKey,
        /// The message.
        message: MessageSummary,
    },
    /// Nobody answered a dialer's attention in time.
    GiveUp {
        /// When that time is over.
        due_at: OffsetDateTime,
    },
    /// An agent writes to a customer whose answer a dialer's attention waits for, and has it from now on.
    TakeOver {
        /// Id of its interaction.
        interaction: InteractionId,
        /// Campaign the agent writes for.
        campaign: CampaignKey,
        /// Who.
        agent: UserKey,
        /// The message.
        message: MessageSummary,
    },
    /// A machine of ours answers: committed like an agent's message, also while nobody has the interaction open.
    AnswerAutomatically {
        /// The message.
        message: MessageSummary,
    },
    /// Somebody writes an internal note.
    AddNote {
        /// The note.
        message: MessageSummary,
    },
    /// An agent's message is committed and will be sent.
    SendMessage {
        /// Who.
        agent: UserKey,
        /// The message.
        message: MessageSummary,
        /// It is an approved template of WhatsApp, which needs no window.
        template: bool,
    },
    /// An agent reacts to a message of the customer, or takes his reaction away.
    React {
        /// Who.
        agent: UserKey,
        /// The customer's message.
        message: MessageSummary,
    },
    /// A person has a message sent again to the recipients it has not reached for certain.
    RetryMessage {
        /// Who.
        agent: UserKey,
        /// The message as known.
        message: MessageSummary,
        /// How many recipients those are.
        recipients: usize,
        /// It is an approved template of WhatsApp, which needs no window.
        template: bool,
    },
    /// What became of a send.
    ReportDelivery {
        /// The message as known.
        message: MessageSummary,
        /// State reported.
        reported: DeliveryState,
        /// The mail came back after the next server had taken it.
        returned: bool,
        /// One of its recipients came to a final state, whatever that means for the whole mail.
        recipient: bool,
    },
    /// The customer wrote: free text may be sent until then. Earlier than what is known changes nothing.
    MoveWindow {
        /// When the window ends.
        ends_at: OffsetDateTime,
    },
    /// The customer changed something about a message, his own or ours.
    AlterMessage {
        /// The message as known.
        message: MessageSummary,
        /// What.
        because: Altered,
    },
    /// An agent saved the form.
    SaveForm {
        /// Who.
        agent: UserKey,
    },
    /// An agent ends the interaction.
    End {
        /// Who.
        agent: UserKey,
        /// True closes the attention too.
        close: bool,
        /// What the form still lacks; empty when it is complete.
        problems: Vec<FieldProblem>,
    },
    /// The parent of its first message came late: it follows that attention.
    Link {
        /// The earlier attention.
        to: AttentionId,
    },
    /// A tag is put on the attention.
    Tag {
        /// The tag.
        tag: TagKey,
    },
    /// A tag is taken off the attention.
    Untag {
        /// The tag.
        tag: TagKey,
    },
    /// The customer's data changed, or his contact was merged into another.
    ChangeContact {
        /// The contact after it.
        contact: ContactId,
    },
}

/// How an attention begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Id.
    pub attention: AttentionId,
    /// Human number.
    pub number: i64,
    /// Channel.
    pub channel: Channel,
    /// Account it came in by.
    pub account: AccountKey,
    /// Customer.
    pub contact: ContactId,
    /// Attention it follows.
    pub linked: Option<AttentionId>,
}

/// Where a person moves an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into the queue of this campaign.
    Campaign(CampaignKey),
    /// It rings at this agent.
    Agent {
        /// Id of the offer.
        offer: OfferId,
        /// Who.
        agent: UserKey,
        /// When it moves on.
        deadline_at: OffsetDateTime,
    },
}

/// Why an offer moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expire {
    /// Its deadline passed.
    AcceptTimeout,
    /// Its agent has no live session.
    AgentAbsent,
    /// Its agent paused.
    AgentPaused,
}

impl Expire {
    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Expire::AcceptTimeout => "accept_timeout",
            Expire::AgentAbsent => "agent_absent",
            Expire::AgentPaused => "agent_paused",
        }
    }

    /// From the word.
    pub fn of(word: &str) -> Option<Self> {
        [Expire::AcceptTimeout, Expire::AgentAbsent, Expire::AgentPaused]
            .into_iter()
            .find(|expire| expire.word() == word)
    }
}
