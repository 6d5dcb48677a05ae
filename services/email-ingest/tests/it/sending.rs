//! From OUTBOUND to a mail server and back as reports.

use std::time::Duration;

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_test_support::eventually;

use crate::rig::{Rig, Setup, send, sending_to};
use crate::server::{After, MailServer};

pub async fn rig() -> (Rig, MailServer) {
    let server = MailServer::start().await;
    let rig = Rig::start(Setup { accounts: vec![sending_to(server.port)], ..Setup::default() }).await;
    (rig, server)
}

fn states(report: &hilo_proto::delivery::v1::DeliveryEnvelope) -> Vec<(SendState, i32)> {
    report.recipients.iter().map(|one| (one.state(), one.reply_code)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_goes_out_once_however_often_it_is_handed_over() {
    let (mut rig, server) = rig().await;
    let mail = send(Uuid::now_v7(), 1, &["ana@cliente.example"]);
    rig.publish(&mail).await;
    let report = rig.report().await;
    assert_eq!(
        (report.state(), report.send_id.as_str(), report.attempts),
        (SendState::Sent, mail.send_id.as_str(), 1)
    );
    assert!(report.traceparent.contains("0af7651916cd43dd8448eb211c80319c") || report.traceparent.is_empty());
    let taken = server.taken();
    let first = taken.first().unwrap();
    assert_eq!(first.message_id(), format!("<{}@hilo.example>", mail.send_id));
    assert!(first.content.contains("Texto 1\n.\nfin"), "{}", first.content);
    assert!(rig.nothing_reported().await);
    assert_eq!(server.taken().len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_recipient_of_three_is_failed_alone() {
    let (mut rig, server) = rig().await;
    server.recipient("nadie@cliente.example", "550 5.1.1 no such user");
    server.recipient("tarde@cliente.example", "451 4.7.1 greylisted");
    let to = ["ana@cliente.example", "nadie@cliente.example", "tarde@cliente.example", "broken address"];
    rig.publish(&send(Uuid::now_v7(), 1, &to)).await;
    let report = rig.report().await;
    assert_eq!(report.state(), SendState::Queued);
    let expected = vec![
        (SendState::Sent, 250),
        (SendState::Failed, 550),
        (SendState::Queued, 451),
        (SendState::Failed, 0),
    ];
    assert_eq!(states(&report), expected);
    assert_eq!(report.recipients.get(1).unwrap().enhanced_code, "5.1.1");
    // Only the one that was asked to come later is tried again.
    server.forget_recipients();
    let report = rig.report().await;
    assert_eq!((report.state(), report.attempts), (SendState::Sent, 2));
    let again: Vec<_> = server.taken().iter().map(|mail| mail.recipients.clone()).collect();
    assert_eq!(again, vec![vec!["ana@cliente.example"], vec!["tarde@cliente.example"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_the_final_dot_is_unknown_and_repeated_once_with_the_same_message_id() {
    let (mut rig, server) = rig().await;
    server.after(&[After::Close, After::Close]);
    rig.publish(&send(Uuid::now_v7(), 1, &["ana@cliente.example"])).await;
    assert_eq!(rig.report().await.state(), SendState::Unknown);
    let second = rig.report().await;
    assert_eq!((second.state(), second.attempts), (SendState::Unknown, 2));
    // Twice in doubt: from here on only a person may send it again.
    assert!(rig.nothing_reported().await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let taken = server.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken.first().unwrap().message_id(), taken.last().unwrap().message_id());
}

/// Without `taken_over::from_earlier` the first send's own repetition would reach her after the second was answered.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_sent_again_is_not_repeated_by_itself() {
    let server = MailServer::start().await;
    let accounts = vec![sending_to(server.port)];
    let setup = Setup { accounts, unknown_retry_seconds: 600, ..Setup::default() };
    let mut rig = Rig::start(setup).await;
    server.after(&[After::Close]);
    let first = send(Uuid::now_v7(), 1, &["ana@cliente.example"]);
    rig.publish(&first).await;
    assert_eq!(rig.report().await.state(), SendState::Unknown);
    let mut again = first.clone();
    (again.send_id, again.sequence) = (Uuid::now_v7().to_string(), 2);
    if let Some(Content::Email(email)) = &mut again.content {
        email.only_recipients = vec!["Ana@cliente.example".to_owned()];
    }
    rig.publish(&again).await;
    let report = rig.report().await;
    assert_eq!((&report.send_id, report.state()), (&again.send_id, SendState::Sent));
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM mail.send WHERE next_at IS NOT NULL")
        .fetch_one(rig.db.pool())
        .await
        .unwrap();
    assert_eq!((waiting, server.taken().len()), (0, 2), "nothing is to be repeated");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doubt_ends_when_the_repetition_is_answered() {
    let (mut rig, server) = rig().await;
    server.after(&[After::Close]);
    rig.publish(&send(Uuid::now_v7(), 1, &["ana@cliente.example"])).await;
    assert_eq!(rig.report().await.state(), SendState::Unknown);
    assert_eq!(rig.report().await.state(), SendState::Sent);
    assert_eq!(server.taken().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_a_conversation_is_kept_and_a_later_mail_waits_only_for_a_first_attempt() {
    let (mut rig, server) = rig().await;
    let conversation = Uuid::now_v7();
    let to = ["ana@cliente.example"];
    // 3 and 2 come before 1: they wait.
    rig.publish(&send(conversation, 3, &to)).await;
    rig.publish(&send(conversation, 2, &to)).await;
    assert!(rig.nothing_reported().await);
    assert!(server.taken().is_empty());
    // The first attempt of 1 is put off by the server; 2 and 3 go on nevertheless.
    server.after(&[After::Reply("451 4.3.0 later")]);
    rig.publish(&send(conversation, 1, &to)).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let report = rig.report().await;
        seen.push((report.sequence, report.state()));
    }
    assert_eq!(seen, vec![(1, SendState::Queued), (2, SendState::Sent), (3, SendState::Sent)]);
    let subjects: Vec<_> = server.taken().iter().map(|mail| mail.subject()).collect();
    assert_eq!(subjects, vec!["Respuesta 2", "Respuesta 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for() {
    let (mut rig, server) = rig().await;
    server.after(&[After::Reply("421 4.3.2 closing")]);
    rig.publish(&send(Uuid::now_v7(), 1, &["ana@cliente.example"])).await;
    let report = rig.report().await;
    assert_eq!((report.state(), states(&report)), (SendState::Queued, vec![(SendState::Queued, 421)]));
    assert!(server.taken().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_contradicts_itself_is_a_dead_letter_and_the_next_of_its_key_goes_on() {
    let (mut rig, server) = rig().await;
    let conversation = Uuid::now_v7();
    let nobody = send(conversation, 1, &[]);
    rig.publish(&nobody).await;
    rig.publish(&send(conversation, 2, &["ana@cliente.example"])).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    assert_eq!(server.taken().len(), 1);
    let db = rig.db.clone();
    eventually("the dead letter is kept", Duration::from_secs(60), || {
        let db = db.clone();
        async move {
            let found: i64 =
                sqlx::query_scalar("SELECT count(*) FROM kit.dead_letter WHERE consumer = 'email-sender'")
                    .fetch_one(db.pool())
                    .await
                    .unwrap();
            found == 1
        }
    })
    .await
    .unwrap();
}

/// The beginning of an attempt committed and the answer to its COMMIT got lost, as when PostgreSQL restarts: the lease
/// goes on, nobody works on the attempt, and it must not wait for the next owner.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_beginning_was_not_answered_is_made_again_by_the_same_owner() {
    let (mut rig, server) = rig().await;
    rig.publish(&send(Uuid::now_v7(), 1, &["ana@cliente.example"])).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    // What `begin` leaves behind when only its answer is lost.
    let mut tx = rig.db.pool().begin().await.unwrap();
    let epoch: i64 = sqlx::query_scalar("SELECT epoch FROM kit.lease WHERE name = 'email-send/ventas'")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    for sql in [
        "UPDATE mail.send SET state = 'attempting', epoch = $1, dot_held_attempt = attempts, next_at = NULL",
        "UPDATE mail.recipient SET state = 'attempting', retry = true WHERE $1 > 0",
    ] {
        sqlx::query(sql).bind(epoch).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(rig.report().await.state(), SendState::Queued, "nothing of it can have left");
    assert_eq!(rig.report().await.state(), SendState::Sent);
    assert_eq!(server.taken().len(), 2);
    rig.stop().await;
}
