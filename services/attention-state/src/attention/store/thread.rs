//! Reading threads: pages of messages, whole interactions.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_proto::history::v1::{RecipientDelivery, ThreadMessage, WhatsAppItem};
use hilo_proto::inbound::v1::{Attachment, EmailAddress};
use prost::Message as _;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::delivery::StoredRecipient;
use super::message::{StoredAddress, StoredAttachment};
use crate::attention::domain::{Direction, MessageId};
use crate::attention::published;

/// Direction of a stored note; readers see an outbound message marked internal.
pub(crate) const NOTE: &str = "note";

/// A message of an ended thread, and about how many bytes it takes in an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weighed {
    pub id: Uuid,
    pub bytes: i64,
    /// A note.
    pub internal: bool,
}

/// The messages of an interaction in thread order, at most `limit`, without reading a body.
pub(crate) async fn order_of(
    tx: &mut PgConnection,
    interaction: Uuid,
    limit: i64,
) -> Result<Vec<Weighed>, Error> {
    let rows = sqlx::query!(
        r#"SELECT message_id, position, direction, conversation_key, conversation_number,
             (octet_length(text_body) + octet_length(html_body) + octet_length(to_addresses::text)
               + octet_length(cc_addresses::text) + octet_length(bcc_addresses::text)
               + octet_length(delivery_recipients::text) + octet_length(attachments::text) + octet_length(subject)
               + octet_length(delivery_detail) + coalesce(octet_length(whatsapp), 0) + 1000)::bigint AS "bytes!"
           FROM attention.message WHERE interaction_id = $1 ORDER BY position LIMIT $2"#,
        interaction,
        limit
    )
    .fetch_all(tx)
    .await?;
    let mut order: Vec<Placed<Weighed>> = rows
        .into_iter()
        .map(|row| Placed {
            position: row.position,
            ledger: row.conversation_key.zip(row.conversation_number),
            message: Weighed { id: row.message_id, bytes: row.bytes, internal: row.direction == NOTE },
        })
        .collect();
    in_ledger_order(&mut order);
    Ok(order.into_iter().map(|placed| placed.message).collect())
}

/// Messages by their ids, in the order of these.
pub(crate) async fn by_ids(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<ThreadMessage>, Error> {
    let rows = sqlx::query_as!(
        MessageRow,
        r#"SELECT message_id, position, direction, from_address, from_name,
             to_addresses AS "to: Json<Vec<StoredAddress>>", cc_addresses AS "cc: Json<Vec<StoredAddress>>",
             bcc_addresses AS "bcc: Json<Vec<StoredAddress>>", subject,
             delivery_recipients AS "recipients: Json<Vec<StoredRecipient>>",
             text_body, html_body, attachments AS "attachments: Json<Vec<StoredAttachment>>", occurred_at,
             delivery_state, delivery_detail, agent_key, mail_class, sender_verified, internet_message_id,
             conversation_key, conversation_number, purged, whatsapp, wamid, delivery_reason
           FROM attention.message WHERE message_id = ANY($1) ORDER BY array_position($1, message_id)"#,
        ids
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| Placed::from(row).message).collect())
}

/// One message as stored.
pub(crate) async fn one(tx: &mut PgConnection, id: MessageId) -> Result<Option<ThreadMessage>, Error> {
    let place =
        sqlx::query!("SELECT attention_id, position FROM attention.message WHERE message_id = $1", id.uuid())
            .fetch_optional(&mut *tx)
            .await?;
    let Some(place) = place else { return Ok(None) };
    let page = page(tx, place.attention_id, None, place.position + 1, 1).await?;
    Ok(page.into_iter().next().map(|(_, message)| message))
}

/// Content of one page at most, well below gRPC's message limit.
const PAGE_BYTES: usize = 3 * 1024 * 1024;
/// The same of the page that comes with opening: a draft comes with it.
const OPENING_BYTES: usize = 1024 * 1024;

/// A page of messages in thread order: the newest before position `before`, at most `limit`, at most 3 MiB of content (but at
/// least one), each with its position.
pub(crate) async fn page(
    tx: &mut PgConnection,
    attention: Uuid,
    interaction: Option<Uuid>,
    before: i64,
    limit: i64,
) -> Result<Vec<(i64, ThreadMessage)>, Error> {
    Ok(fitting(rows(tx, attention, interaction, before, limit).await?, PAGE_BYTES))
}

/// The newest messages of an attention as they come with opening: at most `limit`, at most 1 MiB of content (but at least one).
pub(crate) async fn opening(
    tx: &mut PgConnection,
    attention: Uuid,
    limit: i64,
) -> Result<Vec<(i64, ThreadMessage)>, Error> {
    Ok(fitting(rows(tx, attention, None, i64::MAX, limit).await?, OPENING_BYTES))
}

/// Those of the newest that fit together, in thread order.
fn fitting(rows: Vec<MessageRow>, most: usize) -> Vec<(i64, ThreadMessage)> {
    let mut bytes = 0;
    let fits = |row: &MessageRow| {
        let first = bytes == 0;
        bytes += row.text_body.len() + row.html_body.len() + row.whatsapp.as_ref().map_or(0, Vec::len) + 1;
        first || bytes <= most
    };
    let mut page: Vec<Placed<ThreadMessage>> = rows.into_iter().take_while(fits).map(Placed::from).collect();
    page.reverse();
    in_ledger_order(&mut page);
    page.into_iter().map(|placed| (placed.position, placed.message)).collect()
}

