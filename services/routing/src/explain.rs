//! `ExplainInteraction`: the stored decisions, and for a queued item why nobody has it now.
//!
//! Any replica answers: state, campaign, members and loads come from attention-state in one reading, sessions from the
//! bucket that every replica watches. The rules are those of the engine.

use hilo_kit::directory::{Directory, Role};
use hilo_kit::error::Error;
use hilo_proto::event::v1::InteractionSnapshot;
use hilo_proto::internal::v1::{ListDecisionsResponse, OverflowMode, RoutingAgent, RoutingCampaign};
use hilo_proto::routing::v1::{ExplainInteractionResponse, QueuedExplanation, RuleRemoved};
use prost_types::Timestamp;

use crate::domain::{Candidate, Presence, Sifted, Traits, sift};

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
}

/// Builds the answer from one reading; `presence` is what this replica knows of sessions.
///
/// # Errors
/// `INTERACTION_NOT_FOUND` when the asker may not see the campaign.
pub fn answer(
    stored: ListDecisionsResponse,
    asker: &Asker<'_>,
    presence: impl Fn(&RoutingAgent) -> Presence,
) -> Result<ExplainInteractionResponse, Error> {
    if !asker.directory.may_see_campaign(asker.user, &stored.campaign_key) {
        return Err(not_found());
    }
    let snapshot = stored.live.and_then(|live| live.interaction.map(|snapshot| (live.channel, snapshot)));
    let queued = snapshot.zip(stored.campaign).map(|((channel, snapshot), campaign)| {
        let candidates: Vec<Candidate<String>> = stored
            .members
            .iter()
            .map(|member| Candidate {
                name: member.agent_key.clone(),
                traits: traits(member, &channel, presence(member)),
                passed: snapshot.passed_by.contains(&member.agent_key),
                unfit: None,
            })
            .collect();
        explanation(&snapshot, &campaign, &candidates, stored.ahead, asker)
    });
    Ok(ExplainInteractionResponse { decisions: stored.decisions, queued })
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
    let seen = |agent: &str| asker.sees_names() || agent == asker.user;
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
        rings_at: offer.map(|offer| offer.agent_key.clone()).filter(|key| seen(key)).unwrap_or_default(),
        rings_until: offer.and_then(|offer| offer.deadline_at),
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
