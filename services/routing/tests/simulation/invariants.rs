//! What must hold after every step, each under a name of its own.

use std::collections::BTreeMap;

use hilo_routing::domain::*;

use super::draw::{P_001, Tally};
use super::reference::need::Need;
use super::reference::{Line, Loads, Reference};
use crate::world::{World, weight};

pub const ONE_HOLDER: &str = "never two holders";
pub const AVAILABLE: &str = "only to available members";
pub const WITHIN_CAPACITY: &str = "never over capacity by the router";
pub const FITTING: &str = "only to members the item is for";
pub const OLDEST_FIRST: &str = "never an older eligible item passed over";
pub const AT_ONCE: &str = "nothing waits while someone is eligible";
pub const NOT_FORGOTTEN: &str = "nothing queued for ever while someone is eligible";
pub const EVEN_ROUND_ROBIN: &str = "round robin spreads evenly among equals";
pub const EVEN_LEAST_BUSY: &str = "least busy spreads evenly among equals";
pub const IDLE_FIRST: &str = "longest idle takes who has had nothing for longest";
pub const FAIR_RANDOM: &str = "random is equally likely for everybody";
pub const AS_REFERENCE: &str = "the engine decides as the reference does";
pub const COMES_TO_REST: &str = "the engine comes to rest";

/// An item that somebody could take is offered, committed and all, within this time whatever is refused or lost.
const LONGEST_WAIT: Span = Span::seconds(90);

/// What was found not to hold.
#[derive(Debug)]
pub struct Violation {
    pub name: &'static str,
    pub what: String,
}

pub type Checked = Result<(), Violation>;

pub fn ensure(holds: bool, name: &'static str, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { name, what: what() }) }
}

/// How many offers one had more than the other.
type Leads = BTreeMap<(AgentId, AgentId), i64>;

/// What the checks remember.
#[derive(Default)]
pub struct Invariants {
    /// Who has what in truth, kept apart from the model that commits it.
    holders: BTreeMap<InteractionId, AgentId>,
    /// Round robin, by configuration: counted while both were eligible at every offer.
    leads: BTreeMap<(CampaignId, Need), (i64, Leads)>,
    pub draws: Tally,
    stuck_since: BTreeMap<InteractionId, Instant>,
}

impl Invariants {
    /// Checks a decision against what the engine has been told, before it is noted there.
    pub fn decided(&mut self, mind: &Reference, decision: &Decision) -> Checked {
        let (interaction, version) = decision.subject();
        let line = mind.lines.get(&interaction);
        let free = line.is_some_and(|line| line.proposal.is_none() && line.view.version == version);
        ensure(free, ONE_HOLDER, || format!("{decision:?} of what is decided, changed or gone already"))?;
        let (Some(line), Decision::Offer(offer)) = (line, decision) else { return Ok(()) };
        ensure(line.waits(), ONE_HOLDER, || format!("{offer:?} of what somebody has: {:?}", line.view))?;
        let config = &mind.campaigns[&line.view.campaign].config;
        let Target::Agent(agent) = offer.target else { return Ok(()) };
        let loads = mind.loads();
        let saved = mind.saved.get(&interaction) == Some(&agent);
        let rule =
            mind.kept_away(agent, config.channel, &loads).filter(|rule| !saved || *rule != Rule::Saving);
        let unfit = mind.unfit(&mind.need(line), agent, config.channel, &loads);
        let fits = rule != Some(Rule::Full) && (rule.is_some() || unfit != Some(Rule::TooHeavy));
        ensure(fits, WITHIN_CAPACITY, || format!("{offer:?} to one who is full"))?;
        let member = config.members.contains(&agent);
        ensure(rule.is_none() && member, AVAILABLE, || format!("{offer:?} although {rule:?}"))?;
        ensure(unfit.is_none(), FITTING, || format!("{offer:?} although {unfit:?}"))?;
        if saved {
            return Ok(());
        }
        self.oldest_first(mind, line, agent, &loads)?;
        self.even(mind, line, offer, agent, &loads)
    }

    /// Nothing that goes before it waits for the same agent.
    fn oldest_first(&self, mind: &Reference, line: &Line, agent: AgentId, loads: &Loads) -> Checked {
        let channel = mind.channel(line.view.campaign);
        let competes = |other: &&Line| {
            let config = &mind.campaigns[&other.view.campaign].config;
            let to_one =
                config.mode != Mode::Everyone && other.queued().is_some_and(|queued| !queued.overflowed);
            other.is_ready(mind.now)
                && to_one
                && config.active
                && config.channel == channel
                && mind.eligible(other, loads).contains(&agent)
                && !other.view.passed_by.contains(&agent)
        };
        let first = mind.lines.values().filter(competes).min_by_key(|other| mind.turn(other));
        let passed_over = first.filter(|first| mind.turn(first) < mind.turn(line));
        ensure(passed_over.is_none(), OLDEST_FIRST, || {
            format!("{agent:?} gets {:?} while {:?} waits", line.view, passed_over.map(|line| &line.view))
        })
    }

