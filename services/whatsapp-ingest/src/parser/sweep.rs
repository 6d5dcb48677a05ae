//! What comes back by itself: replays that an operator wants, bodies whose number is in the directory now, and statuses that were
//! faster than the answer they belong to.

use std::time::Duration;

use hilo_kit::consumer::DeadLetterSink as _;
use hilo_kit::dead::DeadLetters;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::Keeper;
use hilo_kit::lifecycle::Shutdown;

use super::sorting::{MAY_BE_BEHIND, account};
use crate::accounts::NumbersCache;
use crate::domain::accounts::Numbers;
use crate::store::{PARSER, Store};

/// It looks this often.
const SWEEP: Duration = Duration::from_secs(2);
/// Late statuses of one sweep.
const LATE: i64 = 500;

/// Runs until the shutdown begins.
pub(super) async fn run(store: Store, numbers: NumbersCache, keeper: Keeper, shutdown: Shutdown) {
    let letters = DeadLetters::new(store.db().clone());
    let mut revived: Option<(i64, i64)> = None;
    while shutdown.sleep(SWEEP).await {
        match letters.replays(PARSER).await {
            Ok(replays) => {
                for replay in replays {
                    let Some(webhook) = named(replay.delivery.payload()) else { continue };
                    if let Err(error) = store.replay(replay.dead_letter, webhook).await {
                        error.log("replaying a webhook");
                    }
                }
            }
            Err(error) => error.log("reading replays of the parser"),
        }
        let (Some(lease), Some(numbers)) = (keeper.current(), numbers.current()) else { continue };
        // Once per directory and owner: nothing but a new directory gives a stray its account.
        if revived != Some((lease.epoch, numbers.version())) {
            match revive(&store, &numbers).await {
                Ok(()) => revived = Some((lease.epoch, numbers.version())),
                Err(error) => error.log("looking for webhooks whose number is known now"),
            }
        }
        if let Err(error) = store.late_statuses(LATE).await {
            error.log("applying late statuses");
        }
    }
}

fn named(payload: &[u8]) -> Option<Uuid> {
    let payload: serde_json::Value = serde_json::from_slice(payload).ok()?;
    payload.get("webhook_id")?.as_str()?.parse().ok()
}

/// Replays what was a stray because the directory was behind, as soon as one of its numbers has an account.
async fn revive(store: &Store, numbers: &Numbers) -> Result<(), Error> {
    for stray in store.strays(&MAY_BE_BEHIND).await? {
        let known = |number: &String| account(numbers, number, &stray.signed_by).is_ok();
        if stray.numbers.iter().any(known) {
            tracing::info!(webhook = %stray.webhook, "its number is known now; a webhook is parsed again");
            store.replay(stray.dead_letter, stray.webhook).await?;
        }
    }
    Ok(())
}
