//! Mails that come back, and reports that only look like it.

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::{DeliveryEnvelope, SendState};
use hilo_proto::inbound::v1::MailClass;
use hilo_proto::outbound::v1::OutboundEnvelope;
use hilo_proto::outbound::v1::outbound_envelope::Content;

use crate::rig::{Rig, Setup, VENTAS, account, send, sending_to};
use crate::server::{After, MailServer};

async fn rig() -> (Rig, MailServer) {
    let server = MailServer::start().await;
    let accounts = vec![sending_to(server.port), account("soporte")];
    (Rig::start(Setup { accounts, ..Setup::default() }).await, server)
}

/// Sends and waits until the next server has it.
async fn sent(rig: &mut Rig, to: &[&str]) -> OutboundEnvelope {
    let mail = send(Uuid::now_v7(), 1, to);
    rig.publish(&mail).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    mail
}

/// A report on a mail as Postfix writes it, per recipient `address action status`.
fn report(mail: &OutboundEnvelope, recipients: &[(&str, &str, &str)]) -> String {
    let blocks: String = recipients
        .iter()
        .map(|(address, action, status)| {
            format!(
                "\r\nFinal-Recipient: rfc822; {address}\r\nAction: {action}\r\nStatus: {status}\r\n\
                 Diagnostic-Code: smtp; 550 {status} <{address}>: says\r\n    the far server\r\n"
            )
        })
        .collect();
    format!(
        "From: MAILER-DAEMON@mx.example\r\nTo: {VENTAS}\r\nSubject: Undelivered Mail {}\r\nMIME-Version: 1.0\r\n\
         Message-ID: <{}@mx.example>\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\n\r\nI'm sorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example\r\n{blocks}\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n\
         Subject: Respuesta 1\r\nMessage-ID: <{}@hilo.example>\r\n\r\n--b--\r\n",
        mail.send_id,
        Uuid::now_v7(),
        mail.send_id,
    )
}

fn states(report: &DeliveryEnvelope) -> Vec<SendState> {
    report.recipients.iter().map(|one| one.state()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_comes_back_is_failed_with_the_far_servers_words_and_the_report_names_it() {
    let (mut rig, _server) = rig().await;
    let mail = sent(&mut rig, &["ana@cliente.example"]).await;
    // The far server rewrote the address: with one recipient that one is meant.
    let raw = report(&mail, &[("ana@intern.cliente.example", "failed", "5.1.1")]);
    assert!(rig.mail_from("", &[VENTAS], &raw).await.starts_with("250"));
    let told = rig.report().await;
    assert_eq!(
        (told.send_id.as_str(), told.state(), told.sequence),
        (mail.send_id.as_str(), SendState::Bounced, 2)
    );
    let ana = told.recipients.first().unwrap();
    assert_eq!((ana.address.as_str(), ana.state()), ("ana@cliente.example", SendState::Failed));
    assert_eq!((ana.reply_code, ana.enhanced_code.as_str()), (550, "5.1.1"));
    assert_eq!(ana.reply_text, "550 5.1.1 <ana@intern.cliente.example>: says the far server");
    // The report itself goes to the thread by the mail it names.
    let (_, email) = rig.inbound().await;
    assert_eq!(email.mail_class(), MailClass::DeliveryReport);
    assert_eq!(email.evidence.unwrap().references, vec![format!("{}@hilo.example", mail.send_id)]);
    // A second report on the same mail tells nothing new.
    assert!(
        rig.mail_from("", &[VENTAS], &report(&mail, &[("ana@cliente.example", "failed", "5.1.1")]))
            .await
            .starts_with("250")
    );
    rig.inbound().await;
    assert!(rig.nothing_reported().await);
    rig.stop().await;
}

/// Guards: the null sender, the account, the recipient, the final action.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_like_a_report_on_a_mail_changes_nothing() {
    let (mut rig, _server) = rig().await;
    let mail = sent(&mut rig, &["ana@cliente.example", "luis@cliente.example"]).await;
    let failed = || report(&mail, &[("ana@cliente.example", "failed", "5.1.1")]);
    let stranger = send(Uuid::now_v7(), 1, &["ana@cliente.example"]);
    let table = [
        ("a person sends it", "eva@cliente.example", VENTAS, failed()),
        ("another account gets it", "", "soporte@hilo.example", failed()),
        (
            "nobody of its recipients",
            "",
            VENTAS,
            report(&mail, &[("eva@cliente.example", "failed", "5.1.1")]),
        ),
        ("a delay", "", VENTAS, report(&mail, &[("ana@cliente.example", "delayed", "4.4.1")])),
        ("an unknown mail", "", VENTAS, report(&stranger, &[("ana@cliente.example", "failed", "5.1.1")])),
    ];
    for (what, sender, to, raw) in table {
        assert!(rig.mail_from(sender, &[to], &raw).await.starts_with("250"), "{what}");
        rig.inbound().await;
        assert!(rig.nothing_reported().await, "{what}");
    }
    // The real one: one of two came back, the other stays sent.
    assert!(rig.mail_from("", &[VENTAS], &failed()).await.starts_with("250"));
    let told = rig.report().await;
    assert_eq!((told.state(), states(&told)), (SendState::Sent, vec![SendState::Failed, SendState::Sent]));
    let second = report(&mail, &[("LUIS@cliente.example", "failed", "5.2.2")]);
    assert!(rig.mail_from("", &[VENTAS], &second).await.starts_with("250"));
    assert_eq!(rig.report().await.state(), SendState::Bounced);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_ends_the_doubt_about_a_mail_that_may_have_been_sent() {
    let (mut rig, server) = rig().await;
    for (action, status, expected) in
        [("delivered", "2.0.0", SendState::Sent), ("failed", "5.1.1", SendState::Bounced)]
    {
        server.after(&[After::Close, After::Close]);
        let mail = send(Uuid::now_v7(), 1, &["ana@cliente.example"]);
        rig.publish(&mail).await;
        assert_eq!(rig.report().await.state(), SendState::Unknown);
        assert_eq!(rig.report().await.state(), SendState::Unknown);
        let raw = report(&mail, &[("ana@cliente.example", action, status)]);
        assert!(rig.mail_from("", &[VENTAS], &raw).await.starts_with("250"));
        assert_eq!(rig.report().await.state(), expected, "{action}");
    }
    rig.stop().await;
}

/// Guard: `SEND_IN_PROGRESS`. A near server's report can be faster than its answer to the final dot.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_overtakes_the_answer_waits_for_it() {
    let (mut rig, _server) = rig().await;
    let mail = sent(&mut rig, &["ana@cliente.example"]).await;
    let pool = rig.db.clone();
    let state = |state: &'static str| {
        let db = pool.clone();
        async move {
            let epoch = if state == "attempting" { "2000000000" } else { "NULL" };
            let sql = format!("UPDATE mail.send SET state = '{state}', epoch = {epoch}");
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(db.pool()).await.unwrap();
        }
    };
    state("attempting").await;
    let raw = report(&mail, &[("ana@cliente.example", "failed", "5.1.1")]);
    assert!(rig.mail_from("", &[VENTAS], &raw).await.starts_with("250"));
    assert!(rig.nothing_reported().await);
    state("sent").await;
    assert_eq!(rig.report().await.state(), SendState::Bounced);
    rig.stop().await;
}

