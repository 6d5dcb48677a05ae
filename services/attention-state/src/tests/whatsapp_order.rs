//! Deliveries of WhatsApp items that meet each other: busy ones, repeats, batches that change whose a number is, and placeholders of
//! what no customer wrote.

use hilo_kit::consumer::{BatchHandler, Outcome};
use hilo_proto::delivery::v1::SendState;
use hilo_proto::inbound::v1::WhatsAppPlaceholder;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use uuid::Uuid;

use super::whatsapp_changes::{answered, reacts, report};
use super::whatsapp_rig::{Chat, EVA, house, messages, offer, take};
use super::{House, Mail};

fn of(user: &str) -> Chat {
    Chat::from(EVA).who(|who| who.user_id = user.into())
}

async fn in_inbox(house: &House, delivery: Uuid) -> bool {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM kit.inbox WHERE consumer = 'attention-intake' AND id = $1)",
    )
    .bind(delivery)
    .fetch_one(house.db.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn what_is_busy_stays_busy_though_the_batch_changes_whose_the_number_is() {
    let house = house().await;
    take(&house, &[of("PE.1")]).await;
    take(&house, &[of("PE.2").says("soy otro")]).await;
    let [_, second] = &house.attentions().await[..] else { panic!("two conversations of one number") };
    let mut other = house.db.pool().begin().await.unwrap();
    sqlx::query("SELECT 1 FROM attention.attention WHERE attention_id = $1 FOR UPDATE")
        .bind(second.attention_id)
        .execute(&mut *other)
        .await
        .unwrap();
    // The number goes back to the first one in this batch; before it the second item is for the conversation that is locked.
    let nameless = Chat::from(EVA).says("¿hola?");
    let outcomes = offer(&house, &[of("PE.1").says("de vuelta"), nameless.clone()]).await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Ack, Outcome::Busy]), "{outcomes:?}");
    assert!(!in_inbox(&house, nameless.delivery_id).await);
    other.rollback().await.unwrap();
    take(&house, &[nameless]).await;
    let total: i64 = house.attentions().await.iter().map(|one| one.messages).sum();
    assert_eq!(total, 4, "nothing was lost");
}

#[tokio::test]
async fn a_repeat_under_another_delivery_is_known_to_whoever_hands_it_over() {
    let house = house().await;
    let first = Chat::from(EVA);
    take(&house, std::slice::from_ref(&first)).await;
    let again = Chat { delivery_id: Uuid::now_v7(), ..first };
    let in_another_row = Chat { delivery_id: Uuid::now_v7(), ledger: Uuid::now_v7(), ..again.clone() };
    take(&house, &[again.clone(), in_another_row.clone()]).await;
    assert!(in_inbox(&house, again.delivery_id).await);
    assert!(in_inbox(&house, in_another_row.delivery_id).await);
    let mail = Mail::from("eva@cliente.example");
    house.take(std::slice::from_ref(&mail)).await;
    let again = Mail { delivery_id: Uuid::now_v7(), ..mail };
    house.take(std::slice::from_ref(&again)).await;
    assert!(in_inbox(&house, again.delivery_id).await, "as of mails");
}

#[tokio::test]
async fn a_full_conversation_beside_a_former_owners_goes_on_in_another() {
    let house = house().await;
    take(&house, &[of("PE.1")]).await;
    take(&house, &[of("PE.2").says("soy otro")]).await;
    let second = house.attentions().await.pop().unwrap();
    sqlx::query("UPDATE attention.interaction SET message_count = 5000 WHERE interaction_id = $1")
        .bind(second.last_interaction)
        .execute(house.db.pool())
        .await
        .unwrap();
    take(&house, &[of("PE.2").says("¿sigue ahí?")]).await;
    let all = house.attentions().await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[2].linked_attention_id, Some(second.attention_id));
}

#[tokio::test]
async fn a_changed_message_is_told_with_the_state_it_has_by_then() {
    let house = house().await;
    let (_, answer) = answered(&house).await;
    take(&house, &[reacts("wamid.ours", "❤️")]).await;
    let named = report(&answer, SendState::Sent, |one| one.provider_message_id = "wamid.ours".into());
    house.delivery.handle(&[named]).await;
    let told: Vec<String> = sqlx::query_scalar(
        "SELECT convert_from(payload, 'UTF8') FROM kit.outbox_log WHERE subject LIKE '%.message_changed'",
    )
    .fetch_all(house.db.pool())
    .await
    .unwrap();
    let [event] = told.as_slice() else { panic!("{told:?}") };
    assert!(event.contains("\"deliveryState\":\"sent\""), "{event}");
}

/// Windows that are open.
async fn windows(house: &House) -> i64 {
    house.count("SELECT count(*) FROM attention.attention WHERE window_ends_at > now()").await
}

#[tokio::test]
async fn what_is_told_of_a_customer_is_no_message_of_his() {
    let odd = |named: &str| {
        let placeholder = WhatsAppPlaceholder { r#type: named.into(), ..WhatsAppPlaceholder::default() };
        Chat::from(EVA).kind(Kind::Placeholder(placeholder))
    };
    for (named, wrote) in [
        ("group", false),
        ("group_participants_update", false),
        ("system", false),
        ("system/customer_identity_changed", false),
        ("edit", false),
        ("revoke", false),
        ("reaction", false),
        ("unsupported", true),
        ("unknown", true),
        ("call", true),
        ("editorial", true),
        ("interactive", true),
    ] {
        let house = house().await;
        take(&house, &[odd(named)]).await;
        assert_eq!(house.attentions().await.len(), usize::from(wrote), "{named}");
        take(&house, &[Chat::from(EVA)]).await;
        assert_eq!(windows(&house).await, 1);
        sqlx::query("UPDATE attention.attention SET window_ends_at = now() - interval '1 hour'")
            .execute(house.db.pool())
            .await
            .unwrap();
        take(&house, &[odd(named)]).await;
        let opened = windows(&house).await;
        assert_eq!(opened, i64::from(wrote), "{named}: the window");
        let attention = house.attentions().await.pop().unwrap().attention_id;
        let last = messages(&house, attention).await.pop().unwrap();
        assert_eq!(
            last.whatsapp.unwrap().kind,
            "placeholder",
            "{named}: it is seen where a conversation runs"
        );
    }
}
