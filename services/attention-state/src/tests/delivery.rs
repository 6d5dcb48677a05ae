//! Delivery reports: late, twice, out of order, unknown.

use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::outbox::HEADER_ID;
use hilo_proto::attention::v1::SendMessageRequest;
use hilo_proto::delivery::v1::{DeliveryEnvelope, RecipientState, SendState};
use prost::Message as _;
use uuid::Uuid;

use super::{House, Mail, fresh};

fn report(send: &str, state: SendState) -> Delivery {
    let envelope = DeliveryEnvelope {
        report_id: fresh(),
        send_id: send.to_owned(),
        account_key: "soporte-mail".into(),
        state: state.into(),
        recipients: vec![RecipientState {
            address: "eva@cliente.example".into(),
            state: state.into(),
            reply_code: 550,
            enhanced_code: "5.1.1".into(),
            reply_text: "no such user".into(),
        }],
        ..DeliveryEnvelope::default()
    };
    let headers = vec![(HEADER_ID.to_owned(), Uuid::now_v7().to_string())];
    Delivery::new("hilo.delivery.email.soporte-mail", headers, envelope.encode_to_vec())
}

/// A house with one sent message: its id, its attention and interaction.
async fn with_send() -> (House, String, Uuid, Uuid) {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let seen = house.attentions().await[0].clone();
    house.open_item("ana", seen.last_interaction).await;
    let request = SendMessageRequest {
        interaction_id: seen.last_interaction.to_string(),
        request_id: fresh(),
        text: "Hola".into(),
        ..SendMessageRequest::default()
    };
    let sent = house.actions.send(house.access("ana").await, request).await.unwrap().message.unwrap();
    (house, sent.message_id, seen.attention_id, seen.last_interaction)
}

async fn state(house: &House) -> (String, String) {
    sqlx::query_as(
        "SELECT delivery_state, delivery_detail FROM attention.message WHERE direction = 'outbound'",
    )
    .fetch_one(house.db.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn states_only_rise_whatever_the_order() {
    use SendState::{Bounced, Failed, Queued, Sent, Unknown};
    let rows = [
        (vec![Queued, Sent, Bounced], "failed", 2),
        (vec![Sent, Bounced, Sent], "failed", 2),
        (vec![Failed, Bounced], "failed", 1),
        (vec![Queued, Bounced], "failed", 1),
        (vec![Queued, Sent], "sent", 1),
        (vec![Sent, Queued, Sent], "sent", 1),
        (vec![Unknown, Sent], "sent", 2),
        (vec![Unknown, Queued, Failed], "failed", 2),
        (vec![Sent, Unknown, Failed], "sent", 1),
    ];
    for (reports, expected, changes) in rows {
        let (house, send, attention, _) = with_send().await;
        for one in &reports {
            let delivery = report(&send, *one);
            for _ in 0..2 {
                let outcomes = house.delivery.handle(std::slice::from_ref(&delivery)).await;
                assert!(matches!(outcomes.as_slice(), [Outcome::Ack]), "{outcomes:?}");
            }
        }
        assert_eq!(state(&house).await.0, expected, "{reports:?}");
        let changed =
            house.events(attention).await.iter().filter(|name| *name == "message_status_changed").count();
        assert_eq!(changed, changes, "{reports:?}");
    }
}

#[tokio::test]
async fn a_failure_says_what_the_server_said_and_raises_the_version_of_an_ended_thread() {
    let (house, send, _, interaction) = with_send().await;
    let version = "SELECT version FROM attention.interaction";
    house.end_item(interaction, true).await;
    let before = house.count(version).await;
    house.delivery.handle(&[report(&send, SendState::Failed)]).await;
    assert_eq!(house.count(version).await, before + 1, "history must fetch it again");
    let (state, detail) = state(&house).await;
    assert_eq!((state.as_str(), detail.as_str()), ("failed", "eva@cliente.example: 550 5.1.1 no such user"));
}

#[tokio::test]
async fn why_a_mail_waits_is_seen_without_an_event_until_it_is_sent() {
    let (house, send, attention, _) = with_send().await;
    house.delivery.handle(&[report(&send, SendState::Queued)]).await;
    let (now, detail) = state(&house).await;
    assert_eq!((now.as_str(), detail.as_str()), ("queued", "eva@cliente.example: 550 5.1.1 no such user"));
    let events = house.events(attention).await;
    assert!(!events.iter().any(|name| name == "message_status_changed"), "{events:?}");
    house.delivery.handle(&[report(&send, SendState::Sent)]).await;
    assert_eq!(state(&house).await, ("sent".to_owned(), String::new()));
    house.delivery.handle(&[report(&send, SendState::Queued)]).await;
    assert_eq!(state(&house).await, ("sent".to_owned(), String::new()));
}

#[tokio::test]
async fn an_unknown_send_is_dead_and_a_locked_one_waits() {
    let (house, send, ..) = with_send().await;
    let mut tx = house.db.pool().begin().await.unwrap();
    sqlx::query("SELECT 1 FROM attention.attention FOR UPDATE").execute(&mut *tx).await.unwrap();
    let batch =
        [report(&send, SendState::Sent), report(&fresh(), SendState::Sent), report("junk", SendState::Sent)];
    let outcomes = house.delivery.handle(&batch).await;
    assert!(
        matches!(outcomes.as_slice(), [Outcome::Busy, Outcome::Dead(_), Outcome::Dead(_)]),
        "{outcomes:?}"
    );
    tx.rollback().await.unwrap();
    let outcomes = house.delivery.handle(&batch[..1]).await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Ack]), "{outcomes:?}");
    assert_eq!(state(&house).await.0, "sent");
}
