//! Days of a contact center in virtual time, from a seed: whatever happens in whatever order, the named invariants hold after
//! every step, and the engine decides what a linear scan over the same news decides.
//!
//! A dozen seeds are fixed; three are fresh in every run, and one is printed when something does not hold. To see the same again:
//! `HILO_SIMULATION_SEED=<seed> cargo test -p hilo-routing --test engine_simulation`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test by panicking")]

mod simulation;
mod world;

use std::hash::{BuildHasher, Hasher};

use hilo_routing::domain::Mode;
use simulation::Simulation;
use simulation::draw::{Draw, P_001};
use simulation::invariants::*;
use simulation::sabotage::Sabotage;
use simulation::scenario::Scenario;

const SEED: &str = "HILO_SIMULATION_SEED";
const STEPS: u32 = 4_000;
const MOTLEY_STEPS: u32 = 1_500;

/// A kind of day.
type Day = fn(&mut Draw) -> Scenario;

fn given_seed() -> Option<u64> {
    std::env::var(SEED)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{SEED} is not a number: {text}")))
}

/// As different in every run as the keys of a hash map.
fn fresh_seed() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Goes on for this many steps; `seed` is what the day began with.
fn holds(simulation: &mut Simulation, seed: u64, steps: u32) {
    if let Err((step, Violation { name, what })) = simulation.run(steps) {
        // Chance may look like this once in a thousand runs; `random_is_fair` asks again before it complains.
        assert!(
            name == FAIR_RANDOM,
            "seed {seed}, step {step}: \"{name}\" does not hold: {what}\nagain with {SEED}={seed}"
        );
    }
}

/// Any day from this seed.
fn lived(seed: u64) -> Simulation {
    let mut simulation = Simulation::new(seed, Scenario::any, Sabotage::None);
    holds(&mut simulation, seed, STEPS);
    simulation
}

#[test]
fn every_invariant_holds_after_every_step_of_fixed_days() {
    let offers: u32 = (1..=12).map(|seed| lived(seed).offers).sum();
    assert!(offers > 3_000, "only {offers} offers: these days show little");
}

#[test]
fn every_invariant_holds_after_every_step_of_a_day_never_seen_before() {
    let given = given_seed();
    for _ in 0..given.map_or(3, |_| 1) {
        lived(given.unwrap_or_else(fresh_seed));
    }
}

/// The most kinds that waited at once on a motley day.
fn most_kinds(seed: u64) -> usize {
    let mut simulation = Simulation::new(seed, Scenario::motley, Sabotage::None);
    let hours = (0..15).map(|_| {
        holds(&mut simulation, seed, MOTLEY_STEPS / 15);
        simulation.kinds()
    });
    hours.max().unwrap_or(0)
}

/// An engine keeps a class for each kind of item that waits. Whoever could have one of a rare kind has it, however many other
/// kinds wait for nobody.
#[test]
fn every_invariant_holds_on_days_with_more_kinds_of_items_than_an_engine_keeps_empty_classes() {
    let kinds = [1, 2, 3].map(most_kinds);
    assert!(kinds.iter().all(|kinds| *kinds > 64), "{kinds:?}: these days show little");
    most_kinds(given_seed().unwrap_or_else(fresh_seed));
}

/// Chi-square over quiet days of mode `random`. Fixed seeds must stay below what chance exceeds once in 1,000 runs; a fresh
/// one may exceed it twice, but not three times in a row (once in 1,000,000,000 runs of an honest engine).
#[test]
fn random_is_fair() {
    let score = |seed| {
        let mut simulation = Simulation::new(seed, |_| Scenario::quiet(Mode::Random), Sabotage::None);
        match simulation.run(STEPS) {
            Ok(()) | Err((_, Violation { name: FAIR_RANDOM, .. })) => {
                simulation.invariants.draws.score().unwrap()
            }
            Err((step, Violation { name, what })) => panic!("seed {seed}, step {step}: \"{name}\": {what}"),
        }
    };
    for seed in 1..=3 {
        assert!(score(seed) < P_001, "seed {seed}");
    }
    let seed = given_seed().unwrap_or_else(fresh_seed);
    let mut draw = Draw::new(seed);
    let scores = [seed, draw.next(), draw.next()].map(score);
    assert!(scores.iter().any(|score| *score < P_001), "{scores:?}; again with {SEED}={seed}");
}

/// The invariant that a broken engine or writer violates first, in the first of twenty days on which any is.
fn violated(sabotage: Sabotage, scenario: Day) -> Option<&'static str> {
    let found = (1..=20).find_map(|seed| Simulation::new(seed, scenario, sabotage).run(STEPS).err());
    found.map(|(_, violation)| violation.name)
}

#[test]
fn no_check_is_idle_each_is_upset_by_what_it_is_there_for() {
    // What nobody fitting has let pass, and everybody else did, may rest a moment longer than a broken engine can be judged by.
    let any: Day = |draw| Scenario { wide: false, ..Scenario::any(draw) };
    let skilled: Day = |_| Scenario { wide: true, ..Scenario::quiet(Mode::RoundRobin) };
    let rows: [(Sabotage, Day, &str); 17] = [
        (Sabotage::OfferTwice, any, ONE_HOLDER),
        (Sabotage::BlindWriter, Scenario::hasty, ONE_HOLDER),
        (Sabotage::BlindWriter, Scenario::self_served, WITHIN_CAPACITY),
        (Sabotage::ToTheFull, any, WITHIN_CAPACITY),
        (Sabotage::ToTheAbsent, any, AVAILABLE),
        (Sabotage::ToTheUnskilled, skilled, FITTING),
        (Sabotage::YoungerFirst, any, OLDEST_FIRST),
        (Sabotage::Leave, any, AT_ONCE),
        (Sabotage::Swallow, any, NOT_FORGOTTEN),
        (Sabotage::Favourite, |_| Scenario::quiet(Mode::RoundRobin), EVEN_ROUND_ROBIN),
        (Sabotage::Favourite, |_| Scenario::quiet(Mode::LeastBusy), EVEN_LEAST_BUSY),
        (Sabotage::Favourite, |_| Scenario::quiet(Mode::LongestIdle), IDLE_FIRST),
        (Sabotage::Bias, |_| Scenario::quiet(Mode::Random), FAIR_RANDOM),
        (Sabotage::Crowd, Scenario::motley, OLDEST_FIRST),
        (Sabotage::Dawdle, any, AS_REFERENCE),
        (Sabotage::Misreport, any, AS_REFERENCE),
        (Sabotage::Restless, any, COMES_TO_REST),
    ];
    for (sabotage, scenario, name) in rows {
        assert_eq!(violated(sabotage, scenario), Some(name), "{sabotage:?}");
    }
}
