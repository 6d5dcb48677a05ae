//! What people move by hand, and what comes back to the queue without its agent: transfer, reassignment, orphans.

use time::{Duration, OffsetDateTime};

use super::{Course, Decision, addressed, opened_by, withdraw};
use crate::attention::domain::command::Destination;
use crate::attention::domain::event::{Event, Handover, Offered, Withdrawn};
use crate::attention::domain::keys::{CampaignKey, UserKey};
use crate::attention::domain::rejection::Rejection;
use crate::attention::domain::state::{Offer, Stage};
use crate::attention::domain::transfer;

pub(super) fn hand_over(
    course: Course,
    agent: UserKey,
    to: Destination,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    opened_by(&course, &agent)?;
    match to {
        Destination::Campaign(to) => moved(course, to, Handover::Transferred, now),
        Destination::Agent { agent: target, .. } if target == agent => Err(Rejection::SameTarget),
        Destination::Agent { offer, agent: target, deadline_at } => {
            let sender = Some(agent.clone());
            let deadline_at = Some(deadline_at);
            let offer = Offer { id: offer, agent: Some(target), offered_at: now, deadline_at, sender };
            course
                .then(Event::InteractionReleased { agent, at: now, because: Handover::Transferred })
                .then(Event::InteractionOffered { offer, because: Offered::Transferred })
                .decided()
        }
    }
}

/// Whoever has it, or at whomever it rings; an agent it is given to finds it ringing and may let it pass.
pub(super) fn reassign(course: Course, to: Destination, now: OffsetDateTime) -> Result<Decision, Rejection> {
    let interaction = addressed(&course)?;
    let ringing = match &interaction.stage {
        Stage::Ended { .. } => return Err(Rejection::AlreadyEnded),
        Stage::Open { .. } | Stage::Queued { offer: None, .. } => None,
        Stage::Queued { offer: Some(offer), .. } => Some(offer.id),
    };
    let (holder, stage) = (interaction.holder().cloned(), interaction.stage.clone());
    let course = match ringing {
        Some(offer) => course.then(withdraw(offer, Withdrawn::Reassigned)),
        None => course,
    };
    match to {
        Destination::Campaign(to) => moved(course, to, Handover::Reassigned, now),
        Destination::Agent { agent, .. } if holder.as_ref() == Some(&agent) => Err(Rejection::SameTarget),
        Destination::Agent { offer, agent, deadline_at } => {
            let course = match stage {
                Stage::Open { agent, .. } => {
                    let because = Handover::Reassigned;
                    course.then(Event::InteractionReleased { agent, at: now, because })
                }
                Stage::Queued { .. } | Stage::Ended { .. } => course,
            };
            let deadline_at = Some(deadline_at);
            let offer = Offer { id: offer, agent: Some(agent), offered_at: now, deadline_at, sender: None };
            course.then(Event::InteractionOffered { offer, because: Offered::Reassigned }).decided()
        }
    }
}

/// Out of one campaign and into the queue of another.
fn moved(
    course: Course,
    to: CampaignKey,
    because: Handover,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    let from = addressed(&course)?.campaign.clone();
    if from == to {
        return Err(Rejection::SameTarget);
    }
    transfer::events(&from, &to, because, now).into_iter().fold(course, Course::then).decided()
}

pub(super) fn take_back(course: Course, now: OffsetDateTime) -> Result<Decision, Rejection> {
    match addressed(&course)?.stage.clone() {
        Stage::Open { agent, .. } => {
            let because = Handover::Reassigned;
            course.then(Event::InteractionReleased { agent, at: now, because }).decided()
        }
        Stage::Queued { .. } => Err(Rejection::NotOpen),
        Stage::Ended { .. } => Err(Rejection::AlreadyEnded),
    }
}

pub(super) fn orphan(
    course: Course,
    agent: UserKey,
    (absent_since, after): (OffsetDateTime, Duration),
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    let since = match &opened_by(&course, &agent)?.stage {
        // Whoever opens something is there, whatever was last heard of him.
        Stage::Open { opened_at, .. } => absent_since.max(*opened_at),
        Stage::Queued { .. } | Stage::Ended { .. } => absent_since,
    };
    if now - since < after {
        return Err(Rejection::TooEarly);
    }
    course.then(Event::InteractionOrphaned { agent, at: now }).decided()
}
