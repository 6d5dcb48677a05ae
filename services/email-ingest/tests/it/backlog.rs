//! What sending costs does not grow with what was sent before.

use std::time::Duration;

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use sqlx::{Connection, PgConnection};

use crate::rig::{Rig, Setup, account, send, sending_to};
use crate::server::MailServer;

/// Sends in the table before: sent and due ones.
const BEFORE: i64 = 25_000;

/// Rows of the sends' table that were read one after the other, told by sessions as they end.
async fn rows_read(session: &mut PgConnection) -> i64 {
    for _ in 0..600 {
        let others: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut *session)
        .await
        .unwrap();
        if others == 0 {
            return sqlx::query_scalar(
                "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relid = 'mail.send'::regclass",
            )
            .fetch_one(&mut *session)
            .await
            .unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("sessions are left after a minute");
}

/// Many sent and many due, as the planner's statistics say; in truth those that are due are so in an hour.
async fn as_with_a_backlog(rig: &Rig) {
    let mut session = rig.db.pool().acquire().await.unwrap();
    for statement in [
        "BEGIN",
        // As many rows as this are a slow machine's work of more than a command's time.
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL idle_in_transaction_session_timeout = 0",
        "INSERT INTO mail.send (send_id, account_key, conversation_key, sequence, envelope, state, attempts, next_at)
           SELECT gen_random_uuid(), 'ventas', gen_random_uuid(), 1, '', 'sent', 1, NULL FROM generate_series(1, 20000)",
        "INSERT INTO mail.send (send_id, account_key, conversation_key, sequence, envelope, next_at)
           SELECT gen_random_uuid(), 'ventas', gen_random_uuid(), 1, '', now() - interval '1 s' FROM generate_series(1, 5000)",
        "ANALYZE mail.send",
        "UPDATE mail.send SET next_at = now() + interval '1 hour' WHERE state = 'planned'",
        "COMMIT",
    ] {
        sqlx::query(statement).execute(&mut *session).await.unwrap();
    }
}

/// With `EXISTS` in place of the scalar subqueries of `begin` every look reads all sends there ever were (tried).
#[tokio::test(flavor = "multi_thread")]
async fn picking_a_due_send_reads_no_others() {
    let server = MailServer::start().await;
    let accounts =
        vec![hilo_proto::directory::v1::Account { smtp: sending_to(server.port).smtp, ..account("ventas") }];
    let mut rig = Rig::start(Setup { accounts, ..Setup::default() }).await;
    as_with_a_backlog(&rig).await;
    let conversation = Uuid::now_v7();
    for sequence in 1..=8 {
        let mail = send(conversation, sequence, &["ana@cliente.example"]);
        rig.publish(&mail).await;
        let report = rig.report().await;
        assert_eq!((&report.send_id, report.state()), (&mail.send_id, SendState::Sent));
    }
    rig.stop().await;
    let options = rig.db.pool().connect_options();
    rig.db.pool().close().await;
    let read = rows_read(&mut PgConnection::connect_with(&options).await.unwrap()).await;
    // The preparation read them once.
    assert!((BEFORE..2 * BEFORE).contains(&read), "{read} rows read");
}
