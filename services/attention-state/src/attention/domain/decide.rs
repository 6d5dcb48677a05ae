//! Decides a command on a state: the events that follow from it, each with the state after it, or why not.

use time::{Duration, OffsetDateTime};

use super::command::{Command, Expire, Opening};
use super::event::{Closed, Event, Handover, Offered, Opened, Withdrawn};
use super::evolve::evolve;
use super::keys::{CampaignKey, InteractionId, OfferId, UserKey};
use super::rejection::{FieldProblem, Rejection};
use super::state::{Attention, Direction, Interaction, MessageSummary, Offer, Phase, Stage};
use super::transfer;

mod begin;
mod chat;
mod delivery;
mod dial;
mod hand;
mod thread;

/// Most messages of one interaction; a flood beyond it is refused, not hidden.
pub const MAX_MESSAGES: i32 = 5_000;
/// Most tags of one attention; more would not be looked at.
pub const MAX_TAGS: usize = 20;

/// What follows from a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// State after it; `None` only when nothing began.
    pub state: Option<Attention>,
    /// What happened, in order; empty when the command found its wish fulfilled.
    pub events: Vec<Happened>,
}

/// An event with the state after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// What happened.
    pub event: Event,
    /// The attention after it.
    pub after: Attention,
}

/// Collects events, keeping the state after each.
struct Course {
    state: Option<Attention>,
    events: Vec<Happened>,
}

impl Course {
    fn then(mut self, event: Event) -> Self {
        self.state = evolve(self.state.take(), &event);
        if let Some(after) = &self.state {
            self.events.push(Happened { event, after: after.clone() });
        }
        self
    }

    fn decided(self) -> Result<Decision, Rejection> {
        Ok(Decision { state: self.state, events: self.events })
    }
}

/// Decides `command` at `now` (the database's clock).
///
/// # Errors
/// The rejection, when the state forbids it.
pub fn decide(
    state: Option<&Attention>,
    command: Command,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    let course = Course { state: state.cloned(), events: Vec::new() };
    match command {
        Command::ReceiveMessage { message, waiting_since, interaction, campaign, opening } => {
            receive(course, Received { message, waiting_since, interaction, campaign, opening }, now)
        }
        Command::MakeOffer { version, offer, agent, deadline_at } => make_offer(
            course,
            version,
            Offer { id: offer, agent, offered_at: now, deadline_at, sender: None },
        ),
        Command::ExpireOffer { version, offer, because, returns } => {
            expire(course, version, offer, because, returns, now)
        }
        Command::Overflow { version, after, to } => overflow(course, version, after, to, now),
        Command::DeclineOffer { offer, agent, returns } => decline(course, offer, agent, returns, now),
        Command::Open { agent } => open(course, agent, now),
        Command::Release { agent } => {
            opened_by(&course, &agent)?;
            course.then(Event::InteractionReleased { agent, at: now, because: Handover::Released }).decided()
        }
        Command::Transfer { agent, to } => hand::hand_over(course, agent, to, now),
        Command::Reassign { to } => hand::reassign(course, to, now),
        Command::TakeBack => hand::take_back(course, now),
        Command::Orphan { agent, absent_since, after } => {
            hand::orphan(course, agent, (absent_since, after), now)
        }
        Command::Reopen { agent, live, successor_open } => {
            begin::reopen(course, agent, live, successor_open, now)
        }
        Command::Start { opening, campaign, interaction, agent, message } => {
            begin::start(course, begin::Started { opening, campaign, interaction, agent, message }, now)
        }
        Command::Dial { opening, campaign, message } => dial::dial(course, opening, campaign, message),
        Command::GiveUp { due_at } => dial::give_up(course, due_at, now),
        Command::TakeOver { interaction, campaign, agent, message } => {
            dial::take_over(course, dial::Taken { interaction, campaign, agent, message }, now)
        }
        Command::AddNote { message } => begin::note(course, message),
        Command::AnswerAutomatically { message } => begin::automatic(course, message),
        Command::SendMessage { agent, message, template } => {
            chat::send(course, &agent, message, template, now)
        }
        Command::React { agent, message } => chat::react(course, &agent, message, now),
        Command::RetryMessage { agent, message, recipients, template } => {
            delivery::retry(course, &agent, message, recipients, (template, now))
        }
        Command::ReportDelivery { message, reported, returned, recipient } => {
            delivery::report(course, message, reported, returned, recipient)
        }
        Command::MoveWindow { ends_at } => chat::move_window(course, ends_at),
        Command::AlterMessage { message, because } => chat::alter(course, message, because),
        Command::SaveForm { agent } => thread::save_form(course, &agent),
        Command::End { agent, close, problems } => end(course, &agent, close, problems, now),
        Command::Link { to } => thread::link(course, to),
        Command::Tag { tag } => thread::tag(course, tag),
        Command::Untag { tag } => thread::untag(course, tag),
        Command::ChangeContact { contact } => thread::change_contact(course, contact),
    }
}

