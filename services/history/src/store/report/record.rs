//! Writing facts: locked per interaction, added once, then what is known of each interaction is computed anew from all of
//! its facts. So two replicas, any order and any repetition end with the same rows.

use std::collections::BTreeSet;

use hilo_kit::error::Error;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::report::fact::{self, State};
use crate::domain::report::{Fact, Happened, InteractionFacts};
use crate::store::rows;

pub(super) async fn record(tx: &mut PgConnection, facts: &[Fact]) -> Result<(), Error> {
    let interactions: BTreeSet<Uuid> = facts.iter().map(|fact| fact.interaction.uuid()).collect();
    let interactions: Vec<Uuid> = interactions.into_iter().collect();
    lock(tx, &interactions).await?;
    insert(tx, facts).await?;
    let all = facts_of(tx, &interactions).await?;
    let known: Vec<InteractionFacts> =
        all.chunk_by(|one, next| one.interaction == next.interaction).filter_map(fact::fold).collect();
    upsert(tx, &known).await
}

/// Only one transaction at a time works on an interaction; the others then see all of its facts. Sorted, so that no two
/// wait for each other; a shared number of two interactions costs a wait and nothing else.
async fn lock(tx: &mut PgConnection, interactions: &[Uuid]) -> Result<(), Error> {
    sqlx::query(
        "SELECT pg_advisory_xact_lock(l.number) FROM (
             SELECT DISTINCT hashtextextended('report ' || id::text, 0) AS number FROM unnest($1::uuid[]) AS id
             ORDER BY 1
         ) AS l",
    )
    .bind(interactions)
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert(tx: &mut PgConnection, facts: &[Fact]) -> Result<(), Error> {
    let text = |of: fn(&Fact) -> &str| facts.iter().map(|fact| of(fact).to_owned()).collect::<Vec<String>>();
    let attentions: Vec<Uuid> = facts.iter().map(|fact| fact.attention.uuid()).collect();
    let sequences: Vec<i64> = facts.iter().map(|fact| fact.sequence).collect();
    let interactions: Vec<Uuid> = facts.iter().map(|fact| fact.interaction.uuid()).collect();
    let kinds: Vec<i16> = facts.iter().map(|fact| fact.happened.number()).collect();
    let at: Vec<OffsetDateTime> = facts.iter().map(|fact| fact.at).collect();
    let states: Vec<i16> = facts.iter().map(|fact| fact.state as i16).collect();
    let closed: Vec<bool> = facts.iter().map(|fact| fact.attention_closed).collect();
    let directions: Vec<i16> = facts.iter().map(|fact| rows::direction_number(fact.direction)).collect();
    let ordinals: Vec<i32> = facts.iter().map(|fact| fact.ordinal).collect();
    let waiting: Vec<Option<OffsetDateTime>> = facts.iter().map(|fact| fact.waiting_since).collect();
    let messages: Vec<Option<Uuid>> =
        facts.iter().map(|fact| fact.message.map(|message| message.uuid())).collect();
    let out_of_hours: Vec<bool> = facts.iter().map(|fact| fact.out_of_hours).collect();
    // The key makes a redelivery harmless: (attention, sequence) is one event for ever.
    sqlx::query!(
        "INSERT INTO report_event (
             attention_id, sequence, interaction_id, kind, occurred_at, campaign_key, agent_key, actor_key, reason, state,
             attention_closed, direction, ordinal, waiting_since, message_id, delivery_state, out_of_hours
         )
         SELECT * FROM unnest(
             $1::uuid[], $2::bigint[], $3::uuid[], $4::smallint[], $5::timestamptz[], $6::text[], $7::text[], $8::text[],
             $9::text[], $10::smallint[], $11::boolean[], $12::smallint[], $13::integer[], $14::timestamptz[],
             $15::uuid[], $16::text[], $17::boolean[]
         )
         ON CONFLICT DO NOTHING",
        &attentions,
        &sequences,
        &interactions,
        &kinds,
        &at,
        &text(|fact| &fact.campaign),
        &text(|fact| &fact.agent),
        &text(|fact| &fact.actor),
        &text(|fact| &fact.reason),
        &states,
        &closed,
        &directions,
        &ordinals,
        &waiting as &[Option<OffsetDateTime>],
        &messages as &[Option<Uuid>],
        &text(|fact| &fact.delivery_state),
        &out_of_hours,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// All facts of the interactions, each interaction's together and in order.
async fn facts_of(tx: &mut PgConnection, interactions: &[Uuid]) -> Result<Vec<Fact>, Error> {
    let stored = sqlx::query!(
        "SELECT attention_id, sequence, interaction_id, kind, occurred_at, campaign_key, agent_key, actor_key, reason,
             state, attention_closed, direction, ordinal, waiting_since, message_id, delivery_state, out_of_hours
         FROM report_event WHERE interaction_id = ANY($1) ORDER BY interaction_id, sequence",
        interactions,
    )
    .fetch_all(tx)
    .await?;
    let corrupt = || Error::corrupt("UNKNOWN_FACT", "a stored fact has a number that no fact has");
    stored
        .into_iter()
        .map(|row| {
            Ok(Fact {
                attention: row.attention_id.into(),
                sequence: row.sequence,
                interaction: row.interaction_id.into(),
                happened: Happened::from_number(row.kind).ok_or_else(corrupt)?,
                at: row.occurred_at,
                campaign: row.campaign_key,
                agent: row.agent_key,
                actor: row.actor_key,
                reason: row.reason,
                state: State::from_number(row.state).ok_or_else(corrupt)?,
                attention_closed: row.attention_closed,
                direction: rows::direction(row.direction)?,
                ordinal: row.ordinal,
                waiting_since: row.waiting_since,
                message: row.message_id.map(Into::into),
                delivery_state: row.delivery_state,
                out_of_hours: row.out_of_hours,
            })
        })
        .collect()
}

async fn upsert(tx: &mut PgConnection, known: &[InteractionFacts]) -> Result<(), Error> {
    type Instants = Vec<Option<OffsetDateTime>>;
    let ids: Vec<Uuid> = known.iter().map(|one| one.interaction.uuid()).collect();
    let attentions: Vec<Uuid> = known.iter().map(|one| one.attention.uuid()).collect();
    let ordinals: Vec<i32> = known.iter().map(|one| one.ordinal).collect();
    let directions: Vec<i16> = known.iter().map(|one| rows::direction_number(one.direction)).collect();
    let campaigns: Vec<String> = known.iter().map(|one| one.campaign.clone()).collect();
    let agents: Vec<String> = known.iter().map(|one| one.agent.clone()).collect();
    let states: Vec<i16> = known.iter().map(|one| one.state as i16).collect();
    let closed: Vec<bool> = known.iter().map(|one| one.attention_closed).collect();
    let began: Vec<OffsetDateTime> = known.iter().map(|one| one.began_at).collect();
    let offered: Instants = known.iter().map(|one| one.first_offered_at).collect();
    let opened: Instants = known.iter().map(|one| one.first_opened_at).collect();
    let answered: Instants = known.iter().map(|one| one.first_response_at).collect();
    let reassigned: Vec<i32> = known.iter().map(|one| one.reassigned_times).collect();
    let orphaned: Vec<i32> = known.iter().map(|one| one.orphaned_times).collect();
    let out_of_hours: Vec<bool> = known.iter().map(|one| one.out_of_hours).collect();
    sqlx::query!(
        "INSERT INTO report_interaction (
             interaction_id, attention_id, ordinal, direction, campaign_key, agent_key, state, attention_closed, began_at,
             first_offered_at, first_opened_at, first_response_at, reassigned_times, orphaned_times, out_of_hours
         )
         SELECT * FROM unnest(
             $1::uuid[], $2::uuid[], $3::integer[], $4::smallint[], $5::text[], $6::text[], $7::smallint[], $8::boolean[],
             $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::integer[],
             $14::integer[], $15::boolean[]
         )
         ON CONFLICT (interaction_id) DO UPDATE SET
             ordinal = EXCLUDED.ordinal, direction = EXCLUDED.direction, campaign_key = EXCLUDED.campaign_key,
             agent_key = EXCLUDED.agent_key, state = EXCLUDED.state, attention_closed = EXCLUDED.attention_closed,
             began_at = EXCLUDED.began_at, first_offered_at = EXCLUDED.first_offered_at,
             first_opened_at = EXCLUDED.first_opened_at, first_response_at = EXCLUDED.first_response_at,
             reassigned_times = EXCLUDED.reassigned_times, orphaned_times = EXCLUDED.orphaned_times,
             out_of_hours = EXCLUDED.out_of_hours",
        &ids,
        &attentions,
        &ordinals,
        &directions,
        &campaigns,
        &agents,
        &states,
        &closed,
        &began,
        &offered as &[Option<OffsetDateTime>],
        &opened as &[Option<OffsetDateTime>],
        &answered as &[Option<OffsetDateTime>],
        &reassigned,
        &orphaned,
        &out_of_hours,
    )
    .execute(tx)
    .await?;
    Ok(())
}
