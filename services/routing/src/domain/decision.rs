//! What the engine wants done, and why.

use super::agent::{STANDINGS, Standing};
use super::campaign::Mode;
use super::ids::{AgentId, CampaignId, InteractionId, OfferId};
use super::input::Target;
use super::time::Instant;

/// A rule that removes candidates, in the order of application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Deactivated.
    Inactive,
    /// No session.
    Absent,
    /// Session unknown.
    Unknown,
    /// Paused.
    Paused,
    /// At capacity.
    Full,
    /// Refused a moment ago.
    Held,
    /// Saves his capacity for a heavy item.
    Saving,
    /// The item is kept for somebody else.
    Reserved,
    /// Does not master what the item asks for.
    Skill,
    /// The item weighs more than his free capacity.
    TooHeavy,
    /// Let this item pass in this round.
    Passed,
}

/// All rules in order; the order of [`DecisionRecord::removed`].
pub const RULES: [Rule; 11] = [
    Rule::Inactive,
    Rule::Absent,
    Rule::Unknown,
    Rule::Paused,
    Rule::Full,
    Rule::Held,
    Rule::Saving,
    Rule::Reserved,
    Rule::Skill,
    Rule::TooHeavy,
    Rule::Passed,
];

impl Rule {
    /// The rule that removes somebody of this standing.
    pub fn of(standing: Standing) -> Option<Self> {
        match standing {
            Standing::Eligible => None,
            Standing::Inactive => Some(Self::Inactive),
            Standing::Absent => Some(Self::Absent),
            Standing::Unknown => Some(Self::Unknown),
            Standing::Paused => Some(Self::Paused),
            Standing::Full => Some(Self::Full),
            Standing::Held => Some(Self::Held),
            Standing::Saving => Some(Self::Saving),
        }
    }

    /// Stable word for the decision record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
            Self::Paused => "paused",
            Self::Full => "full",
            Self::Held => "held",
            Self::Saving => "saving",
            Self::Reserved => "reserved",
            Self::Skill => "unskilled",
            Self::TooHeavy => "too_heavy",
            Self::Passed => "passed",
        }
    }
}

/// Why an offer went where it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Configuration version decided with.
    pub config_version: i64,
    /// Mode decided by.
    pub mode: Mode,
    /// The winner; `None` for everyone.
    pub winner: Option<AgentId>,
    /// Members of the campaign.
    pub candidates: u32,
    /// How many each rule removed, in the order of [`RULES`]; each member counts for the first rule that removes him.
    pub removed: [u32; RULES.len()],
    /// Who would have been next.
    pub next_best: Option<AgentId>,
    /// Least busy: the winner's load before the offer. Round robin: his distance from the pointer. Longest idle: whole seconds
    /// for which he had nothing; 0 for who never had anything, or has something. Otherwise 0.
    pub score: u32,
    /// Round robin: the pointer after this offer.
    pub pointer: Option<AgentId>,
    /// True when everyone eligible had let it pass, so that this offer begins another round.
    pub new_round: bool,
}

/// How many who take offers do not fit an item, by the first reason.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unfit {
    pub(super) reserved: u32,
    pub(super) skill: u32,
    pub(super) too_heavy: u32,
}

impl DecisionRecord {
    /// Counts per rule from the counts per standing, those who do not fit the item, and those who let it pass.
    pub(super) fn removed(standings: &[u32; STANDINGS], unfit: Unfit, passed: u32) -> [u32; RULES.len()] {
        let [_, inactive, absent, unknown, paused, full, held, saving] = *standings;
        debug_assert_eq!(Standing::Eligible as usize, 0);
        let Unfit { reserved, skill, too_heavy } = unfit;
        [inactive, absent, unknown, paused, full, held, saving, reserved, skill, too_heavy, passed]
    }
}

/// An offer to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The interaction.
    pub interaction: InteractionId,
    /// The version it must still have.
    pub version: i64,
    /// Its campaign.
    pub campaign: CampaignId,
    /// At whom it shall ring.
    pub target: Target,
    /// When it would move on if committed now; the database's clock sets the real one.
    pub deadline: Option<Instant>,
    /// Why.
    pub record: DecisionRecord,
}

/// Why an offer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpireReason {
    /// Its deadline passed.
    AcceptTimeout,
    /// Its agent is gone or deactivated.
    AgentAbsent,
    /// Its agent paused.
    AgentPaused,
}

/// One change attention-state is asked to commit; a compare-and-set on the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Rings at somebody.
    Offer(Offer),
    /// The outstanding offer ends.
    Expire {
        /// The interaction.
        interaction: InteractionId,
        /// The version it must still have.
        version: i64,
        /// The offer.
        offer: OfferId,
        /// Why.
        reason: ExpireReason,
    },
    /// The overflow takes effect.
    Overflow {
        /// The interaction.
        interaction: InteractionId,
        /// The version it must still have.
        version: i64,
    },
}

impl Decision {
    /// The interaction and the version the decision was made on.
    pub fn subject(&self) -> (InteractionId, i64) {
        match self {
            Self::Offer(offer) => (offer.interaction, offer.version),
            Self::Expire { interaction, version, .. } | Self::Overflow { interaction, version } => {
                (*interaction, *version)
            }
        }
    }
}
