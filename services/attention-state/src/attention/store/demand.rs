//! What interactions ask for that enter the queue of a campaign, by its configuration, the customer and who knows him.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attention::domain::{
    AttentionId, CampaignKey, ContactId, Demand, InteractionId, Preferred, UserKey,
};

/// Newest attentions of a customer among which his last agent is looked for: whoever writes daily is found, and a customer with a
/// thousand attentions costs no more than one with a few.
const LOOKED_AT: i64 = 20;

/// An interaction that enters.
#[derive(Clone, Debug)]
pub(crate) struct Entering {
    pub interaction: InteractionId,
    pub attention: AttentionId,
    pub contact: ContactId,
    /// Whose queue.
    pub campaign: CampaignKey,
    pub queued_at: OffsetDateTime,
    /// False when an agent has it open already: then it is kept for nobody.
    pub waits: bool,
    /// Who had it before: it was given away or taken from him, so it is not kept for him.
    pub from: Option<UserKey>,
}

/// What each of them asks for. Kept for: who ended the attention's last interaction, or else the newest one that the customer had
/// in the campaign; only an active member.
///
/// # Errors
/// Database errors.
pub(crate) async fn read(
    tx: &mut PgConnection,
    entering: &[Entering],
) -> Result<Vec<(InteractionId, Demand)>, Error> {
    let interactions: Vec<Uuid> = entering.iter().map(|one| one.interaction.uuid()).collect();
    let attentions: Vec<Uuid> = entering.iter().map(|one| one.attention.uuid()).collect();
    let contacts: Vec<Uuid> = entering.iter().map(|one| one.contact.uuid()).collect();
    let campaigns: Vec<String> = entering.iter().map(|one| one.campaign.as_str().to_owned()).collect();
    let queued: Vec<OffsetDateTime> = entering.iter().map(|one| one.queued_at).collect();
    let waits: Vec<bool> = entering.iter().map(|one| one.waits).collect();
    let from: Vec<Option<String>> =
        entering.iter().map(|one| one.from.as_ref().map(ToString::to_string)).collect();
    // The conditions stand inside of the look-up, which is thereby not even begun for a campaign that prefers nobody; contacts are
    // named a second time because of a set returned by a function PostgreSQL expects a hundred rows.
    let rows = sqlx::query!(
        r#"SELECT given.interaction_id AS "interaction_id!", coalesce(campaign.item_weight, 1) AS "weight!",
               coalesce(customer.vip, false) AS "vip!", known.agent_key AS "preferred?",
               given.queued_at + make_interval(secs => campaign.preferred_agent_seconds) AS until
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::bool[], $7::text[])
               AS given (interaction_id, attention_id, contact_id, campaign_key, queued_at, waits, former)
           LEFT JOIN directory.campaign AS campaign USING (campaign_key)
           LEFT JOIN contact.contact AS customer
               ON customer.contact_id = given.contact_id AND customer.contact_id = ANY($3)
           LEFT JOIN LATERAL (
               SELECT candidate.agent_key FROM (
                   (SELECT 1 AS place, agent_key FROM attention.interaction AS earlier
                    WHERE campaign.preferred_agent_seconds > 0 AND given.waits
                      AND earlier.attention_id = given.attention_id AND earlier.state = 'ended'
                    ORDER BY earlier.ordinal DESC LIMIT 1)
                   UNION ALL
                   (SELECT 2, handled.agent_key
                    FROM (SELECT attention_id FROM attention.attention AS his
                          WHERE campaign.preferred_agent_seconds > 0 AND given.waits
                            AND his.contact_id = given.contact_id
                          ORDER BY attention_id DESC LIMIT $8) AS newest
                    CROSS JOIN LATERAL (
                        SELECT agent_key, ended_at FROM attention.interaction AS one
                        WHERE one.attention_id = newest.attention_id AND one.state = 'ended'
                          AND one.campaign_key = given.campaign_key
                        ORDER BY one.ordinal DESC LIMIT 1) AS handled
                    ORDER BY handled.ended_at DESC LIMIT 1)
               ) AS candidate
               JOIN directory.campaign_member AS member
                   ON member.user_key = candidate.agent_key AND member.campaign_key = given.campaign_key
               JOIN directory.app_user AS person ON person.user_key = candidate.agent_key
               WHERE person.active AND 'agent' = ANY(person.roles)
                 AND candidate.agent_key IS DISTINCT FROM given.former
               ORDER BY candidate.place LIMIT 1) AS known ON true"#,
        &interactions,
        &attentions,
        &contacts,
        &campaigns,
        &queued,
        &waits,
        &from as &[Option<String>],
        LOOKED_AT,
    )
    .fetch_all(tx)
    .await?;
    let demand = |weight, vip, preferred: Option<String>, until| Demand {
        weight,
        vip,
        preferred: preferred.zip(until).map(|(agent, until)| Preferred { agent: UserKey::new(agent), until }),
    };
    Ok(rows
        .into_iter()
        .map(|row| {
            let demand = demand(row.weight, row.vip, row.preferred, row.until);
            (InteractionId(row.interaction_id), demand)
        })
        .collect())
}
