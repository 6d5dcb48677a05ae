//! A peer to compare with: the plain durable queue that many build on PostgreSQL. Items are inserted in batches; each of some workers
//! takes the oldest unlocked one (`FOR UPDATE SKIP LOCKED`), gives it to the next agent in turn and commits. No streams, no events,
//! no capacity, no skills: what an assignment costs where nobody hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use hilo_end_to_end::Installation;
use sqlx::{Connection as _, PgConnection};

/// Workers, each with a session.
const WORKERS: usize = 16;
/// Items of an insert.
const BATCH: i64 = 64;
/// Items that wait at most.
const AHEAD: usize = 5_000;

/// Assignments per second of the peer.
///
/// # Errors
/// When the database cannot be used.
pub async fn peer(installation: &Installation, lasting: Duration) -> Result<f64> {
    let url = installation.database("postgres");
    let mut session = PgConnection::connect(&url).await?;
    for statement in [
        "DROP TABLE IF EXISTS load_peer",
        "CREATE TABLE load_peer (id bigserial PRIMARY KEY, body text NOT NULL, agent integer)",
        "CREATE INDEX ON load_peer (id) WHERE agent IS NULL",
    ] {
        sqlx::query(statement).execute(&mut session).await?;
    }
    let (until, taken) = (Instant::now() + lasting, Arc::new(AtomicUsize::new(0)));
    let workers: Vec<_> =
        (0..WORKERS).map(|nth| tokio::spawn(work(url.clone(), nth, until, Arc::clone(&taken)))).collect();
    let mut inserted = 0;
    while Instant::now() < until {
        if inserted > taken.load(Ordering::Relaxed) + AHEAD {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        sqlx::query("INSERT INTO load_peer (body) SELECT repeat('x', 200) FROM generate_series(1, $1)")
            .bind(BATCH)
            .execute(&mut session)
            .await?;
        inserted += usize::try_from(BATCH)?;
    }
    for worker in workers {
        worker.await??;
    }
    Ok(taken.load(Ordering::Relaxed) as f64 / lasting.as_secs_f64())
}

async fn work(url: String, nth: usize, until: Instant, taken: Arc<AtomicUsize>) -> Result<()> {
    let mut session = PgConnection::connect(&url).await?;
    let agent = i32::try_from(nth)?;
    while Instant::now() < until {
        let given = sqlx::query(
            "UPDATE load_peer SET agent = $1 WHERE id =
               (SELECT id FROM load_peer WHERE agent IS NULL ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1)",
        )
        .bind(agent)
        .execute(&mut session)
        .await?
        .rows_affected();
        taken.fetch_add(usize::try_from(given)?, Ordering::Relaxed);
        if given == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(())
}
