//! Reports of what became of sends, appended in the transaction that changes them.

use std::collections::HashMap;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::{StreamKind, Subjects};
use hilo_kit::outbox::{self, OutboxRow};
use hilo_kit::telemetry::TRACEPARENT;
use hilo_proto::delivery::v1::{DeliveryEnvelope, SendState};
use hilo_proto::inbound::v1::WhatsAppIdentity;
use prost::Message as _;
use sqlx::PgConnection;

use super::parsing::counts;
use super::{CHANNEL, take_numbers};

/// What is told of a send.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub send_id: Uuid,
    pub account_key: String,
    pub conversation_key: Uuid,
    pub traceparent: Option<String>,
    pub attempts: i32,
    pub state: SendState,
    /// When Meta says that it happened; the database's now without.
    pub occurred_at: Option<time::OffsetDateTime>,
    pub wamid: String,
    pub reason: String,
    pub code: i32,
    pub text: String,
    /// Whom Meta says it goes to, where this report is the first that knows.
    pub reached: Option<WhatsAppIdentity>,
}

/// Appends reports, those of one conversation in the order given.
pub(super) async fn append(
    tx: &mut PgConnection,
    subjects: &Subjects,
    reports: Vec<Report>,
) -> Result<(), Error> {
    if reports.is_empty() {
        return Ok(());
    }
    let first = take_numbers(tx, "delivery", &counts(reports.iter().map(|one| one.conversation_key))).await?;
    let mut next: HashMap<Uuid, i64> = first.into_iter().collect();
    let now = hilo_kit::db::db_now(tx).await?;
    let mut rows = Vec::with_capacity(reports.len());
    for report in reports {
        let number = next.entry(report.conversation_key).or_insert(1);
        let sequence = *number;
        *number += 1;
        let id = Uuid::now_v7();
        let subject = subjects.handover(StreamKind::Delivery, CHANNEL, &report.account_key)?;
        let envelope = DeliveryEnvelope {
            report_id: id.to_string(),
            send_id: report.send_id.to_string(),
            account_key: report.account_key,
            conversation_key: report.conversation_key.to_string(),
            sequence,
            state: report.state.into(),
            recipients: Vec::new(),
            occurred_at: Some(hilo_kit::clock::to_proto(report.occurred_at.unwrap_or(now))),
            traceparent: report.traceparent.clone().unwrap_or_default(),
            attempts: report.attempts,
            provider_message_id: report.wamid,
            // Codes of ours are negative and mean nothing to others.
            error_code: report.code.max(0),
            error_text: report.text,
            reason: report.reason,
            reached: report.reached,
        };
        rows.push(OutboxRow {
            id,
            stream: StreamKind::Delivery,
            subject,
            key: report.conversation_key,
            sequence,
            headers: report.traceparent.map(|value| (TRACEPARENT.to_owned(), value)).into_iter().collect(),
            payload: envelope.encode_to_vec(),
        });
    }
    outbox::append(tx, &rows).await
}
