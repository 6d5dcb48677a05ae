//! Table tests of the engine by text: a script of what happens, and the transcript it must produce.
//!
//! Script lines: `campaign NAME MODE [accept=S] [overflow=S:all|campaign] members=a,b`, `agent NAME capacity=N`,
//! `present|absent|unknown|pause|resume NAME`, `queue ITEM CAMPAIGN`, `open ITEM AGENT`, `end ITEM`, `release ITEM`,
//! `decline ITEM`, `at SECONDS` (time passes, every deadline fires exactly), `rebuild` (a fresh engine from the truth).
//! The model of attention-state answers every decision at once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test by panicking")]

mod world;

use std::collections::BTreeMap;

use hilo_routing::domain::*;
use world::{Person, World};

#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn id(&mut self, name: &str) -> u32 {
        if let Some(at) = self.0.iter().position(|known| known == name) {
            return at as u32;
        }
        self.0.push(name.to_owned());
        (self.0.len() - 1) as u32
    }
}

struct Script {
    world: World,
    engine: Engine,
    now: Instant,
    presences: BTreeMap<AgentId, Presence>,
    agents: Names,
    campaigns: Names,
    items: Names,
    transcript: Vec<String>,
}

impl Script {
    fn run(text: &str) -> String {
        let mut script = Self {
            world: World::default(),
            engine: Engine::new(1),
            now: Instant(0),
            presences: BTreeMap::new(),
            agents: Names::default(),
            campaigns: Names::default(),
            items: Names::default(),
            transcript: Vec::new(),
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            script.line(line);
        }
        script.transcript.join("\n")
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["campaign", name, mode, options @ ..] => self.campaign(name, mode, options),
            ["agent", name, capacity] => self.agent(name, capacity),
            [state @ ("present" | "absent" | "unknown"), name] => self.presence(state, name),
            [state @ ("pause" | "resume"), name] => {
                let agent = AgentId(self.agents.id(name));
                let person = self.world.people.get_mut(&agent).unwrap();
                person.paused = *state == "pause";
                person.version += 1;
                self.feed(Input::Agent(self.world.agent_view(agent)));
            }
            ["queue", item, campaign] => {
                let (item, campaign) = (self.item(item), CampaignId(self.campaigns.id(campaign)));
                let view = self.world.queue(item, campaign, self.now);
                self.feed(Input::Item(view));
            }
            ["open", item, agent] => {
                let (item, agent) = (self.item(item), AgentId(self.agents.id(agent)));
                let view = self.world.open(item, agent).unwrap();
                self.feed(Input::Item(view));
            }
            ["end", item] => {
                let item = self.item(item);
                let input = self.world.end(item).unwrap();
                self.feed(input);
            }
            ["release", item] => {
                let item = self.item(item);
                let view = self.world.release(item, self.now).unwrap();
                self.feed(Input::Item(view));
            }
            ["decline", item] => {
                let item = self.item(item);
                let view = self.world.decline(item).unwrap();
                self.feed(Input::Item(view));
            }
            ["at", seconds] => self.at(Instant((seconds.parse::<f64>().unwrap() * 1e6) as i64)),
            ["rebuild"] => self.engine = self.world.rebuild(&self.presences, self.now),
            other => panic!("what is {other:?}?"),
        }
    }

    fn item(&mut self, name: &str) -> InteractionId {
        InteractionId(u128::from(self.items.id(name)))
    }

    fn campaign(&mut self, name: &str, mode: &str, options: &[&str]) {
        let mut config = CampaignConfig {
            campaign: CampaignId(self.campaigns.id(name)),
            version: 1,
            channel: Channel::Email,
            active: true,
            mode: match mode {
                "everyone" => Mode::Everyone,
                "round_robin" => Mode::RoundRobin,
                "least_busy" => Mode::LeastBusy,
                other => panic!("mode {other}"),
            },
            accept_timeout: None,
            overflow: None,
            members: Vec::new(),
            pointer: None,
        };
        for option in options {
            match option.split_once('=').unwrap() {
                ("accept", seconds) => {
                    config.accept_timeout = Some(Span::seconds(seconds.parse().unwrap()));
                }
                ("overflow", rule) => {
                    let (seconds, action) = rule.split_once(':').unwrap();
                    let action = match action {
                        "all" => OverflowAction::AssignToAll,
                        _ => OverflowAction::SendToCampaign,
                    };
                    config.overflow =
                        Some(Overflow { after: Span::seconds(seconds.parse().unwrap()), action });
                }
                ("members", names) => {
                    config.members = names.split(',').map(|name| AgentId(self.agents.id(name))).collect();
                }
                other => panic!("option {other:?}"),
            }
        }
        self.world.campaigns.insert(config.campaign, config.clone());
        self.feed(Input::Campaign(config));
    }

    fn agent(&mut self, name: &str, capacity: &str) {
        let agent = AgentId(self.agents.id(name));
        let capacity = capacity.trim_start_matches("capacity=").parse().unwrap();
        let person =
            Person { version: 1, active: true, paused: false, absent: false, capacity: [capacity; 2] };
        self.world.people.insert(agent, person);
        self.feed(Input::Agent(self.world.agent_view(agent)));
        self.presence("present", name);
    }

    fn presence(&mut self, state: &str, name: &str) {
        let agent = AgentId(self.agents.id(name));
        let presence = match state {
            "present" => Presence::Present,
            "absent" => Presence::Absent,
            _ => Presence::Unknown,
        };
        self.world.people.get_mut(&agent).unwrap().absent = presence == Presence::Absent;
        self.presences.insert(agent, presence);
        self.feed(Input::Presence { agent, presence });
    }

    fn at(&mut self, instant: Instant) {
        while let Some(deadline) = self.engine.next_deadline().filter(|deadline| *deadline <= instant) {
            self.now = self.now.max(deadline);
            self.feed(Input::Tick);
        }
        self.now = instant;
        self.feed(Input::Tick);
    }

    fn feed(&mut self, input: Input) {
        let mut decisions = self.engine.apply(input, self.now);
        while !decisions.is_empty() {
            let mut next = Vec::new();
            for decision in decisions {
                self.note(&decision);
                let answer = self.world.commit(&decision, self.now);
                assert_eq!(answer.outcome, Outcome::Applied, "{decision:?}");
                next.extend(self.engine.apply(Input::Answer(answer), self.now));
            }
            decisions = next;
        }
    }

    fn note(&mut self, decision: &Decision) {
        let name = |id: InteractionId| self.items.0[id.0 as usize].clone();
        let seconds = |instant: Instant| instant.0 as f64 / 1e6;
        let text = match decision {
            Decision::Offer(offer) => {
                let target = match offer.target {
                    Target::Everyone => "everyone".to_owned(),
                    Target::Agent(agent) => self.agents.0[agent.0 as usize].clone(),
                };
                let until = offer.deadline.map_or(String::new(), |at| format!(" until {}", seconds(at)));
                let round = if offer.record.new_round { " (new round)" } else { "" };
                format!("offer {} to {target}{until}{round}", name(offer.interaction))
            }
            Decision::Expire { interaction, reason, .. } => {
                format!("expire {} {reason:?}", name(*interaction))
            }
            Decision::Overflow { interaction, .. } => format!("overflow {}", name(*interaction)),
        };
        self.transcript.push(format!("{}: {text}", seconds(self.now)));
    }
}

