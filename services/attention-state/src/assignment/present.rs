//! Who is there to take back what he transferred: an active agent, member of the campaign, not known to be absent. A pause
//! does not matter, for the item is his already.

use std::collections::BTreeSet;

use hilo_kit::Error;
use sqlx::PgConnection;

use crate::attention::domain::Interaction;

/// Those of the pairs (campaign, agent) who are there.
///
/// # Errors
/// Database errors.
pub(crate) async fn of(
    tx: &mut PgConnection,
    pairs: BTreeSet<(String, String)>,
) -> Result<BTreeSet<(String, String)>, Error> {
    if pairs.is_empty() {
        return Ok(pairs);
    }
    let (campaigns, agents): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
    let rows = sqlx::query!(
        "SELECT member.campaign_key, member.user_key
         FROM unnest($1::text[], $2::text[]) AS given (campaign_key, user_key)
         JOIN directory.campaign_member AS member USING (campaign_key, user_key)
         JOIN directory.app_user AS person USING (user_key)
         JOIN assignment.agent_state AS state ON state.agent_key = user_key
         WHERE person.active AND 'agent' = ANY(person.roles) AND state.absent_since IS NULL",
        &campaigns,
        &agents,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.campaign_key, row.user_key)).collect())
}

/// True when whoever transferred the interaction is there to take it back.
///
/// # Errors
/// Database errors.
pub(crate) async fn takes_back(tx: &mut PgConnection, interaction: &Interaction) -> Result<bool, Error> {
    let Some(sender) = interaction.sender() else { return Ok(false) };
    let pair = (interaction.campaign.as_str().to_owned(), sender.as_str().to_owned());
    Ok(!of(tx, BTreeSet::from([pair])).await?.is_empty())
}
