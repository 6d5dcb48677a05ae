//! What comes back by itself: replays that an operator wants, bodies whose number is in the directory now, bodies that a slow database
//! could not take, and statuses that were faster than the answer they belong to.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::consumer::DeadLetterSink as _;
use hilo_kit::dead::DeadLetters;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::Keeper;
use hilo_kit::lifecycle::Shutdown;
use tokio::sync::Notify;

use super::sorting::{MAY_BE_BEHIND, account};
use crate::accounts::NumbersCache;
use crate::domain::accounts::Numbers;
use crate::store::{PARSER, Store, StrayPlace};

/// It looks this often.
const SWEEP: Duration = Duration::from_secs(2);
/// Late statuses of one sweep.
const LATE: i64 = 500;
/// Strays of one sweep.
const STRAYS: usize = 1_000;

/// One look through all strays, which may take several sweeps.
#[derive(Debug, Default)]
struct Revival {
    /// Owner and version of the directory that it is for.
    of: Option<(i64, i64)>,
    /// Behind this it goes on.
    behind: Option<StrayPlace>,
    /// Something could not be brought back.
    failed: bool,
    /// Nothing is left to do for this directory.
    done: bool,
}

/// Runs until the shutdown begins; `overtaken` says that the current directory has to be looked up again.
pub(super) async fn run(
    store: Store,
    numbers: NumbersCache,
    keeper: Keeper,
    overtaken: Arc<Notify>,
    shutdown: Shutdown,
) {
    let letters = DeadLetters::new(store.db().clone());
    let mut revival = Revival::default();
    loop {
        tokio::select! {
            () = overtaken.notified() => revival = Revival::default(),
            alive = shutdown.sleep(SWEEP) => if !alive { return },
        }
        match letters.replays(PARSER).await {
            Ok(replays) => {
                for replay in replays {
                    if let Some(webhook) = named(replay.delivery.payload()) {
                        back(&store, replay.dead_letter, webhook).await;
                    }
                }
            }
            Err(error) => error.log("reading replays of the parser"),
        }
        let (Some(lease), Some(numbers)) = (keeper.current(), numbers.current()) else { continue };
        // Once per directory and owner: nothing but a new directory gives a stray its account.
        let of = Some((lease.epoch, numbers.version()));
        if revival.of != of {
            revival = Revival { of, ..Revival::default() };
        }
        if !revival.done
            && let Err(error) = revive(&store, &numbers, &mut revival).await
        {
            error.log("looking for webhooks whose number is known now");
        }
        if let Err(error) = revive_slow(&store).await {
            error.log("looking for webhooks that the database could not take");
        }
        if let Err(error) = store.late_statuses(LATE).await {
            error.log("applying late statuses");
        }
    }
}

/// Puts a body into the queue again; false when it could not be done.
async fn back(store: &Store, dead_letter: Uuid, webhook: Uuid) -> bool {
    match store.replay(dead_letter, webhook).await {
        Ok(()) => true,
        Err(error) => {
            error.log("replaying a webhook");
            false
        }
    }
}

/// Brings back what the database was too slow for.
async fn revive_slow(store: &Store) -> Result<(), Error> {
    for (dead_letter, webhook) in store.slow_strays().await? {
        tracing::info!(%webhook, "the database was slow; a webhook is parsed again");
        back(store, dead_letter, webhook).await;
    }
    Ok(())
}

fn named(payload: &[u8]) -> Option<Uuid> {
    let payload: serde_json::Value = serde_json::from_slice(payload).ok()?;
    payload.get("webhook_id")?.as_str()?.parse().ok()
}

/// Brings back what was a stray because the directory was behind, as soon as one of its numbers has an account: so many at a time,
/// however many of others lie before them. What could not be brought back is looked for once more from the beginning.
async fn revive(store: &Store, numbers: &Numbers, revival: &mut Revival) -> Result<(), Error> {
    let strays = store.strays(&MAY_BE_BEHIND, revival.behind, STRAYS).await?;
    for stray in strays.found {
        let known = |number: &String| account(numbers, number, &stray.signed_by).is_ok();
        if stray.numbers.iter().any(known) {
            tracing::info!(webhook = %stray.webhook, "its number is known now; a webhook is parsed again");
            revival.failed |= !back(store, stray.dead_letter, stray.webhook).await;
        }
    }
    revival.behind = strays.next;
    if strays.next.is_none() {
        revival.done = !revival.failed;
        revival.failed = false;
    }
    Ok(())
}
