//! Late, repeated and refused: one test for each guard that no ordinary run needs.

#![expect(clippy::panic, reason = "helpers of tests fail their test by panicking")]

use hilo_routing::domain::*;

const AT: Instant = Instant(1_000_000);
const ANA: AgentId = AgentId(0);
const BETO: AgentId = AgentId(1);
const ITEM: InteractionId = InteractionId(9);

fn engine(mode: Mode, members: &[AgentId]) -> Engine {
    let mut engine = Engine::new(1);
    engine.apply(Input::Campaign(config(mode, members)), AT);
    for agent in members {
        engine.apply(Input::Agent(agent_view(*agent, 1)), AT);
        engine.apply(Input::Presence { agent: *agent, presence: Presence::Present }, AT);
    }
    engine
}

fn config(mode: Mode, members: &[AgentId]) -> CampaignConfig {
    CampaignConfig {
        campaign: CampaignId(0),
        version: 1,
        channel: Channel::Email,
        active: true,
        mode,
        accept_timeout: None,
        overflow: Some(Overflow { after: Span::seconds(60), action: OverflowAction::AssignToAll }),
        members: members.to_vec(),
        pointer: None,
        selection: Selection::default(),
    }
}

fn agent_view(agent: AgentId, version: i64) -> AgentView {
    AgentView {
        agent,
        version,
        active: true,
        paused: false,
        capacity: [1; 2],
        last_offered: [None; 2],
        idle_since: [None; 2],
        skills: Vec::new(),
    }
}

fn queued(version: i64, offer: Option<Target>) -> ItemView {
    let offer = offer.map(|target| Ringing { offer: OfferId(1), target, deadline: None, transferred: false });
    let state = Queued { waiting_since: AT, queued_at: AT, overflowed: false, offer };
    ItemView {
        interaction: ITEM,
        version,
        campaign: CampaignId(0),
        priority: 0,
        state: ItemState::Queued(state),
        passed_by: Vec::new(),
        overflowed_from: Vec::new(),
        demand: None,
    }
}

fn answer(version: i64, outcome: Outcome) -> Input {
    Input::Answer(Answer { interaction: ITEM, version, outcome, current: None })
}

fn target(decisions: &[Decision]) -> Target {
    match decisions {
        [Decision::Offer(offer)] => offer.target,
        other => panic!("one offer was expected: {other:?}"),
    }
}

#[test]
fn an_end_older_than_a_reopening_ends_nothing() {
    let mut engine = engine(Mode::RoundRobin, &[ANA]);
    engine.apply(Input::Item(queued(5, None)), AT);
    engine.apply(Input::Gone { interaction: ITEM, version: 4 }, AT);
    assert_eq!(engine.version_of(ITEM), Some(5));
    engine.apply(Input::Gone { interaction: ITEM, version: 5 }, AT);
    assert_eq!(engine.version_of(ITEM), None);
}

#[test]
fn an_answer_that_comes_twice_counts_once() {
    let mut engine = engine(Mode::RoundRobin, &[ANA]);
    assert_eq!(target(&engine.apply(Input::Item(queued(1, None)), AT)), Target::Agent(ANA));
    assert_eq!(engine.apply(answer(1, Outcome::Conflict), AT), Vec::new());
    // The rest after the first answer ends 200 ms later; a second one must not prolong it.
    let later = Instant(AT.0 + 150_000);
    assert_eq!(engine.apply(answer(1, Outcome::Conflict), later), Vec::new());
    let decisions = engine.tick(Instant(AT.0 + 200_000));
    assert_eq!(target(&decisions), Target::Agent(ANA));
}

#[test]
fn a_refused_agent_is_left_out_for_a_while_and_then_tried_again() {
    for refusal in [Outcome::NoCapacity, Outcome::NotAvailable] {
        let mut engine = engine(Mode::RoundRobin, &[ANA, BETO]);
        assert_eq!(target(&engine.apply(Input::Item(queued(1, None)), AT)), Target::Agent(ANA));
        assert_eq!(target(&engine.apply(answer(1, refusal), AT)), Target::Agent(BETO));
        // With everybody refused the item waits, and nothing loops.
        assert_eq!(engine.apply(answer(1, refusal), AT), Vec::new());
        assert_eq!(engine.tick(Instant(AT.0 + 249_000)), Vec::new());
        assert_eq!(target(&engine.tick(Instant(AT.0 + 250_000))), Target::Agent(ANA));
    }
}