    fn even(
        &mut self,
        mind: &Reference,
        line: &Line,
        offer: &Offer,
        winner: AgentId,
        loads: &Loads,
    ) -> Checked {
        let (config, need) = (&mind.campaigns[&line.view.campaign].config, mind.need(line));
        let eligible = mind.eligible(line, loads);
        let fresh = || eligible.iter().filter(|agent| !line.view.passed_by.contains(agent));
        let undisturbed = line.view.passed_by.is_empty();
        let load = |agent: &AgentId| loads.get(&(*agent, config.channel)).copied().unwrap_or(0);
        match config.mode {
            Mode::Everyone => Ok(()),
            Mode::RoundRobin if undisturbed => self.even_rotation(offer, need, winner, &eligible),
            Mode::RoundRobin => {
                self.leads.remove(&(offer.campaign, need));
                Ok(())
            }
            Mode::LeastBusy => {
                let least = fresh().map(load).min();
                ensure(least.is_none_or(|least| load(&winner) <= least), EVEN_LEAST_BUSY, || {
                    format!("{winner:?} has {} and somebody {least:?}", load(&winner))
                })
            }
            Mode::LongestIdle => {
                let idle = |agent: &AgentId| mind.idle_since(*agent, config.channel, loads);
                let longest = fresh().filter_map(idle).min();
                ensure(longest.is_none() || idle(&winner) == longest, IDLE_FIRST, || {
                    format!("{winner:?} since {:?} and somebody since {longest:?}", idle(&winner))
                })
            }
            Mode::Random => {
                if undisturbed && let Some(place) = eligible.iter().position(|agent| *agent == winner) {
                    self.draws.note(place, eligible.len());
                }
                Ok(())
            }
        }
    }

    fn even_rotation(&mut self, offer: &Offer, need: Need, winner: AgentId, eligible: &[AgentId]) -> Checked {
        let version = offer.record.config_version;
        let (known, leads) = self.leads.entry((offer.campaign, need)).or_default();
        if *known != version {
            (*known, *leads) = (version, BTreeMap::new());
        }
        leads.retain(|(one, other), _| eligible.contains(one) && eligible.contains(other));
        for other in eligible.iter().filter(|other| **other != winner) {
            *leads.entry((winner, *other)).or_default() += 1;
            *leads.entry((*other, winner)).or_default() -= 1;
        }
        let uneven = leads.iter().find(|(_, lead)| lead.abs() > 1);
        ensure(uneven.is_none(), EVEN_ROUND_ROBIN, || format!("{uneven:?} more in {:?}", offer.campaign))
    }

    /// Checks what the engine leaves waiting once it has decided.
    pub fn applied(&self, mind: &Reference) -> Checked {
        let loads = mind.loads();
        for line in mind.lines.values().filter(|line| line.is_ready(mind.now)) {
            let config = &mind.campaigns[&line.view.campaign].config;
            let to_all =
                config.mode == Mode::Everyone || line.queued().is_some_and(|queued| queued.overflowed);
            let could = mind.eligible(line, &loads);
            let mut fresh = could.iter().filter(|agent| to_all || !line.view.passed_by.contains(agent));
            let free = fresh.next().filter(|_| config.active);
            ensure(free.is_none(), AT_ONCE, || format!("{:?} waits and {free:?} is free", line.view))?;
        }
        Ok(())
    }

    /// Checks that nothing which somebody could have goes without a committed offer for long.
    pub fn progress(&mut self, mind: &Reference, world: &World) -> Checked {
        let loads = mind.loads();
        let someone = |view: &ItemView| {
            let line = mind.lines.get(&view.interaction).filter(|line| line.queued().is_some());
            line.is_some_and(|line| {
                let active = mind.campaigns[&line.view.campaign].config.active;
                active && !mind.eligible(line, &loads).is_empty()
            })
        };
        let stuck = world.items.values().filter(|view| {
            matches!(view.state, ItemState::Queued(Queued { offer: None, .. })) && someone(view)
        });
        let before = std::mem::take(&mut self.stuck_since);
        for view in stuck {
            let since = before.get(&view.interaction).copied().unwrap_or(mind.now);
            self.stuck_since.insert(view.interaction, since);
            let waited = mind.now - since;
            ensure(waited <= LONGEST_WAIT, NOT_FORGOTTEN, || format!("{view:?} for {waited:?}"))?;
        }
        Ok(())
    }

    /// attention-state committed an offer to somebody.
    pub fn granted(&mut self, view: &ItemView, agent: AgentId, load: u32, capacity: u32) -> Checked {
        let before = self.holders.insert(view.interaction, agent);
        ensure(before.is_none(), ONE_HOLDER, || format!("{view:?} at {agent:?} and {before:?}"))?;
        ensure(load + weight(view) <= capacity, WITHIN_CAPACITY, || {
            format!("{agent:?} has {load} of {capacity}")
        })
    }

    /// The item is with this agent by a person's choice, or with nobody any more.
    pub fn handed(&mut self, interaction: InteractionId, holder: Option<AgentId>) {
        match holder {
            Some(agent) => self.holders.insert(interaction, agent),
            None => self.holders.remove(&interaction),
        };
    }

    /// Another engine goes on from what was committed: its rotation may repeat what was on its way.
    pub fn restarted(&mut self) {
        self.leads.clear();
    }

    /// Checks what only many decisions together can show.
    pub fn whole(&self) -> Checked {
        let score = self.draws.score().unwrap_or(0.0);
        ensure(score < P_001, FAIR_RANDOM, || format!("a standard score of {score:.2}"))
    }
}
