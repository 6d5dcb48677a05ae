//! Measures the engine alone: decisions per second on one core, and how the cost grows with the number waiting.
//!
//! `cargo run --release -p hilo-routing --example engine_bench`. A decision is one offer together with the events that
//! caused it: here always the arrival, the answer that commits the offer, the opening and the end of an item. Time is
//! the thread's time on a processor, so that other work on the machine does not count (its use of the caches does).

use std::time::Instant as Wall;

use hilo_routing::domain::*;

const AGENTS: u32 = 10_000;
const CAMPAIGNS: u32 = 20;
/// Microseconds between two arrivals: 10,000 a second.
const TICK: i64 = 100;

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

struct Bench {
    engine: Engine,
    decisions: Vec<Decision>,
    next: u64,
    now: i64,
}

impl Bench {
    fn new(mode: Mode, capacity: u32) -> Self {
        let mut bench = Self { engine: Engine::new(1), decisions: Vec::new(), next: 0, now: 0 };
        for campaign in 0..CAMPAIGNS {
            // Every agent is in two campaigns: agents 0..1000 in 0 and 1, and so on.
            let members = (0..AGENTS).filter(|agent| {
                let home = agent % CAMPAIGNS;
                home == campaign || (home + 1) % CAMPAIGNS == campaign
            });
            let config = CampaignConfig {
                campaign: CampaignId(campaign),
                version: 1,
                channel: Channel::Email,
                active: true,
                mode,
                accept_timeout: Some(Span::seconds(30)),
                overflow: Some(Overflow { after: Span::seconds(3_600), action: OverflowAction::AssignToAll }),
                members: members.map(AgentId).collect(),
                pointer: None,
            };
            bench.feed(Input::Campaign(config));
        }
        for agent in (0..AGENTS).map(AgentId) {
            let view = AgentView {
                agent,
                version: 1,
                active: true,
                paused: false,
                capacity: [capacity; 2],
                last_offered: [None; 2],
            };
            bench.feed(Input::Agent(view));
            bench.feed(Input::Presence { agent, presence: Presence::Present });
        }
        bench
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
        ItemView {
            interaction: Self::id(number),
            version,
            campaign: CampaignId((number % u64::from(CAMPAIGNS)) as u32),
            priority: 0,
            state: ItemState::Queued(Queued {
                waiting_since: arrived,
                queued_at: arrived,
                overflowed: false,
                offer,
            }),
            passed_by: Vec::new(),
            overflowed_from: Vec::new(),
        }
    }

    fn arrive(&mut self) {
        self.now += TICK;
        let view = self.queued(self.next, 1, None);
        self.next += 1;
        self.feed(Input::Item(view));
    }

    /// Commits what was decided, and has it opened; answers how many offers there were and who has what.
    fn commit(&mut self, open: &mut std::collections::VecDeque<(InteractionId, u32)>) -> u64 {
        let mut offers = 0;
        while let Some(decision) = self.decisions.pop() {
            let Decision::Offer(offer) = decision else { continue };
            let Target::Agent(agent) = offer.target else { continue };
            offers += 1;
            let ringing = Ringing {
                offer: OfferId(1),
                target: offer.target,
                deadline: offer.deadline,
                transferred: false,
            };
            let number = (offer.interaction.0 >> 80) as u64;
            let current = Some(self.queued(number, 2, Some(ringing)));
            let answer =
                Answer { interaction: offer.interaction, version: 1, outcome: Outcome::Applied, current };
            self.feed(Input::Answer(answer));
            let mut view = self.queued(number, 3, None);
            view.state = ItemState::Open(agent);
            self.feed(Input::Item(view));
            open.push_back((offer.interaction, agent.0));
        }
        offers
    }
}

/// Agents have room: every arrival is offered at once, and its item ends a while later.
fn with_room(mode: Mode) -> f64 {
    let mut bench = Bench::new(mode, 5);
    let mut open = std::collections::VecDeque::new();
    let mut offers = 0;
    let clock = Clock(Wall::now());
    let started = clock.seconds();
    while clock.seconds() - started < 3.0 {
        for _ in 0..10_000 {
            bench.arrive();
            offers += bench.commit(&mut open);
            if open.len() > 20_000
                && let Some((interaction, _)) = open.pop_front()
            {
                bench.feed(Input::Gone { interaction, version: 4 });
            }
        }
    }
    offers as f64 / (clock.seconds() - started)
}

/// Everybody is full and `waiting` items wait: each step one item ends (the oldest waiting is offered) and one arrives.
fn with_backlog(waiting: usize) -> f64 {
    let mut bench = Bench::new(Mode::RoundRobin, 1);
    let mut open = std::collections::VecDeque::new();
    while bench.engine.waiting_items() < waiting {
        bench.arrive();
        bench.commit(&mut open);
    }
    let mut offers = 0_u64;
    let (mut best, clock) = (f64::MAX, Clock(Wall::now()));
    for _ in 0..10 {
        let before = offers;
        let started = clock.seconds();
        for _ in 0..100_000 {
            if let Some((interaction, _)) = open.pop_front() {
                bench.feed(Input::Gone { interaction, version: 4 });
            }
            offers += bench.commit(&mut open);
            bench.arrive();
            offers += bench.commit(&mut open);
        }
        best = best.min((clock.seconds() - started) / (offers - before) as f64);
    }
    best
}

fn main() {
    println!(
        "agents {AGENTS}, campaigns {CAMPAIGNS}, one core; a decision = arrival, offer, answer, opening, end"
    );
    for mode in [Mode::RoundRobin, Mode::LeastBusy, Mode::Random] {
        println!("{mode:?}, agents with room: {:.0} decisions/s", with_room(mode));
    }
    let (few, many) = (with_backlog(1_000), with_backlog(500_000));
    println!("round robin, all full, 1,000 waiting: {:.0} ns per decision", few * 1e9);
    println!("round robin, all full, 500,000 waiting: {:.0} ns per decision", many * 1e9);
    println!("ratio {:.2}", many / few);
}
