//! One command on one interaction, in the caller's transaction. Batches use [`super::work::Work`] itself.

use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::domain::{Attention, Command, Happened, InteractionId};
use super::store::Wait;
use super::work::{Actor, Found, Work};

/// What a command did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The attention after it, with the interaction.
    pub attention: Attention,
    /// What happened; empty when the wish was fulfilled already.
    pub events: Vec<Happened>,
    /// The database's clock of the transaction.
    pub now: OffsetDateTime,
}

/// Locks the interaction's attention (waiting for it), decides, writes state, loads and outbox.
///
/// # Errors
/// `INTERACTION_NOT_FOUND`; the rejection with its reason; database errors.
pub async fn apply(
    tx: &mut PgConnection,
    subjects: &Subjects,
    interaction: InteractionId,
    command: Command,
    actor: Actor,
) -> Result<Applied, Error> {
    let mut work = locked(tx, interaction).await?;
    let decision = work.decide(interaction, command, &actor)?;
    work.write(tx, subjects).await?;
    let Found::Locked(attention) = work.find(interaction) else { return Err(not_found()) };
    let attention = work.state(attention, Some(interaction)).ok_or_else(not_found)?;
    Ok(Applied { attention, events: decision.events, now: work.now() })
}

/// Locks one interaction, waiting for it.
pub(crate) async fn locked(tx: &mut PgConnection, interaction: InteractionId) -> Result<Work, Error> {
    let work = Work::lock(tx, &[interaction], Wait::Block).await?;
    match work.find(interaction) {
        Found::Locked(_) => Ok(work),
        Found::Busy | Found::Gone => Err(not_found()),
    }
}

/// The one answer for ids that do not exist and for those the caller may not know of.
pub(crate) fn not_found() -> Error {
    Error::missing("INTERACTION_NOT_FOUND", "there is no such interaction")
}
