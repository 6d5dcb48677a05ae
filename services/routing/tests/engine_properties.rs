//! Property tests of the engine against a model of attention-state, with late events, late answers and refusals.
//!
//! After every single step: nobody unavailable is offered anything, no item has two proposals, the oldest goes first,
//! and nothing that waits has an eligible agent. At rest an engine rebuilt from the truth equals the incremental one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test by panicking")]

mod bench;
mod world;

use std::collections::BTreeMap;

use bench::{AGENTS, Bench, Step, campaign, step, target_agent};
use hilo_routing::domain::*;
use proptest::prelude::*;
use world::{Person, World};

fn scenario() -> impl Strategy<Value = (Vec<CampaignConfig>, Vec<u32>, Vec<Step>)> {
    (
        (campaign(0), campaign(1), campaign(2)).prop_map(|(a, b, c)| vec![a, b, c]),
        prop::collection::vec(0_u32..4, AGENTS as usize),
        prop::collection::vec(step(), 1..150),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_at_every_step((campaigns, capacities, steps) in scenario()) {
        let mut bench = Bench::new(campaigns, &capacities);
        for step in steps {
            bench.step(step);
        }
        bench.settle();
    }

    #[test]
    fn a_rebuilt_engine_equals_the_incremental_one((campaigns, capacities, steps) in scenario()) {
        let mut bench = Bench::new(campaigns, &capacities);
        for step in steps {
            bench.step(step);
        }
        bench.settle();
        let incremental = bench.engine.view();
        let (rebuilt, decisions) = bench.rebuild();
        let rebuilt = rebuilt.view();
        prop_assert_eq!(decisions, Vec::new(), "what is committed needs nothing before presence is known");
        prop_assert_eq!(&incremental.items, &rebuilt.items);
        prop_assert_eq!(&incremental.loads, &rebuilt.loads);
        for (id, waiting) in &incremental.waiting {
            // Items that rest between two rounds, or after a refusal, wait at once in the rebuilt engine.
            let all: Vec<_> = rebuilt.waiting[id].iter().filter(|item| waiting.contains(item)).copied().collect();
            prop_assert_eq!(waiting, &all);
            for resting in rebuilt.waiting[id].iter().filter(|item| !waiting.contains(item)) {
                let told = &bench.told[resting];
                prop_assert!(!told.passed_by.is_empty() || bench.resting.contains(resting));
            }
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_decisions((campaigns, capacities, steps) in scenario()) {
        let mut one = Bench::new(campaigns.clone(), &capacities);
        let mut other = Bench::new(campaigns, &capacities);
        for step in steps {
            one.step(step.clone());
            other.step(step);
            prop_assert_eq!(&one.log, &other.log);
        }
    }

    #[test]
    fn round_robin_spreads_evenly_over_those_who_stay(
        agents in 1_u32..60,
        items in 1_u128..400,
        ended in prop::collection::vec(any::<bool>(), 400),
    ) {
        let mut world = World::default();
        let mut engine = Engine::new(1);
        let config = CampaignConfig {
            campaign: CampaignId(0), version: 1, channel: Channel::Email, active: true, mode: Mode::RoundRobin,
            accept_timeout: Some(Span::seconds(30)), overflow: None,
            members: (0..agents).rev().map(AgentId).collect(), pointer: None, selection: Selection::default(),
        };
        world.campaigns.insert(config.campaign, config.clone());
        engine.apply(Input::Campaign(config), Instant(0));
        for agent in (0..agents).map(AgentId) {
            world.people.insert(agent, Person::new([10_000; 2]));
            engine.apply(Input::Agent(world.agent_view(agent)), Instant(0));
            engine.apply(Input::Presence { agent, presence: Presence::Present }, Instant(0));
        }
        let mut offered: BTreeMap<AgentId, i64> = (0..agents).map(|agent| (AgentId(agent), 0)).collect();
        for number in 0..items {
            let id = InteractionId(number);
            let now = Instant(number as i64 * 1_000);
            let view = world.queue(id, CampaignId(0), now);
            for decision in engine.apply(Input::Item(view), now) {
                let Decision::Offer(offer) = decision else { panic!("{decision:?}") };
                *offered.get_mut(&target_agent(offer.target).unwrap()).unwrap() += 1;
                let answer = world.commit(&decision, now);
                prop_assert!(engine.apply(Input::Answer(answer), now).is_empty());
                if ended[number as usize] {
                    let view = world.open(id, target_agent(offer.target).unwrap()).unwrap();
                    engine.apply(Input::Item(view), now);
                    let gone = world.end(id).unwrap();
                    engine.apply(gone, now);
                }
            }
        }
        let (least, most) = (offered.values().min().unwrap(), offered.values().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", offered);
        prop_assert_eq!(offered.values().sum::<i64>(), items as i64);
    }
}
