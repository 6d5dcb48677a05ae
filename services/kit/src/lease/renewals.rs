//! Renewals of one process in one statement: a service with hundreds of accounts holds hundreds of leases, and a commit for
//! each of them every second would cost the database more than the work they protect.
//!
//! Keepers renew at the same instants, whole multiples of their interval, so that their wishes meet here. A row that another
//! session has locked is left out of the batch, because a takeover may hold it for seconds; it is renewed by itself, and the
//! other leases do not wait for it.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Lease;
use crate::db::Db;
use crate::error::Error;

/// Wishes of one instant come in within this time.
const GATHERING: Duration = Duration::from_millis(5);
/// Most rows of one statement.
const MOST: usize = 1_000;

/// What the batch says of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Its row was extended.
    Extended,
    /// Its row was not: it has another epoch or holder, or another session has locked it.
    NotExtended,
    /// The database did not answer.
    Unknown,
}

struct Wish {
    lease: Lease,
    term: Duration,
    answer: oneshot::Sender<Said>,
}

/// The wishes that wait for the next statement.
#[derive(Clone, Default)]
pub(crate) struct Renewals(Arc<Mutex<Vec<Wish>>>);

impl std::fmt::Debug for Renewals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewals").field("waiting", &self.0.lock().len()).finish()
    }
}

impl Renewals {
    /// Extends the lease together with all whose wish comes in the same instant.
    pub(super) async fn extend(&self, db: &Db, lease: &Lease, term: Duration) -> Said {
        let (answer, said) = oneshot::channel();
        let first = {
            let mut waiting = self.0.lock();
            waiting.push(Wish { lease: lease.clone(), term, answer });
            waiting.len() == 1
        };
        if first {
            let (waiting, db) = (self.clone(), db.clone());
            // Whoever came first may be dropped while the others wait.
            db.clone().spawn(async move {
                tokio::time::sleep(GATHERING).await;
                let wishes = mem::take(&mut *waiting.0.lock());
                let mut left = wishes.into_iter();
                loop {
                    let some: Vec<Wish> = left.by_ref().take(MOST).collect();
                    if some.is_empty() {
                        return;
                    }
                    answer_all(&db, some).await;
                }
            });
        }
        said.await.unwrap_or(Said::Unknown)
    }
}

async fn answer_all(db: &Db, wishes: Vec<Wish>) {
    let leases: Vec<(Lease, Duration)> = wishes.iter().map(|one| (one.lease.clone(), one.term)).collect();
    let extended = match extend_all(db, leases).await {
        Ok(names) => Some(names),
        Err(error) => {
            error.log("renewing leases");
            None
        }
    };
    for wish in wishes {
        let said = match &extended {
            None => Said::Unknown,
            Some(names) if names.contains(&wish.lease.name) => Said::Extended,
            Some(_) => Said::NotExtended,
        };
        // Nobody waits any more where the keeper gave up.
        let _ = wish.answer.send(said);
    }
}

/// Names of those that were extended.
async fn extend_all(db: &Db, leases: Vec<(Lease, Duration)>) -> Result<Vec<String>, Error> {
    let names: Vec<String> = leases.iter().map(|(lease, _)| lease.name.clone()).collect();
    let holders: Vec<String> = leases.iter().map(|(lease, _)| lease.holder.clone()).collect();
    let epochs: Vec<i64> = leases.iter().map(|(lease, _)| lease.epoch).collect();
    let terms: Vec<f64> = leases.iter().map(|(_, term)| term.as_secs_f64()).collect();
    db.read(move |conn| {
        Box::pin(async move {
            let extended = sqlx::query_scalar(
                "WITH wished AS (
                     SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::float8[]) AS w(name, holder, epoch, term)),
                 free AS (
                     SELECT l.name, w.term FROM kit.lease l JOIN wished w USING (name, holder, epoch)
                     ORDER BY l.name FOR UPDATE OF l SKIP LOCKED)
                 UPDATE kit.lease AS l SET expires_at = clock_timestamp() + make_interval(secs => free.term)
                 FROM free WHERE l.name = free.name RETURNING l.name",
            )
            .bind(&names)
            .bind(&holders)
            .bind(&epochs)
            .bind(&terms)
            .fetch_all(conn)
            .await?;
            Ok(extended)
        })
    })
    .await
}
