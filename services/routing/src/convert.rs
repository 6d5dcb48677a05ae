//! Between the contracts and the engine: states in, decisions out. Nothing here decides anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use hilo_kit::error::Error;
use hilo_proto::directory::v1::{SkillLevel, SkillRelaxation};
use hilo_proto::event::v1 as event;
use hilo_proto::internal::v1 as internal;
use prost_types::Timestamp;
use uuid::Uuid;

use crate::domain::{
    AgentView, Answer, CampaignConfig, Channel, Decision, DecisionRecord, Demand, ExpireReason, Instant,
    InteractionId, ItemState, ItemView, LANES, Level, Mode, OfferId, Outcome, Overflow, OverflowAction,
    Preferred, Queued, RULES, Relaxation, Ringing, Selection, SharedDemand, Skill, Span, Target,
};
use crate::names::Names;

/// A live item, or the news that it is not live any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Queued or open.
    Live(ItemView),
    /// Ended.
    Ended {
        /// The interaction.
        interaction: InteractionId,
        /// Version with which it ended.
        version: i64,
    },
}

fn malformed(what: &'static str) -> Error {
    Error::corrupt("MALFORMED_INTERACTION", what)
}

/// An instant of the database's clock.
pub fn instant(at: &Timestamp) -> Instant {
    Instant(at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos) / 1_000))
}

/// The protobuf form.
pub fn timestamp(at: Instant) -> Timestamp {
    let nanos = at.0.rem_euclid(1_000_000) * 1_000;
    Timestamp { seconds: at.0.div_euclid(1_000_000), nanos: i32::try_from(nanos).unwrap_or(0) }
}

/// An interaction's id from its text.
///
/// # Errors
/// `MALFORMED_INTERACTION`.
pub fn interaction_id(text: &str) -> Result<InteractionId, Error> {
    uuid(text).map(InteractionId)
}

fn uuid(text: &str) -> Result<u128, Error> {
    Uuid::try_parse(text).map(|id| id.as_u128()).map_err(|_| malformed("an id is not a UUID"))
}

/// The state of an interaction as events, snapshots and answers carry it.
///
/// # Errors
/// `MALFORMED_INTERACTION` when the snapshot contradicts its contract.
pub fn item(snapshot: &event::InteractionSnapshot, names: &mut Names) -> Result<Item, Error> {
    let interaction = interaction_id(&snapshot.interaction_id)?;
    let version = snapshot.version;
    let state = match snapshot.state() {
        event::InteractionState::Unspecified => return Err(malformed("an interaction has no state")),
        event::InteractionState::Ended => return Ok(Item::Ended { interaction, version }),
        event::InteractionState::Open => {
            if snapshot.agent_key.is_empty() {
                return Err(malformed("an open interaction has no agent"));
            }
            ItemState::Open(names.agent(&snapshot.agent_key))
        }
        event::InteractionState::Queued => ItemState::Queued(queued(snapshot, names)?),
    };
    if snapshot.campaign_key.is_empty() {
        return Err(malformed("an interaction has no campaign"));
    }
    Ok(Item::Live(ItemView {
        interaction,
        version,
        campaign: names.campaign(&snapshot.campaign_key),
        priority: snapshot.priority,
        state,
        passed_by: snapshot.passed_by.iter().map(|key| names.agent(key)).collect(),
        overflowed_from: snapshot.overflowed_from.iter().map(|key| names.campaign(key)).collect(),
        demand: demand(snapshot, names),
    }))
}

/// What the item asks for by itself; most ask for nothing. None of it is worth leaving an item without an offer, so what
/// contradicts its contract here counts as not said.
fn demand(snapshot: &event::InteractionSnapshot, names: &mut Names) -> SharedDemand {
    let until = snapshot.preferred_until.as_ref().filter(|_| !snapshot.preferred_agent_key.is_empty());
    let preferred = until
        .map(|until| Preferred { agent: names.agent(&snapshot.preferred_agent_key), until: instant(until) });
    let weight = u32::try_from(snapshot.weight).unwrap_or(0);
    let asks = weight > 1 || snapshot.vip || preferred.is_some();
    asks.then(|| Arc::new(Demand { skills: Vec::new(), weight, vip: snapshot.vip, preferred }))
}

