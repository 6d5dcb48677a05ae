//! Every state × every command, as text: what happens, or why not. The table is read by people, so it is kept in
//! `table.txt`; a difference prints the new table.

use super::*;

fn after(commands: impl IntoIterator<Item = Command>) -> Attention {
    let mut state = None;
    for (step, command) in (0..).zip(commands) {
        state = decide(state.as_ref(), command, at(step)).expect("the way to a state is allowed").state;
    }
    state.expect("something began")
}

fn offer(version: i64, agent: Option<&str>) -> Command {
    Command::MakeOffer { version, offer: OfferId(id(7)), agent: agent.map(user), deadline_at: Some(at(30)) }
}

fn overflow(version: i64) -> Command {
    Command::Overflow { version, after: Duration::seconds(1), to: None }
}

fn overflow_to(version: i64, to: &str) -> Command {
    Command::Overflow { version, after: Duration::seconds(1), to: Some(CampaignKey::new(to)) }
}

fn end(close: bool) -> Command {
    Command::End { agent: user("ana"), close, problems: Vec::new() }
}

fn open(agent: &str) -> Command {
    Command::Open { agent: user(agent) }
}

fn transfer(to: Destination) -> Command {
    Command::Transfer { agent: user("ana"), to }
}

/// Ana is gone since second 0, the timeout is `after` seconds from then or from when she opened it; the table's clock says 60.
fn orphan(after: i64) -> Command {
    Command::Orphan { agent: user("ana"), absent_since: at(0), after: Duration::seconds(after) }
}

fn reopen(agent: &str, live: bool, successor_open: bool) -> Command {
    Command::Reopen { agent: user(agent), live, successor_open }
}

fn states() -> Vec<(&'static str, Option<Attention>)> {
    let state = |commands: Vec<Command>| Some(after(commands));
    vec![
        ("nothing", None),
        ("queued", state(vec![receive(10)])),
        ("queued, rings at ana", state(vec![receive(10), offer(1, Some("ana"))])),
        ("queued, rings at luis", state(vec![receive(10), offer(1, Some("luis"))])),
        ("queued, rings at everyone", state(vec![receive(10), offer(1, None)])),
        ("queued, overflowed", state(vec![receive(10), receive(11), overflow(2)])),
        ("queued, came by overflow", state(vec![receive(10), receive(11), overflow_to(2, "soporte")])),
        ("open by ana", state(vec![receive(10), open("ana")])),
        ("open by luis", state(vec![receive(10), open("luis")])),
        ("released by ana", state(vec![receive(10), open("ana"), Command::Release { agent: user("ana") }])),
        ("transferred to luis", state(vec![receive(10), open("ana"), transfer(to_agent(7, "luis"))])),
        ("transferred to soporte", state(vec![receive(10), open("ana"), transfer(to_campaign("soporte"))])),
        ("orphaned by ana", state(vec![receive(10), open("ana"), orphan(1)])),
        ("started by ana", state(vec![start(10, "ana")])),
        ("waiting", state(vec![dial(10)])),
        ("waiting, answered", state(vec![dial(10), receive(11)])),
        ("waiting, taken over", state(vec![dial(10), take_over(11, "ana")])),
        ("waiting, given up", state(vec![dial(10), Command::GiveUp { due_at: at(0) }])),
        ("reopened by ana", state(vec![receive(10), open("ana"), end(true), reopen("ana", false, false)])),
        ("ended", state(vec![receive(10), open("ana"), end(false)])),
        ("ended, closed", state(vec![receive(10), open("ana"), end(true)])),
        ("queued, tagged", state(vec![receive(10), Command::Tag { tag: TagKey::new("urgente") }])),
    ]
}

