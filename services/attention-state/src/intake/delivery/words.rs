//! What is kept of a report's words.

use hilo_proto::delivery::v1::{DeliveryEnvelope, RecipientState, SendState};
use uuid::Uuid;

use super::MAX_DETAIL;
use crate::attention::domain::DeliveryState;
use crate::attention::store::delivery::StoredRecipient;

/// What PostgreSQL stores of a text, at most so many characters.
pub(super) fn plain(text: &str, most: usize) -> String {
    text.replace('\0', "\u{fffd}").chars().take(most).collect()
}

/// A recipient as it is stored.
pub(super) fn stored(one: &RecipientState, send: Uuid) -> StoredRecipient {
    let state = match one.state() {
        SendState::Queued | SendState::Unspecified => DeliveryState::Queued,
        SendState::Sent | SendState::Delivered | SendState::Read | SendState::Played => DeliveryState::Sent,
        SendState::Failed | SendState::Bounced => DeliveryState::Failed,
        SendState::Unknown => DeliveryState::Unknown,
    };
    StoredRecipient {
        address: plain(&one.address, MAX_DETAIL),
        state: state.word().to_owned(),
        code: one.reply_code,
        enhanced: plain(&one.enhanced_code, 20),
        words: plain(&one.reply_text, MAX_DETAIL),
        send: Some(send),
    }
}

/// What the servers said of the recipients that were not served, and why one waits; of WhatsApp Meta's code and words.
pub(super) fn detail(envelope: &DeliveryEnvelope) -> String {
    if envelope.error_code != 0 || !envelope.error_text.is_empty() {
        let code = if envelope.error_code == 0 { String::new() } else { envelope.error_code.to_string() };
        return plain(format!("{code} {}", envelope.error_text).trim(), MAX_DETAIL);
    }
    told_of(&envelope.recipients)
}

fn told_of(recipients: &[RecipientState]) -> String {
    let troubled = recipients.iter().filter(|one| {
        let waits = one.state() == SendState::Queued && !one.reply_text.is_empty();
        waits || matches!(one.state(), SendState::Failed | SendState::Unknown | SendState::Bounced)
    });
    let lines: Vec<String> = troubled
        .map(|one| {
            let code = if one.reply_code == 0 { String::new() } else { format!(" {}", one.reply_code) };
            let words = one.reply_text.replace('\0', "\u{fffd}");
            format!("{}:{code} {} {words}", one.address.replace('\0', ""), one.enhanced_code)
                .trim()
                .to_owned()
        })
        .collect();
    lines.join("\n").chars().take(MAX_DETAIL).collect()
}
