//! One mail's journey, driven by its people with the patience real ones have: the customer's server repeats the same bytes,
//! the agent's frontend repeats the same request id. The long one goes on after the end: into the history, out of the hot tables, and
//! back when the agent opens it again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hilo_end_to_end::agent::persist;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Agent, Desk, Installation};
use hilo_proto::attention::v1::{DeskItem, GetAttentionRequest, ReopenInteractionRequest};
use hilo_proto::event::v1::InteractionState;
use hilo_proto::history::v1::{GetThreadRequest, SearchThreadsRequest, ThreadMessage};
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
    /// Mails of the customer.
    pub mails: usize,
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
    Ok(Journey { customer, attention_id: item.attention_id, answer_id, unanswered, mails: 1 })
}

/// Mails of a long thread, and bytes of the HTML of each: together more than a page of either service.
const LONG: usize = 5;
const LONG_BYTES: usize = 720_000;

/// A thread of several pages: into the history, purged, read, opened again with every body as it was, ended and stored again.
///
/// # Errors
/// When a step does not happen in time, or a body is not what it was; the message names it.
pub async fn travel_long(witness: &Witness, customer: String) -> Result<Journey> {
    let installation = &witness.installation;
    let unanswered = long_mails(installation, &customer).await.context("the mails in")?;
    let whole = |item: &DeskItem| {
        item.ringing && item.customer_address == customer && item.message_count == LONG as i32
    };
    let item = witness.desk.wait_for(&format!("the mails of {customer}"), PATIENCE, whole).await?;
    let opened = witness.agent.open(&item.interaction_id).await;
    opened.map_err(|status| anyhow::anyhow!("open: {status}"))?;
    let message = witness.agent.reply(&item.interaction_id, &format!("Ya lo revisamos, {customer}.")).await;
    let answer_id = message.map_err(|status| anyhow::anyhow!("reply: {status}"))?.internet_message_id;
    let fits = |received: &hilo_end_to_end::sink::Received| received.message_id == answer_id;
    installation.sink().wait_for(&format!("the answer to {customer}"), PATIENCE, fits).await?;
    let sent = |messages: &[ThreadMessage]| messages.iter().any(|one| one.delivery_state == "sent");
    let before = thread(witness, &item, "the answer is known as sent", sent).await?;
    let weight: usize = before.iter().map(|one| one.html.len()).sum();
    anyhow::ensure!(weight > LONG * LONG_BYTES * 9 / 10, "only {weight} bytes of HTML were kept");
    for turn in 0..2 {
        witness
            .agent
            .end(&item.interaction_id, false)
            .await
            .map_err(|status| anyhow::anyhow!("end: {status}"))?;
        purged(witness, &item).await.with_context(|| format!("purge {turn}"))?;
        let kept = stored(witness, &item).await.with_context(|| format!("history {turn}"))?;
        anyhow::ensure!(same(&kept, &before), "{customer}: the history keeps another thread than there was");
        if turn == 0 {
            reopen(witness, &item).await?;
            let back = thread(witness, &item, "every body is back", |_| true).await?;
            anyhow::ensure!(same(&back, &before), "{customer}: what came back is not what it was");
        }
    }
    Ok(Journey { customer, attention_id: item.attention_id, answer_id, unanswered, mails: LONG })
}

/// Mails with large HTML in one thread; answers how often no answer came.
async fn long_mails(installation: &Installation, customer: &str) -> Result<u32> {
    let (mut unanswered, mut first) = (0, None);
    for index in 0..LONG {
        let to = installation.support_address();
        let mut mail = Mail::new(customer, to, "Pedido", &format!("Necesito ayuda, parte {index}"));
        let line = format!("parte {index}: el pedido no ha llegado y nadie contesta\n");
        mail.html = Some(format!("<p>{}</p>", line.repeat(LONG_BYTES / line.len())));
        mail.references.extend(first.clone());
        mail.in_reply_to = first.clone();
        first = first.or(Some(mail.message_id.clone()));
        unanswered += customer::send_until_accepted(installation.smtp(), &mail, PATIENCE).await?;
    }
    Ok(unanswered)
}

/// The thread at the desk as soon as it is as wanted, read in pages.
async fn thread(
    witness: &Witness,
    item: &DeskItem,
    what: &str,
    wanted: impl Fn(&[ThreadMessage]) -> bool,
) -> Result<Vec<ThreadMessage>> {
    let began = std::time::Instant::now();
    loop {
        let messages = witness.agent.all_messages(&item.attention_id).await?;
        if wanted(&messages) {
            return Ok(messages);
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the bodies are in the history only.
async fn purged(witness: &Witness, item: &DeskItem) -> Result<()> {
    let began = std::time::Instant::now();
    loop {
        let request = GetAttentionRequest { attention_id: item.attention_id.clone() };
        let answer = persist(PATIENCE, || {
            let (mut client, request) = (witness.agent.attention(), request.clone());
            async move { client.get_attention(request).await }
        });
        let gone = answer.await?.attention.unwrap_or_default().interaction_ids_in_history;
        if gone.contains(&item.interaction_id) {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "the bodies did not leave");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All messages as the history keeps them, page by page.
async fn stored(witness: &Witness, item: &DeskItem) -> Result<Vec<ThreadMessage>> {
    let mut request = GetThreadRequest { interaction_id: item.interaction_id.clone(), ..Default::default() };
    let mut messages = Vec::new();
    loop {
        let answer = persist(PATIENCE, || {
            let (mut client, request) = (witness.agent.history(), request.clone());
            async move { client.get_thread(request).await }
        });
        let answer = answer.await?;
        messages.extend(answer.thread.unwrap_or_default().messages);
        if answer.next_page_token.is_empty() {
            return Ok(messages);
        }
        request.page_token = answer.next_page_token;
    }
}

/// As a frontend does it: the same request id until it is answered.
async fn reopen(witness: &Witness, item: &DeskItem) -> Result<()> {
    let request_id = uuid::Uuid::now_v7().to_string();
    let request = ReopenInteractionRequest { interaction_id: item.interaction_id.clone(), request_id };
    let reopened = persist(PATIENCE, || {
        let (mut client, request) = (witness.agent.attention(), request.clone());
        async move { client.reopen_interaction(request).await }
    });
    reopened.await.map(drop).map_err(|status| anyhow::anyhow!("reopen: {status}"))
}

/// Same messages in the same order with the same bodies.
fn same(one: &[ThreadMessage], other: &[ThreadMessage]) -> bool {
    let body =
        |message: &ThreadMessage| (message.message_id.clone(), message.text.clone(), message.html.clone());
    one.iter().map(body).eq(other.iter().map(body))
}
