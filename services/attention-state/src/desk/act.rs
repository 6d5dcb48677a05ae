//! What an agent does to one item: open, decline, end (`compose` sends). One transaction each, idempotent by request id.

use std::sync::Arc;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::nats::Subjects;
use hilo_kit::objects::Objects;
use hilo_proto::attention::v1::{
    DeclineOfferRequest, DeclineOfferResponse, EndInteractionRequest, EndInteractionResponse,
    OpenInteractionRequest, OpenInteractionResponse,
};
use hilo_proto::event::v1::InteractionSnapshot;
use sqlx::PgConnection;

use super::once::Once;
use super::rights::{self, Right};
use super::{draft, drafts, hand, read};
use crate::attention::commands::{locked, not_found};
use crate::attention::domain::{Attention, Command, InteractionId, OfferId, UserKey};
use crate::attention::envelope::Post;
use crate::attention::published;
use crate::attention::reload::Archive;
use crate::attention::work::{Actor, Found, Work};
use crate::directory::Access;

/// Does what agents ask for.
#[derive(Clone, Debug)]
pub(crate) struct Actions {
    pub(super) db: Db,
    pub(super) subjects: Arc<Subjects>,
    /// Key of the token in Message-IDs.
    thread_key: Arc<Vec<u8>>,
    /// Where bodies are that were purged; `None` where nobody can be asked.
    pub(super) archive: Option<Archive>,
    /// Where mails wait that the broker does not take; `None` refuses them.
    objects: Option<Objects>,
}

impl Actions {
    /// Writes to `db`, announces under `subjects`, signs Message-IDs with `thread_key`.
    pub(crate) fn new(db: Db, subjects: Subjects, thread_key: Vec<u8>) -> Self {
        let (subjects, thread_key) = (Arc::new(subjects), Arc::new(thread_key));
        Self { db, subjects, thread_key, archive: None, objects: None }
    }

    /// Fetches purged bodies from `archive`.
    pub(crate) fn with_archive(self, archive: Archive) -> Self {
        Self { archive: Some(archive), ..self }
    }

    /// Hands large mails over by way of `objects`.
    pub(crate) fn with_objects(self, objects: Objects) -> Self {
        Self { objects: Some(objects), ..self }
    }

    /// What sending needs.
    pub(super) fn post(&self) -> Post {
        Post {
            subjects: self.subjects.clone(),
            thread_key: self.thread_key.clone(),
            objects: self.objects.clone(),
        }
    }

    /// The one atomic claim; an item the caller has open already is only loaded.
    ///
    /// # Errors
    /// `ALREADY_TAKEN`, `ALREADY_ENDED`, `INTERACTION_NOT_FOUND`, `AGENT_REQUIRED`, ...
    pub(crate) async fn open(
        &self,
        access: Access,
        mut request: OpenInteractionRequest,
    ) -> Result<OpenInteractionResponse, Error> {
        let id: InteractionId = id_of(&request.interaction_id)?;
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "OpenInteraction", &request_id, &request)?;
        let (subjects, caller) = (self.subjects.clone(), access.clone());
        // The answer is large and read afresh; only that it was done is kept.
        once.answered(&self.db, move |tx| {
            let (subjects, access) = (subjects.clone(), caller.clone());
            Box::pin(async move {
                let agent = UserKey::new(&access.user_key);
                change(tx, &subjects, &access, id, Command::Open { agent }).await?;
                fault::point("attention.open.before_commit").await;
                Ok(())
            })
        })
        .await?;
        fault::point("attention.open.after_commit").await;
        read::opened(&self.db, access, id).await
    }

    /// Lets the caller's offer pass.
    ///
    /// # Errors
    /// `OFFER_GONE`, `NOT_YOURS`, ...
    pub(crate) async fn decline(
        &self,
        access: Access,
        mut request: DeclineOfferRequest,
    ) -> Result<DeclineOfferResponse, Error> {
        let id = id_of(&request.interaction_id)?;
        let offer: OfferId = hilo_kit::ids::parse(&request.offer_id, "offer_id")?.into();
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "DeclineOffer", &request_id, &request)?;
        let subjects = self.subjects.clone();
        once.answered(&self.db, move |tx| {
            let (subjects, access) = (subjects.clone(), access.clone());
            Box::pin(async move {
                hand::pass(tx, &subjects, &access, id, offer).await?;
                Ok(DeclineOfferResponse {})
            })
        })
        .await
    }

    /// Ends an open item, and its attention when asked.
    ///
    /// # Errors
    /// `FORM_INCOMPLETE` with a violation per field, `NOT_YOURS`, `NOT_OPEN`, `ALREADY_ENDED`, ...
    pub(crate) async fn end(
        &self,
        access: Access,
        mut request: EndInteractionRequest,
    ) -> Result<EndInteractionResponse, Error> {
        let id = id_of(&request.interaction_id)?;
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "EndInteraction", &request_id, &request)?;
        let (subjects, close) = (self.subjects.clone(), request.close_attention);
        let answer = once
            .answered(&self.db, move |tx| {
                let (subjects, access) = (subjects.clone(), access.clone());
                Box::pin(async move {
                    let answer = end(tx, &subjects, &access, id, close).await?;
                    fault::point("attention.end.before_commit").await;
                    Ok(answer)
                })
            })
            .await?;
        fault::point("attention.end.after_commit").await;
        Ok(answer)
    }
}

