//! What WhatsApp has of its own: the window in which free text may be sent, messages that change after they came, and one
//! end for interaction and attention.

use time::OffsetDateTime;

use super::{Course, Decision, MAX_MESSAGES, addressed, existing, opened_by};
use crate::attention::domain::event::{Altered, Event};
use crate::attention::domain::keys::UserKey;
use crate::attention::domain::rejection::Rejection;
use crate::attention::domain::state::{Attention, Channel, MessageSummary};

/// An agent's message. By WhatsApp what is no template goes only while the customer's last message is less than 24 hours old
/// (<https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages>).
pub(super) fn send(
    course: Course,
    agent: &UserKey,
    message: MessageSummary,
    template: bool,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    if opened_by(&course, agent)?.message_count >= MAX_MESSAGES {
        return Err(Rejection::TooManyMessages);
    }
    if !template && !may_be_written_to(existing(&course)?, now) {
        return Err(Rejection::WindowClosed);
    }
    course.then(Event::MessageQueued { message }).decided()
}

/// An agent's reaction: no message, but only while one could be sent.
pub(super) fn react(
    course: Course,
    agent: &UserKey,
    message: MessageSummary,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    opened_by(&course, agent)?;
    if !may_be_written_to(existing(&course)?, now) {
        return Err(Rejection::WindowClosed);
    }
    course.then(Event::MessageChanged { message, because: Altered::Reacted }).decided()
}

/// Whether what is no template may be sent now.
pub(super) fn may_be_written_to(attention: &Attention, now: OffsetDateTime) -> bool {
    match attention.channel {
        Channel::Email => true,
        Channel::Whatsapp => attention.window_ends_at.is_some_and(|end| now < end),
    }
}

/// The window only ever moves later: items come late and out of order.
pub(super) fn move_window(course: Course, ends_at: OffsetDateTime) -> Result<Decision, Rejection> {
    if existing(&course)?.window_ends_at.is_some_and(|known| known >= ends_at) {
        return course.decided();
    }
    course.then(Event::WindowExpiryAnnounced { ends_at }).decided()
}

pub(super) fn alter(
    course: Course,
    message: MessageSummary,
    because: Altered,
) -> Result<Decision, Rejection> {
    addressed(&course)?;
    course.then(Event::MessageChanged { message, because }).decided()
}

/// A WhatsApp attention has one interaction and ends with it.
pub(super) fn ends_together(course: &Course) -> Result<bool, Rejection> {
    Ok(match existing(course)?.channel {
        Channel::Email => false,
        Channel::Whatsapp => true,
    })
}
