//! Items of the list as rows, independent of who looks; `Item::seen_by` makes what one caller sees.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_proto::attention::v1::DeskItem;
use hilo_proto::event::v1::{Direction, InteractionState};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::avatar::initials;
use crate::contact;

/// Where an item is, as lists distinguish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the queue of its campaign.
    Queued,
    /// Open by an agent.
    OpenBy(String),
    /// In no list.
    Gone,
}

/// An interaction as lists show it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub interaction: Uuid,
    pub version: i64,
    pub campaign: String,
    pub channel: String,
    pub place: Place,
    pub last_message_at: OffsetDateTime,
    waiting_since: OffsetDateTime,
    /// Trace of the change that brought it here; empty in a snapshot.
    pub traceparent: String,
    offer_agent: Option<String>,
    overflowed: bool,
    passed_by: Vec<String>,
    deadline_at: Option<OffsetDateTime>,
    /// Everything that all callers see alike.
    base: DeskItem,
}

impl Item {
    /// Since when the customer waits: the order of queued items.
    pub(crate) fn waiting_since(&self) -> OffsetDateTime {
        self.waiting_since
    }

    /// Its place in the order of queued items.
    pub(crate) fn queued_place(&self) -> After {
        After { at: self.waiting_since, id: self.interaction }
    }

    /// True when it rings at the user: at him alone, at everyone, or since the overflow.
    pub(crate) fn rings_at(&self, user: &str) -> bool {
        if self.place != Place::Queued {
            return false;
        }
        let to_all = self.overflowed || (!self.base.offer_id.is_empty() && self.offer_agent.is_none());
        self.offer_agent.as_deref() == Some(user) || (to_all && !self.passed_by.iter().any(|one| one == user))
    }

    /// True when an offer is outstanding for the user alone.
    pub(crate) fn is_offered_to(&self, user: &str) -> bool {
        self.place == Place::Queued && self.offer_agent.as_deref() == Some(user)
    }

    /// The item as somebody sees it who watches and does not serve: it rings at others.
    pub(crate) fn overseen(&self) -> DeskItem {
        DeskItem { offer_id: String::new(), ..self.base.clone() }
    }

    /// The item as the user sees it.
    pub(crate) fn seen_by(&self, user: &str) -> DeskItem {
        let ringing = self.rings_at(user);
        let mine = ringing && self.offer_agent.as_deref().is_none_or(|agent| agent == user);
        DeskItem {
            ringing,
            offer_id: if mine { self.base.offer_id.clone() } else { String::new() },
            offer_deadline_at: self.deadline_at.filter(|_| mine).map(to_proto),
            ..self.base.clone()
        }
    }
}

/// Row of every query for items.
pub(super) struct ItemRow {
    pub interaction_id: Uuid,
    pub version: i64,
    pub attention_id: Uuid,
    pub number: i64,
    pub state: String,
    pub campaign_key: String,
    pub channel: String,
    pub direction: String,
    pub agent_key: Option<String>,
    pub customer_name: String,
    pub customer_address: String,
    pub subject: String,
    pub preview: String,
    pub last_message_at: OffsetDateTime,
    pub waiting_since: OffsetDateTime,
    pub offer_id: Option<Uuid>,
    pub offer_agent_key: Option<String>,
    pub offer_deadline_at: Option<OffsetDateTime>,
    pub overflowed: bool,
    pub passed_by: Vec<String>,
    pub vip: bool,
    pub priority: i32,
    pub message_count: i32,
    pub sender_verified: bool,
    pub tags: Vec<String>,
    pub account_key: String,
    pub window_ends_at: Option<OffsetDateTime>,
}