fn queued(snapshot: &event::InteractionSnapshot, names: &mut Names) -> Result<Queued, Error> {
    let required = |at: &Option<Timestamp>| {
        at.as_ref().map(instant).ok_or(malformed("a queued interaction has no time"))
    };
    let offer = match &snapshot.offer {
        None => None,
        Some(offer) => Some(Ringing {
            offer: OfferId(uuid(&offer.offer_id)?),
            target: match offer.agent_key.as_str() {
                "" => Target::Everyone,
                key => Target::Agent(names.agent(key)),
            },
            deadline: offer.deadline_at.as_ref().map(instant),
            transferred: !offer.sender_key.is_empty(),
        }),
    };
    Ok(Queued {
        waiting_since: required(&snapshot.waiting_since)?,
        queued_at: required(&snapshot.queued_at)?,
        overflowed: snapshot.overflowed,
        offer,
    })
}

fn channel(name: &str) -> Channel {
    match name {
        "whatsapp" => Channel::Whatsapp,
        _ => Channel::Email,
    }
}

/// The name of a channel in the contracts.
pub fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Email => "email",
        Channel::Whatsapp => "whatsapp",
    }
}

/// A campaign's configuration. Zero seconds switch a clock off.
pub fn campaign(campaign: &internal::RoutingCampaign, version: i64, names: &mut Names) -> CampaignConfig {
    let span = |seconds: i32| (seconds > 0).then(|| Span::seconds(i64::from(seconds)));
    let action = match campaign.overflow_mode() {
        internal::OverflowMode::Unspecified | internal::OverflowMode::None => None,
        internal::OverflowMode::AssignToAll => Some(OverflowAction::AssignToAll),
        internal::OverflowMode::SendToCampaign => {
            Some(OverflowAction::SendToCampaign(names.campaign(&campaign.overflow_campaign_key)))
        }
    };
    let pointer = campaign.rotation_pointer.as_str();
    CampaignConfig {
        campaign: names.campaign(&campaign.campaign_key),
        version,
        channel: channel(&campaign.channel),
        active: campaign.active,
        mode: match campaign.mode() {
            internal::AssignmentMode::Unspecified | internal::AssignmentMode::Everyone => Mode::Everyone,
            internal::AssignmentMode::RoundRobin => Mode::RoundRobin,
            internal::AssignmentMode::LeastBusy => Mode::LeastBusy,
            internal::AssignmentMode::Random => Mode::Random,
            internal::AssignmentMode::LongestIdle => Mode::LongestIdle,
        },
        accept_timeout: span(campaign.accept_timeout_seconds),
        overflow: span(campaign.overflow_seconds)
            .zip(action)
            .map(|(after, action)| Overflow { after, action }),
        members: campaign.member_keys.iter().map(|key| names.agent(key)).collect(),
        pointer: if pointer.is_empty() { None } else { Some(names.agent(pointer)) },
        selection: Selection {
            required: skills(&campaign.required_skills, names),
            relaxation: campaign.relaxation.iter().map(|step| relaxation(step, names)).collect(),
            ageing: span(campaign.ageing_seconds),
            vip_bonus: campaign.vip_bonus,
            // What was too heavy for longer than the overflow time has capacity saved for it, also where nothing overflows.
            saving_after: span(campaign.overflow_seconds),
        },
    }
}

/// A level of the contracts, 1 to 100; what is outside counts as the nearest.
fn level(level: i32) -> Level {
    Level::try_from(level.clamp(0, 100)).unwrap_or(Level::MAX)
}

fn skills(skills: &[SkillLevel], names: &mut Names) -> Vec<Skill> {
    skills.iter().map(|one| Skill { skill: names.skill(&one.skill_key), level: level(one.level) }).collect()
}

fn relaxation(step: &SkillRelaxation, names: &mut Names) -> Relaxation {
    Relaxation {
        after: Span::seconds(i64::from(step.after_seconds)),
        skill: names.skill(&step.skill_key),
        level: (step.level > 0).then(|| level(step.level)),
    }
}

