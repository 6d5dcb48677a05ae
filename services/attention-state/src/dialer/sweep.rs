//! Closes the attentions that waited long enough for an answer.

use std::time::Duration;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::Subjects;
use time::OffsetDateTime;

use super::store::sends;
use crate::attention::domain::{AttentionId, Command, Rejection};
use crate::attention::store::Wait;
use crate::attention::work::{Actor, Work};

/// Hours are waited for an answer; half a minute more harms nobody.
const INTERVAL: Duration = Duration::from_secs(30);
/// Attentions of one look.
const BATCH: i64 = 200;

/// Sweeps until the shutdown.
pub(crate) fn spawn(db: &Db, subjects: Subjects, shutdown: &Shutdown) {
    let (db, stop) = (db.clone(), shutdown.clone());
    shutdown.spawn("unanswered attentions of dialers", async move {
        loop {
            if let Err(error) = all(&db, &subjects).await {
                error.log("closing attentions that nobody answered");
            }
            if !stop.sleep(INTERVAL).await {
                return;
            }
        }
    });
}

/// Closes all that are due; answers how many. One that cannot be closed now is left for the next time and holds up
/// no other.
///
/// # Errors
/// Database errors.
pub(crate) async fn all(db: &Db, subjects: &Subjects) -> Result<usize, Error> {
    let mut closed = 0;
    loop {
        let due = db.read(|conn| Box::pin(async move { sends::due(conn, BATCH).await })).await?;
        let mut progress = 0;
        for (attention, due_at) in &due {
            match one(db, subjects, *attention, *due_at).await {
                Ok(true) => progress += 1,
                Ok(false) => {}
                Err(error) => error.log("closing an attention that nobody answered"),
            }
        }
        closed += progress;
        if progress == 0 || i64::try_from(due.len()).is_ok_and(|found| found < BATCH) {
            return Ok(closed);
        }
    }
}

/// Closes one; false when it is busy or waits no more.
async fn one(
    db: &Db,
    subjects: &Subjects,
    attention: AttentionId,
    due_at: OffsetDateTime,
) -> Result<bool, Error> {
    let subjects = subjects.clone();
    let closed = db.transaction(move |tx| {
        let subjects = subjects.clone();
        Box::pin(async move {
            let mut work = Work::lock_current(tx, &[attention.uuid()], Wait::Skip).await?;
            match work.decide_at(attention, None, Command::GiveUp { due_at }, &Actor::System, "") {
                Ok(_) => {}
                Err(Rejection::NotWaiting | Rejection::TooEarly | Rejection::UnknownAttention) => {
                    return Ok(false);
                }
                Err(rejection) => return Err(rejection.into()),
            }
            work.write(tx, &subjects).await?;
            sends::give_up(tx, attention).await?;
            fault::point("attention.dialer.sweep.before_commit").await;
            Ok(true)
        })
    });
    let closed = closed.await?;
    fault::point("attention.dialer.sweep.after_commit").await;
    Ok(closed)
}
