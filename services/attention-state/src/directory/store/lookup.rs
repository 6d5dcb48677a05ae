//! Single questions of other modules, inside their transactions.

use std::collections::BTreeSet;

use hilo_kit::Error;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::read::CampaignRow;
use crate::directory::domain::hours::Hours;
use crate::directory::domain::key::FormKey;
use crate::directory::domain::model::{Campaign, Channel, Form, FormField, Role};
use crate::directory::domain::selection::{Relaxation, SkillLevel};

/// What a user may do, as the directory says it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Key.
    pub user_key: String,
    /// Name.
    pub name: String,
    /// False may do nothing.
    pub active: bool,
    /// Roles.
    pub roles: BTreeSet<Role>,
    /// Campaigns the user is a member of, by key.
    pub member_of: Vec<String>,
    /// Campaigns he may see: those he is a member of, and those he was given as supervisor, reporter or monitor.
    pub campaigns: BTreeSet<String>,
}

impl Access {
    /// True when active and in the role.
    pub fn has(&self, role: Role) -> bool {
        self.active && self.roles.contains(&role)
    }

    /// True when the user may see what belongs to the campaign; a coordinator sees all.
    pub fn may_see(&self, campaign_key: &str) -> bool {
        self.active && (self.roles.contains(&Role::Coordinator) || self.campaigns.contains(campaign_key))
    }

    /// True when the user may move the campaign's items by hand: a supervisor who was given it, or a coordinator.
    pub fn may_direct(&self, campaign_key: &str) -> bool {
        self.has(Role::Coordinator) || (self.has(Role::Supervisor) && self.campaigns.contains(campaign_key))
    }

    /// True when the user serves the campaign's customers: an active agent who is a member.
    pub fn may_serve(&self, campaign_key: &str) -> bool {
        self.has(Role::Agent) && self.member_of.iter().any(|one| one == campaign_key)
    }
}

/// The campaign an account's inbound messages enter; `None` when the account is unknown.
///
/// # Errors
/// Database errors.
pub async fn campaign_for_account(
    conn: &mut PgConnection,
    account_key: &str,
) -> Result<Option<Campaign>, Error> {
    let row = sqlx::query_as!(
        CampaignRow,
        r#"SELECT campaign.campaign_key, name, description, campaign.channel, assignment_mode, accept_timeout_seconds,
             overflow_seconds, overflow_mode, overflow_campaign_key, inbound_form_key, outbound_form_key, signature,
             campaign.active, member_keys, orphan_timeout_seconds, service_level_seconds, hours AS "hours: Json<Hours>",
             required_skills AS "required_skills: Json<Vec<SkillLevel>>", relaxation AS "relaxation: Json<Vec<Relaxation>>",
             ageing_seconds, vip_bonus, item_weight, preferred_agent_seconds
         FROM directory.account JOIN directory.campaign ON campaign.campaign_key = account.campaign_key
         WHERE account_key = $1"#,
        account_key,
    )
    .fetch_optional(conn)
    .await?;
    row.map(CampaignRow::into_campaign).transpose()
}

/// Which campaigns these accounts feed: pairs of account and campaign. An account that feeds none is left out.
///
/// # Errors
/// Database errors.
pub async fn campaigns_of_accounts(
    conn: &mut PgConnection,
    accounts: &[String],
) -> Result<Vec<(String, String)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT account_key, campaign_key AS "campaign_key!" FROM directory.account
           WHERE account_key = ANY($1) AND campaign_key IS NOT NULL"#,
        accounts
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.account_key, row.campaign_key)).collect())
}

/// A campaign, active or not.
///
/// # Errors
/// Database errors.
pub async fn campaign(conn: &mut PgConnection, key: &str) -> Result<Option<Campaign>, Error> {
    let row = sqlx::query_as!(
        CampaignRow,
        r#"SELECT campaign_key, name, description, channel, assignment_mode, accept_timeout_seconds, overflow_seconds,
             overflow_mode, overflow_campaign_key, inbound_form_key, outbound_form_key, signature, active, member_keys,
             orphan_timeout_seconds, service_level_seconds, hours AS "hours: Json<Hours>",
             required_skills AS "required_skills: Json<Vec<SkillLevel>>", relaxation AS "relaxation: Json<Vec<Relaxation>>",
             ageing_seconds, vip_bonus, item_weight, preferred_agent_seconds
         FROM directory.campaign WHERE campaign_key = $1"#,
        key,
    )
    .fetch_optional(conn)
    .await?;
    row.map(CampaignRow::into_campaign).transpose()
}

