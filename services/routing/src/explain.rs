//! `ExplainInteraction`: the stored decisions, for a queued item why nobody has it now, and of any why not a certain agent.
//!
//! Any replica answers: state, campaign, members and loads come from attention-state in one reading, sessions from the
//! bucket that every replica watches. The rules are those of the engine.

use hilo_kit::directory::{Directory, Role};
use hilo_kit::error::Error;
use hilo_proto::event::v1::{InteractionSnapshot, InteractionState};
use hilo_proto::internal::v1::{ListDecisionsResponse, OverflowMode, RoutingAgent, RoutingCampaign};
use hilo_proto::routing::v1::{
    AgentExplanation, ExplainInteractionResponse, QueuedExplanation, RuleRemoved, SkillLacking,
};
use prost_types::Timestamp;

use crate::asked::Asked;
use crate::convert;
use crate::domain::{Candidate, Instant, Presence, Rule, Sifted, Traits, sift};

/// Roles that see who is meant; an agent sees numbers.
const SEE_NAMES: [Role; 3] = [Role::Supervisor, Role::Coordinator, Role::Monitor];

/// The one answer for ids that do not exist and for those the caller may not know of; the same as attention-state's.
pub fn not_found() -> Error {
    Error::missing("INTERACTION_NOT_FOUND", "there is no such interaction")
}

/// Who asks.
#[derive(Debug)]
pub struct Asker<'a> {
    /// User key.
    pub user: &'a str,
    /// The directory as it is now.
    pub directory: &'a Directory,
}

impl Asker<'_> {
    fn sees_names(&self) -> bool {
        SEE_NAMES.iter().any(|role| self.directory.has_role(self.user, *role))
    }

    fn sees(&self, agent: &str) -> bool {
        self.sees_names() || agent == self.user
    }
}

/// Builds the answer from one reading; `presence` is what this replica knows of sessions, `agent` who is asked for, or empty.
///
/// # Errors
/// `INTERACTION_NOT_FOUND` when the asker may not see the campaign, `AGENT_NOT_FOUND` when the agent is no member of it or the
/// asker may not know.
pub fn answer(
    stored: ListDecisionsResponse,
    asker: &Asker<'_>,
    agent: &str,
    now: Instant,
    presence: impl Fn(&RoutingAgent) -> Presence,
) -> Result<ExplainInteractionResponse, Error> {
    if !asker.directory.may_see_campaign(asker.user, &stored.campaign_key) {
        return Err(not_found());
    }
    let ListDecisionsResponse { decisions, live, campaign, members, ahead, .. } = stored;
    let snapshot = live.and_then(|live| live.interaction);
    let Some(campaign) = campaign else {
        return if agent.is_empty() {
            Ok(ExplainInteractionResponse { decisions, queued: None, agent: None })
        } else {
            Err(agent_not_found())
        };
    };
    let mut asked = Asked::of(&campaign, snapshot.as_ref(), now);
    let presences: Vec<Presence> = members.iter().map(presence).collect();
    asked.reserve(&members, &presences);
    let candidates: Vec<Candidate<String>> = members
        .iter()
        .zip(presences)
        .map(|(member, presence)| {
            let traits = traits(member, &campaign.channel, presence);
            let passed = snapshot.as_ref().is_some_and(|one| one.passed_by.contains(&member.agent_key));
            Candidate { name: member.agent_key.clone(), traits, passed, unfit: asked.unfit(member, traits) }
        })
        .collect();
    let why = if agent.is_empty() {
        None
    } else {
        let of_him = members.iter().zip(&candidates).find(|(member, _)| member.agent_key == agent);
        let (member, candidate) = of_him.filter(|_| asker.sees(agent)).ok_or_else(agent_not_found)?;
        Some(why_not(member, candidate, &mut asked))
    };
    let queued = snapshot.filter(|one| one.state() == InteractionState::Queued);
    let queued = queued.map(|one| explanation(&one, &campaign, &asked, &candidates, ahead, asker));
    Ok(ExplainInteractionResponse { decisions, queued, agent: why })
}

fn agent_not_found() -> Error {
    Error::missing("AGENT_NOT_FOUND", "there is no such agent in the campaign")
}

