//! Floods: more messages than an interaction holds, more reports than anybody reads, and mail of accounts that feed no
//! campaign any more. Nothing of it is lost and nothing becomes a dead letter that has a place to go to.

use hilo_kit::consumer::Outcome;
use hilo_proto::attention::v1::{GetAttentionRequest, SendMessageRequest};
use hilo_proto::inbound::v1::MailClass;
use uuid::Uuid;

use super::{House, Mail, fresh};
use crate::attention::outbox::DATA;
use crate::desk::read;
use crate::directory::testing::{apply, directory_of};

const DAEMON: &str = "mailer-daemon@mx.example";

async fn fill(house: &House, messages: i32) {
    sqlx::query("UPDATE attention.interaction SET message_count = $1")
        .bind(messages)
        .execute(house.db.pool())
        .await
        .unwrap();
}

fn answer(subject: &str) -> Mail {
    Mail::from("eva@cliente.example").answers(&["m1@x"]).subject(subject)
}

/// Without `work.room` in `join` the mails are dead letters; without `mark_flooded` the batch violates
/// `one_open_attention_per_lineage`.
#[tokio::test]
async fn what_does_not_fit_goes_on_in_one_linked_attention() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    house.open_item("ana", house.attentions().await[0].last_interaction).await;
    fill(&house, 4_999).await;
    // One fits; the rest of the batch, the next batch, and an answer to the new part go on together.
    house.take(&[answer("fits"), answer("a").id("a@x"), answer("b")]).await;
    house.take(&[answer("c"), Mail::from("eva@cliente.example").answers(&["a@x"])]).await;
    let attentions = house.attentions().await;
    let [full, next] = attentions.as_slice() else { panic!("{attentions:?}") };
    assert_eq!(
        (full.state.as_str(), full.messages, full.interactions.as_slice()),
        ("open", 2, &["open".to_owned()][..])
    );
    assert_eq!((next.state.as_str(), next.messages, next.campaign_key.as_str()), ("open", 4, "soporte"));
    assert_eq!((next.linked_attention_id, next.lineage_id), (Some(full.attention_id), full.lineage_id));
    assert_eq!(next.participants, full.participants);
    // Visible: the event of the new one, and the head of the full one.
    let payload: Vec<u8> = sqlx::query_scalar(
        "SELECT payload FROM kit.outbox_log WHERE stream = 'events' AND key = $1 AND sequence = 1",
    )
    .bind(next.attention_id)
    .fetch_one(house.db.pool())
    .await
    .unwrap();
    let opened: hilo_proto::event::v1::AttentionEvent = hilo_proto::json::from_json(DATA, &payload).unwrap();
    assert_eq!(
        (opened.reason.as_str(), opened.linked_attention_id),
        ("flood", full.attention_id.to_string())
    );
    for (id, flooded) in [(full.attention_id, true), (next.attention_id, false)] {
        let request = GetAttentionRequest { attention_id: id.to_string() };
        let seen = read::attention(&house.db, house.access("ana").await, request).await.unwrap();
        assert_eq!(seen.attention.unwrap().flooded, flooded);
    }
    house.events(full.attention_id).await;
    house.events(next.attention_id).await;
}

/// The full one ends and stays open; answers go where the flood went, also when that part was closed meanwhile.
#[tokio::test]
async fn a_flooded_attention_never_takes_messages_again() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    let first = house.attentions().await[0].last_interaction;
    fill(&house, 5_000).await;
    house.take(&[answer("a")]).await;
    let second = house.attentions().await[1].last_interaction;
    house.end_item(first, false).await;
    house.take(&[answer("b")]).await;
    house.end_item(second, true).await;
    house.take(&[answer("c")]).await;
    let messages: Vec<(i64, Option<Uuid>)> =
        house.attentions().await.iter().map(|one| (one.messages, one.linked_attention_id)).collect();
    let ids: Vec<Uuid> = house.attentions().await.iter().map(|one| one.attention_id).collect();
    assert_eq!(messages, [(1, None), (2, Some(ids[0])), (1, Some(ids[1]))]);
}

/// An opened item with one sent answer; the Message-ID of that answer.
async fn with_send() -> (House, String) {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    let interaction = house.attentions().await[0].last_interaction;
    house.open_item("ana", interaction).await;
    let request = SendMessageRequest {
        interaction_id: interaction.to_string(),
        request_id: fresh(),
        text: "Hola".into(),
        ..SendMessageRequest::default()
    };
    let sent = house.actions.send(house.access("ana").await, request).await.unwrap().message.unwrap();
    (house, sent.internet_message_id)
}

