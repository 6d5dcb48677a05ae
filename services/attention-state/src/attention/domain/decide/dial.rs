//! An attention that a dialer begins: it waits, without an interaction, until the customer answers, an agent takes it over or
//! nobody has answered in time.

use time::OffsetDateTime;

use super::{Course, Decision, existing};
use crate::attention::domain::command::Opening;
use crate::attention::domain::event::{Closed, Event};
use crate::attention::domain::keys::{CampaignKey, InteractionId, UserKey};
use crate::attention::domain::rejection::Rejection;
use crate::attention::domain::state::{MessageSummary, Phase};

/// What an agent takes a waiting attention over with.
pub(super) struct Taken {
    pub(super) interaction: InteractionId,
    pub(super) campaign: CampaignKey,
    pub(super) agent: UserKey,
    pub(super) message: MessageSummary,
}

pub(super) fn dial(
    course: Course,
    opening: Opening,
    campaign: CampaignKey,
    message: MessageSummary,
) -> Result<Decision, Rejection> {
    if course.state.is_some() {
        return Err(Rejection::AlreadyBegun);
    }
    course
        .then(Event::AttentionOpened { opening, campaign, waits: true })
        .then(Event::MessageQueued { message })
        .decided()
}

pub(super) fn give_up(
    course: Course,
    due_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    waiting(&course)?;
    if now < due_at {
        return Err(Rejection::TooEarly);
    }
    course.then(Event::AttentionClosed { at: now, because: Closed::NoAnswer }).decided()
}

pub(super) fn take_over(course: Course, taken: Taken, now: OffsetDateTime) -> Result<Decision, Rejection> {
    waiting(&course)?;
    let Taken { interaction, campaign, agent, message } = taken;
    course
        .then(Event::InteractionStarted { interaction, campaign, agent, at: now })
        .then(Event::MessageQueued { message })
        .decided()
}

fn waiting(course: &Course) -> Result<(), Rejection> {
    match existing(course)?.phase {
        Phase::Waiting => Ok(()),
        Phase::Open | Phase::Closed { .. } => Err(Rejection::NotWaiting),
    }
}
