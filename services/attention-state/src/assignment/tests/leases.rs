//! Partitions: fair share, takeover, release, and the fence against who woke up late.

use std::collections::BTreeSet;
use std::time::Duration;

use hilo_kit::db::Db;
use hilo_proto::internal::v1::{AssignmentOutcome, HeldPartition};
use sqlx::Connection;

use super::{apply, batch, offer, outcomes, queue};
use crate::assignment::partition::{Fence, guard, hold, release};
use crate::directory::domain::groups::partition_of;
use crate::directory::testing::{self, database, directory_of};

/// Nothing expires by itself here, however slow the machine is: time is moved in the database.
const TERM: Duration = Duration::from_secs(3_600);

async fn expire_leases(db: &Db, holder: &str) {
    sqlx::query(
        "UPDATE assignment.partition_lease SET expires_at = now() - interval '1 ms' WHERE holder = $1",
    )
    .bind(holder)
    .execute(db.pool())
    .await
    .unwrap();
    sqlx::query("UPDATE assignment.replica SET expires_at = now() - interval '1 ms' WHERE replica_id = $1")
        .bind(holder)
        .execute(db.pool())
        .await
        .unwrap();
}

fn numbers(held: &[HeldPartition]) -> BTreeSet<i32> {
    held.iter().map(|one| one.partition).collect()
}

#[tokio::test]
async fn one_replica_holds_all_and_keeps_its_epochs() {
    let db = database().await;
    let first = hold(&db, "a", TERM).await.unwrap();
    assert_eq!(numbers(&first), (0..64).collect());
    assert!(first.iter().all(|one| one.epoch == 1));
    assert_eq!(hold(&db, "a", TERM).await.unwrap(), first, "a renewal changes no epoch");
}

#[tokio::test]
async fn replicas_come_to_fair_shares_without_holding_one_twice() {
    let db = database().await;
    let names = ["a", "b", "c"];
    for _ in 0..4 {
        for name in names {
            hold(&db, name, TERM).await.unwrap();
        }
    }
    let mut seen = BTreeSet::new();
    for name in names {
        let held = numbers(&hold(&db, name, TERM).await.unwrap());
        assert!((20..=22).contains(&held.len()), "{name} holds {}", held.len());
        assert!(held.is_disjoint(&seen), "held twice");
        seen.extend(held);
    }
    assert_eq!(seen.len(), 64);
}

#[tokio::test]
async fn a_released_partition_is_taken_at_once_and_an_expired_one_too_both_under_a_new_epoch() {
    let db = database().await;
    hold(&db, "a", TERM).await.unwrap();
    release(&db, "a").await.unwrap();
    let taken = hold(&db, "b", TERM).await.unwrap();
    assert_eq!(taken.len(), 64);
    assert!(taken.iter().all(|one| one.epoch == 2));
    assert!(hold(&db, "c", TERM).await.unwrap().is_empty(), "nothing is free yet");
    expire_leases(&db, "b").await;
    let taken = hold(&db, "c", TERM).await.unwrap();
    assert_eq!(taken.len(), 64);
    assert!(taken.iter().all(|one| one.epoch == 3));
}

#[tokio::test]
async fn who_let_his_lease_lapse_gets_it_back_under_a_new_epoch() {
    let db = database().await;
    hold(&db, "a", TERM).await.unwrap();
    expire_leases(&db, "a").await;
    assert!(hold(&db, "a", TERM).await.unwrap().iter().all(|one| one.epoch == 2));
}

#[tokio::test]
async fn replicas_that_ask_at_the_same_instant_never_hold_one_twice() {
    let db = database().await;
    for round in 0..10 {
        for name in ["a", "b", "c", "d"] {
            expire_leases(&db, name).await;
        }
        let asked = ["a", "b", "c", "d"].map(|name| {
            let db = db.clone();
            tokio::spawn(async move { hold(&db, name, TERM).await.unwrap() })
        });
        let mut seen = BTreeSet::new();
        for task in asked {
            // What one gives back while the others ask may be held by nobody, but never by two.
            for held in task.await.unwrap() {
                let current: i64 =
                    sqlx::query_scalar("SELECT epoch FROM assignment.partition WHERE partition = $1")
                        .bind(held.partition)
                        .fetch_one(db.pool())
                        .await
                        .unwrap();
                let fresh = seen.insert((held.partition, held.epoch));
                assert!(fresh && held.epoch <= current, "round {round}: {held:?} held twice");
            }
        }
    }
}

