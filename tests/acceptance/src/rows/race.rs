//! Two agents, one item, the same instant.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::join;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Installation, Options};
use hilo_proto::attention::v1::OpenInteractionRequest;
use tonic::Code;

use crate::report::Verdict;
use crate::targets::Race;

/// Races the agents for one new mail per round.
///
/// # Errors
/// When a round cannot be played at all.
pub async fn run(target: &Race) -> Result<Verdict> {
    let installation = Installation::start(Options { agents: 2, ..Options::default() }).await?;
    let keys = installation.agent_keys();
    let (first, second) = (keys.first().context("agent")?, keys.get(1).context("agent")?);
    let (ana, luis) = (installation.login(first).await?, installation.login(second).await?);
    let _present = (ana.be_present().await?, luis.be_present().await?);
    let desk = ana.watch();
    let (mut left, mut right) = (ana.separate_attention()?, luis.separate_attention()?);
    let mut wins = [0_u32, 0_u32];
    for round in 1..=target.rounds {
        let customer = format!("carrera-{round}@cliente.example");
        let mail = Mail::new(&customer, installation.support_address(), "Carrera", "¿Quién llega primero?");
        customer::send(installation.smtp(), &mail).await?;
        let item = desk
            .wait_for("a queued item", Duration::from_secs(20), |item| item.customer_address == customer)
            .await?;
        let request = || OpenInteractionRequest {
            interaction_id: item.interaction_id.clone(),
            request_id: uuid::Uuid::now_v7().to_string(),
        };
        let outcome = join(left.open_interaction(request()), right.open_interaction(request())).await;
        let (winner, loser) = match outcome {
            (Ok(_), Err(status)) => (0, status),
            (Err(status), Ok(_)) => (1, status),
            (Ok(_), Ok(_)) => return Ok(Verdict::Fail(format!("round {round}: both opened it"))),
            (Err(one), Err(two)) => {
                return Ok(Verdict::Fail(format!("round {round}: neither: {one}; {two}")));
            }
        };
        let reason = hilo_kit::error::reason_of(&loser).unwrap_or_default();
        if loser.code() != Code::FailedPrecondition || reason != "ALREADY_TAKEN" {
            return Ok(Verdict::Fail(format!("round {round}: the other got {loser}")));
        }
        if let Some(count) = wins.get_mut(winner) {
            *count += 1;
        }
        let agent = if winner == 0 { &ana } else { &luis };
        agent.end(&item.interaction_id, true).await?;
    }
    let [one, two] = wins;
    Ok(Verdict::Pass(format!(
        "{} rounds, one winner each ({one} and {two}), the other ALREADY_TAKEN",
        target.rounds
    )))
}
