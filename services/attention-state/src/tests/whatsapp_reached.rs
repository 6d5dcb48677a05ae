//! Meta knows some customers by another WhatsApp id than the digits of the number that was dialled: what we began goes on where they
//! answer, and goes to the same number until they do.

use hilo_proto::attention::v1::chat_content::Kind;
use hilo_proto::attention::v1::{RetryMessageRequest, SendMessageRequest, StartAttentionRequest};
use hilo_proto::delivery::v1::SendState;
use hilo_proto::dialer::v1::RowState;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use time::OffsetDateTime;
use uuid::Uuid;

use super::dialer_rig::{attentions, house, last_send, reported, reported_as, row, running, sql, step};
use super::templates::{report, reported as template};
use super::whatsapp_kinds::{content, greeting};
use super::whatsapp_rig::{Chat, identities, messages, only, outbound, send, take};
use super::whatsapp_start::{request, start};
use super::{House, fresh};
use crate::dialer::Step;

/// A number of Mexico as it is dialled, and its WhatsApp id.
const DIALLED: &str = "525512345678";
const WA_ID: &str = "5215512345678";
/// Of somebody who had that WhatsApp id before.
const NEW: &str = "5215587654321";

/// From now on agents have a template instead of that of the dialers.
async fn for_agents(house: &House) {
    let list = vec![template("seguimos", "APPROVED")];
    report(house, "chat-wa", OffsetDateTime::now_utc(), list).await.unwrap();
}

async fn with_agents() -> House {
    let house = super::whatsapp_rig::house().await;
    for_agents(&house).await;
    house
}

fn who(wa_id: &str, user_id: &str) -> WhatsAppIdentity {
    WhatsAppIdentity { wa_id: wa_id.into(), user_id: user_id.into(), ..WhatsAppIdentity::default() }
}

/// The channel says that the newest send goes to somebody.
async fn reaches(house: &House, who: WhatsAppIdentity) {
    let sent = last_send(house).await;
    reported_as(house, &sent, SendState::Sent, |envelope| envelope.reached = Some(who)).await;
}

async fn contacts(house: &House) -> i64 {
    house.count("SELECT count(*) FROM contact.contact WHERE merged_into IS NULL").await
}

async fn links(house: &House) -> i64 {
    house.count("SELECT count(*) FROM attention.reached").await
}

/// A row of a dialer to the number as it is dialled.
async fn dialled(house: &House) -> Uuid {
    let dialer = running(house, &[DIALLED]).await;
    assert_eq!(step(house, dialer).await, Step::Sent);
    dialer
}

/// A customer who wrote from the WhatsApp id before, and whose attention has ended; answers his contact.
async fn known_before(house: &House, user_id: &str) -> Uuid {
    take(house, &[Chat::from(WA_ID).who(|who| who.user_id = user_id.into())]).await;
    house.end_item(only(house).await.last_interaction, true).await;
    sqlx::query_scalar("SELECT contact_id FROM contact.identity WHERE kind = 'whatsapp'")
        .fetch_one(house.db.pool())
        .await
        .unwrap()
}

/// Without `reached.settle` in the handler of DELIVERY the answer begins a second conversation.
#[tokio::test]
async fn the_answer_to_an_agent_joins_what_he_began() {
    let house = with_agents().await;
    start(&house, "ana", request("chat", &format!("+{DIALLED}"))).await.unwrap();
    reaches(&house, who(WA_ID, "")).await;
    let known: Vec<(String, String)> =
        [("phone", format!("+{DIALLED}")), ("whatsapp", WA_ID.to_owned())].map(|(a, b)| (a.into(), b)).into();
    assert_eq!(identities(&house).await, known);
    take(&house, &[Chat::from(WA_ID).says("sí, dígame")]).await;
    let seen = only(&house).await;
    assert_eq!((seen.messages, contacts(&house).await, links(&house).await), (2, 1, 0));
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();
    assert_eq!(outbound(&house).await.pop().unwrap().1.to.unwrap().wa_id, WA_ID);
}

#[tokio::test]
async fn the_answer_to_a_dialer_is_the_answer_of_its_row() {
    let house = house().await;
    let dialer = dialled(&house).await;
    reaches(&house, who(WA_ID, "MX.1")).await;
    // He may answer under either.
    let hidden = Chat::from(WA_ID).who(|who| {
        who.wa_id.clear();
        who.phone.clear();
        who.user_id = "MX.1".into();
    });
    take(&house, &[hidden]).await;
    assert_eq!(attentions(&house).await, [("open".to_owned(), 1)]);
    assert_eq!((row(&house, dialer).await.state(), contacts(&house).await), (RowState::Answered, 1));
}

