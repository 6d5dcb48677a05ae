//! WhatsApp out of hours, and conversations whose agent went away.

use std::sync::Arc;

use hilo_kit::nats::Subjects;
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use time::{Duration, OffsetDateTime};

use super::whatsapp_rig::{
    Chat, EVA, directory, house as at_all_hours, messages, only, outbound, send, take,
};
use super::{House, THREAD_KEY};
use crate::assignment::orphans;
use crate::attention::automatic::Replies;
use crate::attention::envelope::Post;
use crate::directory::testing::{apply, database};

const TEXT: &str = "Recibimos su mensaje; volvemos el lunes.";

/// `chat` is closed for ever.
async fn house() -> House {
    let db = database().await;
    let open = "accounts: [chat-wa], members: [ana, luis], assignment_mode: round_robin}";
    let closed = format!(
        "accounts: [chat-wa], members: [ana, luis], assignment_mode: round_robin, \
         hours: {{weekly: {{monday: []}}, automatic_reply: \"{TEXT}\"}}}}"
    );
    let text = directory();
    assert!(text.contains(open));
    apply(&db, &text.replacen(open, &closed, 1)).await;
    House::at(db)
}

/// What was settled, oldest first.
async fn settled(house: &House) -> Vec<String> {
    let post = Post {
        subjects: Arc::new(Subjects::new("hilo").unwrap()),
        thread_key: Arc::new(THREAD_KEY.to_vec()),
        objects: None,
    };
    Replies::new(house.db.clone(), post).all().await.unwrap();
    sqlx::query_scalar(
        "SELECT CASE reply.state WHEN 'withheld' THEN reply.reason ELSE reply.state END
         FROM attention.automatic_reply AS reply JOIN attention.attention USING (attention_id) ORDER BY number",
    )
    .fetch_all(house.db.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn who_writes_out_of_hours_gets_one_text_by_attention_and_day() {
    let house = house().await;
    take(&house, &[Chat::from(EVA), Chat::from(EVA).says("¿hola?")]).await;
    assert_eq!(settled(&house).await, ["sent"]);
    take(&house, &[Chat::from(EVA).says("¿están?")]).await;
    assert_eq!(settled(&house).await, ["sent"]);
    let sent = outbound(&house).await;
    let [(envelope, item)] = sent.as_slice() else { panic!("{sent:?}") };
    assert!(matches!(&item.kind, Some(Kind::Text(text)) if text.body == TEXT), "{item:?}");
    assert_eq!((item.to.as_ref().unwrap().wa_id.as_str(), envelope.sequence), (EVA, 1));
    assert!(item.window_ends_at.is_some());
    assert!(!item.bulk, "the customer waits for it");
    let seen = only(&house).await;
    let message = messages(&house, seen.attention_id).await.into_iter().find(|one| one.text == TEXT).unwrap();
    assert_eq!((message.agent_key.as_str(), message.delivery_state.as_str()), ("", "queued"));
    let marked = house.count("SELECT count(*) FROM attention.interaction WHERE out_of_hours").await;
    assert_eq!(marked, 1);
    house.end_item(seen.last_interaction, true).await;
    take(&house, &[Chat::from(EVA).says("otra cosa")]).await;
    assert_eq!(settled(&house).await, ["sent", "within_a_day"]);
}

#[tokio::test]
async fn nothing_is_answered_after_the_window_or_when_an_agent_was_faster() {
    let house = house().await;
    take(&house, &[Chat::from(EVA).at(OffsetDateTime::now_utc() - Duration::hours(25))]).await;
    assert_eq!(settled(&house).await, ["window_closed"]);
    let otto = "51911111111";
    take(&house, &[Chat::from(otto)]).await;
    let second = house.attentions().await.pop().unwrap();
    house.open_item("ana", second.last_interaction).await;
    send(&house, "ana", second.last_interaction, |_| {}).await.unwrap();
    assert_eq!(settled(&house).await, ["window_closed", "answered"]);
    assert_eq!(outbound(&house).await.len(), 1);
}

#[tokio::test]
async fn a_conversation_whose_agent_went_away_returns_to_the_queue() {
    let house = at_all_hours().await;
    take(&house, &[Chat::from(EVA)]).await;
    let seen = only(&house).await;
    house.open_item("ana", seen.last_interaction).await;
    for sql in [
        "UPDATE directory.campaign SET orphan_timeout_seconds = 60 WHERE campaign_key = 'chat'",
        "UPDATE attention.interaction SET opened_at = now() - interval '2 h'",
        "INSERT INTO assignment.agent_state (agent_key, absent_since) VALUES ('ana', now() - interval '61 s')
         ON CONFLICT (agent_key) DO UPDATE SET absent_since = excluded.absent_since",
    ] {
        sqlx::query(sql).execute(house.db.pool()).await.unwrap();
    }
    let subjects = Arc::new(Subjects::new("hilo").unwrap());
    assert_eq!(orphans::all(&house.db, &subjects).await.unwrap(), 1);
    assert_eq!(only(&house).await.interactions, ["queued"]);
    assert_eq!(house.events(seen.attention_id).await.last().unwrap(), "interaction_orphaned");
    let refused = send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap_err();
    assert_eq!(refused.reason(), "NOT_OPEN");
    house.open_item("luis", seen.last_interaction).await;
    send(&house, "luis", seen.last_interaction, |_| {}).await.unwrap();
}
