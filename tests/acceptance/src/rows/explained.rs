//! Why items were offered as they were, asked of routing by a person.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hilo_end_to_end::Installation;
use hilo_load::routing::{Scenario, on};
use hilo_proto::routing::v1::ExplainInteractionRequest;
use sqlx::{Connection as _, PgConnection};

use super::routing::{scenario, told};
use crate::report::{Measured, Verdict};
use crate::targets::Explain;

/// Names a mistake, or nothing.
type Wrong = Option<String>;

/// An item, and the agent it rings at.
type Offered = (uuid::Uuid, String);

/// Assigns and then asks for every item, and for each why not another member of its team.
///
/// # Errors
/// When the installation cannot be used.
pub async fn run(target: &Explain) -> Result<Measured> {
    let mut size = Scenario { waiting: 50, ..scenario("explain", 50.0, 10) };
    size.world.campaigns = 10;
    size.world.waiting_campaigns = 10;
    size.world.selection = true;
    let installation = size.world.start().await?;
    let outcome = on(&installation, &size).await?;
    let mut session = PgConnection::connect(&installation.database("hilo_attention")).await?;
    let offered: Vec<Offered> = sqlx::query_as(
        "SELECT interaction_id, offer_agent_key FROM attention.interaction
         WHERE state = 'queued' AND offer_agent_key IS NOT NULL ORDER BY interaction_id LIMIT $1",
    )
    .bind(i64::try_from(target.items)?)
    .fetch_all(&mut session)
    .await?;
    let waiting: Vec<uuid::Uuid> = sqlx::query_scalar(
        "SELECT interaction_id FROM attention.interaction WHERE state = 'queued' AND offer_agent_key IS NULL",
    )
    .fetch_all(&mut session)
    .await?;
    let (mut wrong, mut longest) = (Vec::new(), Duration::ZERO);
    for (interaction, agent) in &offered {
        let asked = std::time::Instant::now();
        wrong.extend(of_offered(&installation, *interaction, agent).await?);
        longest = longest.max(asked.elapsed());
    }
    for interaction in &waiting {
        wrong.extend(of_waiting(&installation, *interaction).await?);
    }
    let figure = format!(
        "{} offered items and {} that wait explained, {} of them wrong, the slowest after {longest:.0?}; {}",
        offered.len(),
        waiting.len(),
        wrong.len(),
        told(&outcome)
    );
    let enough = offered.len() >= target.items && !waiting.is_empty();
    let verdict = match (wrong.first(), outcome.is_exact(), enough) {
        (Some(wrong), _, _) => Verdict::Fail(format!("{figure}; {wrong}")),
        (None, false, _) => Verdict::Fail(figure),
        (None, true, false) => Verdict::NotMeasured(format!("too few items: {figure}")),
        (None, true, true) => Verdict::Pass(figure),
    };
    Ok(Measured::from(verdict).with_milliseconds("slowest_ms", longest))
}

/// Of an item that rings: the decision names whom it rings at, and by what; and why not the last of the team, who is not skilled enough.
async fn of_offered(installation: &Installation, interaction: uuid::Uuid, agent: &str) -> Result<Wrong> {
    let number: usize = agent.strip_prefix("persona-").context("an agent of ours")?.parse()?;
    let unskilled = format!("persona-{}", number / 5 * 5 + 4);
    let answer = installation
        .signed_in("coordinadora")?
        .routing()
        .explain_interaction(ExplainInteractionRequest {
            interaction_id: interaction.to_string(),
            agent_key: unskilled.clone(),
        })
        .await?
        .into_inner();
    let Some(decision) = answer.decisions.first().and_then(|stored| stored.decision.as_ref()) else {
        return Ok(Some(format!("{interaction} has no decision")));
    };
    let why = answer.agent.map(|agent| (agent.agent_key, agent.rule)).unwrap_or_default();
    let whole = decision.winner == agent
        && decision.config_version > 0
        && decision.candidates > 0
        && decision.removed.values().sum::<i32>() < decision.candidates
        && !decision.runner_up.is_empty();
    let told = why == (unskilled, "unskilled".to_owned());
    Ok((!whole || !told).then(|| format!("{interaction} rings at {agent}: {decision:?}, {why:?}")))
}

/// Of an item that waits: that nobody is eligible.
async fn of_waiting(installation: &Installation, interaction: uuid::Uuid) -> Result<Wrong> {
    let answer = installation
        .signed_in("coordinadora")?
        .routing()
        .explain_interaction(ExplainInteractionRequest {
            interaction_id: interaction.to_string(),
            ..ExplainInteractionRequest::default()
        })
        .await?
        .into_inner();
    let queued = answer.queued.unwrap_or_default();
    let right = queued.reason == "nobody_eligible" && queued.eligible == 0 && queued.candidates > 0;
    Ok((!right).then(|| format!("{interaction} waits: {queued:?}")))
}
