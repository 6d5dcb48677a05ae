//! What Meta, or we ourselves, refuse: the right end for each, and nothing that does not have to wait waits.

use std::time::Duration;

use hilo_kit::clock;
use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::outbound::v1::SendTemplate;
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_whatsapp_ingest::config::SenderConfig;

use crate::graph::Answer;
use crate::rig::{CUSTOMER, Rig, Setup, change, quick, send};

#[tokio::test]
async fn free_text_does_not_leave_after_the_window_and_a_template_does() {
    let mut rig = Rig::start(Setup::default()).await;
    let past = clock::to_proto(clock::wall() - Duration::from_secs(1));
    let conversation = Uuid::now_v7();
    let mut late = send(conversation, 1, CUSTOMER);
    change(&mut late, |item| item.window_ends_at = Some(past));
    rig.publish(&late).await;
    let report = rig.report().await;
    assert_eq!((report.state(), report.reason.as_str()), (SendState::Failed, "WINDOW_CLOSED"));
    assert!(rig.graph.seen().is_empty());
    let mut template = send(conversation, 2, CUSTOMER);
    change(&mut template, |item| {
        item.window_ends_at = Some(past);
        item.kind = Some(Kind::Template(SendTemplate {
            name: "hola".into(),
            language: "es".into(),
            components: vec![],
        }));
    });
    rig.publish(&template).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
}

#[tokio::test]
async fn what_is_not_carried_fails_with_that_reason() {
    let mut rig = Rig::start(Setup::default()).await;
    let conversation = Uuid::now_v7();
    let mut media = send(conversation, 1, CUSTOMER);
    change(&mut media, |item| item.kind = None);
    rig.publish(&media).await;
    let report = rig.report().await;
    assert_eq!((report.state(), report.reason.as_str()), (SendState::Failed, "KIND_NOT_CARRIED"));
    rig.publish(&send(conversation, 2, CUSTOMER)).await;
    assert_eq!(rig.report().await.state(), SendState::Sent, "the conversation goes on");
    assert_eq!(rig.graph.seen().len(), 1);
}

#[tokio::test]
async fn a_code_decides_what_becomes_of_a_send() {
    let mut rig = Rig::start(Setup::default()).await;
    let table = [
        (Answer::Code(400, 131_047), SendState::Failed, "WINDOW_CLOSED", 131_047),
        (Answer::Code(400, 131_026), SendState::Failed, "RECIPIENT_UNREACHABLE", 131_026),
        (Answer::Code(400, 100), SendState::Failed, "CONTENT_REFUSED", 100),
        (Answer::Code(400, 131_050), SendState::Failed, "OPTED_OUT", 131_050),
        (Answer::Page(404), SendState::Failed, "REFUSED", 0),
    ];
    for (answer, state, reason, code) in table {
        rig.graph.answer([answer.clone()]);
        rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
        let report = rig.report().await;
        assert_eq!(
            (report.state(), report.reason.as_str(), report.error_code),
            (state, reason, code),
            "{answer:?}"
        );
    }
    assert_eq!(rig.graph.seen().len(), 5, "none of them was tried again");
}

#[tokio::test]
async fn transient_trouble_is_tried_again_and_told_once() {
    let mut rig = Rig::start(Setup::default()).await;
    rig.graph.answer([Answer::Code(500, 131_000), Answer::Code(500, 2), Answer::Code(503, 131_016)]);
    rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
    let waits = rig.report().await;
    assert_eq!(
        (waits.state(), waits.reason.as_str(), waits.sequence),
        (SendState::Queued, "TEMPORARY_FAILURE", 1)
    );
    let sent = rig.report().await;
    assert_eq!((sent.state(), sent.sequence, sent.attempts), (SendState::Sent, 2, 4));
}

#[tokio::test]
async fn a_limit_of_the_number_stops_the_number_and_a_limit_of_a_pair_only_the_pair() {
    // Pauses so long that none ends before it was looked at.
    let setup = || Setup { sender: SenderConfig { retry_seconds: 600.0, ..quick() }, ..Setup::default() };
    let rig = Rig::start(setup()).await;
    rig.graph.answer([Answer::Code(429, 130_429)]);
    rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
    let paused = "SELECT count(*) FROM whatsapp.pause
                  WHERE reason = 'RATE_LIMITED' AND times = 1 AND until > now() + interval '1 minute'";
    rig.counts(paused, 1).await;
    // Its time is over: the next one that goes out ends it.
    for over in [
        "UPDATE whatsapp.pause SET until = now()",
        "UPDATE whatsapp.send SET next_at = now() WHERE state = 'planned'",
    ] {
        sqlx::query(over).execute(rig.db.pool()).await.unwrap();
    }
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'sent'", 1).await;
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.pause").await, 0);

    let rig = Rig::start(setup()).await;
    rig.graph.answer([Answer::Code(400, 131_056)]);
    rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'planned' AND reason = 'RATE_LIMITED'", 1)
        .await;
    rig.publish(&send(Uuid::now_v7(), 1, "51911111111")).await;
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'sent'", 1).await;
    rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
    let waits = "SELECT count(*) FROM whatsapp.send WHERE state = 'planned' AND next_at > now() + interval '1 minute'";
    rig.counts(waits, 2).await;
    assert_eq!(rig.graph.seen().len(), 2, "another conversation with the same customer waits too");
}

#[tokio::test]
async fn a_refused_token_stops_the_number_without_a_storm() {
    let mut rig = Rig::start(Setup::default()).await;
    rig.graph.answer([Answer::Code(401, 190)]);
    rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
    let report = rig.report().await;
    assert_eq!((report.state(), report.reason.as_str()), (SendState::Queued, "CREDENTIALS_REFUSED"));
    let long = "SELECT count(*) FROM whatsapp.pause WHERE until > now() + interval '30 seconds'";
    rig.counts(long, 1).await;
    rig.publish(&send(Uuid::now_v7(), 1, "51911111111")).await;
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'planned'", 2).await;
    // A person has put it right and an operator ends the pause: what was kept goes out.
    sqlx::query("DELETE FROM whatsapp.pause").execute(rig.db.pool()).await.unwrap();
    sqlx::query("UPDATE whatsapp.send SET next_at = now() WHERE state = 'planned'")
        .execute(rig.db.pool())
        .await
        .unwrap();
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'sent'", 2).await;
    assert_eq!(rig.graph.seen().len(), 3);
}
