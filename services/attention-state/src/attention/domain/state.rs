//! What is true of an attention. Variants carry only what exists in their state.

use time::OffsetDateTime;

use super::delivery::DeliveryState;
use super::keys::{
    AccountKey, AttentionId, CampaignKey, ContactId, InteractionId, MessageId, OfferId, TagKey, UserKey,
};

/// The way messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Electronic mail: many interactions over time.
    Email,
    /// WhatsApp: exactly one interaction.
    Whatsapp,
}

/// Who started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The customer.
    Inbound,
    /// An agent or a dialer.
    Outbound,
}

/// The whole case with a customer, with the interaction that a command addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Identity.
    pub id: AttentionId,
    /// Human number.
    pub number: i64,
    /// Channel.
    pub channel: Channel,
    /// Account it came in by.
    pub account: AccountKey,
    /// Campaign it belongs to.
    pub campaign: CampaignKey,
    /// Customer.
    pub contact: ContactId,
    /// Attention it follows.
    pub linked: Option<AttentionId>,
    /// Sequence of its last event: the number of its events.
    pub sequence: i64,
    /// Number of its messages: the position of the last one.
    pub messages: i64,
    /// Number of its sends: the sequence of the last one.
    pub sends: i64,
    /// Number of its interactions.
    pub interactions: i32,
    /// Waiting, open or closed.
    pub phase: Phase,
    /// Until when free text may be sent; only of WhatsApp, and only once the customer has written.
    pub window_ends_at: Option<OffsetDateTime>,
    /// Its tags, sorted, each once.
    pub tags: Vec<TagKey>,
    /// The interaction addressed; the live or last one where a command addresses the attention.
    pub interaction: Option<Interaction>,
}

/// Where an attention is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A dialer wrote and the customer has not answered: there is no interaction yet.
    Waiting,
    /// Takes messages.
    Open,
    /// The case is over; a later answer opens a linked one.
    Closed {
        /// When.
        at: OffsetDateTime,
    },
}

/// One block of messages inside an attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interaction {
    /// Identity.
    pub id: InteractionId,
    /// Position in the attention, from 1.
    pub ordinal: i32,
    /// Raised by every change; equal versions mean equal states.
    pub version: i64,
    /// Who started it.
    pub direction: Direction,
    /// Campaign whose queue it is, or was, in.
    pub campaign: CampaignKey,
    /// Since when the customer waits; kept on release.
    pub waiting_since: OffsetDateTime,
    /// When it entered the queue; the overflow clock.
    pub queued_at: OffsetDateTime,
    /// Higher first, 0 is normal.
    pub priority: i32,
    /// Number of messages, internal notes among them.
    pub message_count: i32,
    /// What it asks for.
    pub demand: Demand,
    /// Where it is in its life.
    pub stage: Stage,
}

/// What an interaction asks for by itself. Fixed when it enters the queue of its campaign, by what is true then, and kept until it
/// enters another: whoever has it gives back as much capacity as it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// How much of its holder's capacity it takes, at least 1.
    pub weight: i32,
    /// The customer was a VIP.
    pub vip: bool,
    /// Whom it is kept for at first.
    pub preferred: Option<Preferred>,
}

/// Whom an interaction is kept for at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferred {
    /// Him.
    pub agent: UserKey,
    /// Until then.
    pub until: OffsetDateTime,
}

/// Where an interaction is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nobody has opened it yet.
    Queued {
        /// The outstanding offer.
        offer: Option<Offer>,
        /// True once the overflow took effect: it rings at everyone.
        overflowed: bool,
        /// Who let an offer pass in this round.
        passed_by: Vec<UserKey>,
        /// Campaigns it left by overflow since it was queued; it returns to none of them by overflow.
        overflowed_from: Vec<CampaignKey>,
    },
    /// An agent handles it.
    Open {
        /// Who.
        agent: UserKey,
        /// Since when.
        opened_at: OffsetDateTime,
    },
    /// Its block of messages is over.
    Ended {
        /// Who ended it.
        agent: UserKey,
        /// When it was opened.
        opened_at: OffsetDateTime,
        /// When it ended.
        ended_at: OffsetDateTime,
        /// True when the attention was closed with it.
        closed_attention: bool,
    },
}

