//! Attempts that end with their process: before the permission for the final dot certainly unsent, after it in doubt.

use std::time::Duration;

use hilo_email_ingest::domain::send::{Outcome, Reply};
use hilo_kit::db::Db;
use hilo_kit::ids::Uuid;

use crate::rig::send;
use crate::store::{accepted, acquire, due_now, store};

async fn state(db: &Db) -> (String, bool) {
    sqlx::query_as("SELECT s.state, r.maybe_sent FROM mail.send s JOIN mail.recipient r USING (send_id)")
        .fetch_one(db.pool())
        .await
        .unwrap()
}

/// Guards: `dot_held_attempt` of `recover`, and the row's epoch and attempt in `release_dot`.
#[tokio::test]
async fn cut_off_before_the_dot_however_often_it_is_only_planned_again_and_no_old_owner_can_finish_it() {
    let (store, db) = store().await;
    store.take(vec![(Uuid::now_v7(), send(Uuid::now_v7(), 1, &["ana@cliente.example"]))]).await.unwrap();
    let mut old = Vec::new();
    for round in 1..=5 {
        let lease = acquire(&db, "email-send/ventas", &format!("owner {round}")).await;
        due_now(&db).await;
        let mut picked = store.begin("ventas", &lease, 10).await.unwrap();
        assert_eq!(picked.first().map(|one| one.attempts), Some(round));
        old.append(&mut picked);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let new = acquire(&db, "email-send/ventas", &format!("next {round}")).await;
        assert_eq!(store.recover("ventas", &new, &[], Duration::ZERO).await.unwrap(), 1);
        assert_eq!(state(&db).await, ("planned".to_owned(), false), "round {round}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let lease = acquire(&db, "email-send/ventas", "last").await;
    due_now(&db).await;
    let last = store.begin("ventas", &lease, 10).await.unwrap();
    for one in &old {
        assert!(!store.release_dot(one).await.unwrap(), "attempt {} would send it twice", one.attempts);
        assert!(!store.settle(one, accepted(Outcome::NotYet(Reply::default()))).await.unwrap());
    }
    assert!(store.release_dot(last.first().unwrap()).await.unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let new = acquire(&db, "email-send/ventas", "after").await;
    assert_eq!(store.recover("ventas", &new, &[], Duration::ZERO).await.unwrap(), 1);
    assert_eq!(state(&db).await, ("unknown".to_owned(), true), "the dot may have left");
}

/// Guard: the attempt's number in `recover`. The release before begins attempts without knowing of the held dot.
#[tokio::test]
async fn an_attempt_that_never_held_its_dot_stays_doubtful() {
    let (store, db) = store().await;
    store.take(vec![(Uuid::now_v7(), send(Uuid::now_v7(), 1, &["ana@cliente.example"]))]).await.unwrap();
    let lease = acquire(&db, "email-send/ventas", "new release").await;
    store.begin("ventas", &lease, 10).await.unwrap();
    assert_eq!(store.recover("ventas", &lease, &[], Duration::ZERO).await.unwrap(), 1);
    let begun_by_old =
        "UPDATE mail.send SET state = 'attempting', epoch = $1, attempts = attempts + 1, next_at = NULL";
    sqlx::query(begun_by_old).bind(lease.epoch).execute(db.pool()).await.unwrap();
    sqlx::query("UPDATE mail.recipient SET state = 'attempting'").execute(db.pool()).await.unwrap();
    assert_eq!(store.recover("ventas", &lease, &[], Duration::ZERO).await.unwrap(), 1);
    assert_eq!(state(&db).await, ("unknown".to_owned(), true));
}
