//! One mail's journey, driven by its people with the patience real ones have: the customer's server repeats the same bytes,
//! the agent's frontend repeats the same request id.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Agent, Desk, Installation};
use hilo_proto::event::v1::InteractionState;
use hilo_proto::history::v1::SearchThreadsRequest;
use tonic::Code;

/// Longest wait for any single step.
const PATIENCE: Duration = Duration::from_secs(60);

/// The people of a run.
#[derive(Clone)]
pub struct Witness {
    /// The installation.
    pub installation: Arc<Installation>,
    /// An agent with a desk.
    pub agent: Agent,
    /// The desk.
    pub desk: Arc<Desk>,
}

/// What a journey left behind.
#[derive(Clone, Debug)]
pub struct Journey {
    /// The customer, unique.
    pub customer: String,
    /// Attention it became.
    pub attention_id: String,
    /// Message-ID of the agent's answer.
    pub answer_id: String,
    /// SMTP attempts of the customer that ended without an answer.
    pub unanswered: u32,
}

/// Mail in, offer, open, answer, answer received, end, history.
///
/// # Errors
/// When a step does not happen in time; the message names it.
pub async fn travel(witness: &Witness, customer: String) -> Result<Journey> {
    let installation = &witness.installation;
    let word = customer.split('@').next().unwrap_or_default().replace('-', "");
    let text = format!("Necesito ayuda con mi pedido {word}");
    let mail = Mail::new(&customer, installation.support_address(), "Pedido", &text);
    let unanswered =
        customer::send_until_accepted(installation.smtp(), &mail, PATIENCE).await.context("the mail in")?;
    let item = witness.desk.wait_for_offer(&customer, PATIENCE).await?;
    let opened = witness.agent.open(&item.interaction_id).await;
    opened.map_err(|status| anyhow::anyhow!("open {}: {status}", item.interaction_id))?;
    let message = witness.agent.reply(&item.interaction_id, &format!("Ya lo revisamos, {customer}.")).await;
    let message = message.map_err(|status| anyhow::anyhow!("reply: {status}"))?;
    let answer_id = message.internet_message_id;
    let fits = |received: &hilo_end_to_end::sink::Received| received.message_id == answer_id;
    installation.sink().wait_for(&format!("the answer to {customer}"), PATIENCE, fits).await?;
    match witness.agent.end(&item.interaction_id, false).await {
        Ok(ended) => {
            let state = ended.interaction.map_or(0, |interaction| interaction.state);
            anyhow::ensure!(state == InteractionState::Ended as i32, "ended as {state}");
        }
        Err(status) => anyhow::bail!("end: {status} ({:?})", Code::from(status.code() as i32)),
    }
    let search = SearchThreadsRequest { words: word, ..Default::default() };
    witness.agent.find_in_history(search, 1, PATIENCE).await.context("history")?;
    Ok(Journey { customer, attention_id: item.attention_id, answer_id, unanswered })
}
