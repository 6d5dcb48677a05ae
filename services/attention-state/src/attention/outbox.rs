//! Events into the outbox, in the transaction of the state they tell about: CloudEvents 1.0 in NATS binary mode
//! (<https://github.com/cloudevents/spec>, protocol binding for NATS), data in canonical proto3 JSON.

use hilo_kit::clock::rfc3339;
use hilo_kit::error::Error;
use hilo_kit::nats::{StreamKind, Subjects};
use hilo_kit::outbox::{OutboxRow, append};
use hilo_kit::telemetry;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::published;
use super::work::Announcement;

/// `ce-source`: who makes these events.
const SOURCE: &str = "/hilo/attention-state";
/// Full name of the data's message.
pub(crate) const DATA: &str = "hilo.event.v1.AttentionEvent";

/// Appends the events; key is the attention, number its sequence.
pub(crate) async fn append_events(
    tx: &mut PgConnection,
    subjects: &Subjects,
    announcements: &[Announcement],
    at: OffsetDateTime,
) -> Result<(), Error> {
    let rows: Vec<OutboxRow> =
        announcements.iter().map(|announcement| row(subjects, announcement, at)).collect::<Result<_, _>>()?;
    append(tx, &rows).await
}

fn row(subjects: &Subjects, announcement: &Announcement, at: OffsetDateTime) -> Result<OutboxRow, Error> {
    let mut data = published::event(&announcement.happened, at, announcement.actor.as_ref());
    if !announcement.reason.is_empty() {
        data.reason = announcement.reason.to_owned();
    }
    data.out_of_hours = announcement.out_of_hours;
    let name = published::event_name(published::event_type(&announcement.happened.event));
    let payload = hilo_proto::json::event(&data).map_err(|error| {
        Error::internal("EVENT_NOT_ENCODED", "an event does not fit its contract").with_source(error)
    })?;
    crate::metrics::event(&name);
    let id = Uuid::now_v7();
    let mut headers = vec![
        ("ce-specversion".to_owned(), "1.0".to_owned()),
        ("ce-id".to_owned(), id.to_string()),
        ("ce-source".to_owned(), SOURCE.to_owned()),
        ("ce-type".to_owned(), format!("hilo.attention.v1.{name}")),
        ("ce-time".to_owned(), rfc3339(at)),
        ("ce-subject".to_owned(), data.attention_id.clone()),
        ("ce-sequence".to_owned(), format!("{:020}", data.sequence)),
        ("ce-datacontenttype".to_owned(), "application/json".to_owned()),
    ];
    if let Some(traceparent) = trace(&announcement.traceparent) {
        headers.push(("ce-traceparent".to_owned(), traceparent));
    }
    Ok(OutboxRow {
        id,
        stream: StreamKind::Events,
        subject: subjects.event(&data.campaign_key, &name)?,
        key: announcement.happened.after.id.uuid(),
        sequence: data.sequence,
        headers,
        payload,
    })
}

/// The trace a change belongs to: the running span when it continues the stored trace, else the stored one, so that one
/// trace leads from a mail's arrival to the agent's stream and back out although a person paused in between.
pub(crate) fn trace(stored: &str) -> Option<String> {
    let running = telemetry::current_traceparent();
    if stored.is_empty() {
        return running;
    }
    // version-traceid-spanid-flags: the first 35 characters name the trace.
    let trace_of = |traceparent: &str| traceparent.get(..35).map(str::to_owned);
    match running {
        Some(running) if trace_of(&running) == trace_of(stored) => Some(running),
        Some(_) | None => Some(stored.to_owned()),
    }
}
