//! The mail that an answer answers or a forward forwards.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::message::{StoredAddress, StoredAttachment};
use crate::attention::domain::{AttentionId, InteractionId};
use crate::attention::quote::Original;

/// What an answer needs of it.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub from: StoredAddress,
    pub to: Vec<StoredAddress>,
    pub cc: Vec<StoredAddress>,
    /// Kept only of authenticated senders.
    pub reply_to: Vec<StoredAddress>,
    /// True for a mail of ours.
    pub outbound: bool,
    /// False for reports of mail servers and our own mails that came back: shown, forwarded, never answered.
    pub answerable: bool,
    /// True when its body is only in the history.
    pub purged: bool,
    pub internet_message_id: String,
    pub reference_ids: Vec<String>,
    pub original: Original,
}

/// The named message of the attention; without a name the newest inbound one that may be answered, the interaction's own
/// before others.
///
/// While the customer has not written it is the newest of our own: one that came back only when there is no other, and one
/// to the customer before those to others, because whoever writes on after a forward means him.
pub(crate) async fn answered(
    tx: &mut PgConnection,
    attention: AttentionId,
    interaction: InteractionId,
    message: Option<Uuid>,
) -> Result<Option<Answered>, Error> {
    let row = sqlx::query!(
        r#"SELECT direction, from_address, from_name, to_addresses AS "to: Json<Vec<StoredAddress>>",
             cc_addresses AS "cc: Json<Vec<StoredAddress>>", reply_to_addresses AS "reply_to: Json<Vec<StoredAddress>>",
             subject, text_body, html_body, attachments AS "attachments: Json<Vec<StoredAttachment>>",
             internet_message_id, reference_ids, purged, mail_class NOT IN ('delivery-report', 'own-loop') AS "answerable!",
             to_char(occurred_at AT TIME ZONE (SELECT time_zone FROM directory.state), 'DD/MM/YYYY HH24:MI') AS "date!"
           FROM attention.message
           WHERE attention_id = $1 AND direction <> 'note' AND (message_id = $3 OR ($3::uuid IS NULL
             AND mail_class NOT IN ('delivery-report', 'own-loop')))
           ORDER BY direction = 'inbound' DESC, delivery_state IS DISTINCT FROM 'failed' DESC,
             direction = 'outbound' AND EXISTS (
               SELECT FROM jsonb_array_elements(to_addresses) AS one
               JOIN attention.attention a ON a.attention_id = $1 AND a.customer_address = lower(one ->> 'address')) DESC,
             interaction_id = $2 DESC, position DESC LIMIT 1"#,
        attention.uuid(),
        interaction.uuid(),
        message
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| {
        let from = StoredAddress { address: row.from_address, name: row.from_name };
        let original = Original {
            from: Some(from.clone()),
            to: row.to.0.clone(),
            cc: row.cc.0.clone(),
            date: row.date,
            subject: row.subject,
            text: row.text_body,
            html: row.html_body,
            attachments: row.attachments.0,
        };
        Answered {
            from,
            to: row.to.0,
            cc: row.cc.0,
            reply_to: row.reply_to.0,
            outbound: row.direction == "outbound",
            answerable: row.answerable,
            purged: row.purged,
            internet_message_id: row.internet_message_id,
            reference_ids: row.reference_ids,
            original,
        }
    }))
}
