//! Consumers: pull, work and acknowledge so that a message is acknowledged only after its effect is committed, comes
//! again after any crash, holds back its key while it cannot be handled, and ends as a dead letter after its last try.
//!
//! The pulling task (`pull`) only fills a bounded channel and watches the broker; the working task (`work`) decides
//! order, retries and dead letters (`lanes` keeps the order).
//!
//! Attempts are counted by rows written before every attempt but the first. The broker's delivery count only tells
//! that a message may have been tried before: it also counts messages that were merely waiting in a killed process,
//! so taking it as attempts would bury innocent mail after a few restarts.

mod attempts;
mod delivery;
mod lanes;
mod pull;
mod work;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

pub use delivery::Delivery;

use crate::error::{BrokerAction, Error};
use crate::lifecycle::Shutdown;
use crate::nats::{ConsumerSettings, Deliver, Nats, StreamKind};

/// What became of one message of a batch.
#[derive(Debug)]
pub enum Outcome {
    /// Its effect is committed (now or before): acknowledge.
    Ack,
    /// Something it needs is locked by another: again in 5 ms, doubling to 200 ms, uncounted.
    Busy,
    /// It failed; the error's class says whether the try is counted.
    Retry(Error),
    /// It can never succeed: dead letter now.
    Dead(Error),
}

impl Outcome {
    /// The outcome that an error's class asks for.
    pub fn of(error: Error) -> Self {
        match error.class().broker_action() {
            BrokerAction::Ack => Outcome::Ack,
            BrokerAction::Wait | BrokerAction::Retry => Outcome::Retry(error),
            BrokerAction::DeadLetter => Outcome::Dead(error),
        }
    }
}

/// Handles batches; the effect of every message that is answered with [`Outcome::Ack`] is committed by then.
#[async_trait]
pub trait BatchHandler: Send + Sync + 'static {
    /// One outcome per message, in order. Fewer outcomes count as a failure of the rest. A panic counts as one try of
    /// every message of the batch, and they are then tried one by one.
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome>;
}

/// A message that is given up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Consumer that gives up.
    pub consumer: String,
    /// Stream it came from.
    pub stream: StreamKind,
    /// The message.
    pub delivery: Delivery,
    /// Stable reason.
    pub reason: String,
    /// Detail for operators, without content.
    pub detail: String,
    /// Tries made.
    pub attempts: u32,
}

/// A dead letter handed to its consumer again.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The dead letter.
    pub dead_letter: Uuid,
    /// The message as it was.
    pub delivery: Delivery,
}

/// Where attempts are counted and dead letters kept. Services with a database use [`crate::dead::DeadLetters`].
#[async_trait]
pub trait DeadLetterSink: Send + Sync + 'static {
    /// Counts one more attempt of each message before it begins; answers the attempts begun, that one included, in
    /// the same order. Every message counted here was tried once before, uncounted.
    ///
    /// # Errors
    /// Then nothing is tried.
    async fn begin_attempts(&self, consumer: &str, ids: &[Uuid]) -> Result<Vec<u32>, Error>;

    /// Takes back one attempt of each message: it came to its end without being handled, as something else was in its way.
    ///
    /// # Errors
    /// Harmless: the attempts count.
    async fn take_back_attempts(&self, consumer: &str, ids: &[Uuid]) -> Result<(), Error>;

    /// Forgets the attempts of handled messages.
    ///
    /// # Errors
    /// Harmless: the rows stay.
    async fn forget_attempts(&self, consumer: &str, ids: &[Uuid]) -> Result<(), Error>;

    /// Commits the dead letter; again for the same message is harmless.
    ///
    /// # Errors
    /// Then the message stays unacknowledged.
    async fn bury(&self, letter: &DeadLetter) -> Result<(), Error>;

    /// Dead letters an operator wants replayed.
    ///
    /// # Errors
    /// Tried again later.
    async fn replays(&self, consumer: &str) -> Result<Vec<Replay>, Error> {
        let _ = consumer;
        Ok(Vec::new())
    }

    /// A replayed one was handled (`None`) or failed again.
    ///
    /// # Errors
    /// Tried again later.
    async fn settle_replay(&self, dead_letter: Uuid, failure: Option<&Error>) -> Result<(), Error> {
        let _ = (dead_letter, failure);
        Ok(())
    }
}

/// How a consumer works.
#[derive(Clone, Debug)]
pub struct ConsumerSpec {
    /// Stream.
    pub stream: StreamKind,
    /// Durable name, a token; replicas that share the work share it.
    pub durable: String,
    /// Subjects; empty means all of the stream.
    pub filters: Vec<String>,
    /// Most messages in one batch.
    pub max_batch: usize,
    /// How long a batch that is not full waits for more than what has arrived already.
    pub linger: Duration,
    /// At most one message of a key in a batch. Without it the handler itself must answer `Busy` for what follows a
    /// message of the same key that it skipped.
    pub one_per_key: bool,
    /// A message unacknowledged this long comes again; those at work are kept by a sign of life to the broker.
    pub ack_wait: Duration,
    /// Most messages out at once.
    pub max_ack_pending: i64,
    /// Counted tries before the dead letter; at least 3.
    pub max_attempts: u32,
    /// The server forgets the consumer after this long without a reader; zero never.
    pub inactive_threshold: Duration,
    /// Where a new consumer begins.
    pub deliver: Deliver,
}