#[test]
fn an_older_state_of_an_agent_changes_nothing() {
    let mut engine = engine(Mode::RoundRobin, &[ANA]);
    engine.apply(Input::Agent(agent_view(ANA, 3)), AT);
    engine.apply(Input::Agent(AgentView { paused: true, ..agent_view(ANA, 2) }), AT);
    assert_eq!(target(&engine.apply(Input::Item(queued(1, None)), AT)), Target::Agent(ANA));
}

#[test]
fn an_older_configuration_changes_nothing() {
    let mut engine = engine(Mode::RoundRobin, &[ANA]);
    engine.apply(Input::Campaign(CampaignConfig { version: 3, ..config(Mode::RoundRobin, &[BETO]) }), AT);
    engine.apply(Input::Campaign(CampaignConfig { version: 2, ..config(Mode::RoundRobin, &[ANA]) }), AT);
    assert_eq!(engine.apply(Input::Item(queued(1, None)), AT), Vec::new());
}

#[test]
fn what_rings_at_everyone_does_not_overflow_to_everyone() {
    let mut engine = engine(Mode::Everyone, &[ANA]);
    engine.apply(Input::Item(queued(2, Some(Target::Everyone))), AT);
    assert_eq!(engine.tick(Instant(AT.0 + 120_000_000)), Vec::new());
}

/// Guard: `transferred` in `Item::overflow_at`. The offer of a transfer ends by its own deadline; once its sender is gone the
/// item waits in the queue and overflows at once.
#[test]
fn what_an_agent_transferred_does_not_overflow_before_its_offer_has_ended() {
    let mut engine = engine(Mode::RoundRobin, &[ANA]);
    let mut transferred = queued(2, Some(Target::Agent(ANA)));
    let end = Instant(AT.0 + 90_000_000);
    if let ItemState::Queued(Queued { offer: Some(ringing), .. }) = &mut transferred.state {
        (ringing.transferred, ringing.deadline) = (true, Some(end));
    }
    engine.apply(Input::Item(transferred), AT);
    assert_eq!(engine.tick(Instant(AT.0 + 60_000_000)), Vec::new());
    let reason = ExpireReason::AcceptTimeout;
    let expire = Decision::Expire { interaction: ITEM, version: 2, offer: OfferId(1), reason };
    assert_eq!(engine.tick(end), vec![expire]);
    let overflow = Decision::Overflow { interaction: ITEM, version: 3 };
    assert_eq!(
        engine.apply(Input::Item(ItemView { passed_by: vec![ANA], ..queued(3, None) }), end),
        vec![overflow]
    );
}

#[test]
fn too_early_is_tried_again_a_moment_later() {
    let mut engine = engine(Mode::RoundRobin, &[ANA]);
    engine.apply(Input::Item(queued(2, Some(Target::Agent(ANA)))), AT);
    let due = Instant(AT.0 + 60_000_000);
    let overflow = Decision::Overflow { interaction: ITEM, version: 2 };
    assert_eq!(engine.tick(due), vec![overflow]);
    assert_eq!(engine.apply(answer(2, Outcome::TooEarly), due), Vec::new());
    assert_eq!(engine.tick(Instant(due.0 + 19_000)), Vec::new());
    assert_eq!(engine.tick(Instant(due.0 + 20_000)), vec![overflow]);
}

#[test]
fn a_burst_is_bounded_per_call_and_goes_on_at_once() {
    let mut engine = engine(Mode::Everyone, &[ANA]);
    engine.apply(Input::Presence { agent: ANA, presence: Presence::Absent }, AT);
    let many = MAX_DECISIONS as u128 + 100;
    for number in 0..many {
        engine.apply(Input::Item(ItemView { interaction: InteractionId(number), ..queued(1, None) }), AT);
    }
    let first = engine.apply(Input::Presence { agent: ANA, presence: Presence::Present }, AT);
    assert_eq!(first.len(), MAX_DECISIONS);
    assert_eq!(engine.next_deadline(), Some(AT));
    assert_eq!(engine.tick(AT).len(), 100);
    assert_eq!(engine.waiting_items(), 0);
}

/// A partition that was just taken over learns of everybody at one instant: whoever is told first must not be served first.
#[test]
fn several_who_come_at_one_instant_are_served_in_the_order_of_the_rotation() {
    let mut engine = engine(Mode::RoundRobin, &[ANA, BETO]);
    let both = |presence| Input::Presences(vec![(BETO, presence), (ANA, presence)]);
    engine.apply(both(Presence::Absent), AT);
    assert_eq!(engine.apply(Input::Item(queued(1, None)), AT), Vec::new());
    let decisions = engine.apply(both(Presence::Present), AT);
    let [Decision::Offer(offer)] = decisions.as_slice() else { panic!("one offer: {decisions:?}") };
    assert_eq!(offer.target, Target::Agent(ANA));
}
