//! The customer's answer is here before the report on what he answers, and Meta knows his telephone by other digits than were dialled.

use std::time::Duration;

use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::nats::Subjects;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::dialer::v1::RowState;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use time::OffsetDateTime;

use super::House;
use super::dialer_rig::{attentions, house as with_dialers, last_send, reported_as, row, running, sql, step};
use super::templates::{report, reported as template};
use super::whatsapp_rig::{Chat, offer, only, take};
use super::whatsapp_start::{request, start};
use crate::dialer::Step;
use crate::intake::InboundHandler;

/// A number of Mexico as it is dialled, and its WhatsApp id.
const DIALLED: &str = "525512345678";
const WA_ID: &str = "5215512345678";

async fn begun() -> House {
    let house = super::whatsapp_rig::house().await;
    let list = vec![template("seguimos", "APPROVED")];
    report(&house, "chat-wa", OffsetDateTime::now_utc(), list).await.unwrap();
    start(&house, "ana", request("chat", &format!("+{DIALLED}"))).await.unwrap();
    house
}

async fn is_reported(house: &House, state: SendState, reached: bool) {
    let who = WhatsAppIdentity { wa_id: WA_ID.into(), ..WhatsAppIdentity::default() };
    let sent = last_send(house).await;
    reported_as(house, &sent, state, |envelope| {
        envelope.reached = reached.then_some(who);
        if !reached {
            envelope.provider_message_id.clear();
            envelope.reason = "NUMBER_SWITCHED_OFF".into();
            envelope.error_text = "the number is switched off".into();
        }
    })
    .await;
}

fn waits(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| matches!(outcome, Outcome::Busy))
}

/// Without `held` the answer begins a second conversation, of a second contact.
#[tokio::test]
async fn the_answer_waits_for_the_report_and_joins_what_the_agent_began() {
    let house = begun().await;
    let (answer, more) = (Chat::from(WA_ID).says("sí, dígame"), Chat::from(WA_ID).says("¿hola?"));
    let both = [answer.clone(), more.clone()];
    assert!(waits(&offer(&house, &both).await) && waits(&offer(&house, &both).await));
    assert_eq!(
        house.count("SELECT count(*) FROM contact.contact").await,
        1,
        "nothing is made of it meanwhile"
    );
    is_reported(&house, SendState::Sent, true).await;
    take(&house, &both).await;
    let seen = only(&house).await;
    assert_eq!((seen.messages, house.count("SELECT count(*) FROM contact.contact").await), (3, 1));
}

#[tokio::test]
async fn the_answer_to_a_dialer_waits_as_well() {
    let house = with_dialers().await;
    let dialer = running(&house, &[DIALLED]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
    let answer = [Chat::from(WA_ID).says("Sí")];
    assert!(waits(&offer(&house, &answer).await));
    is_reported(&house, SendState::Delivered, true).await;
    take(&house, &answer).await;
    assert_eq!(attentions(&house).await, [("open".to_owned(), 1)]);
    assert_eq!(row(&house, dialer).await.state(), RowState::Answered);
}

/// For each of them a guard of `held` or `unreported`: the account, the number, what is known of the send, when it was sent, whether the
/// conversation runs.
#[tokio::test]
async fn nobody_else_waits() {
    let house = begun().await;
    take(&house, &[Chat::from("5215599999999")]).await;
    take(&house, &[Chat::from(WA_ID).to("ventas-wa")]).await;

    let house = begun().await;
    is_reported(&house, SendState::Queued, false).await;
    take(&house, &[Chat::from(WA_ID)]).await;

    let house = begun().await;
    sql(&house, "UPDATE attention.message SET occurred_at = now() + interval '2 minutes'").await;
    take(&house, &[Chat::from(WA_ID)]).await;

    let house = begun().await;
    house.end_item(house.attentions().await.pop().unwrap().last_interaction, true).await;
    take(&house, &[Chat::from(WA_ID)]).await;

    // Who has a conversation of his own goes on with it.
    let house = super::whatsapp_rig::house().await;
    let list = vec![template("seguimos", "APPROVED")];
    report(&house, "chat-wa", OffsetDateTime::now_utc(), list).await.unwrap();
    take(&house, &[Chat::from(WA_ID)]).await;
    start(&house, "ana", request("chat", &format!("+{DIALLED}"))).await.unwrap();
    take(&house, &[Chat::from(WA_ID)]).await;

    // The number as it was dialled is known without any report.
    let house = begun().await;
    take(&house, &[Chat::from(DIALLED)]).await;
    assert_eq!(only(&house).await.messages, 2);
}

/// The channel's database has a clock of its own: without the minute in `unreported` an answer does not wait where that one is behind.
#[tokio::test]
async fn clocks_that_differ_a_little_let_it_wait() {
    let house = begun().await;
    sql(&house, "UPDATE attention.message SET occurred_at = now() + interval '30 seconds'").await;
    assert!(waits(&offer(&house, &[Chat::from(WA_ID)]).await));
    let house = with_dialers().await;
    let dialer = running(&house, &[DIALLED]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
    sql(&house, "UPDATE dialer.row SET sent_at = now() + interval '30 seconds'").await;
    assert!(waits(&offer(&house, &[Chat::from(WA_ID)]).await));
}

/// Without an end of the patience a send that is never reported on keeps its answer for ever.
#[tokio::test]
async fn the_wait_has_an_end() {
    let house = begun().await;
    let handler = InboundHandler::new(house.db.clone(), Subjects::new("hilo").unwrap());
    let handler = handler.with_patience(Duration::from_millis(500));
    let answer = [Chat::from(WA_ID)];
    let batch: Vec<Delivery> = answer.iter().map(Chat::delivery).collect();
    assert!(waits(&handler.handle(&batch).await));
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while waits(&handler.handle(&batch).await) {
        assert!(std::time::Instant::now() < deadline, "it waits for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(attentions(&house).await.len(), 2);
}