struct Received {
    message: MessageSummary,
    waiting_since: OffsetDateTime,
    interaction: InteractionId,
    campaign: CampaignKey,
    opening: Option<Opening>,
}

fn receive(course: Course, received: Received, now: OffsetDateTime) -> Result<Decision, Rejection> {
    let Some(attention) = &course.state else {
        let opening = received.opening.clone().ok_or(Rejection::UnknownAttention)?;
        let campaign = received.campaign.clone();
        let opened = Event::AttentionOpened { opening, campaign, waits: false };
        return begin(course.then(opened), received, now);
    };
    if !attention.phase.is_live() {
        return Err(Rejection::AttentionClosed);
    }
    match &attention.interaction {
        Some(live) if live.is_live() => {
            if live.message_count >= MAX_MESSAGES {
                return Err(Rejection::TooManyMessages);
            }
            course.then(Event::MessageReceived { message: received.message, begins: false }).decided()
        }
        Some(_) | None => begin(course, received, now),
    }
}

fn begin(course: Course, received: Received, now: OffsetDateTime) -> Result<Decision, Rejection> {
    // What answers a dialer was begun by us.
    let direction = match course.state.as_ref().map(|state| state.phase) {
        Some(Phase::Waiting) => Direction::Outbound,
        Some(Phase::Open | Phase::Closed { .. }) | None => Direction::Inbound,
    };
    course
        .then(Event::InteractionQueued {
            interaction: received.interaction,
            direction,
            campaign: received.campaign,
            waiting_since: received.waiting_since.min(now),
            queued_at: now,
        })
        .then(Event::MessageReceived { message: received.message, begins: true })
        .decided()
}

fn make_offer(course: Course, version: i64, offer: Offer) -> Result<Decision, Rejection> {
    let queued = queued_at_version(&course, version)?;
    if queued.offer.is_some() {
        return Err(Rejection::OfferOutstanding);
    }
    course.then(Event::InteractionOffered { offer, because: Offered::Routed }).decided()
}

fn expire(
    course: Course,
    version: i64,
    id: OfferId,
    because: Expire,
    returns: bool,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    let queued = queued_at_version(&course, version)?;
    let offer = queued.offer.filter(|offer| offer.id == id).ok_or(Rejection::OfferGone)?;
    let withdrawn = match because {
        Expire::AcceptTimeout => {
            if offer.deadline_at.is_none_or(|deadline| now < deadline) {
                return Err(Rejection::TooEarly);
            }
            Withdrawn::AcceptTimeout
        }
        Expire::AgentAbsent => Withdrawn::AgentAbsent,
        Expire::AgentPaused => Withdrawn::AgentPaused,
    };
    let passed_by = offer.agent.clone();
    let course =
        course.then(Event::OfferWithdrawn { offer: id, passed_by, rings_on: false, because: withdrawn });
    given_back(course, offer.sender.filter(|_| returns), now)
}

/// An offer that was not taken goes back to whoever transferred it, when he is there.
fn given_back(course: Course, sender: Option<UserKey>, now: OffsetDateTime) -> Result<Decision, Rejection> {
    match sender {
        Some(agent) => {
            course.then(Event::InteractionOpened { agent, at: now, because: Opened::Returned }).decided()
        }
        None => course.decided(),
    }
}

fn overflow(
    course: Course,
    version: i64,
    after: Duration,
    to: Option<CampaignKey>,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    let queued = queued_at_version(&course, version)?;
    let been_there = to.as_ref().is_some_and(|to| queued.been_in(to));
    if queued.overflowed || been_there {
        return Err(Rejection::AlreadyOverflowed);
    }
    // A transfer is on its way from one agent to another: not taken, it goes back to its sender and into no other queue. The
    // campaign's clock counts again when he is gone.
    if queued.offer.as_ref().is_some_and(|offer| offer.sender.is_some()) {
        return Err(Rejection::OfferOutstanding);
    }
    if now - queued.queued_at < after {
        return Err(Rejection::TooEarly);
    }
    let course = match queued.offer {
        Some(offer) => course.then(withdraw(offer.id, Withdrawn::Overflow)),
        None => course,
    };
    match to {
        None => course.then(Event::InteractionOverflowed).decided(),
        Some(to) => transfer::events(&queued.campaign, &to, Handover::Overflow, now)
            .into_iter()
            .fold(course, Course::then)
            .decided(),
    }
}

