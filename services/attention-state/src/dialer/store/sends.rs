//! What rows were sent: while their attention waits, the dialer's message is here and in no thread yet.

use hilo_kit::error::Error;
use hilo_proto::history::v1::WhatsAppItem;
use prost::Message as _;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attention::domain::{AttentionId, CampaignKey, ContactId, DeliveryState};
use crate::dialer::domain::DialerId;

/// A row that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub number: String,
    /// Id of the send and of its message.
    pub send: Uuid,
    pub attention: AttentionId,
    pub account: String,
    pub campaign: String,
    pub sent_at: OffsetDateTime,
    pub delivery: DeliveryState,
    pub delivery_reason: String,
    pub delivery_detail: String,
    pub wamid: String,
    pub from_address: String,
    pub from_name: String,
    pub text: String,
    pub item: WhatsAppItem,
    /// True while its attention waits, and when nobody answered: the message is in no thread.
    pub threadless: bool,
}

struct Row {
    number: String,
    send_id: Uuid,
    attention_id: Uuid,
    account_key: String,
    campaign_key: String,
    sent_at: OffsetDateTime,
    delivery: String,
    delivery_reason: String,
    delivery_detail: String,
    wamid: String,
    from_address: String,
    from_name: String,
    text_body: String,
    item: Vec<u8>,
    threadless: bool,
}

impl Row {
    fn load(self) -> Result<Sent, Error> {
        let corrupt = || Error::corrupt("ROW_CONTRADICTS_ITSELF", "a row of a dialer cannot be read");
        Ok(Sent {
            number: self.number,
            send: self.send_id,
            attention: AttentionId(self.attention_id),
            account: self.account_key,
            campaign: self.campaign_key,
            sent_at: self.sent_at,
            delivery: DeliveryState::of(&self.delivery).ok_or_else(corrupt)?,
            delivery_reason: self.delivery_reason,
            delivery_detail: self.delivery_detail,
            wamid: self.wamid,
            from_address: self.from_address,
            from_name: self.from_name,
            text: self.text_body,
            item: WhatsAppItem::decode(self.item.as_slice()).map_err(|_| corrupt())?,
            threadless: self.threadless,
        })
    }
}

/// What a row is sent.
#[derive(Clone, Debug)]
pub(crate) struct Sending<'a> {
    pub send: Uuid,
    pub attention: AttentionId,
    pub from_address: &'a str,
    pub from_name: &'a str,
    pub text: &'a str,
    pub item: &'a WhatsAppItem,
    pub answer_timeout_hours: i32,
}

/// Notes that a pending row is sent. Call it in the transaction that hands it to the channel.
///
/// # Errors
/// `LOST_UPDATE` (class conflict) when the row has had its turn; database errors.
pub(crate) async fn note(
    tx: &mut PgConnection,
    dialer: DialerId,
    ordinal: i32,
    sending: &Sending<'_>,
) -> Result<(), Error> {
    let updated = sqlx::query!(
        "UPDATE dialer.row SET delivery = 'queued', send_id = $3, sent_at = clock_timestamp(), attention_id = $4,
           from_address = $5, from_name = $6, text_body = $7, item = $8,
           due_at = clock_timestamp() + make_interval(hours => $9)
         WHERE dialer_id = $1 AND ordinal = $2 AND state = 'pending'",
        dialer.uuid(),
        ordinal,
        sending.send,
        sending.attention.uuid(),
        sending.from_address,
        sending.from_name,
        sending.text,
        sending.item.encode_to_vec(),
        sending.answer_timeout_hours
    )
    .execute(tx)
    .await?
    .rows_affected();
    if updated == 1 {
        return Ok(());
    }
    Err(Error::conflict("LOST_UPDATE", "the row has had its turn"))
}

/// Rows of these sends, kept from others until the transaction ends.
pub(crate) async fn lock_sends(tx: &mut PgConnection, sends: &[Uuid]) -> Result<Vec<Sent>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT r.number, r.send_id AS "send_id!", r.attention_id AS "attention_id!", d.account_key,
             d.campaign_key, r.sent_at AS "sent_at!", r.delivery AS "delivery!", r.delivery_reason, r.delivery_detail, r.wamid,
             r.from_address, r.from_name, r.text_body, r.item AS "item!", (coalesce(r.waited_for, 'no_answer') = 'no_answer') AS "threadless!"
           FROM dialer.row r JOIN dialer.dialer d USING (dialer_id)
           WHERE r.send_id = ANY($1) ORDER BY r.send_id FOR UPDATE OF r"#,
        sends
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(Row::load).collect()
}

/// Rows for whose answers these attentions wait, kept from others until the transaction ends. Lock the attentions first.
pub(crate) async fn lock_waiting(tx: &mut PgConnection, attentions: &[Uuid]) -> Result<Vec<Sent>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT r.number, r.send_id AS "send_id!", r.attention_id AS "attention_id!", d.account_key,
             d.campaign_key, r.sent_at AS "sent_at!", r.delivery AS "delivery!", r.delivery_reason, r.delivery_detail, r.wamid,
             r.from_address, r.from_name, r.text_body, r.item AS "item!", (coalesce(r.waited_for, 'no_answer') = 'no_answer') AS "threadless!"
           FROM dialer.row r JOIN dialer.dialer d USING (dialer_id)
           WHERE r.attention_id = ANY($1) AND r.waited_for IS NULL ORDER BY r.send_id FOR UPDATE OF r"#,
        attentions
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(Row::load).collect()
}

