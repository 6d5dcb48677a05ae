//! Batches that are committed together: each behind its own fence, none in another's place, none lost when one fails.

use hilo_kit::db::Db;
use hilo_proto::internal::v1::AssignmentOutcome::{Applied, Conflict};

use super::{apply, batch, load_of, offer, outcomes, queue, subjects};
use crate::assignment::offers::{Batch, apply as apply_all};
use crate::assignment::together::Together;
use crate::attention::domain::InteractionId;
use crate::directory::testing::{self, database, directory_of};

async fn two_groups() -> (Db, InteractionId, InteractionId) {
    let db = database().await;
    testing::apply(&db, &directory_of(&[("a", &["ana"]), ("b", &["rosa"])], "")).await;
    let (of_a, of_b) = (queue(&db, "a", 1).await[0], queue(&db, "b", 1).await[0]);
    (db, of_a, of_b)
}

/// In one transaction, as they are where many come at once.
async fn in_one(
    db: &Db,
    requests: Vec<hilo_proto::internal::v1::ApplyOffersRequest>,
) -> Vec<crate::assignment::offers::Applied> {
    let batches: std::sync::Arc<Vec<_>> = std::sync::Arc::new(
        requests.into_iter().map(|request| std::sync::Arc::new(Batch::read(request).unwrap())).collect(),
    );
    db.transaction(move |tx| {
        let batches = batches.clone();
        Box::pin(async move { apply_all(tx, &subjects(), &batches).await })
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_refused_batch_takes_no_other_along_and_nothing_of_it_is_applied() {
    let (db, of_a, of_b) = two_groups().await;
    let mut late = batch("a", vec![offer(of_a, 1, "ana")]);
    late.epoch = 7;
    let mut unknown = batch("a", vec![offer(of_a, 1, "ana")]);
    unknown.partition = 64;
    let answers = in_one(&db, vec![late, batch("b", vec![offer(of_b, 1, "rosa")]), unknown]).await;
    assert_eq!(answers[0].as_ref().unwrap_err().reason(), "STALE_EPOCH");
    assert_eq!(outcomes(answers[1].as_ref().unwrap()), [Applied]);
    assert_eq!(answers[2].as_ref().unwrap_err().reason(), "UNKNOWN_PARTITION");
    assert_eq!((load_of(&db, "ana").await, load_of(&db, "rosa").await), (0, 1));
}

/// Without the look at the campaign's partition in `change` the first batch assigns what the other's owner decides on.
#[tokio::test]
async fn a_batch_changes_nothing_of_another_partition_also_beside_its_owners() {
    let (db, of_a, of_b) = two_groups().await;
    let intruding = batch("a", vec![offer(of_b, 1, "rosa"), offer(of_a, 1, "ana")]);
    let answers = in_one(&db, vec![intruding, batch("b", vec![offer(of_b, 1, "rosa")])]).await;
    assert_eq!(outcomes(answers[0].as_ref().unwrap()), [Conflict, Applied]);
    assert_eq!(outcomes(answers[1].as_ref().unwrap()), [Applied]);
    assert_eq!((load_of(&db, "ana").await, load_of(&db, "rosa").await), (1, 1));
}

/// Two batches of one partition that are out at once name the same item: one of them gets it.
#[tokio::test]
async fn an_item_of_two_batches_is_assigned_once() {
    let (db, of_a, _) = two_groups().await;
    let twice = vec![batch("a", vec![offer(of_a, 1, "ana")]), batch("a", vec![offer(of_a, 1, "ana")])];
    let answers = in_one(&db, twice).await;
    assert_eq!(outcomes(answers[0].as_ref().unwrap()), [Applied]);
    assert_eq!(outcomes(answers[1].as_ref().unwrap()), [Conflict]);
    assert_eq!(load_of(&db, "ana").await, 1);
}

#[tokio::test]
async fn many_at_once_are_all_answered_and_a_caller_that_leaves_takes_none_along() {
    let db = database().await;
    let keys: Vec<String> = (0..24).map(|one| format!("c{one:02}")).collect();
    let agents: Vec<String> = (0..24).map(|one| format!("agent-{one:02}")).collect();
    let members: Vec<[&str; 1]> = agents.iter().map(|agent| [agent.as_str()]).collect();
    let groups: Vec<(&str, &[&str])> =
        keys.iter().zip(&members).map(|(key, members)| (key.as_str(), members.as_slice())).collect();
    testing::apply(&db, &directory_of(&groups, "")).await;
    let together = Together::new(db.clone(), subjects());
    let mut asked = Vec::new();
    for (key, agent) in keys.iter().zip(&agents) {
        let id = queue(&db, key, 1).await[0];
        asked.push(Batch::read(batch(key, vec![offer(id, 1, agent)])).unwrap());
    }
    let mut calls: Vec<_> = asked
        .into_iter()
        .map(|batch| {
            let together = together.clone();
            tokio::spawn(async move { together.apply(batch).await })
        })
        .collect();
    calls.remove(3).abort();
    for call in calls {
        assert_eq!(outcomes(&call.await.unwrap().unwrap()), [Applied]);
    }
    let commits: i64 = sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM assignment.decision")
        .fetch_one(db.pool())
        .await
        .unwrap();
    assert!(commits < 23, "{commits} transactions for 24 batches");
}

/// A database error of the whole transaction: a load that would become negative, which only a defect of rows can cause.
#[tokio::test]
async fn a_batch_that_cannot_be_committed_leaves_those_beside_it_alone() {
    let (db, of_a, of_b) = two_groups().await;
    sqlx::raw_sql(
        "ALTER TABLE assignment.decision ADD CONSTRAINT poisoned CHECK (position('ana'::bytea in record) = 0)",
    )
    .execute(db.pool())
    .await
    .unwrap();
    let together = Together::new(db.clone(), subjects());
    let read = |request| Batch::read(request).unwrap();
    let bad = read(batch("a", vec![offer(of_a, 1, "ana")]));
    let good = read(batch("b", vec![offer(of_b, 1, "rosa")]));
    let (bad, good) = tokio::join!(together.apply(bad), together.apply(good));
    assert_eq!(bad.unwrap_err().reason(), "CONSTRAINT_VIOLATED");
    assert_eq!(outcomes(&good.unwrap()), [Applied]);
    let again = apply(&db, batch("a", vec![offer(of_a, 1, "ana")])).await;
    assert!(again.is_err(), "nothing of it was committed");
}
