//! Sends of a number that is switched off, or that has left the directory.

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::directory::v1::Account;
use hilo_proto::outbound::v1::OutboundEnvelope;

use crate::rig::{CUSTOMER, NUMBER, Rig, Setup, account, send};

fn soporte(active: bool) -> Account {
    Account { active, ..account("soporte", "222", "app") }
}

fn from_soporte(conversation: Uuid, sequence: i64) -> OutboundEnvelope {
    OutboundEnvelope { account_key: "soporte".into(), ..send(conversation, sequence, CUSTOMER) }
}

async fn taken_hours_ago(rig: &Rig, send: &OutboundEnvelope, hours: f64) {
    sqlx::query("UPDATE whatsapp.send SET taken_at = now() - make_interval(secs => $2) WHERE send_id = $1")
        .bind(Uuid::try_parse(&send.send_id).unwrap())
        .bind(hours * 3600.0)
        .execute(rig.db.pool())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn they_wait_with_their_reason_go_out_when_it_is_active_again_and_fail_only_after_the_usual_time() {
    let ventas = || account("ventas", NUMBER, "app");
    let mut rig = Rig::start(Setup { accounts: vec![ventas(), soporte(false)], ..Setup::default() }).await;
    let (kept, given_up) = (from_soporte(Uuid::now_v7(), 1), from_soporte(Uuid::now_v7(), 1));
    for held in [&kept, &given_up] {
        rig.publish(held).await;
        let report = rig.report().await;
        assert_eq!((&report.send_id, report.state()), (&held.send_id, SendState::Queued));
        assert_eq!(report.reason, "NUMBER_SWITCHED_OFF");
    }
    assert!(rig.nothing_reported().await, "said once");
    assert!(rig.graph.seen().is_empty());
    taken_hours_ago(&rig, &given_up, 24.1).await;
    let report = rig.report().await;
    assert_eq!((&report.send_id, report.state()), (&given_up.send_id, SendState::Failed));
    assert_eq!(report.reason, "NUMBER_SWITCHED_OFF");
    rig.set_accounts(vec![ventas(), soporte(true)]);
    let report = rig.report().await;
    assert_eq!((&report.send_id, report.state(), report.attempts), (&kept.send_id, SendState::Sent, 1));
    // What was given up without an attempt does not hold up the next one of its conversation.
    let next = from_soporte(given_up.conversation_key.parse().unwrap(), 2);
    rig.publish(&next).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_left_the_directory_holds_them_too_but_not_one_that_is_about_to_come() {
    let ventas = || account("ventas", NUMBER, "app");
    let mut rig = Rig::start(Setup { accounts: vec![ventas()], ..Setup::default() }).await;
    let early = from_soporte(Uuid::now_v7(), 1);
    rig.publish(&early).await;
    rig.counts("SELECT count(*) FROM whatsapp.send", 1).await;
    assert!(rig.nothing_reported().await, "the directory may be on its way");
    taken_hours_ago(&rig, &early, 0.1).await;
    let report = rig.report().await;
    assert_eq!((report.state(), report.reason.as_str()), (SendState::Queued, "NUMBER_UNKNOWN"));
    rig.set_accounts(vec![ventas(), soporte(false)]);
    let report = rig.report().await;
    assert_eq!((report.state(), report.reason.as_str()), (SendState::Queued, "NUMBER_SWITCHED_OFF"));
    rig.set_accounts(vec![ventas(), soporte(true)]);
    assert_eq!(rig.report().await.state(), SendState::Sent);
    // Switched off once more, the next one is told anew.
    rig.set_accounts(vec![ventas(), soporte(false)]);
    rig.publish(&from_soporte(early.conversation_key.parse().unwrap(), 2)).await;
    let report = rig.report().await;
    assert!(matches!(report.state(), SendState::Queued | SendState::Sent), "{report:?}");
}
