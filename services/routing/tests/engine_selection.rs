//! What goes beyond the modes: longest idle, skills that are relaxed, priorities that age, customers who go first, a person
//! an item is kept for, items that are heavy. One test for each rule.

#![expect(clippy::panic, reason = "helpers of tests fail their test by panicking")]

use std::sync::Arc;

use hilo_routing::domain::*;

const ANA: AgentId = AgentId(0);
const BETO: AgentId = AgentId(1);
const CARO: AgentId = AgentId(2);
const GERMAN: SkillId = SkillId(1);

fn at(seconds: i64) -> Instant {
    Instant(1_000_000_000 + seconds * 1_000_000)
}

fn person(agent: AgentId, version: i64, capacity: u32, skills: Vec<Skill>) -> AgentView {
    AgentView {
        agent,
        version,
        active: true,
        paused: false,
        capacity: [capacity; 2],
        last_offered: [None; 2],
        idle_since: [None; 2],
        skills,
    }
}

struct House {
    engine: Engine,
    config: CampaignConfig,
    now: Instant,
    /// Of the last offer.
    score: u32,
}

impl House {
    /// Three agents of this capacity; Caro speaks German at level 2, Beto at level 1.
    fn new(mode: Mode, capacity: u32, selection: Selection) -> Self {
        let config = CampaignConfig {
            campaign: CampaignId(0),
            version: 1,
            channel: Channel::Email,
            active: true,
            mode,
            accept_timeout: None,
            overflow: None,
            members: vec![ANA, BETO, CARO],
            pointer: None,
            selection,
        };
        let mut house = Self { engine: Engine::new(1), config, now: at(0), score: 0 };
        house.feed(Input::Campaign(house.config.clone()));
        for (agent, level) in [(ANA, 0), (BETO, 1), (CARO, 2)] {
            let skills = if level == 0 { Vec::new() } else { vec![Skill { skill: GERMAN, level }] };
            house.feed(Input::Agent(person(agent, 1, capacity, skills)));
            house.feed(Input::Presence { agent, presence: Presence::Present });
        }
        house
    }

    fn feed(&mut self, input: Input) -> Vec<(u128, AgentId)> {
        let decided = self.engine.apply(input, self.now);
        let to = |decision: Decision| match decision {
            Decision::Offer(Offer { interaction, target: Target::Agent(agent), record, .. }) => {
                self.score = record.score;
                (interaction.0, agent)
            }
            other => panic!("an offer to one agent was expected: {other:?}"),
        };
        decided.into_iter().map(to).collect()
    }

    fn tick(&mut self, seconds: i64) -> Vec<(u128, AgentId)> {
        self.now = at(seconds);
        self.feed(Input::Tick)
    }

    fn view(&self, id: u128, since: i64, state: Option<AgentId>, demand: Demand) -> ItemView {
        let queued =
            Queued { waiting_since: at(since), queued_at: at(since), overflowed: false, offer: None };
        ItemView {
            interaction: InteractionId(id),
            version: if state.is_some() { 2 } else { 1 },
            campaign: CampaignId(0),
            priority: 0,
            state: state.map_or(ItemState::Queued(queued), ItemState::Open),
            passed_by: Vec::new(),
            overflowed_from: Vec::new(),
            demand: Some(Arc::new(demand)),
        }
    }

    /// An item arrives now.
    fn queue(&mut self, id: u128, demand: Demand) -> Vec<(u128, AgentId)> {
        let since = (self.now.0 - at(0).0) / 1_000_000;
        let view = self.view(id, since, None, demand);
        self.feed(Input::Item(view))
    }

    /// Somebody opens it, as offered or by himself.
    fn open(&mut self, id: u128, agent: AgentId, demand: Demand) -> Vec<(u128, AgentId)> {
        let view = self.view(id, 0, Some(agent), demand);
        self.feed(Input::Item(view))
    }

    fn end(&mut self, id: u128) -> Vec<(u128, AgentId)> {
        self.feed(Input::Gone { interaction: InteractionId(id), version: 3 })
    }

    fn presence(&mut self, agent: AgentId, presence: Presence) -> Vec<(u128, AgentId)> {
        self.feed(Input::Presence { agent, presence })
    }
}

fn plain() -> Demand {
    Demand::default()
}

fn german(level: Level) -> Demand {
    Demand { skills: vec![Skill { skill: GERMAN, level }], ..Demand::default() }
}

fn heavy(weight: u32) -> Demand {
    Demand { weight, ..Demand::default() }
}

