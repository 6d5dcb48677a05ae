//! The engine beside a record of what it has been told, with late events and answers; every step is checked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hilo_routing::domain::*;

use crate::world::{Person, World};

mod steps;

use steps::one_channel_per_overflow;
pub use steps::{Step, campaign, step};

pub const AGENTS: u32 = 5;
const CAMPAIGNS: u32 = 3;

/// What the engine has been told, kept apart from it.
pub struct Bench {
    pub world: World,
    pub engine: Engine,
    pub now: Instant,
    pub told: BTreeMap<InteractionId, ItemView>,
    proposed: BTreeMap<InteractionId, Decision>,
    events: VecDeque<Input>,
    answers: VecDeque<Decision>,
    people: BTreeMap<AgentId, AgentView>,
    presences: BTreeMap<AgentId, Presence>,
    /// Agents and items that a refusal has set aside for a moment.
    doubtful: BTreeSet<AgentId>,
    pub resting: BTreeSet<InteractionId>,
    pub log: Vec<Decision>,
    next_item: u128,
}

impl Bench {
    pub fn new(campaigns: Vec<CampaignConfig>, capacities: &[u32]) -> Self {
        let mut bench = Self {
            world: World::default(),
            engine: Engine::new(7),
            now: Instant(1_000_000),
            told: BTreeMap::new(),
            proposed: BTreeMap::new(),
            events: VecDeque::new(),
            answers: VecDeque::new(),
            people: BTreeMap::new(),
            presences: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            resting: BTreeSet::new(),
            log: Vec::new(),
            next_item: 1,
        };
        for config in one_channel_per_overflow(campaigns) {
            bench.world.campaigns.insert(config.campaign, config.clone());
            bench.feed(Input::Campaign(config));
        }
        for (number, capacity) in capacities.iter().enumerate() {
            let agent = AgentId(number as u32);
            let person = Person::new([*capacity; 2]);
            bench.world.people.insert(agent, person);
            bench.feed(Input::Agent(bench.world.agent_view(agent)));
            bench.feed(Input::Presence { agent, presence: Presence::Present });
        }
        bench
    }

    fn feed(&mut self, input: Input) {
        match &input {
            Input::Agent(view) => {
                self.people.insert(view.agent, view.clone());
            }
            Input::Presence { agent, presence } => {
                self.presences.insert(*agent, *presence);
            }
            Input::Presences(changes) => self.presences.extend(changes.iter().copied()),
            Input::Item(view) => self.tell(view.clone()),
            Input::Gone { interaction, .. } => {
                self.told.remove(interaction);
                self.proposed.remove(interaction);
            }
            Input::Answer(answer) => self.tell_answer(answer),
            Input::Campaign(_) | Input::CampaignRemoved(_) | Input::Tick => {}
        }
        for decision in self.engine.apply(input, self.now) {
            self.check(&decision);
            self.proposed.insert(decision.subject().0, decision);
            self.answers.push_back(decision);
            self.log.push(decision);
        }
        self.check_nothing_waits();
    }

    fn tell(&mut self, view: ItemView) {
        if self.told.get(&view.interaction).is_none_or(|told| told.version < view.version) {
            self.proposed.remove(&view.interaction);
            self.resting.remove(&view.interaction);
            self.told.insert(view.interaction, view);
        }
    }

    fn tell_answer(&mut self, answer: &Answer) {
        let known = self.told.contains_key(&answer.interaction);
        if let Some(view) = answer.current.clone().filter(|_| known) {
            self.tell(view);
        }
        let Some(proposal) = self.proposed.get(&answer.interaction).copied() else { return };
        if proposal.subject().1 != answer.version {
            return;
        }
        self.proposed.remove(&answer.interaction);
        match (answer.outcome, proposal) {
            (Outcome::Gone, _) => {
                self.told.remove(&answer.interaction);
            }
            (Outcome::NoCapacity | Outcome::NotAvailable, Decision::Offer(offer)) => {
                if let Target::Agent(agent) = offer.target {
                    self.doubtful.insert(agent);
                }
            }
            _ => {
                self.resting.insert(answer.interaction);
            }
        }
    }

