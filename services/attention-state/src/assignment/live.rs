//! Live interactions of a partition, for a router that rebuilds its view.

use std::collections::HashMap;

use hilo_kit::Error;
use hilo_proto::internal::v1::{ListLiveInteractionsResponse, LiveInteraction};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::attention::published::snapshot;
use crate::attention::store;

/// Page size when the caller names none.
const DEFAULT_PAGE: i32 = 500;
/// Largest page.
const MAX_PAGE: i32 = 1_000;

/// One page in the order of (campaign, id), from after `token`, which is the last one's `campaign/id`. Call it in a
/// snapshot: its two statements must see one instant.
///
/// # Errors
/// `INVALID_PAGE_TOKEN`; database errors.
pub async fn page(
    conn: &mut PgConnection,
    partition: i32,
    size: i32,
    token: &str,
) -> Result<ListLiveInteractionsResponse, Error> {
    let (campaign, after) = place(token)?;
    let size = if size <= 0 { DEFAULT_PAGE } else { size.min(MAX_PAGE) };
    // Campaign by campaign along the index of live items, so that a page costs the same however many wait and have ended. The
    // campaign is bounded by a row comparison and `<=` instead of `=`: only that index has this order then, and as its bounds
    // are parameters the planner takes it for a page to be a tenth of all. For the same reason the sequence is looked up item
    // by item, where a join would read all attentions.
    let heads = sqlx::query!(
        r#"SELECT live.interaction_id, live.sequence AS "sequence!", live.channel, home.campaign_key
           FROM assignment.group_campaign AS home
           CROSS JOIN LATERAL (
               SELECT interaction_id, channel,
                   (SELECT sequence FROM attention.attention
                    WHERE attention.attention_id = interaction.attention_id) AS sequence
               FROM attention.interaction
               WHERE (campaign_key, interaction_id)
                       > (home.campaign_key, CASE WHEN home.campaign_key = $2 THEN $3::uuid
                                                  ELSE '00000000-0000-0000-0000-000000000000'::uuid END)
                 AND campaign_key <= home.campaign_key AND state <> 'ended'
               ORDER BY interaction.campaign_key, interaction_id LIMIT $4) AS live
           WHERE home.partition = $1 AND home.campaign_key >= $2
           ORDER BY home.campaign_key, live.interaction_id LIMIT $4"#,
        partition,
        campaign,
        after,
        i64::from(size),
    )
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = heads.iter().map(|row| row.interaction_id).collect();
    let full = usize::try_from(size).is_ok_and(|size| ids.len() == size);
    let next_page_token = heads
        .last()
        .filter(|_| full)
        .map(|row| format!("{}/{}", row.campaign_key, row.interaction_id))
        .unwrap_or_default();
    let heads = heads.into_iter().map(|row| (row.interaction_id, row.sequence, row.channel)).collect();
    Ok(ListLiveInteractionsResponse { interactions: states(conn, heads).await?, next_page_token })
}

/// The live interactions of these attentions, in one page: an attention has at most one. Call it in a snapshot.
///
/// # Errors
/// Database errors.
pub async fn of_attentions(
    conn: &mut PgConnection,
    attentions: &[Uuid],
) -> Result<ListLiveInteractionsResponse, Error> {
    let heads = sqlx::query!(
        "SELECT interaction_id, sequence, interaction.channel
         FROM attention.interaction JOIN attention.attention USING (attention_id)
         WHERE attention_id = ANY($1) AND interaction.state <> 'ended'",
        attentions,
    )
    .fetch_all(&mut *conn)
    .await?;
    let heads = heads.into_iter().map(|row| (row.interaction_id, row.sequence, row.channel)).collect();
    Ok(ListLiveInteractionsResponse {
        interactions: states(conn, heads).await?,
        next_page_token: String::new(),
    })
}

/// One interaction, if it is live. Call it in a snapshot.
///
/// # Errors
/// Database errors.
pub async fn one(conn: &mut PgConnection, interaction: Uuid) -> Result<Option<LiveInteraction>, Error> {
    let head = sqlx::query!(
        "SELECT sequence, interaction.channel FROM attention.interaction JOIN attention.attention USING (attention_id)
         WHERE interaction_id = $1 AND interaction.state <> 'ended'",
        interaction,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let heads = head.map(|row| (interaction, row.sequence, row.channel)).into_iter().collect();
    Ok(states(conn, heads).await?.into_iter().next())
}

/// The states of interactions whose attentions' sequences and channels are known, in the same order.
async fn states(
    conn: &mut PgConnection,
    heads: Vec<(Uuid, i64, String)>,
) -> Result<Vec<LiveInteraction>, Error> {
    let ids: Vec<Uuid> = heads.iter().map(|(id, _, _)| *id).collect();
    let mut loaded: HashMap<Uuid, _> = store::interactions(conn, &ids)
        .await?
        .into_iter()
        .map(|one| (one.interaction.id.uuid(), one))
        .collect();
    Ok(heads
        .into_iter()
        .filter_map(|(id, sequence, channel)| {
            let loaded = loaded.remove(&id)?;
            Some(LiveInteraction {
                attention_id: loaded.attention.to_string(),
                sequence,
                channel,
                interaction: Some(snapshot(&loaded.interaction)),
                traceparent: loaded.traceparent,
            })
        })
        .collect())
}

fn place(token: &str) -> Result<(&str, Uuid), Error> {
    if token.is_empty() {
        return Ok(("", Uuid::nil()));
    }
    token.split_once('/').and_then(|(campaign, id)| Some((campaign, Uuid::try_parse(id).ok()?))).ok_or_else(
        || {
            Error::invalid("INVALID_PAGE_TOKEN", "the page token is not one of ours")
                .field("page_token", "malformed")
        },
    )
}

/// The campaign of an interaction, for a rights check.
///
/// # Errors
/// `INTERACTION_NOT_FOUND`; database errors.
pub async fn campaign_of(conn: &mut PgConnection, interaction: Uuid) -> Result<String, Error> {
    sqlx::query_scalar!(
        "SELECT campaign_key FROM attention.interaction WHERE interaction_id = $1",
        interaction
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(crate::attention::commands::not_found)
}
