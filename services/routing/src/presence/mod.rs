//! Presence: heartbeats become leases in a bucket that every replica watches.
//!
//! The rules stand in `domain::sessions`; here is the bucket. Lost contact with it is never absence. The bucket is no
//! truth and no fence: attention-state compares what it is told by instants.

mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv;
use bytes::Bytes;
use hilo_kit::error::Error;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::clock::DatabaseClock;
use crate::domain::{Instant, Presence, Sessions, Span};

pub use watch::watch;

/// Longest session id, by contract.
pub const MAX_SESSION: usize = 64;
const PUT_LIMIT: Duration = Duration::from_secs(3);

/// Everything known of sessions; clones share it.
#[derive(Clone, Debug)]
pub struct PresenceBoard {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sessions: Mutex<Sessions>,
    bucket: Mutex<Option<kv::Store>>,
    clock: DatabaseClock,
    lease: Duration,
}

impl PresenceBoard {
    /// Without contact yet.
    pub fn new(lease: Duration, clock: DatabaseClock) -> Self {
        let micros = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
        let shared = Shared {
            sessions: Mutex::new(Sessions::new(Span(micros))),
            bucket: Mutex::default(),
            clock,
            lease,
        };
        Self { shared: Arc::new(shared) }
    }

    /// What is known of an agent.
    pub fn presence(&self, agent: &str) -> Presence {
        self.shared.sessions.lock().presence(agent)
    }

    /// The agent's last sign of life that this replica has seen.
    pub fn last_seen(&self, agent: &str) -> Option<Instant> {
        self.shared.sessions.lock().last_seen(agent)
    }

    /// Writes a session's sign of life; answers when its lease ends.
    ///
    /// # Errors
    /// `NOT_READY` before the first contact with attention-state, `PRESENCE_UNAVAILABLE` without the bucket.
    pub async fn heartbeat(&self, agent: &str, session: &str) -> Result<Instant, Error> {
        let now = self
            .shared
            .clock
            .now()
            .ok_or(Error::unavailable("NOT_READY", "the database's clock is not known yet"))?;
        let put = async {
            let value = Bytes::from(now.0.to_string());
            self.bucket()?
                .put(key(agent, session), value)
                .await
                .map_err(|error| unavailable().with_source(error))
        };
        tokio::time::timeout(PUT_LIMIT, put).await.map_err(|_| unavailable())??;
        Ok(now + Span(i64::try_from(self.shared.lease.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// As [`Self::heartbeat`].
    pub async fn leave(&self, agent: &str, session: &str) -> Result<(), Error> {
        let delete = async {
            self.bucket()?.delete(key(agent, session)).await.map_err(|error| unavailable().with_source(error))
        };
        tokio::time::timeout(PUT_LIMIT, delete).await.map_err(|_| unavailable())?
    }

    fn bucket(&self) -> Result<kv::Store, Error> {
        self.shared.bucket.lock().clone().ok_or_else(unavailable)
    }
}

fn unavailable() -> Error {
    Error::unavailable("PRESENCE_UNAVAILABLE", "presence cannot be stored now")
}

/// The key of a session: agent keys are subject tokens, session ids are anything and become one.
fn key(agent: &str, session: &str) -> String {
    format!("{agent}.{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, session.as_bytes()).simple())
}