/// What stands between the item and one member.
fn why_not(member: &RoutingAgent, candidate: &Candidate<String>, asked: &mut Asked) -> AgentExplanation {
    let lacking = asked.lacking(member).into_iter().map(|(skill_key, asked, has)| SkillLacking {
        skill_key: skill_key.to_string(),
        asked: asked.into(),
        has: has.into(),
    });
    let lacking: Vec<SkillLacking> = lacking.collect();
    let suffice_at = if lacking.is_empty() { None } else { asked.suffice_at(member) };
    AgentExplanation {
        agent_key: member.agent_key.clone(),
        rule: candidate.rule().map(Rule::word).unwrap_or_default().to_owned(),
        lacking,
        skills_suffice_at: suffice_at.map(convert::timestamp),
        weight: i32::try_from(asked.weight()).unwrap_or(i32::MAX),
        load: i32::try_from(candidate.traits.load).unwrap_or(i32::MAX),
        capacity: i32::try_from(candidate.traits.capacity).unwrap_or(i32::MAX),
    }
}

fn traits(member: &RoutingAgent, channel: &str, presence: Presence) -> Traits {
    let lane = member.loads.iter().find(|load| load.channel == channel);
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    Traits {
        active: member.active,
        presence,
        paused: member.paused,
        load: lane.map_or(0, |lane| number(lane.load)),
        capacity: lane.map_or(0, |lane| number(lane.capacity)),
        // Only the replica that decides knows whom it left out for a moment after a refusal.
        held: false,
        saving: false,
    }
}

fn explanation(
    snapshot: &InteractionSnapshot,
    campaign: &RoutingCampaign,
    asked: &Asked,
    candidates: &[Candidate<String>],
    ahead: i32,
    asker: &Asker<'_>,
) -> QueuedExplanation {
    let Sifted { removed, eligible } = sift(candidates);
    let names = |names: Vec<String>| if asker.sees_names() { names } else { Vec::new() };
    let offer = snapshot.offer.as_ref();
    let reason = match (offer, campaign.active, eligible.is_empty(), ahead) {
        (Some(_), _, _, _) => "rings",
        (None, false, _, _) => "campaign_inactive",
        (None, true, true, _) => "nobody_eligible",
        (None, true, false, 1..) => "older_first",
        (None, true, false, _) => "being_offered",
    };
    let overflow = overflow(snapshot, campaign);
    let reserved = asked.reserved_for();
    QueuedExplanation {
        campaign_key: campaign.campaign_key.clone(),
        reason: reason.to_owned(),
        mode: campaign.mode,
        candidates: count(candidates.len()),
        removed: removed
            .into_iter()
            .map(|(rule, keys)| RuleRemoved {
                rule: rule.word().to_owned(),
                count: count(keys.len()),
                agent_keys: names(keys),
            })
            .collect(),
        eligible: count(eligible.len()),
        eligible_keys: names(eligible),
        ahead,
        waiting_since: snapshot.waiting_since,
        queued_at: snapshot.queued_at,
        overflow_campaign_key: overflow.as_ref().map(|(_, to)| to.clone()).unwrap_or_default(),
        overflow_at: overflow.map(|(at, _)| at),
        rings_at: offer
            .map(|offer| offer.agent_key.clone())
            .filter(|key| asker.sees(key))
            .unwrap_or_default(),
        rings_until: offer.and_then(|offer| offer.deadline_at),
        skills: asked.skills(),
        weight: i32::try_from(asked.weight()).unwrap_or(i32::MAX),
        reserved_for: reserved
            .map(|(key, _)| key.to_string())
            .filter(|key| asker.sees(key))
            .unwrap_or_default(),
        reserved_until: reserved.map(|(_, until)| convert::timestamp(until)),
    }
}

/// When the overflow takes effect, and the campaign it leads to; `None` when none is to come.
fn overflow(snapshot: &InteractionSnapshot, campaign: &RoutingCampaign) -> Option<(Timestamp, String)> {
    let transferred = snapshot.offer.as_ref().is_some_and(|offer| !offer.sender_key.is_empty());
    let may = campaign.overflow_seconds > 0 && !snapshot.overflowed && !transferred;
    let queued_at = snapshot.queued_at.filter(|_| may)?;
    let at = Timestamp { seconds: queued_at.seconds + i64::from(campaign.overflow_seconds), ..queued_at };
    let to = &campaign.overflow_campaign_key;
    match campaign.overflow_mode() {
        OverflowMode::Unspecified | OverflowMode::None => None,
        OverflowMode::AssignToAll => {
            let at_everyone = snapshot.offer.as_ref().is_some_and(|offer| offer.agent_key.is_empty());
            (!at_everyone).then(|| (at, String::new()))
        }
        OverflowMode::SendToCampaign => (!snapshot.overflowed_from.contains(to)).then(|| (at, to.clone())),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