/// A report that comes a second time, under the same id, must not take an id that belongs to somebody else by now.
#[tokio::test]
async fn what_was_taken_before_says_nothing_again() {
    let house = house().await;
    dialled(&house).await;
    let sent = last_send(&house).await;
    let told = super::dialer_rig::report(&sent, SendState::Sent, |envelope| {
        envelope.reached = Some(who(WA_ID, ""));
    });
    let again = || hilo_kit::consumer::BatchHandler::handle(&house.delivery, std::slice::from_ref(&told));
    again().await;
    sql(&house, "DELETE FROM contact.identity WHERE kind = 'whatsapp'").await;
    again().await;
    assert_eq!(identities(&house).await.len(), 1);
}

/// Without `note` in `reached` the answer begins a second conversation; without the second half of `live_chats` as well.
#[tokio::test]
async fn a_customer_who_is_another_contact_answers_there_and_nobody_is_merged() {
    let house = house().await;
    let before = known_before(&house, "MX.1").await;
    let dialer = dialled(&house).await;
    reaches(&house, who(WA_ID, "")).await;
    assert_eq!((contacts(&house).await, links(&house).await), (2, 1));
    take(&house, &[Chat::from(WA_ID).who(|who| who.user_id = "MX.1".into()).says("Sí")]).await;
    assert_eq!(attentions(&house).await, [("closed".to_owned(), 1), ("open".to_owned(), 1)]);
    assert_eq!((row(&house, dialer).await.state(), contacts(&house).await), (RowState::Answered, 2));
    let seen = house.attentions().await.pop().unwrap();
    house.open_item("ana", seen.last_interaction).await;
    // He is answered where he wrote from, although another contact has that.
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();
    assert_eq!(outbound(&house).await.pop().unwrap().1.to.unwrap().wa_id, WA_ID);
    for_agents(&house).await;
    // Under either contact the conversation with him runs already.
    let by_contact = StartAttentionRequest {
        whatsapp: request("chat", "").whatsapp.map(|mut chat| {
            chat.contact_id = before.to_string();
            chat
        }),
        ..request("chat", "")
    };
    for again in [request("chat", &format!("+{DIALLED}")), request("chat", &format!("+{WA_ID}")), by_contact]
    {
        assert_eq!(start(&house, "luis", again).await.unwrap_err().reason(), "LIVE_ATTENTION");
    }
}

#[tokio::test]
async fn another_contact_may_answer_late_and_be_merged_meanwhile() {
    let house = house().await;
    let before = known_before(&house, "").await;
    let dialer = dialled(&house).await;
    reaches(&house, who(WA_ID, "")).await;
    sql(&house, "UPDATE dialer.row SET due_at = now() - interval '1 second'").await;
    let subjects = hilo_kit::nats::Subjects::new("hilo").unwrap();
    assert_eq!(crate::dialer::give_up(&house.db, &subjects).await.unwrap(), 1);
    // A person makes one of that contact and a third one.
    let third = Uuid::now_v7();
    sqlx::query("INSERT INTO contact.contact (contact_id, name) VALUES ($1, 'Eva')")
        .bind(third)
        .execute(house.db.pool())
        .await
        .unwrap();
    let merge = hilo_proto::contact::v1::MergeContactsRequest {
        contact_id: third.to_string(),
        version: 1,
        merged_contact_id: before.to_string(),
        merged_version: 1,
        request_id: fresh(),
    };
    let coordinator = super::dialer_rig::who(&[crate::directory::Role::Coordinator], &[]);
    super::contact_changes::contacts(&house).merge(coordinator, merge).await.unwrap();
    take(&house, &[Chat::from(WA_ID).says("Perdón, recién leo")]).await;
    let answered = row(&house, dialer).await;
    assert_eq!((answered.state(), answered.answer_attention_id.is_empty()), (RowState::Answered, false));
}

