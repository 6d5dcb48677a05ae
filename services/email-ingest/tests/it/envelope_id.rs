//! The name that a server is asked to put into its reports (RFC 3461), for those that do not give the mail back.

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::outbound::v1::OutboundEnvelope;

use crate::rig::{Rig, Setup, VENTAS, send, sending_to};
use crate::server::MailServer;

async fn sent(rig: &mut Rig) -> OutboundEnvelope {
    let mail = send(Uuid::now_v7(), 1, &["ana@cliente.example"]);
    rig.publish(&mail).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    mail
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_announces_reports_is_told_a_name_and_its_report_is_known_by_it_alone() {
    let server = MailServer::start().await;
    let accounts = vec![sending_to(server.port)];
    let mut rig = Rig::start(Setup { accounts, ..Setup::default() }).await;
    sent(&mut rig).await;
    server.reports();
    let mail = sent(&mut rig).await;
    let commands: Vec<String> = server.taken().into_iter().map(|taken| taken.mail).collect();
    let plain = format!("MAIL FROM:<{VENTAS}>");
    assert_eq!(commands, [plain.clone(), format!("{plain} ENVID={} RET=HDRS", mail.send_id)]);
    let raw = format!(
        "From: MAILER-DAEMON@mx.example\r\nTo: {VENTAS}\r\nSubject: Undelivered Mail\r\nMIME-Version: 1.0\r\n\
         Message-ID: <r1@mx.example>\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\n\r\nI'm sorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Original-Envelope-Id: {}\r\nReporting-MTA: dns; mx.example\r\n\r\n\
         Final-Recipient: rfc822; ana@cliente.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n",
        mail.send_id,
    );
    assert!(rig.mail_from("", &[VENTAS], &raw).await.starts_with("250"));
    let told = rig.report().await;
    assert_eq!((&told.send_id, told.state()), (&mail.send_id, SendState::Bounced));
    rig.stop().await;
}
