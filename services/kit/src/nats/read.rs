//! Reading a stream back: one message by its sequence, or the ids of all. For checks and healing, never for work.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::StreamExt;
use uuid::Uuid;

use super::{Nats, StreamKind, StreamReport};
use crate::error::Error;
use crate::outbox::HEADER_ID;

/// A scan that gets nothing for this long gives up; it is tried again.
const SILENCE: Duration = Duration::from_secs(10);

fn id_of(headers: &HeaderMap) -> Option<Uuid> {
    headers.get(HEADER_ID).and_then(|value| Uuid::try_parse(value.as_str()).ok())
}

impl Nats {
    /// The id of the message at a sequence; `None` when there is none (any more) or it carries no id.
    ///
    /// # Errors
    /// `NATS_UNAVAILABLE`.
    pub async fn id_at(&self, kind: StreamKind, sequence: u64) -> Result<Option<Uuid>, Error> {
        if sequence == 0 {
            return Ok(None);
        }
        let name = self.subjects().stream(kind);
        let away = |text: &'static str| {
            move |error: Box<dyn std::error::Error + Send + Sync>| {
                Error::unavailable("NATS_UNAVAILABLE", text).with_source(error)
            }
        };
        let stream = self
            .jetstream()
            .get_stream_no_info(name)
            .await
            .map_err(|error| away("a stream cannot be read")(Box::new(error)))?;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(id_of(&message.headers)),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(inner)
                    if [ErrorCode::NO_MESSAGE_FOUND, ErrorCode::STREAM_NOT_FOUND]
                        .contains(&inner.error_code()) =>
                {
                    Ok(None)
                }
                _ => Err(away("a message cannot be read")(Box::new(error))),
            },
        }
    }

    /// Ids of every message the stream holds up to the report's last sequence.
    ///
    /// # Errors
    /// `NATS_UNAVAILABLE`.
    pub async fn ids_in(&self, report: &StreamReport) -> Result<HashSet<Uuid>, Error> {
        let mut ids = HashSet::new();
        if report.messages == 0 {
            return Ok(ids);
        }
        let away = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::unavailable("NATS_UNAVAILABLE", "a stream cannot be read").with_source(error)
        };
        let config = pull::OrderedConfig {
            headers_only: true,
            deliver_policy: DeliverPolicy::All,
            replay_policy: ReplayPolicy::Instant,
            ..pull::OrderedConfig::default()
        };
        let name = self.subjects().stream(report.kind);
        let consumer: async_nats::jetstream::consumer::Consumer<pull::OrderedConfig> = self
            .jetstream()
            .create_consumer_on_stream(config, name)
            .await
            .map_err(|error| away(Box::new(error)))?;
        let mut messages = consumer.messages().await.map_err(|error| away(Box::new(error)))?;
        loop {
            let next = tokio::time::timeout(SILENCE, messages.next())
                .await
                .map_err(|error| away(Box::new(error)))?
                .ok_or_else(|| Error::unavailable("NATS_UNAVAILABLE", "a scan ended early"))?;
            let message = next.map_err(|error| away(Box::new(error)))?;
            // The last message may have been deleted: then nothing is pending after an earlier one.
            let ended = message
                .info()
                .map(|info| info.stream_sequence >= report.last_sequence || info.pending == 0)
                .unwrap_or(true);
            ids.extend(message.headers.as_ref().and_then(id_of));
            if ended {
                return Ok(ids);
            }
        }
    }
}