/// An outstanding offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Identity.
    pub id: OfferId,
    /// Whom it rings at; `None` is everyone.
    pub agent: Option<UserKey>,
    /// When it was made.
    pub offered_at: OffsetDateTime,
    /// When it moves on; `None` when the accept timeout is off.
    pub deadline_at: Option<OffsetDateTime>,
    /// Who transferred it; he gets it back when it is not taken.
    pub sender: Option<UserKey>,
}

/// Who or what wrote an inbound mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailClass {
    /// A person.
    Human,
    /// An automatic answer.
    AutoReply,
    /// A delivery report.
    DeliveryReport,
    /// A complaint report.
    Complaint,
    /// A list or bulk mail.
    Bulk,
    /// One of our own mails that came back.
    OwnLoop,
}

/// A message without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSummary {
    /// Identity.
    pub id: MessageId,
    /// When it was received or committed.
    pub occurred_at: OffsetDateTime,
    /// Number of attachments.
    pub attachments: i32,
    /// What only one direction has.
    pub kind: MessageKind,
}

/// What only one direction has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// From the customer.
    Inbound {
        /// Human or machine; `None` where the channel has no classes.
        class: Option<MailClass>,
        /// False when the sender could not be authenticated for the thread he claims.
        sender_verified: bool,
    },
    /// From an agent.
    Outbound {
        /// What became of it.
        delivery: DeliveryState,
    },
    /// An internal note: part of the thread, never sent.
    Note,
}

impl Default for Demand {
    fn default() -> Self {
        Self { weight: 1, vip: false, preferred: None }
    }
}

impl Phase {
    /// Takes messages: another attention of the same customer would be one too many.
    pub fn is_live(self) -> bool {
        match self {
            Phase::Waiting | Phase::Open => true,
            Phase::Closed { .. } => false,
        }
    }
}

impl Interaction {
    /// The agent whose capacity it takes, and how much of it.
    pub fn burden(&self) -> Option<(&UserKey, i32)> {
        self.holder().map(|holder| (holder, self.demand.weight))
    }

    /// The agent whose capacity it takes: the one who has it open or at whom it rings alone.
    pub fn holder(&self) -> Option<&UserKey> {
        match &self.stage {
            Stage::Queued { offer, .. } => offer.as_ref().and_then(|offer| offer.agent.as_ref()),
            Stage::Open { agent, .. } => Some(agent),
            Stage::Ended { .. } => None,
        }
    }

    /// Who gets the outstanding offer back when it is not taken.
    pub fn sender(&self) -> Option<&UserKey> {
        match &self.stage {
            Stage::Queued { offer, .. } => offer.as_ref().and_then(|offer| offer.sender.as_ref()),
            Stage::Open { .. } | Stage::Ended { .. } => None,
        }
    }

    /// Queued or open.
    pub fn is_live(&self) -> bool {
        match self.stage {
            Stage::Queued { .. } | Stage::Open { .. } => true,
            Stage::Ended { .. } => false,
        }
    }
}

impl Channel {
    /// The word of contracts and tables.
    pub fn word(self) -> &'static str {
        match self {
            Channel::Email => "email",
            Channel::Whatsapp => "whatsapp",
        }
    }

    /// From the word.
    pub fn of(word: &str) -> Option<Self> {
        [Channel::Email, Channel::Whatsapp].into_iter().find(|channel| channel.word() == word)
    }
}

impl Direction {
    /// The word of contracts and tables.
    pub fn word(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }
    }

    /// From the word.
    pub fn of(word: &str) -> Option<Self> {
        [Direction::Inbound, Direction::Outbound].into_iter().find(|direction| direction.word() == word)
    }
}

impl MailClass {
    /// Every class.
    pub const ALL: [MailClass; 6] = [
        MailClass::Human,
        MailClass::AutoReply,
        MailClass::DeliveryReport,
        MailClass::Complaint,
        MailClass::Bulk,
        MailClass::OwnLoop,
    ];

    /// The word of the public events.
    pub fn word(self) -> &'static str {
        match self {
            MailClass::Human => "human",
            MailClass::AutoReply => "auto-reply",
            MailClass::DeliveryReport => "delivery-report",
            MailClass::Complaint => "complaint",
            MailClass::Bulk => "bulk",
            MailClass::OwnLoop => "own-loop",
        }
    }

    /// From the word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.word() == word)
    }
}
