//! The owner of one account: while it holds the lease it recovers what an earlier owner left and begins what is due.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::lease::{Keeper, Lease, TERM};
use hilo_kit::lifecycle::Shutdown;
use tokio::task::JoinSet;

use super::{Parts, attempt};

/// Net under the wake-ups.
const POLL: Duration = Duration::from_secs(1);

/// Starts owning.
pub(super) fn spawn(parts: Arc<Parts>, account: String, holder: &str, shutdown: &Shutdown) {
    let db = parts.store.db().clone();
    let keeper = Keeper::spawn(db, format!("email-send/{account}"), holder, TERM, shutdown);
    let stop = shutdown.clone();
    shutdown.spawn(format!("email sender {account}"), async move {
        let mut at_work = JoinSet::new();
        while !stop.is_cancelled() {
            let lease = tokio::select! {
                lease = keeper.held() => lease,
                () = stop.cancelled() => break,
            };
            let Some(lease) = lease else { break };
            own(&parts, &account, &lease, &keeper, &mut at_work, &stop).await;
        }
        // Running dialogues are finished: between the final dot and its answer nothing may be cut off without need.
        while at_work.join_next().await.is_some() {}
    });
}

/// Works under one epoch, until it is lost or the shutdown begins.
async fn own(
    parts: &Arc<Parts>,
    account: &str,
    lease: &Lease,
    keeper: &Keeper,
    at_work: &mut JoinSet<()>,
    stop: &Shutdown,
) {
    let unknown_retry = Duration::from_secs(parts.config.unknown_retry_seconds);
    let mut recovered = false;
    let wake = parts.store.unsent();
    while !stop.is_cancelled() {
        let Some(current) = keeper.current().filter(|current| current.epoch == lease.epoch) else { return };
        if !recovered {
            // Attempts of this process under an earlier epoch know how they end; calling them unknown would send twice.
            while at_work.join_next().await.is_some() {}
            recovered = match parts.store.recover(account, &current, unknown_retry).await {
                Ok(0) => true,
                Ok(count) => {
                    tracing::warn!(account, count, "attempts of an earlier owner may have been sent");
                    true
                }
                Err(error) => {
                    error.log("recovering sends");
                    false
                }
            };
        }
        // Registered before the look, so that a send committed during it is not slept over.
        let notified = wake.notified();
        let free = parts.config.concurrency.saturating_sub(at_work.len());
        let mut begun = 0;
        if recovered && free > 0 {
            match parts.store.begin(account, &current, free).await {
                Ok(picked) => {
                    begun = picked.len();
                    for one in picked {
                        at_work.spawn(attempt::run(parts.clone(), one, keeper.clone(), stop.clone()));
                    }
                }
                Err(error) => error.log("beginning sends"),
            }
        }
        if begun == free && free > 0 {
            continue;
        }
        tokio::select! {
            () = notified => {}
            Some(ended) = at_work.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "an attempt ended without a result; its send becomes unknown with the next owner");
            },
            () = tokio::time::sleep(pause(parts, account).await) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn pause(parts: &Parts, account: &str) -> Duration {
    match parts.store.next_due(account).await {
        Ok(Some(due)) => due.clamp(Duration::from_millis(10), POLL),
        Ok(None) => POLL,
        Err(error) => {
            error.log("asking what is due");
            POLL
        }
    }
}