impl From<ItemRow> for Item {
    fn from(row: ItemRow) -> Self {
        let (place, state) = match (row.state.as_str(), row.agent_key) {
            ("queued", _) => (Place::Queued, InteractionState::Queued),
            ("open", Some(agent)) => (Place::OpenBy(agent), InteractionState::Open),
            _ => (Place::Gone, InteractionState::Ended),
        };
        let direction = if row.direction == "outbound" { Direction::Outbound } else { Direction::Inbound };
        Item {
            interaction: row.interaction_id,
            version: row.version,
            place,
            last_message_at: row.last_message_at,
            waiting_since: row.waiting_since,
            traceparent: String::new(),
            offer_agent: row.offer_agent_key,
            overflowed: row.overflowed,
            passed_by: row.passed_by,
            deadline_at: row.offer_deadline_at,
            base: DeskItem {
                interaction_id: row.interaction_id.to_string(),
                version: row.version,
                attention_id: row.attention_id.to_string(),
                attention_number: row.number,
                state: state.into(),
                campaign_key: row.campaign_key.clone(),
                channel: row.channel.clone(),
                direction: direction.into(),
                subject: row.subject,
                preview: row.preview,
                last_message_at: Some(to_proto(row.last_message_at)),
                waiting_since: Some(to_proto(row.waiting_since)),
                ringing: false,
                offer_deadline_at: None,
                vip: row.vip,
                priority: row.priority,
                customer_name: row.customer_name.clone(),
                customer_address: row.customer_address.clone(),
                initials: initials(&row.customer_name, &row.customer_address),
                tags: row.tags,
                account_key: row.account_key,
                window_ends_at: row.window_ends_at.map(to_proto),
                message_count: row.message_count,
                offer_id: row.offer_id.map(|id| id.to_string()).unwrap_or_default(),
                sender_verified: row.sender_verified,
            },
            campaign: row.campaign_key,
            channel: row.channel,
        }
    }
}

/// Items by their ids, whatever their state.
pub(crate) async fn by_ids(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Item>, Error> {
    let rows = sqlx::query_as!(
        ItemRow,
        "SELECT i.interaction_id, i.version, i.attention_id, a.number, i.state, i.campaign_key, i.channel, i.direction,
           i.agent_key, c.name AS customer_name, a.customer_address, a.subject, i.preview, i.last_message_at,
           i.waiting_since, i.offer_id, i.offer_agent_key, i.offer_deadline_at, i.overflowed, i.passed_by, c.vip,
           i.priority, i.message_count, i.sender_verified, a.tags, a.account_key, a.window_ends_at
         FROM attention.interaction i JOIN attention.attention a USING (attention_id)
           JOIN contact.contact c USING (contact_id)
         WHERE i.interaction_id = ANY($1)",
        ids
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(Item::from).collect())
}

/// A place in a list: after this instant and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct After {
    pub at: OffsetDateTime,
    pub id: Uuid,
}

