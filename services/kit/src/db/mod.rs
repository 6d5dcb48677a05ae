//! PostgreSQL access that cannot be left half-way: every piece of work runs in a tracked task that nobody aborts,
//! because a future dropped inside `begin` hands a session in an open transaction to the next user of the pool.

mod migrate;
mod pool;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;

pub use migrate::{kit_migrator, migrate};

use crate::clock;
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::lease::Renewals;
use crate::outbox::{Partitions, Wakes};
use pool::Borrowed;

/// Tries of one transaction that loses races before the conflict is reported.
const MAX_TRIES: u32 = 8;
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const BEGIN_LOOK: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                          SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off";
/// Commands find their rows by key, so one plan fits all; left to itself the server plans every statement over a short array
/// anew, as it believes that an array has ten elements, and planning then costs more than the work (a third of its time at 200
/// commands per second). Reads choose by themselves, but for those that also go by key. A plan that was made while a table had no
/// statistics would read the whole table until the server has counted it, however much it has grown by then: where rows are found
/// by key no plan may.
const BEGIN: &str = "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off";
/// The caller of database work waits at most this long; the work itself still ends by itself (server timeouts).
const CALLER_WAIT: Duration = Duration::from_secs(15);

tokio::task_local! {
    /// Set by [`crate::outbox::append`]: partitions of which the transaction that is running has new outbox rows.
    static APPENDED: std::cell::Cell<Partitions>;
}

pub(crate) fn mark_appended(partitions: Partitions) {
    // Outside of `Db::transaction` (a test with a bare connection) the relay's poll finds the rows.
    let _ = APPENDED.try_with(|appended| appended.set(appended.get().and(partitions)));
}

/// A pool with the rules of the house.
#[derive(Clone, Debug)]
pub struct Db {
    pool: PgPool,
    options: PgConnectOptions,
    tasks: TaskTracker,
    outbox: Arc<Wakes>,
    renewals: Renewals,
    since: Instant,
}

