//! Orphans: what an agent has open who is gone for longer than the campaign's orphan timeout goes back to its queue. Who
//! returns in time keeps everything: absence is a stored instant, looked at again under the item's lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hilo_kit::Error;
use hilo_kit::db::Db;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::attention::domain::{Command, Interaction, InteractionId, Stage};
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
           AND greatest(state.absent_since, held.opened_at) <= now() - make_interval(secs => orphan_timeout_seconds)
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
    let facts = Facts::hold(tx, &work, &ids).await?;
    let mut returned = 0;
    for id in ids {
        let Some(command) = command(&work, id, &facts) else { continue };
        if work.decide(id, command, &Actor::System).is_ok() {
            returned += 1;
        }
    }
    if returned > 0 {
        work.write(tx, subjects).await?;
    }
    Ok(returned)
}

/// What is true of an item and its agent now.
fn command(work: &Work, id: InteractionId, facts: &Facts) -> Option<Command> {
    let Stage::Open { agent, .. } = open(work, id)?.stage else { return None };
    let absent_since = *facts.absent_since.get(agent.as_str())?;
    let after = *facts.timeouts.get(open(work, id)?.campaign.as_str())?;
    Some(Command::Orphan { agent, absent_since, after })
}

fn open(work: &Work, id: InteractionId) -> Option<Interaction> {
    let Found::Locked(attention) = work.find(id) else { return None };
    let interaction = work.state(attention, Some(id))?.interaction?;
    matches!(interaction.stage, Stage::Open { .. }).then_some(interaction)
}

/// What decides: since when agents are absent, after how long a campaign takes back.
struct Facts {
    absent_since: HashMap<String, OffsetDateTime>,
    timeouts: HashMap<String, time::Duration>,
}

impl Facts {
    /// The agents' rows are held until the commit, so that nobody returns unseen; in the order in which presence reports
    /// lock them.
    async fn hold(tx: &mut PgConnection, work: &Work, ids: &[InteractionId]) -> Result<Self, Error> {
        let held: Vec<Interaction> = ids.iter().filter_map(|id| open(work, *id)).collect();
        let agents: Vec<String> =
            held.iter().filter_map(Interaction::holder).map(ToString::to_string).collect();
        let campaigns: Vec<String> = held.iter().map(|one| one.campaign.to_string()).collect();
        let absent = sqlx::query!(
            r#"SELECT agent_key, absent_since FROM assignment.agent_state WHERE agent_key = ANY($1)
               ORDER BY agent_key COLLATE "C" FOR SHARE"#,
            &agents
        )
        .fetch_all(&mut *tx)
        .await?;
        let timeouts = sqlx::query!(
            r#"SELECT campaign_key, orphan_timeout_seconds AS "seconds!" FROM directory.campaign
               WHERE campaign_key = ANY($1) AND orphan_timeout_seconds > 0"#,
            &campaigns
        )
        .fetch_all(tx)
        .await?;
        Ok(Self {
            absent_since: absent
                .into_iter()
                .filter_map(|row| Some((row.agent_key, row.absent_since?)))
                .collect(),
            timeouts: timeouts
                .into_iter()
                .map(|row| (row.campaign_key, time::Duration::seconds(i64::from(row.seconds))))
                .collect(),
        })
    }
}