/// Writes what became of locked sends, and Meta's ids of them.
pub(crate) async fn set_reported(tx: &mut PgConnection, rows: &[Sent]) -> Result<(), Error> {
    let sends: Vec<Uuid> = rows.iter().map(|row| row.send).collect();
    // A voice note is played, a template at most read.
    let state = |row: &Sent| match row.delivery {
        DeliveryState::Played => DeliveryState::Read,
        other => other,
    };
    let states: Vec<String> = rows.iter().map(|row| state(row).word().to_owned()).collect();
    let reasons: Vec<String> = rows.iter().map(|row| row.delivery_reason.clone()).collect();
    let details: Vec<String> = rows.iter().map(|row| row.delivery_detail.clone()).collect();
    let wamids: Vec<String> = rows.iter().map(|row| row.wamid.clone()).collect();
    sqlx::query!(
        "UPDATE dialer.row AS r SET delivery = v.state, delivery_reason = v.reason, delivery_detail = v.detail, wamid = v.wamid
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) AS v(send_id, state, reason, detail, wamid)
         WHERE r.send_id = v.send_id AND r.send_id = ANY($1)",
        &sends,
        &states,
        &reasons,
        &details,
        &wamids
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Rows whose attention has waited long enough.
pub(crate) async fn due(
    conn: &mut PgConnection,
    limit: i64,
) -> Result<Vec<(AttentionId, OffsetDateTime)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT attention_id AS "attention_id!", due_at AS "due_at!" FROM dialer.row
           WHERE delivery IS NOT NULL AND waited_for IS NULL AND due_at <= now() ORDER BY due_at LIMIT $1"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (AttentionId(row.attention_id), row.due_at)).collect())
}

/// Nobody answered in time.
pub(crate) async fn give_up(tx: &mut PgConnection, attention: AttentionId) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE dialer.row SET waited_for = 'no_answer', gave_up_at = clock_timestamp()
         WHERE attention_id = $1 AND waited_for IS NULL",
        attention.uuid()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// An agent has these attentions now.
pub(crate) async fn taken_over(tx: &mut PgConnection, attentions: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE dialer.row SET waited_for = 'taken_over' WHERE attention_id = ANY($1) AND waited_for IS NULL",
        attentions
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The customer wrote in these attentions.
pub(crate) async fn answered(tx: &mut PgConnection, attentions: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE dialer.row SET answered_at = clock_timestamp(), waited_for = coalesce(waited_for, 'answered')
         WHERE attention_id = ANY($1) AND answered_at IS NULL",
        attentions
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The customer wrote after these attentions had closed: pairs of those and of what began with it.
pub(crate) async fn answered_late(
    tx: &mut PgConnection,
    pairs: &[(AttentionId, AttentionId)],
) -> Result<(), Error> {
    let closed: Vec<Uuid> = pairs.iter().map(|(closed, _)| closed.uuid()).collect();
    let begun: Vec<Uuid> = pairs.iter().map(|(_, begun)| begun.uuid()).collect();
    sqlx::query!(
        "UPDATE dialer.row AS r SET answered_at = clock_timestamp(), answer_attention_id = v.begun
         FROM unnest($1::uuid[], $2::uuid[]) AS v(closed, begun)
         WHERE r.attention_id = v.closed AND r.attention_id = ANY($1) AND r.waited_for = 'no_answer'
           AND r.answered_at IS NULL",
        &closed,
        &begun
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// An attention that closed unanswered, and where its answers go.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered {
    pub attention: AttentionId,
    pub account: String,
    pub contact: ContactId,
    pub campaign: CampaignKey,
    /// The customer's id by which Meta named him when the attention is another contact's; `None` when it is his own.
    pub reached_at: Option<String>,
}

/// Attentions of these customers, and those that reached them under another contact, that closed unanswered within the last thirty days
/// and were their last one on that account: what he writes now may well be the answer. The one that was given up last comes first.
pub(crate) async fn unanswered(tx: &mut PgConnection, contacts: &[Uuid]) -> Result<Vec<Unanswered>, Error> {
    let rows = sqlx::query!(
        r#"WITH his AS (
             SELECT attention_id, contact_id, NULL::text AS identity FROM attention.attention WHERE contact_id = ANY($1)
             UNION SELECT attention_id, contact_id, identity FROM attention.reached WHERE contact_id = ANY($1))
           SELECT a.attention_id, a.account_key, his.contact_id AS "contact_id!", his.identity AS "reached_at?", a.campaign_key
           FROM his JOIN dialer.row r USING (attention_id) JOIN attention.attention a USING (attention_id)
           WHERE r.waited_for = 'no_answer' AND r.answered_at IS NULL AND r.gave_up_at > now() - interval '30 days'
             AND NOT EXISTS (SELECT 1 FROM attention.attention later
               WHERE later.contact_id = his.contact_id AND later.account_key = a.account_key
                 AND later.created_at > a.created_at)
           ORDER BY r.gave_up_at DESC"#,
        contacts
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Unanswered {
            attention: AttentionId(row.attention_id),
            account: row.account_key,
            contact: ContactId(row.contact_id),
            campaign: CampaignKey::new(row.campaign_key),
            reached_at: row.reached_at,
        })
        .collect())
}
