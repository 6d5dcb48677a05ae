//! The engine beside a model of attention-state in virtual time: everything that may happen to it, at random instants, from
//! one seed. Events and answers travel for a while and overtake each other; decisions are refused and go unanswered; the
//! engine is restarted from a snapshot. After every step the invariants are checked.

use std::collections::{BTreeMap, BTreeSet};

use hilo_routing::domain::*;

pub mod draw;
pub mod invariants;
pub mod reference;
pub mod sabotage;
pub mod scenario;

mod day;
mod wire;

use crate::world::{Person, World};
use draw::Draw;
use invariants::{AS_REFERENCE, COMES_TO_REST, Checked, Invariants, Violation, ensure};
use reference::{Reference, choice::comparable};
use sabotage::Sabotage;
use scenario::Scenario;

/// Ticks without anything else at one instant before the engine is said not to come to rest.
const MANY_TICKS: u32 = 1_000;

/// Something that is going to happen.
enum Happening {
    /// An item arrives; the next arrival follows.
    Arrive,
    /// Something happens to an agent; the next follows.
    People,
    /// A campaign is changed; the next change follows.
    Change,
    /// The engine is restarted; the next restart follows.
    Restart,
    /// An agent opens what is queued: this one for himself, or any for anyone.
    Open(Option<(InteractionId, AgentId)>),
    /// An offer is let pass by hand, if it still rings.
    Decline(InteractionId, OfferId),
    /// An open item is ended or released.
    Finish(InteractionId),
    /// attention-state hears of an agent's presence.
    Heard(AgentId, bool),
    /// An event reaches the engine.
    Event(Input),
    /// A decision of the engine with this number reaches attention-state.
    Commit(u32, Decision),
    /// An answer reaches the engine with this number.
    Answer(u32, Answer),
}

/// One run.
pub struct Simulation {
    scenario: Scenario,
    sabotage: Sabotage,
    draw: Draw,
    /// Chance of the sabotage, apart, so that it changes nothing else.
    spoiler: Draw,
    now: Instant,
    agenda: BTreeMap<(Instant, u64), Happening>,
    numbers: u64,
    world: World,
    presences: BTreeMap<AgentId, Presence>,
    engine: Engine,
    /// Restarts so far: what was on its way to or from an earlier engine is void, as by the fence of its epoch.
    engines: u32,
    /// Interactions the engine has been told are gone: the adapter hands on nothing older about them.
    gone: BTreeSet<InteractionId>,
    mind: Reference,
    pub invariants: Invariants,
    pub offers: u32,
    ticks: (Instant, u32),
}

impl Simulation {
    pub fn new(seed: u64, scenario: impl FnOnce(&mut Draw) -> Scenario, sabotage: Sabotage) -> Self {
        let mut draw = Draw::new(seed);
        let mut scenario = scenario(&mut draw);
        // Whose capacity is saved only the reference knows, which cannot follow a broken engine.
        scenario.saving &= sabotage.is_followed();
        let mut simulation = Self {
            scenario,
            sabotage,
            draw,
            spoiler: Draw::new(!seed),
            now: Instant(1_000_000_000),
            agenda: BTreeMap::new(),
            numbers: 0,
            world: World::blind(sabotage == Sabotage::BlindWriter),
            presences: BTreeMap::new(),
            engine: Engine::new(seed),
            engines: 0,
            gone: BTreeSet::new(),
            mind: Reference::default(),
            invariants: Invariants::default(),
            offers: 0,
            ticks: (Instant::default(), 0),
        };
        simulation.open_the_house();
        simulation
    }

    /// Campaigns, agents, and the first of everything that repeats itself.
    fn open_the_house(&mut self) {
        for id in 0..self.scenario.campaigns {
            let config = self.scenario.campaign(id, 1, &mut self.draw);
            self.world.campaigns.insert(config.campaign, config);
        }
        for agent in (0..self.scenario.agents).map(AgentId) {
            let capacity = self.scenario.capacity(&mut self.draw);
            let skills = self.scenario.skills(&mut self.draw);
            let person = Person { skills, ..Person::new(capacity) };
            self.world.people.insert(agent, person);
            self.presences.insert(agent, Presence::Present);
        }
        self.restart().expect("nothing waits yet");
        let first = [Happening::Arrive, Happening::People, Happening::Change, Happening::Restart];
        let mean =
            [self.scenario.arrivals, self.scenario.people, self.scenario.changes, self.scenario.restarts];
        for (happening, mean) in first.into_iter().zip(mean) {
            let after = self.draw.around(mean);
            self.plan(after, happening);
        }
    }

    fn plan(&mut self, after: Span, happening: Happening) {
        self.numbers += 1;
        self.agenda.insert((self.now + after, self.numbers), happening);
    }