fn commands(version: i64) -> Vec<(&'static str, Command)> {
    let expire = |because| Command::ExpireOffer { version, offer: OfferId(id(7)), because, returns: false };
    let returns = Command::ExpireOffer {
        version,
        offer: OfferId(id(7)),
        because: Expire::AcceptTimeout,
        returns: true,
    };
    let decline =
        |agent: &str, returns| Command::DeclineOffer { offer: OfferId(id(7)), agent: user(agent), returns };
    let lacking = vec![FieldProblem { field: "motivo".into(), problem: "is required".into() }];
    vec![
        ("receive", receive(20)),
        ("offer to ana", offer(version, Some("ana"))),
        ("offer to everyone", offer(version, None)),
        ("offer, stale", offer(version - 1, Some("ana"))),
        ("expire, deadline", expire(Expire::AcceptTimeout)),
        ("expire, absent", expire(Expire::AgentAbsent)),
        ("expire, paused", expire(Expire::AgentPaused)),
        ("overflow", overflow(version)),
        ("overflow to soporte", overflow_to(version, "soporte")),
        ("overflow to ventas", overflow_to(version, "ventas")),
        ("expire, sender is there", returns),
        ("decline by ana", decline("ana", false)),
        ("decline by luis", decline("luis", false)),
        ("decline, sender is there", decline("luis", true)),
        ("open by ana", open("ana")),
        ("release by ana", Command::Release { agent: user("ana") }),
        (
            "send by ana",
            Command::SendMessage {
                agent: user("ana"),
                message: outbound(30, DeliveryState::Queued),
                template: false,
            },
        ),
        (
            "report sent",
            Command::ReportDelivery {
                message: outbound(30, DeliveryState::Queued),
                reported: DeliveryState::Sent,
                returned: false,
                recipient: false,
            },
        ),
        (
            "retry by ana",
            Command::RetryMessage {
                agent: user("ana"),
                message: outbound(30, DeliveryState::Unknown),
                template: false,
                recipients: 1,
            },
        ),
        (
            "retry by ana, all reached",
            Command::RetryMessage {
                agent: user("ana"),
                message: outbound(30, DeliveryState::Sent),
                template: false,
                recipients: 0,
            },
        ),
        ("save form by ana", Command::SaveForm { agent: user("ana") }),
        ("end by ana, form lacking", Command::End { agent: user("ana"), close: false, problems: lacking }),
        ("end by ana", end(false)),
        ("end by ana and close", end(true)),
        ("link", Command::Link { to: AttentionId(id(9)) }),
        ("transfer to luis", transfer(to_agent(8, "luis"))),
        ("transfer to herself", transfer(to_agent(8, "ana"))),
        ("transfer to soporte", transfer(to_campaign("soporte"))),
        ("transfer to ventas", transfer(to_campaign("ventas"))),
        ("reassign to luis", Command::Reassign { to: to_agent(8, "luis") }),
        ("reassign to ana", Command::Reassign { to: to_agent(8, "ana") }),
        ("reassign to soporte", Command::Reassign { to: to_campaign("soporte") }),
        ("reassign to ventas", Command::Reassign { to: to_campaign("ventas") }),
        ("take back", Command::TakeBack),
        ("orphan of ana", orphan(50)),
        ("orphan of ana, too early", orphan(61)),
        ("reopen by ana", reopen("ana", false, false)),
        ("reopen by luis", reopen("luis", false, false)),
        ("reopen, another is live", reopen("ana", true, false)),
        ("reopen, has a successor", reopen("ana", false, true)),
        ("start by ana", start(40, "ana")),
        ("dial", dial(40)),
        ("give up", Command::GiveUp { due_at: at(60) }),
        ("give up, too early", Command::GiveUp { due_at: at(61) }),
        ("take over by ana", take_over(40, "ana")),
        ("note", Command::AddNote { message: note(50) }),
        ("tag", Command::Tag { tag: TagKey::new("urgente") }),
        ("untag", Command::Untag { tag: TagKey::new("urgente") }),
        ("change contact", Command::ChangeContact { contact: ContactId(id(8)) }),
        ("automatic answer", Command::AnswerAutomatically { message: outbound(60, DeliveryState::Queued) }),
    ]
}

