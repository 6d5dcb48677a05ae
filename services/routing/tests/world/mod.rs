//! A model of attention-state for the engine's tests: the one writer, with compare-and-set, capacity and rounds.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test by panicking")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;

use hilo_routing::domain::*;

/// An agent as attention-state knows him.
#[derive(Debug, Clone)]
pub struct Person {
    pub version: i64,
    pub active: bool,
    pub paused: bool,
    pub absent: bool,
    pub capacity: [u32; 2],
    pub skills: Vec<Skill>,
    pub idle_since: [Option<Instant>; 2],
}

impl Person {
    /// Active, here, without any skill.
    pub fn new(capacity: [u32; 2]) -> Self {
        let (skills, idle_since) = (Vec::new(), [None; 2]);
        Self { version: 1, active: true, paused: false, absent: false, capacity, skills, idle_since }
    }
}

/// The truth.
#[derive(Debug, Default)]
pub struct World {
    pub items: BTreeMap<InteractionId, ItemView>,
    pub campaigns: BTreeMap<CampaignId, CampaignConfig>,
    pub people: BTreeMap<AgentId, Person>,
    pub pointers: BTreeMap<CampaignId, AgentId>,
    /// Commits offers whatever has happened meanwhile: to show what the guards are for.
    blind: bool,
    offers: u128,
}

/// How much of an agent's capacity an item takes.
pub fn weight(view: &ItemView) -> u32 {
    view.demand.as_ref().map_or(1, |demand| demand.weight.max(1))
}

impl World {
    pub fn blind(blind: bool) -> Self {
        Self { blind, ..Self::default() }
    }

    pub fn channel_of(&self, item: &ItemView) -> Channel {
        self.campaigns[&item.campaign].channel
    }

    pub fn load(&self, agent: AgentId, channel: Channel) -> u32 {
        let counts = |item: &&ItemView| {
            self.channel_of(item) == channel
                && match item.state {
                    ItemState::Open(owner) => owner == agent,
                    ItemState::Queued(queued) => {
                        queued.offer.is_some_and(|offer| offer.target == Target::Agent(agent))
                    }
                }
        };
        self.items.values().filter(counts).map(weight).sum()
    }

    pub fn agent_view(&self, agent: AgentId) -> AgentView {
        let person = &self.people[&agent];
        AgentView {
            agent,
            version: person.version,
            active: person.active,
            paused: person.paused,
            capacity: person.capacity,
            last_offered: [None, None],
            idle_since: person.idle_since,
            skills: person.skills.clone(),
        }
    }

    pub fn queue(&mut self, interaction: InteractionId, campaign: CampaignId, now: Instant) -> ItemView {
        let queued = Queued { waiting_since: now, queued_at: now, overflowed: false, offer: None };
        let state = ItemState::Queued(queued);
        let (passed_by, overflowed_from) = (Vec::new(), Vec::new());
        let view = ItemView {
            interaction,
            version: 1,
            campaign,
            priority: 0,
            state,
            passed_by,
            overflowed_from,
            demand: None,
        };
        self.items.insert(interaction, view.clone());
        view
    }

    /// A person opens an item by hand; always allowed while it is queued.
    pub fn open(&mut self, interaction: InteractionId, agent: AgentId) -> Option<ItemView> {
        let item = self.items.get_mut(&interaction)?;
        if !matches!(item.state, ItemState::Queued(_)) {
            return None;
        }
        item.version += 1;
        item.state = ItemState::Open(agent);
        item.passed_by.clear();
        item.overflowed_from.clear();
        Some(item.clone())
    }

    pub fn end(&mut self, interaction: InteractionId) -> Option<Input> {
        let item = self.items.get(&interaction)?;
        if !matches!(item.state, ItemState::Open(_)) {
            return None;
        }
        let version = item.version + 1;
        self.items.remove(&interaction);
        Some(Input::Gone { interaction, version })
    }

    pub fn release(&mut self, interaction: InteractionId, now: Instant) -> Option<ItemView> {
        let item = self.items.get_mut(&interaction)?;
        if !matches!(item.state, ItemState::Open(_)) {
            return None;
        }
        item.version += 1;
        item.state = ItemState::Queued(Queued {
            waiting_since: Instant(now.0 - 5_000_000),
            queued_at: now,
            overflowed: false,
            offer: None,
        });
        Some(item.clone())
    }

    pub fn decline(&mut self, interaction: InteractionId) -> Option<ItemView> {
        self.end_offer(interaction, true)
    }

    fn end_offer(&mut self, interaction: InteractionId, passed: bool) -> Option<ItemView> {
        let item = self.items.get_mut(&interaction)?;
        let ItemState::Queued(queued) = &mut item.state else { return None };
        let offer = queued.offer.take()?;
        if passed && let Target::Agent(agent) = offer.target {
            item.passed_by.push(agent);
        }
        item.version += 1;
        Some(item.clone())
    }

