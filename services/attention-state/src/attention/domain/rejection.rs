//! Why a command is refused. Reasons are stable: clients and the router act on them.

use std::fmt;

/// A field of a form that is not right yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Key of the field.
    pub field: String,
    /// What is wrong, for the agent's screen.
    pub problem: String,
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There is no such attention yet.
    UnknownAttention,
    /// Another agent opened it first.
    AlreadyTaken,
    /// The interaction has ended.
    AlreadyEnded,
    /// The interaction is not open.
    NotOpen,
    /// Another agent has it open, or it rings at another.
    NotYours,
    /// The attention is closed.
    AttentionClosed,
    /// Required fields are empty or values do not fit.
    FormIncomplete(Vec<FieldProblem>),
    /// The offer is no longer outstanding.
    OfferGone,
    /// Another offer is outstanding.
    OfferOutstanding,
    /// The interaction changed since.
    StaleVersion,
    /// The deadline or overflow time has not come.
    TooEarly,
    /// The overflow took effect before.
    AlreadyOverflowed,
    /// The interaction holds the most messages allowed.
    TooManyMessages,
    /// The 24-hour window of WhatsApp is over, or never began.
    WindowClosed,
    /// The report tells nothing new.
    DeliverySettled,
    /// The message is on its way, or has reached everybody.
    NothingToRetry,
    /// The attention follows one already.
    AlreadyLinked,
    /// It is there already.
    SameTarget,
    /// Another interaction of the attention is live.
    InteractionLive,
    /// An open attention follows this closed one.
    SuccessorOpen,
    /// Only email knows it.
    OnlyEmail,
    /// The attention has begun before.
    AlreadyBegun,
    /// The attention waits for no answer to a dialer.
    NotWaiting,
    /// The attention has the most tags allowed.
    TooManyTags,
}

impl Rejection {
    /// The stable reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Rejection::UnknownAttention => "UNKNOWN_ATTENTION",
            Rejection::AlreadyTaken => "ALREADY_TAKEN",
            Rejection::AlreadyEnded => "ALREADY_ENDED",
            Rejection::NotOpen => "NOT_OPEN",
            Rejection::NotYours => "NOT_YOURS",
            Rejection::AttentionClosed => "ATTENTION_CLOSED",
            Rejection::FormIncomplete(_) => "FORM_INCOMPLETE",
            Rejection::OfferGone => "OFFER_GONE",
            Rejection::OfferOutstanding => "OFFER_OUTSTANDING",
            Rejection::StaleVersion => "STALE_VERSION",
            Rejection::TooEarly => "TOO_EARLY",
            Rejection::AlreadyOverflowed => "ALREADY_OVERFLOWED",
            Rejection::TooManyMessages => "TOO_MANY_MESSAGES",
            Rejection::WindowClosed => "WINDOW_CLOSED",
            Rejection::DeliverySettled => "DELIVERY_SETTLED",
            Rejection::NothingToRetry => "NOTHING_TO_RETRY",
            Rejection::AlreadyLinked => "ALREADY_LINKED",
            Rejection::SameTarget => "SAME_TARGET",
            Rejection::InteractionLive => "INTERACTION_LIVE",
            Rejection::SuccessorOpen => "SUCCESSOR_OPEN",
            Rejection::OnlyEmail => "ONLY_EMAIL",
            Rejection::AlreadyBegun => "ALREADY_BEGUN",
            Rejection::NotWaiting => "NOT_WAITING",
            Rejection::TooManyTags => "TOO_MANY_TAGS",
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Rejection::UnknownAttention => "there is no such attention",
            Rejection::AlreadyTaken => "another agent opened it first",
            Rejection::AlreadyEnded => "the interaction has ended",
            Rejection::NotOpen => "the interaction is not open",
            Rejection::NotYours => "it belongs to another agent",
            Rejection::AttentionClosed => "the attention is closed",
            Rejection::FormIncomplete(_) => "the form is not complete",
            Rejection::OfferGone => "the offer is no longer outstanding",
            Rejection::OfferOutstanding => "another offer is outstanding",
            Rejection::StaleVersion => "the interaction changed since",
            Rejection::TooEarly => "its time has not come",
            Rejection::AlreadyOverflowed => "the overflow took effect before",
            Rejection::TooManyMessages => "the interaction holds the most messages allowed",
            Rejection::WindowClosed => {
                "the customer wrote more than 24 hours ago; only a template may be sent until he writes again"
            }
            Rejection::DeliverySettled => "the report tells nothing new",
            Rejection::NothingToRetry => "the message is on its way, or has reached everybody",
            Rejection::AlreadyLinked => "the attention follows one already",
            Rejection::SameTarget => "it is there already",
            Rejection::InteractionLive => "another interaction of the attention is live",
            Rejection::SuccessorOpen => "an open attention follows this one",
            Rejection::OnlyEmail => "only email knows it",
            Rejection::AlreadyBegun => "the attention has begun before",
            Rejection::NotWaiting => "the attention waits for no answer",
            Rejection::TooManyTags => "the attention has the most tags allowed",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl From<Rejection> for hilo_kit::error::Error {
    fn from(rejection: Rejection) -> Self {
        let error = hilo_kit::error::Error::rejected(rejection.reason(), rejection.words());
        match rejection {
            Rejection::FormIncomplete(problems) => problems.into_iter().fold(error, |error, problem| {
                error.field(format!("values.{}", problem.field), problem.problem)
            }),
            _ => error,
        }
    }
}
