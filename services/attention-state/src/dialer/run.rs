//! The runner: looks which dialers are due and sends their next rows, one transaction each. Every replica runs one; the claim of the
//! dialer's row in the database keeps them apart.

use std::time::Duration;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::lifecycle::Shutdown;
use uuid::Uuid;

use super::step::{self, Step};
use super::store::dialers;
use crate::attention::envelope::Post;

/// How often due dialers are looked for while none is.
const INTERVAL: Duration = Duration::from_millis(250);
/// Dialers of one round; each gets one row.
const ROUND: i64 = 100;
/// Seconds until a dialer is looked at again whose row could not be handed over.
const AFTER_FAILURE: f64 = 30.0;

/// Sends what is due.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    db: Db,
    post: Post,
}

impl Runner {
    /// Writes to `db`, hands over by `post`.
    pub(crate) fn new(db: Db, post: Post) -> Self {
        Self { db, post }
    }

    /// Works until the shutdown.
    pub(crate) fn spawn(self, shutdown: &Shutdown) {
        let stop = shutdown.clone();
        shutdown.spawn("dialers", async move {
            while !stop.is_cancelled() {
                match self.round(&stop).await {
                    // There may be more behind it.
                    Ok(1..) => {}
                    Ok(0) => {
                        stop.sleep(INTERVAL).await;
                    }
                    Err(error) => {
                        error.log("looking for due dialers");
                        stop.sleep(INTERVAL).await;
                    }
                }
            }
        });
    }

    /// One row of every due dialer; answers how many rows had their turn.
    async fn round(&self, stop: &Shutdown) -> Result<usize, Error> {
        let due = self.db.read(|conn| Box::pin(async move { dialers::due(conn, ROUND).await })).await?;
        let mut turns = 0;
        for id in due {
            if stop.is_cancelled() {
                break;
            }
            match self.step(id).await {
                Ok(Step::Sent | Step::Skipped(_)) => turns += 1,
                Ok(Step::NotDue | Step::Waits | Step::Halted(_) | Step::Finished) => {}
                Err(error) => {
                    error.log("sending a row of a dialer");
                    // One that cannot go on must not keep the others waiting.
                    self.db
                        .transaction(move |tx| {
                            Box::pin(async move { dialers::put_off(tx, id, AFTER_FAILURE).await })
                        })
                        .await?;
                }
            }
        }
        Ok(turns)
    }

    /// The next row of a dialer, when it is due.
    ///
    /// # Errors
    /// As [`step::step`].
    pub(crate) async fn step(&self, id: Uuid) -> Result<Step, Error> {
        let post = self.post.clone();
        let done = self
            .db
            .transaction(move |tx| {
                let post = post.clone();
                Box::pin(async move {
                    let done = step::step(tx, &post, id).await?;
                    fault::point("attention.dialer.before_commit").await;
                    Ok(done)
                })
            })
            .await?;
        fault::point("attention.dialer.after_commit").await;
        crate::metrics::dialled(done.word());
        Ok(done)
    }
}