fn cell(result: Result<Decision, Rejection>) -> String {
    let name = |happened: &Happened| {
        let text = format!("{:?}", happened.event);
        text.split([' ', '{']).next().unwrap_or_default().to_owned()
    };
    match result {
        Ok(decision) if decision.events.is_empty() => "(nothing to do)".to_owned(),
        Ok(decision) => decision.events.iter().map(name).collect::<Vec<_>>().join(" + "),
        Err(rejection) => rejection.reason().to_owned(),
    }
}

#[test]
fn every_state_answers_every_command_as_the_table_says() {
    let mut table = String::new();
    for (state_name, state) in states() {
        let version = state.as_ref().and_then(|s| s.interaction.as_ref()).map_or(1, |i| i.version);
        for (command_name, command) in commands(version) {
            let outcome = cell(decide(state.as_ref(), command, at(60)));
            table.push_str(&format!("{state_name:<26}| {command_name:<25}| {outcome}\n"));
        }
    }
    let expected = include_str!("table.txt");
    assert!(table == expected, "the table is now:\n{table}");
}

#[test]
fn deadlines_are_compared_with_the_clock_given() {
    let rings = after([receive(10), offer(1, Some("ana"))]);
    let expire = Command::ExpireOffer {
        version: 2,
        offer: OfferId(id(7)),
        because: Expire::AcceptTimeout,
        returns: false,
    };
    assert_eq!(decide(Some(&rings), expire.clone(), at(29)), Err(Rejection::TooEarly));
    assert!(decide(Some(&rings), expire, at(30)).is_ok());
    let queued = after([receive(10)]);
    assert_eq!(decide(Some(&queued), overflow(1), at(0)), Err(Rejection::TooEarly));
    assert!(decide(Some(&queued), overflow(1), at(1)).is_ok());
}

/// Not taken, a transfer goes back to its sender (product.md, life cycles); the overflow comes when he is gone.
#[test]
fn an_overflow_waits_for_the_end_of_a_transfer() {
    let rings = after([receive(10), open("ana"), transfer(to_agent(7, "luis"))]);
    let version = rings.interaction.as_ref().expect("live").version;
    for one in [overflow(version), overflow_to(version, "soporte")] {
        assert_eq!(decide(Some(&rings), one, at(10_000)), Err(Rejection::OfferOutstanding));
    }
    let expire = |returns| Command::ExpireOffer {
        version,
        offer: OfferId(id(7)),
        because: Expire::AcceptTimeout,
        returns,
    };
    let back = decide(Some(&rings), expire(true), at(10_000)).expect("due").state.expect("there");
    assert_eq!(back.interaction.and_then(|live| live.holder().cloned()), Some(user("ana")));
    let left = decide(Some(&rings), expire(false), at(10_000)).expect("due").state.expect("there");
    let queued = left.interaction.as_ref().expect("live").version;
    let overflowed =
        decide(Some(&left), overflow(queued), at(10_000)).expect("the clock began with the transfer");
    assert!(matches!(overflowed.events[0].event, Event::InteractionOverflowed));
}

#[test]
fn an_overflow_into_another_campaign_queues_anew_and_goes_on_waiting() {
    let rings = after([receive(10), offer(1, Some("ana"))]);
    let decision = decide(Some(&rings), overflow_to(2, "soporte"), at(60)).expect("allowed");
    let campaigns: Vec<&str> = decision.events.iter().map(|one| one.after.campaign.as_str()).collect();
    assert_eq!(campaigns, ["ventas", "soporte", "soporte"], "withdrawn, out, in");
    let moved = decision.state.expect("there").interaction.expect("live");
    assert_eq!((moved.campaign.as_str(), moved.version), ("soporte", 5));
    assert_eq!((moved.waiting_since, moved.queued_at), (at(0), at(60)));
    let overflowed_from = vec![CampaignKey::new("ventas")];
    let queued = Stage::Queued { offer: None, overflowed: false, passed_by: Vec::new(), overflowed_from };
    assert_eq!(moved.stage, queued);
}