/// Queued items of campaigns, newest first. Campaign by campaign along its index, so that a page costs the same however
/// many wait. What belongs to an item is looked up item by item: a join of this many is planned as a read of all attentions.
pub(crate) async fn queued(
    tx: &mut PgConnection,
    campaigns: &[String],
    channel: &str,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<Item>, Error> {
    let rows = sqlx::query_as!(
        ItemRow,
        "SELECT i.interaction_id, i.version, i.attention_id, a.number, i.state, i.campaign_key, i.channel, i.direction,
           i.agent_key, c.name AS customer_name, a.customer_address, a.subject, i.preview, i.last_message_at,
           i.waiting_since, i.offer_id, i.offer_agent_key, i.offer_deadline_at, i.overflowed, i.passed_by, c.vip,
           i.priority, i.message_count, i.sender_verified, a.tags, a.account_key, a.window_ends_at
         FROM unnest($1::text[]) AS mine(campaign_key)
         CROSS JOIN LATERAL (
           SELECT * FROM attention.interaction q
           WHERE q.campaign_key = mine.campaign_key AND q.state = 'queued' AND q.channel = $2
             AND ($3::timestamptz IS NULL OR (q.waiting_since, q.interaction_id) < ($3, $4::uuid))
           ORDER BY q.waiting_since DESC, q.interaction_id DESC LIMIT $5) AS i
         CROSS JOIN LATERAL (SELECT * FROM attention.attention WHERE attention_id = i.attention_id LIMIT 1) AS a
         CROSS JOIN LATERAL (SELECT * FROM contact.contact WHERE contact_id = a.contact_id LIMIT 1) AS c
         ORDER BY i.waiting_since DESC, i.interaction_id DESC LIMIT $5",
        campaigns,
        channel,
        after.map(|after| after.at),
        after.map(|after| after.id),
        limit
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(Item::from).collect())
}

/// Queued items that ring at one agent alone, at most `limit`, however long they have waited.
pub(crate) async fn offered(
    tx: &mut PgConnection,
    agent: &str,
    channel: &str,
    limit: i64,
) -> Result<Vec<Item>, Error> {
    let rows = sqlx::query_as!(
        ItemRow,
        "SELECT i.interaction_id, i.version, i.attention_id, a.number, i.state, i.campaign_key, i.channel, i.direction,
           i.agent_key, c.name AS customer_name, a.customer_address, a.subject, i.preview, i.last_message_at,
           i.waiting_since, i.offer_id, i.offer_agent_key, i.offer_deadline_at, i.overflowed, i.passed_by, c.vip,
           i.priority, i.message_count, i.sender_verified, a.tags, a.account_key, a.window_ends_at
         FROM attention.interaction i
         CROSS JOIN LATERAL (SELECT * FROM attention.attention WHERE attention_id = i.attention_id LIMIT 1) AS a
         CROSS JOIN LATERAL (SELECT * FROM contact.contact WHERE contact_id = a.contact_id LIMIT 1) AS c
         WHERE i.offer_agent_key = $1 AND i.state = 'queued' AND i.channel = $2
         ORDER BY i.waiting_since DESC, i.interaction_id DESC LIMIT $3",
        agent,
        channel,
        limit
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(Item::from).collect())
}

/// Open items of an agent, newest first; with a search those of which the customer's name, address or number, the
/// subject or a tag holds the words, accents and case ignored.
pub(crate) async fn open(
    tx: &mut PgConnection,
    agent: &str,
    channel: &str,
    search: &str,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<Item>, Error> {
    let words = if search.is_empty() { None } else { Some(search) };
    let digits = words.and_then(contact::domain::digits_of).filter(|digits| digits.len() >= 3);
    let rows = sqlx::query_as!(
        ItemRow,
        "SELECT i.interaction_id, i.version, i.attention_id, a.number, i.state, i.campaign_key, i.channel, i.direction,
           i.agent_key, c.name AS customer_name, a.customer_address, a.subject, i.preview, i.last_message_at,
           i.waiting_since, i.offer_id, i.offer_agent_key, i.offer_deadline_at, i.overflowed, i.passed_by, c.vip,
           i.priority, i.message_count, i.sender_verified, a.tags, a.account_key, a.window_ends_at
         FROM attention.interaction i JOIN attention.attention a USING (attention_id)
           JOIN contact.contact c USING (contact_id)
         WHERE i.agent_key = $1 AND i.state = 'open' AND i.channel = $2
           AND ($3::text IS NULL OR c.name_folded LIKE contact.part($3)
             OR contact.folded(a.subject) LIKE contact.part($3)
             OR contact.folded(a.customer_address) LIKE contact.part($3)
             OR EXISTS (SELECT 1 FROM contact.identity n WHERE n.contact_id = c.contact_id
               AND (n.value_folded LIKE contact.part($3) OR (n.kind = 'phone' AND n.value_folded LIKE contact.part($7))))
             OR EXISTS (SELECT 1 FROM unnest(a.tags) AS own(tag_key) LEFT JOIN directory.tag USING (tag_key)
               WHERE contact.folded(coalesce(tag.name, own.tag_key)) LIKE contact.part($3)))
           AND ($4::timestamptz IS NULL OR (i.last_message_at, i.interaction_id) < ($4, $5::uuid))
         ORDER BY i.last_message_at DESC, i.interaction_id DESC LIMIT $6",
        agent,
        channel,
        words,
        after.map(|after| after.at),
        after.map(|after| after.id),
        limit,
        digits
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(Item::from).collect())
}

/// How many items each campaign has in its queue, per channel: rows of (campaign, channel, count).
pub(crate) async fn queue_lengths(tx: &mut PgConnection) -> Result<Vec<(String, String, i64)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT campaign_key, channel, count(*) AS "waiting!" FROM attention.interaction WHERE state = 'queued'
           GROUP BY campaign_key, channel"#
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.campaign_key, row.channel, row.waiting)).collect())
}

/// Counters of one caller: open items of his, queued ones of his campaigns.
pub(crate) async fn counters(
    tx: &mut PgConnection,
    agent: &str,
    campaigns: &[String],
    channel: &str,
) -> Result<(i64, i64), Error> {
    let row = sqlx::query!(
        r#"SELECT
             (SELECT count(*) FROM attention.interaction
              WHERE agent_key = $1 AND state = 'open' AND channel = $3) AS "open!",
             (SELECT count(*) FROM attention.interaction
              WHERE campaign_key = ANY($2) AND state = 'queued' AND channel = $3) AS "queued!""#,
        agent,
        campaigns,
        channel
    )
    .fetch_one(tx)
    .await?;
    Ok((row.open, row.queued))
}
