//! Measures the engine alone: decisions per second on one core, and how the cost grows with the number waiting.
//!
//! `cargo run --release -p hilo-routing --example engine_bench` prints the figures of the targets; with `-- matrix` it goes
//! through 1,000 to 500,000 waiting × 10 to 10,000 agents × each mode, plain and with skills and priorities; with `-- memory` it
//! says what the engine alone takes of it per waiting item and per agent, and how long 100,000 items take to be read in. With
//! `--json` behind that it prints one JSON object instead of tables. A decision is
//! one offer together with the events that caused it: here always the arrival, the answer that commits the offer, the
//! opening and the end of an item. Time is the thread's time on a processor, so that other work on the machine does not
//! count (its use of the caches does).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant as Wall;

use hilo_routing::domain::*;
use serde_json::{Value, json};

const AGENTS: u32 = 10_000;
/// Microseconds between two arrivals: 10,000 a second.
const TICK: i64 = 100;
const SKILLS: u32 = 4;
/// The kernel counts a thread's time in steps of up to 4 ms, so a round is a hundred of them.
const ROUND_SECONDS: f64 = 0.4;
const ROUNDS: u32 = 3;
const MODES: [Mode; 5] = [Mode::RoundRobin, Mode::LeastBusy, Mode::Random, Mode::LongestIdle, Mode::Everyone];

/// Seconds this thread has been on a processor (first number of `/proc/thread-self/schedstat`, nanoseconds); wall time
/// where that is missing.
struct Clock(Wall);

impl Clock {
    fn seconds(&self) -> f64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanos = text.split(' ').next().and_then(|first| first.parse::<f64>().ok());
        nanos.map_or_else(|| self.0.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
    }
}

/// What is measured.
#[derive(Clone, Copy)]
struct Setup {
    mode: Mode,
    agents: u32,
    capacity: u32,
    /// Half of the items ask for one of four skills, which each agent but one in four has; priorities age, VIPs go first.
    wide: bool,
}

impl Setup {
    /// Twenty campaigns, or one for ten agents.
    fn campaigns(self) -> u32 {
        (self.agents / 10).clamp(1, 20)
    }
}

struct Bench {
    setup: Setup,
    engine: Engine,
    decisions: Vec<Decision>,
    /// What items may ask for; shared, as the items of a campaign share it.
    demands: Vec<SharedDemand>,
    next: u64,
    now: i64,
}

impl Bench {
    fn new(setup: Setup) -> Self {
        let asked = |skill| vec![Skill { skill: SkillId(skill), level: 1 }];
        let some =
            |skill| Some(Arc::new(Demand { skills: asked(skill), vip: skill == 0, ..Demand::default() }));
        let demands = if setup.wide { (0..SKILLS).map(some).collect() } else { Vec::new() };
        let mut bench =
            Self { setup, engine: Engine::new(1), decisions: Vec::new(), demands, next: 0, now: 0 };
        (0..setup.campaigns()).for_each(|campaign| bench.campaign(campaign));
        (0..setup.agents).for_each(|agent| bench.agent(agent));
        bench
    }

    /// Every agent is in two campaigns: with twenty of them, agents 0, 20, ... in 0 and 1, and so on.
    fn campaign(&mut self, campaign: u32) {
        let count = self.setup.campaigns();
        let members = (0..self.setup.agents).filter(|agent| {
            let home = agent % count;
            home == campaign || (home + 1) % count == campaign
        });
        let ageing = Selection { ageing: Some(Span::seconds(60)), vip_bonus: 1, ..Selection::default() };
        let config = CampaignConfig {
            campaign: CampaignId(campaign),
            version: 1,
            channel: Channel::Email,
            active: true,
            mode: self.setup.mode,
            accept_timeout: Some(Span::seconds(30)),
            overflow: Some(Overflow { after: Span::seconds(3_600), action: OverflowAction::AssignToAll }),
            members: members.map(AgentId).collect(),
            pointer: None,
            selection: if self.setup.wide { ageing } else { Selection::default() },
        };
        self.feed(Input::Campaign(config));
    }

    fn agent(&mut self, number: u32) {
        let all = (0..SKILLS).filter(|skill| *skill != number / 20 % SKILLS);
        let skills = all.map(|skill| Skill { skill: SkillId(skill), level: 1 });
        let view = AgentView {
            agent: AgentId(number),
            version: 1,
            active: true,
            paused: false,
            capacity: [self.setup.capacity; 2],
            last_offered: [None; 2],
            idle_since: [None; 2],
            skills: if self.setup.wide { skills.collect() } else { Vec::new() },
        };
        self.feed(Input::Agent(view));
        self.feed(Input::Presence { agent: AgentId(number), presence: Presence::Present });
    }

    fn feed(&mut self, input: Input) {
        self.engine.apply_into(input, Instant(self.now), &mut self.decisions);
    }