pub(super) fn id_of(text: &str) -> Result<InteractionId, Error> {
    Ok(hilo_kit::ids::parse(text, "interaction_id")?.into())
}

pub(super) fn snapshot(attention: &Attention) -> Option<InteractionSnapshot> {
    attention.interaction.as_ref().map(published::snapshot)
}

/// Locks an item that the caller may serve.
pub(super) async fn held(
    tx: &mut PgConnection,
    access: &Access,
    id: InteractionId,
) -> Result<(Work, Attention), Error> {
    held_by(tx, access, id, Right::Serve).await
}

/// Locks an item to which the caller has a right.
pub(super) async fn held_by(
    tx: &mut PgConnection,
    access: &Access,
    id: InteractionId,
    right: Right,
) -> Result<(Work, Attention), Error> {
    let work = locked(tx, id).await?;
    let Found::Locked(attention) = work.find(id) else { return Err(not_found()) };
    let state = work.state(attention, Some(id)).ok_or_else(not_found)?;
    let interaction = state.interaction.as_ref().ok_or_else(not_found)?;
    rights::check(access, right, interaction.campaign.as_str())?;
    Ok((work, state))
}

/// Locks, checks, decides, writes; answers the attention after it.
async fn change(
    tx: &mut PgConnection,
    subjects: &Subjects,
    access: &Access,
    id: InteractionId,
    command: Command,
) -> Result<Attention, Error> {
    let (mut work, _) = held(tx, access, id).await?;
    let actor = Actor::User(UserKey::new(&access.user_key));
    let decision = work.decide(id, command, &actor)?;
    if !decision.events.is_empty() {
        work.write(tx, subjects).await?;
    }
    decision.state.ok_or_else(not_found)
}

async fn end(
    tx: &mut PgConnection,
    subjects: &Subjects,
    access: &Access,
    id: InteractionId,
    close: bool,
) -> Result<EndInteractionResponse, Error> {
    let (mut work, state) = held(tx, access, id).await?;
    let agent = UserKey::new(&access.user_key);
    let problems = drafts::problems_on_end(tx, &state).await?;
    let command = Command::End { agent: agent.clone(), close, problems };
    let after = work.decide(id, command, &Actor::User(agent))?.state.ok_or_else(not_found)?;
    work.write(tx, subjects).await?;
    draft::forget(tx, id).await?;
    let attention_state = published::attention_state(&after).into();
    Ok(EndInteractionResponse { interaction: snapshot(&after), attention_state })
}
