//! Loads the whole directory. Under one snapshot or the state row's lock, so that its parts fit each other.

use std::str::FromStr;

use hilo_kit::Error;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::catalogue;
use crate::directory::domain::hours::Hours;
use crate::directory::domain::key::{AccountKey, CampaignKey, FormKey, UserKey};
use crate::directory::domain::model::{
    Account, AssignmentMode, Campaign, Channel, Directory, Form, FormField, MailServer, OverflowMode, Role,
    User,
};
use crate::directory::domain::selection::{Relaxation, Selection, SkillLevel};
use crate::directory::domain::whatsapp::WhatsAppNumber;

/// A stored word that its CHECK constraint allows but this binary does not know.
fn corrupt(what: &'static str) -> Error {
    Error::corrupt("UNKNOWN_WORD", format!("a stored {what} is not known"))
}

macro_rules! from_str {
    ($($name:ident),+) => {
        $(impl FromStr for $name {
            type Err = Error;
            fn from_str(word: &str) -> Result<Self, Error> {
                $name::parse(word).ok_or_else(|| corrupt(stringify!($name)))
            }
        })+
    };
}
from_str!(Channel, AssignmentMode, OverflowMode, Role);

/// The version in force.
///
/// # Errors
/// Database errors.
pub async fn version(conn: &mut PgConnection) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!("SELECT version FROM directory.state").fetch_one(conn).await?)
}

/// Every time zone in force.
///
/// # Errors
/// Database errors.
pub async fn time_zones(conn: &mut PgConnection) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        r#"SELECT time_zone AS "zone!" FROM directory.state
           UNION SELECT hours ->> 'time_zone' FROM directory.campaign WHERE hours ->> 'time_zone' IS NOT NULL"#
    )
    .fetch_all(conn)
    .await?)
}

/// Version and directory. Call it in a snapshot or under the state row's lock.
///
/// # Errors
/// Database errors.
pub async fn directory(conn: &mut PgConnection) -> Result<(i64, Directory), Error> {
    let state = sqlx::query!("SELECT version, time_zone FROM directory.state").fetch_one(&mut *conn).await?;
    let directory = Directory {
        time_zone: state.time_zone,
        accounts: accounts(conn).await?,
        campaigns: campaigns(conn).await?,
        users: users(conn).await?,
        forms: forms(conn).await?,
        tags: catalogue::tags(conn).await?,
        quick_replies: catalogue::quick_replies(conn).await?,
        contact_fields: catalogue::contact_fields(conn).await?,
    };
    Ok((state.version, directory))
}

async fn accounts(conn: &mut PgConnection) -> Result<Vec<Account>, Error> {
    let rows = sqlx::query!(
        r#"SELECT account_key, channel, address, display_name, accept_unauthenticated_replies,
               imap AS "imap: Json<MailServer>", smtp AS "smtp: Json<MailServer>",
               whatsapp AS "whatsapp: Json<WhatsAppNumber>", active, campaign_key
           FROM directory.account ORDER BY account_key COLLATE "C""#
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Account {
                key: AccountKey::unchecked(row.account_key),
                channel: row.channel.parse()?,
                address: row.address,
                display_name: row.display_name,
                accept_unauthenticated_replies: row.accept_unauthenticated_replies,
                imap: row.imap.map(|one| one.0),
                smtp: row.smtp.map(|one| one.0),
                whatsapp: row.whatsapp.map(|one| one.0),
                active: row.active,
                campaign: row.campaign_key.map(CampaignKey::unchecked),
            })
        })
        .collect()
}

/// A campaign as its row holds it.
pub(super) struct CampaignRow {
    pub campaign_key: String,
    pub name: String,
    pub description: String,
    pub channel: String,
    pub assignment_mode: String,
    pub accept_timeout_seconds: i32,
    pub overflow_seconds: i32,
    pub overflow_mode: String,
    pub overflow_campaign_key: Option<String>,
    pub inbound_form_key: Option<String>,
    pub outbound_form_key: Option<String>,
    pub signature: String,
    pub active: bool,
    pub member_keys: Vec<String>,
    pub orphan_timeout_seconds: Option<i32>,
    pub service_level_seconds: Option<i32>,
    pub hours: Option<Json<Hours>>,
    pub required_skills: Option<Json<Vec<SkillLevel>>>,
    pub relaxation: Option<Json<Vec<Relaxation>>>,
    pub ageing_seconds: Option<i32>,
    pub vip_bonus: Option<i32>,
    pub item_weight: Option<i32>,
    pub preferred_agent_seconds: Option<i32>,
}

