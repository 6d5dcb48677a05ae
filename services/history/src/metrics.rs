//! What history counts: threads kept, threads that could not be kept, threads still unconfirmed, searches.

use std::time::Instant;

use hilo_kit::telemetry;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

use crate::store::Stored;

/// Handles of this service's instruments; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    stored: Counter<u64>,
    failed: Counter<u64>,
    sweeps_failed: Counter<u64>,
    unconfirmed: Gauge<u64>,
    searches: Histogram<f64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers the instruments.
    pub fn new() -> Self {
        let meter = telemetry::meter();
        Self {
            stored: meter
                .u64_counter("hilo.history.threads.stored")
                .with_description("Threads handed to the store")
                .build(),
            failed: meter
                .u64_counter("hilo.history.threads.failed")
                .with_description("Threads that could not be kept")
                .build(),
            sweeps_failed: meter
                .u64_counter("hilo.history.sweeps.failed")
                .with_description("Sweeps that broke off")
                .build(),
            unconfirmed: meter
                .u64_gauge("hilo.history.threads.unconfirmed")
                .with_description("Ended threads the last sweep could not confirm")
                .build(),
            searches: meter
                .f64_histogram("hilo.history.search.duration")
                .with_unit("s")
                .with_description("Searches")
                .build(),
        }
    }

    /// Counts a thread by what became of it.
    pub fn stored(&self, stored: Stored) {
        let outcome = match stored {
            Stored::New => "new",
            Stored::Replaced => "replaced",
            Stored::Known => "known",
        };
        self.stored.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// Counts a thread that could not be kept.
    pub fn keep_failed(&self, reason: &str) {
        self.failed.add(1, &[KeyValue::new("reason", reason.to_owned())]);
    }

    /// Counts a sweep that broke off.
    pub fn sweep_failed(&self) {
        self.sweeps_failed.add(1, &[]);
    }

    /// Notes what a sweep left unconfirmed.
    pub fn unconfirmed(&self, count: usize) {
        self.unconfirmed.record(u64::try_from(count).unwrap_or(u64::MAX), &[]);
    }

    /// Notes a search that began at `since`.
    pub fn searched(&self, since: Instant) {
        self.searches.record(since.elapsed().as_secs_f64(), &[]);
    }
}