/// Several campaigns at once, in no order.
///
/// # Errors
/// Database errors.
pub async fn campaigns(conn: &mut PgConnection, keys: &[String]) -> Result<Vec<Campaign>, Error> {
    let rows = sqlx::query_as!(
        CampaignRow,
        r#"SELECT campaign_key, name, description, channel, assignment_mode, accept_timeout_seconds, overflow_seconds,
             overflow_mode, overflow_campaign_key, inbound_form_key, outbound_form_key, signature, active, member_keys,
             orphan_timeout_seconds, service_level_seconds, hours AS "hours: Json<Hours>",
             required_skills AS "required_skills: Json<Vec<SkillLevel>>", relaxation AS "relaxation: Json<Vec<Relaxation>>",
             ageing_seconds, vip_bonus, item_weight, preferred_agent_seconds
         FROM directory.campaign WHERE campaign_key = ANY($1)"#,
        keys,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(CampaignRow::into_campaign).collect()
}

/// A form at a version, or as it is now.
///
/// # Errors
/// Database errors.
pub async fn form(conn: &mut PgConnection, key: &str, version: Option<i32>) -> Result<Option<Form>, Error> {
    let row = sqlx::query!(
        r#"SELECT version, title, fields AS "fields: Json<Vec<FormField>>", created_at
           FROM directory.form JOIN directory.form_version USING (form_key)
           WHERE form_key = $1 AND version = coalesce($2, current_version)"#,
        key,
        version,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Form {
        key: FormKey::unchecked(key),
        version: row.version,
        title: row.title,
        fields: row.fields.0,
        created_at: row.created_at,
    }))
}

/// What a user may do; `None` when unknown.
///
/// # Errors
/// Database errors.
pub async fn access(conn: &mut PgConnection, user_key: &str) -> Result<Option<Access>, Error> {
    let row = sqlx::query!(
        r#"SELECT name, active, roles, campaign_keys,
               ARRAY(SELECT campaign_key FROM directory.campaign_member AS member
                     WHERE member.user_key = app_user.user_key ORDER BY campaign_key) AS "member_of!"
           FROM directory.app_user WHERE user_key = $1"#,
        user_key,
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let roles: BTreeSet<Role> = row.roles.iter().map(|one| one.parse()).collect::<Result<_, _>>()?;
        let scoped =
            [Role::Supervisor, Role::Reporter, Role::Monitor].iter().any(|role| roles.contains(role));
        let given = if scoped { row.campaign_keys } else { Vec::new() };
        Ok(Access {
            user_key: user_key.to_owned(),
            name: row.name,
            active: row.active,
            roles,
            campaigns: row.member_of.iter().cloned().chain(given).collect(),
            member_of: row.member_of,
        })
    })
    .transpose()
}

/// Address and display name that an account's mail is sent under; `None` when the account is unknown.
/// (Added for `attention::send`; the owner of this file may move it.)
///
/// # Errors
/// Database errors.
pub async fn sender(conn: &mut PgConnection, account_key: &str) -> Result<Option<(String, String)>, Error> {
    let row = sqlx::query!(
        "SELECT address, display_name FROM directory.account WHERE account_key = $1 AND channel = 'email'",
        account_key,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.address, row.display_name)))
}

/// The number that customers see of a WhatsApp account, and its display name; `None` when the account is unknown. An account of
/// an earlier release has no number yet.
///
/// # Errors
/// Database errors.
pub async fn whatsapp_sender(
    conn: &mut PgConnection,
    account_key: &str,
) -> Result<Option<(String, String)>, Error> {
    let row = sqlx::query!(
        r#"SELECT coalesce(whatsapp ->> 'display_number', '') AS "number!", display_name FROM directory.account
           WHERE account_key = $1 AND channel = 'whatsapp'"#,
        account_key,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.number, row.display_name)))
}

/// An account that a campaign sends from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendsFrom {
    /// Key.
    pub key: String,
    /// Address of an account of mails; empty of others.
    pub address: String,
    /// Name that customers see.
    pub name: String,
}

/// Active accounts of a campaign for a channel, by key; of one name only that.
///
/// # Errors
/// Database errors.
pub async fn accounts_of(
    conn: &mut PgConnection,
    campaign_key: &str,
    channel: Channel,
    wanted: &str,
) -> Result<Vec<SendsFrom>, Error> {
    Ok(sqlx::query_as!(
        SendsFrom,
        r#"SELECT account_key AS key, coalesce(address, '') AS "address!", display_name AS name FROM directory.account
           WHERE campaign_key = $1 AND channel = $3 AND active AND ($2 = '' OR account_key = $2) ORDER BY account_key"#,
        campaign_key,
        wanted,
        channel.as_str()
    )
    .fetch_all(conn)
    .await?)
}

/// The account that was named, or the campaign's only one.
///
/// # Errors
/// `NO_ACCOUNT` when the campaign has none; `malformed` with a violation of `account_key` when the one named is none of its, or none is
/// named and there are several; database errors.
pub async fn account_of(
    conn: &mut PgConnection,
    campaign_key: &str,
    channel: Channel,
    wanted: &str,
    malformed: Error,
) -> Result<SendsFrom, Error> {
    let mut found = accounts_of(conn, campaign_key, channel, wanted).await?;
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => {
            Err(malformed.field("account_key", "required: the campaign has several accounts"))
        }
        (None, _) if wanted.is_empty() => {
            Err(Error::rejected("NO_ACCOUNT", "the campaign has no active account to send from"))
        }
        (None, _) => Err(malformed.field("account_key", "no active account of the campaign")),
    }
}
