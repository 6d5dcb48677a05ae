//! What customers, agents and the channel make of a row that was sent.

use hilo_kit::consumer::{BatchHandler, Outcome};
use hilo_kit::nats::Subjects;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::dialer::v1::{DialerState, RowState};
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{SystemKind, WhatsAppContext, WhatsAppReaction, WhatsAppSystem};
use uuid::Uuid;

use super::dialer_rig::{
    attentions, house, last_send, life, report, reported, reported_as, row, running, sql, step,
};
use super::whatsapp_rig::{Chat, EVA, messages, only, outbound, send, take};
use super::{House, templates, whatsapp_start};
use crate::dialer::{self, Step};

/// A dialer that has written to Eva.
async fn written(house: &House) -> Uuid {
    let dialer = running(house, &[EVA]).await;
    assert_eq!(step(house, dialer).await, Step::Sent);
    dialer
}

async fn give_up(house: &House) -> usize {
    dialer::give_up(&house.db, &Subjects::new("hilo").unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_answer_queues_an_interaction_of_the_campaign_with_the_dialers_message_first() {
    let house = house().await;
    let dialer = written(&house).await;
    let sent = last_send(&house).await;
    reported(&house, &sent, SendState::Sent).await;
    let mut answer = Chat::from(EVA).says("Sí, gracias");
    answer.item.context =
        Some(WhatsAppContext { wamid: format!("wamid.{sent}"), ..WhatsAppContext::default() });
    take(&house, &[answer, Chat::from(EVA).says("¿Cuándo?")]).await;
    let one = only(&house).await;
    assert_eq!((one.state.as_str(), one.interactions.as_slice()), ("open", ["queued".to_owned()].as_slice()));
    assert_eq!(one.campaign_key, "chat");
    let thread = messages(&house, one.attention_id).await;
    let told: Vec<(&str, &str)> =
        thread.iter().map(|one| (one.text.as_str(), one.delivery_state.as_str())).collect();
    assert_eq!(told, [("Pedido 17 de Eva listo.", "sent"), ("Sí, gracias", ""), ("¿Cuándo?", "")]);
    assert_eq!(thread[0].message_id, sent);
    assert_eq!(thread[1].whatsapp.as_ref().unwrap().reply_to_message_id, sent);
    let interaction: (String, i32, bool) =
        sqlx::query_as("SELECT direction, message_count, out_of_hours FROM attention.interaction")
            .fetch_one(house.db.pool())
            .await
            .unwrap();
    assert_eq!(interaction, ("outbound".to_owned(), 3, false));
    let row = row(&house, dialer).await;
    assert_eq!((row.state(), row.attention_id), (RowState::Answered, one.attention_id.to_string()));
    assert!(row.answered_at.is_some() && row.gave_up_at.is_none());
    let events = house.events(one.attention_id).await;
    let expected = [
        "attention_opened",
        "message_queued",
        "interaction_queued",
        "message_received",
        "window_expiry_announced",
        "message_received",
    ];
    assert_eq!(events[..6], expected, "{events:?}");
    // And it goes on like any other: the agent answers, statuses of the dialer's message still arrive.
    house.open_item("ana", one.last_interaction).await;
    send(&house, "ana", one.last_interaction, |_| {}).await.unwrap();
    reported(&house, &sent, SendState::Read).await;
    assert_eq!(messages(&house, one.attention_id).await[0].delivery_state, "read");
    let sequences: Vec<i64> = outbound(&house).await.iter().map(|(envelope, _)| envelope.sequence).collect();
    assert_eq!(sequences, [1, 2]);
    assert_eq!(give_up(&house).await, 0);
}

#[tokio::test]
async fn what_becomes_of_a_send_is_the_rows_while_nobody_has_answered() {
    let house = house().await;
    let dialer = written(&house).await;
    let sent = last_send(&house).await;
    for (state, shown) in [
        (SendState::Queued, RowState::Queued),
        (SendState::Unknown, RowState::Unknown),
        (SendState::Delivered, RowState::Delivered),
        (SendState::Sent, RowState::Delivered),
        (SendState::Failed, RowState::Delivered),
        (SendState::Read, RowState::Read),
        (SendState::Delivered, RowState::Read),
    ] {
        reported(&house, &sent, state).await;
        assert_eq!(row(&house, dialer).await.state(), shown, "{state:?}");
    }
    assert_eq!(attentions(&house).await, [("waiting".to_owned(), 0)]);
    let stranger = house.delivery.handle(&[report(&super::fresh(), SendState::Sent, |_| {})]).await;
    assert!(matches!(stranger[..], [Outcome::Dead(_)]), "{stranger:?}");
}

#[tokio::test]
async fn a_failure_says_why_and_an_opt_out_is_noted() {
    let house = house().await;
    let dialer = written(&house).await;
    let sent = last_send(&house).await;
    reported_as(&house, &sent, SendState::Failed, |envelope| {
        envelope.reason = "OPTED_OUT".into();
        envelope.error_code = 131_050;
        envelope.error_text = "User has stopped marketing messages".into();
    })
    .await;
    let failed = row(&house, dialer).await;
    assert_eq!((failed.state(), failed.reason.as_str()), (RowState::Failed, "OPTED_OUT"));
    assert_eq!(failed.detail, "131050 User has stopped marketing messages");
    let noted: (String, Option<String>, String) =
        sqlx::query_as("SELECT number, added_by, reason FROM dialer.opt_out")
            .fetch_one(house.db.pool())
            .await
            .unwrap();
    assert_eq!(noted, (format!("+{EVA}"), None, "OPTED_OUT".to_owned()));
}

#[tokio::test]
async fn a_failure_that_every_row_would_meet_holds_the_dialer() {
    let house = house().await;
    let dialer = running(&house, &[EVA, "51911111111"]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
    let sent = last_send(&house).await;
    reported_as(&house, &sent, SendState::Failed, |envelope| {
        envelope.reason = "CONTENT_REFUSED".into();
        envelope.error_code = 132_015;
    })
    .await;
    assert_eq!(life(&house, dialer).await, (DialerState::Paused, "TEMPLATE_PAUSED".to_owned()));
    assert_eq!(step(&house, dialer).await, Step::NotDue);
}

/// With `?` in the loop of the sweep the second one waits for ever behind the first.
#[tokio::test]
async fn an_attention_that_cannot_be_closed_holds_up_no_other() {
    let house = house().await;
    let dialer = running(&house, &[EVA, "51900000002"]).await;
    for _ in 0..2 {
        sql(&house, "UPDATE dialer.dialer SET next_at = now()").await;
        assert_eq!(step(&house, dialer).await, Step::Sent);
    }
    sql(&house, "UPDATE dialer.row SET due_at = now() - interval '1 second' * (3 - ordinal)").await;
    let refuses = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF NEW.customer_address LIKE '%987%' THEN RAISE 'broken'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON attention.attention FOR EACH ROW EXECUTE FUNCTION refuse()";
    sql(&house, refuses).await;
    assert_eq!(give_up(&house).await, 1);
}

/// Removing `due_at <= now()` from `sends::due` and the domain's own look at the clock turns this red.
#[tokio::test]
async fn an_attention_nobody_answers_closes_in_its_time_and_a_later_answer_knows_the_row() {
    let house = house().await;
    let dialer = written(&house).await;
    assert_eq!(give_up(&house).await, 0, "there are 72 hours to answer");
    sql(&house, "UPDATE dialer.row SET due_at = now() - interval '1 second'").await;
    assert_eq!(give_up(&house).await, 1);
    assert_eq!(give_up(&house).await, 0);
    let closed = row(&house, dialer).await;
    assert_eq!((closed.state(), closed.gave_up_at.is_some()), (RowState::Queued, true));
    let first: Uuid = closed.attention_id.parse().unwrap();
    assert_eq!(house.events(first).await, ["attention_opened", "message_queued", "attention_closed"]);
    let reason: String = sqlx::query_scalar(
        "SELECT convert_from(payload, 'UTF8')::jsonb ->> 'reason' FROM kit.outbox_log WHERE subject LIKE '%attention_closed'",
    )
    .fetch_one(house.db.pool())
    .await
    .unwrap();
    assert_eq!(reason, "no_answer");
    // What became of the send is still told by the row.
    reported(&house, &last_send(&house).await, SendState::Read).await;
    assert_eq!(row(&house, dialer).await.state(), RowState::Read);

    take(&house, &[Chat::from(EVA).says("Perdón, recién leo"), Chat::from(EVA).says("¿Sigue?")]).await;
    assert_eq!(attentions(&house).await, [("closed".to_owned(), 0), ("open".to_owned(), 1)]);
    let answered = row(&house, dialer).await;
    assert_eq!(answered.state(), RowState::Answered);
    let second: Uuid = answered.answer_attention_id.parse().unwrap();
    let linked: Option<Uuid> =
        sqlx::query_scalar("SELECT linked_attention_id FROM attention.attention WHERE attention_id = $1")
            .bind(second)
            .fetch_one(house.db.pool())
            .await
            .unwrap();
    assert_eq!(linked, Some(first));
    let reason: String = sqlx::query_scalar(
        "SELECT convert_from(payload, 'UTF8')::jsonb ->> 'reason' FROM kit.outbox_log
         WHERE subject LIKE '%attention_opened' AND key = $1",
    )
    .bind(second)
    .fetch_one(house.db.pool())
    .await
    .unwrap();
    assert_eq!(reason, "late_answer");
    assert_eq!(messages(&house, second).await.len(), 2);
}

#[tokio::test]
async fn only_the_last_thing_we_wrote_is_answered_late() {
    let house = house().await;
    let dialer = written(&house).await;
    sql(&house, "UPDATE dialer.row SET due_at = now() - interval '1 second'").await;
    give_up(&house).await;
    sql(&house, "UPDATE dialer.row SET gave_up_at = now() - interval '31 days'").await;
    take(&house, &[Chat::from(EVA)]).await;
    assert_eq!(row(&house, dialer).await.state(), RowState::Queued, "a month later it is another matter");
    let linked =
        house.count("SELECT count(*) FROM attention.attention WHERE linked_attention_id IS NOT NULL");
    assert_eq!(linked.await, 0);
}

#[tokio::test]
async fn a_reaction_to_the_dialers_message_waits_for_its_thread_and_is_no_answer() {
    let house = house().await;
    let dialer = written(&house).await;
    let sent = last_send(&house).await;
    reported(&house, &sent, SendState::Sent).await;
    let target_wamid = format!("wamid.{sent}");
    let reaction = WhatsAppReaction { target_wamid, emoji: "👍".into() };
    take(&house, &[Chat::from(EVA).kind(Kind::Reaction(reaction))]).await;
    let notice = WhatsAppSystem { kind: SystemKind::IdentityChanged.into(), ..WhatsAppSystem::default() };
    take(&house, &[Chat::from(EVA).kind(Kind::System(notice))]).await;
    assert_eq!(attentions(&house).await, [("waiting".to_owned(), 0)]);
    assert_eq!(row(&house, dialer).await.state(), RowState::Sent);
    take(&house, &[Chat::from(EVA)]).await;
    let thread = messages(&house, only(&house).await.attention_id).await;
    assert_eq!(thread[0].whatsapp.as_ref().unwrap().reaction.as_ref().unwrap().emoji, "👍");
    assert_eq!(house.count("SELECT count(*) FROM attention.alteration WHERE state = 'waiting'").await, 0);
}

/// The message comes into the thread between the report's two looks: it must not be lost, so the report comes again.
#[tokio::test]
async fn a_report_that_meets_the_answer_half_way_comes_again() {
    let house = house().await;
    written(&house).await;
    let sent = last_send(&house).await;
    // As if the look for its thread had been before the commit of the answer, and the look at its row after it.
    sql(&house, "UPDATE dialer.row SET waited_for = 'answered', answered_at = now()").await;
    let outcomes = house.delivery.handle(&[report(&sent, SendState::Sent, |_| {})]).await;
    assert!(matches!(outcomes[..], [Outcome::Busy]), "{outcomes:?}");
}

#[tokio::test]
async fn a_customer_who_is_known_by_more_than_his_number_answers_the_same_attention() {
    let house = house().await;
    // Eva has written before, by a username, and her attention has ended.
    let eva = |text: &str| Chat::from(EVA).who(|who| who.user_id = "PE.1".into()).says(text);
    take(&house, &[eva("Hola")]).await;
    house.end_item(only(&house).await.last_interaction, true).await;
    let dialer = written(&house).await;
    // Now her number is not told any more.
    let hidden = eva("Sí").who(|who| {
        who.wa_id.clear();
        who.phone.clear();
    });
    take(&house, &[hidden]).await;
    assert_eq!(attentions(&house).await, [("closed".to_owned(), 1), ("open".to_owned(), 1)]);
    assert_eq!(row(&house, dialer).await.state(), RowState::Answered);
}

#[tokio::test]
async fn an_agent_takes_a_waiting_attention_over() {
    let house = house().await;
    let dialer = written(&house).await;
    let attention: Uuid = row(&house, dialer).await.attention_id.parse().unwrap();
    let now = time::OffsetDateTime::now_utc();
    templates::report(&house, "chat-wa", now, vec![templates::reported("seguimos", "APPROVED")])
        .await
        .unwrap();
    let request = whatsapp_start::request("chat", &format!("+{EVA}"));
    let begun = whatsapp_start::start(&house, "ana", request).await.unwrap();
    assert_eq!(begun.attention_id, attention.to_string());
    let interaction = begun.interaction.unwrap();
    assert_eq!((interaction.agent_key.as_str(), interaction.message_count), ("ana", 2));
    let one = only(&house).await;
    assert_eq!((one.state.as_str(), one.interactions.as_slice()), ("open", ["open".to_owned()].as_slice()));
    let texts: Vec<String> = messages(&house, attention).await.into_iter().map(|one| one.text).collect();
    assert_eq!(texts, ["Pedido 17 de Eva listo.", "Hola Eva, seguimos con su caso."]);
    let sequences: Vec<i64> = outbound(&house).await.iter().map(|(envelope, _)| envelope.sequence).collect();
    assert_eq!(sequences, [1, 2], "both sends are of one conversation");
    let expected = ["attention_opened", "message_queued", "interaction_started", "message_queued"];
    assert_eq!(house.events(attention).await, expected);
    sql(&house, "UPDATE dialer.row SET due_at = now() - interval '1 second'").await;
    assert_eq!(give_up(&house).await, 0, "nobody waits any more");
    assert_eq!(row(&house, dialer).await.state(), RowState::Queued);
    take(&house, &[Chat::from(EVA)]).await;
    assert_eq!(row(&house, dialer).await.state(), RowState::Answered, "the customer wrote after it");
}