#[test]
fn longest_idle_takes_who_never_had_anything_then_who_has_had_nothing_for_longest() {
    let mut house = House::new(Mode::LongestIdle, 2, Selection::default());
    assert_eq!(house.queue(1, plain()), [(1, ANA)]);
    assert_eq!(house.queue(2, plain()), [(2, BETO)]);
    house.open(1, ANA, plain());
    house.open(2, BETO, plain());
    house.now = at(5);
    house.end(2);
    house.now = at(6);
    house.end(1);
    assert_eq!(house.queue(3, plain()), [(3, CARO)], "never had anything");
    assert_eq!(house.score, 0);
    house.now = at(7);
    assert_eq!(house.queue(4, plain()), [(4, BETO)], "has had nothing since 5");
    assert_eq!(house.score, 2, "seconds");
    house.now = at(8);
    assert_eq!(house.queue(5, plain()), [(5, ANA)], "has had nothing since 6");
    assert_eq!(
        house.queue(6, plain()),
        [(6, CARO)],
        "everybody has something; he was offered his the longest ago"
    );
}

#[test]
fn an_item_goes_only_to_who_masters_what_it_asks_for_and_stands_in_nobodys_way() {
    let mut house = House::new(Mode::RoundRobin, 1, Selection::default());
    assert_eq!(house.queue(1, german(2)), [(1, CARO)]);
    assert_eq!(house.queue(2, german(2)), [], "the only one is taken");
    assert_eq!(house.queue(3, plain()), [(3, ANA)]);
    assert_eq!(house.queue(4, german(1)), [(4, BETO)]);
    house.open(1, CARO, german(2));
    assert_eq!(house.end(1), [(2, CARO)], "the one that waited");
}

#[test]
fn the_campaigns_own_requirement_holds_for_every_item() {
    let required = vec![Skill { skill: GERMAN, level: 1 }];
    let mut house = House::new(Mode::RoundRobin, 1, Selection { required, ..Selection::default() });
    assert_eq!(house.queue(1, plain()), [(1, BETO)]);
    assert_eq!(house.queue(2, german(2)), [(2, CARO)]);
    assert_eq!(house.queue(3, plain()), []);
}

#[test]
fn a_requirement_is_relaxed_step_by_step_at_the_very_instant() {
    let step = |after, level| Relaxation { after: Span::seconds(after), skill: GERMAN, level };
    let relaxation = vec![step(10, Some(1)), step(20, None)];
    let mut house = House::new(Mode::RoundRobin, 1, Selection { relaxation, ..Selection::default() });
    house.presence(CARO, Presence::Absent);
    assert_eq!(house.queue(1, german(2)), []);
    assert_eq!(house.queue(2, german(2)), []);
    assert_eq!(house.tick(9), []);
    assert_eq!(house.engine.next_deadline().map(|at| at <= self::at(10)), Some(true));
    assert_eq!(house.tick(10), [(1, BETO)], "level 1 suffices");
    assert_eq!(house.tick(19), []);
    assert_eq!(house.tick(20), [(2, ANA)], "nothing is asked any more");
}

#[test]
fn a_priority_is_worth_so_much_waiting() {
    let selection = Selection { ageing: Some(Span::seconds(10)), vip_bonus: 2, ..Selection::default() };
    let mut house = House::new(Mode::RoundRobin, 1, selection);
    let everybody = [ANA, BETO, CARO];
    for agent in everybody {
        house.presence(agent, Presence::Absent);
    }
    let vip = || Demand { vip: true, ..plain() };
    for (id, since, demand) in [(1, 0, plain()), (2, 19, vip()), (3, 21, vip()), (4, 3, plain())] {
        house.now = at(since);
        house.queue(id, demand);
    }
    house.now = at(30);
    // Two steps of ten seconds: 2 counts as of -1, 3 as of 1.
    let order: Vec<u128> = everybody.map(|agent| house.presence(agent, Presence::Present)[0].0).into();
    assert_eq!(order, [2, 1, 3]);
}

#[test]
fn without_ageing_a_vip_goes_before_all_however_long_they_wait() {
    let mut house = House::new(Mode::RoundRobin, 1, Selection { vip_bonus: 1, ..Selection::default() });
    let everybody = [ANA, BETO, CARO];
    for agent in everybody {
        house.presence(agent, Presence::Absent);
    }
    house.queue(1, plain());
    house.now = at(3_600);
    house.queue(2, Demand { vip: true, ..plain() });
    let order: Vec<u128> = [ANA, BETO].map(|agent| house.presence(agent, Presence::Present)[0].0).into();
    assert_eq!(order, [2, 1]);
}

fn kept_for(agent: AgentId, until: i64) -> Demand {
    Demand { preferred: Some(Preferred { agent, until: at(until) }), ..plain() }
}

