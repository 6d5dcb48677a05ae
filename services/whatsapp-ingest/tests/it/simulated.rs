//! Against the simulator of the Cloud API, which was written from Meta's pages by other hands and shares nothing with this service.

use std::time::Duration;

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::outbound::v1::SendTemplate;
use hilo_proto::outbound::v1::outbound_whats_app::Kind as OutKind;
use hilo_simulators::fixtures::{self, Family};
use hilo_simulators::{
    App, Config, Customer, Effect, Endpoint, Fault, Number, Phone, Say, Simulator, Strangers,
};
use hilo_test_support::eventually;
use hilo_whatsapp_ingest::config::SenderConfig;

use crate::rig::{APP_SECRET, CUSTOMER, DEADLINE, NUMBER, Rig, Setup, VERIFY_TOKEN, account, quick, send};

pub async fn simulated(config: Config, setup: Setup) -> (Rig, Simulator) {
    let simulator = Simulator::start(config).await.unwrap();
    let app = App::default();
    let secrets = vec![("app", APP_SECRET), ("verify", VERIFY_TOKEN), ("token", "simulated-access-token")];
    assert_eq!(app.access_token, "simulated-access-token");
    let rig = Rig::start(Setup { graph: Some(simulator.base_url().to_owned()), secrets, ..setup }).await;
    simulator.subscribe(&app.id, &rig.webhook).await.unwrap();
    (rig, simulator)
}

pub fn world() -> Config {
    let app = App { secret: APP_SECRET.to_owned(), verify_token: VERIFY_TOKEN.to_owned(), ..App::default() };
    assert_eq!(Number::default().phone_number_id, NUMBER);
    Config { apps: vec![app], ..Config::default() }
}