fn check(script: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(Script::run(script), expected.join("\n"));
}

const TWO: &str = "
    campaign soporte round_robin accept=30 members=ana,beto
    agent ana capacity=1
    agent beto capacity=1";

#[test]
fn an_arrival_rings_at_once_and_the_rotation_goes_on() {
    check(
        &format!("{TWO}\n queue a soporte\n queue b soporte\n queue c soporte"),
        "0: offer a to ana until 30
         0: offer b to beto until 30",
    );
}

#[test]
fn capacity_that_appears_serves_the_oldest_at_once() {
    check(
        &format!(
            "{TWO}\n queue a soporte\n queue b soporte\n at 1\n queue c soporte\n at 2\n queue d soporte
             open a ana\n open b beto\n at 5\n end b\n at 6\n end a"
        ),
        "0: offer a to ana until 30
         0: offer b to beto until 30
         5: offer c to beto until 35
         6: offer d to ana until 36",
    );
}

#[test]
fn the_accept_timeout_moves_to_the_next_and_nobody_is_asked_twice_in_a_round() {
    check(
        &format!("{TWO}\n queue a soporte\n at 60"),
        "0: offer a to ana until 30
         30: expire a AcceptTimeout
         30: offer a to beto until 60
         60: expire a AcceptTimeout",
    );
}

#[test]
fn when_all_let_it_pass_another_round_starts() {
    check(
        &format!("{TWO}\n queue a soporte\n at 62"),
        "0: offer a to ana until 30
         30: expire a AcceptTimeout
         30: offer a to beto until 60
         60: expire a AcceptTimeout
         61: offer a to ana until 91 (new round)",
    );
}

#[test]
fn an_item_nobody_takes_does_not_block_those_behind_it() {
    check(
        "campaign soporte round_robin accept=30 members=ana
         agent ana capacity=1
         queue a soporte
         at 1
         queue b soporte
         at 92",
        "0: offer a to ana until 30
         30: expire a AcceptTimeout
         30: offer b to ana until 60
         60: expire b AcceptTimeout
         60: offer a to ana until 90 (new round)
         90: expire a AcceptTimeout
         90: offer b to ana until 120 (new round)",
    );
}

#[test]
fn somebody_new_ends_the_rest_between_two_rounds() {
    check(
        &format!(
            "{TWO}\n pause beto\n queue a soporte\n at 3\n decline a\n at 3.2\n queue b soporte
             at 3.4\n resume beto"
        ),
        "0: offer a to ana until 30
         3.2: offer b to ana until 33.2
         3.4: offer a to beto until 33.4",
    );
}

#[test]
fn a_declined_offer_goes_to_the_next() {
    check(
        &format!("{TWO}\n queue a soporte\n at 3\n decline a"),
        "0: offer a to ana until 30
         3: offer a to beto until 33",
    );
}

