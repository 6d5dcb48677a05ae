//! What this service counts. Instruments are made once; attributes are words of small closed sets, never ids.

use std::sync::LazyLock;

use hilo_kit::telemetry::meter;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

static EVENTS: LazyLock<Counter<u64>> =
    LazyLock::new(|| meter().u64_counter("hilo.attention.events").build());
static MAILS: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter("hilo.intake.mails").build());
static BATCH: LazyLock<Histogram<u64>> = LazyLock::new(|| meter().u64_histogram("hilo.intake.batch").build());
static FLOODS: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter("hilo.intake.floods").build());
static REPORTS_LEFT_OUT: LazyLock<Counter<u64>> =
    LazyLock::new(|| meter().u64_counter("hilo.intake.reports_left_out").build());
static PURGED: LazyLock<Counter<u64>> =
    LazyLock::new(|| meter().u64_counter("hilo.attention.purged").build());
static RESYNCS: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter("hilo.desk.resyncs").build());

static ALTERATIONS: LazyLock<Counter<u64>> =
    LazyLock::new(|| meter().u64_counter("hilo.intake.alterations").build());
static ANOMALIES: LazyLock<Counter<u64>> =
    LazyLock::new(|| meter().u64_counter("hilo.delivery.anomalies").build());

static REACHED: LazyLock<Counter<u64>> =
    LazyLock::new(|| meter().u64_counter("hilo.delivery.reached_another").build());

static AUTOMATIC: LazyLock<Counter<u64>> =
    LazyLock::new(|| meter().u64_counter("hilo.attention.automatic_replies").build());

static DIALLED: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter("hilo.dialer.steps").build());

/// A look at a dialer: `sent`, `skipped`, `not_due`, `waits`, `halted`, `finished`.
pub(crate) fn dialled(step: &'static str) {
    DIALLED.add(1, &[KeyValue::new("step", step)]);
}

/// An automatic reply was `sent` or withheld, by why.
pub(crate) fn automatic_reply(outcome: &'static str) {
    AUTOMATIC.add(1, &[KeyValue::new("outcome", outcome)]);
}

/// An event was written to the outbox (its transaction may still fail).
pub(crate) fn event(name: &str) {
    EVENTS.add(1, &[KeyValue::new("type", name.to_owned())]);
}

/// A mail was threaded: `joined`, `unverified`, `new`.
pub(crate) fn mail(verdict: &'static str) {
    MAILS.add(1, &[KeyValue::new("verdict", verdict)]);
}

/// A reaction, edit or revoke came: `applied`, `waits` for its target, `gone` when the target cannot take it.
pub(crate) fn alteration(fate: &'static str) {
    ALTERATIONS.add(1, &[KeyValue::new("fate", fate)]);
}

/// A failure and an arrival of the same message were reported.
pub(crate) fn delivery_anomaly() {
    ANOMALIES.add(1, &[]);
}

/// Meta said that what was sent to one contact reaches another.
pub(crate) fn reached_another() {
    REACHED.add(1, &[]);
}

/// Mails of a batch.
pub(crate) fn batch(mails: usize) {
    BATCH.record(u64::try_from(mails).unwrap_or(u64::MAX), &[]);
}

/// An interaction was full and its messages went on in a linked attention.
pub(crate) fn flood() {
    FLOODS.add(1, &[]);
}

/// A report of a machine was counted and not appended.
pub(crate) fn report_left_out() {
    REPORTS_LEFT_OUT.add(1, &[]);
}

/// Ended interactions gave their bodies to the history.
pub(crate) fn purged(interactions: usize) {
    PURGED.add(u64::try_from(interactions).unwrap_or(u64::MAX), &[]);
}

/// A desk lost updates and takes a new snapshot.
pub(crate) fn resync() {
    RESYNCS.add(1, &[]);
}
