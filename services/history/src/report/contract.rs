//! Between the contracts and the domain of reports.

use hilo_kit::clock;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_proto::event::v1::{AttentionEvent, AttentionState, Direction as Way, InteractionSnapshot};
use hilo_proto::report::v1 as wire;
use time::OffsetDateTime;

use crate::domain::report::fact::State;
use crate::domain::report::query::{Asked, Condition, ReportState};
use crate::domain::report::{Fact, Group, Grouping, Happened};
use crate::domain::thread::Direction;

/// What an event tells reports; `None` for events that reports do not count, also those of a later release.
///
/// # Errors
/// `EVENT_MALFORMED` when it lacks what its contract requires.
pub fn fact(event: AttentionEvent) -> Result<Option<Fact>, Error> {
    let number = i16::try_from(event.r#type).unwrap_or_default();
    let (Some(happened), Some(interaction)) = (Happened::from_number(number), &event.interaction) else {
        return Ok(None);
    };
    counted(&event, happened, interaction)
        .map(Some)
        .ok_or_else(|| Error::corrupt("EVENT_MALFORMED", "an event lacks what its contract requires"))
}

fn counted(event: &AttentionEvent, happened: Happened, interaction: &InteractionSnapshot) -> Option<Fact> {
    let id = |text: &str| Uuid::try_parse(text).ok();
    let instant = |at: Option<&prost_types::Timestamp>| at.and_then(clock::from_proto);
    // What is about a transfer belongs to the campaign it goes to; the event's own campaign is where it was published.
    let campaign =
        [&interaction.campaign_key, &event.campaign_key].into_iter().find(|key| !key.is_empty())?;
    let message = match &event.message {
        Some(message) => Some(id(&message.message_id)?.into()),
        None => None,
    };
    let at: OffsetDateTime = instant(event.occurred_at.as_ref())?;
    Some(Fact {
        attention: id(&event.attention_id)?.into(),
        sequence: Some(event.sequence).filter(|sequence| *sequence > 0)?,
        interaction: id(&interaction.interaction_id)?.into(),
        happened,
        at,
        campaign: campaign.clone(),
        agent: interaction.agent_key.clone(),
        actor: event.actor_key.clone(),
        reason: event.reason.clone(),
        state: i16::try_from(interaction.state).ok().and_then(State::from_number)?,
        attention_closed: event.attention_state() == AttentionState::Closed,
        direction: direction(interaction.direction())?,
        ordinal: interaction.ordinal,
        waiting_since: instant(interaction.waiting_since.as_ref()),
        message,
        delivery_state: event
            .message
            .as_ref()
            .map(|message| message.delivery_state.clone())
            .unwrap_or_default(),
        out_of_hours: event.out_of_hours,
    })
}

fn direction(way: Way) -> Option<Direction> {
    match way {
        Way::Unspecified => None,
        Way::Inbound => Some(Direction::Inbound),
        Way::Outbound => Some(Direction::Outbound),
    }
}

/// A query as it was asked; what the contract does not know is noted with its field.
pub fn asked(query: Option<wire::ReportQuery>) -> Asked {
    let query = query.unwrap_or_default();
    let filter = query.filter.unwrap_or_default();
    let mut unknown = Vec::new();
    let states = known(&filter.states, state, "query.filter.states", &mut unknown);
    let conditions = known(&filter.conditions, condition, "query.filter.conditions", &mut unknown);
    let group_by = known(&query.group_by, grouping, "query.group_by", &mut unknown);
    let way = Way::try_from(filter.direction);
    if way.is_err() {
        unknown.push("query.filter.direction");
    }
    Asked {
        from: filter.from_date,
        to: filter.to_date,
        campaigns: filter.campaign_keys,
        agents: filter.agent_keys,
        states,
        conditions,
        direction: way.ok().and_then(direction),
        group_by,
        page_size: query.page_size,
        unknown,
    }
}

fn known<T>(
    numbers: &[i32],
    of: fn(i32) -> Option<T>,
    field: &'static str,
    unknown: &mut Vec<&'static str>,
) -> Vec<T> {
    let read: Vec<T> = numbers.iter().filter_map(|number| of(*number)).collect();
    if read.len() < numbers.len() {
        unknown.push(field);
    }
    read
}

fn state(number: i32) -> Option<ReportState> {
    match wire::ReportState::try_from(number).ok()? {
        wire::ReportState::Unspecified => None,
        wire::ReportState::Queued => Some(ReportState::Queued),
        wire::ReportState::Open => Some(ReportState::Open),
        wire::ReportState::Ended => Some(ReportState::Ended),
        wire::ReportState::Closed => Some(ReportState::Closed),
    }
}

fn condition(number: i32) -> Option<Condition> {
    match wire::ReportCondition::try_from(number).ok()? {
        wire::ReportCondition::Unspecified => None,
        wire::ReportCondition::Reassigned => Some(Condition::Reassigned),
        wire::ReportCondition::Orphaned => Some(Condition::Orphaned),
        wire::ReportCondition::OutOfHours => Some(Condition::OutOfHours),
    }
}

fn grouping(number: i32) -> Option<Grouping> {
    match wire::ReportGrouping::try_from(number).ok()? {
        wire::ReportGrouping::Unspecified => None,
        wire::ReportGrouping::Day => Some(Grouping::Day),
        wire::ReportGrouping::Campaign => Some(Grouping::Campaign),
        wire::ReportGrouping::Agent => Some(Grouping::Agent),
    }
}

/// A group as it is answered.
pub fn group(group: Group) -> wire::ReportGroup {
    wire::ReportGroup { date: group.day, campaign_key: group.campaign, agent_key: group.agent }
}
