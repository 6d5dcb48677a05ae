//! Leases in PostgreSQL with an epoch as fence: who holds a name, until when by the database's clock.
//!
//! The resource checks the epoch ([`guard`]) in every write of an owner; a paused holder that wakes up late is refused
//! there and nowhere else. Expiry and epoch are separate rows, so a renewal never waits for guarded writes.

mod renewals;

use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::db::Db;
use crate::error::Error;
use crate::lifecycle::Shutdown;

pub(crate) use renewals::Renewals;
use renewals::Said;

/// Usual term of a lease: a dead holder is replaced within this time plus a renewal interval.
pub const TERM: Duration = Duration::from_secs(4);

/// A lease that is held, as its holder sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Name.
    pub name: String,
    /// The fence: grows with every new holder.
    pub epoch: i64,
    /// Who holds it.
    pub holder: String,
    /// Local give-up at two thirds of the term, by the monotonic clock.
    pub until: Instant,
}

impl Lease {
    /// True until the local give-up.
    pub fn is_alive(&self) -> bool {
        Instant::now() < self.until
    }
}

/// Answer of [`acquire`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It was free or expired: held under a new epoch.
    Taken(Lease),
    /// This holder has it already: extended, same epoch.
    Kept(Lease),
    /// Another one holds it.
    Other {
        /// Who.
        holder: String,
        /// It may be free after this time.
        expires_in: Duration,
    },
}

/// Answer of [`renew`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// Extended.
    Held(Lease),
    /// Another holder took it: stop at once.
    Lost,
}

/// Takes the lease when it is free, expired or already ours. A takeover waits for writes guarded by the old epoch.
///
/// # Errors
/// Database errors: then nothing is known, and nothing was taken that is not ours by epoch.
pub async fn acquire(db: &Db, name: &str, holder: &str, term: Duration) -> Result<Acquired, Error> {
    let before = Instant::now();
    let (name, holder) = (name.to_owned(), holder.to_owned());
    db.transaction(move |tx| {
        let (name, holder) = (name.clone(), holder.clone());
        Box::pin(async move { acquire_in(tx, &name, &holder, term, before).await })
    })
    .await
}

async fn acquire_in(
    tx: &mut PgConnection,
    name: &str,
    holder: &str,
    term: Duration,
    before: Instant,
) -> Result<Acquired, Error> {
    // Both rows exist before they are locked, so that two first comers meet at the lease row.
    sqlx::query("INSERT INTO kit.lease_epoch (name, epoch) VALUES ($1, 0) ON CONFLICT DO NOTHING")
        .bind(name)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO kit.lease (name, holder, epoch, expires_at) VALUES ($1, '', 0, '-infinity')
         ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .execute(&mut *tx)
    .await?;
    let (current, epoch, left): (String, i64, f64) = sqlx::query_as(
        "SELECT holder, epoch, CASE WHEN expires_at > clock_timestamp()
             THEN extract(epoch FROM expires_at - clock_timestamp())::float8 ELSE 0 END
         FROM kit.lease WHERE name = $1 FOR UPDATE",
    )
    .bind(name)
    .fetch_one(&mut *tx)
    .await?;
    let lease = |epoch| Lease {
        name: name.to_owned(),
        epoch,
        holder: holder.to_owned(),
        until: before + term * 2 / 3,
    };
    if left > 0.0 && current != holder {
        return Ok(Acquired::Other { holder: current, expires_in: Duration::from_secs_f64(left) });
    }
    let kept = left > 0.0;
    let epoch = if kept {
        epoch
    } else {
        sqlx::query_scalar("UPDATE kit.lease_epoch SET epoch = epoch + 1 WHERE name = $1 RETURNING epoch")
            .bind(name)
            .fetch_one(&mut *tx)
            .await?
    };
    sqlx::query(
        "UPDATE kit.lease SET holder = $2, epoch = $3,
             expires_at = clock_timestamp() + make_interval(secs => $4) WHERE name = $1",
    )
    .bind(name)
    .bind(holder)
    .bind(epoch)
    .bind(term.as_secs_f64())
    .execute(tx)
    .await?;
    Ok(if kept { Acquired::Kept(lease(epoch)) } else { Acquired::Taken(lease(epoch)) })
}

/// Extends the lease. An expired one that nobody took is extended as well: its epoch still fences.
///
/// # Errors
/// Database errors: nothing is known; try again until [`Lease::until`].
pub async fn renew(db: &Db, lease: &Lease, term: Duration) -> Result<Renewed, Error> {
    let before = Instant::now();
    let extended = match db.renewals().extend(db, lease, term).await {
        Said::Extended => true,
        Said::NotExtended => renew_alone(db, lease, term).await?,
        Said::Unknown => {
            return Err(Error::unavailable("LEASE_NOT_RENEWED", "the database did not answer to a renewal"));
        }
    };
    Ok(if extended {
        Renewed::Held(Lease { until: before + term * 2 / 3, ..lease.clone() })
    } else {
        Renewed::Lost
    })
}

/// False when it is lost.
async fn renew_alone(db: &Db, lease: &Lease, term: Duration) -> Result<bool, Error> {
    let wanted = lease.clone();
    db.read(move |conn| {
        Box::pin(async move {
            let done = sqlx::query(
                "UPDATE kit.lease SET expires_at = clock_timestamp() + make_interval(secs => $4)
                 WHERE name = $1 AND holder = $2 AND epoch = $3",
            )
            .bind(&wanted.name)
            .bind(&wanted.holder)
            .bind(wanted.epoch)
            .bind(term.as_secs_f64())
            .execute(conn)
            .await?;
            Ok(done.rows_affected() == 1)
        })
    })
    .await
}