    /// The n-th interaction id, as random in its low half as a UUID of version 7.
    fn id(number: u64) -> InteractionId {
        let low = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        InteractionId((u128::from(number) << 80) | u128::from(low))
    }

    fn queued(&self, number: u64, version: i64, offer: Option<Ringing>) -> ItemView {
        let arrived = Instant(number as i64 * TICK);
        let campaigns = u64::from(self.setup.campaigns());
        // Different from the number of the campaign, so that each campaign has every kind.
        let kind = number / campaigns;
        let demand = self.demands.get((kind % (2 * u64::from(SKILLS))) as usize).cloned().flatten();
        ItemView {
            interaction: Self::id(number),
            version,
            campaign: CampaignId((number % campaigns) as u32),
            priority: if self.setup.wide { (kind % 3) as i32 } else { 0 },
            state: ItemState::Queued(Queued {
                waiting_since: arrived,
                queued_at: arrived,
                overflowed: false,
                offer,
            }),
            passed_by: Vec::new(),
            overflowed_from: Vec::new(),
            demand,
        }
    }

    fn arrive(&mut self) {
        self.now += TICK;
        let view = self.queued(self.next, 1, None);
        self.next += 1;
        self.feed(Input::Item(view));
    }

    /// Commits what was decided, and has it opened by whom it was offered to; answers how many offers there were and notes
    /// what is open, or rings at everyone.
    fn commit(&mut self, held: &mut VecDeque<InteractionId>) -> u64 {
        let mut offers = 0;
        while let Some(decision) = self.decisions.pop() {
            let Decision::Offer(offer) = decision else { continue };
            offers += 1;
            let ringing = Ringing {
                offer: OfferId(1),
                target: offer.target,
                deadline: offer.deadline,
                transferred: false,
            };
            let current = Some(self.queued(number(offer.interaction), 2, Some(ringing)));
            let answer =
                Answer { interaction: offer.interaction, version: 1, outcome: Outcome::Applied, current };
            self.feed(Input::Answer(answer));
            if let Target::Agent(agent) = offer.target {
                self.open(offer.interaction, agent);
            }
            held.push_back(offer.interaction);
        }
        offers
    }

    fn open(&mut self, interaction: InteractionId, agent: AgentId) {
        let mut view = self.queued(number(interaction), 3, None);
        view.state = ItemState::Open(agent);
        self.feed(Input::Item(view));
    }

    /// The oldest of them ends; what rings at everyone is opened first.
    fn end(&mut self, held: &mut VecDeque<InteractionId>) {
        let Some(interaction) = held.pop_front() else { return };
        if self.setup.mode == Mode::Everyone {
            let agent = number(interaction) % u64::from(self.setup.agents);
            self.open(interaction, AgentId(agent as u32));
        }
        self.feed(Input::Gone { interaction, version: 4 });
    }
}

/// What number an item has.
fn number(interaction: InteractionId) -> u64 {
    (interaction.0 >> 80) as u64
}

/// Agents have room: every arrival is offered at once, and its item ends a while later. Decisions per second.
fn with_room(mode: Mode, agents: u32, wide: bool, seconds: f64) -> f64 {
    let mut bench = Bench::new(Setup { mode, agents, capacity: 5, wide });
    let most_open = 2 * agents as usize;
    let mut held = VecDeque::new();
    let mut offers = 0;
    let clock = Clock(Wall::now());
    let started = clock.seconds();
    while clock.seconds() - started < seconds {
        for _ in 0..10_000 {
            bench.arrive();
            offers += bench.commit(&mut held);
            if held.len() > most_open {
                bench.end(&mut held);
            }
        }
    }
    offers as f64 / (clock.seconds() - started)
}

/// Everybody is full and `waiting` items wait (in mode everyone: ring): each step one item ends (the oldest waiting that fits is
/// offered) and one arrives. Nanoseconds per decision, the best of some rounds.
fn with_backlog(setup: Setup, waiting: usize) -> f64 {
    let mut bench = Bench::new(setup);
    let mut held = VecDeque::new();
    let rings = setup.mode == Mode::Everyone;
    while (if rings { held.len() } else { bench.engine.waiting_items() }) < waiting {
        for _ in 0..1_000.min(waiting) {
            bench.arrive();
            bench.commit(&mut held);
        }
    }
    let (mut best, clock) = (f64::MAX, Clock(Wall::now()));
    for _ in 0..ROUNDS {
        let (mut offers, started) = (0_u64, clock.seconds());
        while clock.seconds() - started < ROUND_SECONDS {
            for _ in 0..1_000 {
                bench.end(&mut held);
                offers += bench.commit(&mut held);
                bench.arrive();
                offers += bench.commit(&mut held);
            }
        }
        best = best.min((clock.seconds() - started) / offers.max(1) as f64);
    }
    best * 1e9
}

