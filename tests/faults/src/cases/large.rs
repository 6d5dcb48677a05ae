//! A mail of several megabytes: what is large travels as a reference to the object store, and nothing waits behind it.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::download;
use hilo_end_to_end::{Agent, Installation, Options, Service};
use hilo_kit::objects::Digest256;
use hilo_proto::attention::v1 as attention;
use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::history::v1::SearchThreadsRequest;
use sqlx::Connection;

use super::bench::PATIENCE;

const CUSTOMER: &str = "grande@cliente.example";
/// Databases with an outbox on the way.
const OUTBOXES: [&str; 2] = ["hilo_email", "hilo_attention"];

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Large {
    /// Bytes of the mail's text.
    pub bytes: usize,
    /// Other customers who write at the same time; enough of them share every partition of the outbox.
    pub others: usize,
}

/// What a run found.
#[derive(Debug)]
pub struct LargeReport {
    /// Bytes that came back by the link, equal to those sent.
    pub delivered: usize,
    /// Largest outbox row on the way.
    pub largest_row: i64,
    /// Mails that came behind it or beside it, and were answered and ended.
    pub served: usize,
    size: Large,
}

impl LargeReport {
    /// True when all arrived and no row was near what a broker takes.
    pub fn is_exact(&self) -> bool {
        let limit = i64::try_from(hilo_kit::outbox::MAX_PAYLOAD).unwrap_or(0);
        self.delivered == self.size.bytes && self.largest_row <= limit && self.served == self.size.others + 2
    }
}

impl fmt::Display for LargeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} bytes delivered by reference, largest outbox row {} bytes, {} of {} mails around it served to the end",
            self.delivered,
            self.size.bytes,
            self.largest_row,
            self.served,
            self.size.others + 2
        )
    }
}

/// Sends the large mail between two small ones of its author, and many of others.
///
/// # Errors
/// When something does not arrive in time; the message names it.
pub async fn large(size: Large) -> Result<LargeReport> {
    let installation = Arc::new(Installation::start(Options { agents: 1, ..Options::default() }).await?);
    let agent = installation.login("agente-0").await?;
    let _present = agent.be_present().await?;
    let desk = agent.watch();
    let text = text(size.bytes);
    let mail = |from: &str, subject: &str, text: &str| {
        Mail::new(from, installation.support_address(), subject, text)
    };
    let mut served = 0;
    for (subject, text) in [("Antes", "uno"), ("Grande", text.as_str()), ("Después", "tres")] {
        customer::send_until_accepted(installation.smtp(), &mail(CUSTOMER, subject, text), PATIENCE).await?;
    }
    for index in 0..size.others {
        let from = format!("vecino-{index}@cliente.example");
        customer::send_until_accepted(installation.smtp(), &mail(&from, "Consulta", "hola"), PATIENCE)
            .await?;
    }
    let mut numbers = Vec::new();
    let mut delivered = 0;
    for subject in ["Antes", "Grande", "Después"] {
        let fits = |item: &attention::DeskItem| item.subject == subject && item.ringing;
        let item = desk.wait_for(subject, PATIENCE, fits).await?;
        numbers.push(item.attention_number);
        let message =
            agent.open(&item.interaction_id).await?.messages.into_iter().next().context("no message")?;
        if subject == "Grande" {
            ensure!(message.text.len() < size.bytes, "the text came whole inside the message");
            delivered = fetched(&installation, &agent, &message.message_id, &text).await?;
        } else {
            served += 1;
        }
        agent.end(&item.interaction_id, true).await?;
    }
    ensure!(numbers.is_sorted(), "the author's mails changed places: {numbers:?}");
    for index in 0..size.others {
        let item = desk.wait_for_offer(&format!("vecino-{index}@cliente.example"), PATIENCE).await?;
        agent.open(&item.interaction_id).await?;
        agent.end(&item.interaction_id, true).await?;
        served += 1;
    }
    let all = SearchThreadsRequest { page_size: 200, ..Default::default() };
    agent.find_in_history(all, size.others + 3, PATIENCE).await?;
    let mut largest_row = 0;
    for name in OUTBOXES {
        largest_row = largest_row.max(largest(&installation.database(name)).await?);
    }
    Ok(LargeReport { delivered, largest_row, served, size })
}

/// Lines of words, as long as asked for; every line different.
fn text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 80);
    let mut line = 0;
    while text.len() < bytes {
        line += 1;
        text.push_str(&format!("{line:08} el pedido no ha llegado y nadie contesta en la tienda\n"));
    }
    text.truncate(bytes.saturating_sub(4));
    // Trailing white space might not come back.
    text.push_str("fin.");
    text
}

/// Follows the link of the kept text; answers its length when the content is the one that was sent.
async fn fetched(installation: &Installation, agent: &Agent, message_id: &str, sent: &str) -> Result<usize> {
    let source = Source::Message(attention::MessageAttachmentRef { message_id: message_id.into(), index: 0 });
    let attachment = Some(attention::AttachmentRef { source: Some(source), content_id: String::new() });
    let request = attention::GetDownloadUrlRequest { attachment, inline: false };
    let url = agent.attention().get_download_url(request).await?.into_inner().url;
    let answer = download::get(&installation.endpoint(Service::AttentionState), &url, "").await?;
    ensure!(answer.status == 200, "the link answered {}", answer.status);
    let (came, sent) = (unified(&answer.body), unified(sent.as_bytes()));
    ensure!(Digest256::of(&came) == Digest256::of(&sent), "{} bytes came, others than were sent", came.len());
    Ok(came.len())
}

/// Without the difference between line ends, which a text part may change on its way (RFC 2045 section 6.8).
fn unified(content: &[u8]) -> Vec<u8> {
    content.iter().copied().filter(|byte| *byte != b'\r').collect()
}

async fn largest(database: &str) -> Result<i64> {
    let mut connection = sqlx::PgConnection::connect(database).await?;
    let sql =
        "SELECT coalesce(max(octet_length(payload) + octet_length(headers)), 0)::bigint FROM kit.outbox_log";
    let bytes = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(bytes)
}
