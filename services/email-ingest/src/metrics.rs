//! What operators watch: mail in, mail parsed or quarantined, attempts by outcome.

use std::sync::LazyLock;

use hilo_kit::telemetry::meter;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

static ACCEPTED: LazyLock<Counter<u64>> = LazyLock::new(|| {
    meter().u64_counter("hilo.email.accepted").with_description("mails taken into the ledger").build()
});
static PARSED: LazyLock<Counter<u64>> = LazyLock::new(|| {
    meter().u64_counter("hilo.email.parsed").with_description("mails that left the parser").build()
});
static PARSING: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    meter()
        .f64_histogram("hilo.email.parsing")
        .with_unit("s")
        .with_description("from claim to commit")
        .build()
});
static ATTEMPTS: LazyLock<Counter<u64>> = LazyLock::new(|| {
    meter()
        .u64_counter("hilo.email.recipients")
        .with_description("recipients of attempts, by outcome")
        .build()
});

/// A mail was committed; `source` is `smtp` or `imap`.
pub fn accepted(source: &'static str) {
    ACCEPTED.add(1, &[KeyValue::new("source", source)]);
}

/// A mail left the parser: `handed_over`, `quarantined`, `later`.
pub fn parsed(outcome: &'static str, seconds: f64) {
    PARSED.add(1, &[KeyValue::new("outcome", outcome)]);
    PARSING.record(seconds, &[]);
}

/// A recipient's attempt ended: `accepted`, `refused`, `not_yet`, `unknown`.
pub fn attempted(outcome: &'static str) {
    ATTEMPTS.add(1, &[KeyValue::new("outcome", outcome)]);
}
