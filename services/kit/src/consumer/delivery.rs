//! One received message, cheap to clone.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream;
use bytes::Bytes;
use uuid::Uuid;

use crate::outbox::{HEADER_ID, HEADER_KEY, HEADER_SEQUENCE};

/// Name space of ids made up for messages that carry none (published by somebody who is not kit).
const NAMELESS: Uuid = Uuid::from_u128(0x6869_6c6f_0000_4000_8000_6465_6c69_7672);

/// A message as a handler sees it.
#[derive(Clone, Debug)]
pub struct Delivery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: Uuid,
    key: Option<Uuid>,
    sequence: Option<i64>,
    subject: String,
    headers: Vec<(String, String)>,
    payload: Bytes,
    delivered: u32,
    stream_sequence: u64,
}

impl Delivery {
    /// From its parts; for tests and replays.
    pub fn new(
        subject: impl Into<String>,
        headers: Vec<(String, String)>,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self::with_broker(subject.into(), headers, payload.into(), 1, 0)
    }

    pub(super) fn received(message: &jetstream::Message) -> Self {
        let headers = message.headers.as_ref().map(pairs).unwrap_or_default();
        let (delivered, sequence) = message
            .info()
            .map(|info| (u32::try_from(info.delivered).unwrap_or(1), info.stream_sequence))
            .unwrap_or((1, 0));
        Self::with_broker(message.subject.to_string(), headers, message.payload.clone(), delivered, sequence)
    }

    fn with_broker(
        subject: String,
        headers: Vec<(String, String)>,
        payload: Bytes,
        delivered: u32,
        stream_sequence: u64,
    ) -> Self {
        let find = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.as_str())
        };
        let uuid = |wanted: &str| find(wanted).and_then(|text| Uuid::try_parse(text).ok());
        let id = uuid(HEADER_ID).or_else(|| uuid("ce-id")).unwrap_or_else(|| {
            let named =
                find("Nats-Msg-Id").map_or_else(|| format!("{subject}#{stream_sequence}"), str::to_owned);
            Uuid::new_v5(&NAMELESS, named.as_bytes())
        });
        let key = uuid(HEADER_KEY);
        let sequence = find(HEADER_SEQUENCE).and_then(|text| text.parse().ok());
        Self(Arc::new(Inner { id, key, sequence, subject, headers, payload, delivered, stream_sequence }))
    }

    /// Identity of the message for ever: what the inbox keeps.
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// Messages of one key come in order; without a key each stands alone.
    pub fn key(&self) -> Option<Uuid> {
        self.0.key
    }

    /// Number within the key.
    pub fn sequence(&self) -> Option<i64> {
        self.0.sequence
    }

    /// Subject.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// A header, by name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All headers.
    pub fn headers(&self) -> &[(String, String)] {
        &self.0.headers
    }

    /// Body.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// How often the broker has delivered it, this time included. Never a count of attempts.
    pub fn delivered(&self) -> u32 {
        self.0.delivered
    }

    /// Sequence in the stream: for logs only, never an identity, a cursor or an order.
    pub fn stream_sequence(&self) -> u64 {
        self.0.stream_sequence
    }

    /// The trace context it carries (`traceparent`, or `ce-traceparent` of a CloudEvent).
    pub fn traceparent(&self) -> Option<&str> {
        self.header("traceparent").or_else(|| self.header("ce-traceparent"))
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .flat_map(|(name, values)| {
            values.iter().map(|value| (name.to_string(), value.to_string())).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_comes_from_headers_and_is_stable_without() {
        let id = Uuid::now_v7();
        let key = Uuid::now_v7();
        let headers = vec![
            (HEADER_ID.to_lowercase(), id.to_string()),
            (HEADER_KEY.to_owned(), key.to_string()),
            (HEADER_SEQUENCE.to_owned(), "7".to_owned()),
        ];
        let delivery = Delivery::new("hilo.inbound.email.a", headers, "x");
        assert_eq!((delivery.id(), delivery.key(), delivery.sequence()), (id, Some(key), Some(7)));
        let bare = |subject: &str| Delivery::new(subject, vec![], "x").id();
        assert_eq!(bare("a"), bare("a"));
        assert_ne!(bare("a"), bare("b"));
    }
}
