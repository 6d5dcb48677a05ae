//! The 24-hour window belongs to a number of ours and a customer: what begins later goes on with it, whoever begins it.

use std::sync::LazyLock;

use hilo_kit::clock::to_proto;
use hilo_proto::contact::v1::MergeContactsRequest;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{SystemKind, WhatsAppIdentity, WhatsAppSystem};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::dialer_rig::{last_send, reported_as, running, step};
use super::templates::{report, reported as template};
use super::whatsapp_rig::{Chat, EVA, only, outbound, send, take};
use super::whatsapp_start::{request, start};
use super::{House, fresh};
use crate::attention::domain::{AttentionId, ContactId};
use crate::dialer::Step;

const OTTO: &str = "51911111111";
const DAY: Duration = Duration::seconds(24 * 3600 - 60);

async fn approve(house: &House) {
    for account in ["chat-wa", "ventas-wa"] {
        let list = vec![template("seguimos", "APPROVED")];
        report(house, account, OffsetDateTime::now_utc(), list).await.unwrap();
    }
}

async fn house() -> House {
    let house = super::whatsapp_rig::house().await;
    approve(&house).await;
    house
}

/// An instant as Meta tells one, the same throughout a run.
fn ago(hours: i64) -> OffsetDateTime {
    static NOW: LazyLock<OffsetDateTime> =
        LazyLock::new(|| OffsetDateTime::now_utc().replace_nanosecond(0).unwrap());
    *NOW - Duration::hours(hours)
}

/// The customer wrote then, and that conversation has ended.
async fn wrote(house: &House, item: Chat) {
    take(house, &[item]).await;
    house.end_item(house.attentions().await.pop().unwrap().last_interaction, true).await;
}

/// Ends of the windows of all attentions by number.
async fn windows(house: &House) -> Vec<Option<OffsetDateTime>> {
    sqlx::query_scalar("SELECT window_ends_at FROM attention.attention ORDER BY number")
        .fetch_all(house.db.pool())
        .await
        .unwrap()
}

async fn newest(house: &House) -> Option<OffsetDateTime> {
    windows(house).await.pop().unwrap()
}

/// An agent of `campaign` begins with this number; answers the end of the window that it has then.
async fn begun(house: &House, user: &str, campaign: &str, number: &str) -> Option<OffsetDateTime> {
    start(house, user, request(campaign, &format!("+{number}"))).await.unwrap();
    newest(house).await
}

/// Without `window::take` in `start` the agent is told `WINDOW_CLOSED`, which is not so.
#[tokio::test]
async fn what_an_agent_begins_goes_on_with_the_window_of_the_customers_last_contact() {
    let house = house().await;
    wrote(&house, Chat::from(EVA).at(ago(2))).await;
    assert_eq!(begun(&house, "ana", "chat", EVA).await, Some(ago(2) + DAY));
    let seen = house.attentions().await.pop().unwrap();
    assert_eq!(
        house.events(seen.attention_id).await,
        ["attention_opened", "interaction_started", "message_queued", "window_expiry_announced"]
    );
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();
    let sent = outbound(&house).await;
    let ends: Vec<_> = sent.into_iter().map(|(_, item)| item.window_ends_at).collect();
    assert_eq!(ends, [None, Some(to_proto(ago(2) + DAY))], "the template may leave whenever it can");
    take(&house, &[Chat::from(EVA).at(ago(1))]).await;
    assert_eq!(newest(&house).await, Some(ago(1) + DAY), "his next message moves it");
}

/// Without `ends_at >` in `open` and without the account in it a text goes out that Meta refuses.
#[tokio::test]
async fn a_window_that_is_over_or_of_another_number_of_ours_is_not_taken_over() {
    let house = house().await;
    wrote(&house, Chat::from(EVA).at(ago(25))).await;
    assert_eq!(begun(&house, "ana", "chat", EVA).await, None);
    let seen = house.attentions().await.pop().unwrap();
    assert_eq!(
        send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap_err().reason(),
        "WINDOW_CLOSED"
    );
    wrote(&house, Chat::from(OTTO).at(ago(1))).await;
    assert_eq!(begun(&house, "rosa", "ventas-chat", OTTO).await, None);
    sqlx::query("UPDATE attention.chat_window SET ends_at = clock_timestamp()")
        .execute(house.db.pool())
        .await
        .unwrap();
    assert_eq!(begun(&house, "luis", "chat", OTTO).await, None, "over by the database's clock");
}

/// Without the greatest of what is known the agent of the later attention is told a window that is too short.
#[tokio::test]
async fn an_item_that_comes_late_begins_with_the_window_of_what_he_wrote_since() {
    let house = house().await;
    wrote(&house, Chat::from(EVA).at(ago(1))).await;
    take(&house, &[Chat::from(EVA).at(ago(5)).says("lo de antes")]).await;
    assert_eq!(windows(&house).await, [Some(ago(1) + DAY), Some(ago(1) + DAY)]);
    let seen = house.attentions().await.pop().unwrap();
    let told = house.events(seen.attention_id).await;
    assert_eq!(told.iter().filter(|event| *event == "window_expiry_announced").count(), 1);
}

