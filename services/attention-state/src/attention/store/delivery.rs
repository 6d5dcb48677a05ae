//! What became of sends, per message and per recipient.

use hilo_kit::error::Error;
use hilo_proto::history::v1::RecipientDelivery;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attention::domain::{DeliveryState, InteractionId};

/// What became of one recipient, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRecipient {
    pub address: String,
    /// Word of a delivery state.
    pub state: String,
    /// Reply code; 0 when there was none.
    pub code: i32,
    /// Enhanced status code (RFC 3463); may be empty.
    pub enhanced: String,
    /// The server's words.
    pub words: String,
    /// The send that the state is of; none in rows of the releases before, which counts as the newest.
    #[serde(default)]
    pub send: Option<Uuid>,
}

impl From<StoredRecipient> for RecipientDelivery {
    fn from(from: StoredRecipient) -> Self {
        Self {
            address: from.address,
            delivery_state: from.state,
            reply_code: from.code,
            enhanced_code: from.enhanced,
            reply_text: from.words,
        }
    }
}

/// Known states with newer ones on top, by address without case.
pub(crate) fn merged(known: &[StoredRecipient], newer: &[StoredRecipient]) -> Vec<StoredRecipient> {
    let replaced =
        |one: &&StoredRecipient| !newer.iter().any(|new| new.address.eq_ignore_ascii_case(&one.address));
    known.iter().filter(replaced).chain(newer).cloned().collect()
}

/// True when one of the recipients comes to a final state that he was not in. Of whom nothing was known, the mail's state held.
pub(crate) fn settles_one(known: &KnownSend, now: &[StoredRecipient]) -> bool {
    now.iter().filter(|one| one.state != DeliveryState::Queued.word()).any(|one| {
        let before = known.recipients.iter().find(|old| old.address.eq_ignore_ascii_case(&one.address));
        before.map_or(known.state.word(), |old| old.state.as_str()) != one.state
    })
}

/// State of a mail as its recipients make it: open while anything is, doubt before success, failed when nobody got it.
pub(crate) fn whole(recipients: &[StoredRecipient]) -> Option<DeliveryState> {
    use DeliveryState::{Failed, Queued, Sent, Unknown};
    let any = |state: &DeliveryState| recipients.iter().any(|one| one.state == state.word());
    [Queued, Unknown, Sent, Failed].into_iter().find(any)
}

/// A send as known: its message, interaction and states.
#[derive(Clone, Debug)]
pub(crate) struct KnownSend {
    pub message: Uuid,
    /// The newest send of the message.
    pub current: Uuid,
    pub interaction: InteractionId,
    pub state: DeliveryState,
    pub recipients: Vec<StoredRecipient>,
    pub occurred_at: OffsetDateTime,
    pub attachments: i32,
    /// The provider's id of it; empty while none is known.
    pub wamid: String,
}

impl KnownSend {
    /// True once a person had it repeated.
    pub(crate) fn repeated(&self) -> bool {
        self.current != self.message
    }
}

/// Sends of messages, purged ones too: their states go on changing. Lock their attentions first, found by [`places`].
pub(crate) async fn sends(tx: &mut PgConnection, messages: &[Uuid]) -> Result<Vec<KnownSend>, Error> {
    let rows = sqlx::query!(
        r#"SELECT message_id, coalesce(current_send, message_id) AS "current!", interaction_id,
             delivery_state AS "delivery_state!", delivery_recipients AS "recipients: Json<Vec<StoredRecipient>>",
             occurred_at, wamid,
             greatest(jsonb_array_length(attachments), CASE WHEN purged THEN purged_attachments END) AS "attachments!"
           FROM attention.message WHERE message_id = ANY($1) AND direction = 'outbound'"#,
        messages
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(KnownSend {
                message: row.message_id,
                current: row.current,
                interaction: InteractionId(row.interaction_id),
                state: DeliveryState::of(&row.delivery_state)
                    .ok_or_else(|| Error::corrupt("ROW_CONTRADICTS_ITSELF", "unknown delivery state"))?,
                recipients: row.recipients.0,
                occurred_at: row.occurred_at,
                attachments: row.attachments,
                wamid: row.wamid,
            })
        })
        .collect()
}

/// Where a send belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub send: Uuid,
    pub message: Uuid,
    pub interaction: InteractionId,
}

/// Messages and interactions that sends belong to, by the keys that stay for ever.
pub(crate) async fn places(tx: &mut PgConnection, sends: &[Uuid]) -> Result<Vec<Place>, Error> {
    let keys: Vec<Vec<u8>> = sends.iter().map(|send| send.as_bytes().to_vec()).collect();
    let rows = sqlx::query!(
        "SELECT key, message_id, interaction_id FROM attention.message_key WHERE kind = 'send' AND key = ANY($1)",
        &keys
    )
    .fetch_all(tx)
    .await?;
    let place =
        |send: Uuid, message, interaction| Place { send, message, interaction: InteractionId(interaction) };
    Ok(rows
        .into_iter()
        .filter_map(|row| Some(place(Uuid::from_slice(&row.key).ok()?, row.message_id, row.interaction_id)))
        .collect())
}

