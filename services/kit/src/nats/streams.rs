//! Streams, durable consumers and buckets: created or brought up to date, then compared with what was asked for.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, kv};

use super::{Nats, StreamKind};
use crate::error::Error;

/// Public events stay this long in the stream, and in the outbox log.
pub const EVENTS_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Notices of dead letters; the letters themselves stay in the databases.
const DEAD_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// A work queue that grew to this refuses new messages; the rows wait in the writer's outbox.
const MAX_WAITING: i64 = 1_000_000;
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// What was found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Which stream.
    pub kind: StreamKind,
    /// When it was created, as the server says it: another instant is another stream under the same name.
    pub incarnation: String,
    /// Sequence of its first message.
    pub first_sequence: u64,
    /// Sequence of its last message.
    pub last_sequence: u64,
    /// Messages it holds.
    pub messages: u64,
}

impl StreamReport {
    pub(crate) fn of(kind: StreamKind, info: &Info) -> Self {
        Self {
            kind,
            incarnation: crate::clock::rfc3339(info.created),
            first_sequence: info.state.first_sequence,
            last_sequence: info.state.last_sequence,
            messages: info.state.messages,
        }
    }
}

/// Where a new durable consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliver {
    /// With the first message the stream still has.
    All,
    /// With messages that arrive from now on.
    New,
}

/// A durable pull consumer as kit's consumers want it.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// Stream.
    pub stream: StreamKind,
    /// Durable name, a token.
    pub durable: String,
    /// Subjects; empty means all of the stream.
    pub filters: Vec<String>,
    /// An unacknowledged message comes again after this time; a lower bound, not a schedule.
    pub ack_wait: Duration,
    /// Most unacknowledged messages.
    pub max_ack_pending: i64,
    /// The server forgets the consumer after this long without a reader; zero never.
    pub inactive_threshold: Duration,
    /// Where a new one begins.
    pub deliver: Deliver,
}

/// Key-value buckets; neither is a fence or the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Presence leases of agents' sessions.
    Presence,
    /// A ping that the directory changed (key `version`).
    Directory,
}

impl Bucket {
    /// The name without prefix.
    pub fn name(self) -> &'static str {
        match self {
            Bucket::Presence => "presence",
            Bucket::Directory => "directory",
        }
    }
}

impl Nats {
    /// The configuration of a stream.
    pub fn stream_config(&self, kind: StreamKind) -> Config {
        let base = Config {
            name: self.subjects().stream(kind),
            subjects: vec![self.subjects().all(kind)],
            storage: StorageType::File,
            num_replicas: self.replicas,
            duplicate_window: DUPLICATE_WINDOW,
            allow_direct: true,
            max_messages: -1,
            max_bytes: -1,
            ..Config::default()
        };
        match kind {
            StreamKind::Inbound | StreamKind::Outbound | StreamKind::Delivery => Config {
                retention: RetentionPolicy::WorkQueue,
                discard: DiscardPolicy::New,
                max_messages: MAX_WAITING,
                ..base
            },
            StreamKind::Events => Config { max_age: EVENTS_AGE, ..base },
            StreamKind::Dead => Config { max_age: DEAD_AGE, max_messages: 100_000, ..base },
        }
    }

    /// Creates the streams or brings them up to date.
    ///
    /// # Errors
    /// `NATS_CONFIG_DROPPED` when the server did not keep a setting, `NATS_UNAVAILABLE`.
    pub async fn ensure_streams(&self, kinds: &[StreamKind]) -> Result<Vec<StreamReport>, Error> {
        self.check_version()?;
        let mut reports = Vec::with_capacity(kinds.len());
        for kind in kinds {
            let asked = self.stream_config(*kind);
            let info = self.jetstream().create_or_update_stream(asked.clone()).await.map_err(|error| {
                Error::unavailable("NATS_UNAVAILABLE", format!("stream {kind} could not be made"))
                    .with_source(error)
            })?;
            compare_stream(&asked, &info.config)?;
            reports.push(StreamReport::of(*kind, &info));
        }
        Ok(reports)
    }

