//! Runs the scripts of the table tests: the words of a script are explained in `engine_table.rs`.

use std::collections::BTreeMap;

use hilo_routing::domain::*;

use crate::world::{Person, World};

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
            selection: Selection::default(),
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
                        name => OverflowAction::SendToCampaign(CampaignId(self.campaigns.id(name))),
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
        let person = Person::new([capacity; 2]);
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

/// Runs the script and compares what was decided.
pub fn check(script: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(Script::run(script), expected.join("\n"));
}
