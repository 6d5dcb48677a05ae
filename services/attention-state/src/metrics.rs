//! What this service counts. Instruments are made once; attributes are words of small closed sets, never ids.

use std::sync::LazyLock;

use hilo_kit::telemetry::meter;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

static EVENTS: LazyLock<Counter<u64>> =
    LazyLock::new(|| meter().u64_counter("hilo.attention.events").build());
static MAILS: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter("hilo.intake.mails").build());
static BATCH: LazyLock<Histogram<u64>> = LazyLock::new(|| meter().u64_histogram("hilo.intake.batch").build());
static RESYNCS: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter("hilo.desk.resyncs").build());

/// An event was written to the outbox (its transaction may still fail).
pub(crate) fn event(name: &str) {
    EVENTS.add(1, &[KeyValue::new("type", name.to_owned())]);
}

/// A mail was threaded: `joined`, `unverified`, `new`.
pub(crate) fn mail(verdict: &'static str) {
    MAILS.add(1, &[KeyValue::new("verdict", verdict)]);
}

/// Mails of a batch.
pub(crate) fn batch(mails: usize) {
    BATCH.record(u64::try_from(mails).unwrap_or(u64::MAX), &[]);
}

/// A desk lost updates and takes a new snapshot.
pub(crate) fn resync() {
    RESYNCS.add(1, &[]);
}