#[test]
fn an_offer_to_somebody_who_passed_begins_a_new_round() {
    let passed = after([
        receive(10),
        offer(1, Some("ana")),
        Command::DeclineOffer { offer: OfferId(id(7)), agent: user("ana"), returns: false },
    ]);
    let rings = |state: &Attention| match &state.interaction.as_ref().expect("live").stage {
        Stage::Queued { passed_by, .. } => passed_by.clone(),
        Stage::Open { .. } | Stage::Ended { .. } => panic!("queued"),
    };
    assert_eq!(rings(&passed), [user("ana")]);
    let next = decide(Some(&passed), offer(3, Some("luis")), at(5)).expect("allowed").state.expect("there");
    assert_eq!(rings(&next), [user("ana")]);
    let again = decide(Some(&passed), offer(3, Some("ana")), at(5)).expect("allowed").state.expect("there");
    assert!(rings(&again).is_empty());
}

#[test]
fn tags_are_sorted_counted_and_bounded() {
    let tag = |n: usize| Command::Tag { tag: TagKey::new(format!("t{n:02}")) };
    let full = after(std::iter::once(receive(10)).chain((0..MAX_TAGS).rev().map(tag)));
    assert!(full.tags.is_sorted() && full.tags.len() == MAX_TAGS);
    assert_eq!(decide(Some(&full), tag(99), at(60)), Err(Rejection::TooManyTags));
    assert_eq!(decide(Some(&full), tag(3), at(60)).expect("known").events, []);
    let fewer =
        decide(Some(&full), Command::Untag { tag: TagKey::new("t03") }, at(60)).expect("allowed").state;
    let fewer = fewer.expect("there");
    assert_eq!((fewer.tags.len(), fewer.tags.contains(&TagKey::new("t03"))), (MAX_TAGS - 1, false));
    let version = |state: &Attention| state.interaction.as_ref().expect("live").version;
    assert_eq!(version(&fewer), version(&full) + 1, "lists show it");
}

#[test]
fn another_contact_is_taken_over() {
    let before = after([receive(10)]);
    let command = Command::ChangeContact { contact: ContactId(id(8)) };
    let state = decide(Some(&before), command, at(60)).expect("allowed").state.expect("there");
    assert_eq!((state.contact, state.sequence), (ContactId(id(8)), before.sequence + 1));
}

/// The dialer's message is the first of the interaction that its answer begins, and of the one an agent takes over with.
#[test]
fn what_waited_becomes_an_interaction_with_the_dialers_message_in_it() {
    let waiting = after([dial(10)]);
    assert_eq!((waiting.phase, waiting.messages, waiting.sends), (Phase::Waiting, 1, 1));
    assert_eq!(waiting.interaction, None);
    for (command, direction, holder) in [
        (receive(11), Direction::Outbound, None),
        (take_over(11, "ana"), Direction::Outbound, Some(user("ana"))),
    ] {
        let state = decide(Some(&waiting), command, at(60)).expect("allowed").state.expect("there");
        assert_eq!((state.phase, state.messages, state.interactions), (Phase::Open, 2, 1));
        let live = state.interaction.expect("begun");
        assert_eq!((live.direction, live.message_count), (direction, 2));
        assert_eq!(live.holder().cloned(), holder);
        assert_eq!(live.waiting_since, at(if holder.is_some() { 60 } else { 0 }), "the customer's wait");
    }
    let closed = decide(Some(&waiting), Command::GiveUp { due_at: at(60) }, at(60)).expect("due");
    assert_eq!(closed.events[0].event, Event::AttentionClosed { at: at(60), because: Closed::NoAnswer });
}

#[test]
fn a_flood_is_refused() {
    let mut state = after([receive(10)]);
    if let Some(interaction) = &mut state.interaction {
        interaction.message_count = MAX_MESSAGES;
    }
    assert_eq!(decide(Some(&state), receive(11), at(1)), Err(Rejection::TooManyMessages));
}
