//! Sends of an account that is switched off.

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::directory::v1::Account;
use hilo_proto::outbound::v1::OutboundEnvelope;

use crate::rig::{Rig, Setup, account, send, sending_to};
use crate::server::MailServer;

fn soporte(server: &MailServer, active: bool) -> Account {
    Account { active, smtp: sending_to(server.port).smtp, ..account("soporte") }
}

fn from_soporte(conversation: Uuid, sequence: i64) -> OutboundEnvelope {
    let mail = send(conversation, sequence, &["ana@cliente.example"]);
    OutboundEnvelope { account_key: "soporte".into(), ..mail }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_wait_with_their_reason_go_out_when_it_is_active_again_and_fail_only_after_the_usual_time() {
    let server = MailServer::start().await;
    let accounts = vec![account("ventas"), soporte(&server, false)];
    let mut rig = Rig::start(Setup { accounts, ..Setup::default() }).await;
    let (kept, given_up) = (from_soporte(Uuid::now_v7(), 1), from_soporte(Uuid::now_v7(), 1));
    for mail in [&kept, &given_up] {
        rig.publish(mail).await;
        let report = rig.report().await;
        assert_eq!((&report.send_id, report.state()), (&mail.send_id, SendState::Queued));
        let text = &report.recipients.first().unwrap().reply_text;
        assert!(text.contains("switched off"), "{text}");
    }
    assert!(rig.nothing_reported().await, "said once");
    assert!(server.taken().is_empty());
    sqlx::query("UPDATE mail.send SET taken_at = now() - interval '97 hours' WHERE send_id = $1")
        .bind(Uuid::try_parse(&given_up.send_id).unwrap())
        .execute(rig.db.pool())
        .await
        .unwrap();
    let report = rig.report().await;
    assert_eq!((&report.send_id, report.state()), (&given_up.send_id, SendState::Failed));
    assert!(report.recipients.first().unwrap().reply_text.contains("stayed switched off"), "{report:?}");
    rig.set_accounts(vec![account("ventas"), soporte(&server, true)]);
    let report = rig.report().await;
    assert_eq!((&report.send_id, report.state(), report.attempts), (&kept.send_id, SendState::Sent, 1));
    assert_eq!(server.taken().len(), 1);
    // What was given up without an attempt does not hold up the next one of its conversation.
    let next = from_soporte(given_up.conversation_key.parse().unwrap(), 2);
    rig.publish(&next).await;
    let report = rig.report().await;
    assert_eq!((&report.send_id, report.state(), report.attempts), (&next.send_id, SendState::Sent, 1));
    rig.stop().await;
}
