//! `ReopenInteraction`: an ended thread becomes an open item again, with its messages and the form as it was filled in.

use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::nats::Subjects;
use hilo_proto::attention::v1::{ReopenInteractionRequest, ReopenInteractionResponse};
use sqlx::PgConnection;

use super::act::{Actions, held, id_of, snapshot};
use super::once::Once;
use crate::attention::commands::not_found;
use crate::attention::domain::{Attention, Command, InteractionId, Rejection, UserKey};
use crate::attention::published;
use crate::attention::reload::{is_whole, load_bodies_from_history};
use crate::attention::work::Actor;
use crate::directory::Access;

/// Why a thread cannot be opened as it lies here.
const PURGED: &str = "THREAD_PURGED";
/// The index that keeps two attentions of one lineage from being open.
const ONE_OPEN: &str = "one_open_attention_per_lineage";

impl Actions {
    /// Opens an ended interaction again, and with it a closed attention. What was purged is fetched back first, once it is
    /// certain that the caller may reopen.
    ///
    /// # Errors
    /// `SUCCESSOR_OPEN`, `INTERACTION_LIVE`, `ALREADY_TAKEN` (another reopened it first), `ONLY_EMAIL`,
    /// `BODIES_UNAVAILABLE`, `BODIES_INCOMPLETE`, `THREAD_PURGED`, `AGENT_REQUIRED`, `INTERACTION_NOT_FOUND`; database
    /// errors.
    pub(crate) async fn reopen(
        &self,
        access: Access,
        request: ReopenInteractionRequest,
    ) -> Result<ReopenInteractionResponse, Error> {
        let id = id_of(&request.interaction_id)?;
        match (self.reopen_whole(access.clone(), request.clone(), id).await, &self.archive) {
            (Err(error), Some(archive)) if error.reason() == PURGED => {
                load_bodies_from_history(&self.db, archive, id).await?;
                self.reopen_whole(access, request, id).await
            }
            (answer, _) => answer,
        }
    }

    async fn reopen_whole(
        &self,
        access: Access,
        mut request: ReopenInteractionRequest,
        id: InteractionId,
    ) -> Result<ReopenInteractionResponse, Error> {
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "ReopenInteraction", &request_id, &request)?;
        let subjects = self.subjects.clone();
        let answer = once
            .answered(&self.db, move |tx| {
                let (subjects, access) = (subjects.clone(), access.clone());
                Box::pin(async move {
                    let after = reopened(tx, &subjects, &access, id).await?;
                    let attention_state = published::attention_state(&after).into();
                    let answer = ReopenInteractionResponse { interaction: snapshot(&after), attention_state };
                    fault::point("attention.reopen.before_commit").await;
                    Ok(answer)
                })
            })
            .await
            .map_err(successor)?;
        fault::point("attention.reopen.after_commit").await;
        Ok(answer)
    }
}

/// A customer's answer may begin a successor at the same instant, under the lock of another attention of the lineage.
fn successor(error: Error) -> Error {
    if error.constraint() == Some(ONE_OPEN) { Rejection::SuccessorOpen.into() } else { error }
}

async fn reopened(
    tx: &mut PgConnection,
    subjects: &Subjects,
    access: &Access,
    id: InteractionId,
) -> Result<Attention, Error> {
    let (mut work, state) = held(tx, access, id).await?;
    let (live, successor_open) = others(tx, &state, id).await?;
    let agent = UserKey::new(&access.user_key);
    let command = Command::Reopen { agent: agent.clone(), live, successor_open };
    let decision = work.decide(id, command, &Actor::User(agent))?;
    // What it takes of his capacity is fixed anew as it is written.
    if !decision.events.is_empty() {
        if !is_whole(tx, id).await? {
            return Err(Error::rejected(PURGED, "the messages of this thread are in the history only"));
        }
        keep_form(tx, id).await?;
        work.write(tx, subjects).await?;
    }
    work.state(state.id, Some(id)).ok_or_else(not_found)
}

/// Whether another interaction of the attention is live, and whether another attention of its lineage is open (a
/// flooded one came before and stands aside).
async fn others(tx: &mut PgConnection, state: &Attention, id: InteractionId) -> Result<(bool, bool), Error> {
    let row = sqlx::query!(
        r#"SELECT
             EXISTS (SELECT 1 FROM attention.interaction
               WHERE attention_id = $1 AND interaction_id <> $2 AND state <> 'ended') AS "live!",
             EXISTS (SELECT 1 FROM attention.attention AS other JOIN attention.attention AS this USING (lineage_id)
               WHERE this.attention_id = $1 AND other.attention_id <> $1 AND other.state = 'open'
                 AND NOT other.flooded) AS "successor!""#,
        state.id.uuid(),
        id.uuid()
    )
    .fetch_one(tx)
    .await?;
    Ok((row.live, row.successor))
}

/// The version of the form that was filled in stays in force.
async fn keep_form(tx: &mut PgConnection, id: InteractionId) -> Result<(), Error> {
    sqlx::query!("UPDATE attention.form_answer SET kept = true WHERE interaction_id = $1", id.uuid())
        .execute(tx)
        .await?;
    Ok(())
}
