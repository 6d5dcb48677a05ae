//! Tables of what goes to a customer beside messages: reactions of ours and read marks.

use hilo_kit::error::Error;
use hilo_proto::history::v1::WhatsAppItem;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::delivery::Place;
use crate::attention::domain::{AttentionId, InteractionId};

/// Notes one; answers its place in the attention's order. `read_mark` is whether a read mark shows typing, none of a reaction. Call it
/// under the attention's lock.
pub(crate) async fn note(
    tx: &mut PgConnection,
    attention: AttentionId,
    send: Uuid,
    message: Uuid,
    read_mark: Option<bool>,
) -> Result<i64, Error> {
    let number = sqlx::query_scalar!(
        "INSERT INTO attention.aside_order AS known (attention_id, sends) VALUES ($1, 1)
         ON CONFLICT (attention_id) DO UPDATE SET sends = known.sends + 1 RETURNING sends",
        attention.uuid()
    )
    .fetch_one(&mut *tx)
    .await?;
    let kind = if read_mark.is_some() { "read_mark" } else { "reaction" };
    sqlx::query!(
        "INSERT INTO attention.aside (send_id, message_id, number, kind, typing) VALUES ($1, $2, $3, $4, $5)",
        send,
        message,
        number,
        kind,
        read_mark.unwrap_or_default()
    )
    .execute(tx)
    .await?;
    Ok(number)
}

/// How far back the customer's newest message is looked for behind notices of the system.
const NOTICES: i64 = 10;

/// The newest message of the customer in an interaction with Meta's id of it; notices of the system are none.
pub(crate) async fn newest_of_customer(
    tx: &mut PgConnection,
    interaction: InteractionId,
) -> Result<Option<(Uuid, String)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT message_id, wamid, whatsapp AS "whatsapp!" FROM attention.message
         WHERE interaction_id = $1 AND direction = 'inbound' AND wamid <> '' AND whatsapp IS NOT NULL
         ORDER BY position DESC LIMIT $2"#,
        interaction.uuid(),
        NOTICES
    )
    .fetch_all(tx)
    .await?;
    let notice = |item: &[u8]| WhatsAppItem::decode(item).is_ok_and(|item| item.kind == "system");
    let said = rows.into_iter().find(|row| !notice(&row.whatsapp));
    Ok(said.map(|row| (row.message_id, row.wamid)))
}

/// Whether the customer was told that this message was read; of typing, whether he was within the last ten seconds.
pub(crate) async fn is_marked(tx: &mut PgConnection, message: Uuid, typing: bool) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM attention.aside WHERE message_id = $1 AND kind = 'read_mark'
             AND (NOT $2 OR (typing AND sent_at > now() - interval '10 seconds'))) AS "is!""#,
        message,
        typing
    )
    .fetch_one(tx)
    .await?)
}

/// One that is reported on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub place: Place,
    /// Place in the attention's order, of a reaction.
    pub reaction: Option<i64>,
}

/// Asides by the ids of their sends.
pub(crate) async fn known(tx: &mut PgConnection, sends: &[Uuid]) -> Result<Vec<Known>, Error> {
    let rows = sqlx::query!(
        "SELECT send_id, message_id, interaction_id, number, kind FROM attention.aside
         JOIN attention.message USING (message_id) WHERE send_id = ANY($1)",
        sends
    )
    .fetch_all(tx)
    .await?;
    let place = |send, message, interaction| Place { send, message, interaction: InteractionId(interaction) };
    Ok(rows
        .into_iter()
        .map(|row| Known {
            place: place(row.send_id, row.message_id, row.interaction_id),
            reaction: (row.kind == "reaction").then_some(row.number),
        })
        .collect())
}
