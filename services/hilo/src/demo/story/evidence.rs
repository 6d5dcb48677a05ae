//! What the parts of the story read at the far end, and how long each may take.

use std::time::Duration;

use hilo_proto::attention::v1::{DeskItem, OpenInteractionResponse};
use hilo_proto::event::v1::InteractionState;
use hilo_proto::history::v1::ThreadMessage;

use super::super::agents::Agent;
use super::super::clock::{until, wrong};
use super::stage::Play;
use crate::cli::desk::list::is_queued;
use crate::cli::{Exit, Failure};

/// From handing a mail in until it rings at an agent, and the like. The promise is below a second; a loaded machine gets more.
pub const SOON: Duration = Duration::from_secs(12);

/// A customer's interaction and who serves it.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// The agent at whom it rang.
    pub agent: &'a Agent,
    /// The item as the agent's stream told it.
    pub item: DeskItem,
    /// Message-ID of the customer's mail.
    pub message_id: String,
}

/// The three customers' cases.
#[derive(Clone, Debug)]
pub struct Cases<'a> {
    /// María.
    pub maria: Case<'a>,
    /// Jorge.
    pub jorge: Case<'a>,
    /// Lucía.
    pub lucia: Case<'a>,
}

/// Waits until an item that fits rings at one of the agents; answers both.
pub async fn ringing<'a>(
    play: &Play<'a>,
    what: &str,
    fits: impl Fn(&DeskItem) -> bool,
) -> Result<(&'a Agent, DeskItem), Failure> {
    until(SOON, what, || {
        let found = play.agents.into_iter().find_map(|agent| {
            let item = agent.item(|item| fits(item) && is_queued(item) && item.ringing)?;
            Some((agent, item))
        });
        async move { Ok(found) }
    })
    .await
}

/// True when the customer's address and the subject's beginning are those of this run.
pub fn of_customer(item: &DeskItem, address: &str) -> bool {
    item.customer_address.eq_ignore_ascii_case(address)
}

/// Opens an item and answers what the desk got.
pub async fn open(agent: &Agent, item: &DeskItem) -> Result<OpenInteractionResponse, Failure> {
    use crate::cli::desk::remote::DeskCalls as _;
    agent.desk.open(&item.interaction_id).await
}

/// The newest message of an opened item.
pub fn newest(answer: &OpenInteractionResponse) -> Result<&ThreadMessage, Failure> {
    answer.messages.last().ok_or_else(|| wrong("the opened item has no message"))
}

/// State of an interaction of an attention.
pub async fn state_of(
    agent: &Agent,
    attention_id: &str,
    interaction_id: &str,
) -> Result<InteractionState, Failure> {
    let attention = agent.attention(attention_id).await?;
    let interaction = attention.interactions.iter().find(|one| one.interaction_id == interaction_id);
    let interaction = interaction
        .ok_or_else(|| Failure::new(Exit::Failed, "NOT_AS_PROMISED", "the interaction is not listed"))?;
    Ok(InteractionState::try_from(interaction.state).unwrap_or(InteractionState::Unspecified))
}

/// A Message-ID of ours short enough for a line: its beginning and its domain; the keyed token is in between.
pub fn short(message_id: &str) -> String {
    let (local, domain) = message_id.rsplit_once('@').unwrap_or((message_id, ""));
    let begin: String = local.chars().take(13).collect();
    format!("{begin}…@{domain}")
}