    /// Runs this many steps, and answers the first thing that does not hold, with the number of the step.
    pub fn run(&mut self, steps: u32) -> Result<(), (u32, Violation)> {
        for step in 0..steps {
            self.step().map_err(|violation| (step, violation))?;
        }
        self.invariants.whole().map_err(|violation| (steps, violation))
    }

    fn step(&mut self) -> Checked {
        let planned = self.agenda.keys().next().map(|(at, _)| *at);
        let restless = (self.sabotage == Sabotage::Restless).then_some(self.now);
        let deadline = restless.or(self.engine.next_deadline()).map(|at| at.max(self.now));
        if let Some(deadline) = deadline.filter(|at| planned.is_none_or(|planned| *at <= planned)) {
            self.now = deadline;
            self.ticks = if self.ticks.0 == self.now { (self.now, self.ticks.1 + 1) } else { (self.now, 0) };
            ensure(self.ticks.1 < MANY_TICKS, COMES_TO_REST, || format!("{:?}", self.now))?;
            self.feed(Input::Tick)?;
        } else if let Some(((at, _), happening)) = self.agenda.pop_first() {
            self.now = self.now.max(at);
            self.happen(happening)?;
        }
        self.invariants.progress(&self.mind, &self.world)
    }

    /// Tells the engine, checks what it decides and sends it off.
    fn feed(&mut self, input: Input) -> Checked {
        self.mind.take(&input, self.now);
        let decisions = self.engine.apply(input, self.now);
        for decision in decisions {
            for decision in self.sabotage.spoil(decision, &self.mind, &mut self.spoiler) {
                self.invariants.decided(&self.mind, &decision)?;
                if self.sabotage.is_followed() {
                    as_reference(&mut self.mind, &decision)?;
                }
                self.mind.note(&decision);
                self.send(decision);
            }
        }
        if self.sabotage.is_followed() {
            let (due, offer) = (self.mind.due(), self.mind.next_offer(None));
            ensure(due.is_empty() && offer.is_none(), AS_REFERENCE, || self.missing(&due, offer.as_ref()))?;
        }
        self.invariants.applied(&self.mind)
    }

    /// Of how many kinds the items are that wait now.
    pub fn kinds(&self) -> usize {
        let waiting = self.mind.lines.values().filter(|line| line.waits());
        waiting.map(|line| (line.view.campaign, self.mind.need(line))).collect::<BTreeSet<_>>().len()
    }

    /// What the engine did not decide, and how it sees the item.
    fn missing(&self, due: &[Decision], offer: Option<&Offer>) -> String {
        let id = due.first().map(|decision| decision.subject().0).or(offer.map(|offer| offer.interaction));
        let view = self.engine.view();
        let seen = id.and_then(|id| view.items.get(&id));
        let queued: Vec<_> =
            view.waiting.iter().filter(|(_, ids)| id.is_some_and(|id| ids.contains(&id))).collect();
        let told = id.and_then(|id| self.mind.lines.get(&id)).map(|line| &line.view);
        format!(
            "{due:?} and {offer:?} are missing; told {told:?}, seen {seen:?}, queued in {:?}",
            queued.len()
        )
    }

    /// A fresh engine takes over with what is committed; presence comes last, of everybody at once.
    fn restart(&mut self) -> Checked {
        self.engines += 1;
        self.engine = Engine::new(self.draw.next());
        self.mind = Reference::default();
        self.invariants.restarted();
        let mut told = Vec::new();
        for config in self.world.campaigns.values() {
            let pointer = self.world.pointers.get(&config.campaign).copied();
            told.push(Input::Campaign(CampaignConfig { pointer, ..config.clone() }));
        }
        told.extend(self.world.people.keys().map(|agent| Input::Agent(self.world.agent_view(*agent))));
        told.extend(self.world.items.values().cloned().map(Input::Item));
        told.push(Input::Presences(
            self.presences.iter().map(|(agent, presence)| (*agent, *presence)).collect(),
        ));
        told.into_iter().try_for_each(|input| self.feed(input))
    }
}

/// Checks a decision against what the reference would decide next.
fn as_reference(mind: &mut Reference, decision: &Decision) -> Checked {
    let due = mind.due();
    let expected = match decision {
        Decision::Expire { .. } | Decision::Overflow { .. } => {
            return ensure(due.contains(decision), AS_REFERENCE, || {
                format!("{decision:?}, not one of {due:?}")
            });
        }
        Decision::Offer(offer) => {
            ensure(due.is_empty(), AS_REFERENCE, || format!("{decision:?} before {due:?}"))?;
            mind.next_offer(Some(offer)).map(|expected| (comparable(&expected), comparable(offer)))
        }
    };
    let same = expected.is_some_and(|(expected, decided)| expected == decided);
    ensure(same, AS_REFERENCE, || format!("{decision:?}, not {:?}", expected.map(|(expected, _)| expected)))
}