pub fn customer(simulator: &Simulator) -> Phone {
    simulator.customer(Customer::new(CUSTOMER).named("Ana"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_payload_is_taken_and_none_is_lost() {
    let mut rig = Rig::start(Setup::default()).await;
    let mut kinds = Vec::new();
    for family in [Family::Message, Family::Status, Family::Notice] {
        for name in fixtures::kinds(family) {
            let mut fixture = fixtures::find(family, name).unwrap().clone();
            if family == Family::Message {
                // The pages' examples share ids; a message is one by its id.
                fixture.payload["entry"][0]["changes"][0]["value"]["messages"][0]["id"] =
                    serde_json::json!(format!("wamid.{name}"));
                kinds.push(name);
            }
            assert_eq!(rig.post(&fixture.payload).await, 200, "{name}");
        }
    }
    rig.parsed().await;
    let mut placeholders = Vec::new();
    for name in &kinds {
        let query = "SELECT kind FROM whatsapp.item WHERE wamid = $1";
        let kind: Option<String> = sqlx::query_scalar(query)
            .bind(format!("wamid.{name}"))
            .fetch_optional(rig.db.pool())
            .await
            .unwrap();
        let kind = kind.unwrap_or_else(|| panic!("{name} was not handed over"));
        if kind == "placeholder" {
            placeholders.push(*name);
        }
    }
    let preferences = rig.count("SELECT count(*) FROM whatsapp.item WHERE kind = 'preference'").await;
    assert_eq!(preferences, 1, "a stop in WhatsApp's own menu is handed over");
    let ids = rig
        .count("SELECT count(*) FROM whatsapp.item WHERE wamid LIKE 'user_id.%' AND kind = 'system'")
        .await;
    assert_eq!(ids, 1, "and so is a new user id");
    let expected = [
        "future_kind",
        "group_text",
        "request_welcome",
        "unknown",
        "unsupported",
        "unsupported_edit",
        "unsupported_unavailable",
    ];
    assert_eq!(placeholders, expected);
    let dead: Vec<(String, String)> =
        sqlx::query_as("SELECT reason, detail FROM kit.dead_letter").fetch_all(rig.db.pool()).await.unwrap();
    assert!(dead.is_empty(), "{dead:?}");
    assert!(!rig.inbound().await.1.wamid.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_talk_with_a_customer_from_hello_to_read() {
    let (mut rig, simulator) = simulated(world(), Setup::default()).await;
    simulator.behave(|behaviour| behaviour.statuses.read_ms = Some(60));
    let phone = customer(&simulator);
    let wamid = phone.says(NUMBER, &Say::text("hola, ¿están? 👋")).unwrap();
    let (_, item) = rig.inbound().await;
    assert_eq!(item.wamid, wamid);
    let who = item.customer.clone().unwrap();
    assert_eq!((who.wa_id.as_str(), who.profile_name.as_str()), (CUSTOMER, "Ana"));
    assert_eq!(who.user_id, phone.user_id());
    let Some(Kind::Text(text)) = item.kind else { panic!("{:?}", item.kind) };
    assert_eq!(text.body, "hola, ¿están? 👋");

    rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
    let mut states = Vec::new();
    while states.last() != Some(&SendState::Read) {
        states.push(rig.report().await.state());
    }
    assert!(states.is_sorted_by_key(|state| *state as i32), "{states:?}");
    assert_eq!(phone.received().len(), 1);
    assert!(simulator.violations().is_empty());
}

/// Without `of_answer` the answer names nobody; without `of_status` neither does the status that stands in for a lost answer.
#[tokio::test(flavor = "multi_thread")]
async fn whom_a_send_reaches_is_told_once_by_whichever_knows_first() {
    let sender = SenderConfig { doubt_seconds: 60, ..quick() };
    let (mut rig, simulator) =
        simulated(world(), Setup { sender, reply_seconds: 1, ..Setup::default() }).await;
    let (dialled, wa_id) = ("525512345678", "5215512345678");
    let phone = simulator.customer(Customer { wa_id: Some(wa_id.to_owned()), ..Customer::new(dialled) });
    phone.says(NUMBER, &Say::text("hola")).unwrap();
    rig.inbound().await;
    simulator.behave(|behaviour| {
        (behaviour.statuses.sent_ms, behaviour.statuses.delivered_ms) = (None, None);
    });
    rig.publish(&send(Uuid::now_v7(), 1, dialled)).await;
    let answered = rig.report().await;
    let reached = answered.reached.unwrap();
    assert_eq!(
        (answered.state, reached.wa_id.as_str(), reached.user_id.as_str()),
        (SendState::Sent as i32, wa_id, "")
    );

    simulator.behave(|behaviour| {
        (behaviour.statuses.sent_ms, behaviour.statuses.delivered_ms) = (Some(20), Some(40));
    });
    simulator.fault(Fault::new(Endpoint::Messages, 1, Effect::HangAfter { ms: 30_000, statuses: true }));
    rig.publish(&send(Uuid::now_v7(), 1, dialled)).await;
    let mut told = Vec::new();
    loop {
        let report = rig.report().await;
        told.extend(report.reached.clone());
        if report.state() == SendState::Delivered {
            break;
        }
    }
    let [one] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((one.wa_id.as_str(), one.user_id.as_str()), (wa_id, phone.user_id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_without_a_number_is_answered_by_his_user_id() {
    let (mut rig, simulator) = simulated(world(), Setup::default()).await;
    let phone = simulator.customer(Customer::new(CUSTOMER).with_username("ana"));
    phone.says(NUMBER, &Say::text("hola")).unwrap();
    let (_, item) = rig.inbound().await;
    let who = item.customer.unwrap();
    assert_eq!((who.wa_id.as_str(), who.phone.as_str()), ("", ""));
    assert_eq!((who.user_id.as_str(), who.username.as_str()), (phone.user_id(), "ana"));
    let mut answer = send(Uuid::now_v7(), 1, "");
    crate::rig::change(&mut answer, |item| item.to = Some(who));
    rig.publish(&answer).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    assert_eq!(phone.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_taken_without_an_answer_is_not_sent_twice() {
    let sender = SenderConfig { doubt_seconds: 60, ..quick() };
    let (mut rig, simulator) =
        simulated(world(), Setup { sender, reply_seconds: 10, ..Setup::default() }).await;
    let phone = customer(&simulator);
    phone.says(NUMBER, &Say::text("hola")).unwrap();
    rig.inbound().await;
    simulator.fault(Fault::new(Endpoint::Messages, 1, Effect::HangAfter { ms: 30_000, statuses: true }));
    let conversation = Uuid::now_v7();
    rig.publish(&send(conversation, 1, CUSTOMER)).await;
    rig.publish(&send(conversation, 2, CUSTOMER)).await;
    let arrived = "SELECT count(*) FROM whatsapp.send WHERE state = 'sent' AND reached = 'delivered'";
    rig.counts(arrived, 2).await;
    assert_eq!(phone.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_window_is_told_by_meta_too() {
    let (mut rig, simulator) = simulated(world(), Setup::default()).await;
    let phone = customer(&simulator);
    rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
    let report = rig.report().await;
    assert_eq!(
        (report.state(), report.reason.as_str(), report.error_code),
        (SendState::Failed, "WINDOW_CLOSED", 131_047)
    );
    assert!(phone.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_number_s_nor_the_customer_s_pace_is_ever_exceeded() {
    // What is held up on its way arrives together with what left later: no more than may be under way at once, and for that
    // much the number asks less than it is granted.
    let sender = SenderConfig { pair_seconds: 0.2, pair_burst: 45, concurrency: 20, ..quick() };
    let mut config = world();
    config.behaviour.pace.pair_every_ms = 200;
    config.behaviour.pace.enforce = false;
    config.behaviour.strangers = Strangers::Adopt;
    let mut number = account("ventas", NUMBER, "app");
    number.whatsapp.iter_mut().for_each(|settings| settings.messages_per_second = 60);
    let setup = Setup { sender, accounts: vec![number], ..Setup::default() };
    let (mut rig, simulator) = simulated(config, setup).await;
    let phone = customer(&simulator);
    phone.says(NUMBER, &Say::text("hola")).unwrap();
    rig.inbound().await;
    // The first connection takes its time; what counts begins after it.
    rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
    rig.counts("SELECT count(*) FROM whatsapp.pair WHERE tat < now() - interval '1 second'", 1).await;
    let one = Uuid::now_v7();
    for sequence in 1..=80 {
        rig.publish(&send(one, sequence, CUSTOMER)).await;
    }
    for n in 0..100 {
        let mut template = send(Uuid::now_v7(), 1, &format!("5190000{n:04}"));
        crate::rig::change(&mut template, |item| {
            let hello =
                SendTemplate { name: "hello_world".into(), language: "en_US".into(), components: vec![] };
            item.kind = Some(OutKind::Template(hello));
        });
        rig.publish(&template).await;
    }
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'sent'", 181).await;
    assert!(simulator.violations().is_empty(), "{:?}", simulator.violations());
    let received = phone.received();
    let bodies: Vec<&str> = received.iter().filter_map(|sent| sent.body["text"]["body"].as_str()).collect();
    let expected: Vec<String> = (1..=80).map(|n| format!("texto {n}")).collect();
    assert_eq!(bodies.get(1..).unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_of_ours_nothing_is_missing_or_double() {
    let mut config = world();
    config.behaviour.retry.time_scale = 100.0;
    let (mut rig, simulator) = simulated(config, Setup::default()).await;
    let phone = customer(&simulator);
    phone.says(NUMBER, &Say::text("antes")).unwrap();
    rig.inbound().await;
    rig.set_secret("app", "");
    let refuses = || async { rig.post_signed(&serde_json::json!({}), "").await == 503 };
    eventually("webhooks are refused", DEADLINE, refuses).await.unwrap();
    for n in 0..50 {
        phone.says(NUMBER, &Say::text(&format!("n. {n}"))).unwrap();
    }
    let tried = || async { simulator.attempts().iter().any(|attempt| attempt.status == Some(503)) };
    eventually("Meta was told to come again", DEADLINE, tried).await.unwrap();
    rig.set_secret("app", APP_SECRET);
    simulator.settled(Duration::from_secs(60)).await.unwrap();
    rig.counts("SELECT count(*) FROM whatsapp.item", 51).await;
    assert_eq!(rig.count("SELECT count(*) FROM kit.outbox_log WHERE stream = 'inbound'").await, 51);
}