/// Without `may_be` in `reach` his id, and with it the conversation, would be those of somebody else.
#[tokio::test]
async fn who_has_the_number_now_and_is_another_person_gets_nothing_of_it() {
    let house = house().await;
    // Eva dials in from the number, then it passes to Zoe.
    let eva = Chat::from(DIALLED).who(|who| who.user_id = "MX.1".into());
    take(&house, &[eva]).await;
    house.end_item(only(&house).await.last_interaction, true).await;
    dialled(&house).await;
    reaches(&house, who(WA_ID, "MX.9")).await;
    assert_eq!(
        house.count("SELECT count(*) FROM contact.identity WHERE value IN ('MX.9', '5215512345678')").await,
        0
    );
    take(&house, &[Chat::from(WA_ID).who(|who| who.user_id = "MX.9".into()).says("soy Zoe")]).await;
    let states: Vec<String> = attentions(&house).await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["closed", "waiting", "open"]);
}

/// Without `are_two` in `reach` Otto's answer would land in what was written to Eva; without the contact in `attention.reached` so would
/// that of whoever gets his number next.
#[tokio::test]
async fn what_reaches_one_contact_reaches_neither_another_person_nor_the_next_owner() {
    let house = house().await;
    known_before(&house, "MX.2").await;
    let eva = Chat::from(DIALLED).who(|who| who.user_id = "MX.1".into());
    take(&house, &[eva]).await;
    house.end_item(house.attentions().await.pop().unwrap().last_interaction, true).await;
    dialled(&house).await;
    reaches(&house, who(WA_ID, "")).await;
    assert_eq!(links(&house).await, 0, "two user ids are two persons");

    let house = super::dialer_rig::house().await;
    known_before(&house, "MX.2").await;
    dialled(&house).await;
    reaches(&house, who(WA_ID, "")).await;
    take(&house, &[Chat::from(WA_ID).who(|who| who.user_id = "MX.3".into()).says("soy nuevo")]).await;
    let states: Vec<String> = attentions(&house).await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["closed", "waiting", "open"]);
}

/// The WhatsApp id has passed on, and nobody said so: its former owner is known by it still, and by his new one; answers his contact.
async fn moved_away(house: &House) -> Uuid {
    let before = known_before(house, "MX.1").await;
    sql(
        house,
        "INSERT INTO contact.identity (kind, value, contact_id, created_at)
         SELECT v.kind, v.value, contact_id, now() + interval '1 second'
         FROM contact.contact, (VALUES ('whatsapp', '5215587654321'), ('phone', '+5215587654321')) AS v (kind, value)",
    )
    .await;
    before
}

/// Without `meets` in `takes` the former owner of an id would land in what was written to whoever has it now.
#[tokio::test]
async fn another_contact_answers_only_from_the_id_that_meta_named() {
    let cases: [(&str, &[&str], RowState); 2] = [
        (NEW, &["closed", "waiting", "open"], RowState::Sent),
        (WA_ID, &["closed", "open"], RowState::Answered),
    ];
    for (from, states, becomes) in cases {
        let house = house().await;
        moved_away(&house).await;
        let dialer = dialled(&house).await;
        reaches(&house, who(WA_ID, "")).await;
        take(&house, &[Chat::from(from).who(|who| who.user_id = "MX.1".into())]).await;
        let seen: Vec<String> = attentions(&house).await.into_iter().map(|(state, _)| state).collect();
        assert_eq!(
            (seen, row(&house, dialer).await.state()),
            (states.iter().map(|one| (*one).into()).collect(), becomes),
            "{from}"
        );
        assert_eq!(contacts(&house).await, 2, "{from}");
    }
}

/// Without `meets` in `take_unanswered` the first would be the answer too.
#[tokio::test]
async fn another_contact_answers_late_only_from_the_id_that_meta_named() {
    for (from, answers) in [(NEW, false), (WA_ID, true)] {
        let house = house().await;
        moved_away(&house).await;
        let dialer = dialled(&house).await;
        reaches(&house, who(WA_ID, "")).await;
        sql(&house, "UPDATE dialer.row SET due_at = now() - interval '1 second'").await;
        let subjects = hilo_kit::nats::Subjects::new("hilo").unwrap();
        assert_eq!(crate::dialer::give_up(&house.db, &subjects).await.unwrap(), 1);
        take(&house, &[Chat::from(from).who(|who| who.user_id = "MX.1".into())]).await;
        let found = row(&house, dialer).await;
        assert_eq!(
            (found.state() == RowState::Answered, !found.answer_attention_id.is_empty()),
            (answers, answers),
            "{from}"
        );
    }
}

