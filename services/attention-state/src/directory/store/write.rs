//! Stores what an apply changed, in few multi-row statements. Nothing is deleted but memberships.

use hilo_kit::Error;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::catalogue;
use crate::directory::domain::diff::Changed;
use crate::directory::domain::key::{CampaignKey, FormKey, UserKey};
use crate::directory::domain::model::{Account, Campaign, Directory, Form, User};

/// Locks the directory for one apply and answers its version.
///
/// # Errors
/// Database errors.
pub async fn lock(tx: &mut PgConnection) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!("SELECT version FROM directory.state FOR UPDATE").fetch_one(tx).await?)
}

/// Those of the time zones that PostgreSQL does not know by their IANA names.
///
/// # Errors
/// Database errors.
pub async fn unknown_time_zones(conn: &mut PgConnection, names: &[String]) -> Result<Vec<String>, Error> {
    let unknown = sqlx::query_scalar!(
        r#"SELECT given AS "given!" FROM unnest($1::text[]) AS given
           WHERE given NOT IN (SELECT name FROM pg_timezone_names)"#,
        names,
    );
    Ok(unknown.fetch_all(conn).await?)
}

/// Writes the changed entries.
///
/// # Errors
/// Database errors.
pub async fn entries(tx: &mut PgConnection, next: &Directory, changed: &Changed) -> Result<(), Error> {
    forms(tx, next.forms.iter().filter(|one| changed.forms.contains(one.key.as_str()))).await?;
    users(tx, next.users.iter().filter(|one| changed.users.contains(one.key.as_str()))).await?;
    campaigns(tx, next.campaigns.iter().filter(|one| changed.campaigns.contains(one.key.as_str()))).await?;
    catalogue::write(tx, next, changed).await?;
    accounts(tx, next.accounts.iter().filter(|one| changed.accounts.contains(one.key.as_str()))).await
}

