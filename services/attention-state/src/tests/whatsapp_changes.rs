//! What happens to WhatsApp messages after they came or were sent: statuses, reactions, edits, revokes, numbers that change hands.

use hilo_kit::clock::to_proto;
use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::outbox::HEADER_ID;
use hilo_proto::delivery::v1::{DeliveryEnvelope, SendState};
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{
    SystemKind, WhatsAppEdit, WhatsAppIdentity, WhatsAppReaction, WhatsAppRevoke, WhatsAppSystem,
};
use prost::Message as _;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::whatsapp_rig::{Chat, EVA, house, identities, messages, offer, only, outbound, send, take};
use super::{House, fresh};

pub(super) fn report(send: &str, state: SendState, change: impl FnOnce(&mut DeliveryEnvelope)) -> Delivery {
    let mut envelope = DeliveryEnvelope {
        report_id: fresh(),
        send_id: send.into(),
        account_key: "chat-wa".into(),
        state: state.into(),
        ..DeliveryEnvelope::default()
    };
    change(&mut envelope);
    let headers = vec![(HEADER_ID.to_owned(), Uuid::now_v7().to_string())];
    Delivery::new("hilo.delivery.whatsapp.chat-wa", headers, envelope.encode_to_vec())
}

async fn reported(house: &House, send: &str, states: &[SendState]) {
    let batch: Vec<Delivery> = states.iter().map(|state| report(send, *state, |_| {})).collect();
    let outcomes = house.delivery.handle(&batch).await;
    assert!(outcomes.iter().all(|one| matches!(one, Outcome::Ack)), "{outcomes:?}");
}

/// Eva wrote, ana answered; the attention and the id of the answer.
pub(super) async fn answered(house: &House) -> (Uuid, String) {
    take(house, &[Chat::from(EVA)]).await;
    let seen = only(house).await;
    house.open_item("ana", seen.last_interaction).await;
    let answer = send(house, "ana", seen.last_interaction, |_| {}).await.unwrap().message.unwrap();
    (seen.attention_id, answer.message_id)
}

async fn state_of(house: &House, attention: Uuid) -> String {
    messages(house, attention).await.last().unwrap().delivery_state.clone()
}

#[tokio::test]
async fn statuses_end_at_the_highest_in_whatever_order_and_batches_they_come() {
    use SendState::{Delivered, Failed, Read, Sent, Unknown};
    for (batches, state, anomalies) in [
        (vec![vec![Sent], vec![Delivered], vec![Read]], "read", 0),
        (vec![vec![Read, Sent, Delivered]], "read", 0),
        (vec![vec![Delivered], vec![Sent], vec![Delivered]], "delivered", 0),
        (vec![vec![Unknown], vec![Sent]], "sent", 0),
        (vec![vec![Sent], vec![Failed]], "failed", 0),
        (vec![vec![Failed], vec![Sent]], "failed", 0),
        (vec![vec![Failed], vec![Delivered]], "delivered", 1),
        (vec![vec![Sent, Delivered, Failed]], "delivered", 1),
        (vec![vec![Failed], vec![Read], vec![Failed]], "read", 2),
    ] {
        let house = house().await;
        let (attention, answer) = answered(&house).await;
        for batch in &batches {
            reported(&house, &answer, batch).await;
        }
        assert_eq!(state_of(&house, attention).await, state, "{batches:?}");
        let recorded = house.count("SELECT count(*) FROM attention.delivery_anomaly").await;
        assert_eq!(recorded, anomalies, "{batches:?}");
    }
}

#[tokio::test]
async fn a_failure_says_why_and_an_arrival_takes_it_back() {
    let house = house().await;
    let (attention, answer) = answered(&house).await;
    let failed = report(&answer, SendState::Failed, |envelope| {
        envelope.error_code = 131_026;
        envelope.error_text = "Message undeliverable".into();
        envelope.reason = "RECIPIENT_UNREACHABLE".into();
    });
    house.delivery.handle(&[failed]).await;
    let message = messages(&house, attention).await.pop().unwrap();
    assert_eq!(message.delivery_state, "failed");
    assert_eq!(message.delivery_detail, "131026 Message undeliverable");
    assert_eq!(message.delivery_reason, "RECIPIENT_UNREACHABLE");
    reported(&house, &answer, &[SendState::Delivered]).await;
    let message = messages(&house, attention).await.pop().unwrap();
    let told =
        (message.delivery_state.as_str(), message.delivery_detail.as_str(), message.delivery_reason.as_str());
    assert_eq!(told, ("delivered", "", ""));
}