/// Gives the lease back, so that the next holder need not wait.
///
/// # Errors
/// Database errors; then it expires by itself.
pub async fn release(db: &Db, lease: &Lease) -> Result<(), Error> {
    let lease = lease.clone();
    db.read(move |conn| {
        Box::pin(async move {
            sqlx::query(
                "UPDATE kit.lease SET expires_at = '-infinity' WHERE name = $1 AND holder = $2 AND epoch = $3",
            )
            .bind(&lease.name)
            .bind(&lease.holder)
            .bind(lease.epoch)
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

/// The fence: holds the epoch for the rest of the transaction, or refuses.
///
/// # Errors
/// `STALE_EPOCH` when another holder took over.
pub async fn guard(tx: &mut PgConnection, lease: &Lease) -> Result<(), Error> {
    let valid = sqlx::query("SELECT 1 FROM kit.lease_epoch WHERE name = $1 AND epoch = $2 FOR SHARE")
        .bind(&lease.name)
        .bind(lease.epoch)
        .fetch_optional(tx)
        .await?;
    match valid {
        Some(_) => Ok(()),
        None => Err(Error::rejected("STALE_EPOCH", "another holder took the lease over")),
    }
}

/// Keeps a lease in the background: acquires, renews every quarter of the term, gives up in time, releases at shutdown.
#[derive(Clone, Debug)]
pub struct Keeper {
    held: watch::Receiver<Option<Lease>>,
}

impl Keeper {
    /// Starts keeping. `holder` must be unique per process start.
    pub fn spawn(
        db: Db,
        name: impl Into<String>,
        holder: impl Into<String>,
        term: Duration,
        shutdown: &Shutdown,
    ) -> Self {
        let (sender, held) = watch::channel(None);
        let (name, holder) = (name.into(), holder.into());
        let stop = shutdown.clone();
        shutdown.spawn(format!("lease {name}"), async move {
            keep(&db, &name, &holder, term, &sender, &stop).await;
            let last = sender.send_replace(None);
            if let Some(lease) = last
                && let Err(error) = release(&db, &lease).await
            {
                error.log("releasing a lease");
            }
        });
        Self { held }
    }

    /// The lease while it is held.
    pub fn current(&self) -> Option<Lease> {
        self.held.borrow().clone().filter(Lease::is_alive)
    }

    /// Follows the lease.
    pub fn watch(&self) -> watch::Receiver<Option<Lease>> {
        self.held.clone()
    }

    /// Waits until it is held.
    pub async fn held(&self) -> Option<Lease> {
        let mut held = self.held.clone();
        held.wait_for(Option::is_some).await.ok().and_then(|lease| lease.clone())
    }
}

async fn keep(
    db: &Db,
    name: &str,
    holder: &str,
    term: Duration,
    sender: &watch::Sender<Option<Lease>>,
    stop: &Shutdown,
) {
    while !stop.is_cancelled() {
        let current = sender.borrow().clone();
        let step = async {
            match &current {
                Some(lease) => renew(db, lease, term).await.map(|renewed| match renewed {
                    Renewed::Held(lease) => Some(lease),
                    Renewed::Lost => None,
                }),
                None => acquire(db, name, holder, term).await.map(|acquired| match acquired {
                    Acquired::Taken(lease) | Acquired::Kept(lease) => Some(lease),
                    Acquired::Other { .. } => None,
                }),
            }
        };
        // A hanging database must not delay the local give-up.
        let limit = current.as_ref().map_or(Instant::now() + term, |lease| lease.until);
        match tokio::time::timeout_at(limit, step).await {
            Ok(Ok(next)) => announce(sender, name, next),
            Ok(Err(error)) => error.log("keeping a lease"),
            Err(_) => tracing::warn!(lease = name, "the database did not answer in time"),
        }
        if sender.borrow().as_ref().is_some_and(|lease| !lease.is_alive()) {
            announce(sender, name, None);
        }
        if !stop.sleep(until_next(db.up_for(), term / 4)).await {
            return;
        }
    }
}

/// Until the next whole multiple of the interval: all keepers of a process renew at once, in one statement.
fn until_next(up_for: Duration, interval: Duration) -> Duration {
    let interval = interval.max(Duration::from_millis(1));
    let over = up_for.as_nanos() % interval.as_nanos();
    interval - Duration::from_nanos(u64::try_from(over).unwrap_or(0))
}

fn announce(sender: &watch::Sender<Option<Lease>>, name: &str, next: Option<Lease>) {
    let before = sender.borrow().as_ref().map(|lease| lease.epoch);
    let after = next.as_ref().map(|lease| lease.epoch);
    if before != after {
        tracing::info!(lease = name, epoch = after, "lease changed hands");
    }
    sender.send_replace(next);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepers_wake_at_the_same_instants() {
        let at = Duration::from_millis;
        for (up_for, interval, left) in
            [(0, 1_000, 1_000), (1, 1_000, 999), (999, 1_000, 1), (1_000, 1_000, 1_000)]
        {
            assert_eq!(until_next(at(up_for), at(interval)), at(left), "{up_for} ms");
        }
        assert_eq!(until_next(at(7), Duration::ZERO), at(1));
    }
}
