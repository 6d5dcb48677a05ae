//! Pulls messages into a bounded channel and re-creates what the broker lost: the stream, the durable, the pull.

use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt;
use tokio::sync::{mpsc, watch};

use super::ConsumerSpec;
use crate::clock;
use crate::error::Error;
use crate::lifecycle::Shutdown;
use crate::nats::{Nats, StreamKind};

const HEARTBEAT: Duration = Duration::from_secs(5);
const EXPIRES: Duration = Duration::from_secs(20);
/// Two heartbeats without a message: the broker is asked whether anything waits.
const SILENCE: Duration = Duration::from_secs(10);
/// Until the second look after a first one that found something waiting: it may have been published that instant.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Messages wait although nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    /// The broker's count of deliveries to the consumer.
    delivered: u64,
}

pub(super) struct Puller {
    nats: Nats,
    spec: ConsumerSpec,
    messages: mpsc::Sender<jetstream::Message>,
    confirmed: watch::Sender<bool>,
    restarts: watch::Sender<u64>,
}

impl Puller {
    pub fn new(
        nats: Nats,
        spec: ConsumerSpec,
        messages: mpsc::Sender<jetstream::Message>,
        confirmed: watch::Sender<bool>,
        restarts: watch::Sender<u64>,
    ) -> Self {
        Self { nats, spec, messages, confirmed, restarts }
    }

    pub async fn run(self, stop: &Shutdown) {
        let restarts = crate::telemetry::meter().u64_counter("hilo.consumer.restarts").build();
        let mut failures = 0;
        loop {
            let pulled = tokio::select! {
                pulled = self.pull(&mut failures) => pulled,
                () = stop.cancelled() => return,
            };
            self.confirmed.send_replace(false);
            self.restarts.send_modify(|count| *count += 1);
            restarts.add(1, &[opentelemetry::KeyValue::new("consumer", self.spec.durable.clone())]);
            match pulled {
                Ok(()) if self.messages.is_closed() => return,
                Ok(()) => {}
                Err(error) => {
                    tracing::info!(consumer = %self.spec.durable, error = %error.chain(), "pulling starts anew");
                    failures += 1;
                }
            }
            let pause = clock::backoff(failures, Duration::from_millis(50), Duration::from_secs(2));
            if !stop.sleep(pause).await {
                return;
            }
        }
    }

    /// Ends when the connection was made anew, the pull fails or is silent although something waits.
    async fn pull(&self, failures: &mut u32) -> Result<(), Error> {
        let mut connections = self.nats.connections();
        connections.mark_unchanged();
        self.nats.ensure_streams(&[self.spec.stream, StreamKind::Dead]).await?;
        let consumer = self.nats.ensure_consumer(&self.spec.settings()).await?;
        let broken =
            |error| Error::unavailable("PULL_FAILED", "the pull could not be started").with_source(error);
        let mut pulling = consumer
            .stream()
            .max_messages_per_batch(self.spec.max_batch.max(1))
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES)
            .messages()
            .await
            .map_err(|error| broken(Box::new(error)))?;
        self.confirmed.send_replace(true);
        let mut suspected: Option<Waiting> = None;
        loop {
            let patience = if suspected.is_some() { SECOND_LOOK } else { SILENCE };
            let next = tokio::select! {
                next = tokio::time::timeout(patience, pulling.next()) => next,
                _ = connections.changed() => return Ok(()),
            };
            match next {
                Ok(Some(Ok(message))) => {
                    *failures = 0;
                    suspected = None;
                    if self.messages.send(message).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(Some(Err(error))) => {
                    return Err(Error::unavailable("PULL_FAILED", "the pull failed").with_source(error));
                }
                Ok(None) => return Err(Error::unavailable("PULL_FAILED", "the pull ended")),
                Err(_) => suspected = self.check_silence(&consumer, suspected).await?,
            }
        }
    }

    /// The watchdog: silence is fine only while the broker says that nothing waits for us. What waits at the first look may
    /// be on its way; the pull is broken when it still waits at the second and nothing was delivered in between.
    async fn check_silence(
        &self,
        consumer: &jetstream::consumer::PullConsumer,
        suspected: Option<Waiting>,
    ) -> Result<Option<Waiting>, Error> {
        let info = consumer
            .get_info()
            .await
            .map_err(|error| Error::unavailable("PULL_FAILED", "the consumer is gone").with_source(error))?;
        let full = i64::try_from(info.num_ack_pending).unwrap_or(i64::MAX) >= self.spec.max_ack_pending;
        if full {
            tracing::warn!(consumer = %self.spec.durable, "as many messages are unacknowledged as may be");
        }
        let now = (info.num_pending > 0 && !full)
            .then_some(Waiting { delivered: info.delivered.consumer_sequence });
        if now.is_some() && now == suspected {
            return Err(Error::unavailable("PULL_SILENT", "messages wait, yet none comes"));
        }
        Ok(now)
    }
}
