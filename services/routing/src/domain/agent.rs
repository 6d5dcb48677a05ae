//! An agent inside the engine: state, load per channel, and the first rule that keeps new offers away.

use super::campaign::Mode;
use super::ids::{AgentId, CampaignId, Channel};
use super::need::Skill;
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
    /// His free capacity is saved for a heavy item that has waited long.
    Saving = 7,
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
    /// True while his capacity is saved for a heavy item.
    pub saving: bool,
}

impl Standing {
    /// The rules in the order in which they are counted: decisions and explanations alike come from here.
    pub fn of(traits: Traits) -> Self {
        let Traits { active, presence, paused, load, capacity, held, saving } = traits;
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
        } else if saving {
            Self::Saving
        } else {
            Self::Eligible
        }
    }
}

/// Number of standings.
pub(super) const STANDINGS: usize = 8;

/// Channels an agent has a load in.
pub const LANES: [Channel; 2] = [Channel::Email, Channel::Whatsapp];

/// First pause after a refusal that does not fit the view; doubles with each further one.
pub(super) const HOLD_FIRST: Span = Span::millis(250);
/// Longest such pause.
pub(super) const HOLD_LONGEST: Span = Span::seconds(30);

/// What the campaigns' indexes know of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) load: u32,
    pub(super) capacity: u32,
    pub(super) last_offered: Instant,
    pub(super) idle_since: Instant,
}

impl Indexed {
    pub(super) fn free(self) -> u32 {
        self.capacity.saturating_sub(self.load)
    }

    /// Where the member stands among the eligible: the least comes first.
    ///
    /// Least busy: load, then offered longest ago. Longest idle: those who have nothing by the last moment they had
    /// something (who never had anything first), then those who have something by who was offered one longest ago. The
    /// other modes have an order of their own.
    pub(super) fn order(self, mode: Mode, position: u32) -> OrderKey {
        match mode {
            Mode::LeastBusy => (self.load, self.last_offered, position),
            Mode::LongestIdle if self.load == 0 => (0, self.idle_since, position),
            Mode::LongestIdle => (1, self.last_offered, position),
            Mode::Everyone | Mode::RoundRobin | Mode::Random => (0, Instant(0), position),
        }
    }
}

/// One channel of an agent.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    /// Weight of the open items and offers, committed or proposed.
    pub(super) load: u32,
    /// How many of them are committed.
    pub(super) held_items: u32,
    /// The last moment he had a committed item or offer; long ago for who never had.
    pub(super) idle_since: Instant,
    pub(super) capacity: u32,
    /// Tie-break of least busy.
    pub(super) last_offered: Instant,
    pub(super) held_until: Option<Instant>,
    pub(super) hold: Span,
    /// As counted in the campaigns' indexes.
    pub(super) standing: Standing,
    /// The slot of the heavy item his capacity is saved for.
    pub(super) saving_for: Option<u32>,
    /// As the campaigns' indexes have him.
    pub(super) indexed: Indexed,
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
    /// What he masters, by skill.
    pub(super) skills: Vec<Skill>,
    pub(super) lanes: [Lane; 2],
    /// Slots of the items he has open or that are (being) offered to him.
    pub(super) items: Vec<u32>,
}

impl Agent {
    /// An agent nobody has described yet.
    pub(super) fn undescribed() -> Self {
        let never = NEVER_HELD;
        let lane = Lane {
            load: 0,
            held_items: 0,
            idle_since: never,
            saving_for: None,
            capacity: 0,
            last_offered: Instant::default(),
            held_until: None,
            hold: HOLD_FIRST,
            standing: Standing::Inactive,
            indexed: Indexed { load: 0, capacity: 0, last_offered: Instant::default(), idle_since: never },
            memberships: Vec::new(),
        };
        Self {
            version: i64::MIN,
            active: false,
            paused: false,
            presence: Presence::Unknown,
            skills: Vec::new(),
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
            saving: lane.saving_for.is_some(),
        })
    }

    /// False when an offer must not go on ringing at him.
    pub(super) fn may_keep_offers(&self) -> bool {
        self.active && !self.paused && self.presence != Presence::Absent
    }
}

impl Lane {
    /// What the indexes should know of him now.
    pub(super) fn to_index(&self) -> Indexed {
        let Self { load, capacity, last_offered, idle_since, .. } = *self;
        Indexed { load, capacity, last_offered, idle_since }
    }
}

/// The last moment of who never held anything.
pub(super) const NEVER_HELD: Instant = Instant(i64::MIN);

/// Key of an order of members: the last number is the position, which ends every tie.
pub(super) type OrderKey = (u32, Instant, u32);

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
