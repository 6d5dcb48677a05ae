//! Database access: migrations, cancelled callers, retries, inbox, idempotency.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hilo_kit::Error;
use hilo_kit::db::{db_now, migrate};
use hilo_kit::idempotency::{self, Begin};
use hilo_kit::inbox;
use hilo_test_support::{Postgres, eventually};
use sqlx::Connection;
use sqlx::{Executor as _, Row as _};
use uuid::Uuid;

use crate::parts::{DEADLINE, count, database, no_migrations};

#[tokio::test]
async fn migrating_creates_the_database_is_repeatable_and_refuses_a_newer_schema() {
    let server = Postgres::shared().await.unwrap();
    let url = server.url(&format!("made_{}", Uuid::new_v4().simple()));
    let none = no_migrations();
    let both = tokio::join!(migrate(&url, &none), migrate(&url, &none));
    both.0.unwrap();
    both.1.unwrap();
    let mut conn = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO kit.migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', true, '', 0)",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let refused = migrate(&url, &no_migrations()).await.unwrap_err();
    assert_eq!(refused.reason(), "SCHEMA_TOO_NEW");
    assert!(refused.message().contains("9999"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_caller_leaves_no_open_transaction_and_the_work_ends() {
    let (db, _) = database().await;
    db.read(|conn| {
        Box::pin(async move {
            sqlx::query("CREATE TABLE done (number int)").execute(conn).await?;
            Ok(())
        })
    })
    .await
    .unwrap();
    for number in 0..200i32 {
        let work = db.transaction(move |tx| {
            Box::pin(async move {
                sqlx::query("INSERT INTO done VALUES ($1)").bind(number).execute(&mut *tx).await?;
                tokio::time::sleep(Duration::from_millis(2)).await;
                Ok(())
            })
        });
        // Cancelled anywhere from before `begin` to after the commit.
        let _ = tokio::time::timeout(Duration::from_micros(u64::try_from(number).unwrap() * 30), work).await;
    }
    eventually("every transaction ended by itself", DEADLINE, || async {
        count(&db, "SELECT count(*) FROM done").await == 200
    })
    .await
    .unwrap();
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    assert_eq!(count(&db, open).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_left_inside_a_transaction_never_reaches_the_next_user() {
    let (db, _) = database().await;
    for _ in 0..20 {
        // As a future dropped inside `begin` leaves it behind: the client does not know that the server has begun.
        let left: Result<(), hilo_kit::Error> = db
            .read(|conn| {
                Box::pin(async move {
                    sqlx::raw_sql("BEGIN").execute(conn).await?;
                    panic!("in the middle");
                })
            })
            .await;
        assert_eq!(left.unwrap_err().reason(), "DATABASE_WORK_PANICKED");
        // A simple query that is its own transaction sees one instant.
        let inside: bool = db
            .read(|conn| {
                Box::pin(async move {
                    let row = conn.fetch_one(sqlx::raw_sql("SELECT now() <> statement_timestamp()")).await?;
                    Ok(sqlx::Row::try_get(&row, 0)?)
                })
            })
            .await
            .unwrap();
        assert!(!inside);
    }
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    eventually("no session is left in a transaction", DEADLINE, || async { count(&db, open).await == 0 })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_are_retried_and_other_errors_are_not() {
    let (db, _) = database().await;
    db.read(|conn| {
        Box::pin(async move {
            sqlx::raw_sql(
                "CREATE TABLE pair (id int PRIMARY KEY, n int); INSERT INTO pair VALUES (1, 0), (2, 0)",
            )
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
    .unwrap();
    let tries = Arc::new(AtomicU32::new(0));
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let cross = |first: i32, second: i32| {
        let (db, tries, both) = (db.clone(), tries.clone(), both.clone());
        tokio::spawn(async move {
            db.transaction(move |tx| {
                let (tries, both) = (tries.clone(), both.clone());
                Box::pin(async move {
                    let turn = tries.fetch_add(1, Ordering::SeqCst);
                    for id in [first, second] {
                        sqlx::query("UPDATE pair SET n = n + 1 WHERE id = $1")
                            .bind(id)
                            .execute(&mut *tx)
                            .await?;
                        // Each holds its first row before either asks for the other's.
                        if id == first && turn < 2 {
                            both.wait().await;
                        }
                    }
                    Ok(())
                })
            })
            .await
        })
    };
    let (a, b) = (cross(1, 2), cross(2, 1));
    a.await.unwrap().unwrap();
    b.await.unwrap().unwrap();
    assert!(tries.load(Ordering::SeqCst) > 2, "one of them lost and tried again");
    assert_eq!(count(&db, "SELECT sum(n)::bigint FROM pair").await, 4);

    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let failed: Result<(), Error> = db
        .transaction(move |tx| {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                db_now(tx).await?;
                Err(Error::rejected("NO", "no"))
            })
        })
        .await;
    assert_eq!(failed.unwrap_err().reason(), "NO");
    assert_eq!(tries.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_gives_each_message_to_one_transaction() {
    let (db, _) = database().await;
    let ids: Vec<Uuid> = (0..50).map(|_| Uuid::now_v7()).collect();
    let tasks: Vec<_> = (0..8)
        .map(|turn: usize| {
            let (db, mut ids) = (db.clone(), ids.clone());
            ids.rotate_left(turn * 6);
            tokio::spawn(async move {
                db.transaction(move |tx| {
                    let ids = ids.clone();
                    Box::pin(async move { inbox::take(tx, "reader", &ids).await })
                })
                .await
                .unwrap()
            })
        })
        .collect();
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await.unwrap());
    }
    taken.sort_unstable();
    assert_eq!(taken, ids, "each exactly once");
    assert_eq!(inbox::known(&db, "reader", &ids).await.unwrap().len(), 50);
    assert_eq!(inbox::known(&db, "another", &ids).await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_replays_its_answer_and_refuses_another_body() {
    let (db, _) = database().await;
    let run = |body: &'static str| {
        let db = db.clone();
        async move {
            db.transaction(move |tx| {
                Box::pin(async move {
                    let begun =
                        idempotency::begin(tx, "ana", "Send", "r1", &idempotency::hash(body.as_bytes()))
                            .await?;
                    if begun == Begin::Fresh {
                        idempotency::finish(tx, "ana", "Send", "r1", b"answer").await?;
                    }
                    Ok(begun)
                })
            })
            .await
            .unwrap()
        }
    };
    let both = tokio::join!(run("a"), run("a"));
    let fresh = [&both.0, &both.1].into_iter().filter(|begun| **begun == Begin::Fresh).count();
    assert_eq!(fresh, 1, "{both:?}");
    assert_eq!(run("a").await, Begin::Replay(b"answer".to_vec()));
    assert_eq!(run("b").await, Begin::Reused);
    assert_eq!(run("b").await.replay().unwrap_err().reason(), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn sessions_carry_their_belts_and_a_lock_that_is_not_granted_is_a_conflict() {
    let (db, _) = database().await;
    let settings: Vec<String> = db
        .read(|conn| {
            Box::pin(async move {
                Ok(sqlx::query_scalar(
                    "SELECT setting || coalesce(unit, '') FROM pg_settings WHERE name IN
                     ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout') ORDER BY name",
                )
                .fetch_all(conn)
                .await?)
            })
        })
        .await
        .unwrap();
    assert_eq!(settings, ["10000ms", "3000ms", "5000ms"]);
    let slow: Result<(), Error> = db
        .read(|conn| {
            Box::pin(async move { Ok(sqlx::query("SELECT pg_sleep(20)").execute(conn).await.map(drop)?) })
        })
        .await;
    assert_eq!(slow.unwrap_err().reason(), "STATEMENT_TIMEOUT");
    let holder = db.clone();
    let (locked_tx, locked) = tokio::sync::oneshot::channel::<()>();
    let locked_tx = Arc::new(parking_lot::Mutex::new(Some(locked_tx)));
    let gave_up = Arc::new(AtomicBool::new(false));
    let done = gave_up.clone();
    let held = tokio::spawn(async move {
        holder
            .transaction(move |tx| {
                let (locked, done) = (locked_tx.clone(), done.clone());
                Box::pin(async move {
                    sqlx::query("LOCK TABLE kit.inbox").execute(&mut *tx).await?;
                    if let Some(locked) = locked.lock().take() {
                        locked.send(()).unwrap();
                    }
                    // Not idle, which the session would not survive, until the other gave up.
                    while !done.load(Ordering::SeqCst) {
                        sqlx::query("SELECT pg_sleep(0.05)").execute(&mut *tx).await?;
                    }
                    Ok(())
                })
            })
            .await
    });
    locked.await.unwrap();
    let waited = db
        .transaction(|tx| Box::pin(async move { inbox::take(tx, "reader", &[Uuid::now_v7()]).await }))
        .await
        .unwrap_err();
    gave_up.store(true, Ordering::SeqCst);
    assert_eq!(waited.reason(), "LOCK_TIMEOUT");
    held.await.unwrap().unwrap();
}

/// Commands and looks go by key. Without `enable_seqscan = off` in them `by_key` is planned as `as_left` is, which shows what is
/// avoided: a plan that was made while the table was empty reads all of it until the server has counted it again.
#[tokio::test]
async fn a_plan_made_for_an_empty_table_does_not_read_the_whole_of_a_full_one() {
    let (db, _) = database().await;
    db.read(|conn| {
        Box::pin(async move {
            conn.execute("CREATE TABLE grown (id bigint PRIMARY KEY); ANALYZE grown").await?;
            Ok(())
        })
    })
    .await
    .unwrap();
    let plans = db.transaction(|tx| {
        Box::pin(async move {
            tx.execute("PREPARE by_key (bigint[]) AS SELECT id FROM grown WHERE id = ANY($1); EXECUTE by_key ('{1}')")
                .await?;
            tx.execute("SET LOCAL enable_seqscan = on").await?;
            tx.execute("PREPARE as_left (bigint[]) AS SELECT id FROM grown WHERE id = ANY($1); EXECUTE as_left ('{1}')")
                .await?;
            tx.execute("INSERT INTO grown SELECT generate_series(1, 10000)").await?;
            let mut plans = Vec::new();
            for explain in ["EXPLAIN EXECUTE by_key ('{1}')", "EXPLAIN EXECUTE as_left ('{1}')"] {
                let lines = tx.fetch_all(explain).await?;
                plans.push(lines.iter().map(|line| line.get::<String, _>(0)).collect::<Vec<_>>().join("\n"));
            }
            Ok(plans)
        })
    });
    let plans = plans.await.unwrap();
    assert!(!plans[0].contains("Seq Scan"), "{}", plans[0]);
    assert!(plans[1].contains("Seq Scan"), "{}", plans[1]);
}
