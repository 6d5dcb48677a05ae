//! What a new decision on an interaction would be made from: its state, its campaign, the members, who is before it.

use hilo_kit::Error;
use hilo_proto::event::v1::InteractionState;
use hilo_proto::internal::v1::ListDecisionsResponse;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{agents, config, decisions, live};

/// The stored decisions of an interaction and, while it is queued, what a new one would be made from; campaign and members
/// also later `with_members`. Call it in a snapshot.
///
/// # Errors
/// `INTERACTION_NOT_FOUND`; database errors.
pub async fn read(
    conn: &mut PgConnection,
    id: Uuid,
    with_members: bool,
) -> Result<ListDecisionsResponse, Error> {
    let campaign_key = live::campaign_of(conn, id).await?;
    let decisions = decisions::list(conn, id).await?;
    let live = live::one(conn, id).await?;
    let queued = live
        .as_ref()
        .and_then(|live| live.interaction.as_ref())
        .is_some_and(|interaction| interaction.state() == InteractionState::Queued);
    let mut answer = ListDecisionsResponse { decisions, campaign_key, live, ..Default::default() };
    if queued || with_members {
        answer.campaign = config::campaign(conn, &answer.campaign_key).await?;
        let keys = answer.campaign.as_ref().map(|campaign| campaign.member_keys.clone()).unwrap_or_default();
        let mut members = agents::read(conn, Some(&keys)).await?;
        members.sort_by_key(|member| keys.iter().position(|key| *key == member.agent_key));
        answer.members = members;
    }
    if queued {
        answer.ahead = ahead(conn, id).await?;
    }
    Ok(answer)
}

/// Items of its campaign that wait without an offer and come before it in the order of service: by priority, with the bonus of a
/// VIP, then by the customer's wait. With ageing a priority is worth so many steps of waiting, and only the wait so counted decides.
async fn ahead(conn: &mut PgConnection, id: Uuid) -> Result<i32, Error> {
    let ahead = sqlx::query_scalar!(
        r#"SELECT count(*) AS "ahead!" FROM attention.interaction AS this
           JOIN directory.campaign USING (campaign_key)
           JOIN attention.interaction AS other ON other.campaign_key = this.campaign_key AND other.state = 'queued'
           CROSS JOIN LATERAL (SELECT coalesce(vip_bonus, 0) AS bonus, coalesce(ageing_seconds, 0) AS step) AS rule
           CROSS JOIN LATERAL (SELECT this.priority + CASE WHEN this.vip THEN bonus ELSE 0 END AS mine,
                                      other.priority + CASE WHEN other.vip THEN bonus ELSE 0 END AS theirs) AS worth
           WHERE this.interaction_id = $1 AND other.offer_id IS NULL
             AND (CASE WHEN step = 0 THEN -theirs ELSE 0 END,
                  other.waiting_since - make_interval(secs => step * theirs::float8), other.interaction_id)
               < (CASE WHEN step = 0 THEN -mine ELSE 0 END,
                  this.waiting_since - make_interval(secs => step * mine::float8), this.interaction_id)"#,
        id
    )
    .fetch_one(conn)
    .await?;
    Ok(i32::try_from(ahead).unwrap_or(i32::MAX))
}
