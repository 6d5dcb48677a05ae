//! Webhooks on an open schedule, and the floor beside them: what checking a signature and committing a row cost at the least, on the same
//! server and by the same generator.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use hilo_end_to_end::chat::{Poster, text, webhook};
use http::StatusCode;

use crate::Took;

mod floor;

pub use floor::Floor;

/// POSTs under way at once: more than that and the receiver is not keeping up.
const AT_ONCE: usize = 512;

/// What is posted.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Events per second.
    pub rate: f64,
    /// Events of a POST.
    pub per_post: usize,
    /// How long.
    pub lasting: Duration,
    /// The business number.
    pub number: String,
    /// Customers they come from, in turn.
    pub customers: usize,
    /// Begins the ids of the messages, so that two runs differ.
    pub run: String,
}

/// What was found.
#[derive(Debug)]
pub struct WebhooksReport {
    /// Events posted.
    pub events: usize,
    /// POSTs answered otherwise than 200, or not at all.
    pub refused: usize,
    /// From the instant a POST was due to its answer.
    pub took: Took,
    /// From the first due instant to the last answer.
    pub elapsed: Duration,
    /// Largest delay between a due instant and the begin of its POST.
    pub generator_lag: Duration,
}

impl WebhooksReport {
    /// Events acknowledged per second.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64().max(0.001)
    }
}

impl fmt::Display for WebhooksReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} events/s acknowledged, p50 {:.1?}, p99 {:.1?}, max {:.1?}, {} POSTs refused",
            self.rate(),
            self.took.quantile(0.5),
            self.took.quantile(0.99),
            self.took.quantile(1.0),
            self.refused
        )
    }
}

/// Posts on schedule. A POST's clock starts when it was due, whatever held the generator up.
///
/// # Errors
/// When nothing at all could be posted.
pub async fn webhooks(poster: &Poster, size: &Webhooks) -> Result<WebhooksReport> {
    let posts = ((size.rate * size.lasting.as_secs_f64()) / size.per_post as f64).round() as usize;
    ensure!(posts > 0, "nothing to post");
    let interval = size.per_post as f64 / size.rate;
    let begun = Instant::now() + Duration::from_millis(200);
    let size = Arc::new(size.clone());
    let outcomes = futures::stream::iter(0..posts).map(|at| {
        let (poster, size) = (poster.clone(), Arc::clone(&size));
        let due = begun + Duration::from_secs_f64(at as f64 * interval);
        // A task of its own: signing must not hold up the answers of others.
        async move {
            tokio::time::sleep_until(due.into()).await;
            let posting = tokio::spawn(async move {
                let lag = due.elapsed();
                let status = poster.post(body(&size, at)).await;
                (lag, due.elapsed(), matches!(status, Ok(StatusCode::OK)))
            });
            posting.await
        }
    });
    let mut report = WebhooksReport {
        events: posts * size.per_post,
        refused: 0,
        took: Took::none()?,
        elapsed: Duration::ZERO,
        generator_lag: Duration::ZERO,
    };
    let mut outcomes = std::pin::pin!(outcomes.buffer_unordered(AT_ONCE));
    while let Some(outcome) = outcomes.next().await {
        let (lag, took, taken) = outcome?;
        report.generator_lag = report.generator_lag.max(lag);
        report.refused += usize::from(!taken);
        report.took.note(took)?;
    }
    report.elapsed = begun.elapsed();
    Ok(report)
}

/// The body of a POST: one customer's messages, as Meta batches them.
fn body(size: &Webhooks, at: usize) -> String {
    let from = format!("5195{:07}", at % size.customers.max(1));
    let message =
        |n: usize| text(&format!("wamid.{}.{at}.{n}", size.run), &from, "Buenos días, ¿me pueden ayudar?");
    webhook(&size.number, &from, (0..size.per_post).map(message).collect()).to_string()
}
