//! State of agents as routing sees them: active, paused, absent, loads.

use hilo_kit::{Error, clock};
use hilo_proto::internal::v1::{ChannelLoad, PresenceReport, RoutingAgent};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use crate::directory::domain::model::User;
use crate::directory::domain::selection::SkillLevel;
use crate::directory::proto;

/// Brings state and capacity rows of changed users in line with the directory.
///
/// # Errors
/// Database errors.
pub async fn follow_directory(tx: &mut PgConnection, users: &[&User]) -> Result<(), Error> {
    if users.is_empty() {
        return Ok(());
    }
    let mut users = users.to_vec();
    users.sort_by(|a, b| a.key.cmp(&b.key));
    let keys: Vec<String> = users.iter().map(|one| one.key.to_string()).collect();
    let email: Vec<i32> = users.iter().map(|one| one.email_capacity).collect();
    let whatsapp: Vec<i32> = users.iter().map(|one| one.whatsapp_capacity).collect();
    sqlx::query!(
        r#"INSERT INTO assignment.agent_load (agent_key, channel, capacity)
           SELECT agent_key, channel, capacity
           FROM unnest($1::text[], $2::int[], $3::int[]) AS given (agent_key, email, whatsapp),
               LATERAL (VALUES ('email', email), ('whatsapp', whatsapp)) AS per (channel, capacity)
           ORDER BY agent_key COLLATE "C", channel COLLATE "C"
           ON CONFLICT (agent_key, channel) DO UPDATE SET capacity = excluded.capacity"#,
        &keys,
        &email,
        &whatsapp,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "INSERT INTO assignment.agent_state AS state (agent_key) SELECT * FROM unnest($1::text[])
         ON CONFLICT (agent_key) DO UPDATE SET version = state.version + 1",
        &keys,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Agents as routing needs them: these, or all when `keys` is `None`.
///
/// # Errors
/// Database errors.
pub async fn read(conn: &mut PgConnection, keys: Option<&[String]>) -> Result<Vec<RoutingAgent>, Error> {
    let rows = sqlx::query!(
        r#"SELECT user_key, active AND 'agent' = ANY(roles) AS "active!", paused, absent_since, version,
               array_agg(channel ORDER BY channel) AS "channels!",
               array_agg(load ORDER BY channel) AS "loads!",
               array_agg(capacity ORDER BY channel) AS "capacities!",
               array_agg(last_offered_at ORDER BY channel) AS "offered!: Vec<Option<OffsetDateTime>>",
               array_agg(idle_since ORDER BY channel) AS "idle!: Vec<Option<OffsetDateTime>>",
               skills AS "skills: Json<Vec<SkillLevel>>"
           FROM directory.app_user
           JOIN assignment.agent_state AS state ON state.agent_key = user_key
           JOIN assignment.agent_load AS per ON per.agent_key = user_key
           WHERE ($1::text[] IS NULL AND ('agent' = ANY(roles) OR EXISTS (
                      SELECT FROM directory.campaign_member AS member WHERE member.user_key = app_user.user_key)))
              OR user_key = ANY($1)
           GROUP BY user_key, active, roles, skills, paused, absent_since, version
           ORDER BY user_key COLLATE "C""#,
        keys,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let per =
                row.channels.into_iter().zip(row.loads).zip(row.capacities).zip(row.offered).zip(row.idle);
            RoutingAgent {
                agent_key: row.user_key,
                active: row.active,
                paused: row.paused,
                loads: per
                    .map(|((((channel, load), capacity), offered), idle)| ChannelLoad {
                        channel,
                        load,
                        capacity,
                        last_offered_at: offered.map(clock::to_proto),
                        idle_since: idle.map(clock::to_proto),
                    })
                    .collect(),
                absent_since: row.absent_since.map(clock::to_proto),
                version: row.version,
                skills: row.skills.map(|skills| proto::skills(&skills.0)).unwrap_or_default(),
            }
        })
        .collect())
}

/// Stores what routing knows of sessions. A report older than the newest known one changes nothing; absence begins by the
/// database's clock, and no report is newer than that, lest a clock that ran ahead silence all later ones. Unknown agents
/// are left out.
///
/// # Errors
/// Database errors.
pub async fn report_presence(tx: &mut PgConnection, reports: &[PresenceReport]) -> Result<(), Error> {
    let mut sorted: Vec<(&PresenceReport, OffsetDateTime)> = reports
        .iter()
        .filter_map(|one| Some((one, one.last_seen_at.as_ref().and_then(clock::from_proto)?)))
        .collect();
    // The newest report of each agent counts, rows are locked in order.
    sorted.sort_by(|(a, seen_a), (b, seen_b)| a.agent_key.cmp(&b.agent_key).then(seen_b.cmp(seen_a)));
    sorted.dedup_by(|(later, _), (kept, _)| later.agent_key == kept.agent_key);
    let keys: Vec<String> = sorted.iter().map(|(one, _)| one.agent_key.clone()).collect();
    let present: Vec<bool> = sorted.iter().map(|(one, _)| one.present).collect();
    let seen: Vec<OffsetDateTime> = sorted.iter().map(|(_, seen)| *seen).collect();
    sqlx::query!(
        r#"WITH given AS (
               SELECT * FROM unnest($1::text[], $2::bool[], $3::timestamptz[]) AS given (agent_key, present, seen_at)
           ), locked AS MATERIALIZED (
               SELECT agent_key FROM assignment.agent_state WHERE agent_key = ANY($1)
               ORDER BY agent_key COLLATE "C" FOR UPDATE
           )
           UPDATE assignment.agent_state AS state SET
               last_seen_at = least(given.seen_at, now()),
               absent_since = CASE WHEN given.present THEN NULL ELSE coalesce(state.absent_since, now()) END,
               version = state.version + CASE WHEN given.present = (state.absent_since IS NULL) THEN 0 ELSE 1 END
           FROM locked JOIN given USING (agent_key)
           WHERE state.agent_key = locked.agent_key
             AND (state.last_seen_at IS NULL OR state.last_seen_at < given.seen_at
                  OR (state.last_seen_at = given.seen_at AND NOT given.present))"#,
        &keys,
        &present,
        &seen,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Stores an agent's chosen status.
///
/// # Errors
/// `UNKNOWN_AGENT`; database errors.
pub async fn set_paused(tx: &mut PgConnection, agent: &str, paused: bool) -> Result<(), Error> {
    let known = sqlx::query!(
        "UPDATE assignment.agent_state SET paused = $2,
             version = version + CASE WHEN paused = $2 THEN 0 ELSE 1 END WHERE agent_key = $1",
        agent,
        paused,
    )
    .execute(tx)
    .await?;
    if known.rows_affected() == 1 { Ok(()) } else { Err(unknown_agent()) }
}

/// There is no such user.
pub fn unknown_agent() -> Error {
    Error::missing("UNKNOWN_AGENT", "there is no such agent")
}
