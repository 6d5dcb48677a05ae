//! Statuses from webhooks: each once, in whatever order, never backwards, never about another's message.

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use serde_json::Value;

use crate::rig::{CUSTOMER, NUMBER, OTHER_SECRET, Rig, Setup, account, send, told, webhook};

async fn sent(rig: &mut Rig) -> (String, Uuid) {
    let send = send(Uuid::now_v7(), 1, CUSTOMER);
    rig.publish(&send).await;
    loop {
        // Reports of earlier sends may still be on their way.
        let report = rig.report().await;
        if report.send_id == send.send_id {
            assert_eq!(report.state(), SendState::Sent);
            return (report.provider_message_id, send.send_id.parse().unwrap());
        }
    }
}

async fn posted(rig: &Rig, statuses: Vec<Value>) {
    assert_eq!(rig.post(&webhook(NUMBER, vec![], statuses)).await, 200);
    rig.parsed().await;
}

#[tokio::test]
async fn statuses_in_any_order_and_number_end_at_the_highest() {
    let mut rig = Rig::start(Setup::default()).await;
    let orders: [&[&str]; 4] = [
        &["sent", "delivered", "read"],
        &["read", "delivered", "sent"],
        &["delivered", "read", "delivered", "read"],
        &["read", "failed", "sent"],
    ];
    for order in orders {
        let (wamid, _) = sent(&mut rig).await;
        for word in order {
            posted(&rig, vec![told(&wamid, word, None)]).await;
        }
        posted(&rig, order.iter().map(|word| told(&wamid, word, None)).collect()).await;
    }
    let read = "SELECT count(*) FROM whatsapp.send WHERE state = 'sent' AND reached = 'read'";
    assert_eq!(rig.count(read).await, 4);
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.status WHERE anomaly").await, 1);
    // Sent each, then two, one, two and one that rose.
    assert_eq!(
        rig.count("SELECT count(*) FROM kit.outbox_log WHERE stream = 'delivery'").await,
        4 + 2 + 1 + 2 + 1
    );
}

#[tokio::test]
async fn a_failure_is_told_with_its_reason_and_yields_to_what_arrived_after_all() {
    let mut rig = Rig::start(Setup::default()).await;
    let (wamid, send) = sent(&mut rig).await;
    posted(&rig, vec![told(&wamid, "failed", Some(send))]).await;
    let failed = rig.report().await;
    assert_eq!((failed.state(), failed.error_code), (SendState::Failed, 131_026));
    assert_eq!((failed.reason.as_str(), failed.error_text.as_str()), ("RECIPIENT_UNREACHABLE", "d"));
    posted(&rig, vec![told(&wamid, "delivered", Some(send))]).await;
    let delivered = rig.report().await;
    assert_eq!(
        (delivered.state(), delivered.sequence, delivered.reason.as_str()),
        (SendState::Delivered, 3, "")
    );
}

#[tokio::test]
async fn a_status_that_is_faster_than_the_answer_is_not_lost() {
    let rig = Rig::start(Setup::default()).await;
    posted(&rig, vec![told("wamid.later", "delivered", None)]).await;
    let send = send(Uuid::now_v7(), 1, CUSTOMER);
    rig.publish(&send).await;
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'sent'", 1).await;
    sqlx::query("UPDATE whatsapp.send SET wamid = 'wamid.later'").execute(rig.db.pool()).await.unwrap();
    rig.counts("SELECT count(*) FROM whatsapp.send WHERE reached = 'delivered'", 1).await;
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.status WHERE send_id IS NULL").await, 0);
}

#[tokio::test]
async fn a_status_of_another_account_changes_nothing() {
    let accounts = vec![account("ventas", NUMBER, "app"), account("otra", "222", "other-app")];
    let mut rig = Rig::start(Setup { accounts, ..Setup::default() }).await;
    let (wamid, send) = sent(&mut rig).await;
    let body = webhook("222", vec![], vec![told(&wamid, "failed", Some(send))]);
    assert_eq!(rig.post_signed(&body, OTHER_SECRET).await, 200);
    rig.counts("SELECT count(*) FROM whatsapp.status WHERE account_key = 'otra' AND send_id IS NULL", 1)
        .await;
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.send WHERE state = 'sent'").await, 1);
}

#[tokio::test]
async fn a_status_that_meta_refuses_the_whole_account_with_stops_the_number() {
    let mut rig = Rig::start(Setup::default()).await;
    let (wamid, _) = sent(&mut rig).await;
    let mut blocked = told(&wamid, "failed", None);
    blocked["errors"][0]["code"] = serde_json::json!(131_031);
    posted(&rig, vec![blocked]).await;
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.pause WHERE reason = 'NUMBER_BLOCKED'").await, 1);
}