/// A change of a message's delivery.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub message: Uuid,
    pub state: DeliveryState,
    pub detail: String,
    /// Stable class of a failure or of a wait; may be empty.
    pub reason: String,
    pub recipients: Vec<StoredRecipient>,
}

/// Sets delivery states. Call it under the attention's lock.
pub(crate) async fn set_delivery(tx: &mut PgConnection, changes: &[Change]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = changes.iter().map(|change| change.message).collect();
    let states: Vec<String> = changes.iter().map(|change| change.state.word().to_owned()).collect();
    let details: Vec<String> = changes.iter().map(|change| change.detail.clone()).collect();
    let reasons: Vec<String> = changes.iter().map(|change| change.reason.clone()).collect();
    let recipients: Vec<serde_json::Value> = changes
        .iter()
        .map(|change| serde_json::to_value(&change.recipients))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::internal("UNENCODABLE", "recipients cannot be stored").with_source(error))?;
    sqlx::query!(
        "UPDATE attention.message AS m SET delivery_state = v.state, delivery_detail = v.detail,
           delivery_recipients = v.recipients, delivery_reason = v.reason
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::text[])
           AS v(id, state, detail, recipients, reason)
         WHERE m.message_id = v.id AND m.message_id = ANY($1)",
        &ids,
        &states,
        &details,
        &recipients,
        &reasons
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A failure and an arrival of one message.
#[derive(Clone, Debug)]
pub(crate) struct Anomaly {
    pub report: Uuid,
    pub message: Uuid,
    pub had: DeliveryState,
    pub reported: DeliveryState,
    pub detail: String,
}

/// Records reports that contradict what is known, each once.
pub(crate) async fn note_anomalies(tx: &mut PgConnection, anomalies: &[Anomaly]) -> Result<(), Error> {
    for one in anomalies {
        sqlx::query!(
            "INSERT INTO attention.delivery_anomaly (report_id, message_id, had, reported, detail)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (report_id) DO NOTHING",
            one.report,
            one.message,
            one.had.word(),
            one.reported.word(),
            one.detail
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(address: &str, state: &str) -> StoredRecipient {
        StoredRecipient {
            address: address.into(),
            state: state.into(),
            code: 0,
            enhanced: String::new(),
            words: String::new(),
            send: None,
        }
    }

    #[test]
    fn a_recipient_settles_when_his_final_state_is_a_new_one() {
        let send = |state: DeliveryState, recipients: &[StoredRecipient]| KnownSend {
            message: Uuid::nil(),
            current: Uuid::nil(),
            interaction: InteractionId(Uuid::nil()),
            state,
            recipients: recipients.to_vec(),
            occurred_at: OffsetDateTime::UNIX_EPOCH,
            attachments: 0,
            wamid: String::new(),
        };
        use DeliveryState::{Queued, Sent};
        let both = [one("a@x", "sent"), one("b@x", "sent")];
        for (state, known, now, settles) in [
            (Queued, &[][..], [one("a@x", "queued"), one("b@x", "queued")], false),
            (Queued, &[], [one("a@x", "sent"), one("b@x", "queued")], true),
            (Sent, &[], both.clone(), false),
            (Sent, &both, both.clone(), false),
            (Sent, &both, [one("a@x", "sent"), one("B@x", "failed")], true),
            (Sent, &both, [one("a@x", "sent"), one("b@x", "queued")], false),
            (Queued, &[one("b@x", "queued")], [one("a@x", "queued"), one("b@x", "failed")], true),
        ] {
            assert_eq!(settles_one(&send(state, known), &now), settles, "{known:?} {now:?}");
        }
    }

    #[test]
    fn newer_states_replace_older_ones_and_the_whole_follows() {
        let known = [one("a@x", "sent"), one("B@x", "failed")];
        let both = merged(&known, &[one("b@X", "unknown")]);
        assert_eq!(both.iter().map(|r| r.state.as_str()).collect::<Vec<_>>(), ["sent", "unknown"]);
        assert_eq!(whole(&both), Some(DeliveryState::Unknown));
        assert_eq!(whole(&known), Some(DeliveryState::Sent));
        assert_eq!(whole(&[one("a", "queued"), one("b", "unknown")]), Some(DeliveryState::Queued));
        assert_eq!(whole(&[one("a", "failed")]), Some(DeliveryState::Failed));
        assert_eq!(whole(&[]), None);
    }
}
