//! Rows as the queries answer them, and the domain states they mean.

use hilo_kit::error::Error;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attention::domain::{
    AccountKey, Attention, AttentionId, CampaignKey, Channel, ContactId, Demand, Direction, Interaction,
    InteractionId, Offer, OfferId, Phase, Preferred, Stage, TagKey, UserKey,
};

pub(super) struct AttentionRow {
    pub attention_id: Uuid,
    pub number: i64,
    pub channel: String,
    pub account_key: String,
    pub campaign_key: String,
    pub contact_id: Uuid,
    pub customer_address: String,
    pub subject: String,
    pub closed_at: Option<OffsetDateTime>,
    pub window_ends_at: Option<OffsetDateTime>,
    pub sequence: i64,
    pub send_sequence: i64,
    pub message_position: i64,
    pub interaction_count: i32,
    pub linked_attention_id: Option<Uuid>,
    pub lineage_id: Uuid,
    pub participants: Vec<String>,
    pub flooded: bool,
    pub tags: Vec<String>,
}

/// An attention as stored: the domain's head (no interaction addressed yet) and what the domain does not need.
#[derive(Clone, Debug)]
pub(crate) struct LoadedAttention {
    pub head: Attention,
    pub customer_address: String,
    pub subject: String,
    pub lineage: AttentionId,
    pub participants: Vec<String>,
    /// Its interaction was full once: later messages go on in a linked attention.
    pub flooded: bool,
}

/// An interaction as stored.
#[derive(Clone, Debug)]
pub(crate) struct LoadedInteraction {
    pub attention: AttentionId,
    pub interaction: Interaction,
    pub traceparent: String,
}

fn corrupt(what: &'static str) -> Error {
    Error::corrupt("ROW_CONTRADICTS_ITSELF", what)
}

impl AttentionRow {
    pub(super) fn load(self) -> Result<LoadedAttention, Error> {
        let head = Attention {
            id: AttentionId(self.attention_id),
            number: self.number,
            channel: Channel::of(&self.channel)
                .ok_or_else(|| corrupt("an attention has an unknown channel"))?,
            account: AccountKey::new(self.account_key),
            campaign: CampaignKey::new(self.campaign_key),
            contact: ContactId(self.contact_id),
            linked: self.linked_attention_id.map(AttentionId),
            sequence: self.sequence,
            messages: self.message_position,
            sends: self.send_sequence,
            interactions: self.interaction_count,
            phase: match self.closed_at {
                Some(at) => Phase::Closed { at },
                // Only a dialer's attention begins without an interaction (`waiting_iff_no_interaction_yet`).
                None if self.interaction_count == 0 => Phase::Waiting,
                None => Phase::Open,
            },
            window_ends_at: self.window_ends_at,
            tags: self.tags.iter().map(TagKey::new).collect(),
            interaction: None,
        };
        Ok(LoadedAttention {
            head,
            customer_address: self.customer_address,
            subject: self.subject,
            lineage: AttentionId(self.lineage_id),
            participants: self.participants,
            flooded: self.flooded,
        })
    }
}

pub(super) struct InteractionRow {
    pub interaction_id: Uuid,
    pub attention_id: Uuid,
    pub ordinal: i32,
    pub version: i64,
    pub state: String,
    pub direction: String,
    pub campaign_key: String,
    pub agent_key: Option<String>,
    pub waiting_since: OffsetDateTime,
    pub queued_at: OffsetDateTime,
    pub opened_at: Option<OffsetDateTime>,
    pub ended_at: Option<OffsetDateTime>,
    pub offer_id: Option<Uuid>,
    pub offer_agent_key: Option<String>,
    pub offered_at: Option<OffsetDateTime>,
    pub offer_deadline_at: Option<OffsetDateTime>,
    pub offer_sender_key: Option<String>,
    pub overflowed: bool,
    pub passed_by: Vec<String>,
    pub overflowed_from: Vec<String>,
    pub priority: i32,
    pub message_count: i32,
    pub weight: i32,
    pub vip: bool,
    pub preferred_agent_key: Option<String>,
    pub preferred_until: Option<OffsetDateTime>,
    pub closed_attention: bool,
    pub traceparent: String,
}

impl InteractionRow {
    pub(super) fn load(self) -> Result<LoadedInteraction, Error> {
        let stage = self.stage()?;
        let preferred = self.preferred_agent_key.as_deref().zip(self.preferred_until);
        let preferred = preferred.map(|(agent, until)| Preferred { agent: UserKey::new(agent), until });
        let interaction = Interaction {
            id: InteractionId(self.interaction_id),
            ordinal: self.ordinal,
            version: self.version,
            direction: Direction::of(&self.direction)
                .ok_or_else(|| corrupt("an interaction has no direction"))?,
            campaign: CampaignKey::new(self.campaign_key),
            waiting_since: self.waiting_since,
            queued_at: self.queued_at,
            priority: self.priority,
            message_count: self.message_count,
            demand: Demand { weight: self.weight, vip: self.vip, preferred },
            stage,
        };
        Ok(LoadedInteraction {
            attention: AttentionId(self.attention_id),
            interaction,
            traceparent: self.traceparent,
        })
    }

    fn stage(&self) -> Result<Stage, Error> {
        let agent = || {
            self.agent_key
                .as_deref()
                .map(UserKey::new)
                .ok_or_else(|| corrupt("an open interaction has no agent"))
        };
        let opened_at = || self.opened_at.ok_or_else(|| corrupt("an open interaction was never opened"));
        match self.state.as_str() {
            "queued" => Ok(Stage::Queued {
                offer: self.offer(),
                overflowed: self.overflowed,
                passed_by: self.passed_by.iter().map(UserKey::new).collect(),
                overflowed_from: self.overflowed_from.iter().map(CampaignKey::new).collect(),
            }),
            "open" => Ok(Stage::Open { agent: agent()?, opened_at: opened_at()? }),
            "ended" => Ok(Stage::Ended {
                agent: agent()?,
                opened_at: opened_at()?,
                ended_at: self.ended_at.ok_or_else(|| corrupt("an ended interaction has no end"))?,
                closed_attention: self.closed_attention,
            }),
            _ => Err(corrupt("an interaction has an unknown state")),
        }
    }

    fn offer(&self) -> Option<Offer> {
        let (id, offered_at) = (self.offer_id?, self.offered_at?);
        Some(Offer {
            id: OfferId(id),
            agent: self.offer_agent_key.as_deref().map(UserKey::new),
            offered_at,
            deadline_at: self.offer_deadline_at,
            sender: self.offer_sender_key.as_deref().map(UserKey::new),
        })
    }
}
