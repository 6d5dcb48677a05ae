//! An agent inside the engine: state, load per channel, and the first rule that keeps new offers away.

use super::ids::{AgentId, CampaignId, Channel};
use super::time::{Instant, Span};

/// What is known of an agent's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presence {
    /// A live session.
    Present,
    /// Nothing is known, for instance while the presence bucket cannot be read. No new offers (nobody would see them
    /// ring), but what rings goes on ringing: unknown is not absent.
    Unknown,
    /// The session is gone.
    Absent,
}

/// The first rule that keeps an agent from a new offer in a channel, or `Eligible`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Takes offers.
    Eligible = 0,
    /// Deactivated or not known to the directory.
    Inactive = 1,
    /// No session.
    Absent = 2,
    /// Session unknown.
    Unknown = 3,
    /// Paused by choice.
    Paused = 4,
    /// At capacity.
    Full = 5,
    /// attention-state refused an offer to him a moment ago; tried again after a pause.
    Held = 6,
}

/// What the rules look at in an agent, in one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// False when switched off.
    pub active: bool,
    /// His session.
    pub presence: Presence,
    /// True while he chose a pause.
    pub paused: bool,
    /// Open items and offers.
    pub load: u32,
    /// Most of them that offers may fill.
    pub capacity: u32,
    /// True while he is left out after a refusal.
    pub held: bool,
}

impl Standing {
    /// The rules in the order in which they are counted: decisions and explanations alike come from here.
    pub fn of(traits: Traits) -> Self {
        let Traits { active, presence, paused, load, capacity, held } = traits;
        if !active {
            return Self::Inactive;
        }
        match presence {
            Presence::Absent => return Self::Absent,
            Presence::Unknown => return Self::Unknown,
            Presence::Present => {}
        }
        if paused {
            Self::Paused
        } else if load >= capacity {
            Self::Full
        } else if held {
            Self::Held
        } else {
            Self::Eligible
        }
    }
}

/// Number of standings.
pub(super) const STANDINGS: usize = 7;

/// Channels an agent has a load in.
pub const LANES: [Channel; 2] = [Channel::Email, Channel::Whatsapp];

/// First pause after a refusal that does not fit the view; doubles with each further one.
pub(super) const HOLD_FIRST: Span = Span::millis(250);
/// Longest such pause.
pub(super) const HOLD_LONGEST: Span = Span::seconds(30);

/// One channel of an agent.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    /// Open items and offers, committed or proposed.
    pub(super) load: u32,
    pub(super) capacity: u32,
    /// Tie-break of least busy.
    pub(super) last_offered: Instant,
    pub(super) held_until: Option<Instant>,
    pub(super) hold: Span,
    /// As counted in the campaigns' indexes.
    pub(super) standing: Standing,
    /// Load and last offer as the campaigns' indexes have them.
    pub(super) indexed: (u32, Instant),
    /// Campaigns of this channel and the agent's position in each.
    pub(super) memberships: Vec<(CampaignId, u32)>,
}

/// An agent.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) version: i64,
    pub(super) active: bool,
    pub(super) paused: bool,
    pub(super) presence: Presence,
    pub(super) lanes: [Lane; 2],
    /// Slots of the items he has open or that are (being) offered to him.
    pub(super) items: Vec<u32>,
}

impl Agent {
    /// An agent nobody has described yet.
    pub(super) fn undescribed() -> Self {
        let lane = Lane {
            load: 0,
            capacity: 0,
            last_offered: Instant::default(),
            held_until: None,
            hold: HOLD_FIRST,
            standing: Standing::Inactive,
            indexed: (0, Instant::default()),
            memberships: Vec::new(),
        };
        Self {
            version: i64::MIN,
            active: false,
            paused: false,
            presence: Presence::Unknown,
            lanes: [lane.clone(), lane],
            items: Vec::new(),
        }
    }

    pub(super) fn lane(&self, channel: Channel) -> &Lane {
        let [email, whatsapp] = &self.lanes;
        match channel {
            Channel::Email => email,
            Channel::Whatsapp => whatsapp,
        }
    }

    pub(super) fn lane_mut(&mut self, channel: Channel) -> &mut Lane {
        let [email, whatsapp] = &mut self.lanes;
        match channel {
            Channel::Email => email,
            Channel::Whatsapp => whatsapp,
        }
    }

    /// What keeps him from a new offer in the channel, if anything.
    pub(super) fn standing(&self, channel: Channel) -> Standing {
        let lane = self.lane(channel);
        Standing::of(Traits {
            active: self.active,
            presence: self.presence,
            paused: self.paused,
            load: lane.load,
            capacity: lane.capacity,
            held: lane.held_until.is_some(),
        })
    }

    /// False when an offer must not go on ringing at him.
    pub(super) fn may_keep_offers(&self) -> bool {
        self.active && !self.paused && self.presence != Presence::Absent
    }
}

/// Key of the least busy order: load, then offered longest ago, then position.
pub(super) type BusyKey = (u32, Instant, u32);

/// Agents by number; asking for an unknown one makes room for it.
#[derive(Debug, Default)]
pub(super) struct Agents(Vec<Agent>);

impl Agents {
    pub(super) fn get(&self, agent: AgentId) -> Option<&Agent> {
        self.0.get(agent.0 as usize)
    }

    /// # Panics
    /// Never: the number is dense by contract of [`AgentId`], and room is made for it.
    pub(super) fn get_mut(&mut self, agent: AgentId) -> &mut Agent {
        let index = agent.0 as usize;
        if index >= self.0.len() {
            self.0.resize_with(index + 1, Agent::undescribed);
        }
        self.0.get_mut(index).expect("invariant: resized to hold the index")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (AgentId, &Agent)> {
        self.0.iter().enumerate().map(|(index, agent)| (AgentId(index as u32), agent))
    }
}
