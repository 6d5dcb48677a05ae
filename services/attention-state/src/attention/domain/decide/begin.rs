//! What an agent begins: an attention of his own, an ended interaction again, a note.

use time::OffsetDateTime;

use super::{Course, Decision, MAX_MESSAGES, addressed, existing};
use crate::attention::domain::command::Opening;
use crate::attention::domain::event::Event;
use crate::attention::domain::keys::{CampaignKey, InteractionId, UserKey};
use crate::attention::domain::rejection::Rejection;
use crate::attention::domain::state::{Channel, MessageSummary, Stage};

/// What an attention is started with.
pub(super) struct Started {
    pub(super) opening: Opening,
    pub(super) campaign: CampaignKey,
    pub(super) interaction: InteractionId,
    pub(super) agent: UserKey,
    pub(super) message: MessageSummary,
}

pub(super) fn start(course: Course, started: Started, now: OffsetDateTime) -> Result<Decision, Rejection> {
    if course.state.is_some() {
        return Err(Rejection::AlreadyBegun);
    }
    let Started { opening, campaign, interaction, agent, message } = started;
    course
        .then(Event::AttentionOpened { opening, campaign: campaign.clone(), waits: false })
        .then(Event::InteractionStarted { interaction, campaign, agent, at: now })
        .then(Event::MessageQueued { message })
        .decided()
}

/// An item the agent has open already is his wish fulfilled; of two who reopen at once one wins.
pub(super) fn reopen(
    course: Course,
    agent: UserKey,
    live: bool,
    successor_open: bool,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    let channel = existing(&course)?.channel;
    match &addressed(&course)?.stage {
        Stage::Open { agent: holder, .. } if *holder == agent => return course.decided(),
        Stage::Open { .. } => return Err(Rejection::AlreadyTaken),
        Stage::Queued { .. } => return Err(Rejection::InteractionLive),
        Stage::Ended { .. } => {}
    }
    match channel {
        Channel::Whatsapp => return Err(Rejection::OnlyEmail),
        Channel::Email => {}
    }
    if successor_open {
        return Err(Rejection::SuccessorOpen);
    }
    if live {
        return Err(Rejection::InteractionLive);
    }
    course.then(Event::InteractionReopened { agent, at: now }).decided()
}

pub(super) fn note(course: Course, message: MessageSummary) -> Result<Decision, Rejection> {
    room(&course)?;
    course.then(Event::NoteAdded { message }).decided()
}

pub(super) fn automatic(course: Course, message: MessageSummary) -> Result<Decision, Rejection> {
    room(&course)?;
    course.then(Event::MessageQueued { message }).decided()
}

/// Anybody may add to a live interaction that is not full.
fn room(course: &Course) -> Result<(), Rejection> {
    let interaction = addressed(course)?;
    if !interaction.is_live() {
        return Err(Rejection::AlreadyEnded);
    }
    if interaction.message_count >= MAX_MESSAGES {
        return Err(Rejection::TooManyMessages);
    }
    Ok(())
}
