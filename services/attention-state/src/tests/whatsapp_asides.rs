//! What goes to a customer beside messages: reactions of ours, read marks, typing.

use hilo_kit::consumer::{BatchHandler, Outcome};
use hilo_proto::attention::v1::chat_content::Kind;
use hilo_proto::attention::v1::{ChatContent, ChatReaction, MarkReadRequest, SendMessageRequest};
use hilo_proto::delivery::v1::SendState;
use hilo_proto::history::v1::WhatsAppReactionMark;
use hilo_proto::outbound::v1::outbound_whats_app;
use uuid::Uuid;

use super::whatsapp_changes::{reacts, report};
use super::whatsapp_rig::{Chat, EVA, house, messages, only, outbound, send, take};
use super::{House, Mail, Seen};

fn reaction(message: &str, emoji: &str) -> impl FnOnce(&mut SendMessageRequest) {
    let (message, emoji) = (message.to_owned(), emoji.to_owned());
    move |request| {
        request.text.clear();
        request.message_id = message;
        request.whatsapp =
            Some(ChatContent { kind: Some(Kind::Reaction(ChatReaction { emoji })), preview_url: false });
    }
}

/// Eva wrote and ana has it open; the attention and the id of the message.
async fn opened(house: &House) -> (Seen, String) {
    take(house, &[Chat::from(EVA).wamid("wamid.1")]).await;
    let seen = only(house).await;
    house.open_item("ana", seen.last_interaction).await;
    let first = messages(house, seen.attention_id).await.remove(0).message_id;
    (seen, first)
}

async fn mark(house: &House, attention: Uuid) -> WhatsAppReactionMark {
    messages(house, attention).await.remove(0).whatsapp.unwrap().own_reaction.unwrap()
}

async fn told(house: &House, send: &str, state: SendState) {
    let outcomes = house.delivery.handle(&[report(send, state, |_| {})]).await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Ack]), "{outcomes:?}");
}

#[tokio::test]
async fn a_reaction_of_ours_is_a_mark_on_the_customers_message_and_no_message() {
    let house = house().await;
    let (seen, first) = opened(&house).await;
    let before = house.events(seen.attention_id).await.len();
    let answer = send(&house, "ana", seen.last_interaction, reaction(&first, "👍")).await.unwrap();
    assert_eq!(answer.message.unwrap().message_id, first);
    let shown = mark(&house, seen.attention_id).await;
    assert_eq!((shown.emoji.as_str(), shown.delivery_state.as_str()), ("👍", "queued"));
    assert_eq!(house.events(seen.attention_id).await[before..], ["message_changed"]);
    assert_eq!(only(&house).await.messages, 1);
    let (envelope, item) = outbound(&house).await.pop().unwrap();
    let Some(outbound_whats_app::Kind::Reaction(sent)) = item.kind else { panic!("{item:?}") };
    assert_eq!((sent.target_wamid.as_str(), sent.emoji.as_str()), ("wamid.1", "👍"));
    assert!(item.window_ends_at.is_some());
    assert_ne!(envelope.conversation_key, seen.attention_id.to_string(), "no text waits for it");
    told(&house, &envelope.send_id, SendState::Sent).await;
    assert_eq!(mark(&house, seen.attention_id).await.delivery_state, "sent");
    // The customer's own reaction is another.
    take(&house, &[reacts("wamid.1", "❤️")]).await;
    let item = messages(&house, seen.attention_id).await.remove(0).whatsapp.unwrap();
    assert_eq!(item.reaction.unwrap().emoji, "❤️");
    assert_eq!(item.own_reaction.unwrap().emoji, "👍");
    send(&house, "ana", seen.last_interaction, reaction(&first, "")).await.unwrap();
    let (second, _) = outbound(&house).await.pop().unwrap();
    assert_eq!((second.sequence, second.conversation_key), (2, envelope.conversation_key));
    told(&house, &envelope.send_id, SendState::Failed).await;
    let shown = mark(&house, seen.attention_id).await;
    assert_eq!((shown.emoji.as_str(), shown.delivery_state.as_str()), ("", "queued"), "of the one before");
    told(&house, &second.send_id, SendState::Failed).await;
    assert_eq!(mark(&house, seen.attention_id).await.delivery_state, "failed");
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();
    let (text, _) = outbound(&house)
        .await
        .into_iter()
        .find(|(one, _)| one.conversation_key == seen.attention_id.to_string())
        .unwrap();
    assert_eq!(text.sequence, 1, "asides have an order of their own");
}

