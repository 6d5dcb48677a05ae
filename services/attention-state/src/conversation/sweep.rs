//! Forgets expired uploads. What was stored of them stays in the object store: another message may have the same content, and
//! only history's retention knows that none has.

use std::time::Duration;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;

use super::upload_store;

/// An expired upload answers as missing at once; this is only about space.
const INTERVAL: Duration = Duration::from_secs(600);

/// Sweeps now and then until the shutdown begins.
pub(crate) fn spawn(db: &Db, shutdown: &Shutdown) {
    let (db, stop) = (db.clone(), shutdown.clone());
    shutdown.spawn("sweep of expired uploads", async move {
        loop {
            if let Err(error) = all(&db).await {
                error.log("forgetting expired uploads");
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = stop.cancelled() => return,
            }
        }
    });
}

/// Forgets all that are expired now; answers how many.
///
/// # Errors
/// Database errors.
pub(crate) async fn all(db: &Db) -> Result<u64, Error> {
    let mut total = 0;
    loop {
        let swept = db.transaction(|tx| Box::pin(upload_store::sweep(tx))).await?;
        total += swept;
        if swept == 0 {
            return Ok(total);
        }
    }
}
