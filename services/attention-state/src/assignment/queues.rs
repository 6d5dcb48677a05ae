//! Queues in numbers, for the live panel: how many wait and since when, and how many customers were served in time.

use hilo_kit::{Error, clock, db};
use hilo_proto::internal::v1::{CampaignQueue, ReadQueuesResponse};
use sqlx::PgConnection;

use super::agents;

/// Reads all queues and agents. `window_seconds` is how far back openings count for the service level. Call it in a
/// snapshot.
///
/// # Errors
/// Database errors.
pub async fn read(conn: &mut PgConnection, window_seconds: i32) -> Result<ReadQueuesResponse, Error> {
    let now = db::db_now(conn).await?;
    // One pass over the live ones and one over the newest end of the opened ones, whatever the number of campaigns.
    let rows = sqlx::query!(
        r#"WITH target AS (
               SELECT campaign_key, coalesce(service_level_seconds, 0) AS seconds FROM directory.campaign
           ), live AS (
               SELECT campaign_key,
                   count(*) FILTER (WHERE state = 'queued') AS waiting,
                   count(*) FILTER (WHERE offer_id IS NOT NULL) AS offered,
                   count(*) FILTER (WHERE state = 'open') AS open,
                   min(waiting_since) FILTER (WHERE state = 'queued') AS oldest,
                   count(*) FILTER (WHERE state = 'queued' AND seconds > 0
                       AND waiting_since < $2::timestamptz - make_interval(secs => seconds)) AS overdue
               FROM attention.interaction JOIN target USING (campaign_key) WHERE state <> 'ended' GROUP BY campaign_key
           ), served AS (
               SELECT campaign_key, count(*) AS taken,
                   count(*) FILTER (WHERE seconds > 0
                       AND first_opened_at <= waiting_since + make_interval(secs => seconds)) AS in_time
               FROM attention.interaction JOIN target USING (campaign_key)
               WHERE direction = 'inbound' AND first_opened_at > $2::timestamptz - make_interval(secs => $1)
               GROUP BY campaign_key
           )
           SELECT campaign_key, seconds AS "seconds!", coalesce(waiting, 0) AS "waiting!",
               coalesce(offered, 0) AS "offered!", coalesce(open, 0) AS "open!", oldest, coalesce(overdue, 0) AS "overdue!",
               coalesce(taken, 0) AS "taken!", coalesce(in_time, 0) AS "in_time!"
           FROM target LEFT JOIN live USING (campaign_key) LEFT JOIN served USING (campaign_key)
           ORDER BY campaign_key COLLATE "C""#,
        f64::from(window_seconds),
        now,
    )
    .fetch_all(&mut *conn)
    .await?;
    let count = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    let queues = rows
        .into_iter()
        .map(|row| CampaignQueue {
            campaign_key: row.campaign_key,
            waiting: count(row.waiting),
            offered: count(row.offered),
            oldest_waiting_since: row.oldest.map(clock::to_proto),
            open: count(row.open),
            target_seconds: row.seconds,
            taken: count(row.taken),
            taken_in_time: count(row.in_time),
            overdue: count(row.overdue),
        })
        .collect();
    let agents = agents::read(conn, None).await?;
    Ok(ReadQueuesResponse { queues, agents, now: Some(clock::to_proto(now)) })
}
