//! The broker: connection, names of streams and subjects, and streams and consumers whose echoed configuration is
//! compared with what was asked for, because older servers silently drop settings they do not know.
//!
//! An acknowledgement of JetStream is never durability here; PostgreSQL holds what must not be lost.

mod durability;
mod read;
mod streams;
mod subjects;

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, context::PublishErrorKind, publish::PublishAck};
use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use bytes::Bytes;
use tokio::sync::watch;

pub use durability::watch_durability;
pub use streams::{Bucket, ConsumerSettings, Deliver, StreamReport};
pub use subjects::{StreamKind, Subjects, is_event_name, is_token};

use crate::clock;
use crate::config::NatsConfig;
use crate::error::Error;

/// The oldest server that keeps every setting we rely on.
pub const MINIMUM_VERSION: (u64, u64) = (2, 12);
/// How long [`Nats::connect`] waits for the first connection before it goes on without.
const FIRST_CONNECTION: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that re-connects for ever.
#[derive(Clone)]
pub struct Nats {
    client: Client,
    jetstream: jetstream::Context,
    subjects: Subjects,
    replicas: usize,
    connections: watch::Receiver<u64>,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").field("prefix", &self.subjects.prefix()).finish_non_exhaustive()
    }
}

impl Nats {
    /// Connects. When the broker does not answer within a few seconds the connection goes on being tried in the
    /// background, so that a service which can work without the broker starts without it.
    ///
    /// # Errors
    /// `NATS_TOO_OLD` below [`MINIMUM_VERSION`], `NATS_CREDENTIALS`, `INVALID_SUBJECT` for a bad prefix.
    pub async fn connect(config: &NatsConfig) -> Result<Self, Error> {
        let subjects = Subjects::new(&config.prefix)?;
        let (connected, connections) = watch::channel(0);
        let options = options(config, connected).await?;
        let client = options
            .connect(config.url.split(',').map(str::trim).collect::<Vec<_>>().as_slice())
            .await
            .map_err(|error| {
                Error::unavailable("NATS_UNAVAILABLE", "the broker cannot be reached").with_source(error)
            })?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .max_ack_inflight(8192)
            .build(client.clone());
        let nats = Self { client, jetstream, subjects, replicas: config.replicas, connections };
        let mut first = nats.connections.clone();
        if tokio::time::timeout(FIRST_CONNECTION, first.wait_for(|count| *count > 0)).await.is_err() {
            tracing::warn!("the broker does not answer yet; trying on in the background");
            return Ok(nats);
        }
        nats.check_version()?;
        Ok(nats)
    }

    /// Refuses a server older than [`MINIMUM_VERSION`].
    ///
    /// # Errors
    /// `NATS_TOO_OLD`; `NATS_UNAVAILABLE` before the first connection.
    pub fn check_version(&self) -> Result<(), Error> {
        let version = self.client.server_info().version;
        if version.is_empty() {
            return Err(Error::unavailable("NATS_UNAVAILABLE", "the broker was never reached"));
        }
        if version_at_least(&version, MINIMUM_VERSION) {
            return Ok(());
        }
        let (major, minor) = MINIMUM_VERSION;
        Err(Error::rejected("NATS_TOO_OLD", format!("nats-server {version} is older than {major}.{minor}")))
    }

    /// True while connected.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Keeps a readiness condition equal to [`Nats::is_connected`].
    pub fn watch_readiness(
        &self,
        condition: crate::health::Condition,
        shutdown: &crate::lifecycle::Shutdown,
    ) {
        let (nats, stop) = (self.clone(), shutdown.clone());
        shutdown.spawn("broker readiness", async move {
            loop {
                condition.set(nats.is_connected());
                if !stop.sleep(Duration::from_millis(200)).await {
                    return;
                }
            }
        });
    }

    /// Counts connections made: changes with every re-connection.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.clone()
    }

    /// Names of subjects and streams.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// The plain client, for core NATS.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream as it is, for what kit has no function for.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Publishes to a stream and waits for the stream's acknowledgement.
    ///
    /// # Errors
    /// `STREAM_MISSING`, `PAYLOAD_TOO_LARGE`, `NATS_UNAVAILABLE`, `NATS_REFUSED`.
    pub async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<PublishAck, Error> {
        let sent =
            self.jetstream.publish_with_headers(subject, headers, payload).await.map_err(publish_error)?;
        sent.await.map_err(publish_error)
    }

    /// A hint to other replicas over core NATS; lost when nobody listens, which is fine for a hint.
    pub async fn ping(&self, subject: String, payload: Bytes) {
        if let Err(error) = self.client.publish(subject, payload).await {
            tracing::debug!(%error, "a ping was not sent");
        }
    }
}

async fn options(config: &NatsConfig, connected: watch::Sender<u64>) -> Result<ConnectOptions, Error> {
    let options = match &config.credentials {
        Some(path) => ConnectOptions::with_credentials_file(path).await.map_err(|error| {
            Error::invalid("NATS_CREDENTIALS", "the credentials file cannot be used").with_source(error)
        })?,
        None => ConnectOptions::new(),
    };
    let connected = Arc::new(connected);
    Ok(options
        .name("hilo")
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(Duration::from_secs(3))
        .request_timeout(Some(REQUEST_TIMEOUT))
        .ping_interval(Duration::from_secs(2))
        .subscription_capacity(16_384)
        .reconnect_delay_callback(|attempt| {
            let attempt = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
            clock::backoff(attempt, Duration::from_millis(50), Duration::from_secs(2))
        })
        .event_callback(move |event| {
            let connected = connected.clone();
            async move { report(&event, &connected) }
        }))
}

fn report(event: &Event, connected: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            tracing::info!("connected to the broker");
            connected.send_modify(|count| *count += 1);
        }
        Event::Disconnected => tracing::warn!("disconnected from the broker"),
        Event::SlowConsumer(subscription) => tracing::warn!(subscription, "a subscription was too slow"),
        Event::ServerError(error) => tracing::warn!(%error, "the broker reported an error"),
        Event::ClientError(error) => tracing::debug!(%error, "broker client error"),
        Event::LameDuckMode | Event::Draining | Event::Closed => tracing::info!(%event, "broker connection"),
    }
}

fn publish_error(error: jetstream::context::PublishError) -> Error {
    let mapped = match error.kind() {
        PublishErrorKind::StreamNotFound => {
            Error::unavailable("STREAM_MISSING", "no stream takes this subject")
        }
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => {
            Error::unavailable("NATS_UNAVAILABLE", "the broker did not acknowledge")
        }
        PublishErrorKind::MaxPayloadExceeded => {
            Error::invalid("PAYLOAD_TOO_LARGE", "too large for the broker")
        }
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::Other => Error::unavailable("NATS_REFUSED", "the broker refused the message"),
    };
    mapped.with_source(error)
}

fn version_at_least(version: &str, minimum: (u64, u64)) -> bool {
    let mut parts = version.split(['.', '-']).map(str::parse::<u64>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= minimum,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(version_at_least("2.12.0", MINIMUM_VERSION));
        assert!(version_at_least("2.15.1-beta", MINIMUM_VERSION));
        assert!(version_at_least("3.0.0", MINIMUM_VERSION));
        assert!(!version_at_least("2.9.10", MINIMUM_VERSION));
        assert!(!version_at_least("", MINIMUM_VERSION));
    }
}
