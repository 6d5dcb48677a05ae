//! Loads of agents: weights of open items and outstanding offers per channel, changed in the transaction that changes the item.
//!
//! Rows are locked in the order of (agent, channel), after the attentions (see `attention::work`).

use std::collections::{BTreeMap, BTreeSet};

use hilo_kit::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::attention::domain::{Channel, UserKey};

/// Load and capacity of an agent in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Weights of open items and outstanding offers.
    pub load: i32,
    /// Most that offers may fill; a person's own choice may exceed it.
    pub capacity: i32,
}

impl Load {
    /// How much weight of offers still fits.
    pub fn free(self) -> i32 {
        (self.capacity - self.load).max(0)
    }
}

/// Loads by agent and channel.
pub type Loads = BTreeMap<(UserKey, Channel), Load>;

/// Changes one agent's load.
///
/// # Errors
/// Database errors; `CONSTRAINT_VIOLATED` when it would become negative, which is a defect.
pub async fn change(
    tx: &mut PgConnection,
    agent: &UserKey,
    channel: Channel,
    delta: i32,
) -> Result<(), Error> {
    change_many(tx, &BTreeMap::from([((agent.clone(), channel), delta)])).await
}

/// Changes many loads in one statement, locking them in order, and notes who has nothing left. No capacity is checked: a person's
/// choice always wins.
///
/// # Errors
/// As [`change`].
pub async fn change_many(
    tx: &mut PgConnection,
    changes: &BTreeMap<(UserKey, Channel), i32>,
) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let (agents, channels) = columns(changes.keys());
    let deltas: Vec<i32> = changes.values().copied().collect();
    sqlx::query!(
        r#"WITH given AS (
               SELECT * FROM unnest($1::text[], $2::text[], $3::int[]) AS given (agent_key, channel, delta)
           ), locked AS MATERIALIZED (
               SELECT agent_key, channel FROM assignment.agent_load
               WHERE (agent_key, channel) IN (SELECT agent_key, channel FROM given)
               ORDER BY agent_key COLLATE "C", channel COLLATE "C" FOR UPDATE
           )
           UPDATE assignment.agent_load AS row SET load = row.load + given.delta,
               idle_since = CASE WHEN row.load + given.delta = 0 AND given.delta < 0 THEN clock_timestamp()
                                 ELSE row.idle_since END
           FROM locked JOIN given USING (agent_key, channel)
           WHERE row.agent_key = locked.agent_key AND row.channel = locked.channel"#,
        &agents,
        &channels,
        &deltas,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Locks loads in order and reads them; agents without a row are left out.
///
/// # Errors
/// Database errors.
pub async fn lock(tx: &mut PgConnection, wanted: &BTreeSet<(UserKey, Channel)>) -> Result<Loads, Error> {
    if wanted.is_empty() {
        return Ok(Loads::new());
    }
    let (agents, channels) = columns(wanted.iter());
    let rows = sqlx::query!(
        r#"SELECT agent_key, channel, load, capacity FROM assignment.agent_load
           WHERE (agent_key, channel) IN (SELECT * FROM unnest($1::text[], $2::text[]))
           ORDER BY agent_key COLLATE "C", channel COLLATE "C" FOR UPDATE"#,
        &agents,
        &channels,
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let channel = Channel::of(&row.channel)
                .ok_or_else(|| Error::corrupt("UNKNOWN_WORD", "a stored channel is not known"))?;
            Ok(((UserKey::new(row.agent_key), channel), Load { load: row.load, capacity: row.capacity }))
        })
        .collect()
}

/// Notes when these agents were offered something last, for ties; the rows are locked already.
///
/// # Errors
/// Database errors.
pub async fn offered(
    tx: &mut PgConnection,
    agents: &BTreeSet<(UserKey, Channel)>,
    at: OffsetDateTime,
) -> Result<(), Error> {
    if agents.is_empty() {
        return Ok(());
    }
    let (agents, channels) = columns(agents.iter());
    sqlx::query!(
        "UPDATE assignment.agent_load AS row SET last_offered_at = greatest(last_offered_at, $3)
         FROM unnest($1::text[], $2::text[]) AS given (agent_key, channel)
         WHERE row.agent_key = given.agent_key AND row.channel = given.channel",
        &agents,
        &channels,
        at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn columns<'a>(keys: impl Iterator<Item = &'a (UserKey, Channel)>) -> (Vec<String>, Vec<String>) {
    keys.map(|(agent, channel)| (agent.as_str().to_owned(), channel.word().to_owned())).unzip()
}
