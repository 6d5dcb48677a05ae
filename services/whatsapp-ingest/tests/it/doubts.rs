//! Attempts without an answer: never sent again by themselves, ended by a status, else unknown after a while.

use std::time::Duration;

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_whatsapp_ingest::config::SenderConfig;

use crate::graph::Answer;
use crate::rig::{CUSTOMER, NUMBER, Rig, Setup, quick, send, told, webhook};

const SENT: &str = "SELECT count(*) FROM whatsapp.send WHERE state = 'sent'";

fn patient() -> Setup {
    Setup { sender: SenderConfig { doubt_seconds: 600, ..quick() }, ..Setup::default() }
}

#[tokio::test]
async fn a_page_without_a_code_is_a_doubt_that_becomes_unknown_and_the_conversation_goes_on() {
    let mut rig = Rig::start(Setup::default()).await;
    rig.graph.answer([Answer::Page(502)]);
    let conversation = Uuid::now_v7();
    rig.publish(&send(conversation, 1, CUSTOMER)).await;
    rig.publish(&send(conversation, 2, CUSTOMER)).await;
    let told: Vec<(SendState, String)> = {
        let mut told = Vec::new();
        for _ in 0..3 {
            let report = rig.report().await;
            told.push((report.state(), report.reason));
        }
        told
    };
    let word = |text: &str| text.to_owned();
    let expected = [
        (SendState::Queued, word("NO_ANSWER")),
        (SendState::Unknown, word("NO_ANSWER")),
        (SendState::Sent, word("")),
    ];
    assert_eq!(told, expected);
    assert_eq!(rig.graph.seen().len(), 2, "what is in doubt is not sent again");
}

#[tokio::test]
async fn a_status_with_our_id_ends_the_doubt() {
    let mut rig = Rig::start(patient()).await;
    rig.graph.answer([Answer::Page(500), Answer::Page(500)]);
    let (one, two) = (send(Uuid::now_v7(), 1, CUSTOMER), send(Uuid::now_v7(), 1, CUSTOMER));
    rig.publish(&one).await;
    rig.publish(&two).await;
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'doubtful'", 2).await;
    let id = |send: &hilo_proto::outbound::v1::OutboundEnvelope| send.send_id.parse().ok();
    let statuses = vec![told("wamid.A", "delivered", id(&one)), told("wamid.B", "failed", id(&two))];
    assert_eq!(rig.post(&webhook(NUMBER, vec![], statuses)).await, 200);
    rig.counts(SENT, 1).await;
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'failed'", 1).await;
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let report = rig.report().await;
        if report.state() != SendState::Queued {
            ends.push((
                report.send_id.clone(),
                report.state(),
                report.provider_message_id.clone(),
                report.reason.clone(),
            ));
        }
    }
    ends.sort_by_key(|end| end.2.clone());
    let expected = [
        (one.send_id, SendState::Delivered, "wamid.A".to_owned(), String::new()),
        (two.send_id, SendState::Failed, "wamid.B".to_owned(), "RECIPIENT_UNREACHABLE".to_owned()),
    ];
    assert_eq!(ends, expected);
    assert_eq!(rig.graph.seen().len(), 2);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_doubt() {
    let mut rig = Rig::start(Setup { reply_seconds: 1, ..Setup::default() }).await;
    rig.graph.answer([Answer::Late(Duration::from_secs(30))]);
    rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
    assert_eq!(rig.report().await.reason, "NO_ANSWER");
    assert_eq!(rig.report().await.state(), SendState::Unknown);
    // None where this machine was so slow that the other side had not looked at the request when it was given up.
    assert!(rig.graph.seen().len() <= 1, "what is in doubt is not sent again");
}

#[tokio::test]
async fn what_an_earlier_owner_left_is_in_doubt_and_not_sent_again() {
    let mut rig = Rig::start(patient()).await;
    let send = send(Uuid::now_v7(), 1, CUSTOMER);
    rig.publish(&send).await;
    rig.counts(SENT, 1).await;
    rig.stop().await;
    // As if the process had been killed after the request left and before its end was written.
    sqlx::query("UPDATE whatsapp.send SET state = 'attempting', epoch = 1, wamid = NULL, reached = NULL")
        .execute(rig.db.pool())
        .await
        .unwrap();
    rig.run().await;
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'doubtful' AND next_at > now()", 1).await;
    rig.wait_until_it_takes_webhooks().await;
    let status = told("wamid.A", "sent", send.send_id.parse().ok());
    assert_eq!(rig.post(&webhook(NUMBER, vec![], vec![status])).await, 200);
    rig.counts(SENT, 1).await;
    assert_eq!(rig.graph.seen().len(), 1);
}

#[tokio::test]
async fn a_late_truth_is_told_of_what_was_unknown() {
    let mut rig = Rig::start(Setup::default()).await;
    rig.graph.answer([Answer::Page(502)]);
    let send = send(Uuid::now_v7(), 1, CUSTOMER);
    rig.publish(&send).await;
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'unknown'", 1).await;
    let status = told("wamid.A", "read", send.send_id.parse().ok());
    assert_eq!(rig.post(&webhook(NUMBER, vec![], vec![status])).await, 200);
    let mut states = Vec::new();
    for sequence in 1..=3 {
        let report = rig.report().await;
        assert_eq!(report.sequence, sequence);
        states.push(report.state());
    }
    assert_eq!(states, [SendState::Queued, SendState::Unknown, SendState::Read]);
}
