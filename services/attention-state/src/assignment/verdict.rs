//! Whether an offer fits what is true in the transaction. Pure: what the transaction read comes in as values.

use std::collections::{BTreeMap, BTreeSet};

use hilo_proto::internal::v1::AssignmentOutcome;

use super::load::Loads;
use crate::attention::domain::{CampaignKey, Channel, Rejection, UserKey};

/// What a batch needs to know of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignFacts {
    /// Partition it is routed in.
    pub partition: i32,
    /// Seconds an agent has to take an offer; 0 is off.
    pub accept_timeout_seconds: i32,
    /// The overflow, if it is on.
    pub overflow: Option<OverflowFacts>,
    /// False takes no new offers.
    pub active: bool,
}

/// The overflow of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverflowFacts {
    /// Seconds in the queue of the campaign.
    pub seconds: i32,
    /// Campaign it then moves to; `None` rings at everyone.
    pub to: Option<CampaignKey>,
}

/// What a batch was decided against.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Campaigns that the batches touch.
    pub campaigns: BTreeMap<String, CampaignFacts>,
    /// Members (campaign, agent) who are active, not paused and not absent.
    pub available: BTreeSet<(String, String)>,
    /// Senders (campaign, agent) of transferred items who are there to take them back.
    pub returning: BTreeSet<(String, String)>,
    /// Loads of the agents named, locked; lowered and raised as the batch goes on.
    pub loads: Loads,
}

impl Facts {
    /// Whether an offer of so much weight to one agent fits.
    ///
    /// # Errors
    /// The outcome that refuses it.
    pub fn fits(
        &self,
        campaign: &str,
        agent: &UserKey,
        channel: Channel,
        weight: i32,
    ) -> Result<(), AssignmentOutcome> {
        if !self.available.contains(&(campaign.to_owned(), agent.as_str().to_owned())) {
            return Err(AssignmentOutcome::NotAvailable);
        }
        let free = self.loads.get(&(agent.clone(), channel)).map_or(0, |load| load.free());
        if free >= weight { Ok(()) } else { Err(AssignmentOutcome::NoCapacity) }
    }

    /// Notes how a decision of the batch changes loads: whose capacity the item took, and takes now, with its weight.
    pub fn moved(
        &mut self,
        freed: Option<(&UserKey, i32)>,
        taken: Option<(&UserKey, i32)>,
        channel: Channel,
    ) {
        for (burden, sign) in [(freed, -1), (taken, 1)] {
            let Some((agent, weight)) = burden else { continue };
            if let Some(load) = self.loads.get_mut(&(agent.clone(), channel)) {
                load.load += sign * weight;
            }
        }
    }
}

/// What a rejection of the domain means to the router.
pub fn outcome(rejection: &Rejection) -> AssignmentOutcome {
    match rejection {
        Rejection::TooEarly => AssignmentOutcome::TooEarly,
        Rejection::UnknownAttention | Rejection::AlreadyEnded => AssignmentOutcome::Gone,
        Rejection::AlreadyTaken
        | Rejection::NotOpen
        | Rejection::NotYours
        | Rejection::AttentionClosed
        | Rejection::FormIncomplete(_)
        | Rejection::OfferGone
        | Rejection::OfferOutstanding
        | Rejection::StaleVersion
        | Rejection::AlreadyOverflowed
        | Rejection::TooManyMessages
        | Rejection::WindowClosed
        | Rejection::DeliverySettled
        | Rejection::NothingToRetry
        | Rejection::AlreadyLinked
        | Rejection::SameTarget
        | Rejection::InteractionLive
        | Rejection::SuccessorOpen
        | Rejection::OnlyEmail
        | Rejection::AlreadyBegun
        | Rejection::NotWaiting
        | Rejection::TooManyTags => AssignmentOutcome::Conflict,
    }
}
