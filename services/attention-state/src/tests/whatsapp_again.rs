//! A WhatsApp message sent again by a person: when it may, what goes out, and what later reports mean.

use hilo_kit::consumer::{BatchHandler, Outcome};
use hilo_proto::attention::v1::{RetryMessageRequest, RetryMessageResponse};
use hilo_proto::delivery::v1::SendState;
use hilo_proto::history::v1::ThreadMessage;
use time::OffsetDateTime;
use uuid::Uuid;

use super::templates::{report as report_templates, reported};
use super::whatsapp_changes::{answered, report};
use super::whatsapp_kinds::{content, greeting};
use super::whatsapp_rig::{Chat, EVA, house, messages, only, outbound, send, take};
use super::{House, fresh};
use hilo_proto::attention::v1::chat_content::Kind;

async fn retry(house: &House, user: &str, message: &str) -> Result<RetryMessageResponse, hilo_kit::Error> {
    let request = RetryMessageRequest { message_id: message.into(), request_id: fresh() };
    house.actions.retry(house.access(user).await, request).await
}

async fn told(house: &House, send: &str, state: SendState) {
    let outcomes = house.delivery.handle(&[report(send, state, |_| {})]).await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Ack]), "{outcomes:?}");
}

async fn last(house: &House, attention: Uuid) -> ThreadMessage {
    messages(house, attention).await.pop().unwrap()
}

#[tokio::test]
async fn what_failed_or_may_have_been_sent_goes_out_again_under_a_new_send() {
    for state in [SendState::Failed, SendState::Unknown] {
        let house = house().await;
        let (attention, answer) = answered(&house).await;
        assert_eq!(retry(&house, "ana", &answer).await.unwrap_err().reason(), "NOTHING_TO_RETRY");
        told(&house, &answer, state).await;
        assert_eq!(retry(&house, "luis", &answer).await.unwrap_err().reason(), "NOT_YOURS");
        let queued = retry(&house, "ana", &answer).await.unwrap().message.unwrap();
        assert_eq!((queued.message_id.as_str(), queued.delivery_state.as_str()), (answer.as_str(), "queued"));
        let sent = outbound(&house).await;
        let [(first, one), (second, two)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!((first.sequence, second.sequence), (1, 2));
        assert_ne!(first.send_id, second.send_id);
        assert_eq!(one, two, "the same item");
        assert_eq!(retry(&house, "ana", &answer).await.unwrap_err().reason(), "NOTHING_TO_RETRY");
        told(&house, &second.send_id, SendState::Delivered).await;
        assert_eq!(last(&house, attention).await.delivery_state, "delivered");
        told(&house, &answer, SendState::Failed).await;
        assert_eq!(last(&house, attention).await.delivery_state, "delivered", "of the first send");
        assert_eq!(messages(&house, attention).await.len(), 2, "it is still one message");
    }
}

/// Without [`DeliveryState::left`] in `counted` the customer has read it and the desk says that it failed.
///
/// [`DeliveryState::left`]: crate::attention::domain::DeliveryState::left
#[tokio::test]
async fn what_the_first_send_did_reach_counts_although_the_second_fails() {
    let house = house().await;
    let (attention, answer) = answered(&house).await;
    told(&house, &answer, SendState::Unknown).await;
    retry(&house, "ana", &answer).await.unwrap();
    let second = outbound(&house).await.pop().unwrap().0.send_id;
    told(&house, &answer, SendState::Read).await;
    assert_eq!(last(&house, attention).await.delivery_state, "read");
    told(&house, &second, SendState::Failed).await;
    assert_eq!(last(&house, attention).await.delivery_state, "read", "he has it");
}

#[tokio::test]
async fn the_window_counts_again_but_for_a_template_that_is_still_approved() {
    let house = house().await;
    let now = OffsetDateTime::now_utc();
    report_templates(&house, "chat-wa", now, vec![reported("seguimos", "APPROVED")]).await.unwrap();
    take(&house, &[Chat::from(EVA)]).await;
    let seen = only(&house).await;
    house.open_item("ana", seen.last_interaction).await;
    let text = send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap().message.unwrap().message_id;
    let template = content(Kind::Template(greeting("seguimos", &["Eva"])));
    let template = send(&house, "ana", seen.last_interaction, template).await.unwrap().message.unwrap();
    told(&house, &text, SendState::Failed).await;
    told(&house, &template.message_id, SendState::Failed).await;
    sqlx::query("UPDATE attention.attention SET window_ends_at = now() - interval '1 hour'")
        .execute(house.db.pool())
        .await
        .unwrap();
    assert_eq!(retry(&house, "ana", &text).await.unwrap_err().reason(), "WINDOW_CLOSED");
    retry(&house, "ana", &template.message_id).await.unwrap();
    let sent = outbound(&house).await;
    assert_eq!(sent[1].1.kind, sent[2].1.kind);
    assert_eq!(last(&house, seen.attention_id).await.text, template.text);
    told(&house, &sent[2].0.send_id, SendState::Failed).await;
    let later = OffsetDateTime::now_utc();
    report_templates(&house, "chat-wa", later, vec![reported("seguimos", "PAUSED")]).await.unwrap();
    let refused = retry(&house, "ana", &template.message_id).await.unwrap_err();
    assert_eq!(refused.reason(), "TEMPLATE_NOT_APPROVED");
    house.end_item(seen.last_interaction, true).await;
    assert_eq!(retry(&house, "ana", &text).await.unwrap_err().reason(), "ALREADY_ENDED");
}
