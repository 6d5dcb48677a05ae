//! From OUTBOUND to the Graph API: what leaves, in which order, and what is told of it.

use std::time::Duration;

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::outbound::v1::SendReadMark;
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_test_support::eventually;
use serde_json::json;

use crate::graph::Answer;
use crate::rig::{ACCESS_TOKEN, CUSTOMER, DEADLINE, NUMBER, Rig, Setup, change, send};

#[tokio::test]
async fn a_text_leaves_with_our_id_and_the_number_s_token() {
    let mut rig = Rig::start(Setup::default()).await;
    let send = send(Uuid::now_v7(), 1, CUSTOMER);
    rig.publish(&send).await;
    let report = rig.report().await;
    assert_eq!(
        (report.state(), report.send_id.as_str(), report.sequence),
        (SendState::Sent, send.send_id.as_str(), 1)
    );
    assert_eq!((report.account_key.as_str(), report.attempts), ("ventas", 1));
    let seen = rig.graph.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(report.provider_message_id, seen[0].wamid);
    assert_eq!(seen[0].path, format!("/v25.0/{NUMBER}/messages"));
    assert_eq!(seen[0].token, format!("Bearer {ACCESS_TOKEN}"));
    assert_eq!(seen[0].body["to"], json!(CUSTOMER));
    assert_eq!(seen[0].body["text"], json!({ "body": "texto 1", "preview_url": false }));
    assert_eq!(seen[0].body["biz_opaque_callback_data"], json!(send.send_id));
}

#[tokio::test]
async fn a_conversation_has_one_in_flight_and_keeps_its_order() {
    let rig = Rig::start(Setup::default()).await;
    rig.graph.answer([Answer::Late(Duration::from_millis(300)), Answer::Code(500, 131_000), Answer::Accept]);
    let conversation = Uuid::now_v7();
    // The later ones come first: they wait for their predecessors to be here.
    for sequence in [3, 2, 1] {
        rig.publish(&send(conversation, sequence, CUSTOMER)).await;
    }
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'sent'", 3).await;
    let seen = rig.graph.seen();
    let bodies: Vec<&str> = seen.iter().filter_map(|one| one.body["text"]["body"].as_str()).collect();
    assert_eq!(
        bodies,
        ["texto 1", "texto 2", "texto 2", "texto 3"],
        "the repetition goes before what came later"
    );
    assert!(
        seen[1].at - seen[0].at >= Duration::from_millis(300),
        "the second waits for the first one's answer"
    );
}

#[tokio::test]
async fn a_read_mark_is_sent_and_has_no_id() {
    let mut rig = Rig::start(Setup::default()).await;
    let mut mark = send(Uuid::now_v7(), 1, CUSTOMER);
    change(&mut mark, |item| {
        item.kind = Some(Kind::ReadMark(SendReadMark { wamid: "wamid.9".into(), typing: false }))
    });
    rig.graph.answer([Answer::Page(502)]);
    rig.publish(&mark).await;
    let report = rig.report().await;
    assert_eq!(report.state(), SendState::Sent, "again is harmless");
    assert_eq!(rig.graph.seen().len(), 2);
    let body = rig.graph.seen()[0].body.clone();
    assert_eq!(body, json!({ "messaging_product": "whatsapp", "status": "read", "message_id": "wamid.9" }));
}

#[tokio::test]
async fn a_stop_hears_the_request_under_way_out() {
    let mut rig = Rig::start(Setup::default()).await;
    rig.graph.answer([Answer::Late(Duration::from_millis(800))]);
    rig.publish(&send(Uuid::now_v7(), 1, CUSTOMER)).await;
    eventually("the request is under way", DEADLINE, || async { rig.graph.seen().len() == 1 }).await.unwrap();
    rig.stop().await;
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.send WHERE state = 'sent'").await, 1);
}

#[tokio::test]
async fn a_send_that_comes_again_is_the_same_send() {
    let rig = Rig::start(Setup::default()).await;
    let send = send(Uuid::now_v7(), 1, CUSTOMER);
    rig.publish(&send).await;
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'sent'", 1).await;
    // Under another message id it contradicts the ledger: a dead letter, and nothing leaves.
    rig.publish(&send).await;
    rig.counts("SELECT count(*) FROM kit.dead_letter WHERE reason = 'SEND_PLACE_TAKEN'", 1).await;
    assert_eq!(rig.graph.seen().len(), 1);
}