    fn load(&self, agent: AgentId, channel: Channel) -> u32 {
        let counts = |view: &&ItemView| {
            let occupant = match view.state {
                ItemState::Open(owner) => Some(owner),
                ItemState::Queued(Queued { offer: Some(offer), .. }) => target_agent(offer.target),
                ItemState::Queued(_) => match self.proposed.get(&view.interaction) {
                    Some(Decision::Offer(offer)) => target_agent(offer.target),
                    _ => None,
                },
            };
            occupant == Some(agent) && self.world.campaigns[&view.campaign].channel == channel
        };
        self.told.values().filter(counts).count() as u32
    }

    fn eligible(&self, agent: AgentId, campaign: &CampaignConfig) -> bool {
        let Some(view) = self.people.get(&agent) else { return false };
        let lane = LANES.iter().position(|lane| *lane == campaign.channel).unwrap();
        view.active
            && !view.paused
            && self.presences.get(&agent) == Some(&Presence::Present)
            && campaign.members.contains(&agent)
            && self.load(agent, campaign.channel) < view.capacity[lane]
    }

    fn check(&self, decision: &Decision) {
        let (interaction, version) = decision.subject();
        assert!(!self.proposed.contains_key(&interaction), "two proposals for one item: {decision:?}");
        let told = &self.told[&interaction];
        assert_eq!(told.version, version);
        let Decision::Offer(offer) = decision else { return };
        let ItemState::Queued(queued) = told.state else { panic!("offer of an open item") };
        assert_eq!(queued.offer, None, "offer of an item that rings already");
        let config = &self.world.campaigns[&told.campaign];
        let Target::Agent(agent) = offer.target else { return };
        assert!(!queued.overflowed && config.mode != Mode::Everyone);
        assert!(self.eligible(agent, config), "{agent:?} is not available: {offer:?}");
        self.check_oldest(offer, agent, queued.waiting_since);
        if told.passed_by.contains(&agent) {
            assert!(offer.record.new_round);
            let others = config.members.iter().filter(|member| !self.doubtful.contains(member));
            for other in others.filter(|member| self.eligible(**member, config)) {
                assert!(told.passed_by.contains(other), "asked twice while {other:?} was not asked");
            }
        }
        let removed: u32 = offer.record.removed.iter().sum();
        assert!(removed < offer.record.candidates || offer.record.new_round, "{:?}", offer.record);
    }

    /// Nothing older waits that the same agent could have been offered.
    fn check_oldest(&self, offer: &Offer, agent: AgentId, since: Instant) {
        for other in self.told.values().filter(|other| other.passed_by.is_empty()) {
            let ItemState::Queued(Queued { offer: None, overflowed: false, waiting_since, .. }) = other.state
            else {
                continue;
            };
            let free = !self.proposed.contains_key(&other.interaction)
                && !self.resting.contains(&other.interaction)
                && other.interaction != offer.interaction;
            let config = &self.world.campaigns[&other.campaign];
            let competes = config.mode != Mode::Everyone && config.channel == self.channel(offer);
            if free && competes && config.members.contains(&agent) {
                let order = (waiting_since, other.interaction);
                assert!(order > (since, offer.interaction), "{other:?} waited longer than {offer:?}");
            }
        }
    }

    fn channel(&self, offer: &Offer) -> Channel {
        self.world.campaigns[&offer.campaign].channel
    }

    fn check_nothing_waits(&self) {
        let view = self.engine.view();
        for (id, config) in &self.world.campaigns {
            let indexed: BTreeSet<AgentId> = view.eligible[id].iter().copied().collect();
            for agent in self.people.keys() {
                let (known, modelled) = (indexed.contains(agent), self.eligible(*agent, config));
                assert!(known == modelled || (modelled && self.doubtful.contains(agent)), "{agent:?} {id:?}");
            }
            assert!(
                indexed.is_empty() || view.waiting[id].is_empty(),
                "{id:?}: somebody is free and something waits"
            );
        }
        for (id, told) in &self.told {
            let waits = matches!(told.state, ItemState::Queued(Queued { offer: None, .. }));
            let set_aside = self.proposed.contains_key(id) || self.resting.contains(id);
            if waits && !set_aside && told.passed_by.is_empty() {
                assert!(view.waiting[&told.campaign].contains(id), "{id:?} is forgotten");
            }
        }
    }

