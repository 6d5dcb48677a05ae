//! The end of an attempt: every recipient's new state, the whole send's, and the report that commits with them.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::StreamKind;
use hilo_kit::outbox::{self, OutboxRow};
use hilo_kit::telemetry::TRACEPARENT;
use hilo_proto::delivery::v1::{DeliveryEnvelope, RecipientState as ReportedRecipient, SendState};
use prost::Message as _;
use sqlx::PgConnection;

use super::sending::{AttemptResult, Picked};
use super::{next_sequence, taken_over};
use crate::domain::send::{self, Attempted, Next, Outcome, RecipientState, Reply};

/// Decides and writes every recipient that took part, then the whole, then the report.
pub(super) async fn settle(
    tx: &mut PgConnection,
    picked: &Picked,
    result: &AttemptResult,
    subject: String,
) -> Result<(), Error> {
    let mut pause: Option<Duration> = None;
    // Looked up for the first doubt only: nearly every send ends without one.
    let mut taken_over: Option<Vec<String>> = None;
    for recipient in &picked.recipients {
        let outcome = result.outcomes.iter().find(|(position, _)| *position == recipient.position);
        // A recipient without an outcome was not reached: the attempt ended before its turn.
        let outcome = outcome
            .map_or_else(|| Outcome::NotYet(Reply::local("not tried")), |(_, outcome)| outcome.clone());
        let mut next = send::next(
            outcome,
            Attempted {
                maybe_sent: recipient.maybe_sent,
                attempts: picked.attempts.unsigned_abs(),
                age: picked.age,
                unknown_retry: result.unknown_retry,
            },
            result.jitter,
        );
        if next.state == RecipientState::Unknown && next.retry_after.is_some() {
            let later = match taken_over.take() {
                Some(known) => known,
                None => taken_over::by_later(tx, picked.send_id).await?,
            };
            if later.contains(&recipient.address.to_ascii_lowercase()) {
                next.retry_after = None;
            }
            taken_over = Some(later);
        }
        write_recipient(tx, picked.send_id, recipient.position, &next).await?;
        pause = match (pause, next.retry_after) {
            (Some(known), Some(new)) => Some(known.min(new)),
            (known, new) => known.or(new),
        };
    }
    let recipients = recipients(tx, picked.send_id).await?;
    let states: Vec<RecipientState> = recipients.iter().map(|(_, state, _)| *state).collect();
    let whole = send::whole(&states);
    sqlx::query!(
        "UPDATE mail.send SET state = $2, epoch = NULL, changed_at = now(),
             next_at = CASE WHEN $3::float8 IS NULL THEN NULL ELSE now() + make_interval(secs => $3::float8) END
         WHERE send_id = $1",
        picked.send_id,
        whole.as_str(),
        pause.map(|pause| pause.as_secs_f64()),
    )
    .execute(&mut *tx)
    .await?;
    report(tx, picked, whole.reported(), recipients, subject).await
}

async fn write_recipient(
    tx: &mut PgConnection,
    send_id: Uuid,
    position: i16,
    next: &Next,
) -> Result<(), Error> {
    let mut text = crate::domain::text::line(&next.reply.text, send::REPLY_CHARS);
    crate::domain::text::cut(&mut text, send::REPLY_CHARS);
    sqlx::query!(
        "UPDATE mail.recipient SET state = $3, maybe_sent = maybe_sent OR $3 = 'unknown', retry = $4, reply_code = $5,
             enhanced_code = $6, reply_text = $7
         WHERE send_id = $1 AND position = $2",
        send_id,
        position,
        next.state.as_str(),
        next.retry_after.is_some(),
        i32::from(next.reply.code),
        next.reply.enhanced,
        text,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Address, state and last reply of a recipient.
pub(super) type Recipient = (String, RecipientState, Reply);

/// Every recipient of a send, in envelope order.
pub(super) async fn recipients(tx: &mut PgConnection, send_id: Uuid) -> Result<Vec<Recipient>, Error> {
    let rows = sqlx::query!(
        "SELECT address, state, reply_code, enhanced_code, reply_text FROM mail.recipient
         WHERE send_id = $1 ORDER BY position",
        send_id,
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = RecipientState::parse(&row.state)
                .ok_or_else(|| Error::corrupt("UNKNOWN_STATE", "a recipient has an unknown state"))?;
            let code = u16::try_from(row.reply_code).unwrap_or(0);
            Ok((row.address, state, Reply { code, enhanced: row.enhanced_code, text: row.reply_text }))
        })
        .collect()
}

/// Appends a report of the whole send.
pub(super) async fn report(
    tx: &mut PgConnection,
    picked: &Picked,
    whole: SendState,
    recipients: Vec<Recipient>,
    subject: String,
) -> Result<(), Error> {
    let sequence = next_sequence(tx, "delivery", picked.conversation_key).await?;
    let id = Uuid::now_v7();
    let traceparent = hilo_kit::telemetry::current_traceparent().or_else(|| picked.traceparent.clone());
    let envelope = DeliveryEnvelope {
        report_id: id.to_string(),
        send_id: picked.send_id.to_string(),
        account_key: picked.account_key.clone(),
        conversation_key: picked.conversation_key.to_string(),
        sequence,
        state: whole.into(),
        recipients: recipients
            .into_iter()
            .map(|(address, state, reply)| ReportedRecipient {
                address,
                state: state.reported().into(),
                reply_code: i32::from(reply.code),
                enhanced_code: reply.enhanced,
                reply_text: reply.text,
            })
            .collect(),
        occurred_at: Some(hilo_kit::clock::to_proto(hilo_kit::db::db_now(tx).await?)),
        traceparent: traceparent.clone().unwrap_or_default(),
        attempts: picked.attempts,
        ..DeliveryEnvelope::default()
    };
    let row = OutboxRow {
        id,
        stream: StreamKind::Delivery,
        subject,
        key: picked.conversation_key,
        sequence,
        headers: traceparent.map(|value| (TRACEPARENT.to_owned(), value)).into_iter().collect(),
        payload: envelope.encode_to_vec(),
    };
    outbox::append(tx, &[row]).await
}