/// Without `window::take` in `taken_over` what an agent takes over from a dialer is closed, and nothing of it may open by the row alone.
#[tokio::test]
async fn the_row_of_a_dialer_has_no_window_and_who_takes_it_over_has() {
    let house = super::dialer_rig::house().await;
    wrote(&house, Chat::from(EVA).at(ago(3))).await;
    let dialer = running(&house, &[EVA]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
    let waiting: Uuid =
        sqlx::query_scalar("SELECT attention_id FROM attention.attention WHERE state = 'waiting'")
            .fetch_one(house.db.pool())
            .await
            .unwrap();
    assert_eq!(newest(&house).await, None);
    assert_eq!(house.events(waiting).await, ["attention_opened", "message_queued"]);
    assert_eq!(outbound(&house).await.pop().unwrap().1.window_ends_at, None);
    approve(&house).await;
    assert_eq!(begun(&house, "ana", "chat", EVA).await, Some(ago(3) + DAY));
    let seen = house.attentions().await.pop().unwrap();
    assert_eq!(seen.attention_id, waiting);
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();
}

/// Without `window::merged` the window goes with the contact that is gone.
#[tokio::test]
async fn who_is_merged_keeps_his_window_and_two_telephones_have_one_each() {
    let house = house().await;
    wrote(&house, Chat::from(EVA).at(ago(30))).await;
    wrote(&house, Chat::from(OTTO).at(ago(2))).await;
    let contacts: Vec<Uuid> =
        sqlx::query_scalar("SELECT contact_id FROM attention.attention ORDER BY number")
            .fetch_all(house.db.pool())
            .await
            .unwrap();
    let merge = MergeContactsRequest {
        contact_id: contacts[0].to_string(),
        version: 1,
        merged_contact_id: contacts[1].to_string(),
        merged_version: 1,
        request_id: fresh(),
    };
    let coordinator = super::dialer_rig::who(&[crate::directory::Role::Coordinator], &[]);
    super::contact_changes::contacts(&house).merge(coordinator, merge).await.unwrap();
    assert_eq!(begun(&house, "ana", "chat", EVA).await, None, "he did not write from this one");
    let seen = house.attentions().await.pop().unwrap();
    house.end_item(seen.last_interaction, true).await;
    assert_eq!(begun(&house, "ana", "chat", OTTO).await, Some(ago(2) + DAY));
}

/// Without the contact in `open` whoever has the number next is written to as if he had asked.
#[tokio::test]
async fn a_number_that_passes_on_leaves_the_window_behind() {
    let house = house().await;
    wrote(&house, Chat::from(EVA).at(ago(1))).await;
    let new =
        WhatsAppIdentity { wa_id: OTTO.into(), phone: format!("+{OTTO}"), ..WhatsAppIdentity::default() };
    let system = WhatsAppSystem {
        kind: SystemKind::NumberChanged.into(),
        text: "Eva changed her number".into(),
        new_identity: Some(new),
    };
    take(&house, &[Chat::from(EVA).kind(Kind::System(system))]).await;
    assert_eq!(begun(&house, "ana", "chat", EVA).await, None, "somebody else's from now on");
    assert_eq!(begun(&house, "luis", "chat", OTTO).await, None, "she has not written from the new one");
    take(&house, &[Chat::from(OTTO).at(ago(0)).says("soy Eva")]).await;
    assert!(newest(&house).await.is_some());
    // What the former owner wrote, and comes late, is not the window of the next one.
    take(&house, &[Chat::from(EVA).who(|who| who.user_id = "PE.7".into()).at(ago(4)).says("soy Zoe")]).await;
    let of_zoe: i64 = house.count("SELECT count(DISTINCT contact_id) FROM attention.chat_window").await;
    assert_eq!(of_zoe, 2, "the number's window is hers who wrote last, and Zoe's own id is new");
}

/// Without `window::take` in the handler of DELIVERY the conversation that reaches her under another id stays closed; a customer who
/// answered under such an id is the same user when the number is dialled again.
#[tokio::test]
async fn a_number_that_meta_knows_by_other_digits_has_the_window_of_those() {
    const DIALLED: &str = "525512345678";
    const WA_ID: &str = "5215512345678";
    let house = house().await;
    wrote(&house, Chat::from(WA_ID).at(ago(2))).await;
    assert_eq!(begun(&house, "ana", "chat", DIALLED).await, None, "nobody knows yet whom it reaches");
    let reached = WhatsAppIdentity { wa_id: WA_ID.into(), ..WhatsAppIdentity::default() };
    let sent = last_send(&house).await;
    reported_as(&house, &sent, SendState::Sent, |envelope| envelope.reached = Some(reached)).await;
    assert_eq!(newest(&house).await, Some(ago(2) + DAY));
    let seen = house.attentions().await.pop().unwrap();
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();

    let house = super::whatsapp_window::house().await;
    start(&house, "ana", request("chat", &format!("+{DIALLED}"))).await.unwrap();
    let reached = WhatsAppIdentity { wa_id: WA_ID.into(), ..WhatsAppIdentity::default() };
    let sent = last_send(&house).await;
    reported_as(&house, &sent, SendState::Sent, |envelope| envelope.reached = Some(reached)).await;
    take(&house, &[Chat::from(WA_ID).at(ago(1))]).await;
    let seen = only(&house).await;
    house.end_item(seen.last_interaction, true).await;
    assert_eq!(begun(&house, "ana", "chat", DIALLED).await, Some(ago(1) + DAY));
}

#[tokio::test]
async fn windows_that_are_over_are_forgotten() {
    let house = house().await;
    take(&house, &[Chat::from(EVA), Chat::from(OTTO)]).await;
    sqlx::query("UPDATE attention.chat_window SET ends_at = now() - interval '1 second' WHERE identity = $1")
        .bind(EVA)
        .execute(house.db.pool())
        .await
        .unwrap();
    crate::intake::give_up_waiting(&house.db).await.unwrap();
    let left: Vec<String> = sqlx::query_scalar("SELECT identity FROM attention.chat_window")
        .fetch_all(house.db.pool())
        .await
        .unwrap();
    assert_eq!(left, [OTTO]);
}

/// More than one look: what is over on any page goes, what is open stays.
#[tokio::test]
async fn windows_are_forgotten_page_by_page() {
    let house = house().await;
    let many = "INSERT INTO attention.chat_window (identity, account_key, contact_id, ends_at)
                SELECT n::text, 'chat-wa', gen_random_uuid(), now() + CASE WHEN n % 5 = 0 THEN 1 ELSE -1 END * interval '1 hour'
                FROM generate_series(1, 53) AS n";
    sqlx::raw_sql(many).execute(house.db.pool()).await.unwrap();
    assert_eq!(crate::intake::forget_windows(&house.db, 10).await.unwrap(), 43);
    assert_eq!(house.count("SELECT count(*) FROM attention.chat_window WHERE ends_at > now()").await, 10);
    assert_eq!(house.count("SELECT count(*) FROM attention.chat_window").await, 10);
}

/// A second telephone of his, which a person noted, has a window of its own: without the look at its digits in `named::user` an agent is
/// told that of the first, and his text fails at Meta.
#[tokio::test]
async fn a_telephone_that_a_person_noted_has_no_window_of_the_other() {
    let house = house().await;
    wrote(&house, Chat::from(EVA).who(|who| who.user_id = "PE.1".into()).at(ago(1))).await;
    let second = "INSERT INTO contact.identity (kind, value, contact_id) SELECT 'phone', '+51911111111', contact_id FROM contact.contact";
    sqlx::raw_sql(second).execute(house.db.pool()).await.unwrap();
    assert_eq!(begun(&house, "ana", "chat", OTTO).await, None);
    let seen = house.attentions().await.pop().unwrap();
    let sent = send(&house, "ana", seen.last_interaction, |_| {}).await;
    assert_eq!(sent.unwrap_err().reason(), "WINDOW_CLOSED");
}

/// Without the contact in `window_ends_at` her attention gets the window of who has her number by now, when both are read in one batch.
#[tokio::test]
async fn in_one_batch_nobody_gets_the_window_of_who_has_the_number_next() {
    let house = house().await;
    let of = |user: &'static str, hours: i64| Chat {
        conversation: Uuid::now_v7(),
        ..Chat::from(EVA).who(|who| who.user_id = user.into()).at(ago(hours))
    };
    take(&house, &[of("PE.1", 9), of("PE.2", 1)]).await;
    assert_eq!(windows(&house).await, [Some(ago(9) + DAY), Some(ago(1) + DAY)]);
}