    /// The stream's identity and bounds now; `None` when it does not exist.
    ///
    /// # Errors
    /// `NATS_UNAVAILABLE`.
    pub async fn stream_report(&self, kind: StreamKind) -> Result<Option<StreamReport>, Error> {
        match self.jetstream().get_stream(self.subjects().stream(kind)).await {
            Ok(stream) => Ok(Some(StreamReport::of(kind, stream.cached_info()))),
            Err(error) => match error.kind() {
                jetstream::context::GetStreamErrorKind::JetStream(inner)
                    if inner.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(Error::unavailable("NATS_UNAVAILABLE", "a stream's state cannot be read")
                    .with_source(error)),
            },
        }
    }

    /// Creates the durable consumer or brings it up to date.
    ///
    /// # Errors
    /// `NATS_CONFIG_DROPPED`, `STREAM_MISSING`, `NATS_UNAVAILABLE`.
    pub async fn ensure_consumer(&self, settings: &ConsumerSettings) -> Result<PullConsumer, Error> {
        let filters = if settings.filters.is_empty() {
            vec![self.subjects().all(settings.stream)]
        } else {
            settings.filters.clone()
        };
        let asked = pull::Config {
            durable_name: Some(settings.durable.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: settings.ack_wait,
            // Unlimited: kit counts attempts itself and writes the dead letter before it acknowledges.
            max_deliver: -1,
            max_ack_pending: settings.max_ack_pending,
            filter_subjects: filters,
            inactive_threshold: settings.inactive_threshold,
            deliver_policy: match settings.deliver {
                Deliver::All => DeliverPolicy::All,
                Deliver::New => DeliverPolicy::New,
            },
            ..pull::Config::default()
        };
        let stream = self.subjects().stream(settings.stream);
        let made = self.jetstream().create_consumer_on_stream(asked.clone(), stream).await;
        let consumer: PullConsumer = made.map_err(|error| {
            Error::unavailable("NATS_UNAVAILABLE", format!("consumer {} could not be made", settings.durable))
                .with_source(error)
        })?;
        let got = &consumer.cached_info().config;
        let kept = got.ack_wait == asked.ack_wait
            && got.max_ack_pending == asked.max_ack_pending
            && got.ack_policy == asked.ack_policy
            && echoed_filters(got) == asked.filter_subjects
            && got.inactive_threshold == asked.inactive_threshold;
        if kept { Ok(consumer) } else { Err(dropped(&settings.durable)) }
    }

    /// Opens or makes a bucket. `max_age` is how long a value stays without being written again; zero for ever.
    ///
    /// # Errors
    /// `NATS_UNAVAILABLE`.
    pub async fn ensure_bucket(&self, bucket: Bucket, max_age: Duration) -> Result<kv::Store, Error> {
        let config = kv::Config {
            bucket: self.subjects().bucket(bucket.name()),
            history: 1,
            max_age,
            storage: StorageType::File,
            num_replicas: self.replicas,
            ..kv::Config::default()
        };
        self.jetstream().create_or_update_key_value(config).await.map_err(|error| {
            Error::unavailable("NATS_UNAVAILABLE", format!("bucket {} could not be made", bucket.name()))
                .with_source(error)
        })
    }
}

/// The server answers a single filter in the older, singular field.
fn echoed_filters(got: &jetstream::consumer::Config) -> Vec<String> {
    if got.filter_subject.is_empty() { got.filter_subjects.clone() } else { vec![got.filter_subject.clone()] }
}

fn compare_stream(asked: &Config, got: &Config) -> Result<(), Error> {
    let kept = got.subjects == asked.subjects
        && got.retention == asked.retention
        && got.discard == asked.discard
        && got.max_age == asked.max_age
        && got.max_messages == asked.max_messages
        && got.storage == asked.storage
        && got.num_replicas == asked.num_replicas
        && got.allow_direct == asked.allow_direct
        && got.duplicate_window == asked.duplicate_window;
    if kept { Ok(()) } else { Err(dropped(&asked.name)) }
}

fn dropped(name: &str) -> Error {
    Error::rejected("NATS_CONFIG_DROPPED", format!("the broker did not keep the settings of {name}"))
}