#[test]
fn an_item_is_kept_for_the_preferred_agent_until_its_deadline() {
    let mut house = House::new(Mode::RoundRobin, 1, Selection::default());
    assert_eq!(house.queue(1, kept_for(CARO, 10)), [(1, CARO)], "he is free");
    assert_eq!(house.queue(2, kept_for(CARO, 10)), [], "he is not free, and others are");
    assert_eq!(house.tick(9), []);
    assert_eq!(house.tick(10), [(2, ANA)]);
    assert_eq!(house.queue(3, kept_for(CARO, 60)), []);
    house.open(1, CARO, kept_for(CARO, 10));
    assert_eq!(house.end(1), [(3, CARO)]);
}

#[test]
fn an_item_is_for_all_when_the_preferred_agent_is_gone_and_his_again_when_he_is_back() {
    let mut house = House::new(Mode::RoundRobin, 1, Selection::default());
    house.queue(1, kept_for(CARO, 60));
    assert_eq!(house.queue(2, kept_for(CARO, 60)), []);
    assert_eq!(house.presence(CARO, Presence::Unknown), [], "unknown is not gone");
    let decided = house.engine.apply(Input::Presence { agent: CARO, presence: Presence::Absent }, house.now);
    let offer = decided.iter().find_map(|decision| match decision {
        Decision::Offer(offer) => Some((offer.interaction.0, offer.target)),
        Decision::Expire { .. } | Decision::Overflow { .. } => None,
    });
    assert_eq!(offer, Some((2, Target::Agent(ANA))));
    assert_eq!(house.queue(3, kept_for(AgentId(77), 60)), [(3, BETO)], "nobody knows whom");
}

#[test]
fn a_weight_must_fit_the_free_capacity() {
    let mut house = House::new(Mode::LeastBusy, 3, Selection::default());
    assert_eq!(house.queue(1, heavy(2)), [(1, ANA)]);
    assert_eq!(house.queue(2, heavy(3)), [(2, BETO)]);
    assert_eq!(house.queue(3, heavy(3)), [(3, CARO)]);
    assert_eq!(house.queue(4, heavy(2)), [], "one has a place for one");
    assert_eq!(house.queue(5, plain()), [(5, ANA)]);
    assert_eq!(house.engine.view().loads[&ANA], [3, 0]);
}

#[test]
fn what_was_too_heavy_for_long_has_the_next_capacity_saved_for_it() {
    let saving_after = Some(Span::seconds(30));
    let mut house = House::new(Mode::RoundRobin, 2, Selection { saving_after, ..Selection::default() });
    house.presence(BETO, Presence::Absent);
    house.presence(CARO, Presence::Absent);
    assert_eq!(house.queue(1, plain()), [(1, ANA)]);
    assert_eq!(house.queue(2, plain()), [(2, ANA)]);
    house.open(1, ANA, plain());
    house.open(2, ANA, plain());
    assert_eq!(house.queue(3, heavy(2)), []);
    house.now = at(10);
    assert_eq!(house.queue(4, plain()), []);
    assert_eq!(house.queue(5, plain()), []);
    assert_eq!(house.end(1), [(4, ANA)], "not for long yet: the light one fits, the heavy one does not");
    house.open(4, ANA, plain());
    assert_eq!(house.tick(30), []);
    assert_eq!(house.end(4), [], "half of it is free, and saved");
    assert_eq!(house.end(2), [(3, ANA)], "now it is enough");
    assert_eq!(house.presence(BETO, Presence::Present), [(5, BETO)], "what waited behind it goes elsewhere");
}

#[test]
fn an_older_light_item_goes_before_the_saving_and_a_saver_who_leaves_is_replaced() {
    let saving_after = Some(Span::seconds(30));
    let mut house = House::new(Mode::RoundRobin, 2, Selection { saving_after, ..Selection::default() });
    house.presence(CARO, Presence::Absent);
    for (id, agent) in [(1, ANA), (2, ANA), (3, BETO), (4, BETO)] {
        house.open(id, agent, plain());
    }
    assert_eq!(house.queue(5, plain()), []);
    house.now = at(1);
    assert_eq!(house.queue(6, heavy(2)), []);
    house.now = at(2);
    assert_eq!(house.queue(7, plain()), []);
    house.tick(40);
    assert_eq!(house.end(1), [(5, ANA)], "it is older");
    house.open(5, ANA, plain());
    assert_eq!(house.end(5), [], "saved by Ana");
    assert_eq!(house.end(3), [(7, BETO)], "of one person only");
    house.open(7, BETO, plain());
    house.end(7);
    let mut away = house.engine.apply(Input::Presence { agent: ANA, presence: Presence::Absent }, house.now);
    assert_eq!(away.pop(), None);
    assert_eq!(house.end(4), [(6, BETO)], "he saved it when Ana had left");
}

