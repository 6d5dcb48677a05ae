//! `ReopenInteraction`: an ended thread becomes an open item again, with its messages and the form as it was filled in.

use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::nats::Subjects;
use hilo_proto::attention::v1::{ReopenInteractionRequest, ReopenInteractionResponse};
use sqlx::PgConnection;

use super::act::{Actions, held, id_of, snapshot};
use super::once::Once;
use crate::attention::commands::not_found;
use crate::attention::domain::{Attention, Command, InteractionId, Rejection, Stage, UserKey};
use crate::attention::published;
use crate::attention::work::Actor;
use crate::directory::Access;

/// The index that keeps two attentions of one lineage from being open.
const ONE_OPEN: &str = "one_open_attention_per_lineage";

impl Actions {
    /// Opens an ended interaction again, and with it a closed attention.
    ///
    /// # Errors
    /// `SUCCESSOR_OPEN`, `INTERACTION_LIVE`, `ALREADY_TAKEN` (another reopened it first), `ONLY_EMAIL`, `THREAD_PURGED`,
    /// `AGENT_REQUIRED`, `INTERACTION_NOT_FOUND`; database errors.
    pub(crate) async fn reopen(
        &self,
        access: Access,
        mut request: ReopenInteractionRequest,
    ) -> Result<ReopenInteractionResponse, Error> {
        let id = id_of(&request.interaction_id)?;
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "ReopenInteraction", &request_id, &request)?;
        let subjects = self.subjects.clone();
        let answer = self
            .db
            .transaction(move |tx| {
                let (subjects, access, once) = (subjects.clone(), access.clone(), once.clone());
                Box::pin(async move {
                    if let Some(answer) = once.begin(tx).await? {
                        return Ok(answer);
                    }
                    let after = reopened(tx, &subjects, &access, id).await?;
                    let attention_state = published::attention_state(&after).into();
                    let answer = ReopenInteractionResponse { interaction: snapshot(&after), attention_state };
                    once.finish(tx, &answer).await?;
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
    if !decision.events.is_empty() {
        check_whole(tx, &state).await?;
        keep_form(tx, id).await?;
        work.write(tx, subjects).await?;
    }
    decision.state.ok_or_else(not_found)
}

/// Whether another interaction of the attention is live, and whether another attention of its lineage is open.
async fn others(tx: &mut PgConnection, state: &Attention, id: InteractionId) -> Result<(bool, bool), Error> {
    let row = sqlx::query!(
        r#"SELECT
             EXISTS (SELECT 1 FROM attention.interaction
               WHERE attention_id = $1 AND interaction_id <> $2 AND state <> 'ended') AS "live!",
             EXISTS (SELECT 1 FROM attention.attention AS other JOIN attention.attention AS this USING (lineage_id)
               WHERE this.attention_id = $1 AND other.attention_id <> $1 AND other.state = 'open') AS "successor!""#,
        state.id.uuid(),
        id.uuid()
    )
    .fetch_one(tx)
    .await?;
    Ok((row.live, row.successor))
}

/// Refuses a thread whose messages are no longer here.
async fn check_whole(tx: &mut PgConnection, state: &Attention) -> Result<(), Error> {
    let Some(interaction) = &state.interaction else { return Ok(()) };
    let Stage::Ended { .. } = interaction.stage else { return Ok(()) };
    let stored = sqlx::query_scalar!(
        r#"SELECT count(*) AS "stored!" FROM attention.message WHERE interaction_id = $1"#,
        interaction.id.uuid()
    )
    .fetch_one(tx)
    .await?;
    if stored >= i64::from(interaction.message_count) {
        return Ok(());
    }
    Err(Error::rejected("THREAD_PURGED", "the messages of this thread are in the history only"))
}

/// The version of the form that was filled in stays in force.
async fn keep_form(tx: &mut PgConnection, id: InteractionId) -> Result<(), Error> {
    sqlx::query!("UPDATE attention.form_answer SET kept = true WHERE interaction_id = $1", id.uuid())
        .execute(tx)
        .await?;
    Ok(())
}
