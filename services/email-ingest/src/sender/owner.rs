//! The owner of one account: while it holds the lease it recovers what an earlier owner left and begins what is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{Keeper, Lease, TERM};
use hilo_kit::lifecycle::Shutdown;
use tokio::task::{self, JoinError, JoinSet};

use super::{Parts, attempt};
use crate::store::Due;

/// Net under the wake-ups.
const POLL: Duration = Duration::from_secs(1);
/// Attempts that nobody works on are looked for this often, and at once after a beginning that failed.
const RECOVER: Duration = Duration::from_secs(10);

/// The running attempts, each with its send.
#[derive(Default)]
struct AtWork {
    tasks: JoinSet<()>,
    sends: HashMap<task::Id, Uuid>,
}

impl AtWork {
    fn begin(&mut self, send_id: Uuid, attempt: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(attempt).id();
        self.sends.insert(id, send_id);
    }

    fn sends(&self) -> Vec<Uuid> {
        self.sends.values().copied().collect()
    }

    /// True when the attempt panicked.
    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) -> bool {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        self.sends.remove(&id);
        ended.is_err()
    }
}

/// Starts owning.
pub(super) fn spawn(parts: Arc<Parts>, account: String, holder: &str, shutdown: &Shutdown) {
    let db = parts.store.db().clone();
    let keeper = Keeper::spawn(db, format!("email-send/{account}"), holder, TERM, shutdown);
    let stop = shutdown.clone();
    shutdown.spawn(format!("email sender {account}"), async move {
        let mut at_work = AtWork::default();
        while !stop.is_cancelled() {
            let lease = tokio::select! {
                lease = keeper.held() => lease,
                () = stop.cancelled() => break,
            };
            let Some(lease) = lease else { break };
            own(&parts, &account, &lease, &keeper, &mut at_work, &stop).await;
        }
        // Running dialogues are finished: between the final dot and its answer nothing may be cut off without need.
        while at_work.tasks.join_next().await.is_some() {}
    });
}

/// Works under one epoch, until it is lost or the shutdown begins.
async fn own(
    parts: &Arc<Parts>,
    account: &str,
    lease: &Lease,
    keeper: &Keeper,
    at_work: &mut AtWork,
    stop: &Shutdown,
) {
    let unknown_retry = Duration::from_secs(parts.config.unknown_retry_seconds);
    let mut recovered: Option<Instant> = None;
    let wake = parts.store.unsent(account);
    while !stop.is_cancelled() {
        let Some(current) = keeper.current().filter(|current| current.epoch == lease.epoch) else { return };
        if recovered.is_none_or(|at| at.elapsed() >= RECOVER) {
            recovered = match parts.store.recover(account, &current, &at_work.sends(), unknown_retry).await {
                Ok(0) => Some(Instant::now()),
                Ok(count) => {
                    tracing::warn!(account, count, "attempts were cut off");
                    Some(Instant::now())
                }
                Err(error) => {
                    error.log("recovering sends");
                    None
                }
            };
        }
        let free = parts.config.concurrency.saturating_sub(at_work.tasks.len());
        let mut begun = 0;
        let due = due(parts, account).await;
        let off = parts.accounts.current().is_some_and(|accounts| accounts.is_switched_off(account));
        if due.now && off {
            hold(parts, account, &current).await;
        } else if due.now && recovered.is_some() && free > 0 {
            match begin(parts, account, &current, free, keeper, at_work, stop).await {
                Ok(count) => begun = count,
                Err(error) => {
                    error.log("beginning sends");
                    // It may have committed all the same: then the next look finds attempts that nobody works on.
                    recovered = None;
                }
            }
        }
        if begun == free && free > 0 {
            continue;
        }
        let pause = due.next.map_or(POLL, |next| next.clamp(Duration::from_millis(10), POLL));
        tokio::select! {
            // A send committed during the look has left its sign here.
            () = wake.notified() => {}
            Some(ended) = at_work.tasks.join_next_with_id() => if at_work.ended(ended) {
                tracing::error!(account, "an attempt panicked; its send becomes unknown");
                recovered = None;
            },
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn begin(
    parts: &Arc<Parts>,
    account: &str,
    lease: &Lease,
    free: usize,
    keeper: &Keeper,
    at_work: &mut AtWork,
    stop: &Shutdown,
) -> Result<usize, Error> {
    let picked = parts.store.begin(account, lease, free).await?;
    let begun = picked.len();
    for one in picked {
        at_work.begin(one.send_id, attempt::run(parts.clone(), one, keeper.clone(), stop.clone()));
    }
    Ok(begun)
}

/// Most sends of a switched-off account looked at in one transaction.
const HELD_AT_ONCE: usize = 100;

/// Nothing is begun for an account that is switched off.
async fn hold(parts: &Parts, account: &str, lease: &Lease) {
    match parts.store.hold(account, lease, HELD_AT_ONCE).await {
        Ok(0) => {}
        Ok(count) => tracing::warn!(account, count, "sends wait: their account is switched off"),
        Err(error) => error.log("holding the sends of an account that is switched off"),
    }
}

/// What is due; when that cannot be told it is found out by trying.
async fn due(parts: &Parts, account: &str) -> Due {
    parts.store.due(account).await.unwrap_or_else(|error| {
        error.log("asking what is due");
        Due { now: true, next: None }
    })
}
