//! What a change of a contact means for the attentions of that customer, in the transaction that changes the contact.
//!
//! An attention with a live interaction gets an event, so that desks show the change at once. What has ended gets a new
//! version without an event of its own, because history keeps a copy of the customer's name and contact and fetches it
//! again by that version. Attentions that move to another contact get an event in any case: their state changed.

use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::{AttentionId, Command, ContactId};
use super::store::{self, Wait};
use super::work::{Actor, Work};

/// The newest attentions of a contact, at most `limit`.
///
/// # Errors
/// Database errors.
pub(crate) async fn newest_of(tx: &mut PgConnection, contact: Uuid, limit: i64) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        "SELECT attention_id FROM attention.attention WHERE contact_id = $1
         ORDER BY created_at DESC, attention_id DESC LIMIT $2",
        contact,
        limit
    )
    .fetch_all(tx)
    .await?)
}

/// Attentions of a contact that have a live interaction.
///
/// # Errors
/// Database errors.
pub(crate) async fn live_of(tx: &mut PgConnection, contact: Uuid) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        "SELECT a.attention_id FROM attention.attention a JOIN attention.interaction i USING (attention_id)
         WHERE a.contact_id = $1 AND i.state <> 'ended'",
        contact
    )
    .fetch_all(tx)
    .await?)
}

/// The contact of an attention.
///
/// # Errors
/// Database errors.
pub(crate) async fn contact_of(tx: &mut PgConnection, attention: Uuid) -> Result<Option<Uuid>, Error> {
    Ok(sqlx::query_scalar!("SELECT contact_id FROM attention.attention WHERE attention_id = $1", attention)
        .fetch_optional(tx)
        .await?)
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Attentions whose live interaction shows the change.
    pub live: Vec<Uuid>,
    /// Attentions whose ended interactions are stored anew.
    pub stored: Vec<Uuid>,
    /// Attentions that belonged to another contact.
    pub moved: Vec<Uuid>,
}

/// Locks the attentions, waiting for them, and makes the change known. The caller holds the locks of the contact's
/// identity keys, so that no mail of this customer is being taken in meanwhile.
///
/// # Errors
/// `LOCK_TIMEOUT`, `LOST_UPDATE`; database errors.
pub(crate) async fn changed(
    tx: &mut PgConnection,
    subjects: &Subjects,
    contact: ContactId,
    change: &Change,
    actor: &Actor,
) -> Result<(), Error> {
    let mut all: Vec<Uuid> =
        [&change.live, &change.stored, &change.moved].into_iter().flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    if all.is_empty() {
        return Ok(());
    }
    let mut work = Work::lock_current(tx, &all, Wait::Block).await?;
    let mut told = Vec::new();
    for attention in change.live.iter().chain(&change.moved).map(|id| AttentionId(*id)) {
        let before = work.state(attention, None);
        // A live one that moves too stands in both lists and is told of once.
        if before.as_ref().is_none_or(|state| told.contains(&state.id)) {
            continue;
        }
        work.decide_at(attention, None, Command::ChangeContact { contact }, actor, "")?;
        told.push(attention);
    }
    let addressed: Vec<Uuid> = told
        .iter()
        .filter_map(|id| work.state(*id, None).and_then(|state| state.interaction))
        .map(|interaction| interaction.id.uuid())
        .collect();
    work.write(tx, subjects).await?;
    let stored: Vec<Uuid> = change.stored.iter().chain(&change.moved).copied().collect();
    store::raise_ended(tx, &stored, &addressed).await
}
