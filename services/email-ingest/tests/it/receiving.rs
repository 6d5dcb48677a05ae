//! From SMTP to INBOUND.

use hilo_kit::grpc;
use hilo_kit::ids::Uuid;
use hilo_kit::thread_token;
use hilo_proto::inbound::v1::{DmarcResult, MailClass};
use hilo_proto::internal::v1::dead_letter_service_client::DeadLetterServiceClient;
use hilo_proto::internal::v1::{DeadLetterState, ListDeadLettersRequest, ReplayDeadLetterRequest};
use hilo_test_support::{Postgres, eventually};
use std::time::Duration;

use crate::rig::{DEADLINE, Rig, Setup, THREAD_KEY, VENTAS};

fn mail(id: &str, subject: &str) -> String {
    format!(
        "From: Ana <Ana@cliente.example>\r\nTo: {VENTAS}\r\nSubject: {subject}\r\nMessage-ID: <{id}@cliente.example>\r\n\r\nHola\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_handed_over_once_with_its_evidence_in_the_order_of_its_author() {
    let mut rig = Rig::start(Setup::default()).await;
    let attention = Uuid::now_v7();
    let to =
        thread_token::plus_address(VENTAS, &thread_token::make(THREAD_KEY.as_bytes(), attention)).unwrap();
    assert!(rig.mail(&[&to], &mail("m1", "¿uno?")).await.starts_with("250"));
    // The sender did not hear the answer and sends the same bytes again.
    assert!(rig.mail(&[&to], &mail("m1", "¿uno?")).await.starts_with("250"));
    for number in 2..=6 {
        assert!(rig.mail(&[VENTAS], &mail(&format!("m{number}"), "más")).await.starts_with("250"));
    }
    let (first, email) = rig.inbound().await;
    assert_eq!((first.account_key.as_str(), first.sequence), ("ventas", 1));
    assert_eq!((email.subject.as_str(), email.text.as_str()), ("¿uno?", "Hola"));
    assert_eq!(email.envelope_recipients, vec![to]);
    assert_eq!(email.mail_class(), MailClass::Human);
    let evidence = email.evidence.unwrap();
    assert_eq!(evidence.token_attention_ids, vec![attention.to_string()]);
    // Without a resolver nothing is known, and that is not "no policy".
    assert_eq!(evidence.dmarc(), DmarcResult::Unspecified);
    assert!(!evidence.unauthenticated_replies_accepted);
    for number in 2..=6 {
        let (envelope, email) = rig.inbound().await;
        assert_eq!(envelope.conversation_key, first.conversation_key);
        assert_eq!((envelope.sequence, email.message_id), (number, format!("m{number}@cliente.example")));
    }
    assert!(rig.nothing_inbound().await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_for_two_accounts_is_two_and_large_files_go_by_content() {
    let mut rig = Rig::start(Setup::default()).await;
    let file = "QUJD".repeat(150_000);
    let raw = format!(
        "From: ana@cliente.example\r\nMessage-ID: <big@cliente.example>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\n\r\nver adjunto\r\n--b\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{file}\r\n--b--\r\n"
    );
    let reply = rig.mail(&[VENTAS, "soporte@hilo.example", "nadie@hilo.example"], &raw).await;
    assert!(reply.starts_with("250"), "{reply}");
    let mut accounts = Vec::new();
    for _ in 0..2 {
        let (envelope, email) = rig.inbound().await;
        let attachment = email.attachments.first().unwrap();
        assert_eq!((attachment.file_name.as_str(), attachment.size_bytes), ("a.pdf", 450_000));
        accounts.push(envelope.account_key);
    }
    accounts.sort();
    assert_eq!(accounts, vec!["soporte", "ventas"]);
    assert!(rig.nothing_inbound().await);
}

/// Hardening, case 14: a body of 5 MB goes by reference, fits the broker, and holds nothing up behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_five_megabytes_is_handed_over_by_reference() {
    let mut rig = Rig::start(Setup::default()).await;
    let line = format!("{}\r\n", "ñandú ".repeat(10));
    let body = line.repeat(5 * 1024 * 1024 / line.len() + 1);
    let head = format!(
        "From: Ana <Ana@cliente.example>\r\nTo: {VENTAS}\r\nSubject: largo\r\nMessage-ID: <largo@cliente.example>\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    );
    let reply = rig.mail(&[VENTAS], &format!("{head}{body}")).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert!(rig.mail(&[VENTAS], &mail("m2", "corto")).await.starts_with("250"));
    let (envelope, email) = rig.inbound().await;
    let bytes = prost::Message::encoded_len(&envelope);
    assert!(bytes <= hilo_kit::outbox::MAX_PAYLOAD, "{bytes} bytes");
    assert!(email.anomalies.contains(&"text-truncated".to_owned()), "{:?}", email.anomalies);
    assert!(email.text.starts_with("ñandú ñandú") && email.text.chars().count() <= 200_000);
    let file = email.attachments.first().unwrap();
    let whole = rig.object(&file.sha256).await.unwrap();
    let whole = std::str::from_utf8(&whole).unwrap();
    assert_eq!(i64::try_from(whole.len()).unwrap(), file.size_bytes);
    assert_eq!(whole.matches("ñandú").count(), body.matches("ñandú").count());
    let (_, next) = rig.inbound().await;
    assert_eq!(next.subject, "corto");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_quarantined_visible_and_holds_nobody_up() {
    let mut rig = Rig::start(Setup::default()).await;
    let nested: String =
        (0..80).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n")).collect();
    let poison =
        format!("From: Ana <ana@cliente.example>\r\nMessage-ID: <poison@cliente.example>\r\n{nested}");
    assert!(rig.mail(&[VENTAS], &poison).await.starts_with("250"));
    assert!(rig.mail(&[VENTAS], &mail("after", "sigue")).await.starts_with("250"));
    let (envelope, email) = rig.inbound().await;
    assert_eq!((email.message_id.as_str(), envelope.sequence), ("after@cliente.example", 1));
    let mut client = DeadLetterServiceClient::new(grpc::internal(&rig.grpc, &rig.tokens).unwrap());
    let listed = client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap().into_inner();
    let letter = listed.dead_letters.first().unwrap().clone();
    assert_eq!(
        (letter.consumer.as_str(), letter.reason.as_str()),
        ("email-parser", "MAIL_NESTED_TOO_DEEPLY")
    );
    // A replay tries again and, the mail being what it is, makes a new dead letter.
    let id = letter.dead_letter_id.clone();
    client.replay_dead_letter(ReplayDeadLetterRequest { dead_letter_id: id.clone() }).await.unwrap();
    eventually("the replayed mail is quarantined again", Duration::from_secs(60), || {
        let (mut client, id) = (client.clone(), id.clone());
        async move {
            let all = client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap().into_inner();
            all.dead_letters
                .iter()
                .any(|one| one.dead_letter_id != id && one.state() == DeadLetterState::Dead)
        }
    })
    .await
    .unwrap();
    assert!(rig.nothing_inbound().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_a_stop_is_handed_over_after_it() {
    let mut rig = Rig::start(Setup::default()).await;
    for number in 0..20 {
        assert!(rig.mail(&[VENTAS], &mail(&format!("s{number}"), "x")).await.starts_with("250"));
    }
    rig.stop().await;
    rig.run().await;
    for number in 0..20 {
        let (envelope, email) = rig.inbound().await;
        assert_eq!((envelope.sequence, email.message_id), (number + 1, format!("s{number}@cliente.example")));
    }
    assert!(rig.nothing_inbound().await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_broker_stream_is_filled_again_without_doubles_in_the_ledger() {
    let mut rig = Rig::start(Setup::default()).await;
    assert!(rig.mail(&[VENTAS], &mail("before", "x")).await.starts_with("250"));
    let (first, _) = rig.inbound().await;
    rig.nats.kill_9().unwrap();
    // Mail is taken while the broker is away.
    assert!(rig.mail(&[VENTAS], &mail("during", "x")).await.starts_with("250"));
    rig.nats.restart().await.unwrap();
    let (mut second, mut email) = rig.inbound().await;
    while second.sequence == first.sequence {
        // The broker was killed before it wrote down that the first was acknowledged.
        (second, email) = rig.inbound().await;
    }
    assert_eq!(email.message_id, "during@cliente.example");
    assert_eq!((second.conversation_key, second.sequence), (first.conversation_key, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_taken_after_a_restart_while_attention_state_is_away() {
    let mut rig = Rig::start(Setup::default()).await;
    assert!(rig.mail(&[VENTAS], &mail("one", "x")).await.starts_with("250"));
    rig.inbound().await;
    let db = rig.db.clone();
    eventually("the accounts are kept", Duration::from_secs(60), || {
        let db = db.clone();
        async move {
            let kept: i64 =
                sqlx::query_scalar("SELECT count(*) FROM mail.directory").fetch_one(db.pool()).await.unwrap();
            kept == 1
        }
    })
    .await
    .unwrap();
    rig.attention_state_leaves();
    rig.stop().await;
    rig.run().await;
    assert!(rig.mail(&[VENTAS], &mail("two", "x")).await.starts_with("250"));
    assert_eq!(rig.inbound().await.1.message_id, "two@cliente.example");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_nothing_is_acknowledged_and_nothing_acknowledged_is_lost() {
    let postgres = Postgres::start(true).await.unwrap();
    let database_url = Some(postgres.fresh_database().await.unwrap());
    let mut rig = Rig::start(Setup { database_url, ..Setup::default() }).await;
    let mut acknowledged = Vec::new();
    for number in 0..5 {
        assert!(rig.mail(&[VENTAS], &mail(&format!("k{number}"), "x")).await.starts_with("250"));
        acknowledged.push(format!("k{number}@cliente.example"));
    }
    postgres.kill_9().await.unwrap();
    // A session of the server may serve one more before it notices that the server is dead; then this is that mail again.
    let told = |code: &'static str| {
        let rig = &rig;
        async move { rig.mail(&[VENTAS], &mail("away", "x")).await.starts_with(code) }
    };
    eventually("it is told to come again", DEADLINE, || told("451")).await.unwrap();
    postgres.restart().await.unwrap();
    // The sender tries again until it is told that the mail was taken.
    eventually("it is taken", DEADLINE, || told("250")).await.unwrap();
    acknowledged.push("away@cliente.example".to_owned());
    for (sequence, id) in (1..).zip(acknowledged) {
        let (envelope, email) = rig.inbound().await;
        assert_eq!((envelope.sequence, email.message_id), (sequence, id));
    }
    assert!(rig.nothing_inbound().await);
    rig.stop().await;
}

/// A decoded part may be larger than any object. That is the mail's own fault, so it must not wait for better times in
/// front of every later mail that names the same author, which anybody can.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_decoded_part_is_too_large_is_quarantined_and_holds_nobody_back() {
    // As a mail of 25 MiB whose text grows threefold beside the usual 64 MiB.
    let mut rig = Rig::start(Setup { object_bytes: 4 * 1024 * 1024, ..Setup::default() }).await;
    let huge = format!(
        "From: Ana@cliente.example\r\nMessage-ID: <huge@otro.example>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n--b\r\nContent-Type: text/plain\r\n\r\n{}\r\n--b--\r\n",
        format!("{}\r\n", "&".repeat(900)).repeat(1_300)
    );
    assert!(rig.mail(&[VENTAS], &huge).await.starts_with("250"));
    assert!(rig.mail(&[VENTAS], &mail("m2", "la verdadera")).await.starts_with("250"));
    let (_, email) = rig.inbound().await;
    assert_eq!(email.subject, "la verdadera");
    let reason: String =
        sqlx::query_scalar("SELECT reason FROM kit.dead_letter WHERE consumer = 'email-parser'")
            .fetch_one(rig.db.pool())
            .await
            .unwrap();
    assert_eq!(reason, "OBJECT_TOO_LARGE");
    rig.stop().await;
}