#[test]
fn a_decision_says_who_was_left_out_by_skill_weight_and_reservation() {
    let mut house = House::new(Mode::RoundRobin, 2, Selection::default());
    let removed = |house: &mut House, id, demand| {
        let view = house.view(id, 0, None, demand);
        let decided = house.engine.apply(Input::Item(view), house.now);
        let [Decision::Offer(offer)] = decided[..] else { panic!("{decided:?}") };
        let words = RULES.iter().zip(offer.record.removed).filter(|(_, count)| *count > 0);
        words.map(|(rule, count)| (rule.word(), count)).collect::<Vec<_>>()
    };
    assert_eq!(removed(&mut house, 1, german(1)), [("unskilled", 1)]);
    assert_eq!(
        removed(&mut house, 2, Demand { weight: 2, ..german(1) }),
        [("unskilled", 1), ("too_heavy", 1)]
    );
    assert_eq!(removed(&mut house, 3, kept_for(ANA, 60)), [("full", 1), ("reserved", 1)]);
}

#[test]
fn items_that_ask_for_something_rare_do_not_disturb_the_rotation_of_the_others() {
    let mut house = House::new(Mode::RoundRobin, 1_000, Selection::default());
    let mut usual = Vec::new();
    for round in 0..6 {
        usual.push(house.queue(round * 2, plain())[0].1);
        house.queue(round * 2 + 1, german(1));
    }
    assert_eq!(usual, [ANA, BETO, CARO, ANA, BETO, CARO]);
}

/// However many kinds wait for nobody, for whatever reason, whoever comes with yet another has it at once.
#[test]
fn an_item_of_a_rare_kind_is_not_kept_waiting_by_all_the_others() {
    let unheard = |id: u32| vec![Skill { skill: SkillId(100 + id), level: 1 }];
    type Kind<'a> = &'a dyn Fn(u32) -> Demand;
    let rows: [(&str, Kind<'_>); 3] = [
        ("nobody masters it", &|id| Demand { skills: unheard(id), ..plain() }),
        ("nobody masters it as well", &|id| german(100 + (id % 100) as Level)),
        ("it fits nobody's capacity", &|id| heavy(10 + id)),
    ];
    for (why, kind) in rows {
        let mut house = House::new(Mode::RoundRobin, 2, Selection::default());
        for id in 0..150 {
            house.now = at(i64::from(id));
            assert_eq!(house.queue(u128::from(id), kind(id)), [], "{why}");
        }
        house.now = at(500);
        assert_eq!(house.queue(1_000, german(1)), [(1_000, BETO)], "{why}");
        assert_eq!(house.queue(1_001, Demand { weight: 2, ..german(2) }), [(1_001, CARO)], "{why}");
        assert_eq!(house.queue(1_002, heavy(2)), [(1_002, ANA)], "{why}");
        assert_eq!(house.queue(1_003, german(1)), [(1_003, BETO)], "{why}");
        assert_eq!(house.queue(1_004, german(2)), [], "{why}: who masters it is full");
        assert_eq!(house.queue(1_005, german(1)), [], "{why}");
        house.open(1_001, CARO, Demand { weight: 2, ..german(2) });
        assert_eq!(house.end(1_001), [(1_004, CARO), (1_005, CARO)], "{why}: the oldest of them first");
    }
}

/// Those that wait are served in order of their waiting, of whatever kind they are, and none is lost.
#[test]
fn a_hundred_kinds_are_served_oldest_first() {
    let mut house = House::new(Mode::RoundRobin, 1_000, Selection::default());
    for agent in [ANA, BETO, CARO] {
        house.presence(agent, Presence::Absent);
    }
    let kind =
        |id: u128| Demand { skills: vec![Skill { skill: SkillId(100 + id as u32), level: 1 }], ..plain() };
    for id in 0..100 {
        house.now = at(id as i64);
        assert_eq!(house.queue(id, kind(id)), []);
    }
    assert_eq!(house.engine.waiting_items(), 100);
    let all = (0..100).map(|id| Skill { skill: SkillId(100 + id), level: 1 }).collect();
    house.feed(Input::Agent(person(ANA, 2, 1_000, all)));
    let served: Vec<u128> = house.presence(ANA, Presence::Present).into_iter().map(|(id, _)| id).collect();
    assert_eq!(served, (0..100).collect::<Vec<_>>());
}

#[test]
fn who_learns_something_gets_what_waited_for_it() {
    let mut house = House::new(Mode::RoundRobin, 1, Selection::default());
    house.presence(CARO, Presence::Absent);
    assert_eq!(house.queue(1, german(2)), []);
    let learned = person(ANA, 2, 1, vec![Skill { skill: GERMAN, level: 3 }]);
    assert_eq!(house.feed(Input::Agent(learned)), [(1, ANA)]);
}
