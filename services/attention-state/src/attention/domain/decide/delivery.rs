//! What becomes of a message after it was sent: reports of the channel, and a person who has it sent again.

use time::OffsetDateTime;

use super::{Course, Decision, addressed, chat, existing};
use crate::attention::domain::delivery::DeliveryState;
use crate::attention::domain::event::Event;
use crate::attention::domain::keys::UserKey;
use crate::attention::domain::rejection::Rejection;
use crate::attention::domain::state::{Channel, MessageKind, MessageSummary, Stage};

/// Whoever has it open, and while nobody has, any agent who may serve it: a mail may fail long after the end. By WhatsApp the window
/// counts again, and after the end the next contact is another attention.
pub(super) fn retry(
    course: Course,
    agent: &UserKey,
    message: MessageSummary,
    recipients: usize,
    (template, now): (bool, OffsetDateTime),
) -> Result<Decision, Rejection> {
    if existing(&course)?.channel == Channel::Whatsapp {
        if !addressed(&course)?.is_live() {
            return Err(Rejection::AlreadyEnded);
        }
        if !template && !chat::may_be_written_to(existing(&course)?, now) {
            return Err(Rejection::WindowClosed);
        }
    }
    match &addressed(&course)?.stage {
        Stage::Open { agent: holder, .. } if holder != agent => return Err(Rejection::NotYours),
        Stage::Open { .. } | Stage::Queued { .. } | Stage::Ended { .. } => {}
    }
    match message.kind {
        MessageKind::Outbound { delivery: DeliveryState::Queued }
        | MessageKind::Inbound { .. }
        | MessageKind::Note => Err(Rejection::NothingToRetry),
        MessageKind::Outbound { .. } if recipients == 0 => Err(Rejection::NothingToRetry),
        MessageKind::Outbound { .. } => {
            let kind = MessageKind::Outbound { delivery: DeliveryState::Queued };
            course.then(Event::MessageStatusChanged { message: MessageSummary { kind, ..message } }).decided()
        }
    }
}

/// Reports come late, twice and out of order: only what rises tells something new, of the mail or of one of its recipients (one of
/// several may come back, and the mail is still a sent one). History and subscribers learn both by the same event.
pub(super) fn report(
    course: Course,
    message: MessageSummary,
    reported: DeliveryState,
    returned: bool,
    recipient: bool,
) -> Result<Decision, Rejection> {
    addressed(&course)?;
    match message.kind {
        MessageKind::Outbound { delivery }
            if delivery.rises_to(reported, returned) || (recipient && delivery.stays_open_at(reported)) =>
        {
            let kind = MessageKind::Outbound { delivery: reported };
            course.then(Event::MessageStatusChanged { message: MessageSummary { kind, ..message } }).decided()
        }
        MessageKind::Outbound { .. } | MessageKind::Inbound { .. } | MessageKind::Note => {
            Err(Rejection::DeliverySettled)
        }
    }
}
