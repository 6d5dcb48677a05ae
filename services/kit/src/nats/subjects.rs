//! Names: stream kinds and subjects. Tokens are immutable keys, never names or addresses.

use crate::error::Error;

/// The streams of the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// Customer messages, from ingest services to attention-state. Hand-over.
    Inbound,
    /// Messages to send, from attention-state to ingest services. Hand-over.
    Outbound,
    /// Fate of what was sent, from ingest services to attention-state. Hand-over.
    Delivery,
    /// Public events of attentions (CloudEvents).
    Events,
    /// Notices of dead letters.
    Dead,
}

impl StreamKind {
    /// All of them.
    pub const ALL: [StreamKind; 5] = [
        StreamKind::Inbound,
        StreamKind::Outbound,
        StreamKind::Delivery,
        StreamKind::Events,
        StreamKind::Dead,
    ];

    /// The name in tables and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            StreamKind::Inbound => "inbound",
            StreamKind::Outbound => "outbound",
            StreamKind::Delivery => "delivery",
            StreamKind::Events => "events",
            StreamKind::Dead => "dead",
        }
    }

    /// From the name in tables.
    ///
    /// # Errors
    /// `UNKNOWN_STREAM`.
    pub fn parse(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| Error::corrupt("UNKNOWN_STREAM", "a row names an unknown stream"))
    }

    /// True for streams with one reader, whose rows are confirmed end to end.
    pub fn is_handover(self) -> bool {
        match self {
            StreamKind::Inbound | StreamKind::Outbound | StreamKind::Delivery => true,
            StreamKind::Events | StreamKind::Dead => false,
        }
    }
}

impl std::fmt::Display for StreamKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// True for `[a-z0-9-]{1,40}`.
pub fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&text.len()) && text.bytes().all(allowed)
}

/// True for an event's type in snake case, `[a-z_]{1,60}`.
pub fn is_event_name(text: &str) -> bool {
    (1..=60).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Builds subjects and stream names under the installation's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
}

impl Subjects {
    /// # Errors
    /// `INVALID_SUBJECT` when the prefix is not a token.
    pub fn new(prefix: &str) -> Result<Self, Error> {
        Ok(Self { prefix: token("prefix", prefix)?.to_owned() })
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `HILO_EVENTS` and the like.
    pub fn stream(&self, kind: StreamKind) -> String {
        let prefix = self.prefix.to_ascii_uppercase().replace('-', "_");
        format!("{prefix}_{}", kind.as_str().to_ascii_uppercase())
    }

    /// The subject that covers the whole stream.
    pub fn all(&self, kind: StreamKind) -> String {
        match kind {
            StreamKind::Events => format!("{}.attention.v1.>", self.prefix),
            other => format!("{}.{}.>", self.prefix, other.as_str()),
        }
    }

    /// `hilo.inbound.<channel>.<account>`, and the same for the other hand-over streams.
    ///
    /// # Errors
    /// `INVALID_SUBJECT` when channel or account is no token or the stream is not a hand-over stream.
    pub fn handover(&self, kind: StreamKind, channel: &str, account: &str) -> Result<String, Error> {
        if !kind.is_handover() {
            return Err(Error::internal("INVALID_SUBJECT", "not a hand-over stream"));
        }
        Ok(format!("{}.{}.{}.{}", self.prefix, kind, token("channel", channel)?, token("account", account)?))
    }

    /// Every account of a channel: `hilo.outbound.<channel>.>`.
    ///
    /// # Errors
    /// `INVALID_SUBJECT`.
    pub fn channel(&self, kind: StreamKind, channel: &str) -> Result<String, Error> {
        Ok(format!("{}.{}.{}.>", self.prefix, kind, token("channel", channel)?))
    }

    /// `hilo.attention.v1.<campaign>.<event>`.
    ///
    /// # Errors
    /// `INVALID_SUBJECT`.
    pub fn event(&self, campaign: &str, event: &str) -> Result<String, Error> {
        if !is_event_name(event) {
            return Err(refused("event"));
        }
        Ok(format!("{}.attention.v1.{}.{event}", self.prefix, token("campaign", campaign)?))
    }

    /// `hilo.dead.<stream>.<consumer>`.
    ///
    /// # Errors
    /// `INVALID_SUBJECT`.
    pub fn dead(&self, stream: StreamKind, consumer: &str) -> Result<String, Error> {
        Ok(format!("{}.dead.{stream}.{}", self.prefix, token("consumer", consumer)?))
    }

    /// Core NATS hint that a service's outbox has new rows.
    pub fn outbox_wake(&self, service: &str) -> String {
        format!("{}.wake.outbox.{service}", self.prefix)
    }

    /// Name of a key-value bucket: `hilo_presence`.
    pub fn bucket(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }
}

fn token<'a>(field: &str, text: &'a str) -> Result<&'a str, Error> {
    if is_token(text) { Ok(text) } else { Err(refused(field)) }
}

fn refused(field: &str) -> Error {
    Error::invalid("INVALID_SUBJECT", "a subject token is malformed")
        .field(field, "must match [a-z0-9-]{1,40}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_built_and_bad_tokens_refused() {
        let subjects = Subjects::new("hilo").unwrap();
        assert_eq!(subjects.stream(StreamKind::Events), "HILO_EVENTS");
        assert_eq!(subjects.all(StreamKind::Events), "hilo.attention.v1.>");
        assert_eq!(
            subjects.handover(StreamKind::Inbound, "email", "ventas").unwrap(),
            "hilo.inbound.email.ventas"
        );
        assert_eq!(
            subjects.event("ventas", "interaction_queued").unwrap(),
            "hilo.attention.v1.ventas.interaction_queued"
        );
        for bad in ["", "Ventas", "a.b", "a*", ">", "a b", "ñ", &"a".repeat(41)] {
            assert!(subjects.handover(StreamKind::Inbound, "email", bad).is_err(), "{bad}");
        }
        assert!(subjects.handover(StreamKind::Events, "email", "a").is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_token_never_adds_a_level(text in ".{0,50}") {
            if is_token(&text) {
                proptest::prop_assert!(!text.contains(['.', '*', '>', ' ']));
            }
        }
    }
}
