//! Meta's answers that hold a dialer: which reports do, and in what order locks are taken for it.

use std::time::Duration;

use hilo_kit::consumer::{BatchHandler as _, Outcome};
use hilo_proto::delivery::v1::SendState;
use hilo_proto::dialer::v1::{DialerState, RowState, StartDialerRequest};
use uuid::Uuid;

use super::House;
use super::dialer_rig::{
    dialers, house, last_send, life, report, reported_as, rows, running, sql, step, susana,
};
use crate::dialer::Step;

/// A dialer whose rows were all sent.
async fn sent(house: &House, numbers: &[&str]) -> (Uuid, Vec<String>) {
    let dialer = running(house, numbers).await;
    let mut sends = Vec::new();
    for _ in numbers {
        sql(house, "UPDATE dialer.dialer SET next_at = now()").await;
        assert_eq!(step(house, dialer).await, Step::Sent);
        sends.push(last_send(house).await);
    }
    (dialer, sends)
}

async fn refused(house: &House, send: &str, code: i32) {
    reported_as(house, send, SendState::Failed, |envelope| {
        envelope.reason = "CONTENT_REFUSED".into();
        envelope.error_code = code;
    })
    .await;
}

/// Without `sent_at >= changed_at` in `halt_of_sends` the second report holds what the person has just started.
#[tokio::test]
async fn a_report_about_what_was_sent_before_a_person_started_it_again_holds_nothing() {
    let house = house().await;
    let (dialer, sends) = sent(&house, &["51900000001", "51900000002", "51900000003"]).await;
    refused(&house, &sends[0], 131_048).await;
    assert_eq!(life(&house, dialer).await, (DialerState::Paused, "SPAM_LIMIT".to_owned()));
    let start = StartDialerRequest { dialer_id: dialer.to_string() };
    dialers(&house).start(susana(), start).await.unwrap();
    refused(&house, &sends[1], 132_015).await;
    assert_eq!(life(&house, dialer).await, (DialerState::Running, String::new()));
    // What was sent after he started it counts.
    sql(&house, "UPDATE dialer.row SET sent_at = clock_timestamp() WHERE ordinal = 3").await;
    refused(&house, &sends[2], 132_015).await;
    assert_eq!(life(&house, dialer).await, (DialerState::Paused, "TEMPLATE_PAUSED".to_owned()));
}

#[tokio::test]
async fn words_are_no_code() {
    let house = house().await;
    let (dialer, sends) = sent(&house, &["51900000001"]).await;
    reported_as(&house, &sends[0], SendState::Failed, |envelope| {
        envelope.error_text = "132015 of something else".into();
    })
    .await;
    assert_eq!(life(&house, dialer).await.0, DialerState::Running);
}

/// A batch writes its rows at once: each row has the last word of its own reports.
#[tokio::test]
async fn a_batch_of_reports_is_told_by_every_row() {
    let house = house().await;
    let (dialer, sends) = sent(&house, &["51900000001", "51900000002", "51900000003"]).await;
    let failed = |envelope: &mut hilo_proto::delivery::v1::DeliveryEnvelope| {
        envelope.reason = "OPTED_OUT".into();
        envelope.error_code = 131_050;
        envelope.error_text = "stopped".into();
    };
    let batch = [
        report(&sends[0], SendState::Sent, |_| {}),
        report(&sends[1], SendState::Sent, |_| {}),
        report(&sends[0], SendState::Delivered, |_| {}),
        report(&sends[2], SendState::Failed, failed),
        report(&sends[2], SendState::Failed, failed),
    ];
    let outcomes = house.delivery.handle(&batch).await;
    assert!(outcomes.iter().all(|one| matches!(one, Outcome::Ack)), "{outcomes:?}");
    let told: Vec<(RowState, String)> =
        rows(&house, dialer).await.into_iter().map(|row| (row.state(), row.reason)).collect();
    let plain = |state| (state, String::new());
    let expected =
        [plain(RowState::Delivered), plain(RowState::Sent), (RowState::Failed, "OPTED_OUT".to_owned())];
    assert_eq!(told, expected);
    let wamids = "SELECT count(*) FROM dialer.row WHERE wamid = 'wamid.' || send_id";
    assert_eq!(house.count(wamids).await, 3);
    assert_eq!(house.count("SELECT count(*) FROM dialer.opt_out WHERE number = '+51900000003'").await, 1);
}

/// Whoever sends a row holds the dialer and then waits for rows and identities: with `halt` behind `lock_reports` both would wait for
/// each other.
#[tokio::test]
async fn who_waits_for_a_dialer_holds_none_of_its_rows() {
    let house = house().await;
    let (dialer, sends) = sent(&house, &["51900000001"]).await;
    let mut runner = house.db.pool().begin().await.unwrap();
    sqlx::query("SELECT 1 FROM dialer.dialer WHERE dialer_id = $1 FOR UPDATE")
        .bind(dialer)
        .execute(&mut *runner)
        .await
        .unwrap();
    let halting = refused(&house, &sends[0], 131_048);
    let looking = async {
        let waits = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waiting = async {
            while house.count(waits).await == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting)
            .await
            .expect("the report waits for the dialer");
        let free = sqlx::query("SELECT 1 FROM dialer.row FOR UPDATE NOWAIT").execute(&mut *runner).await;
        assert!(free.is_ok(), "{free:?}");
        runner.rollback().await.unwrap();
    };
    tokio::join!(halting, looking);
    assert_eq!(life(&house, dialer).await, (DialerState::Paused, "SPAM_LIMIT".to_owned()));
}
