//! Rows of tags, quick replies and extra fields of contacts.

use std::collections::BTreeSet;

use hilo_kit::Error;
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use crate::directory::domain::catalogue::{ContactField, QuickReply, Tag};
use crate::directory::domain::diff::Changed;
use crate::directory::domain::hours::{Hours, open_at};
use crate::directory::domain::key::{CampaignKey, QuickReplyKey, TagKey};
use crate::directory::domain::model::{Directory, FormField};

struct TagRow {
    tag_key: String,
    name: String,
    color: String,
    campaign_keys: Vec<String>,
    active: bool,
}

impl From<TagRow> for Tag {
    fn from(row: TagRow) -> Self {
        Self {
            key: TagKey::unchecked(row.tag_key),
            name: row.name,
            color: row.color,
            campaigns: scope(row.campaign_keys),
            active: row.active,
        }
    }
}

struct QuickReplyRow {
    quick_reply_key: String,
    title: String,
    text_body: String,
    html_body: String,
    campaign_keys: Vec<String>,
    active: bool,
}

impl From<QuickReplyRow> for QuickReply {
    fn from(row: QuickReplyRow) -> Self {
        Self {
            key: QuickReplyKey::unchecked(row.quick_reply_key),
            title: row.title,
            text: row.text_body,
            html: row.html_body,
            campaigns: scope(row.campaign_keys),
            active: row.active,
        }
    }
}

fn scope(keys: Vec<String>) -> BTreeSet<CampaignKey> {
    keys.into_iter().map(CampaignKey::unchecked).collect()
}

/// Every tag by key, also those switched off.
///
/// # Errors
/// Database errors.
pub async fn tags(conn: &mut PgConnection) -> Result<Vec<Tag>, Error> {
    let rows = sqlx::query_as!(
        TagRow,
        r#"SELECT tag_key, name, color, campaign_keys, active FROM directory.tag ORDER BY tag_key COLLATE "C""#
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(Tag::from).collect())
}

/// One tag, also one that was switched off.
///
/// # Errors
/// Database errors.
pub async fn tag(conn: &mut PgConnection, key: &str) -> Result<Option<Tag>, Error> {
    let row = sqlx::query_as!(
        TagRow,
        "SELECT tag_key, name, color, campaign_keys, active FROM directory.tag WHERE tag_key = $1",
        key,
    );
    Ok(row.fetch_optional(conn).await?.map(Tag::from))
}

/// Every quick reply by key, also those switched off.
///
/// # Errors
/// Database errors.
pub async fn quick_replies(conn: &mut PgConnection) -> Result<Vec<QuickReply>, Error> {
    let rows = sqlx::query_as!(
        QuickReplyRow,
        r#"SELECT quick_reply_key, title, text_body, html_body, campaign_keys, active
           FROM directory.quick_reply ORDER BY quick_reply_key COLLATE "C""#
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(QuickReply::from).collect())
}

/// One quick reply, also one that was switched off.
///
/// # Errors
/// Database errors.
pub async fn quick_reply(conn: &mut PgConnection, key: &str) -> Result<Option<QuickReply>, Error> {
    let row = sqlx::query_as!(
        QuickReplyRow,
        "SELECT quick_reply_key, title, text_body, html_body, campaign_keys, active
         FROM directory.quick_reply WHERE quick_reply_key = $1",
        key,
    );
    Ok(row.fetch_optional(conn).await?.map(QuickReply::from))
}

/// The extra fields of contacts in their order, those switched off last.
///
/// # Errors
/// Database errors.
pub async fn contact_fields(conn: &mut PgConnection) -> Result<Vec<ContactField>, Error> {
    let rows = sqlx::query!(
        r#"SELECT field AS "field: Json<FormField>", active FROM directory.contact_field
           ORDER BY position, field_key COLLATE "C""#
    );
    let rows = rows.fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| ContactField { field: row.field.0, active: row.active }).collect())
}

/// IANA time zone of the installation.
///
/// # Errors
/// Database errors.
pub async fn time_zone(conn: &mut PgConnection) -> Result<String, Error> {
    Ok(sqlx::query_scalar!("SELECT time_zone FROM directory.state").fetch_one(conn).await?)
}