    fn pick(&self, number: usize) -> Option<InteractionId> {
        let live: Vec<_> = self.world.items.keys().copied().collect();
        live.get(number.checked_rem(live.len())?).copied()
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Queue(campaign) => {
                let id = InteractionId(self.next_item);
                self.next_item += 1;
                let view = self.world.queue(id, CampaignId(campaign), self.now);
                self.events.push_back(Input::Item(view));
            }
            Step::Open(item, agent) => {
                let opened = self.pick(item).and_then(|item| self.world.open(item, AgentId(agent)));
                self.events.extend(opened.map(Input::Item));
            }
            Step::End(item) => {
                let ended = self.pick(item).and_then(|item| self.world.end(item));
                self.events.extend(ended);
            }
            Step::Release(item) => {
                let released = self.pick(item).and_then(|item| self.world.release(item, self.now));
                self.events.extend(released.map(Input::Item));
            }
            Step::Decline(item) => {
                let declined = self.pick(item).and_then(|item| self.world.decline(item));
                self.events.extend(declined.map(Input::Item));
            }
            Step::Pause(agent, paused) => self.person(agent, |person| person.paused = paused),
            Step::Active(agent, active) => self.person(agent, |person| person.active = active),
            Step::Presence(agent, presence) => {
                let presence = match presence {
                    0 => Presence::Absent,
                    1 => Presence::Unknown,
                    _ => Presence::Present,
                };
                let agent = AgentId(agent);
                self.world.people.get_mut(&agent).unwrap().absent = presence == Presence::Absent;
                self.feed(Input::Presence { agent, presence });
            }
            Step::Pass(millis) => self.pass(Span::millis(millis)),
            Step::DeliverEvent => {
                if let Some(event) = self.events.pop_front() {
                    self.feed(event);
                }
            }
            Step::DeliverAnswer => self.deliver_answer(),
        }
    }

    fn person(&mut self, agent: u32, change: impl FnOnce(&mut Person)) {
        let person = self.world.people.get_mut(&AgentId(agent)).unwrap();
        change(person);
        person.version += 1;
        self.events.push_back(Input::Agent(self.world.agent_view(AgentId(agent))));
    }

    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        let mut rounds = 0;
        while let Some(deadline) = self.engine.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            // Whatever was set aside may be back with any of these ticks.
            self.resting.extend(self.told.keys().copied());
            self.feed(Input::Tick);
            rounds += 1;
            assert!(rounds < 10_000, "the engine does not come to rest");
        }
        self.now = end;
        self.feed(Input::Tick);
    }

    fn deliver_answer(&mut self) {
        if let Some(decision) = self.answers.pop_front() {
            let answer = self.world.commit(&decision, self.now);
            self.feed(Input::Answer(answer));
        }
    }

    /// A fresh engine fed with the committed truth, as after a takeover, before any presence is known.
    pub fn rebuild(&self) -> (Engine, Vec<Decision>) {
        let (mut engine, mut decisions, world) = (Engine::new(7), Vec::new(), &self.world);
        for config in world.campaigns.values() {
            let pointer = world.pointers.get(&config.campaign).copied();
            decisions.extend(
                engine.apply(Input::Campaign(CampaignConfig { pointer, ..config.clone() }), self.now),
            );
        }
        for agent in world.people.keys() {
            decisions.extend(engine.apply(Input::Agent(world.agent_view(*agent)), self.now));
        }
        for item in world.items.values() {
            decisions.extend(engine.apply(Input::Item(item.clone()), self.now));
        }
        (engine, decisions)
    }

    /// Delivers everything until nothing is left to say.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            if let Some(event) = self.events.pop_front() {
                self.feed(event);
            } else if self.answers.is_empty() {
                return;
            } else {
                self.deliver_answer();
            }
        }
        panic!("the engine and the world do not come to an agreement");
    }
}

pub fn target_agent(target: Target) -> Option<AgentId> {
    match target {
        Target::Agent(agent) => Some(agent),
        Target::Everyone => None,
    }
}