/// An agent's state.
pub fn agent(agent: &internal::RoutingAgent, names: &mut Names) -> AgentView {
    let lane = |channel: Channel| agent.loads.iter().find(|load| load.channel == channel_name(channel));
    let capacity = |channel| lane(channel).map_or(0, |load| u32::try_from(load.capacity).unwrap_or(0));
    let last_offered = |channel| lane(channel).and_then(|load| load.last_offered_at.as_ref()).map(instant);
    let idle_since = |channel| lane(channel).and_then(|load| load.idle_since.as_ref()).map(instant);
    AgentView {
        agent: names.agent(&agent.agent_key),
        version: agent.version,
        active: agent.active,
        paused: agent.paused,
        capacity: LANES.map(capacity),
        last_offered: LANES.map(last_offered),
        idle_since: LANES.map(idle_since),
        skills: skills(&agent.skills, names),
    }
}

/// A decision as a change to be committed.
pub fn change(decision: &Decision, names: &Names) -> internal::AssignmentChange {
    use internal::assignment_change::Change;
    let (interaction, version) = decision.subject();
    let (change, record) = match decision {
        Decision::Offer(offer) => {
            let agent_key = match offer.target {
                Target::Agent(agent) => names.agent_key(agent).to_string(),
                Target::Everyone => String::new(),
            };
            let pointer = offer.record.pointer.map(|agent| names.agent_key(agent).to_string());
            let made = internal::MakeOffer { agent_key, rotation_pointer: pointer.unwrap_or_default() };
            (Change::Offer(made), Some(record(&offer.record, names)))
        }
        Decision::Expire { offer, reason, .. } => {
            let reason = match reason {
                ExpireReason::AcceptTimeout => "accept_timeout",
                ExpireReason::AgentAbsent => "agent_absent",
                ExpireReason::AgentPaused => "agent_paused",
            };
            let offer_id = Uuid::from_u128(offer.0).to_string();
            (Change::Expire(internal::ExpireOffer { offer_id, reason: reason.to_owned() }), None)
        }
        Decision::Overflow { .. } => (Change::Overflow(internal::Overflow {}), None),
    };
    internal::AssignmentChange {
        interaction_id: Uuid::from_u128(interaction.0).to_string(),
        version,
        change: Some(change),
        decision: record,
    }
}

fn record(record: &DecisionRecord, names: &Names) -> internal::DecisionRecord {
    let key = |agent| names.agent_key(agent).to_string();
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let counted = RULES.iter().zip(record.removed).filter(|(_, removed)| *removed > 0);
    let removed: BTreeMap<String, i32> =
        counted.map(|(rule, removed)| (rule.word().to_owned(), count(removed))).collect();
    let mode = match record.mode {
        Mode::Everyone => internal::AssignmentMode::Everyone,
        Mode::RoundRobin => internal::AssignmentMode::RoundRobin,
        Mode::LeastBusy => internal::AssignmentMode::LeastBusy,
        Mode::Random => internal::AssignmentMode::Random,
        Mode::LongestIdle => internal::AssignmentMode::LongestIdle,
    };
    internal::DecisionRecord {
        config_version: record.config_version,
        winner: record.winner.map(key).unwrap_or_default(),
        mode: mode.into(),
        candidates: count(record.candidates),
        removed,
        runner_up: record.next_best.map(key).unwrap_or_default(),
        score: f64::from(record.score),
    }
}

/// What the answer to a change means for the engine; `None` for BUSY, which is asked again.
pub fn outcome(outcome: internal::AssignmentOutcome) -> Option<Outcome> {
    use internal::AssignmentOutcome as Wire;
    match outcome {
        Wire::Busy => None,
        Wire::Applied => Some(Outcome::Applied),
        Wire::Conflict => Some(Outcome::Conflict),
        Wire::NoCapacity => Some(Outcome::NoCapacity),
        Wire::NotAvailable => Some(Outcome::NotAvailable),
        Wire::TooEarly => Some(Outcome::TooEarly),
        Wire::Gone => Some(Outcome::Gone),
        Wire::Unspecified => Some(Outcome::Unanswered),
    }
}

/// An answer without any news.
pub fn unanswered(decision: &Decision) -> Answer {
    let (interaction, version) = decision.subject();
    Answer { interaction, version, outcome: Outcome::Unanswered, current: None }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
