//! The orphan timer: what an agent who is gone too long has open goes back to its queue, and nothing else does.

use std::time::Duration;

use hilo_kit::db::Db;
use hilo_test_support::eventually;

use super::{load_of, open, queue, subjects};
use crate::assignment::orphans;
use crate::attention::domain::InteractionId;
use crate::directory::testing::{apply, database, directory_of};

async fn house(timeout: &str) -> (Db, InteractionId) {
    let db = database().await;
    apply(&db, &directory_of(&[("a", &["ana", "luis"])], timeout)).await;
    let id = queue(&db, "a", 1).await[0];
    open(&db, id, "ana").await;
    run(&db, LONG_OPEN).await;
    (db, id)
}

async fn run(db: &Db, sql: &'static str) {
    sqlx::query(sql).execute(db.pool()).await.unwrap();
}

const GONE: &str =
    "UPDATE assignment.agent_state SET absent_since = now() - interval '61 s' WHERE agent_key = 'ana'";

/// What is open was opened before anybody was gone.
const LONG_OPEN: &str = "UPDATE attention.interaction SET opened_at = now() - interval '2 h'";

#[tokio::test]
async fn an_item_of_an_agent_who_is_gone_too_long_goes_back_to_the_queue_and_keeps_its_waiting() {
    let (db, id) = house(", orphan_timeout_seconds: 60").await;
    let times = async || -> (String, time::OffsetDateTime, time::OffsetDateTime) {
        sqlx::query_as("SELECT state, waiting_since, queued_at FROM attention.interaction")
            .fetch_one(db.pool())
            .await
            .unwrap()
    };
    let before = times().await;
    run(&db, GONE).await;
    assert_eq!(load_of(&db, "ana").await, 1);
    assert_eq!(orphans::all(&db, &subjects()).await.unwrap(), 1);
    assert_eq!(orphans::all(&db, &subjects()).await.unwrap(), 0);
    let after = times().await;
    assert_eq!((after.0.as_str(), after.1), ("queued", before.1));
    assert!(after.2 > before.2, "the overflow clock starts anew");
    assert_eq!(load_of(&db, "ana").await, 0);
    let (subject, actor): (String, Option<String>) = sqlx::query_as(
        "SELECT subject, convert_from(payload, 'UTF8')::json->>'actorKey' FROM kit.outbox_log ORDER BY sequence DESC LIMIT 1",
    )
    .fetch_one(db.pool())
    .await
    .unwrap();
    assert_eq!((subject.as_str(), actor), ("hilo.attention.v1.a.interaction_orphaned", None));
    // Back too late: it is anybody's by now, also his.
    run(&db, "UPDATE assignment.agent_state SET absent_since = NULL").await;
    open(&db, id, "ana").await;
    assert_eq!(orphans::all(&db, &subjects()).await.unwrap(), 0);
}

/// Each row turns red without its condition in the look-up (`some`) and in the second look under the lock (`command`, `decide`).
#[tokio::test]
async fn nothing_else_goes_back() {
    let rows = [
        ("", GONE, "the campaign has no timeout"),
        (", orphan_timeout_seconds: 0", GONE, "0 is off"),
        (
            ", orphan_timeout_seconds: 60",
            "UPDATE assignment.agent_state SET absent_since = now() - interval '50 s' WHERE agent_key = 'ana'",
            "he may still return",
        ),
        (
            ", orphan_timeout_seconds: 60",
            "UPDATE assignment.agent_state SET absent_since = now() - interval '1 h' WHERE agent_key = 'luis'",
            "somebody else is gone",
        ),
    ];
    for (timeout, disturbance, why) in rows {
        let (db, _) = house(timeout).await;
        run(&db, disturbance).await;
        assert_eq!(orphans::all(&db, &subjects()).await.unwrap(), 0, "{why}");
        assert_eq!(load_of(&db, "ana").await, 1, "{why}");
    }
    let (db, id) = house(", orphan_timeout_seconds: 60").await;
    let agent = crate::attention::domain::UserKey::new("ana");
    super::command(
        &db,
        id,
        crate::attention::domain::Command::End { agent, close: false, problems: Vec::new() },
    )
    .await;
    run(&db, GONE).await;
    assert_eq!(orphans::all(&db, &subjects()).await.unwrap(), 0, "ended");
}

/// Guard: `FOR SHARE` in `absent_since`; without it the timer does not wait, and takes the item from him.
#[tokio::test]
async fn who_returns_while_the_timer_looks_keeps_his_items() {
    let (db, _) = house(", orphan_timeout_seconds: 60").await;
    run(&db, GONE).await;
    let mut returning = db.pool().begin().await.unwrap();
    sqlx::query("UPDATE assignment.agent_state SET absent_since = NULL")
        .execute(&mut *returning)
        .await
        .unwrap();
    let timer = {
        let db = db.clone();
        tokio::spawn(async move { orphans::all(&db, &subjects()).await })
    };
    eventually("the timer waits for him", Duration::from_secs(60), || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(db.pool())
        .await
        .unwrap();
        waiting > 0
    })
    .await
    .unwrap();
    returning.commit().await.unwrap();
    assert_eq!(timer.await.unwrap().unwrap(), 0);
    assert_eq!(load_of(&db, "ana").await, 1);
}

/// Red without `opened_at` in the look-up and in the decision: he would lose it within a second, and again at every try.
#[tokio::test]
async fn who_opens_something_was_not_absent_before() {
    let (db, _) = house(", orphan_timeout_seconds: 60").await;
    run(&db, GONE).await;
    run(&db, "UPDATE attention.interaction SET opened_at = now() - interval '5 s'").await;
    assert_eq!(orphans::all(&db, &subjects()).await.unwrap(), 0);
    run(&db, "UPDATE attention.interaction SET opened_at = now() - interval '61 s'").await;
    assert_eq!(orphans::all(&db, &subjects()).await.unwrap(), 1);
}
