//! What kind of day it is: campaigns and agents, how much happens, how badly the wires behave. All of it from the seed.

use hilo_routing::domain::*;

use super::draw::Draw;

/// The measure of things of one run.
pub struct Scenario {
    pub agents: u32,
    pub campaigns: u32,
    /// Mean time between two arrivals.
    pub arrivals: Span,
    /// Mean time an agent has an item open.
    pub handling: Span,
    /// Mean time between two things that happen to agents (presence, pause, capacity, deactivation).
    pub people: Span,
    /// Mean time between two changes of a campaign.
    pub changes: Span,
    /// Mean time between two restarts of the engine.
    pub restarts: Span,
    /// Longest way of an event, a decision or an answer.
    pub delay: Span,
    /// Of 100 decisions, how many are refused without a reason the engine knows.
    pub refused: u64,
    /// Of 100 decisions, how many get no answer (half of them are committed all the same, some later than that).
    pub unanswered: u64,
    /// Of 100 offers to one agent, how many are let pass, by hand or by time.
    pub passed: u64,
    /// The only mode, or any.
    pub mode: Option<Mode>,
    /// Items ask for skills, persons and capacity.
    pub wide: bool,
    /// Capacity is saved for what is too heavy.
    pub saving: bool,
    /// How many skills there are.
    pub skills: u32,
    /// Most live items: arrivals beyond it find the line engaged, which keeps a run short.
    pub most_live: usize,
}

const MODES: [Mode; 6] =
    [Mode::Everyone, Mode::RoundRobin, Mode::RoundRobin, Mode::LeastBusy, Mode::LongestIdle, Mode::Random];
const LEVELS: u64 = 3;

impl Scenario {
    /// Any kind of day.
    pub fn any(draw: &mut Draw) -> Self {
        let calm = draw.chance(30);
        let noise = |draw: &mut Draw, most: u64| if calm { 0 } else { draw.below(most) };
        Self {
            agents: draw.between(1, 9) as u32,
            campaigns: draw.between(1, 4) as u32,
            arrivals: Span::millis(draw.between(100, 3_000) as i64),
            handling: Span::seconds(draw.between(1, 40) as i64),
            people: Span::seconds(draw.between(2, 60) as i64),
            changes: Span::seconds(draw.between(20, 300) as i64),
            restarts: Span::seconds(draw.between(30, 600) as i64),
            delay: Span::millis(draw.between(1, 2_000) as i64),
            refused: noise(draw, 8),
            unanswered: noise(draw, 8),
            passed: draw.below(60),
            mode: None,
            wide: draw.chance(60),
            saving: true,
            skills: 3,
            most_live: 60,
        }
    }

    /// Items of more kinds than an engine keeps classes for, of which half find nobody.
    pub fn motley(draw: &mut Draw) -> Self {
        Self {
            agents: 6,
            campaigns: 1,
            arrivals: Span::millis(40),
            handling: Span::seconds(3),
            wide: true,
            skills: 12,
            most_live: 220,
            ..Self::any(draw)
        }
    }

    /// A day on which almost nothing but work happens, with plenty of agents, in one mode.
    pub fn quiet(mode: Mode) -> Self {
        let never = Span::seconds(1_000_000_000);
        Self {
            agents: 6,
            campaigns: 2,
            arrivals: Span::millis(1_000),
            handling: Span::seconds(6),
            people: never,
            changes: never,
            restarts: never,
            delay: Span::millis(20),
            refused: 0,
            unanswered: 0,
            passed: 0,
            mode: Some(mode),
            wide: false,
            saving: false,
            skills: 3,
            most_live: 60,
        }
    }

    /// A quiet day but for decisions that are given up before they are committed.
    pub fn hasty(_: &mut Draw) -> Self {
        Self { unanswered: 30, ..Self::quiet(Mode::RoundRobin) }
    }

    /// People open much by themselves and the news of it travel long.
    pub fn self_served(draw: &mut Draw) -> Self {
        Self {
            wide: false,
            delay: Span::seconds(2),
            unanswered: 0,
            refused: 0,
            restarts: Span::seconds(1_000_000_000),
            ..Self::any(draw)
        }
    }