fn withdraw(offer: OfferId, because: Withdrawn) -> Event {
    Event::OfferWithdrawn { offer, passed_by: None, rings_on: false, because }
}

fn decline(
    course: Course,
    id: OfferId,
    agent: UserKey,
    returns: bool,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    let interaction = addressed(&course)?;
    let Stage::Queued { offer: Some(offer), .. } = &interaction.stage else {
        return Err(Rejection::OfferGone);
    };
    if offer.id != id {
        return Err(Rejection::OfferGone);
    }
    if offer.agent.as_ref().is_some_and(|other| *other != agent) {
        return Err(Rejection::NotYours);
    }
    let rings_on = offer.agent.is_none();
    let sender = offer.sender.clone().filter(|_| returns);
    let because = Withdrawn::Declined;
    let course = course.then(Event::OfferWithdrawn { offer: id, passed_by: Some(agent), rings_on, because });
    given_back(course, sender, now)
}

fn open(course: Course, agent: UserKey, now: OffsetDateTime) -> Result<Decision, Rejection> {
    let interaction = addressed(&course)?;
    let foreign = match &interaction.stage {
        Stage::Open { agent: other, .. } if *other == agent => return course.decided(),
        Stage::Open { .. } => return Err(Rejection::AlreadyTaken),
        Stage::Ended { .. } => return Err(Rejection::AlreadyEnded),
        Stage::Queued { offer: None, .. } => None,
        Stage::Queued { offer: Some(offer), .. } => {
            offer.agent.as_ref().filter(|other| **other != agent).map(|_| offer.id)
        }
    };
    let course = match foreign {
        Some(offer) => course.then(withdraw(offer, Withdrawn::OpenedByOther)),
        None => course,
    };
    course.then(Event::InteractionOpened { agent, at: now, because: Opened::Taken }).decided()
}

fn end(
    course: Course,
    agent: &UserKey,
    close: bool,
    problems: Vec<FieldProblem>,
    now: OffsetDateTime,
) -> Result<Decision, Rejection> {
    opened_by(&course, agent)?;
    if !problems.is_empty() {
        return Err(Rejection::FormIncomplete(problems));
    }
    let close = close || chat::ends_together(&course)?;
    let course = course.then(Event::InteractionEnded { at: now, closes: close });
    if !close {
        return course.decided();
    }
    course.then(Event::AttentionClosed { at: now, because: Closed::Ended }).decided()
}

fn existing(course: &Course) -> Result<&Attention, Rejection> {
    course.state.as_ref().ok_or(Rejection::UnknownAttention)
}

fn addressed(course: &Course) -> Result<&Interaction, Rejection> {
    existing(course)?.interaction.as_ref().ok_or(Rejection::UnknownAttention)
}

/// The interaction, when `agent` has it open.
fn opened_by<'a>(course: &'a Course, agent: &UserKey) -> Result<&'a Interaction, Rejection> {
    let interaction = addressed(course)?;
    match &interaction.stage {
        Stage::Open { agent: holder, .. } if holder == agent => Ok(interaction),
        Stage::Open { .. } => Err(Rejection::NotYours),
        Stage::Queued { .. } => Err(Rejection::NotOpen),
        Stage::Ended { .. } => Err(Rejection::AlreadyEnded),
    }
}

struct Queued {
    campaign: CampaignKey,
    offer: Option<Offer>,
    overflowed: bool,
    overflowed_from: Vec<CampaignKey>,
    queued_at: OffsetDateTime,
}

impl Queued {
    /// True when it is in this campaign, or left it by overflow since it was queued.
    fn been_in(&self, campaign: &CampaignKey) -> bool {
        self.campaign == *campaign || self.overflowed_from.contains(campaign)
    }
}

/// The queue's view of it, when it is queued at exactly this version: the router's compare-and-set.
fn queued_at_version(course: &Course, version: i64) -> Result<Queued, Rejection> {
    let interaction = addressed(course)?;
    if interaction.version != version {
        return Err(Rejection::StaleVersion);
    }
    match &interaction.stage {
        Stage::Queued { offer, overflowed, passed_by: _, overflowed_from } => Ok(Queued {
            campaign: interaction.campaign.clone(),
            offer: offer.clone(),
            overflowed: *overflowed,
            overflowed_from: overflowed_from.clone(),
            queued_at: interaction.queued_at,
        }),
        Stage::Open { .. } => Err(Rejection::AlreadyTaken),
        Stage::Ended { .. } => Err(Rejection::AlreadyEnded),
    }
}