    /// Commits or refuses a decision.
    pub fn commit(&mut self, decision: &Decision, now: Instant) -> Answer {
        let (interaction, version) = decision.subject();
        let outcome = self.judge(decision, now);
        if outcome == Outcome::Applied {
            self.write(decision, now);
        }
        Answer { interaction, version, outcome, current: self.items.get(&interaction).cloned() }
    }

    fn judge(&self, decision: &Decision, now: Instant) -> Outcome {
        let (interaction, version) = decision.subject();
        let Some(item) = self.items.get(&interaction) else { return Outcome::Gone };
        let ItemState::Queued(queued) = item.state else { return Outcome::Conflict };
        if self.blind && matches!(decision, Decision::Offer(_)) {
            return Outcome::Applied;
        }
        // An offer is only made of what has none: every offer raises the version.
        if item.version != version {
            return Outcome::Conflict;
        }
        let config = &self.campaigns[&item.campaign];
        match decision {
            Decision::Offer(offer) => match offer.target {
                Target::Everyone => Outcome::Applied,
                Target::Agent(agent) => {
                    let person = &self.people[&agent];
                    let lane = LANES.iter().position(|lane| *lane == config.channel).unwrap();
                    if !person.active || person.paused || person.absent || !config.members.contains(&agent) {
                        Outcome::NotAvailable
                    } else if self.load(agent, config.channel) + weight(item) > person.capacity[lane] {
                        Outcome::NoCapacity
                    } else {
                        Outcome::Applied
                    }
                }
            },
            Decision::Expire { reason: ExpireReason::AcceptTimeout, .. } => {
                match queued.offer.and_then(|offer| offer.deadline) {
                    Some(deadline) if deadline > now => Outcome::TooEarly,
                    _ => Outcome::Applied,
                }
            }
            Decision::Expire { .. } => Outcome::Applied,
            Decision::Overflow { .. } => match config.overflow {
                Some(overflow) if queued.queued_at + overflow.after > now => Outcome::TooEarly,
                Some(Overflow { action: OverflowAction::SendToCampaign(target), .. })
                    if target == item.campaign || item.overflowed_from.contains(&target) =>
                {
                    Outcome::Conflict
                }
                _ => Outcome::Applied,
            },
        }
    }

    fn write(&mut self, decision: &Decision, now: Instant) {
        match decision {
            Decision::Expire { interaction, reason, .. } => {
                self.end_offer(*interaction, *reason == ExpireReason::AcceptTimeout);
            }
            Decision::Overflow { interaction, .. } => self.overflow(*interaction, now),
            Decision::Offer(offer) => {
                self.offers += 1;
                let timeout = self.campaigns[&offer.campaign].accept_timeout;
                let item = self.items.get_mut(&offer.interaction).unwrap();
                item.version += 1;
                let mut deadline = None;
                if let Target::Agent(agent) = offer.target {
                    deadline = timeout.map(|timeout| now + timeout);
                    if item.passed_by.contains(&agent) {
                        item.passed_by.clear();
                    }
                }
                if let Some(pointer) = offer.record.pointer {
                    self.pointers.insert(offer.campaign, pointer);
                }
                if let ItemState::Queued(queued) = &mut item.state {
                    queued.offer = Some(Ringing {
                        offer: OfferId(self.offers),
                        target: offer.target,
                        deadline,
                        transferred: false,
                    });
                }
            }
        }
    }

    fn overflow(&mut self, interaction: InteractionId, now: Instant) {
        let item = self.items.get_mut(&interaction).unwrap();
        let ItemState::Queued(queued) = &mut item.state else { return };
        queued.offer = None;
        match self.campaigns[&item.campaign].overflow.map(|overflow| overflow.action) {
            Some(OverflowAction::SendToCampaign(target)) => {
                item.version += 2;
                item.overflowed_from.push(item.campaign);
                item.campaign = target;
                item.passed_by.clear();
                queued.queued_at = now;
            }
            Some(OverflowAction::AssignToAll) | None => {
                item.version += 1;
                queued.overflowed = true;
            }
        }
    }

    /// A fresh engine fed with the committed truth only, as after a takeover.
    pub fn rebuild(&self, presences: &BTreeMap<AgentId, Presence>, now: Instant) -> Engine {
        let mut engine = Engine::new(1);
        let mut none = Vec::new();
        for config in self.campaigns.values() {
            let mut config = config.clone();
            config.pointer = self.pointers.get(&config.campaign).copied();
            none.extend(engine.apply(Input::Campaign(config), now));
        }
        for agent in self.people.keys() {
            none.extend(engine.apply(Input::Agent(self.agent_view(*agent)), now));
        }
        // Presence comes last, as in the service: nobody is offered anything until everything is known.
        for item in self.items.values() {
            none.extend(engine.apply(Input::Item(item.clone()), now));
        }
        for (agent, presence) in presences {
            none.extend(engine.apply(Input::Presence { agent: *agent, presence: *presence }, now));
        }
        assert!(none.is_empty(), "a rebuilt engine has nothing to do at rest: {none:?}");
        engine
    }
}
