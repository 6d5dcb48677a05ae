//! Properties over random courses of commands: whatever agents, router, clock and customers do.

use proptest::prelude::*;

use super::*;

/// A step of a course; versions and ids are resolved against the state, sometimes wrongly on purpose.
#[derive(Clone, Debug)]
enum Step {
    Receive,
    Offer(Option<u8>, bool),
    Expire(u8),
    Overflow(bool),
    Decline(u8),
    Open(u8),
    Release(u8),
    Send(u8),
    Report(u8),
    Retry(u8, u8),
    SaveForm(u8),
    End(u8, bool, bool),
    Link,
    Transfer(u8, u8),
    Reassign(u8),
    TakeBack,
    Orphan(u8),
    Reopen(u8, bool),
    Start(u8),
    Dial,
    GiveUp(bool),
    TakeOver(u8),
    Note,
    Tag(bool, u8),
    ChangeContact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Receive),
        3 => (proptest::option::of(0u8..3), proptest::bool::weighted(0.9)).prop_map(|(a, fits)| Step::Offer(a, fits)),
        2 => (0u8..3).prop_map(Step::Expire),
        2 => any::<bool>().prop_map(Step::Overflow),
        2 => (0u8..3).prop_map(Step::Decline),
        3 => (0u8..3).prop_map(Step::Open),
        1 => (0u8..3).prop_map(Step::Release),
        2 => (0u8..3).prop_map(Step::Send),
        1 => (0u8..4).prop_map(Step::Report),
        1 => (0u8..3, 0u8..4).prop_map(|(a, state)| Step::Retry(a, state)),
        1 => (0u8..3).prop_map(Step::SaveForm),
        2 => (0u8..3, proptest::bool::weighted(0.3), any::<bool>()).prop_map(|(a, close, ok)| Step::End(a, close, ok)),
        1 => Just(Step::Link),
        2 => (0u8..3, 0u8..5).prop_map(|(who, to)| Step::Transfer(who, to)),
        1 => (0u8..5).prop_map(Step::Reassign),
        1 => Just(Step::TakeBack),
        1 => (0u8..3).prop_map(Step::Orphan),
        1 => (0u8..3, proptest::bool::weighted(0.8)).prop_map(|(who, free)| Step::Reopen(who, free)),
        1 => (0u8..3).prop_map(Step::Start),
        2 => Just(Step::Dial),
        1 => any::<bool>().prop_map(Step::GiveUp),
        1 => (0u8..3).prop_map(Step::TakeOver),
        1 => Just(Step::Note),
        1 => (any::<bool>(), 0u8..3).prop_map(|(on, tag)| Step::Tag(on, tag)),
        1 => Just(Step::ChangeContact),
    ]
}

fn agent(number: u8) -> UserKey {
    user(["ana", "luis", "rosa"].get(usize::from(number)).copied().unwrap_or("ana"))
}

fn destination(to: u8, number: u128) -> Destination {
    match to {
        0..3 => to_agent(number, agent(to).as_str()),
        3 => to_campaign("ventas"),
        _ => to_campaign("soporte"),
    }
}

