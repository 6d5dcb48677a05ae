//! Another system that subscribes to every attention event and follows the published rules: it ignores a sequence it has
//! seen, notices a gap, and after losing its reader starts a new one from the beginning of the stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::{self, consumer};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// One event as seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// CloudEvents id.
    pub id: String,
    /// CloudEvents type.
    pub kind: String,
    /// Data.
    pub data: serde_json::Value,
}

/// What the subscriber knows.
#[derive(Debug, Default)]
pub struct Log {
    /// Attention id → sequence → event.
    pub attentions: BTreeMap<String, BTreeMap<u64, Seen>>,
    /// Rule breaks: gaps, or two different events under one number.
    pub violations: Vec<String>,
    /// Deliveries of a number already seen (allowed, counted).
    pub repeats: u64,
    /// How often the reader had to be made anew.
    pub restarts: u64,
}

/// A running subscriber.
#[derive(Debug)]
pub struct Subscriber {
    log: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Subscribes to everything under `<prefix>.attention.v1.>` of the broker at `url`.
    pub fn start(url: &str, prefix: &str) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let (url, prefix, shared) = (url.to_owned(), prefix.to_owned(), Arc::clone(&log));
        let task = tokio::spawn(async move {
            loop {
                let _ended = read(&url, &prefix, &shared).await;
                shared.lock().restarts += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Self { log, task }
    }

    /// Looks at what it knows.
    pub fn with<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.log.lock())
    }

    /// Waits until `look` answers true.
    ///
    /// # Errors
    /// When it has not before the deadline.
    pub async fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        look: impl Fn(&Log) -> bool,
    ) -> Result<()> {
        let started = std::time::Instant::now();
        while !self.with(&look) {
            anyhow::ensure!(
                started.elapsed() < deadline,
                "the subscriber did not see in {deadline:?}: {what}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(url: &str, prefix: &str, log: &Mutex<Log>) -> Result<()> {
    let client = async_nats::connect(url).await?;
    let stream = jetstream::new(client).get_stream(format!("{}_EVENTS", prefix.to_uppercase())).await?;
    let created = stream.cached_info().created;
    let reader = stream
        .create_consumer(consumer::pull::Config {
            filter_subject: format!("{prefix}.attention.v1.>"),
            deliver_policy: consumer::DeliverPolicy::All,
            ack_policy: consumer::AckPolicy::None,
            inactive_threshold: Duration::from_secs(60),
            ..consumer::pull::Config::default()
        })
        .await?;
    let mut messages =
        reader.stream().heartbeat(Duration::from_secs(1)).expires(Duration::from_secs(5)).messages().await?;
    loop {
        match tokio::time::timeout(Duration::from_secs(2), messages.next()).await {
            Ok(Some(message)) => note(&message?, log)?,
            Ok(None) => return Ok(()),
            // Silence: is it still the same stream?
            Err(_) => {
                anyhow::ensure!(stream.get_info().await?.created == created, "the stream was made anew")
            }
        }
    }
}

fn note(message: &jetstream::Message, log: &Mutex<Log>) -> Result<()> {
    let headers = message.headers.as_ref().context("an event without headers")?;
    let header =
        |name: &str| headers.get(name).map(|value| value.as_str().to_owned()).context(name.to_owned());
    let (attention, number) = (header("ce-subject")?, header("ce-sequence")?);
    let sequence: u64 = number.parse().context("ce-sequence")?;
    let seen = Seen {
        id: header("ce-id")?,
        kind: header("ce-type")?,
        data: serde_json::from_slice(&message.payload)?,
    };
    let mut log = log.lock();
    let events = log.attentions.entry(attention.clone()).or_default();
    let last = events.last_key_value().map_or(0, |(number, _)| *number);
    match events.get(&sequence) {
        Some(known) if known.id == seen.id => log.repeats += 1,
        Some(known) => {
            let text = format!("{attention}: two events under {sequence}: {} and {}", known.id, seen.id);
            log.violations.push(text);
        }
        None if sequence == last + 1 => {
            events.insert(sequence, seen);
        }
        None => {
            events.insert(sequence, seen);
            log.violations.push(format!("{attention}: {sequence} came after {last}"));
        }
    }
    Ok(())
}
