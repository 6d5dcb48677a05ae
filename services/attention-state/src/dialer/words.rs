//! Dialers and rows in the words of the contract.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_proto::dialer::v1 as wire;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::dialers::Dialer;
use super::store::rows;
use crate::directory::{self, proto_catalogue};

/// One in the words of the contract.
///
/// # Errors
/// Database errors.
pub(super) async fn told(tx: &mut PgConnection, dialer: Dialer) -> Result<wire::Dialer, Error> {
    Ok(in_zone(dialer, &directory::time_zone(tx).await?))
}

/// One in the words of the contract; its hours, where they name no zone, are of this one, the house's.
pub(super) fn in_zone(dialer: Dialer, zone: &str) -> wire::Dialer {
    let hours = dialer.settings.hours.as_ref().map(|hours| proto_catalogue::hours(hours, zone));
    let settings = dialer.settings;
    wire::Dialer {
        dialer_id: dialer.id.to_string(),
        name: settings.name,
        campaign_key: settings.campaign,
        account_key: settings.account,
        template_name: settings.template_name,
        template_language: settings.template_language,
        columns: dialer.columns,
        per_minute: settings.per_minute,
        hours,
        answer_timeout_hours: settings.answer_timeout_hours,
        state: wire::DialerState::from(dialer.life).into(),
        state_reason: dialer.reason,
        created_by: dialer.created_by,
        created_at: Some(to_proto(dialer.created_at)),
        changed_at: Some(to_proto(dialer.changed_at)),
    }
}

/// A row.
pub(super) fn row(seen: rows::Seen) -> wire::Row {
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    wire::Row {
        ordinal: seen.ordinal,
        number: seen.number,
        values: seen.values,
        state: row_state(&seen.state).into(),
        reason: if seen.skipped.is_empty() { seen.delivery_reason } else { seen.skipped },
        detail: seen.delivery_detail,
        attention_id: id(seen.attention_id),
        answer_attention_id: id(seen.answer_attention_id),
        sent_at: seen.sent_at.map(to_proto),
        answered_at: seen.answered_at.map(to_proto),
        gave_up_at: seen.gave_up_at.map(to_proto),
    }
}

/// Words of the column `state` and what they mean.
const STATES: [(&str, wire::RowState); 9] = [
    ("pending", wire::RowState::Pending),
    ("queued", wire::RowState::Queued),
    ("sent", wire::RowState::Sent),
    ("delivered", wire::RowState::Delivered),
    ("read", wire::RowState::Read),
    ("answered", wire::RowState::Answered),
    ("failed", wire::RowState::Failed),
    ("skipped", wire::RowState::Skipped),
    ("unknown", wire::RowState::Unknown),
];

/// The state of a word.
pub(super) fn row_state(word: &str) -> wire::RowState {
    STATES.iter().find(|(known, _)| *known == word).map_or(wire::RowState::Unspecified, |(_, state)| *state)
}

/// The word of a state.
pub(super) fn state_word(state: wire::RowState) -> &'static str {
    STATES.iter().find(|(_, known)| *known == state).map_or("", |(word, _)| word)
}
