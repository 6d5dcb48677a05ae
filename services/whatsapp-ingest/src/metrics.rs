//! What operators watch: webhooks by answer, items by kind, what could not be read, what Meta warns of, attempts by outcome.

use std::sync::LazyLock;

use hilo_kit::telemetry::meter;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

macro_rules! counter {
    ($name:ident, $metric:literal, $description:literal) => {
        static $name: LazyLock<Counter<u64>> =
            LazyLock::new(|| meter().u64_counter($metric).with_description($description).build());
    };
}

counter!(WEBHOOKS, "hilo.whatsapp.webhooks", "POSTs of Meta, by answer");
counter!(HEARD, "hilo.whatsapp.heard", "customers' items handed over, by kind");
counter!(STATUSES, "hilo.whatsapp.statuses", "statuses that changed a send");
counter!(STRAYS, "hilo.whatsapp.strays", "what could not be handed over and is a dead letter, by reason");
counter!(
    NOTICES,
    "hilo.whatsapp.notices",
    "notices about accounts, numbers and templates; alarm on alarming=true"
);
counter!(ANOMALIES, "hilo.whatsapp.anomalies", "statuses that contradict what is known");
counter!(ATTEMPTS, "hilo.whatsapp.attempts", "attempts to send, by outcome");
counter!(FILES, "hilo.whatsapp.files", "tries to fetch customers' files, by end");
counter!(TEMPLATES, "hilo.whatsapp.templates", "readings of an account's templates, by end");
counter!(STOPPED, "hilo.whatsapp.stopped", "a number that Meta lets send nothing, by reason; alarm on any");

static COMMIT: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    meter()
        .f64_histogram("hilo.whatsapp.commit")
        .with_unit("s")
        .with_description("from a whole body to its commit")
        .build()
});

static VERSION_DAYS_LEFT: LazyLock<Gauge<u64>> = LazyLock::new(|| {
    meter()
        .u64_gauge("hilo.whatsapp.version_days_left")
        .with_description("days until Meta ends the version of the Graph API that is called; alarm below 180")
        .build()
});

/// Days that Meta keeps the version of the Graph API.
pub fn version_days_left(days: u64) {
    VERSION_DAYS_LEFT.record(days, &[]);
}

/// A POST was answered: `accepted`, `bad_signature`, `no_secret`, `too_large`, `busy`, `not_committed`, `cut_off`.
pub fn webhook(answer: &'static str) {
    WEBHOOKS.add(1, &[KeyValue::new("answer", answer)]);
}

/// Time from a whole body to its commit.
pub fn committed(seconds: f64) {
    COMMIT.record(seconds, &[]);
}

/// An item was handed over.
pub fn heard(kind: &'static str) {
    HEARD.add(1, &[KeyValue::new("kind", kind)]);
}

/// A status changed a send.
pub fn status(word: &'static str) {
    STATUSES.add(1, &[KeyValue::new("status", word)]);
}

/// Something is a dead letter.
pub fn stray(reason: &str, count: usize) {
    STRAYS.add(u64::try_from(count).unwrap_or(1), &[KeyValue::new("reason", reason.to_owned())]);
}

/// A notice came.
pub fn notice(alarming: bool) {
    NOTICES.add(1, &[KeyValue::new("alarming", alarming)]);
}

/// A status contradicts what is known.
pub fn anomaly() {
    ANOMALIES.add(1, &[]);
}

/// An attempt ended: `accepted`, `not_sent`, `no_answer`, the reason of an [`crate::domain::class::ErrorClass`] or an
/// [`crate::domain::unfit::Unfit`].
pub fn attempted(outcome: &'static str) {
    ATTEMPTS.add(1, &[KeyValue::new("outcome", outcome)]);
}

/// A try to fetch a file ended: `stored`, a trouble, or the reason of a failure.
pub fn file(end: &'static str) {
    FILES.add(1, &[KeyValue::new("end", end)]);
}

/// The templates of an account were read and reported, or not: `reported`, `failed`.
pub fn templates(end: &'static str) {
    TEMPLATES.add(1, &[KeyValue::new("end", end)]);
}

/// Meta lets a number send nothing.
pub fn stopped(reason: &'static str) {
    STOPPED.add(1, &[KeyValue::new("reason", reason)]);
}
