//! Orphans: what an agent has open who is gone for longer than the campaign's orphan timeout goes back to its queue. Who
//! returns in time keeps everything: absence is a stored instant, looked at again under the item's lock.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::Error;
use hilo_kit::db::Db;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::attention::domain::{Command, InteractionId, Stage, UserKey};
use crate::attention::store::Wait;
use crate::attention::work::{Actor, Found, Work};

/// How often the clock is looked at: much finer than any timeout, which is in seconds, and one indexed question.
const INTERVAL: Duration = Duration::from_secs(1);
/// Items per transaction.
const AT_ONCE: i64 = 100;

/// Starts the timer. Every replica runs it: of two at the same item one finds it gone.
pub fn spawn(db: &Db, subjects: Subjects, shutdown: &Shutdown) {
    let (db, subjects, stop) = (db.clone(), Arc::new(subjects), shutdown.clone());
    shutdown.spawn("orphan timer", async move {
        while stop.sleep(INTERVAL).await {
            if let Err(error) = all(&db, &subjects).await {
                error.log("returning orphans to their queues");
            }
        }
    });
}

/// Returns every item that is due; answers how many.
///
/// # Errors
/// Database errors.
pub async fn all(db: &Db, subjects: &Arc<Subjects>) -> Result<usize, Error> {
    let mut total = 0;
    loop {
        let subjects = subjects.clone();
        let returned = db
            .transaction(move |tx| {
                let subjects = subjects.clone();
                Box::pin(async move { some(tx, &subjects).await })
            })
            .await?;
        if returned == 0 {
            return Ok(total);
        }
        total += returned;
        tracing::info!(returned, "items of agents who are gone went back to their queues");
    }
}

async fn some(tx: &mut PgConnection, subjects: &Subjects) -> Result<usize, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT held.interaction_id FROM directory.campaign
         JOIN attention.interaction AS held USING (campaign_key)
         JOIN assignment.agent_state AS state ON state.agent_key = held.agent_key
         WHERE orphan_timeout_seconds > 0 AND held.state = 'open'
           AND state.absent_since <= now() - make_interval(secs => orphan_timeout_seconds)
         LIMIT $1",
        AT_ONCE,
    )
    .fetch_all(&mut *tx)
    .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let ids: Vec<InteractionId> = ids.into_iter().map(InteractionId).collect();
    let mut work = Work::lock(tx, &ids, Wait::Skip).await?;
    let mut returned = 0;
    for id in ids {
        let Some(command) = command(tx, &work, id).await? else { continue };
        if work.decide(id, command, &Actor::System).is_ok() {
            returned += 1;
        }
    }
    if returned > 0 {
        work.write(tx, subjects).await?;
    }
    Ok(returned)
}

/// What is true of the item and its agent now; his row is held until the commit, so that he does not return unseen.
async fn command(tx: &mut PgConnection, work: &Work, id: InteractionId) -> Result<Option<Command>, Error> {
    let Found::Locked(attention) = work.find(id) else { return Ok(None) };
    let Some(interaction) = work.state(attention, Some(id)).and_then(|state| state.interaction) else {
        return Ok(None);
    };
    let Stage::Open { agent, .. } = interaction.stage else { return Ok(None) };
    let Some(absent_since) = absent_since(tx, &agent).await? else { return Ok(None) };
    let after = sqlx::query_scalar!(
        "SELECT orphan_timeout_seconds FROM directory.campaign WHERE campaign_key = $1",
        interaction.campaign.as_str()
    )
    .fetch_optional(tx)
    .await?
    .flatten()
    .filter(|seconds| *seconds > 0);
    Ok(after.map(|seconds| {
        let after = time::Duration::seconds(i64::from(seconds));
        Command::Orphan { agent, absent_since, after }
    }))
}

async fn absent_since(tx: &mut PgConnection, agent: &UserKey) -> Result<Option<OffsetDateTime>, Error> {
    let row = sqlx::query_scalar!(
        "SELECT absent_since FROM assignment.agent_state WHERE agent_key = $1 FOR SHARE",
        agent.as_str()
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.flatten())
}