#[test]
fn the_overflow_clock_runs_with_nobody_there_and_ends_at_everyone() {
    check(
        "campaign ventas round_robin accept=30 overflow=100:all members=ana,beto
         agent ana capacity=1
         agent beto capacity=1
         absent ana
         absent beto
         queue a ventas
         at 150
         present beto",
        "100: overflow a
         150: offer a to everyone",
    );
}

#[test]
fn the_overflow_ends_what_rings_and_then_rings_at_everyone() {
    check(
        "campaign ventas round_robin accept=8 overflow=10:all members=ana
         agent ana capacity=1
         queue a ventas
         at 60",
        "0: offer a to ana until 8
         8: expire a AcceptTimeout
         9: offer a to ana until 17 (new round)
         10: overflow a
         10: offer a to everyone",
    );
}

#[test]
fn without_accept_timeout_an_offer_rings_until_the_overflow() {
    check(
        "campaign ventas round_robin overflow=10:campaign members=ana
         agent ana capacity=1
         queue a ventas
         at 60",
        "0: offer a to ana
         10: overflow a
         10: offer a to everyone",
    );
}

#[test]
fn everyone_rings_once_somebody_is_there_and_only_once() {
    check(
        "campaign ventas everyone accept=30 members=ana,beto
         agent ana capacity=1
         agent beto capacity=1
         absent ana
         pause beto
         queue a ventas
         queue b ventas
         at 5
         resume beto
         present ana
         at 300",
        "5: offer a to everyone
         5: offer b to everyone",
    );
}

#[test]
fn an_offer_leaves_an_agent_who_goes_or_pauses_but_not_one_who_is_unknown() {
    check(
        &format!(
            "{TWO}\n queue a soporte\n at 1\n unknown ana\n at 2\n absent ana\n at 3\n pause beto\n at 4\n present ana"
        ),
        "0: offer a to ana until 30
         2: expire a AgentAbsent
         2: offer a to beto until 32
         3: expire a AgentPaused
         4: offer a to ana until 34",
    );
}

#[test]
fn opening_by_hand_ends_the_ringing_and_counts_for_the_one_who_opened() {
    check(
        &format!("{TWO}\n queue a soporte\n at 1\n open a beto\n queue b soporte\n at 100"),
        "0: offer a to ana until 30
         1: offer b to ana until 31
         31: expire b AcceptTimeout
         32: offer b to ana until 62 (new round)
         62: expire b AcceptTimeout
         63: offer b to ana until 93 (new round)
         93: expire b AcceptTimeout
         94: offer b to ana until 124 (new round)",
    );
}

#[test]
fn a_released_item_keeps_its_place_in_the_order() {
    check(
        "campaign soporte round_robin members=ana
         agent ana capacity=1
         at 10
         queue a soporte
         open a ana
         at 12
         queue b soporte
         at 14
         pause ana
         release a
         resume ana",
        "10: offer a to ana
         14: offer a to ana",
    );
}

#[test]
fn two_campaigns_of_one_agent_are_served_by_age() {
    check(
        "campaign uno round_robin members=ana
         campaign dos round_robin members=ana
         agent ana capacity=1
         pause ana
         queue b dos
         at 1
         queue a uno
         at 2
         queue c dos
         resume ana
         open b ana
         end b
         open a ana
         end a",
        "2: offer b to ana
         2: offer a to ana
         2: offer c to ana",
    );
}

#[test]
fn least_busy_takes_the_emptiest_then_the_one_offered_longest_ago() {
    check(
        "campaign soporte least_busy members=ana,beto,caro
         agent ana capacity=3
         agent beto capacity=3
         agent caro capacity=3
         queue a soporte
         at 1
         queue b soporte
         at 2
         queue c soporte
         open b beto
         end b
         at 3
         queue d soporte
         at 4
         queue e soporte",
        "0: offer a to ana
         1: offer b to beto
         2: offer c to caro
         3: offer d to beto
         4: offer e to ana",
    );
}

#[test]
fn a_restart_keeps_pointer_passes_deadlines_and_overflow() {
    check(
        "campaign soporte round_robin accept=30 overflow=100:all members=ana,beto,caro
         agent ana capacity=1
         agent beto capacity=1
         agent caro capacity=1
         queue a soporte
         at 10
         rebuild
         queue b soporte
         at 35
         rebuild
         at 70
         rebuild
         at 101",
        "0: offer a to ana until 30
         10: offer b to beto until 40
         30: expire a AcceptTimeout
         30: offer a to caro until 60
         40: expire b AcceptTimeout
         40: offer b to ana until 70
         60: expire a AcceptTimeout
         60: offer a to beto until 90
         70: expire b AcceptTimeout
         70: offer b to caro until 100
         90: expire a AcceptTimeout
         91: offer a to ana until 121 (new round)
         100: overflow a
         100: expire b AcceptTimeout
         100: offer a to everyone
         101: offer b to beto until 131 (new round)",
    );
}