/// Hours of a campaign with all that is needed to use them.
#[derive(Clone, Debug)]
pub struct Closing {
    hours: Hours,
    time_zone: String,
}

impl Closing {
    /// True when the campaign is open at the instant.
    pub fn is_open(&self, instant: OffsetDateTime) -> bool {
        open_at(&self.hours, &self.time_zone, instant)
    }

    /// True when it has a text to answer with.
    pub fn replies(&self) -> bool {
        !self.hours.automatic_reply.is_empty()
    }
}

/// Hours of those of the campaigns that have some.
///
/// # Errors
/// Database errors.
pub async fn closings(
    conn: &mut PgConnection,
    campaigns: &[String],
) -> Result<Vec<(String, Closing)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT campaign_key, hours AS "hours!: Json<Hours>", (SELECT time_zone FROM directory.state) AS "time_zone!"
           FROM directory.campaign WHERE campaign_key = ANY($1) AND hours IS NOT NULL"#,
        campaigns
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    Ok(rows.map(|row| (row.campaign_key, Closing { hours: row.hours.0, time_zone: row.time_zone })).collect())
}

/// Writes the changed entries.
///
/// # Errors
/// Database errors.
pub async fn write(tx: &mut PgConnection, next: &Directory, changed: &Changed) -> Result<(), Error> {
    write_tags(tx, next.tags.iter().filter(|one| changed.tags.contains(one.key.as_str()))).await?;
    let replies = next.quick_replies.iter().filter(|one| changed.quick_replies.contains(one.key.as_str()));
    write_quick_replies(tx, replies).await?;
    let fields = next.contact_fields.iter().enumerate();
    write_contact_fields(tx, fields.filter(|(_, one)| changed.contact_fields.contains(one.key()))).await
}

fn keys(scope: &BTreeSet<CampaignKey>) -> Vec<&str> {
    scope.iter().map(CampaignKey::as_str).collect()
}

async fn write_tags(tx: &mut PgConnection, tags: impl Iterator<Item = &Tag>) -> Result<(), Error> {
    let rows: Vec<Value> = tags
        .map(|one| {
            json!({"tag_key": one.key.as_str(), "name": one.name, "color": one.color,
                "campaign_keys": keys(&one.campaigns), "active": one.active})
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO directory.tag SELECT * FROM jsonb_populate_recordset(NULL::directory.tag, $1)
         ON CONFLICT (tag_key) DO UPDATE SET name = excluded.name, color = excluded.color,
             campaign_keys = excluded.campaign_keys, active = excluded.active",
        Value::Array(rows),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn write_quick_replies(
    tx: &mut PgConnection,
    replies: impl Iterator<Item = &QuickReply>,
) -> Result<(), Error> {
    let rows: Vec<Value> = replies
        .map(|one| {
            json!({"quick_reply_key": one.key.as_str(), "title": one.title, "text_body": one.text,
                "html_body": one.html, "campaign_keys": keys(&one.campaigns), "active": one.active})
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO directory.quick_reply
         SELECT * FROM jsonb_populate_recordset(NULL::directory.quick_reply, $1)
         ON CONFLICT (quick_reply_key) DO UPDATE SET title = excluded.title, text_body = excluded.text_body,
             html_body = excluded.html_body, campaign_keys = excluded.campaign_keys, active = excluded.active",
        Value::Array(rows),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn write_contact_fields(
    tx: &mut PgConnection,
    fields: impl Iterator<Item = (usize, &ContactField)>,
) -> Result<(), Error> {
    let rows: Vec<Value> = fields
        .map(|(position, one)| {
            json!({"field_key": one.key(), "position": position, "field": one.field, "active": one.active})
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO directory.contact_field
         SELECT * FROM jsonb_populate_recordset(NULL::directory.contact_field, $1)
         ON CONFLICT (field_key) DO UPDATE SET position = excluded.position, field = excluded.field,
             active = excluded.active",
        Value::Array(rows),
    )
    .execute(tx)
    .await?;
    Ok(())
}