impl Db {
    /// Connects and checks that the server answers.
    ///
    /// # Errors
    /// `INVALID_CONFIG` for a malformed URL, `DATABASE_UNAVAILABLE`.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, Error> {
        let options = pool::options(config)?;
        let pool = pool::build(options.clone(), config.max_connections);
        let db = Self {
            pool,
            options,
            tasks: TaskTracker::new(),
            outbox: Arc::default(),
            renewals: Renewals::default(),
            since: Instant::now(),
        };
        db.read(|conn| Box::pin(async move { Ok(sqlx::query("SELECT 1").execute(conn).await.map(drop)?) }))
            .await?;
        Ok(db)
    }

    /// Runs `work` in one READ COMMITTED transaction, commits, and tries again when it lost a race.
    ///
    /// `work` may run several times, so it must own what it needs and clone from it. When the caller is dropped the
    /// transaction still ends properly. After the commit a relay of this process is woken if rows were appended.
    ///
    /// # Errors
    /// What `work` returns; `COMMIT_UNKNOWN` (class unavailable) when the answer did not come in time.
    pub async fn transaction<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + Sync + 'static,
    {
        let this = self.clone();
        self.run(async move { this.transaction_here(&work).await }).await
    }

    /// Runs `work` on one connection, each statement by itself.
    ///
    /// # Errors
    /// What `work` returns.
    pub async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        let pool = self.pool.clone();
        self.run(async move {
            let mut conn = Borrowed::from(&pool).await?;
            let result = work(&mut conn).await;
            conn.give_back();
            result
        })
        .await
    }

    /// Runs `work` in a REPEATABLE READ, READ ONLY transaction: all its statements see one instant.
    ///
    /// # Errors
    /// What `work` returns.
    pub async fn snapshot<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        self.read_only(BEGIN_SNAPSHOT, work).await
    }

    /// As [`Self::snapshot`], for reads that find their rows by key: one plan fits all, as for commands.
    ///
    /// # Errors
    /// What `work` returns.
    pub async fn look<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        self.read_only(BEGIN_LOOK, work).await
    }

    /// Runs any database work in a tracked task that goes on when the caller is dropped.
    ///
    /// # Errors
    /// What the work returns; `COMMIT_UNKNOWN` when the answer did not come in time; `DATABASE_WORK_PANICKED`.
    pub async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let task = self.tasks.spawn(tracing::Instrument::in_current_span(work));
        match tokio::time::timeout(CALLER_WAIT, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(join)) => {
                Err(Error::internal("DATABASE_WORK_PANICKED", "database work panicked").with_source(join))
            }
            Err(_) => Err(Error::unavailable("COMMIT_UNKNOWN", "the database did not answer in time")),
        }
    }

    async fn read_only<T, F>(&self, begin: &'static str, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        let pool = self.pool.clone();
        self.run(async move {
            let mut conn = Borrowed::from(&pool).await?;
            let mut tx = conn.begin_with(begin).await?;
            let result = work(&mut tx).await;
            tx.rollback().await?;
            conn.give_back();
            result
        })
        .await
    }

    async fn transaction_here<T, F>(&self, work: &F) -> Result<T, Error>
    where
        F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + Sync,
    {
        let mut attempt = 0;
        loop {
            let none = std::cell::Cell::new(Partitions::default());
            let (result, appended) = APPENDED
                .scope(none, async {
                    let result = self.try_once(work).await;
                    (result, APPENDED.with(std::cell::Cell::get))
                })
                .await;
            match result {
                Ok(value) => {
                    if !appended.is_empty() {
                        self.outbox.committed(appended);
                    }
                    return Ok(value);
                }
                Err(error) if error.reason() == "SERIALIZATION_FAILURE" && attempt < MAX_TRIES => {
                    tokio::time::sleep(clock::backoff(
                        attempt,
                        Duration::from_millis(5),
                        Duration::from_millis(200),
                    ))
                    .await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_once<T, F>(&self, work: &F) -> Result<T, Error>
    where
        F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + Sync,
    {
        let mut conn = Borrowed::from(&self.pool).await?;
        let mut tx = conn.begin_with(BEGIN).await?;
        match work(&mut tx).await {
            Ok(value) => {
                tx.commit().await?;
                conn.give_back();
                Ok(value)
            }
            Err(error) => {
                match tx.rollback().await {
                    Ok(()) => conn.give_back(),
                    // A broken connection cannot roll back; the server does it when the session ends.
                    Err(rollback) => tracing::debug!(error = %rollback, "rollback failed"),
                }
                Err(error)
            }
        }
    }

    /// Keeps a readiness condition: on while the database answers.
    pub fn watch_readiness(
        &self,
        condition: crate::health::Condition,
        shutdown: &crate::lifecycle::Shutdown,
    ) {
        let (db, stop) = (self.clone(), shutdown.clone());
        shutdown.spawn("database readiness", async move {
            loop {
                let answer = db.read(|conn| {
                    Box::pin(async move { Ok(sqlx::query("SELECT 1").execute(conn).await.map(drop)?) })
                });
                let answers = tokio::time::timeout(Duration::from_secs(3), answer).await;
                condition.set(matches!(answers, Ok(Ok(()))));
                if !stop.sleep(Duration::from_secs(2)).await {
                    return;
                }
            }
        });
    }

    /// A session of its own outside of the pool, with the same settings, for long-lived work.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn dedicated(&self) -> Result<PgConnection, Error> {
        Ok(PgConnection::connect_with(&self.options).await?)
    }

    /// The pool, for tests and for reads that are never cancelled. Never `begin` on it in a future that may be dropped.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Rung after a commit that appended outbox rows.
    pub(crate) fn outbox_wakes(&self) -> Arc<Wakes> {
        self.outbox.clone()
    }

    /// The renewals of this process's leases.
    pub(crate) fn renewals(&self) -> &Renewals {
        &self.renewals
    }

    /// How long ago it was connected, the same for all its clones.
    pub(crate) fn up_for(&self) -> Duration {
        self.since.elapsed()
    }

    /// Runs a task that [`Self::close`] waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits for running work, then closes the pool. Call it last.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.pool.close().await;
    }
}

/// The database's clock: the start of the running transaction. Stored instants and deadline checks use it.
///
/// # Errors
/// Database errors.
pub async fn db_now(tx: &mut PgConnection) -> Result<OffsetDateTime, Error> {
    Ok(sqlx::query_scalar("SELECT now()").fetch_one(tx).await?)
}
