//! What WhatsApp has of its own, as a table: the window, changes, the one end.

use super::*;

fn begun() -> Command {
    let Command::ReceiveMessage { message, waiting_since, interaction, campaign, opening } = receive(10)
    else {
        panic!("receive makes another command")
    };
    let opening = opening.map(|opening| Opening { channel: Channel::Whatsapp, ..opening });
    Command::ReceiveMessage { message, waiting_since, interaction, campaign, opening }
}

fn moved(seconds: i64) -> Command {
    Command::MoveWindow { ends_at: at(seconds) }
}

fn open() -> Command {
    Command::Open { agent: user("ana") }
}

fn end(close: bool) -> Command {
    Command::End { agent: user("ana"), close, problems: Vec::new() }
}

fn sends() -> Command {
    Command::SendMessage { agent: user("ana"), message: outbound(30, DeliveryState::Queued), template: false }
}

fn reacts() -> Command {
    Command::React { agent: user("ana"), message: inbound(10) }
}

fn retries(template: bool) -> Command {
    let message = outbound(30, DeliveryState::Failed);
    Command::RetryMessage { agent: user("ana"), message, recipients: 1, template }
}

fn sends_template() -> Command {
    Command::SendMessage { agent: user("ana"), message: outbound(30, DeliveryState::Queued), template: true }
}

fn after(commands: Vec<Command>) -> Attention {
    let mut state = None;
    for (step, command) in (0..).zip(commands) {
        state = decide(state.as_ref(), command, at(step)).expect("the way to a state is allowed").state;
    }
    state.expect("something began")
}

/// What a command leads to at second 60: names of the events, or the reason.
fn told(state: &Attention, command: Command) -> String {
    match decide(Some(state), command, at(60)) {
        Err(rejection) => rejection.reason().to_owned(),
        Ok(decision) => {
            let name = |one: &Happened| {
                format!("{:?}", one.event).split([' ', '{']).next().unwrap_or_default().to_owned()
            };
            decision.events.iter().map(name).collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
fn window_changes_and_end_as_a_table() {
    let alters = || Command::AlterMessage { message: inbound(10), because: Altered::Reacted };
    let queued = [begun(), moved(100)];
    let with = |more: Vec<Command>| after(queued.iter().cloned().chain(more).collect());
    for (name, state, command, expected) in [
        ("no window", after(vec![begun(), open()]), sends(), "WINDOW_CLOSED"),
        ("window ends now", after(vec![begun(), moved(60), open()]), sends(), "WINDOW_CLOSED"),
        ("window ends next", after(vec![begun(), moved(61), open()]), sends(), "MessageQueued"),
        ("a template needs none", after(vec![begun(), open()]), sends_template(), "MessageQueued"),
        ("a template, not open", with(vec![]), sends_template(), "NOT_OPEN"),
        ("a reaction, window ends now", after(vec![begun(), moved(60), open()]), reacts(), "WINDOW_CLOSED"),
        ("a reaction, within it", after(vec![begun(), moved(61), open()]), reacts(), "MessageChanged"),
        ("a reaction, not open", with(vec![]), reacts(), "NOT_OPEN"),
        ("again, window ends now", after(vec![begun(), moved(60), open()]), retries(false), "WINDOW_CLOSED"),
        ("again, within it", after(vec![begun(), moved(61), open()]), retries(false), "MessageStatusChanged"),
        ("again, a template", after(vec![begun(), moved(60), open()]), retries(true), "MessageStatusChanged"),
        ("again, after the end", with(vec![open(), end(false)]), retries(true), "ALREADY_ENDED"),
        ("not open", with(vec![]), sends(), "NOT_OPEN"),
        ("later", with(vec![]), moved(101), "WindowExpiryAnnounced"),
        ("the same", with(vec![]), moved(100), ""),
        ("earlier", with(vec![]), moved(99), ""),
        ("first", after(vec![begun()]), moved(1), "WindowExpiryAnnounced"),
        ("changes", with(vec![]), alters(), "MessageChanged"),
        ("changes after the end", with(vec![open(), end(false)]), alters(), "MessageChanged"),
        ("ends", with(vec![open()]), end(false), "InteractionEnded, AttentionClosed"),
        ("ends, asked to close", with(vec![open()]), end(true), "InteractionEnded, AttentionClosed"),
        ("after the end", with(vec![open(), end(false)]), begun(), "ATTENTION_CLOSED"),
        (
            "reopens",
            with(vec![open(), end(false)]),
            Command::Reopen { agent: user("ana"), live: false, successor_open: false },
            "ONLY_EMAIL",
        ),
    ] {
        assert_eq!(told(&state, command), expected, "{name}");
    }
    assert_eq!(with(vec![]).window_ends_at, Some(at(100)));
    let ended = with(vec![open(), end(false)]).interaction.expect("it has one").stage;
    assert!(matches!(ended, Stage::Ended { closed_attention: true, .. }), "{ended:?}");
}
