//! What happened. Every variant is a public event type (`hilo.event.v1.EventType`) and the only way state changes.

use time::OffsetDateTime;

use super::command::Opening;
use super::keys::{AttentionId, CampaignKey, ContactId, InteractionId, OfferId, TagKey, UserKey};
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
        /// True of a dialer's: it waits for the customer's answer.
        waits: bool,
    },
    /// It was found to follow an earlier one.
    AttentionLinked {
        /// The earlier one.
        to: AttentionId,
    },
    /// A tag was put on it or taken off.
    AttentionTagged {
        /// The tag.
        tag: TagKey,
        /// True when it was put on.
        on: bool,
    },
    /// The customer's data changed, or his contact was merged into another.
    ContactChanged {
        /// The contact after it.
        contact: ContactId,
    },
    /// It was closed.
    AttentionClosed {
        /// When.
        at: OffsetDateTime,
        /// Why.
        because: Closed,
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
        /// Who wanted it.
        because: Offered,
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
        /// How he came by it.
        because: Opened,
    },
    /// It went back to the queue.
    InteractionReleased {
        /// Who had it open.
        agent: UserKey,
        /// When.
        at: OffsetDateTime,
        /// Why.
        because: Handover,
    },
    /// It went back to the queue because its agent went away and did not come back in time.
    InteractionOrphaned {
        /// Who had it open.
        agent: UserKey,
        /// When.
        at: OffsetDateTime,
    },
    /// An ended interaction was opened again, and its attention when that was closed.
    InteractionReopened {
        /// Who.
        agent: UserKey,
        /// When.
        at: OffsetDateTime,
    },
    /// An agent began an interaction, in an attention of a dialer's that waited too; his message follows.
    InteractionStarted {
        /// Its id.
        interaction: InteractionId,
        /// Its campaign.
        campaign: CampaignKey,
        /// Who.
        agent: UserKey,
        /// When.
        at: OffsetDateTime,
    },
    /// An internal note was written.
    NoteAdded {
        /// The note.
        message: MessageSummary,
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
    /// The end of the window is known, or moved later.
    WindowExpiryAnnounced {
        /// When.
        ends_at: OffsetDateTime,
    },
    /// The customer changed something about a message, his own or ours.
    MessageChanged {
        /// The message.
        message: MessageSummary,
        /// What.
        because: Altered,
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

/// Why an attention was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its agent ended it.
    Ended,
    /// A dialer wrote and the customer did not answer in time.
    NoAnswer,
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
    /// A supervisor moved the interaction.
    Reassigned,
}

/// What a customer changed about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Altered {
    /// He reacted to it, or took his reaction away.
    Reacted,
    /// He gave it other words.
    Edited,
    /// He took it back.
    Revoked,
    /// The content of its file came, or will not come.
    Content,
}

/// Who wanted an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The router.
    Routed,
    /// The agent who had it open.
    Transferred,
    /// A supervisor.
    Reassigned,
}

/// How an agent came by an interaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// He selected it.
    Taken,
    /// He had transferred it and nobody took it.
    Returned,
}

/// Why an agent, or a campaign, no longer has an interaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// He gave it back, or may not serve it any more.
    Released,
    /// He transferred it.
    Transferred,
    /// A supervisor moved it.
    Reassigned,
    /// It waited longer than the overflow time.
    Overflow,
}

impl Closed {
    /// The stable word of the public event; empty when an agent ended it.
    pub fn word(self) -> &'static str {
        match self {
            Closed::Ended => "",
            Closed::NoAnswer => "no_answer",
        }
    }
}

impl Altered {
    /// The stable word of the public event.
    pub fn word(self) -> &'static str {
        match self {
            Altered::Reacted => "reacted",
            Altered::Edited => "edited",
            Altered::Revoked => "revoked",
            Altered::Content => "content",
        }
    }
}

impl Offered {
    /// The stable word of the public event; empty for the router's.
    pub fn word(self) -> &'static str {
        match self {
            Offered::Routed => "",
            Offered::Transferred => "transferred",
            Offered::Reassigned => "reassigned",
        }
    }
}

impl Opened {
    /// The stable word of the public event; empty when he selected it.
    pub fn word(self) -> &'static str {
        match self {
            Opened::Taken => "",
            Opened::Returned => "returned",
        }
    }
}

impl Handover {
    /// The stable word of the public event.
    pub fn word(self) -> &'static str {
        match self {
            Handover::Released => "released",
            Handover::Transferred => "transferred",
            Handover::Reassigned => "reassigned",
            Handover::Overflow => "overflow",
        }
    }
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
            Withdrawn::Reassigned => "reassigned",
        }
    }
}