async fn forms(tx: &mut PgConnection, forms: impl Iterator<Item = &Form>) -> Result<(), Error> {
    let rows: Vec<Value> = forms
        .map(|one| json!({"form_key": one.key.as_str(), "version": one.version, "title": one.title, "fields": one.fields}))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows = Value::Array(rows);
    sqlx::query!(
        "INSERT INTO directory.form (form_key, current_version)
         SELECT form_key, version FROM jsonb_to_recordset($1) AS given (form_key text, version integer)
         ON CONFLICT (form_key) DO UPDATE SET current_version = excluded.current_version",
        rows,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "INSERT INTO directory.form_version (form_key, version, title, fields)
         SELECT form_key, version, title, fields
         FROM jsonb_to_recordset($1) AS given (form_key text, version integer, title text, fields jsonb)",
        rows,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn users(tx: &mut PgConnection, users: impl Iterator<Item = &User>) -> Result<(), Error> {
    let rows: Vec<Value> = users
        .map(|one| {
            json!({
                "user_key": one.key.as_str(),
                "name": one.name,
                "roles": one.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
                "campaign_keys": one.campaigns.iter().map(CampaignKey::as_str).collect::<Vec<_>>(),
                "active": one.active,
                "email_capacity": one.email_capacity,
                "whatsapp_capacity": one.whatsapp_capacity,
                "skills": one.skills,
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO directory.app_user SELECT * FROM jsonb_populate_recordset(NULL::directory.app_user, $1)
         ON CONFLICT (user_key) DO UPDATE SET name = excluded.name, roles = excluded.roles,
             campaign_keys = excluded.campaign_keys, active = excluded.active,
             email_capacity = excluded.email_capacity, whatsapp_capacity = excluded.whatsapp_capacity,
             skills = excluded.skills",
        Value::Array(rows),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn campaigns(tx: &mut PgConnection, campaigns: impl Iterator<Item = &Campaign>) -> Result<(), Error> {
    let rows: Vec<Value> = campaigns
        .map(|one| {
            json!({
                "campaign_key": one.key.as_str(),
                "name": one.name,
                "description": one.description,
                "channel": one.channel.as_str(),
                "assignment_mode": one.assignment_mode.as_str(),
                "accept_timeout_seconds": one.accept_timeout_seconds,
                "overflow_seconds": one.overflow_seconds,
                "overflow_mode": one.overflow_mode.as_str(),
                "overflow_campaign_key": one.overflow_campaign.as_ref().map(CampaignKey::as_str),
                "inbound_form_key": one.inbound_form.as_ref().map(FormKey::as_str),
                "outbound_form_key": one.outbound_form.as_ref().map(FormKey::as_str),
                "signature": one.signature,
                "orphan_timeout_seconds": one.orphan_timeout_seconds,
                "service_level_seconds": one.service_level_seconds,
                "hours": one.hours,
                "required_skills": one.selection.required_skills,
                "relaxation": one.selection.relaxation,
                "ageing_seconds": one.selection.ageing_seconds,
                "vip_bonus": one.selection.vip_bonus,
                "item_weight": one.selection.item_weight,
                "preferred_agent_seconds": one.selection.preferred_agent_seconds,
                "active": one.active,
                "member_keys": one.members.iter().map(UserKey::as_str).collect::<Vec<_>>(),
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows = Value::Array(rows);
    sqlx::query!(
        "INSERT INTO directory.campaign SELECT * FROM jsonb_populate_recordset(NULL::directory.campaign, $1)
         ON CONFLICT (campaign_key) DO UPDATE SET name = excluded.name, description = excluded.description,
             channel = excluded.channel, assignment_mode = excluded.assignment_mode,
             accept_timeout_seconds = excluded.accept_timeout_seconds, overflow_seconds = excluded.overflow_seconds,
             overflow_mode = excluded.overflow_mode, overflow_campaign_key = excluded.overflow_campaign_key,
             inbound_form_key = excluded.inbound_form_key, outbound_form_key = excluded.outbound_form_key,
             signature = excluded.signature, active = excluded.active, member_keys = excluded.member_keys,
             orphan_timeout_seconds = excluded.orphan_timeout_seconds,
             service_level_seconds = excluded.service_level_seconds, hours = excluded.hours,
             required_skills = excluded.required_skills, relaxation = excluded.relaxation,
             ageing_seconds = excluded.ageing_seconds, vip_bonus = excluded.vip_bonus,
             item_weight = excluded.item_weight, preferred_agent_seconds = excluded.preferred_agent_seconds",
        rows,
    )
    .execute(&mut *tx)
    .await?;
    members(tx, &rows).await
}

/// Brings the relation in line with the campaigns' lists.
async fn members(tx: &mut PgConnection, campaigns: &Value) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM directory.campaign_member AS member
         USING jsonb_to_recordset($1) AS given (campaign_key text, member_keys text[])
         WHERE member.campaign_key = given.campaign_key AND NOT member.user_key = ANY(given.member_keys)",
        campaigns,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "INSERT INTO directory.campaign_member (campaign_key, user_key)
         SELECT campaign_key, unnest(member_keys)
         FROM jsonb_to_recordset($1) AS given (campaign_key text, member_keys text[])
         ON CONFLICT DO NOTHING",
        campaigns,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn accounts(tx: &mut PgConnection, accounts: impl Iterator<Item = &Account>) -> Result<(), Error> {
    let rows: Vec<Value> = accounts
        .map(|one| {
            json!({
                "account_key": one.key.as_str(),
                "channel": one.channel.as_str(),
                "address": one.address,
                "display_name": one.display_name,
                "accept_unauthenticated_replies": one.accept_unauthenticated_replies,
                "imap": one.imap,
                "smtp": one.smtp,
                "whatsapp": one.whatsapp,
                "active": one.active,
                "campaign_key": one.campaign.as_ref().map(CampaignKey::as_str),
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> =
        rows.iter().filter_map(|row| row.get("account_key")?.as_str().map(str::to_owned)).collect();
    // Two accounts may exchange their addresses in one apply; the unique index sees each row as it is written.
    sqlx::query!("UPDATE directory.account SET active = false WHERE account_key = ANY($1)", &keys)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "INSERT INTO directory.account SELECT * FROM jsonb_populate_recordset(NULL::directory.account, $1)
         ON CONFLICT (account_key) DO UPDATE SET channel = excluded.channel, address = excluded.address,
             display_name = excluded.display_name,
             accept_unauthenticated_replies = excluded.accept_unauthenticated_replies, imap = excluded.imap,
             smtp = excluded.smtp, whatsapp = excluded.whatsapp, active = excluded.active, campaign_key = excluded.campaign_key",
        Value::Array(rows),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Raises the version and leaves the trail.
///
/// # Errors
/// Database errors.
pub async fn finish(
    tx: &mut PgConnection,
    version: i64,
    time_zone: &str,
    by: &str,
    digest: &[u8],
    differences: &[String],
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO directory.applied (version, applied_by, text_sha256, differences) VALUES ($1, $2, $3, $4)",
        version,
        by,
        digest,
        differences,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE directory.state SET version = $1, time_zone = $2, changed_at = now()",
        version,
        time_zone
    )
    .execute(tx)
    .await?;
    Ok(())
}
