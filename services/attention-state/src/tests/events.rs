//! Every public event as other systems read it, frozen byte for byte in `proto/examples`. Within v1 they only grow: a
//! difference here is a decision. `HILO_WRITE_EXAMPLES=1` writes them anew.

use std::path::PathBuf;

use hilo_proto::event::v1::EventType;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::attention::domain::{
    AccountKey, Altered, Attention, AttentionId, CampaignKey, Channel, Command, ContactId, DeliveryState,
    Expire, Happened, InteractionId, MailClass, MessageId, MessageKind, MessageSummary, OfferId, Opening,
    TagKey, UserKey, decide,
};
use crate::attention::outbox::DATA;
use crate::attention::published::{event, event_name, event_type};

/// 2026-11-23T10:00:00Z and seconds after it.
fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::seconds(1_795_428_000 + seconds)
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0000 + number)
}

fn message(number: u128, kind: MessageKind) -> MessageSummary {
    MessageSummary { id: MessageId(id(number)), occurred_at: at(0), attachments: 1, kind }
}

fn customer(number: u128) -> Command {
    let kind = MessageKind::Inbound { class: Some(MailClass::Human), sender_verified: true };
    Command::ReceiveMessage {
        message: message(number, kind),
        waiting_since: at(0),
        interaction: InteractionId(id(2)),
        campaign: CampaignKey::new("soporte-tecnico"),
        opening: Some(opening()),
    }
}

fn opening() -> Opening {
    Opening {
        attention: AttentionId(id(1)),
        number: 5804,
        channel: Channel::Email,
        account: AccountKey::new("soporte"),
        contact: ContactId(id(3)),
        linked: None,
    }
}

/// One life in which every event happens.
fn life() -> Vec<(Command, Option<&'static str>)> {
    let offer = |number, version, agent: Option<&str>| Command::MakeOffer {
        version,
        offer: OfferId(id(number)),
        agent: agent.map(UserKey::new),
        deadline_at: agent.map(|_| at(40)),
    };
    let ana = || UserKey::new("ana");
    let queued = MessageKind::Outbound { delivery: DeliveryState::Queued };
    vec![
        (customer(10), None),
        (Command::Link { to: AttentionId(id(9)) }, None),
        (offer(20, 1, Some("luis")), None),
        (
            Command::ExpireOffer {
                version: 2,
                offer: OfferId(id(20)),
                because: Expire::AgentAbsent,
                returns: false,
            },
            None,
        ),
        (Command::Overflow { version: 3, after: Duration::seconds(1), to: None }, None),
        (Command::Open { agent: ana() }, Some("ana")),
        (Command::Release { agent: ana() }, Some("ana")),
        (Command::Open { agent: ana() }, Some("ana")),
        (Command::SendMessage { agent: ana(), message: message(11, queued), template: false }, Some("ana")),
        (
            Command::ReportDelivery {
                message: message(11, queued),
                reported: DeliveryState::Sent,
                returned: false,
                recipient: false,
            },
            None,
        ),
        (Command::SaveForm { agent: ana() }, Some("ana")),
        (Command::End { agent: ana(), close: true, problems: Vec::new() }, Some("ana")),
        (Command::Reopen { agent: ana(), live: false, successor_open: false }, Some("ana")),
        (Command::AddNote { message: message(12, MessageKind::Note) }, Some("ana")),
        (Command::Orphan { agent: ana(), absent_since: at(0), after: Duration::seconds(1) }, None),
        (Command::Tag { tag: TagKey::new("urgente") }, Some("ana")),
        (Command::ChangeContact { contact: ContactId(id(4)) }, Some("ana")),
    ]
}

/// Another one, which goes to another campaign.
fn moving_life() -> Vec<(Command, Option<&'static str>)> {
    let overflow =
        Command::Overflow { version: 1, after: Duration::seconds(1), to: Some(CampaignKey::new("ventas")) };
    vec![(customer(10), None), (overflow, None)]
}

/// And one that an agent begins.
fn started_life() -> Vec<(Command, Option<&'static str>)> {
    let queued = MessageKind::Outbound { delivery: DeliveryState::Queued };
    let start = Command::Start {
        opening: opening(),
        campaign: CampaignKey::new("soporte-tecnico"),
        interaction: InteractionId(id(2)),
        agent: UserKey::new("ana"),
        message: message(11, queued),
    };
    vec![(start, Some("ana"))]
}

/// And one by WhatsApp.
fn chat_life() -> Vec<(Command, Option<&'static str>)> {
    let said = || message(10, MessageKind::Inbound { class: None, sender_verified: true });
    let begin = Command::ReceiveMessage {
        message: said(),
        waiting_since: at(0),
        interaction: InteractionId(id(2)),
        campaign: CampaignKey::new("soporte-whatsapp"),
        opening: Some(Opening {
            channel: Channel::Whatsapp,
            account: AccountKey::new("soporte-wa"),
            ..opening()
        }),
    };
    vec![
        (begin, None),
        (Command::MoveWindow { ends_at: at(86_340) }, None),
        (Command::AlterMessage { message: said(), because: Altered::Edited }, None),
    ]
}

fn happened() -> Vec<(Happened, OffsetDateTime, Option<UserKey>)> {
    let mut all = Vec::new();
    for life in [life(), moving_life(), started_life(), chat_life()] {
        let mut state: Option<Attention> = None;
        for (step, (command, actor)) in (0..).zip(life) {
            let decision = decide(state.as_ref(), command, at(step)).unwrap();
            all.extend(decision.events.into_iter().map(|one| (one, at(step), actor.map(UserKey::new))));
            state = decision.state;
        }
    }
    all
}

#[test]
fn every_event_is_published_as_its_frozen_example() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/examples");
    let mut seen = Vec::new();
    for (one, at, actor) in happened() {
        let kind = event_type(&one.event);
        if seen.contains(&kind) {
            continue;
        }
        seen.push(kind);
        let mut json =
            String::from_utf8(hilo_proto::json::to_json(DATA, &event(&one, at, actor.as_ref())).unwrap())
                .unwrap();
        json.push('\n');
        let path = folder.join(format!("{}.json", event_name(kind)));
        if std::env::var_os("HILO_WRITE_EXAMPLES").is_some() {
            std::fs::write(&path, &json).unwrap();
        }
        let frozen = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(json, frozen, "{}", path.display());
    }
    let lacking: Vec<EventType> = (1..)
        .map_while(|number| EventType::try_from(number).ok())
        .filter(|kind| !seen.contains(kind))
        .collect();
    assert_eq!(lacking, []);
}