/// Newest first.
async fn rows(
    tx: &mut PgConnection,
    attention: Uuid,
    interaction: Option<Uuid>,
    before: i64,
    limit: i64,
) -> Result<Vec<MessageRow>, Error> {
    let rows = sqlx::query_as!(
        MessageRow,
        r#"SELECT message_id, position, direction, from_address, from_name,
             to_addresses AS "to: Json<Vec<StoredAddress>>", cc_addresses AS "cc: Json<Vec<StoredAddress>>",
             bcc_addresses AS "bcc: Json<Vec<StoredAddress>>", subject,
             delivery_recipients AS "recipients: Json<Vec<StoredRecipient>>",
             text_body, html_body, attachments AS "attachments: Json<Vec<StoredAttachment>>", occurred_at,
             delivery_state, delivery_detail, agent_key, mail_class, sender_verified, internet_message_id,
             conversation_key, conversation_number, purged, whatsapp, wamid, delivery_reason
           FROM attention.message
           WHERE attention_id = $1 AND ($2::uuid IS NULL OR interaction_id = $2) AND position < $3
           ORDER BY position DESC LIMIT $4"#,
        attention,
        interaction,
        before,
        limit
    )
    .fetch_all(tx)
    .await?;
    Ok(rows)
}

struct MessageRow {
    message_id: Uuid,
    position: i64,
    direction: String,
    from_address: String,
    from_name: String,
    to: Json<Vec<StoredAddress>>,
    cc: Json<Vec<StoredAddress>>,
    bcc: Json<Vec<StoredAddress>>,
    recipients: Json<Vec<StoredRecipient>>,
    subject: String,
    text_body: String,
    html_body: String,
    attachments: Json<Vec<StoredAttachment>>,
    occurred_at: OffsetDateTime,
    delivery_state: Option<String>,
    delivery_detail: String,
    agent_key: Option<String>,
    mail_class: String,
    sender_verified: bool,
    internet_message_id: String,
    conversation_key: Option<Uuid>,
    conversation_number: Option<i64>,
    purged: bool,
    whatsapp: Option<Vec<u8>>,
    wamid: String,
    delivery_reason: String,
}

impl MessageRow {
    /// What cannot be read any more is left out: the text says what can be said without it.
    fn item(&self) -> Option<WhatsAppItem> {
        let item = WhatsAppItem::decode(self.whatsapp.as_deref()?).ok()?;
        Some(WhatsAppItem { wamid: self.wamid.clone(), ..item })
    }
}

impl From<MessageRow> for Placed<ThreadMessage> {
    fn from(row: MessageRow) -> Self {
        let internal = row.direction == NOTE;
        let written = if internal { Some(Direction::Outbound) } else { Direction::of(&row.direction) };
        let direction = written.unwrap_or(Direction::Inbound);
        let whatsapp = row.item();
        let message = ThreadMessage {
            message_id: row.message_id.to_string(),
            direction: published::direction(direction).into(),
            from: Some(EmailAddress { address: row.from_address, name: row.from_name }),
            to: row.to.0.into_iter().map(EmailAddress::from).collect(),
            cc: row.cc.0.into_iter().map(EmailAddress::from).collect(),
            subject: row.subject,
            text: row.text_body,
            html: row.html_body,
            attachments: row.attachments.0.into_iter().map(Attachment::from).collect(),
            occurred_at: Some(to_proto(row.occurred_at)),
            delivery_state: row.delivery_state.unwrap_or_default(),
            delivery_detail: row.delivery_detail,
            agent_key: row.agent_key.unwrap_or_default(),
            mail_class: row.mail_class,
            sender_verified: row.sender_verified,
            internet_message_id: row.internet_message_id,
            internal,
            body_in_history: row.purged,
            bcc: row.bcc.0.into_iter().map(EmailAddress::from).collect(),
            recipients: row.recipients.0.into_iter().map(RecipientDelivery::from).collect(),
            delivery_reason: row.delivery_reason,
            whatsapp,
            ..ThreadMessage::default()
        };
        let ledger = row.conversation_key.zip(row.conversation_number);
        Placed { position: row.position, ledger, message }
    }
}

struct Placed<M> {
    position: i64,
    ledger: Option<(Uuid, i64)>,
    message: M,
}

/// Positions follow commits; the ledger's numbers follow the customer. Messages of one conversation change places among
/// themselves until their numbers rise, everything else stays where it is.
fn in_ledger_order<M>(page: &mut [Placed<M>]) {
    let mut conversations: Vec<Uuid> = page.iter().filter_map(|p| p.ledger.map(|(key, _)| key)).collect();
    conversations.sort_unstable();
    conversations.dedup();
    for conversation in conversations {
        let places: Vec<usize> = (0..page.len())
            .filter(|at| page.get(*at).and_then(|p| p.ledger).is_some_and(|(key, _)| key == conversation))
            .collect();
        let number =
            |page: &[Placed<M>], at: usize| page.get(at).and_then(|p| p.ledger).map(|(_, number)| number);
        // Almost always sorted already; an insertion sort over the few places costs nothing then.
        for next in 1..places.len() {
            let mut at = next;
            while let (Some(&left), Some(&right)) =
                (at.checked_sub(1).and_then(|l| places.get(l)), places.get(at))
            {
                if number(page, left) <= number(page, right) {
                    break;
                }
                page.swap(left, right);
                at -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_redelivery_takes_its_place_and_answers_stay() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let placed = |position: i64, ledger: Option<(Uuid, i64)>| Placed {
            position,
            ledger,
            message: ThreadMessage { text: position.to_string(), ..ThreadMessage::default() },
        };
        let mut page = vec![
            placed(1, Some((a, 2))),
            placed(2, None),
            placed(3, Some((b, 1))),
            placed(4, Some((a, 3))),
            placed(5, Some((a, 1))),
        ];
        in_ledger_order(&mut page);
        let texts: Vec<&str> = page.iter().map(|placed| placed.message.text.as_str()).collect();
        assert_eq!(texts, ["5", "2", "3", "1", "4"]);
    }
}
