//! Transactional outbox: state and messages commit together; a relay publishes every committed row, in order per key,
//! and forgets none because a broker said it had it.
//!
//! `append` writes an insert-only log row and a small pending row. The relay that holds a partition's lease publishes
//! pending rows and deletes them after the broker's ack. Events stay in the log for seven days and are published again
//! when the stream lost them; hand-over rows stay until their reader's commit is known.

mod append;
#[cfg(test)]
mod fence_tests;
mod heal;
mod held;
mod lag;
mod partitions;
mod peer;
mod reconcile;
mod relay;
mod rows;
mod wakes;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use uuid::Uuid;

pub use append::{MAX_PAYLOAD, append};
pub use partitions::{RETENTION_DAYS, maintain, make_partitions};
pub use peer::{GrpcPeer, HandoverEndpoint, HandoverPeer};
pub use relay::Relay;
pub(crate) use wakes::{Partitions, Wakes};

use crate::error::Error;
use crate::nats::StreamKind;

/// Header with the row's id, also the base of `Nats-Msg-Id`.
pub const HEADER_ID: &str = "Hilo-Id";
/// Header with the key that orders.
pub const HEADER_KEY: &str = "Hilo-Key";
/// Header with the number within the key.
pub const HEADER_SEQUENCE: &str = "Hilo-Sequence";

/// Relays of one service that may work at once; a key always belongs to the same one. Never change it: rows carry it.
pub const PARTITIONS: i16 = 4;

/// One message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Identity of the message for ever (`ce-id` of an event).
    pub id: Uuid,
    /// Stream.
    pub stream: StreamKind,
    /// Full subject, from [`crate::nats::Subjects`].
    pub subject: String,
    /// Messages of one key are published in `sequence` order, one at a time.
    pub key: Uuid,
    /// Number within the key, made under the key's row lock, so that whoever sees n+1 sees n.
    pub sequence: i64,
    /// Headers besides those kit adds.
    pub headers: Vec<(String, String)>,
    /// Body, at most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

/// Runs when streams had to be made anew: re-creates the durable consumers that the service knows of.
pub type OnRestore = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// Who reads rows of a hand-over stream.
#[derive(Clone)]
pub struct Reader {
    /// Stream.
    pub(super) stream: StreamKind,
    /// Only rows of this channel, the third part of their subject; `None` all.
    pub(super) channel: Option<&'static str>,
    /// The reader itself.
    pub(super) peer: Arc<dyn HandoverPeer>,
}

/// How a service's relay works.
#[derive(Clone)]
pub struct RelayConfig {
    /// Service name; replicas of one service share it.
    pub service: String,
    /// Streams this service writes.
    pub streams: Vec<StreamKind>,
    /// Who reads the hand-over streams; a hand-over stream without a peer keeps its rows unconfirmed for ever.
    pub readers: Vec<Reader>,
    /// Called after streams were made anew.
    pub on_restore: Vec<OnRestore>,
    /// A hand-over row is asked about after this time.
    pub confirm_after: Duration,
    /// Pause between two rounds of asking.
    pub reconcile_every: Duration,
    /// Net under the wake-ups.
    pub poll: Duration,
    /// Pause between two checks that the event stream still holds what it acknowledged.
    pub verify_every: Duration,
    /// Pause between two sweeps for older events that the stream lost.
    pub sweep_every: Duration,
    /// Term of the partition leases.
    pub lease_term: Duration,
}

impl RelayConfig {
    /// The usual settings.
    pub fn new(service: impl Into<String>, streams: impl Into<Vec<StreamKind>>) -> Self {
        Self {
            service: service.into(),
            streams: streams.into(),
            readers: Vec::new(),
            on_restore: Vec::new(),
            confirm_after: Duration::from_secs(60),
            reconcile_every: Duration::from_secs(5),
            poll: Duration::from_millis(500),
            verify_every: Duration::from_secs(1),
            sweep_every: Duration::from_secs(3600),
            lease_term: crate::lease::TERM,
        }
    }

    /// Names the reader of a hand-over stream.
    #[must_use]
    pub fn peer(mut self, stream: StreamKind, peer: Arc<dyn HandoverPeer>) -> Self {
        self.readers.push(Reader { stream, channel: None, peer });
        self
    }

    /// Names the reader of a hand-over stream's rows of one channel: each channel's service takes its own, and one that is
    /// away leaves those of the others alone.
    #[must_use]
    pub fn peer_of(mut self, stream: StreamKind, channel: &'static str, peer: Arc<dyn HandoverPeer>) -> Self {
        self.readers.push(Reader { stream, channel: Some(channel), peer });
        self
    }
}

/// The partition of a key.
pub(crate) fn partition_of(key: Uuid) -> i16 {
    let folded =
        key.as_bytes().iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    i16::try_from(folded % u32::from(PARTITIONS.unsigned_abs())).unwrap_or(0)
}
