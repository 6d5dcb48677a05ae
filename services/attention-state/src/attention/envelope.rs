//! One send as it is handed to the channel service.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_kit::nats::{StreamKind, Subjects};
use hilo_kit::outbox::{MAX_PAYLOAD, OutboxRow};
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope};
use prost::Message as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::domain::Attention;
use super::outbox;

/// The row of OUTBOUND, at the attention's newest place in the order of sends.
///
/// # Errors
/// `MESSAGE_TOO_LARGE`; an invalid subject.
pub(super) fn row(
    subjects: &Subjects,
    attention: &Attention,
    send: Uuid,
    now: OffsetDateTime,
    traceparent: &str,
    email: OutboundEmail,
) -> Result<OutboxRow, Error> {
    let envelope = OutboundEnvelope {
        send_id: send.to_string(),
        account_key: attention.account.to_string(),
        conversation_key: attention.id.to_string(),
        sequence: attention.sends,
        created_at: Some(to_proto(now)),
        traceparent: traceparent.to_owned(),
        content: Some(Content::Email(email)),
    };
    let payload = envelope.encode_to_vec();
    if payload.len() > MAX_PAYLOAD {
        // Each is within its own limit, and still they do not fit the broker together.
        let text = format!(
            "text, HTML, quotation and signature have {} bytes together, at most {MAX_PAYLOAD}",
            payload.len()
        );
        let error = Error::invalid("MESSAGE_TOO_LARGE", "the mail is too large to be sent");
        return Err(error.field("html", text));
    }
    let headers = outbox::trace(traceparent).map(|trace| ("traceparent".to_owned(), trace));
    Ok(OutboxRow {
        id: Uuid::now_v7(),
        stream: StreamKind::Outbound,
        subject: subjects.handover(
            StreamKind::Outbound,
            attention.channel.word(),
            attention.account.as_str(),
        )?,
        key: attention.id.uuid(),
        sequence: attention.sends,
        headers: headers.into_iter().collect(),
        payload,
    })
}