fn command(step: &Step, state: Option<&Attention>, number: u128) -> Command {
    let interaction = state.and_then(|state| state.interaction.as_ref());
    let version = interaction.map_or(1, |interaction| interaction.version);
    let outstanding = match interaction.map(|interaction| &interaction.stage) {
        Some(Stage::Queued { offer: Some(offer), .. }) => offer.id,
        Some(Stage::Queued { .. } | Stage::Open { .. } | Stage::Ended { .. }) | None => OfferId(id(0)),
    };
    match step {
        Step::Receive => receive(1_000 + number),
        Step::Offer(to, fits) => Command::MakeOffer {
            version: if *fits { version } else { version - 1 },
            offer: OfferId(id(2_000 + number)),
            agent: to.map(agent),
            deadline_at: Some(at(10)),
        },
        Step::Expire(which) => Command::ExpireOffer {
            version,
            offer: outstanding,
            returns: which % 2 == 0,
            because: *[Expire::AcceptTimeout, Expire::AgentAbsent, Expire::AgentPaused]
                .get(usize::from(*which))
                .unwrap_or(&Expire::AgentAbsent),
        },
        Step::Overflow(moves) => {
            // Two campaigns that overflow into each other.
            let here = interaction.is_some_and(|interaction| interaction.campaign.as_str() == "ventas");
            let to = moves.then(|| CampaignKey::new(if here { "soporte" } else { "ventas" }));
            Command::Overflow { version, after: Duration::seconds(3), to }
        }
        Step::Decline(who) => {
            Command::DeclineOffer { offer: outstanding, agent: agent(*who), returns: *who == 1 }
        }
        Step::Open(who) => Command::Open { agent: agent(*who) },
        Step::Release(who) => Command::Release { agent: agent(*who) },
        Step::Send(who) => Command::SendMessage {
            agent: agent(*who),
            message: outbound(3_000 + number, DeliveryState::Queued),
            template: number.is_multiple_of(2),
        },
        Step::Report(to) => Command::ReportDelivery {
            message: outbound(3_000, DeliveryState::Queued),
            reported: *DeliveryState::ALL.get(usize::from(*to)).unwrap_or(&DeliveryState::Sent),
            returned: to % 2 == 1,
            recipient: to % 3 == 0,
        },
        Step::Retry(who, from) => Command::RetryMessage {
            agent: agent(*who),
            message: outbound(
                3_000,
                *DeliveryState::ALL.get(usize::from(*from)).unwrap_or(&DeliveryState::Failed),
            ),
            template: false,
            recipients: usize::from(*from),
        },
        Step::SaveForm(who) => Command::SaveForm { agent: agent(*who) },
        Step::End(who, close, complete) => Command::End {
            agent: agent(*who),
            close: *close,
            problems: if *complete {
                Vec::new()
            } else {
                vec![FieldProblem { field: "f".into(), problem: "is required".into() }]
            },
        },
        Step::Tag(on, tag) => {
            let tag = TagKey::new(format!("t{tag}"));
            if *on { Command::Tag { tag } } else { Command::Untag { tag } }
        }
        Step::ChangeContact => Command::ChangeContact { contact: ContactId(id(5_000 + number)) },
        Step::Link => Command::Link { to: AttentionId(id(9)) },
        Step::Transfer(who, to) => {
            Command::Transfer { agent: agent(*who), to: destination(*to, 4_000 + number) }
        }
        Step::Reassign(to) => Command::Reassign { to: destination(*to, 4_000 + number) },
        Step::TakeBack => Command::TakeBack,
        Step::Orphan(who) => {
            Command::Orphan { agent: agent(*who), absent_since: at(0), after: Duration::seconds(5) }
        }
        Step::Reopen(who, free) => Command::Reopen { agent: agent(*who), live: !free, successor_open: !free },
        Step::Start(who) => start(5_000 + number, agent(*who).as_str()),
        Step::Dial => dial(7_000 + number),
        Step::GiveUp(due) => Command::GiveUp { due_at: at(if *due { 0 } else { 1_000 }) },
        Step::TakeOver(who) => take_over(8_000 + number, agent(*who).as_str()),
        Step::Note => Command::AddNote { message: note(6_000 + number) },
    }
}

/// What a person or a clock moved keeps its place among those who wait, and is in one campaign with its attention.
fn check_waiting(before: &Attention, after: &Attention) {
    let (Some(old), Some(new)) = (&before.interaction, &after.interaction) else { return };
    if old.id == new.id {
        assert_eq!(old.waiting_since, new.waiting_since, "the customer's waiting was forgotten");
        assert!(new.queued_at >= old.queued_at, "the overflow clock went back");
        assert_eq!(new.campaign, after.campaign, "the attention is elsewhere");
    }
}

/// What must hold after every command.
fn check(before: Option<&Attention>, decision: &Decision) {
    let sequence = before.map_or(0, |before| before.sequence);
    for (happened, expected) in decision.events.iter().zip(sequence + 1..) {
        assert_eq!(happened.after.sequence, expected, "sequence has a gap");
    }
    let replayed =
        decision.events.iter().fold(before.cloned(), |state, happened| evolve(state, &happened.event));
    assert_eq!(replayed, decision.state, "evolve disagrees with decide");
    if let Some(last) = decision.events.last() {
        assert_eq!(Some(&last.after), decision.state.as_ref(), "the last event does not show the state");
    }
    let mut previous = before;
    for happened in &decision.events {
        let versions = (previous.and_then(|p| p.interaction.as_ref()), happened.after.interaction.as_ref());
        if let (Some(old), Some(new)) = versions
            && old.id == new.id
        {
            assert!(new.version >= old.version, "a version fell");
            assert_eq!(new.version == old.version, new == old, "equal versions mean equal states");
        }
        if let Some(previous) = previous {
            check_waiting(previous, &happened.after);
        }
        previous = Some(&happened.after);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn decide_and_evolve_agree_and_sequences_are_gapless(steps in proptest::collection::vec(step(), 1..40)) {
        let mut state: Option<Attention> = None;
        let mut all = Vec::new();
        for (number, step) in (0u32..).zip(&steps) {
            let before = state.clone();
            let command = command(step, before.as_ref(), u128::from(number));
            if let Ok(decision) = decide(before.as_ref(), command, at(i64::from(number))) {
                check(before.as_ref(), &decision);
                all.extend(decision.events.iter().map(|happened| happened.event.clone()));
                state = decision.state;
            }
        }
        let replayed = all.iter().fold(None, evolve);
        prop_assert_eq!(replayed, state, "the whole course replayed gives another state");
    }

    #[test]
    fn of_several_agents_who_open_exactly_one_wins(order in proptest::collection::vec(0u8..3, 1..10)) {
        let mut state = decide(None, receive(1), at(0)).expect("opens").state;
        let mut winners = Vec::new();
        for who in order {
            match decide(state.as_ref(), Command::Open { agent: agent(who) }, at(1)) {
                Ok(decision) => {
                    if !decision.events.is_empty() {
                        winners.push(who);
                    }
                    state = decision.state;
                }
                Err(rejection) => prop_assert_eq!(rejection, Rejection::AlreadyTaken),
            }
        }
        prop_assert_eq!(winners.len(), 1);
    }
}
