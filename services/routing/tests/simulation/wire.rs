//! The ways between the engine and attention-state: slow, overtaking, refusing, silent.

use std::collections::BTreeSet;

use hilo_routing::domain::*;

use super::invariants::Checked;
use super::reference::lane;
use super::sabotage::Sabotage;
use super::{Happening, Simulation};

/// When a decision without an answer is given up.
const PATIENCE: Span = Span::seconds(2);

impl Simulation {
    /// An event is on its way.
    pub(super) fn emit(&mut self, input: Input) {
        let after = self.draw.up_to(self.scenario.delay);
        self.plan(after, Happening::Event(input));
    }

    /// A decision is on its way.
    pub(super) fn send(&mut self, decision: Decision) {
        self.offers += u32::from(matches!(decision, Decision::Offer(_)));
        if self.sabotage == Sabotage::Swallow && self.spoiler.chance(5) {
            return;
        }
        let after = self.draw.up_to(self.scenario.delay);
        if !self.draw.chance(self.scenario.unanswered) {
            self.plan(after, Happening::Commit(self.engines, decision));
            return;
        }
        // No answer. It is committed in time, or after it was given up, or never.
        let (interaction, version) = decision.subject();
        let answer = Answer { interaction, version, outcome: Outcome::Unanswered, current: None };
        self.plan(PATIENCE, Happening::Answer(self.engines, answer));
        let late = if self.draw.chance(50) {
            Span(PATIENCE.0 + self.draw.up_to(PATIENCE).0)
        } else {
            Span::default()
        };
        if self.draw.chance(70) {
            self.plan(Span(after.0 + late.0), Happening::Commit(0, decision));
        }
    }

    /// A decision reaches attention-state: engine 0 stands for one whose answer gets lost.
    pub(super) fn commit(&mut self, engine: u32, decision: Decision) -> Checked {
        if engine != 0 && engine != self.engines {
            return Ok(());
        }
        let (interaction, version) = decision.subject();
        let refusals = [Outcome::Conflict, Outcome::NoCapacity, Outcome::NotAvailable, Outcome::TooEarly];
        let answer = if self.draw.chance(self.scenario.refused) {
            let outcome = self.draw.one_of(&refusals).unwrap();
            let current =
                self.world.items.get(&interaction).cloned().filter(|_| outcome == Outcome::Conflict);
            Answer { interaction, version, outcome, current }
        } else {
            self.write(&decision)?
        };
        if engine != 0 {
            let after = self.draw.up_to(self.scenario.delay);
            self.plan(after, Happening::Answer(engine, answer));
        }
        Ok(())
    }

    /// attention-state judges a decision, and says what it committed by an event too.
    fn write(&mut self, decision: &Decision) -> Result<Answer, super::Violation> {
        let (interaction, _) = decision.subject();
        let before = match decision {
            Decision::Offer(Offer { target: Target::Agent(agent), campaign, .. }) => {
                let channel = self.world.campaigns[campaign].channel;
                let capacity = self.world.people[agent].capacity[lane(channel)];
                Some((*agent, self.world.load(*agent, channel), capacity))
            }
            Decision::Offer(_) | Decision::Expire { .. } | Decision::Overflow { .. } => None,
        };
        let answer = self.world.commit(decision, self.now);
        let Some(view) = answer.current.clone().filter(|_| answer.outcome == Outcome::Applied) else {
            return Ok(answer);
        };
        match (decision, before) {
            (Decision::Offer(_), Some((agent, load, capacity))) => {
                self.invariants.granted(&view, agent, load, capacity)?;
            }
            (Decision::Offer(_), None) => {}
            (Decision::Expire { .. } | Decision::Overflow { .. }, _) => {
                self.invariants.handed(interaction, None);
            }
        }
        if let (Decision::Offer(_), ItemState::Queued(Queued { offer: Some(ringing), .. })) =
            (decision, view.state)
        {
            self.react(interaction, ringing);
        }
        self.emit(Input::Item(view));
        Ok(answer)
    }

    pub(super) fn answer(&mut self, engine: u32, answer: Answer) -> Checked {
        if engine == self.engines { self.feed(Input::Answer(answer)) } else { Ok(()) }
    }

    /// An event reaches the engine, unless it is older than an end the engine has been told of.
    pub(super) fn event(&mut self, input: Input) -> Checked {
        match &input {
            Input::Item(view) if self.gone.contains(&view.interaction) => return Ok(()),
            Input::Gone { interaction, .. } => {
                self.gone.insert(*interaction);
            }
            _ => {}
        }
        self.feed(input)
    }

    /// What ended before a snapshot is not in it, and news about it are older.
    pub(super) fn ended_unheard(&self) -> BTreeSet<InteractionId> {
        let under_way = self.agenda.values().filter_map(|happening| match happening {
            Happening::Event(Input::Item(view)) => Some(view.interaction),
            _ => None,
        });
        under_way.filter(|id| !self.world.items.contains_key(id)).collect()
    }
}
