//! Leases: one holder, takeover after expiry, and the fence that refuses a late one.

use std::time::Duration;

use hilo_kit::lease::{self, Acquired, Keeper, Lease, Renewed};
use hilo_kit::lifecycle::Shutdown;
use hilo_test_support::eventually;
use sqlx::Connection;

use crate::parts::{DEADLINE, database};

const SHORT: Duration = Duration::from_millis(300);

fn lease_of(acquired: Acquired) -> Lease {
    match acquired {
        Acquired::Taken(lease) | Acquired::Kept(lease) => lease,
        Acquired::Other { .. } => panic!("held by another"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_at_once_one_holds() {
    let (db, _) = database().await;
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let db = db.clone();
            tokio::spawn(
                async move { lease::acquire(&db, "one", &number.to_string(), DEADLINE).await.unwrap() },
            )
        })
        .collect();
    let mut held = 0;
    for task in tasks {
        held += usize::from(matches!(task.await.unwrap(), Acquired::Taken(_)));
    }
    assert_eq!(held, 1);
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_and_the_old_holder_is_refused() {
    let (db, _) = database().await;
    let old = lease_of(lease::acquire(&db, "name", "a", DEADLINE).await.unwrap());
    assert!(matches!(lease::acquire(&db, "name", "b", SHORT).await.unwrap(), Acquired::Other { .. }));
    let Renewed::Held(old) = lease::renew(&db, &old, SHORT).await.unwrap() else { panic!("lost") };
    let mut new = None;
    eventually("b takes over", DEADLINE, || {
        let db = db.clone();
        async move {
            matches!(
                lease::acquire(&db, "name", "b", DEADLINE).await.unwrap(),
                Acquired::Taken(_) | Acquired::Kept(_)
            )
        }
    })
    .await
    .unwrap();
    new.get_or_insert(lease_of(lease::acquire(&db, "name", "b", DEADLINE).await.unwrap()));
    let new = new.unwrap();
    assert!(new.epoch > old.epoch);
    assert!(!old.is_alive(), "given up locally before it expired");
    assert_eq!(lease::renew(&db, &old, SHORT).await.unwrap(), Renewed::Lost);
    let guarded = |lease: Lease| {
        db.transaction(move |tx| {
            let lease = lease.clone();
            Box::pin(async move { lease::guard(tx, &lease).await })
        })
    };
    assert_eq!(guarded(old).await.unwrap_err().reason(), "STALE_EPOCH");
    guarded(new).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_waits_for_guarded_writes_and_renewals_do_not() {
    let (db, _) = database().await;
    let old = lease_of(lease::acquire(&db, "name", "a", DEADLINE).await.unwrap());
    let mut session = db.dedicated().await.unwrap();
    let mut tx = session.begin().await.unwrap();
    lease::guard(&mut tx, &old).await.unwrap();
    // Would never come back if it waited for the guarded write, which goes on until the commit below.
    let Renewed::Held(old) = lease::renew(&db, &old, Duration::from_millis(50)).await.unwrap() else {
        panic!("lost")
    };
    eventually("the lease has expired, as the database's clock says too", DEADLINE, || async {
        let expired: i64 =
            sqlx::query_scalar("SELECT count(*) FROM kit.lease WHERE expires_at <= clock_timestamp()")
                .fetch_one(db.pool())
                .await
                .unwrap();
        expired == 1 && !old.is_alive()
    })
    .await
    .unwrap();
    let other = db.clone();
    let takeover =
        tokio::spawn(async move { lease_of(lease::acquire(&other, "name", "b", DEADLINE).await.unwrap()) });
    eventually("the takeover waits for the guarded write", DEADLINE, || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(db.pool())
        .await
        .unwrap();
        waiting == 1
    })
    .await
    .unwrap();
    assert!(!takeover.is_finished());
    tx.commit().await.unwrap();
    assert!(takeover.await.unwrap().epoch > old.epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_of_a_process_are_renewed_in_one_transaction_and_none_waits_for_a_locked_one() {
    let (db, _) = database().await;
    let mut leases = Vec::new();
    for number in 0..40 {
        leases.push(lease_of(lease::acquire(&db, &format!("{number:02}"), "a", DEADLINE).await.unwrap()));
    }
    let renewed = |leases: &[Lease]| {
        let one = |lease: &Lease| {
            let (db, lease) = (db.clone(), lease.clone());
            async move { lease::renew(&db, &lease, DEADLINE).await.unwrap() }
        };
        futures::future::join_all(leases.iter().map(one).collect::<Vec<_>>())
    };
    let writers = || async {
        let counted: i64 = sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM kit.lease")
            .fetch_one(db.pool())
            .await
            .unwrap();
        counted
    };
    assert_eq!(writers().await, 40, "each was acquired by itself");
    assert!(renewed(&leases).await.iter().all(|one| matches!(one, Renewed::Held(_))));
    assert_eq!(writers().await, 1, "all were renewed together");

    let (first, others) = leases.split_first().unwrap();
    let mut session = db.dedicated().await.unwrap();
    let mut tx = session.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM kit.lease WHERE name = '00' FOR UPDATE").execute(&mut *tx).await.unwrap();
    let waiting = tokio::spawn(renewed(std::slice::from_ref(first)));
    // Would never come back if it waited for the row that is locked until the commit below.
    let held = tokio::time::timeout(DEADLINE, renewed(others)).await.unwrap();
    assert!(held.iter().all(|one| matches!(one, Renewed::Held(_))));
    tx.commit().await.unwrap();
    assert!(matches!(waiting.await.unwrap().as_slice(), [Renewed::Held(_)]), "late, not lost");

    sqlx::query("UPDATE kit.lease SET holder = 'b', epoch = epoch + 1 WHERE name = '00'")
        .execute(db.pool())
        .await
        .unwrap();
    let after = renewed(&leases).await;
    let lost: Vec<usize> = (0..40).filter(|at| after.get(*at) == Some(&Renewed::Lost)).collect();
    assert_eq!(lost, [0], "only the one that another holder took");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_hands_over_at_once_when_it_stops() {
    let (db, _) = database().await;
    let term = Duration::from_secs(20);
    let (first, second) = (Shutdown::new(), Shutdown::new());
    let a = Keeper::spawn(db.clone(), "kept", "a", term, &first);
    let epoch = a.held().await.unwrap().epoch;
    let b = Keeper::spawn(db.clone(), "kept", "b", Duration::from_secs(2), &second);
    assert!(b.current().is_none());
    first.drain(DEADLINE).await;
    assert!(a.current().is_none());
    let taken = tokio::time::timeout(DEADLINE, b.held()).await.unwrap().unwrap();
    assert!(taken.epoch > epoch);
    second.drain(DEADLINE).await;
}
