//! What fairness means, measured: even spread, every agent equally likely, nobody forgotten, timers from stored instants.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test by panicking")]

mod world;

use std::collections::BTreeMap;

use hilo_routing::domain::*;
use proptest::prelude::*;
use world::{Person, World};

fn config(id: u32, mode: Mode, members: u32) -> CampaignConfig {
    CampaignConfig {
        campaign: CampaignId(id),
        version: 1,
        channel: Channel::Email,
        active: true,
        mode,
        accept_timeout: Some(Span::seconds(30)),
        overflow: None,
        members: (0..members).map(AgentId).collect(),
        pointer: None,
        selection: Selection::default(),
    }
}

/// A world with its engine, everybody present.
struct House {
    world: World,
    engine: Engine,
    presences: BTreeMap<AgentId, Presence>,
    now: Instant,
    items: u128,
}

impl House {
    fn new(campaigns: Vec<CampaignConfig>, agents: u32, capacity: u32, seed: u64) -> Self {
        let mut house = Self {
            world: World::default(),
            engine: Engine::new(seed),
            presences: BTreeMap::new(),
            now: Instant(1_000_000),
            items: 0,
        };
        for config in campaigns {
            house.world.campaigns.insert(config.campaign, config.clone());
            house.engine.apply(Input::Campaign(config), house.now);
        }
        for agent in (0..agents).map(AgentId) {
            let person = Person::new([capacity; 2]);
            house.world.people.insert(agent, person);
            house.engine.apply(Input::Agent(house.world.agent_view(agent)), house.now);
            house.presence(agent, Presence::Present);
        }
        house
    }

    fn presence(&mut self, agent: AgentId, presence: Presence) {
        self.presences.insert(agent, presence);
        self.feed(Input::Presence { agent, presence });
    }

    /// Feeds an input and commits whatever follows; answers the offers to agents.
    fn feed(&mut self, input: Input) -> Vec<(InteractionId, AgentId)> {
        let mut offers = Vec::new();
        let mut decisions = self.engine.apply(input, self.now);
        while !decisions.is_empty() {
            let mut next = Vec::new();
            for decision in decisions {
                if let Decision::Offer(Offer { interaction, target: Target::Agent(agent), .. }) = decision {
                    offers.push((interaction, agent));
                }
                let answer = self.world.commit(&decision, self.now);
                assert_eq!(answer.outcome, Outcome::Applied);
                next.extend(self.engine.apply(Input::Answer(answer), self.now));
            }
            decisions = next;
        }
        offers
    }

    fn arrives(&mut self, campaign: u32) -> Vec<(InteractionId, AgentId)> {
        self.now = self.now + Span::millis(1);
        self.items += 1;
        let view = self.world.queue(InteractionId(self.items), CampaignId(campaign), self.now);
        self.feed(Input::Item(view))
    }

    fn finish(&mut self, item: InteractionId, agent: AgentId) {
        let view = self.world.open(item, agent).unwrap();
        self.feed(Input::Item(view));
        let gone = self.world.end(item).unwrap();
        self.feed(gone);
    }