impl CampaignRow {
    pub(super) fn into_campaign(self) -> Result<Campaign, Error> {
        Ok(Campaign {
            key: CampaignKey::unchecked(self.campaign_key),
            name: self.name,
            description: self.description,
            channel: self.channel.parse()?,
            members: self.member_keys.into_iter().map(UserKey::unchecked).collect(),
            assignment_mode: self.assignment_mode.parse()?,
            accept_timeout_seconds: self.accept_timeout_seconds,
            overflow_seconds: self.overflow_seconds,
            overflow_mode: self.overflow_mode.parse()?,
            overflow_campaign: self.overflow_campaign_key.map(CampaignKey::unchecked),
            inbound_form: self.inbound_form_key.map(FormKey::unchecked),
            outbound_form: self.outbound_form_key.map(FormKey::unchecked),
            signature: self.signature,
            orphan_timeout_seconds: self.orphan_timeout_seconds.unwrap_or_default(),
            service_level_seconds: self.service_level_seconds.unwrap_or_default(),
            hours: self.hours.map(|one| one.0),
            selection: Selection {
                required_skills: self.required_skills.map(|one| one.0).unwrap_or_default(),
                relaxation: self.relaxation.map(|one| one.0).unwrap_or_default(),
                ageing_seconds: self.ageing_seconds.unwrap_or_default(),
                vip_bonus: self.vip_bonus.unwrap_or_default(),
                item_weight: self.item_weight.unwrap_or(1),
                preferred_agent_seconds: self.preferred_agent_seconds.unwrap_or_default(),
            },
            active: self.active,
        })
    }
}

async fn campaigns(conn: &mut PgConnection) -> Result<Vec<Campaign>, Error> {
    let rows = sqlx::query_as!(
        CampaignRow,
        r#"SELECT campaign_key, name, description, channel, assignment_mode, accept_timeout_seconds, overflow_seconds,
               overflow_mode, overflow_campaign_key, inbound_form_key, outbound_form_key, signature, active, member_keys,
               orphan_timeout_seconds, service_level_seconds, hours AS "hours: Json<Hours>",
               required_skills AS "required_skills: Json<Vec<SkillLevel>>", relaxation AS "relaxation: Json<Vec<Relaxation>>",
               ageing_seconds, vip_bonus, item_weight, preferred_agent_seconds
           FROM directory.campaign ORDER BY campaign_key COLLATE "C""#
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(CampaignRow::into_campaign).collect()
}

async fn users(conn: &mut PgConnection) -> Result<Vec<User>, Error> {
    let rows = sqlx::query!(
        r#"SELECT user_key, name, roles, campaign_keys, active, email_capacity, whatsapp_capacity,
               skills AS "skills: Json<Vec<SkillLevel>>"
           FROM directory.app_user ORDER BY user_key COLLATE "C""#
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(User {
                key: UserKey::unchecked(row.user_key),
                name: row.name,
                roles: row.roles.iter().map(|one| one.parse()).collect::<Result<_, _>>()?,
                campaigns: row.campaign_keys.into_iter().map(CampaignKey::unchecked).collect(),
                active: row.active,
                email_capacity: row.email_capacity,
                whatsapp_capacity: row.whatsapp_capacity,
                skills: row.skills.map(|one| one.0).unwrap_or_default(),
            })
        })
        .collect()
}

async fn forms(conn: &mut PgConnection) -> Result<Vec<Form>, Error> {
    let rows = sqlx::query!(
        r#"SELECT form_key, version, title, fields AS "fields: Json<Vec<FormField>>", created_at
           FROM directory.form JOIN directory.form_version USING (form_key)
           WHERE version = current_version ORDER BY form_key COLLATE "C""#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Form {
            key: FormKey::unchecked(row.form_key),
            version: row.version,
            title: row.title,
            fields: row.fields.0,
            created_at: row.created_at,
        })
        .collect())
}
