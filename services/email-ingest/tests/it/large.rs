//! Mails handed over by reference: whole at the far end, looked for when they are not there, and a dead letter at last.

use hilo_kit::grpc;
use hilo_kit::ids::Uuid;
use hilo_kit::outbox::MAX_PAYLOAD;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::internal::v1::dead_letter_service_client::DeadLetterServiceClient;
use hilo_proto::internal::v1::{DeadLetter, ListDeadLettersRequest, ReplayDeadLetterRequest};
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEnvelope, StoredEmail};
use hilo_test_support::eventually;
use prost::Message as _;

use crate::rig::{DEADLINE, Rig, send};
use crate::sending::rig;

/// A send whose text is larger than the broker takes, by reference; and the encoded mail behind it.
fn large(conversation: Uuid, sequence: i64) -> (OutboundEnvelope, Vec<u8>) {
    let mut mail = send(conversation, sequence, &["ana@cliente.example"]);
    let Some(Content::Email(email)) = &mut mail.content else { panic!("no mail") };
    email.text = format!("Principio\n{}\nfinal", "línea ñandú\n".repeat(100_000));
    let bytes = email.encode_to_vec();
    assert!(bytes.len() > MAX_PAYLOAD);
    let sha256 = hilo_kit::objects::Digest256::of(&bytes).to_string();
    let size_bytes = i64::try_from(bytes.len()).unwrap();
    mail.content = Some(Content::StoredEmail(StoredEmail { sha256, size_bytes }));
    (mail, bytes)
}

async fn letters(rig: &Rig) -> Vec<DeadLetter> {
    let mut client = DeadLetterServiceClient::new(grpc::internal(&rig.grpc, &rig.tokens).unwrap());
    client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap().into_inner().dead_letters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_by_reference_arrives_whole_and_once_in_its_place() {
    let (mut rig, server) = rig().await;
    let conversation = Uuid::now_v7();
    let (mail, bytes) = large(conversation, 1);
    rig.file("mail", "application/protobuf", &bytes).await;
    // A small one follows.
    rig.publish(&mail).await;
    rig.publish(&send(conversation, 2, &["ana@cliente.example"])).await;
    let (first, second) = (rig.report().await, rig.report().await);
    assert_eq!((first.send_id.as_str(), first.state()), (mail.send_id.as_str(), SendState::Sent));
    assert_eq!(second.state(), SendState::Sent);
    let taken = server.taken();
    assert_eq!(taken.len(), 2);
    let parsed = mail_parser::MessageParser::default().parse(taken[0].content.as_bytes()).unwrap();
    let text = parsed.body_text(0).unwrap();
    assert_eq!(text.matches("línea ñandú").count(), 100_000);
    assert!(text.starts_with("Principio") && text.trim_end().ends_with("final"));
    // The ledger holds it whole: what becomes of the object later does not matter to a repetition.
    let kept: Vec<u8> = sqlx::query_scalar("SELECT envelope FROM mail.send WHERE sequence = 1")
        .fetch_one(rig.db.pool())
        .await
        .unwrap();
    let kept = OutboundEnvelope::decode(kept.as_slice()).unwrap();
    assert!(matches!(kept.content, Some(Content::Email(email)) if email.encode_to_vec() == bytes));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_not_in_the_store_is_a_dead_letter_that_a_replay_sends() {
    let (mut rig, server) = rig().await;
    let (mail, bytes) = large(Uuid::now_v7(), 1);
    rig.publish(&mail).await;
    let mut broken = large(Uuid::now_v7(), 1).0;
    broken.content = Some(Content::StoredEmail(StoredEmail { sha256: "x".into(), size_bytes: 1 }));
    rig.publish(&broken).await;
    // Nobody waits behind them.
    rig.publish(&send(Uuid::now_v7(), 1, &["eva@cliente.example"])).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    eventually("both are dead letters", DEADLINE, || async { letters(&rig).await.len() == 2 }).await.unwrap();
    let all = letters(&rig).await;
    let reasons: std::collections::BTreeSet<&str> = all.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), ["SEND_UNREADABLE", "STORED_MAIL_MISSING"]);
    let missing = all.into_iter().find(|one| one.reason == "STORED_MAIL_MISSING").unwrap();
    assert!(missing.attempts > 1, "it was looked for again: {missing:?}");
    rig.file("mail", "application/protobuf", &bytes).await;
    let mut client = DeadLetterServiceClient::new(grpc::internal(&rig.grpc, &rig.tokens).unwrap());
    let replay = ReplayDeadLetterRequest { dead_letter_id: missing.dead_letter_id };
    client.replay_dead_letter(replay).await.unwrap();
    let report = rig.report().await;
    assert_eq!((report.send_id.as_str(), report.state()), (mail.send_id.as_str(), SendState::Sent));
    assert_eq!(server.taken().len(), 2);
    rig.stop().await;
}