    pub fn capacity(&self, draw: &mut Draw) -> [u32; 2] {
        let least = if self.mode.is_some() { 4 } else { 0 };
        [draw.between(least, 5) as u32, draw.between(least, 5) as u32]
    }

    /// A campaign, at first or after a change. The channel stays what it is, as the directory demands.
    pub fn campaign(&self, id: u32, version: i64, draw: &mut Draw) -> CampaignConfig {
        let channel = |id: u32| if id.is_multiple_of(2) { Channel::Email } else { Channel::Whatsapp };
        let mut members: Vec<AgentId> = (0..self.agents).map(AgentId).collect();
        draw.shuffle(&mut members);
        if self.mode.is_none() {
            members.truncate(draw.between(1, u64::from(self.agents)) as usize);
        }
        let another = (0..self.campaigns).filter(|other| *other != id && channel(*other) == channel(id));
        let action = match draw.one_of(&another.collect::<Vec<_>>()).filter(|_| draw.chance(50)) {
            Some(to) => OverflowAction::SendToCampaign(CampaignId(to)),
            None => OverflowAction::AssignToAll,
        };
        let overflows = self.mode.is_none() && draw.chance(50);
        let overflow = Overflow { after: Span::seconds(draw.between(5, 90) as i64), action };
        let accept = draw.between(2, 30) as i64;
        CampaignConfig {
            campaign: CampaignId(id),
            version,
            channel: channel(id),
            active: self.mode.is_some() || draw.chance(90),
            mode: self.mode.unwrap_or_else(|| draw.one_of(&MODES).unwrap()),
            accept_timeout: draw.chance(80).then(|| Span::seconds(accept)),
            overflow: overflows.then_some(overflow),
            members,
            pointer: None,
            selection: self.selection(draw),
        }
    }

    fn some_skills(&self, draw: &mut Draw, percent: u64) -> Vec<Skill> {
        let mut skills = Vec::new();
        for skill in (0..self.skills).map(SkillId) {
            if draw.chance(percent) {
                skills.push(Skill { skill, level: draw.between(1, LEVELS) as Level });
            }
        }
        skills
    }

    /// What an agent masters.
    pub fn skills(&self, draw: &mut Draw) -> Vec<Skill> {
        if self.wide { self.some_skills(draw, 70) } else { Vec::new() }
    }

    /// What an item asks for.
    pub fn demand(&self, now: Instant, draw: &mut Draw) -> SharedDemand {
        if !self.wide || draw.chance(50) {
            return None;
        }
        let prefers = draw.chance(30);
        let preferred = Preferred {
            agent: AgentId(draw.below(u64::from(self.agents)) as u32),
            until: now + draw.up_to(Span::seconds(30)),
        };
        let heavy = draw.chance(30);
        Some(std::sync::Arc::new(Demand {
            skills: self.some_skills(draw, 25),
            weight: if heavy { draw.between(2, 3) as u32 } else { draw.below(2) as u32 },
            vip: draw.chance(10),
            preferred: prefers.then_some(preferred),
        }))
    }

    fn selection(&self, draw: &mut Draw) -> Selection {
        if !self.wide {
            return Selection::default();
        }
        let steps = (0..draw.below(4)).map(|_| Relaxation {
            after: draw.up_to(Span::seconds(40)),
            skill: SkillId(draw.below(u64::from(self.skills)) as u32),
            level: draw.chance(50).then(|| draw.between(1, LEVELS) as Level),
        });
        let relaxation = steps.collect();
        let (ageing, saving) = (draw.between(1, 60) as i64, draw.between(1, 40) as i64);
        Selection {
            required: self.some_skills(draw, 10),
            relaxation,
            ageing: draw.chance(50).then(|| Span::seconds(ageing)),
            vip_bonus: draw.below(3) as i32,
            saving_after: (self.saving && draw.chance(70)).then(|| Span::seconds(saving)),
        }
    }
}
