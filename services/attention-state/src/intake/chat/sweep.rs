//! Gives up reactions, edits and revokes whose message never came, and forgets windows that are over: nobody would look for them any more.

use std::time::Duration;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;

use crate::attention::store::chat;
use crate::attention::store::window::{self, Named};

/// A week is waited for a target; an hour more harms nobody.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// Windows looked at in one transaction.
const PAGE: i64 = 10_000;

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

/// Gives up all that waited too long; answers how many. That windows cannot be forgotten hinders it not.
///
/// # Errors
/// Database errors.
pub(crate) async fn all(db: &Db) -> Result<u64, Error> {
    if let Err(error) = windows(db, PAGE).await {
        error.log("forgetting windows that are over");
    }
    db.transaction(|tx| Box::pin(chat::give_up_waiting(tx))).await
}

/// Forgets all windows that are over, so many looked at in one transaction; answers how many.
///
/// # Errors
/// Database errors.
pub(crate) async fn windows(db: &Db, page: i64) -> Result<u64, Error> {
    let (mut place, mut forgotten) = (Named::default(), 0);
    loop {
        let behind = place.clone();
        let (gone, last) = db
            .transaction(move |tx| {
                let behind = behind.clone();
                Box::pin(async move { window::forget(tx, &behind, page).await })
            })
            .await?;
        forgotten += gone;
        let Some(last) = last else { return Ok(forgotten) };
        place = last;
    }
}