    /// Another replica takes over, from the committed truth only.
    fn failover(&mut self) {
        self.engine = self.world.rebuild(&self.presences, self.now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn round_robin_stays_even_through_any_number_of_failovers(
        agents in 1_u32..20,
        failovers in prop::collection::vec(prop::bool::weighted(0.2), 1..120),
    ) {
        let mut house = House::new(vec![config(0, Mode::RoundRobin, agents)], agents, 1_000, 1);
        let mut offered: BTreeMap<AgentId, i64> = (0..agents).map(|agent| (AgentId(agent), 0)).collect();
        for takes_over in failovers {
            if takes_over {
                house.failover();
            }
            let [(_, agent)] = house.arrives(0)[..] else { panic!("one offer was expected") };
            *offered.get_mut(&agent).unwrap() += 1;
        }
        let spread = offered.values().max().unwrap() - offered.values().min().unwrap();
        prop_assert!(spread <= 1, "{offered:?}");
    }

    #[test]
    fn least_busy_always_takes_one_of_the_emptiest_and_so_stays_even(
        agents in 1_u32..20,
        ends in prop::collection::vec(prop::option::weighted(0.4, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut house = House::new(vec![config(0, Mode::LeastBusy, agents)], agents, 1_000, 1);
        let mut ended_any = false;
        for end in ends {
            let least = (0..agents).map(|agent| house.world.load(AgentId(agent), Channel::Email)).min().unwrap();
            let [(_, agent)] = house.arrives(0)[..] else { panic!("one offer was expected") };
            prop_assert_eq!(house.world.load(agent, Channel::Email), least + 1, "he was not among the emptiest");
            if let Some(end) = end {
                let held: Vec<(InteractionId, AgentId)> = house.world.items.values().filter_map(|item| match item.state {
                    ItemState::Queued(Queued { offer: Some(Ringing { target: Target::Agent(agent), .. }), .. }) => Some((item.interaction, agent)),
                    _ => None,
                }).collect();
                let (item, agent) = *end.get(&held);
                house.finish(item, agent);
                ended_any = true;
            }
            if !ended_any {
                let loads: Vec<u32> = (0..agents).map(|agent| house.world.load(AgentId(agent), Channel::Email)).collect();
                prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{:?}", loads);
            }
        }
    }

    /// Whatever is declined or let pass: each item reaches every agent before one agent sees it twice, and when places
    /// become free the one that waited longest is served first, in campaigns that share agents too.
    #[test]
    fn nobody_starves(agents in 1_u32..6, items in 2_u128..40, shuffle in prop::collection::vec(any::<bool>(), 40)) {
        let campaigns = vec![config(0, Mode::RoundRobin, agents), config(1, Mode::LeastBusy, agents)];
        let mut house = House::new(campaigns, agents, 1, 1);
        (0..agents).for_each(|agent| house.presence(AgentId(agent), Presence::Absent));
        for number in 0..items {
            house.arrives(u32::from(shuffle[number as usize]));
        }
        let mut served = Vec::new();
        for agent in 0..agents {
            house.presences.insert(AgentId(agent), Presence::Present);
            let input = Input::Presence { agent: AgentId(agent), presence: Presence::Present };
            served.extend(house.feed(input));
        }
        let mut at = 0;
        while let Some((item, agent)) = served.get(at).copied() {
            at += 1;
            let view = house.world.open(item, agent).unwrap();
            served.extend(house.feed(Input::Item(view)));
            let gone = house.world.end(item).unwrap();
            served.extend(house.feed(gone));
        }
        let order: Vec<u128> = served.iter().map(|(item, _)| item.0).collect();
        prop_assert_eq!(order, (1..=items).collect::<Vec<_>>(), "served in the order of waiting, all of them");
    }

    /// Deadlines come from what is stored: an engine that knows only the committed truth fires the same things at the
    /// same instants as the one that lived through it.
    #[test]
    fn timers_follow_from_stored_instants(
        starts in prop::collection::vec((0_i64..50_000, any::<bool>()), 1..12),
        until in 0_i64..20_000,
    ) {
        let mut campaigns = vec![config(0, Mode::RoundRobin, 3), config(1, Mode::RoundRobin, 3)];
        campaigns[0].overflow = Some(Overflow { after: Span::seconds(70), action: OverflowAction::AssignToAll });
        campaigns[1].overflow =
            Some(Overflow { after: Span::seconds(20), action: OverflowAction::SendToCampaign(CampaignId(0)) });
        let mut house = House::new(campaigns, 3, 2, 1);
        for (pause, second) in starts {
            house.now = house.now + Span::millis(pause / 10);
            house.arrives(u32::from(second));
        }
        house.now = house.now + Span::millis(until / 100);
        // Nobody can be offered anything any more, what rings goes on ringing: only timers are left.
        (0..3).for_each(|agent| house.presence(AgentId(agent), Presence::Unknown));
        let mut rebuilt = house.world.rebuild(&house.presences, house.now);
        let fired = |engine: &mut Engine| {
            let mut all = Vec::new();
            let mut now = house.now;
            while let Some(at) = engine.next_deadline().filter(|at| at.0 < house.now.0 + 200_000_000) {
                now = now.max(at);
                all.extend(engine.tick(now).into_iter().map(|decision| (now, format!("{decision:?}"))));
            }
            all.sort();
            all
        };
        prop_assert_eq!(fired(&mut house.engine), fired(&mut rebuilt));
    }
}

/// Sum of (seen - expected)² / expected.
fn chi_square(seen: &[u32]) -> f64 {
    let expected = f64::from(seen.iter().sum::<u32>()) / seen.len() as f64;
    seen.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
}

/// Chi-square with 9 degrees of freedom stays below 27.88 in 999 of 1,000 honest runs; the seeds are fixed, so this is no
/// matter of luck.
#[test]
fn random_is_equally_likely_for_everybody_whatever_the_seed() {
    for seed in [1, 2, 3, 42, 4_711] {
        let mut house = House::new(vec![config(0, Mode::Random, 10)], 10, 1_000, seed);
        let mut seen = [0_u32; 10];
        let mut pairs = vec![0_u32; 10];
        let mut before = 0;
        for _ in 0..5_000 {
            let [(item, agent)] = house.arrives(0)[..] else { panic!("one offer was expected") };
            seen[agent.0 as usize] += 1;
            pairs[((agent.0 + 10 - before) % 10) as usize] += 1;
            before = agent.0;
            house.finish(item, agent);
        }
        assert!(chi_square(&seen) < 27.88, "seed {seed}: {seen:?}");
        assert!(chi_square(&pairs) < 27.88, "seed {seed}: who follows whom is not even: {pairs:?}");
    }
}

#[test]
fn random_is_equally_likely_among_those_who_are_left() {
    let mut house = House::new(vec![config(0, Mode::Random, 20)], 20, 1_000, 7);
    (0..20).filter(|agent| agent % 2 == 1).for_each(|agent| house.presence(AgentId(agent), Presence::Absent));
    let mut seen = [0_u32; 10];
    for _ in 0..5_000 {
        let [(item, agent)] = house.arrives(0)[..] else { panic!("one offer was expected") };
        assert_eq!(agent.0 % 2, 0, "an absent agent was offered something");
        seen[(agent.0 / 2) as usize] += 1;
        house.finish(item, agent);
    }
    assert!(chi_square(&seen) < 27.88, "{seen:?}");
}
