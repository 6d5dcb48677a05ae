//! The configuration routing decides by: campaigns with their partition and rotation pointer, agents with state and load.

use hilo_kit::{Error, clock, db};
use hilo_proto::internal::v1::{AssignmentMode, GetRoutingConfigResponse, OverflowMode, RoutingCampaign};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::agents;
use crate::directory::domain::model::{AssignmentMode as Mode, OverflowMode as Overflow};
use crate::directory::domain::selection::{Relaxation, SkillLevel};
use crate::directory::proto;
use crate::directory::store::read;

/// The configuration, or only its version when that is the known one. Call it in a snapshot.
///
/// # Errors
/// Database errors.
pub async fn read(conn: &mut PgConnection, known: i64) -> Result<GetRoutingConfigResponse, Error> {
    let config_version = read::version(conn).await?;
    let now = Some(clock::to_proto(db::db_now(conn).await?));
    if known == config_version {
        let (campaigns, agents) = (Vec::new(), Vec::new());
        return Ok(GetRoutingConfigResponse { config_version, changed: false, campaigns, agents, now });
    }
    let (campaigns, agents) = (campaigns(conn, None).await?, agents::read(conn, None).await?);
    Ok(GetRoutingConfigResponse { config_version, changed: true, campaigns, agents, now })
}

/// One campaign, if there is such a one.
///
/// # Errors
/// Database errors.
pub async fn campaign(conn: &mut PgConnection, key: &str) -> Result<Option<RoutingCampaign>, Error> {
    Ok(campaigns(conn, Some(key)).await?.into_iter().next())
}

async fn campaigns(conn: &mut PgConnection, key: Option<&str>) -> Result<Vec<RoutingCampaign>, Error> {
    let rows = sqlx::query!(
        r#"SELECT campaign_key, channel, partition, assignment_mode, accept_timeout_seconds, overflow_seconds,
               overflow_mode, overflow_campaign_key, member_keys, active, pointer AS "pointer?",
               required_skills AS "required_skills: Json<Vec<SkillLevel>>", relaxation AS "relaxation: Json<Vec<Relaxation>>",
               ageing_seconds, vip_bonus
           FROM directory.campaign JOIN assignment.group_campaign USING (campaign_key)
           LEFT JOIN assignment.rotation USING (campaign_key)
           WHERE $1::text IS NULL OR campaign_key = $1 ORDER BY campaign_key COLLATE "C""#,
        key,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let mode = match row.assignment_mode.parse::<Mode>()? {
                Mode::Everyone => AssignmentMode::Everyone,
                Mode::RoundRobin => AssignmentMode::RoundRobin,
                Mode::LeastBusy => AssignmentMode::LeastBusy,
                Mode::Random => AssignmentMode::Random,
                Mode::LongestIdle => AssignmentMode::LongestIdle,
            };
            let overflow_mode = match row.overflow_mode.parse::<Overflow>()? {
                Overflow::None => OverflowMode::None,
                Overflow::AssignToAll => OverflowMode::AssignToAll,
                Overflow::SendToCampaign => OverflowMode::SendToCampaign,
            };
            Ok(RoutingCampaign {
                campaign_key: row.campaign_key,
                channel: row.channel,
                partition: row.partition,
                mode: mode.into(),
                accept_timeout_seconds: row.accept_timeout_seconds,
                overflow_seconds: row.overflow_seconds,
                overflow_mode: overflow_mode.into(),
                overflow_campaign_key: row.overflow_campaign_key.unwrap_or_default(),
                member_keys: row.member_keys,
                rotation_pointer: row.pointer.unwrap_or_default(),
                active: row.active,
                required_skills: row.required_skills.map(|one| proto::skills(&one.0)).unwrap_or_default(),
                relaxation: row.relaxation.map(|one| proto::relaxation(&one.0)).unwrap_or_default(),
                ageing_seconds: row.ageing_seconds.unwrap_or_default(),
                vip_bonus: row.vip_bonus.unwrap_or_default(),
            })
        })
        .collect()
}