/// Figures in the order they were measured; printed as they come, or in the end as one object.
struct Report {
    json: bool,
    figures: Vec<Value>,
}

impl Report {
    /// A figure, and how it reads in a table.
    fn add(&mut self, line: &str, figure: Value) {
        if !self.json {
            println!("{line}");
        }
        self.figures.push(figure);
    }

    fn title(&self, line: &str) {
        if !self.json {
            println!("{line}");
        }
    }

    fn end(self, what: &str) {
        if self.json {
            println!("{}", json!({ "measured": what, "agents": AGENTS, "figures": self.figures }));
        }
    }
}

fn word(wide: bool) -> &'static str {
    if wide { "with skills and priorities" } else { "plain" }
}

fn targets(report: &mut Report) {
    report.title(&format!("agents {AGENTS}, one core; a decision = arrival, offer, answer, opening, end"));
    for mode in MODES {
        let [plain, wide] = [false, true].map(|wide| with_room(mode, AGENTS, wide, 3.0).round());
        let ratio = wide / plain;
        let line = format!(
            "{mode:?}, agents with room: {plain} decisions/s; {} {wide}, ratio {ratio:.2}",
            word(true)
        );
        let name = format!("{mode:?}");
        report.add(
            &line,
            json!({ "mode": name, "decisions_per_second": plain, "with_skills_and_priorities": wide }),
        );
    }
    for wide in [false, true] {
        let setup = Setup { mode: Mode::RoundRobin, agents: AGENTS, capacity: 1, wide };
        let [few, many] = [1_000, 500_000].map(|waiting| with_backlog(setup, waiting).round());
        let ratio = many / few;
        let line = format!(
            "round robin, all full, {}: {few} ns per decision with 1,000 waiting, {many} ns with 500,000, ratio {ratio:.2}",
            word(wide)
        );
        report.add(&line, json!({ "wide": wide, "ns_at_1000": few, "ns_at_500000": many, "ratio": ratio }));
    }
}

fn matrix(report: &mut Report) {
    report.title("ns per decision, all full: plain / with skills and priorities");
    for mode in MODES {
        report.title(&format!(
            "{mode:?}\n{:>10} {:>8} {:>8} {:>8} {:>6}",
            "waiting", "agents", "plain", "wide", "ratio"
        ));
        for waiting in [1_000, 10_000, 100_000, 500_000] {
            for agents in [10, 100, 1_000, 10_000] {
                let setup = |wide| Setup { mode, agents, capacity: 1, wide };
                let [plain, wide] = [false, true].map(|wide| with_backlog(setup(wide), waiting).round());
                let line = format!("{waiting:>10} {agents:>8} {plain:>8} {wide:>8} {:>6.2}", wide / plain);
                let name = format!("{mode:?}");
                report.add(
                    &line,
                    json!({ "mode": name, "waiting": waiting, "agents": agents, "ns": plain, "ns_with_skills_and_priorities": wide }),
                );
            }
        }
    }
}

/// Bytes of this process that are in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) * 1_024.0
}

/// The whole service is weighed by the bench `memory`; here is what the engine has of it.
fn memory(report: &mut Report) {
    // What is given back to the allocator would be taken again without a trace, so nothing is given back.
    let mut kept = Vec::new();
    for wide in [false, true] {
        let setup = Setup { mode: Mode::LeastBusy, agents: AGENTS, capacity: 0, wide };
        let before = resident();
        let mut bench = Bench::new(setup);
        let agents = ((resident() - before) / f64::from(AGENTS)).round();
        let before = resident();
        (0..500_000).for_each(|_| bench.arrive());
        let items = ((resident() - before) / 500_000.0).round();
        kept.push(std::mem::replace(&mut bench, Bench::new(setup)));
        let views: Vec<ItemView> = (0..100_000).map(|number| bench.queued(number, 1, None)).collect();
        bench.now = 100_000 * TICK;
        let clock = Clock(Wall::now());
        let started = clock.seconds();
        views.into_iter().for_each(|view| bench.feed(Input::Item(view)));
        let seconds = clock.seconds() - started;
        kept.push(bench);
        let line = format!(
            "{}: {items} bytes per waiting item of 500,000, {agents} bytes per agent of {AGENTS}; 100,000 items read in {seconds:.3} s",
            word(wide)
        );
        report.add(
            &line,
            json!({ "wide": wide, "bytes_per_item": items, "bytes_per_agent": agents, "seconds_for_100000": seconds }),
        );
    }
}

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let json = words.iter().any(|word| word == "--json");
    words.retain(|word| word != "--json");
    let mut report = Report { json, figures: Vec::new() };
    let what = words.first().map_or("targets", String::as_str);
    match what {
        "targets" => targets(&mut report),
        "matrix" => matrix(&mut report),
        "memory" => memory(&mut report),
        other => return eprintln!("unknown: {other}; say targets, matrix or memory, and --json"),
    }
    report.end(what);
}
