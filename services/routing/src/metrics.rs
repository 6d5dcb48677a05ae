//! What operators see of this service.

use opentelemetry::metrics::{Counter, Histogram};

/// Instruments, made once.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Decisions sent to be committed.
    pub decisions: Counter<u64>,
    /// Answers by outcome.
    pub answers: Counter<u64>,
    /// Seconds from a decision to its answer.
    pub commit_seconds: Histogram<f64>,
    /// Events whose predecessor was missing, so that the item was fetched again.
    pub gaps: Counter<u64>,
    /// Events that could not be read; the item was fetched again.
    pub poison: Counter<u64>,
    /// Views built or compared from a snapshot.
    pub syncs: Counter<u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let meter = hilo_kit::telemetry::meter();
        Self {
            decisions: meter.u64_counter("hilo.routing.decisions").build(),
            answers: meter.u64_counter("hilo.routing.answers").build(),
            commit_seconds: meter.f64_histogram("hilo.routing.commit_seconds").with_unit("s").build(),
            gaps: meter.u64_counter("hilo.routing.event_gaps").build(),
            poison: meter.u64_counter("hilo.routing.poison_events").build(),
            syncs: meter.u64_counter("hilo.routing.syncs").build(),
        }
    }
}