/// Without `takes` in `one` of dialers and in `start` the first would be skipped and the second take over what was sent to a stranger.
#[tokio::test]
async fn what_reaches_his_former_number_hinders_nobody_from_writing_to_the_new_one() {
    let house = house().await;
    moved_away(&house).await;
    let dialer = running(&house, &[DIALLED, NEW]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
    reaches(&house, who(WA_ID, "")).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);

    let house = super::dialer_rig::house().await;
    let other = moved_away(&house).await;
    let dialer = dialled(&house).await;
    reaches(&house, who(WA_ID, "")).await;
    for_agents(&house).await;
    let mut wish = request("chat", "");
    wish.whatsapp.as_mut().unwrap().contact_id = other.to_string();
    start(&house, "ana", wish).await.unwrap();
    assert_eq!(outbound(&house).await.pop().unwrap().1.to.unwrap().wa_id, NEW);
    assert_eq!(row(&house, dialer).await.state(), RowState::Sent);
}

/// Without the identity in `reached::contacts` it would go to whatever number of his he wrote from. A note of an earlier release has none.
#[tokio::test]
async fn an_answer_goes_to_another_contact_only_at_the_id_that_meta_named() {
    let house = house().await;
    known_before(&house, "").await;
    dialled(&house).await;
    reaches(&house, who(WA_ID, "")).await;
    take(&house, &[Chat::from(WA_ID)]).await;
    let seen = house.attentions().await.pop().unwrap();
    house.open_item("ana", seen.last_interaction).await;
    sql(&house, "UPDATE attention.reached SET identity = ''").await;
    let refused = send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap_err();
    assert_eq!(refused.reason(), "NO_RECIPIENT");
}

/// His contact gets a second number, which is the newer one.
async fn second_number(house: &House) {
    sql(
        house,
        "INSERT INTO contact.identity (kind, value, contact_id, created_at)
         SELECT 'phone', '+51900000009', contact_id, now() + interval '1 second' FROM contact.contact",
    )
    .await;
}

async fn last_to(house: &House) -> String {
    outbound(house).await.pop().unwrap().1.to.unwrap().phone
}

fn once_more(request: &mut SendMessageRequest) {
    content(Kind::Template(greeting("seguimos", &["Eva"])))(request);
}

/// Without `written_to` in `recipient` what follows goes to the newest number.
#[tokio::test]
async fn until_he_writes_everything_goes_to_the_number_of_the_first_send() {
    let house = with_agents().await;
    let number = format!("+{DIALLED}");
    start(&house, "ana", request("chat", &number)).await.unwrap();
    second_number(&house).await;
    let seen = only(&house).await;
    let second = send(&house, "ana", seen.last_interaction, once_more).await.unwrap().message.unwrap();
    assert_eq!(last_to(&house).await, number);
    reported(&house, &second.message_id, SendState::Failed).await;
    let retry = RetryMessageRequest { message_id: second.message_id.clone(), request_id: fresh() };
    house.actions.retry(house.access("ana").await, retry).await.unwrap();
    assert_eq!(last_to(&house).await, number);
    // A person has seen that the number was wrong.
    sql(&house, "DELETE FROM contact.identity WHERE value = '+525512345678'").await;
    send(&house, "ana", seen.last_interaction, once_more).await.unwrap();
    assert_eq!(last_to(&house).await, "+51900000009");
}

#[tokio::test]
async fn who_takes_over_from_a_dialer_goes_on_with_its_number() {
    let house = house().await;
    dialled(&house).await;
    for_agents(&house).await;
    second_number(&house).await;
    let contact: Uuid = sqlx::query_scalar("SELECT contact_id FROM contact.contact")
        .fetch_one(house.db.pool())
        .await
        .unwrap();
    // The agent must have a reason to see the contact.
    let mut wish = request("chat", "");
    wish.whatsapp.as_mut().unwrap().contact_id = contact.to_string();
    start(&house, "ana", wish).await.unwrap();
    assert_eq!(last_to(&house).await, format!("+{DIALLED}"));
    let seen = only(&house).await;
    assert_eq!(messages(&house, seen.attention_id).await.len(), 2);
    send(&house, "ana", seen.last_interaction, once_more).await.unwrap();
    assert_eq!(last_to(&house).await, format!("+{DIALLED}"));
}