/// A person had it sent again to this one; waits until the next server has it.
async fn again(rig: &mut Rig, first: &OutboundEnvelope, only: &str) -> OutboundEnvelope {
    let mut again = first.clone();
    again.send_id = Uuid::now_v7().to_string();
    again.sequence += 1;
    let Some(Content::Email(email)) = &mut again.content else { panic!("no mail") };
    email.only_recipients = vec![only.into()];
    rig.publish(&again).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    again
}

/// Guard: the first `EXISTS` of `find`, and the newest first. All sends go under one Message-ID; a bounce belongs to one
/// that still has something to lose.
#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_of_a_mail_that_was_sent_again_finds_the_send_that_reached_its_recipient() {
    let (mut rig, _server) = rig().await;
    let first = sent(&mut rig, &["ana@cliente.example", "luis@cliente.example"]).await;
    let second = again(&mut rig, &first, "ana@cliente.example").await;
    let (failed, reached) = (SendState::Failed, SendState::Sent);
    for (address, send, expected) in [
        ("ana@cliente.example", &second, vec![failed]),
        ("Ana@cliente.example", &first, vec![failed, reached]),
        ("luis@cliente.example", &first, vec![failed, failed]),
    ] {
        let raw = report(&first, &[(address, "failed", "5.1.1")]);
        assert!(rig.mail_from("", &[VENTAS], &raw).await.starts_with("250"));
        let told = rig.report().await;
        assert_eq!((&told.send_id, states(&told)), (&send.send_id, expected), "{address}");
    }
    rig.stop().await;
}

/// Guard: the second `EXISTS` of `find`. The only recipient of the newest send is not meant by what names another of the
/// first.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_bounce_of_one_recipient_does_not_fall_on_the_other_of_a_later_send() {
    let (mut rig, _server) = rig().await;
    let first = sent(&mut rig, &["ana@cliente.example", "luis@cliente.example"]).await;
    let both = [("ana@cliente.example", "failed", "5.1.1"), ("luis@cliente.example", "failed", "5.2.2")];
    assert!(rig.mail_from("", &[VENTAS], &report(&first, &both)).await.starts_with("250"));
    assert_eq!(rig.report().await.state(), SendState::Bounced);
    again(&mut rig, &first, "luis@cliente.example").await;
    assert!(rig.mail_from("", &[VENTAS], &report(&first, &both[..1])).await.starts_with("250"));
    assert!(rig.nothing_reported().await);
    rig.stop().await;
}