fn report(on: &str) -> Mail {
    Mail::from(DAEMON)
        .class(MailClass::DeliveryReport)
        .with(|email| email.class_reasons = vec!["null-sender".into()])
        .answers(&[on])
}

#[tokio::test]
async fn a_report_joins_only_on_a_mail_we_sent_and_only_without_envelope_sender() {
    let (house, ours) = with_send().await;
    let attention = house.attentions().await[0].attention_id;
    house.take(&[report(&ours)]).await;
    assert_eq!(house.attentions().await[0].messages, 3);
    assert_eq!(house.attentions().await[0].participants, ["eva@cliente.example"]);
    // The customer's own Message-ID, the token alone, a sender in the envelope: each goes apart, visibly unverified.
    let forged = [
        report("m1@x"),
        report("nobody@x").token(attention),
        report(&ours).with(|email| email.class_reasons.clear()),
    ];
    house.take(&forged).await;
    let attentions = house.attentions().await;
    assert_eq!(attentions.len(), 4);
    assert_eq!(attentions[0].messages, 3);
    for one in &attentions[1..] {
        assert_eq!((one.linked_attention_id, one.sender_verified), (Some(attention), false));
        assert!(one.participants.is_empty());
    }
    // A mail of ours that came back names itself.
    let own = Mail::from("soporte@ejemplo.pe").class(MailClass::OwnLoop).id(&ours).answers(&["m1@x"]);
    house.take(&[own]).await;
    assert_eq!(house.attentions().await[0].messages, 4);
}

/// Without `too_many_reports` they fill the interaction.
#[tokio::test]
async fn reports_beyond_the_bound_are_counted_and_not_appended() {
    let (house, ours) = with_send().await;
    let reports: Vec<Mail> = (0..230).map(|_| report(&ours)).collect();
    for batch in reports.chunks(60) {
        house.take(batch).await;
    }
    assert_eq!(house.attentions().await[0].messages, 2 + 200);
    assert_eq!(house.attentions().await.len(), 1);
    assert_eq!(house.count("SELECT sum(reports_left_out)::bigint FROM attention.interaction").await, 30);
    // Handed over again under another delivery they stay taken.
    let again: Vec<Mail> =
        reports[225..].iter().map(|one| Mail { delivery_id: Uuid::now_v7(), ..one.clone() }).collect();
    house.take(&again).await;
    assert_eq!(house.count("SELECT sum(reports_left_out)::bigint FROM attention.interaction").await, 30);
    // The customer still gets through, and so does the next report once a new interaction began.
    house.take(&[answer("otra cosa")]).await;
    house.end_item(house.attentions().await[0].last_interaction, false).await;
    house.take(&[report(&ours)]).await;
    assert_eq!(house.attentions().await[0].messages, 2 + 200 + 1 + 1);
}

/// Answers stay in the campaign of their attention when their account feeds none any more; a new mail waits as a dead
/// letter with a stable reason until there is a campaign, and is then taken when it is replayed.
#[tokio::test]
async fn an_account_without_campaign_loses_no_answer() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    house.take(&[Mail::from("otto@cliente.example").id("o1@x")]).await;
    house.end_item(house.attentions().await[1].last_interaction, true).await;
    sqlx::query("UPDATE directory.account SET campaign_key = NULL, active = false")
        .execute(house.db.pool())
        .await
        .unwrap();
    let (live, closed) = (answer("live"), Mail::from("otto@cliente.example").answers(&["o1@x"]));
    let new = Mail::from("nora@cliente.example");
    let outcomes = house.try_take(&[live, closed, new.clone()]).await;
    let [Outcome::Ack, Outcome::Ack, Outcome::Dead(error)] = outcomes.as_slice() else {
        panic!("{outcomes:?}")
    };
    assert_eq!(error.reason(), "ACCOUNT_WITHOUT_CAMPAIGN");
    house.end_item(house.attentions().await[0].last_interaction, false).await;
    house.take(&[answer("a new interaction")]).await;
    let seen: Vec<(i64, String, Vec<String>)> = house
        .attentions()
        .await
        .into_iter()
        .map(|one| (one.messages, one.campaign_key, one.interactions))
        .collect();
    let soporte = || "soporte".to_owned();
    assert_eq!(seen[0], (3, soporte(), vec!["ended".into(), "queued".into()]));
    assert_eq!(seen[2], (1, soporte(), vec!["queued".into()]));
    apply(&house.db, &directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "")).await;
    sqlx::query("UPDATE directory.account SET campaign_key = 'soporte', active = true WHERE account_key = 'soporte-mail'")
        .execute(house.db.pool())
        .await
        .unwrap();
    house.take(&[new]).await;
    assert_eq!(house.attentions().await.len(), 4);
}