pub(super) fn reacts(target: &str, emoji: &str) -> Chat {
    let reaction = WhatsAppReaction { target_wamid: target.into(), emoji: emoji.into() };
    Chat::from(EVA).kind(Kind::Reaction(reaction))
}

fn edits(target: &str, text: &str) -> Chat {
    Chat::from(EVA).kind(Kind::Edit(WhatsAppEdit { target_wamid: target.into(), text: text.into() }))
}

pub(super) fn revokes(target: &str) -> Chat {
    Chat::from(EVA).kind(Kind::Revoke(WhatsAppRevoke { target_wamid: target.into() }))
}

/// What waits for its target, and what never found it or could not be taken by it.
pub(super) async fn fates(house: &House) -> Vec<String> {
    sqlx::query_scalar("SELECT state FROM attention.alteration ORDER BY came_at, ledger_id")
        .fetch_all(house.db.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_change_reaches_its_message_after_before_and_with_it() {
    let now = OffsetDateTime::now_utc();
    let later = now + Duration::seconds(1);
    let first = || Chat::from(EVA).wamid("wamid.1").says("lunes").at(now);
    let change = || edits("wamid.1", "martes").at(later);
    for batches in [
        vec![vec![first()], vec![change()]],
        vec![vec![change()], vec![first()]],
        vec![vec![first(), change()]],
        vec![vec![change(), first()]],
    ] {
        let house = house().await;
        let deliveries: Vec<usize> = batches.iter().map(Vec::len).collect();
        for batch in &batches {
            take(&house, batch).await;
        }
        let seen = only(&house).await;
        let thread = messages(&house, seen.attention_id).await;
        let [message] = thread.as_slice() else { panic!("{thread:?}") };
        let item = message.whatsapp.as_ref().unwrap();
        assert_eq!(
            (message.text.as_str(), item.original_text.as_str()),
            ("martes", "lunes"),
            "{deliveries:?}"
        );
        assert_eq!(item.edited_at, Some(to_proto(later)));
        assert_eq!(fates(&house).await, ["applied"]);
        let preview: String = sqlx::query_scalar("SELECT preview FROM attention.interaction")
            .fetch_one(house.db.pool())
            .await
            .unwrap();
        assert_eq!(preview, "martes", "{deliveries:?}");
    }
}

#[tokio::test]
async fn a_reaction_is_no_message_opens_no_window_and_is_told() {
    let house = house().await;
    take(&house, &[Chat::from(EVA).wamid("wamid.1")]).await;
    let seen = only(&house).await;
    let before = house.events(seen.attention_id).await.len();
    let again = reacts("wamid.1", "👍");
    take(&house, std::slice::from_ref(&again)).await;
    take(&house, &[again.clone(), Chat { delivery_id: Uuid::now_v7(), ..again }]).await;
    assert_eq!(house.events(seen.attention_id).await[before..], ["message_changed"]);
    assert_eq!(only(&house).await.messages, 1);
    let message = messages(&house, seen.attention_id).await.pop().unwrap();
    assert_eq!(message.whatsapp.unwrap().reaction.unwrap().emoji, "👍");
    take(&house, &[reacts("wamid.1", "").at(OffsetDateTime::now_utc() + Duration::seconds(5))]).await;
    let message = messages(&house, seen.attention_id).await.pop().unwrap();
    assert_eq!(message.whatsapp.unwrap().reaction.unwrap().emoji, "");
}

#[tokio::test]
async fn a_revoke_takes_the_words_and_an_edit_of_ours_is_nobodys() {
    let house = house().await;
    let (attention, answer) = answered(&house).await;
    take(&house, &[Chat::from(EVA).wamid("wamid.2").says("mi clave es 1234")]).await;
    take(&house, &[revokes("wamid.2")]).await;
    let thread = messages(&house, attention).await;
    let revoked = thread.iter().find(|one| one.whatsapp.as_ref().unwrap().revoked_at.is_some()).unwrap();
    assert_eq!(revoked.text, "");
    let stored: i64 = house
        .count("SELECT count(*) FROM attention.interaction i, attention.message m
                WHERE i.preview LIKE '%1234%' OR m.text_body LIKE '%1234%' OR position('1234' in encode(m.whatsapp, 'escape')) > 0")
        .await;
    assert_eq!(stored, 0, "what was taken back is nowhere in the conversation");
    let named =
        report(&answer, SendState::Sent, |envelope| envelope.provider_message_id = "wamid.ours".into());
    house.delivery.handle(&[named]).await;
    take(&house, &[edits("wamid.ours", "otra cosa")]).await;
    assert_eq!(fates(&house).await, ["applied", "gone"]);
    let ours = messages(&house, attention).await.into_iter().find(|one| one.message_id == answer).unwrap();
    assert_eq!(ours.text, "Buenos días, ya lo reviso.");
}

#[tokio::test]
async fn a_reaction_to_our_message_waits_until_its_id_is_known() {
    let house = house().await;
    let (attention, answer) = answered(&house).await;
    take(&house, &[reacts("wamid.ours", "❤️")]).await;
    assert_eq!(fates(&house).await, ["waiting"]);
    let named = || report(&answer, SendState::Sent, |one| one.provider_message_id = "wamid.ours".into());
    let delivered =
        report(&answer, SendState::Delivered, |one| one.provider_message_id = "wamid.ours".into());
    let outcomes = house.delivery.handle(&[named(), delivered]).await;
    assert!(outcomes.iter().all(|one| matches!(one, Outcome::Ack)), "{outcomes:?}");
    house.delivery.handle(&[named()]).await;
    assert_eq!(fates(&house).await, ["applied"]);
    let ours = messages(&house, attention).await.into_iter().find(|one| one.message_id == answer).unwrap();
    let item = ours.whatsapp.unwrap();
    assert_eq!((item.wamid.as_str(), item.reaction.unwrap().emoji.as_str()), ("wamid.ours", "❤️"));
    let changed = house.events(attention).await;
    assert_eq!(changed.iter().filter(|name| *name == "message_changed").count(), 1);
    // Whoever replies to it names it.
    let opened = only(&house).await.last_interaction;
    send(&house, "ana", opened, |request| request.message_id = answer.clone()).await.unwrap();
    assert_eq!(outbound(&house).await.last().unwrap().1.reply_to_wamid, "wamid.ours");
}

#[tokio::test]
async fn what_waits_a_week_is_given_up() {
    let house = house().await;
    take(&house, &[reacts("wamid.never", "👍"), reacts("wamid.never", "👎")]).await;
    sqlx::query(
        "UPDATE attention.alteration SET came_at = now() - interval '8 days' WHERE ledger_id =
                 (SELECT ledger_id FROM attention.alteration ORDER BY ledger_id LIMIT 1)",
    )
    .execute(house.db.pool())
    .await
    .unwrap();
    assert_eq!(crate::intake::give_up_waiting(&house.db).await.unwrap(), 1);
    assert_eq!(fates(&house).await, ["gone", "waiting"]);
    assert!(house.attentions().await.is_empty(), "a reaction begins nothing");
}

#[tokio::test]
async fn a_customer_without_a_number_is_found_again_and_answered_by_his_user_id() {
    let house = house().await;
    let nameless = |number: &str| {
        Chat { conversation: Uuid::from_u128(5), ..Chat::from(number) }
            .who(|who| who.user_id = "PE.77".into())
    };
    let hidden = |chat: Chat| {
        chat.who(|who| {
            who.wa_id.clear();
            who.phone.clear();
            who.username = "eva.q".into();
        })
    };
    take(&house, &[hidden(nameless(EVA))]).await;
    // Later his number is known too.
    take(&house, &[nameless(EVA)]).await;
    take(&house, &[hidden(nameless(EVA))]).await;
    let seen = only(&house).await;
    assert_eq!(seen.messages, 3);
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 1);
    assert_eq!(identities(&house).await.len(), 3);
    house.open_item("ana", seen.last_interaction).await;
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();
    let to = outbound(&house).await.pop().unwrap().1.to.unwrap();
    assert_eq!((to.wa_id.as_str(), to.user_id.as_str()), ("", "PE.77"));
}

#[tokio::test]
async fn whoever_gets_the_number_of_another_gets_a_conversation_and_a_contact_of_his_own() {
    let house = house().await;
    let of = |user: &str| Chat::from(EVA).who(|who| who.user_id = user.into());
    take(&house, &[of("PE.1")]).await;
    // The ledger still has the number's conversation.
    take(&house, &[of("PE.2").says("soy otro")]).await;
    take(&house, &[of("PE.2").says("¿hola?")]).await;
    let all = house.attentions().await;
    assert_eq!(all.iter().map(|one| one.messages).collect::<Vec<_>>(), [1, 2]);
    let owners: Vec<(String, i64)> = sqlx::query_as(
        "SELECT value, dense_rank() OVER (ORDER BY contact_id) FROM contact.identity ORDER BY value",
    )
    .fetch_all(house.db.pool())
    .await
    .unwrap();
    let of_first: Vec<&str> = owners.iter().filter(|one| one.1 == 1).map(|one| one.0.as_str()).collect();
    assert_eq!(of_first, ["PE.1"], "the number is the second one's now");
    house.open_item("ana", all[0].last_interaction).await;
    send(&house, "ana", all[0].last_interaction, |_| {}).await.unwrap();
    let to = outbound(&house).await.pop().unwrap().1.to.unwrap();
    assert_eq!((to.wa_id.as_str(), to.user_id.as_str()), ("", "PE.1"), "what is for her does not go to him");
    take(
        &house,
        &[of("PE.1").who(|who| {
            who.wa_id.clear();
            who.phone.clear();
        })],
    )
    .await;
    assert_eq!(house.attentions().await[0].messages, 3, "she is found by what is hers");
}

#[tokio::test]
async fn a_changed_number_leads_to_the_same_contact_and_the_old_one_to_nobody() {
    let house = house().await;
    take(&house, &[Chat::from(EVA)]).await;
    let window: Option<OffsetDateTime> = sqlx::query_scalar("SELECT window_ends_at FROM attention.attention")
        .fetch_one(house.db.pool())
        .await
        .unwrap();
    let new = WhatsAppIdentity {
        wa_id: "51900000001".into(),
        phone: "+51900000001".into(),
        ..WhatsAppIdentity::default()
    };
    let notice = WhatsAppSystem {
        kind: SystemKind::NumberChanged.into(),
        text: "Eva changed from 51987654321 to 51900000001".into(),
        new_identity: Some(new),
    };
    take(&house, &[Chat::from(EVA).kind(Kind::System(notice)).at(OffsetDateTime::now_utc())]).await;
    let seen = only(&house).await;
    assert_eq!(seen.messages, 2, "the notice is seen where a conversation runs");
    let after: Option<OffsetDateTime> = sqlx::query_scalar("SELECT window_ends_at FROM attention.attention")
        .fetch_one(house.db.pool())
        .await
        .unwrap();
    assert_eq!(after, window, "the customer did not write");
    let found: Vec<String> = identities(&house).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(found, ["+51900000001", "51900000001"]);
    house.open_item("ana", seen.last_interaction).await;
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();
    let to = outbound(&house).await.pop().unwrap().1.to.unwrap();
    assert_eq!(to.wa_id, "51900000001", "and never to whoever has the old number now");
    // Whoever has the old number now is somebody else; a notice about nobody begins nothing.
    let stranger = Chat { conversation: Uuid::now_v7(), ..Chat::from(EVA) };
    take(&house, &[stranger]).await;
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 2);
    let nobody = WhatsAppSystem { kind: SystemKind::IdentityChanged.into(), ..WhatsAppSystem::default() };
    let outcomes = offer(&house, &[Chat::from("51933333333").kind(Kind::System(nobody))]).await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Ack]), "{outcomes:?}");
    assert_eq!(house.attentions().await.len(), 2);
}
