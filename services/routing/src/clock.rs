//! The database's clock as seen from here: this machine's monotonic clock plus an offset learned from answers.
//!
//! Deadlines in the engine are instants that attention-state stored, so they are compared with its database's clock. A
//! step of this machine's wall clock changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant as Monotonic;

use crate::domain::Instant;

const UNKNOWN: i64 = i64::MIN;

/// Shared clock; unknown until the first answer.
#[derive(Clone, Debug)]
pub struct DatabaseClock {
    started: Monotonic,
    offset: Arc<AtomicI64>,
}

impl Default for DatabaseClock {
    fn default() -> Self {
        Self { started: Monotonic::now(), offset: Arc::new(AtomicI64::new(UNKNOWN)) }
    }
}

impl DatabaseClock {
    /// Learns from an answer that carries the database's time; `asked` is when the question was sent. The answer was
    /// made somewhere between then and now; the middle is wrong by at most half the round trip.
    pub fn learn(&self, database: Instant, asked: Monotonic) {
        let middle = asked + asked.elapsed() / 2;
        self.offset.store(database.0 - self.micros(middle), Ordering::Relaxed);
    }

    /// The database's time; `None` before the first answer.
    pub fn now(&self) -> Option<Instant> {
        match self.offset.load(Ordering::Relaxed) {
            UNKNOWN => None,
            offset => Some(Instant(self.micros(Monotonic::now()) + offset)),
        }
    }

    /// How long until the database's clock shows `instant`; zero when it has passed.
    pub fn until(&self, instant: Instant) -> Duration {
        let left = self.now().map_or(0, |now| instant.0.saturating_sub(now.0));
        Duration::from_micros(u64::try_from(left).unwrap_or(0))
    }

    fn micros(&self, at: Monotonic) -> i64 {
        i64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(i64::MAX)
    }
}
