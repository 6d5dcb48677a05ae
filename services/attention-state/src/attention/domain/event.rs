//! What happened. Every variant is a public event type (`hilo.event.v1.EventType`) and the only way state changes.

use time::OffsetDateTime;

use super::command::Opening;
use super::keys::{AttentionId, CampaignKey, InteractionId, OfferId, UserKey};
use super::state::{Direction, MessageSummary, Offer};

/// Something that happened to an attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It came into being.
    AttentionOpened {
        /// Its head.
        opening: Opening,
        /// Campaign it began in.
        campaign: CampaignKey,
    },
    /// It was found to follow an earlier one.
    AttentionLinked {
        /// The earlier one.
        to: AttentionId,
    },
    /// It was closed.
    AttentionClosed {
        /// When.
        at: OffsetDateTime,
    },
    /// An interaction entered the queue, begun by its first message (counted already).
    InteractionQueued {
        /// Its id.
        interaction: InteractionId,
        /// Who started it.
        direction: Direction,
        /// Whose queue.
        campaign: CampaignKey,
        /// Since when the customer waits.
        waiting_since: OffsetDateTime,
        /// When it entered the queue.
        queued_at: OffsetDateTime,
    },
    /// A customer's message was appended. `begins` when InteractionQueued has counted it already.
    MessageReceived {
        /// The message.
        message: MessageSummary,
        /// True for the message that began the interaction.
        begins: bool,
    },
    /// It rings at an agent or at everyone.
    InteractionOffered {
        /// The offer.
        offer: Offer,
    },
    /// An offer ended without being taken.
    OfferWithdrawn {
        /// The offer.
        offer: OfferId,
        /// Who let it pass; he is not offered it again in this round.
        passed_by: Option<UserKey>,
        /// True while it goes on ringing at the others (an offer to everyone that one declined).
        rings_on: bool,
        /// Why.
        because: Withdrawn,
    },
    /// The overflow took effect.
    InteractionOverflowed,
    /// It left its campaign for the queue of another one. The state after it is the one in the new campaign; the event
    /// itself is told to the readers of the old one.
    InteractionTransferredOut {
        /// The campaign it left.
        from: CampaignKey,
        /// The campaign it goes to.
        to: CampaignKey,
        /// When: the overflow clock begins anew, the customer's wait goes on.
        at: OffsetDateTime,
        /// Why.
        because: Handover,
    },
    /// It came into the queue of its campaign from another one; always right after `InteractionTransferredOut`.
    InteractionTransferredIn {
        /// Why.
        because: Handover,
    },
    /// An agent opened it.
    InteractionOpened {
        /// Who.
        agent: UserKey,
        /// When.
        at: OffsetDateTime,
    },
    /// It went back to the queue.
    InteractionReleased {
        /// Who had it open.
        agent: UserKey,
        /// When.
        at: OffsetDateTime,
    },
    /// An agent's message was committed.
    MessageQueued {
        /// The message.
        message: MessageSummary,
    },
    /// The delivery state of an outbound message changed.
    MessageStatusChanged {
        /// The message after it.
        message: MessageSummary,
    },
    /// The form was saved.
    FormSaved,
    /// It ended.
    InteractionEnded {
        /// When.
        at: OffsetDateTime,
        /// True when the attention is closed with it.
        closes: bool,
    },
}

/// Why an interaction went to another campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// It waited longer than the overflow time.
    Overflow,
}

impl Handover {
    /// The stable word of the public event.
    pub fn word(self) -> &'static str {
        match self {
            Handover::Overflow => "overflow",
        }
    }
}

/// Why an offer was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// Its deadline passed.
    AcceptTimeout,
    /// Its agent has no live session.
    AgentAbsent,
    /// Its agent paused.
    AgentPaused,
    /// Its agent declined.
    Declined,
    /// Somebody else opened the interaction.
    OpenedByOther,
    /// The overflow took effect.
    Overflow,
}

impl Withdrawn {
    /// The stable word of the public event.
    pub fn word(self) -> &'static str {
        match self {
            Withdrawn::AcceptTimeout => "accept_timeout",
            Withdrawn::AgentAbsent => "agent_absent",
            Withdrawn::AgentPaused => "agent_paused",
            Withdrawn::Declined => "declined",
            Withdrawn::OpenedByOther => "opened_by_other",
            Withdrawn::Overflow => "overflow",
        }
    }
}
