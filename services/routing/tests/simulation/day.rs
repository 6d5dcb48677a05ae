//! What happens in the house: arrivals, people and what they do with items, changes of campaigns.

use hilo_routing::domain::*;

use super::invariants::Checked;
use super::{Happening, Simulation};

/// Longest an agent lets an offer ring before he opens or declines it.
const LONGEST_RINGING: Span = Span::seconds(20);

impl Simulation {
    pub(super) fn happen(&mut self, happening: Happening) -> Checked {
        match happening {
            Happening::Arrive => {
                self.again(self.scenario.arrivals, Happening::Arrive);
                self.arrive();
            }
            Happening::People => {
                self.again(self.scenario.people, Happening::People);
                return self.person();
            }
            Happening::Change => {
                self.again(self.scenario.changes, Happening::Change);
                self.change();
            }
            Happening::Restart => {
                self.again(self.scenario.restarts, Happening::Restart);
                self.gone.extend(self.ended_unheard());
                return self.restart();
            }
            Happening::Open(what) => self.open(what),
            Happening::Decline(interaction, offer) => self.decline(interaction, offer),
            Happening::Finish(interaction) => self.finish(interaction),
            Happening::Heard(agent, absent) => {
                if let Some(person) = self.world.people.get_mut(&agent) {
                    person.absent = absent;
                }
            }
            Happening::Event(input) => return self.event(input),
            Happening::Commit(engine, decision) => return self.commit(engine, decision),
            Happening::Answer(engine, answer) => return self.answer(engine, answer),
        }
        Ok(())
    }

    fn again(&mut self, mean: Span, happening: Happening) {
        let after = self.draw.around(mean);
        self.plan(after, happening);
    }

    fn arrive(&mut self) {
        if self.world.items.len() >= self.scenario.most_live {
            return;
        }
        self.numbers += 1;
        // As with random ids, the order of arrival is not that of the ids.
        let id = InteractionId(u128::from(self.draw.next()) << 64 | u128::from(self.numbers));
        let campaign = CampaignId(self.draw.below(u64::from(self.scenario.campaigns)) as u32);
        let mut view = self.world.queue(id, campaign, self.now);
        if self.scenario.mode.is_none() && self.draw.chance(20) {
            view.priority = self.draw.between(0, 2) as i32 - 1;
        }
        view.demand = self.scenario.demand(self.now, &mut self.draw);
        self.world.items.insert(id, view.clone());
        self.emit(Input::Item(view));
        if self.scenario.mode.is_none() && self.draw.chance(10) {
            let after = self.draw.up_to(LONGEST_RINGING);
            self.plan(after, Happening::Open(None));
        }
    }

    fn person(&mut self) -> Checked {
        let agent = AgentId(self.draw.below(u64::from(self.scenario.agents)) as u32);
        let what = self.draw.below(10);
        if what < 6 {
            let states = [Presence::Present, Presence::Present, Presence::Absent, Presence::Unknown];
            let presence = self.draw.one_of(&states).unwrap();
            self.presences.insert(agent, presence);
            let after = self.draw.up_to(self.scenario.delay);
            self.plan(after, Happening::Heard(agent, presence == Presence::Absent));
            return self.feed(Input::Presence { agent, presence });
        }
        let (paused, active) = (self.draw.chance(40), self.draw.chance(80));
        let capacity = self.scenario.capacity(&mut self.draw);
        let skills = self.scenario.skills(&mut self.draw);
        let person = self.world.people.get_mut(&agent).unwrap();
        match what {
            6 | 7 => person.paused = paused,
            8 => person.active = active,
            9 if self.scenario.wide && !paused => person.skills = skills,
            _ => person.capacity = capacity,
        }
        person.version += 1;
        self.emit(Input::Agent(self.world.agent_view(agent)));
        Ok(())
    }

    fn change(&mut self) {
        let id = self.draw.below(u64::from(self.scenario.campaigns)) as u32;
        let known = &self.world.campaigns[&CampaignId(id)];
        let version = known.version + 1;
        let config = if self.draw.chance(20) {
            CampaignConfig { version, ..known.clone() }
        } else {
            self.scenario.campaign(id, version, &mut self.draw)
        };
        self.world.campaigns.insert(config.campaign, config.clone());
        self.emit(Input::Campaign(config));
    }

    /// Somebody opens something; a particular item only while it still rings, an item that rings at everyone by any member.
    fn open(&mut self, what: Option<(InteractionId, AgentId)>) {
        let queued = |view: &&ItemView| matches!(view.state, ItemState::Queued(_));
        let (interaction, agent) = match what {
            Some(what) => what,
            None => {
                let ids: Vec<_> =
                    self.world.items.values().filter(queued).map(|view| view.interaction).collect();
                let Some(interaction) = self.draw.one_of(&ids) else { return };
                let members = &self.world.campaigns[&self.world.items[&interaction].campaign].members;
                let Some(agent) = self.draw.one_of(members) else { return };
                (interaction, agent)
            }
        };
        let Some(view) = self.world.open(interaction, agent) else { return };
        self.invariants.handed(interaction, Some(agent));
        self.emit(Input::Item(view));
        let after = self.draw.around(self.scenario.handling);
        self.plan(after, Happening::Finish(interaction));
    }

    fn decline(&mut self, interaction: InteractionId, offer: OfferId) {
        let rings = self.world.items.get(&interaction).is_some_and(|view| match view.state {
            ItemState::Queued(Queued { offer: Some(ringing), .. }) => ringing.offer == offer,
            ItemState::Queued(_) | ItemState::Open(_) => false,
        });
        if let Some(view) = rings.then(|| self.world.decline(interaction)).flatten() {
            self.invariants.handed(interaction, None);
            self.emit(Input::Item(view));
        }
    }

    fn finish(&mut self, interaction: InteractionId) {
        let released = self.draw.chance(10).then(|| self.world.release(interaction, self.now)).flatten();
        let input = released.map(Input::Item).or_else(|| self.world.end(interaction));
        if let Some(input) = input {
            self.invariants.handed(interaction, None);
            self.emit(input);
        }
    }

    /// How the person reacts to an offer that rings at him, or at everyone.
    pub(super) fn react(&mut self, interaction: InteractionId, ringing: Ringing) {
        let after = self.draw.up_to(LONGEST_RINGING);
        let agent = match ringing.target {
            Target::Agent(agent) => agent,
            Target::Everyone => AgentId(self.draw.below(u64::from(self.scenario.agents)) as u32),
        };
        let to_one = ringing.target == Target::Agent(agent);
        if !(to_one && self.draw.chance(self.scenario.passed)) {
            self.plan(after, Happening::Open(Some((interaction, agent))));
        } else if ringing.deadline.is_none() || self.draw.chance(50) {
            self.plan(after, Happening::Decline(interaction, ringing.offer));
        }
    }
}
