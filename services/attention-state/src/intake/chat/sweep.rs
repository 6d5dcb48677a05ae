//! Gives up reactions, edits and revokes whose message never came, and forgets windows that are over: nobody would look for them any more.

use std::time::Duration;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;

use crate::attention::store::{chat, window};

/// A week is waited for a target; an hour more harms nobody.
const INTERVAL: Duration = Duration::from_secs(3_600);

/// Sweeps now and then until the shutdown begins.
pub(crate) fn spawn(db: &Db, shutdown: &Shutdown) {
    let (db, stop) = (db.clone(), shutdown.clone());
    shutdown.spawn("sweep of changes without a message", async move {
        loop {
            match all(&db).await {
                Ok(0) => {}
                Ok(gone) => tracing::warn!(gone, "reactions, edits or revokes never found their message"),
                Err(error) => error.log("giving up changes without a message"),
            }
            if !stop.sleep(INTERVAL).await {
                return;
            }
        }
    });
}

/// Gives up all that waited too long; answers how many.
///
/// # Errors
/// Database errors.
pub(crate) async fn all(db: &Db) -> Result<u64, Error> {
    db.transaction(|tx| Box::pin(window::forget(tx))).await?;
    db.transaction(|tx| Box::pin(chat::give_up_waiting(tx))).await
}
