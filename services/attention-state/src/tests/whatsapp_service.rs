//! WhatsApp through the whole service on a real broker and database: from the channel's envelope to the desk and back.

use hilo_kit::consumer::Delivery;
use hilo_kit::outbox::HEADER_ID;
use hilo_proto::attention::v1::{
    DeskItem, EndInteractionRequest, ListMessagesRequest, OpenInteractionRequest, SendMessageRequest,
};
use hilo_proto::delivery::v1::{DeliveryEnvelope, SendState};
use hilo_proto::event::v1::{AttentionState, InteractionState};
use prost::Message as _;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::fresh;
use super::service::{Rig, item, removal, until};
use super::whatsapp_rig::{Chat, EVA};

fn report(send: &str, state: SendState) -> Delivery {
    let envelope = DeliveryEnvelope {
        report_id: fresh(),
        send_id: send.into(),
        account_key: "chat-wa".into(),
        state: state.into(),
        provider_message_id: "wamid.ours".into(),
        ..DeliveryEnvelope::default()
    };
    let headers = vec![(HEADER_ID.to_owned(), Uuid::now_v7().to_string())];
    Delivery::new("hilo.delivery.whatsapp.chat-wa", headers, envelope.encode_to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_item_is_answered_its_statuses_are_seen_and_the_end_closes_it() {
    let rig = Rig::start().await;
    let (mut ana, snapshot) = rig.watch_channel("ana", "whatsapp").await;
    assert!(snapshot.items.is_empty());
    let an_hour_ago = OffsetDateTime::now_utc() - Duration::hours(1);
    rig.hand_over(&Chat::from(EVA).at(an_hour_ago).delivery()).await;
    let queued = until(&mut ana, item).await;
    assert_eq!((queued.state(), queued.channel.as_str()), (InteractionState::Queued, "whatsapp"));
    assert_eq!(
        (queued.customer_address.as_str(), queued.preview.as_str()),
        ("+51987654321", "Hola, no llegó.")
    );
    assert!(queued.window_ends_at.is_some());
    let (_, of_mail) = rig.watch("ana").await;
    assert!(of_mail.items.is_empty(), "each channel has its own list");
    let interaction_id = queued.interaction_id.clone();
    let open = OpenInteractionRequest { interaction_id: interaction_id.clone(), request_id: fresh() };
    rig.desk("ana").open_interaction(open).await.unwrap();
    let send = SendMessageRequest {
        interaction_id: interaction_id.clone(),
        request_id: fresh(),
        text: "Buenos días".into(),
        ..SendMessageRequest::default()
    };
    let answer = rig.desk("ana").send_message(send.clone()).await.unwrap().into_inner().message.unwrap();
    let again = rig.desk("ana").send_message(send).await.unwrap().into_inner().message.unwrap();
    assert_eq!(again.message_id, answer.message_id, "a repeated request sends once");
    let sent = until(&mut ana, |update| item(update).filter(|one| one.message_count == 2)).await;
    rig.hand_over(&report(&answer.message_id, SendState::Read)).await;
    until(&mut ana, |update| item(update).filter(|one| one.version > sent.version)).await;
    let list =
        ListMessagesRequest { attention_id: queued.attention_id.clone(), ..ListMessagesRequest::default() };
    let messages = rig.desk("ana").list_messages(list).await.unwrap().into_inner().messages;
    assert_eq!(messages.last().unwrap().delivery_state, "read");
    // What she writes now moves her window, on the desk that has it open too.
    rig.hand_over(&Chat::from(EVA).says("¿Hola?").delivery()).await;
    let moved = until(&mut ana, |update| item(update).filter(|one| one.preview == "¿Hola?")).await;
    let ends = |item: &DeskItem| item.window_ends_at.map(|instant| instant.seconds).unwrap();
    assert!(ends(&moved) >= ends(&queued) + 3_600, "{moved:?} after {queued:?}");
    let end = EndInteractionRequest {
        interaction_id: interaction_id.clone(),
        close_attention: false,
        request_id: fresh(),
    };
    let ended = rig.desk("ana").end_interaction(end).await.unwrap().into_inner();
    assert_eq!(ended.attention_state(), AttentionState::Closed);
    assert_eq!(until(&mut ana, removal).await, interaction_id);
    rig.hand_over(&Chat::from(EVA).says("otra vez").delivery()).await;
    let next = until(&mut ana, |update| item(update).filter(|one| one.preview == "otra vez")).await;
    assert_ne!(next.attention_id, queued.attention_id);
    rig.stop().await;
}
