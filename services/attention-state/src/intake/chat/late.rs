//! Alterations whose message is in the history only: its thread is fetched back, the alteration applied, and the purge takes it again
//! after history has the new version. Also the reconciler of what waits for a message that is there.

use std::time::Duration;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;

use super::alter;
use crate::attention::reload::{Archive, is_whole, load_bodies_from_history};
use crate::attention::store::Wait;
use crate::attention::store::chat::{self, Late};
use crate::attention::work::{Found, Work};
use crate::contact::lock_number;
use crate::intake::plan;

/// Whoever waits for it is no customer in a conversation that runs.
const INTERVAL: Duration = Duration::from_secs(5);
/// Messages of one round.
const AT_ONCE: i64 = 20;

/// Applies what came late, now and then until the shutdown begins. Every replica runs it: of two at the same message one finds nothing
/// left to do.
pub(crate) fn spawn(db: &Db, archive: &Archive, subjects: &Subjects, shutdown: &Shutdown) {
    let (db, archive, subjects) = (db.clone(), archive.clone(), subjects.clone());
    let stop = shutdown.clone();
    shutdown.spawn("alterations of what is in the history", async move {
        while stop.sleep(INTERVAL).await {
            if let Err(error) = all(&db, &archive, &subjects).await {
                error.log("applying alterations of what is in the history");
            }
        }
    });
}

/// Applies all that can be applied now; answers how many messages changed. One that cannot be applied waits, longer each time, so that
/// it holds up no other.
///
/// # Errors
/// Database errors while looking for them.
pub(crate) async fn all(db: &Db, archive: &Archive, subjects: &Subjects) -> Result<usize, Error> {
    let due = db.read(|conn| Box::pin(chat::late(conn, AT_ONCE))).await?;
    let mut applied = 0;
    for one in due {
        let target = one.target.clone();
        match alone(db, archive, subjects, one).await {
            Ok(true) => {
                applied += 1;
                continue;
            }
            Ok(false) => {}
            Err(error) => error.log("an alteration of what is in the history waits"),
        }
        db.transaction(move |tx| {
            let target = target.clone();
            Box::pin(async move { chat::put_off(tx, &target).await })
        })
        .await?;
    }
    Ok(applied)
}

async fn alone(db: &Db, archive: &Archive, subjects: &Subjects, late: Late) -> Result<bool, Error> {
    if late.purged {
        load_bodies_from_history(db, archive, late.interaction).await?;
    }
    let subjects = subjects.clone();
    db.transaction(move |tx| {
        let (subjects, late) = (subjects.clone(), late.clone());
        Box::pin(async move { apply(tx, &subjects, &late).await })
    })
    .await
}

/// False when the purge was faster: the next round fetches it again.
async fn apply(tx: &mut PgConnection, subjects: &Subjects, late: &Late) -> Result<bool, Error> {
    plan::lock_numbers(tx, [lock_number(b"wamid", &late.target)].into()).await?;
    let mut work = Work::lock(tx, &[late.interaction], Wait::Block).await?;
    let Found::Locked(attention) = work.find(late.interaction) else { return Ok(false) };
    if !is_whole(tx, late.interaction).await? {
        return Ok(false);
    }
    let Some(changed) = alter::came(tx, &mut work, attention, &late.target, late.message, None).await? else {
        return Ok(false);
    };
    work.write(tx, subjects).await?;
    chat::write_items(tx, &[changed]).await?;
    Ok(true)
}