#[tokio::test]
async fn a_reaction_is_put_on_a_customers_message_by_who_has_it_open_within_the_window() {
    let house = house().await;
    let (seen, first) = opened(&house).await;
    let ours = send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap().message.unwrap().message_id;
    let other = Uuid::now_v7().to_string();
    for (user, target, emoji, reason) in [
        ("ana", ours.as_str(), "👍", "MESSAGE_NOT_FOUND"),
        ("ana", other.as_str(), "👍", "MESSAGE_NOT_FOUND"),
        ("luis", first.as_str(), "👍", "NOT_YOURS"),
        ("ana", first.as_str(), "gracias", "INVALID_REQUEST"),
    ] {
        let refused = send(&house, user, seen.last_interaction, reaction(target, emoji)).await.unwrap_err();
        assert_eq!(refused.reason(), reason, "{user} {emoji}");
    }
    sqlx::query("UPDATE attention.attention SET window_ends_at = now() - interval '1 hour'")
        .execute(house.db.pool())
        .await
        .unwrap();
    let refused = send(&house, "ana", seen.last_interaction, reaction(&first, "👍")).await.unwrap_err();
    assert_eq!(refused.reason(), "WINDOW_CLOSED");
    assert_eq!(outbound(&house).await.len(), 1, "the text alone");
}

async fn read(house: &House, user: &str, interaction: Uuid, typing: bool) -> Result<(), String> {
    let request = MarkReadRequest { interaction_id: interaction.to_string(), typing };
    let answer = house.actions.mark_read(house.access(user).await, request).await;
    answer.map(|_| ()).map_err(|error| error.reason().to_owned())
}

/// Wamids that were marked as read, with a star where typing was shown.
async fn marks(house: &House) -> Vec<String> {
    let of = |kind: Option<outbound_whats_app::Kind>| match kind {
        Some(outbound_whats_app::Kind::ReadMark(mark)) => {
            Some(format!("{}{}", mark.wamid, if mark.typing { "*" } else { "" }))
        }
        _ => None,
    };
    outbound(house).await.into_iter().filter_map(|(_, item)| of(item.kind)).collect()
}

#[tokio::test]
async fn the_newest_message_is_marked_as_read_once_and_typing_now_and_then() {
    let house = house().await;
    let (seen, _) = opened(&house).await;
    read(&house, "ana", seen.last_interaction, false).await.unwrap();
    read(&house, "ana", seen.last_interaction, false).await.unwrap();
    assert_eq!(marks(&house).await, ["wamid.1"]);
    read(&house, "ana", seen.last_interaction, true).await.unwrap();
    read(&house, "ana", seen.last_interaction, true).await.unwrap();
    assert_eq!(marks(&house).await, ["wamid.1", "wamid.1*"]);
    sqlx::query("UPDATE attention.aside SET sent_at = sent_at - interval '11 seconds'")
        .execute(house.db.pool())
        .await
        .unwrap();
    read(&house, "ana", seen.last_interaction, true).await.unwrap();
    take(&house, &[Chat::from(EVA).wamid("wamid.2")]).await;
    read(&house, "ana", seen.last_interaction, false).await.unwrap();
    assert_eq!(marks(&house).await, ["wamid.1", "wamid.1*", "wamid.1*", "wamid.2"]);
    let (last, _) = outbound(&house).await.pop().unwrap();
    for state in [SendState::Failed, SendState::Sent] {
        told(&house, &last.send_id, state).await;
    }
    assert_eq!(only(&house).await.messages, 2, "nothing of it is a message");
}

#[tokio::test]
async fn only_who_has_it_open_says_that_he_read_it() {
    let house = house().await;
    take(&house, &[Chat::from(EVA)]).await;
    let seen = only(&house).await;
    assert_eq!(read(&house, "ana", seen.last_interaction, false).await.unwrap_err(), "NOT_OPEN");
    assert_eq!(
        read(&house, "rosa", seen.last_interaction, false).await.unwrap_err(),
        "INTERACTION_NOT_FOUND"
    );
    house.open_item("ana", seen.last_interaction).await;
    assert_eq!(read(&house, "luis", seen.last_interaction, false).await.unwrap_err(), "NOT_YOURS");
    sqlx::query("UPDATE attention.attention SET window_ends_at = now() - interval '1 hour'")
        .execute(house.db.pool())
        .await
        .unwrap();
    assert_eq!(read(&house, "ana", seen.last_interaction, false).await.unwrap_err(), "WINDOW_CLOSED");
    house.end_item(seen.last_interaction, true).await;
    assert_eq!(read(&house, "ana", seen.last_interaction, false).await.unwrap_err(), "ALREADY_ENDED");
    house.take(&[Mail::from("otto@cliente.example")]).await;
    let mail = house.attentions().await.pop().unwrap().last_interaction;
    house.open_item("ana", mail).await;
    assert_eq!(read(&house, "ana", mail, false).await.unwrap_err(), "OTHER_CHANNEL");
    assert!(marks(&house).await.is_empty());
}