/// The fence. Without the look at the epoch in `Fence::holds` this test is red: the late batch is then applied.
#[tokio::test]
async fn a_batch_of_a_former_owner_is_refused_whole() {
    let db = database().await;
    testing::apply(&db, &directory_of(&[("a", &["ana", "luis"])], "")).await;
    let ids = queue(&db, "a", 2).await;
    let epoch_of = |held: Vec<HeldPartition>| {
        held.into_iter().find(|one| one.partition == partition_of("a")).map(|one| one.epoch).unwrap()
    };
    let old = epoch_of(hold(&db, "sleeper", TERM).await.unwrap());
    expire_leases(&db, "sleeper").await;
    let new = epoch_of(hold(&db, "successor", TERM).await.unwrap());
    let mut late = batch("a", vec![offer(ids[0], 1, "ana"), offer(ids[1], 1, "luis")]);
    late.epoch = old;
    let error = apply(&db, late.clone()).await.unwrap_err();
    assert_eq!(error.reason(), "STALE_EPOCH");
    let mut timely = late;
    timely.epoch = new;
    let results = apply(&db, timely).await.unwrap();
    assert_eq!(outcomes(&results), [AssignmentOutcome::Applied; 2], "nothing of the late batch was applied");
}

/// Without the look at the version in `Fence::holds` this test is red: the batch is applied.
#[tokio::test]
async fn a_batch_decided_with_an_older_configuration_is_refused_whole() {
    let db = database().await;
    testing::apply(&db, &directory_of(&[("a", &["ana", "luis"])], "")).await;
    let ids = queue(&db, "a", 1).await;
    testing::apply(&db, &directory_of(&[("a", &["ana"])], "")).await;
    let mut stale = batch("a", vec![offer(ids[0], 1, "ana")]);
    stale.config_version = 2;
    assert_eq!(apply(&db, stale.clone()).await.unwrap_err().reason(), "STALE_CONFIG");
    stale.config_version = 3;
    assert_eq!(outcomes(&apply(&db, stale).await.unwrap()), [AssignmentOutcome::Applied]);
}

#[tokio::test]
async fn a_takeover_waits_for_the_batch_that_is_being_committed() {
    let db = database().await;
    testing::apply(&db, &directory_of(&[("a", &["ana"])], "")).await;
    hold(&db, "a", TERM).await.unwrap();
    let mut session = db.dedicated().await.unwrap();
    let mut tx = session.begin().await.unwrap();
    let fence = Fence { partition: partition_of("a"), epoch: 1, config_version: 1_000 };
    guard(&mut tx, &[fence]).await.unwrap().into_iter().for_each(|held| held.unwrap());
    expire_leases(&db, "a").await;
    let other = db.clone();
    let takeover = tokio::spawn(async move { hold(&other, "b", TERM).await.unwrap() });
    hilo_test_support::eventually("the takeover waits for the fence", Duration::from_secs(60), || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%assignment.partition%'",
        )
        .fetch_one(db.pool())
        .await
        .unwrap();
        waiting == 1
    })
    .await
    .unwrap();
    assert!(!takeover.is_finished());
    let taken: i64 = sqlx::query_scalar("SELECT count(*) FROM assignment.partition_lease WHERE holder = 'b'")
        .fetch_one(db.pool())
        .await
        .unwrap();
    assert_eq!(taken, 63, "partitions without a batch do not wait for it");
    tx.commit().await.unwrap();
    assert!(takeover.await.unwrap().iter().all(|one| one.epoch == 2));
}
