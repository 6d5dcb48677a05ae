//! Where a person may move an item: an active campaign of the same channel, or an available member of its campaign.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use crate::attention::domain::{Attention, CampaignKey, Destination, Interaction, OfferId, UserKey};
use crate::directory;

/// Seconds an agent has for what a person gave him, where the campaign's accept timeout is off.
const ACCEPT_SECONDS: i32 = 60;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Campaign(String),
    Agent(String),
}

impl Target {
    /// Exactly one of both is given.
    ///
    /// # Errors
    /// `INVALID_REQUEST`.
    pub(super) fn read(campaign: &str, agent: &str) -> Result<Self, Error> {
        match (campaign, agent) {
            (key, "") if !key.is_empty() => Ok(Self::Campaign(key.to_owned())),
            ("", key) if !key.is_empty() => Ok(Self::Agent(key.to_owned())),
            _ => Err(Error::invalid("INVALID_REQUEST", "the target is malformed")
                .field("campaign_key", "exactly one of campaign_key and agent_key")),
        }
    }
}

/// The target as the domain takes it.
///
/// # Errors
/// `TARGET_NOT_FOUND`, `TARGET_INACTIVE`, `TARGET_OTHER_CHANNEL` of a campaign; `TARGET_NOT_MEMBER` (also of whom nobody
/// knows), `TARGET_INACTIVE`, `TARGET_UNAVAILABLE` of an agent; database errors.
pub(super) async fn destination(
    tx: &mut PgConnection,
    state: &Attention,
    interaction: &Interaction,
    target: &Target,
    now: OffsetDateTime,
) -> Result<Destination, Error> {
    match target {
        Target::Campaign(key) => campaign(tx, state, key).await,
        Target::Agent(key) => {
            check_agent(tx, interaction.campaign.as_str(), key).await?;
            let campaign = directory::campaign(tx, interaction.campaign.as_str()).await?;
            let seconds = campaign.map_or(0, |campaign| campaign.accept_timeout_seconds);
            let seconds = if seconds > 0 { seconds } else { ACCEPT_SECONDS };
            let deadline_at = now + Duration::seconds(i64::from(seconds));
            Ok(Destination::Agent { offer: OfferId::new(), agent: UserKey::new(key), deadline_at })
        }
    }
}

async fn campaign(tx: &mut PgConnection, state: &Attention, key: &str) -> Result<Destination, Error> {
    let Some(campaign) = directory::campaign(tx, key).await? else {
        return Err(Error::missing("TARGET_NOT_FOUND", "there is no such campaign"));
    };
    if campaign.channel.as_str() != state.channel.word() {
        let text = "the campaign serves another channel";
        return Err(Error::rejected("TARGET_OTHER_CHANNEL", text));
    }
    if !campaign.active {
        return Err(Error::rejected("TARGET_INACTIVE", "the campaign is switched off"));
    }
    Ok(Destination::Campaign(CampaignKey::new(key)))
}

async fn check_agent(tx: &mut PgConnection, campaign: &str, key: &str) -> Result<(), Error> {
    let row = sqlx::query!(
        r#"SELECT person.active AND 'agent' = ANY(person.roles) AS "active!",
               NOT state.paused AND state.absent_since IS NULL AS "available!"
           FROM directory.campaign_member AS member
           JOIN directory.app_user AS person USING (user_key)
           JOIN assignment.agent_state AS state ON state.agent_key = user_key
           WHERE member.campaign_key = $1 AND member.user_key = $2"#,
        campaign,
        key,
    )
    .fetch_optional(tx)
    .await?;
    match row {
        None => Err(Error::rejected("TARGET_NOT_MEMBER", "the agent is not a member of the campaign")),
        Some(row) if !row.active => Err(Error::rejected("TARGET_INACTIVE", "the agent is switched off")),
        Some(row) if !row.available => {
            Err(Error::rejected("TARGET_UNAVAILABLE", "the agent is paused or away"))
        }
        Some(_) => Ok(()),
    }
}