impl ConsumerSpec {
    /// The usual settings for the whole stream.
    pub fn new(stream: StreamKind, durable: impl Into<String>) -> Self {
        Self {
            stream,
            durable: durable.into(),
            filters: Vec::new(),
            max_batch: 128,
            linger: Duration::ZERO,
            one_per_key: true,
            // Short, because it is also how long the messages of a killed process wait.
            ack_wait: Duration::from_secs(10),
            max_ack_pending: 1_024,
            max_attempts: 5,
            inactive_threshold: Duration::ZERO,
            deliver: Deliver::All,
        }
    }

    /// Only these subjects.
    #[must_use]
    pub fn filters(mut self, filters: Vec<String>) -> Self {
        self.filters = filters;
        self
    }

    /// The broker's part of it, for [`Nats::ensure_consumer`].
    pub fn settings(&self) -> ConsumerSettings {
        ConsumerSettings {
            stream: self.stream,
            durable: self.durable.clone(),
            filters: self.filters.clone(),
            ack_wait: self.ack_wait,
            max_ack_pending: self.max_ack_pending,
            inactive_threshold: self.inactive_threshold,
            deliver: self.deliver,
        }
    }
}

/// A running consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    confirmed: watch::Receiver<bool>,
    restarts: watch::Receiver<u64>,
}

impl Consumer {
    /// Starts the pulling and the working task.
    pub fn spawn(
        nats: Nats,
        spec: ConsumerSpec,
        handler: Arc<dyn BatchHandler>,
        sink: Arc<dyn DeadLetterSink>,
        shutdown: &Shutdown,
    ) -> Self {
        let (messages, incoming) = tokio::sync::mpsc::channel(spec.max_batch.max(1) * 2);
        let (confirmed_tx, confirmed) = watch::channel(false);
        let (restarts_tx, restarts) = watch::channel(0);
        let puller = pull::Puller::new(nats.clone(), spec.clone(), messages, confirmed_tx, restarts_tx);
        let stop = shutdown.clone();
        shutdown.spawn(format!("pull {}", spec.durable), async move { puller.run(&stop).await });
        let stop = shutdown.clone();
        shutdown.spawn(format!("work {}", spec.durable), async move {
            work::Worker::new(nats, spec, handler, sink).run(incoming, &stop).await;
        });
        Self { confirmed, restarts }
    }

    /// Waits until the durable consumer exists at the broker: from then on no message is missed.
    pub async fn confirmed(&self) {
        let mut confirmed = self.confirmed.clone();
        // The task that would set it ended: the process stops, and so does the caller.
        let _ = confirmed.wait_for(|confirmed| *confirmed).await;
    }

    /// True while the durable consumer is known to exist.
    pub fn is_confirmed(&self) -> bool {
        *self.confirmed.borrow()
    }

    /// How often the pull was started anew because it failed or was silent.
    pub fn restarts(&self) -> u64 {
        *self.restarts.borrow()
    }
}

/// For services without a database: counts attempts in memory, raises an alarm instead of keeping the message.
#[derive(Debug, Default)]
pub struct AlarmSink {
    attempts: parking_lot::Mutex<std::collections::HashMap<(String, Uuid), u32>>,
}

/// Messages whose attempts are remembered; above it the memory starts anew.
const MAX_REMEMBERED: usize = 10_000;

#[async_trait]
impl DeadLetterSink for AlarmSink {
    async fn begin_attempts(&self, consumer: &str, ids: &[Uuid]) -> Result<Vec<u32>, Error> {
        let mut attempts = self.attempts.lock();
        if attempts.len() > MAX_REMEMBERED {
            attempts.clear();
        }
        Ok(ids
            .iter()
            .map(|id| {
                let count = attempts.entry((consumer.to_owned(), *id)).or_insert(1);
                *count += 1;
                *count
            })
            .collect())
    }

    async fn take_back_attempts(&self, consumer: &str, ids: &[Uuid]) -> Result<(), Error> {
        let mut attempts = self.attempts.lock();
        for id in ids {
            attempts.entry((consumer.to_owned(), *id)).and_modify(|count| *count = count.saturating_sub(1));
        }
        Ok(())
    }

    async fn forget_attempts(&self, consumer: &str, ids: &[Uuid]) -> Result<(), Error> {
        let mut attempts = self.attempts.lock();
        for id in ids {
            attempts.remove(&(consumer.to_owned(), *id));
        }
        Ok(())
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<(), Error> {
        tracing::error!(
            consumer = %letter.consumer,
            message_id = %letter.delivery.id(),
            reason = %letter.reason,
            attempts = letter.attempts,
            "a message is given up; rebuild from the snapshot"
        );
        crate::telemetry::meter().u64_counter("hilo.consumer.alarms").build().add(1, &[]);
        Ok(())
    }
}