/// Each half of `open` is looked up by key: together in one condition they read the windows of everybody.
#[tokio::test]
async fn the_window_of_one_customer_is_found_by_its_key() {
    let house = house().await;
    let many = "INSERT INTO attention.chat_window (identity, account_key, contact_id, ends_at)
                SELECT n::text, 'chat-wa', gen_random_uuid(), now() FROM generate_series(1, 20000) AS n";
    sqlx::raw_sql(many).execute(house.db.pool()).await.unwrap();
    sqlx::raw_sql("ANALYZE attention.chat_window").execute(house.db.pool()).await.unwrap();
    let open = house.db.transaction(|tx| {
        Box::pin(async move {
            let (nobody, attention) = (ContactId(Uuid::now_v7()), AttentionId::new());
            let now = OffsetDateTime::now_utc();
            crate::attention::store::window::open(tx, "chat-wa", (nobody, &["7".to_owned()]), attention, now).await?;
            let plans = "SELECT count(*) FROM pg_stat_xact_user_tables WHERE relname = 'chat_window' AND seq_scan > 0";
            Ok::<i64, hilo_kit::Error>(sqlx::query_scalar(plans).fetch_one(tx).await?)
        })
    });
    assert_eq!(open.await.unwrap(), 0, "the whole table was read");
}
