//! What must happen after somebody was switched off, stopped being an agent or left a campaign: his open items there go
//! back to their queues and offers to him end, for he may not even release them any more. A reconciler finds such items, at
//! once after an apply and every ten seconds; it also drops old decisions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hilo_kit::Error;
use hilo_kit::db::Db;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;

use super::{decisions, present};
use crate::attention::domain::{CampaignKey, Command, Expire, InteractionId, Stage, UserKey};
use crate::attention::store::Wait;
use crate::attention::work::{Actor, Found, Work};
use crate::directory;
use crate::directory::announce::Announcer;

/// How often the reconciler looks by itself.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often old decisions are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// Items released per transaction.
const AT_ONCE: i64 = 100;

/// Starts the reconciler.
pub fn spawn(db: &Db, subjects: Subjects, announcer: &Announcer, shutdown: &Shutdown) {
    let (db, subjects, stop) = (db.clone(), Arc::new(subjects), shutdown.clone());
    let mut changes = announcer.watch();
    shutdown.spawn("release of inactive agents' items", async move {
        let mut swept: Option<Instant> = None;
        loop {
            if let Err(error) = all(&db, &subjects).await {
                error.log("releasing the items of inactive agents");
            }
            if swept.is_none_or(|at| at.elapsed() >= SWEEP_INTERVAL) {
                sweep(&db).await;
                swept = Some(Instant::now());
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                changed = changes.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    });
}

/// Releases until nothing is left that can be released now; answers how many were.
///
/// # Errors
/// Database errors.
pub async fn all(db: &Db, subjects: &Arc<Subjects>) -> Result<usize, Error> {
    let mut total = 0;
    loop {
        let subjects = subjects.clone();
        let released = db
            .transaction(move |tx| {
                let subjects = subjects.clone();
                Box::pin(async move { some(tx, &subjects).await })
            })
            .await?;
        if released == 0 {
            return Ok(total);
        }
        total += released;
        tracing::info!(released, "items of agents who may not serve them went back to their queues");
    }
}

async fn some(tx: &mut PgConnection, subjects: &Subjects) -> Result<usize, Error> {
    let ids = sqlx::query_scalar!(
        r#"SELECT interaction_id AS "id!" FROM attention.interaction AS held
               JOIN directory.app_user ON user_key = held.agent_key
               WHERE state = 'open' AND (NOT active OR NOT 'agent' = ANY(roles) OR NOT EXISTS (
                   SELECT 1 FROM directory.campaign_member AS member
                   WHERE member.user_key = held.agent_key AND member.campaign_key = held.campaign_key))
           UNION ALL
           SELECT interaction_id FROM attention.interaction AS held
               JOIN directory.app_user ON user_key = held.offer_agent_key
               WHERE offer_agent_key IS NOT NULL AND (NOT active OR NOT 'agent' = ANY(roles) OR NOT EXISTS (
                   SELECT 1 FROM directory.campaign_member AS member
                   WHERE member.user_key = held.offer_agent_key AND member.campaign_key = held.campaign_key))
           LIMIT $1"#,
        AT_ONCE,
    )
    .fetch_all(&mut *tx)
    .await?;
    let ids: Vec<InteractionId> = ids.into_iter().map(InteractionId).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let mut work = Work::lock(tx, &ids, Wait::Skip).await?;
    let mut released = 0;
    for id in ids {
        let Some((agent, campaign, command)) = command(tx, &work, id).await? else { continue };
        // He may have been switched on or taken in again, or somebody else may have it, since the look-up.
        if !serves(tx, &agent, &campaign).await? && work.decide(id, command, &Actor::System).is_ok() {
            released += 1;
        }
    }
    if released > 0 {
        work.write(tx, subjects).await?;
    }
    Ok(released)
}

async fn command(
    tx: &mut PgConnection,
    work: &Work,
    id: InteractionId,
) -> Result<Option<(UserKey, CampaignKey, Command)>, Error> {
    let Found::Locked(attention) = work.find(id) else { return Ok(None) };
    let interaction = work.state(attention, Some(id)).and_then(|state| state.interaction);
    let Some(interaction) = interaction else { return Ok(None) };
    let returns = present::takes_back(tx, &interaction).await?;
    let (version, campaign) = (interaction.version, interaction.campaign);
    Ok(match interaction.stage {
        Stage::Queued { offer, .. } => offer.and_then(|offer| {
            let because = Expire::AgentAbsent;
            let command = Command::ExpireOffer { version, offer: offer.id, because, returns };
            Some((offer.agent?, campaign, command))
        }),
        Stage::Open { agent, .. } => Some((agent.clone(), campaign, Command::Release { agent })),
        Stage::Ended { .. } => None,
    })
}

async fn serves(tx: &mut PgConnection, agent: &UserKey, campaign: &CampaignKey) -> Result<bool, Error> {
    let access = directory::access(tx, agent.as_str()).await?;
    Ok(access.is_some_and(|access| access.active && access.may_serve(campaign.as_str())))
}

async fn sweep(db: &Db) {
    loop {
        match db.read(|conn| Box::pin(decisions::sweep(conn))).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return error.log("dropping old decisions"),
        }
    }
}
