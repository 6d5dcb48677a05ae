//! Tags of an attention: put on and taken off by people, shown in lists at once, found in history.

use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;

use super::domain::{AttentionId, Command, TagKey};
use super::store::{self, Wait};
use super::work::{Actor, Work};

/// Locks the attention, decides `command` (a tag put on or taken off) and writes; answers the tags after it.
///
/// # Errors
/// `ATTENTION_NOT_FOUND`, `TOO_MANY_TAGS`; database errors.
pub(crate) async fn change(
    tx: &mut PgConnection,
    subjects: &Subjects,
    attention: AttentionId,
    command: Command,
    actor: &Actor,
) -> Result<Vec<String>, Error> {
    let mut work = Work::lock_current(tx, &[attention.uuid()], Wait::Block).await?;
    if !work.holds(attention) {
        return Err(Error::missing("ATTENTION_NOT_FOUND", "there is no such attention"));
    }
    let decision = work.decide_at(attention, None, command, actor, "")?;
    let Some(state) = decision.state else { return Ok(Vec::new()) };
    if !decision.events.is_empty() {
        work.write(tx, subjects).await?;
        let addressed: Vec<_> = state.interaction.iter().map(|interaction| interaction.id.uuid()).collect();
        store::raise_ended(tx, &[attention.uuid()], &addressed).await?;
    }
    Ok(state.tags.iter().map(TagKey::to_string).collect())
}
