//! What people move by hand: transfer, reassignment, release, declining, and the notes they leave. One transaction each,
//! idempotent by request id.

use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::nats::Subjects;
use hilo_proto::attention::v1::{
    AddNoteRequest, AddNoteResponse, ReassignInteractionRequest, ReassignInteractionResponse,
    ReleaseInteractionRequest, ReleaseInteractionResponse, TransferInteractionRequest,
    TransferInteractionResponse,
};
use sqlx::PgConnection;

use super::act::{Actions, held, held_by, id_of, snapshot};
use super::once::Once;
use super::rights::Right;
use super::target::{self, Target};
use crate::assignment::present;
use crate::attention::commands::not_found;
use crate::attention::domain::{Attention, Command, InteractionId, OfferId, UserKey};
use crate::attention::note::{self, Note};
use crate::attention::store::thread;
use crate::attention::work::Actor;
use crate::directory::Access;

/// Longest note, in characters.
const MAX_NOTE: usize = 10_000;

/// An item to be moved.
#[derive(Clone, Debug)]
struct Move {
    id: InteractionId,
    target: Target,
    /// Empty without a note.
    note: String,
    /// True for a supervisor's hand.
    by_hand: bool,
}

impl Actions {
    /// Gives an open item of the caller to another campaign or, as an offer, to another agent.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, `TARGET_…` (see `target::destination`), `SAME_TARGET`, `NOT_YOURS`, `NOT_OPEN`,
    /// `ALREADY_ENDED`, `INTERACTION_NOT_FOUND`; database errors.
    pub(crate) async fn transfer(
        &self,
        access: Access,
        mut request: TransferInteractionRequest,
    ) -> Result<TransferInteractionResponse, Error> {
        let wish = Move {
            id: id_of(&request.interaction_id)?,
            target: Target::read(&request.campaign_key, &request.agent_key)?,
            note: text("note", &request.note, 0)?,
            by_hand: false,
        };
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "TransferInteraction", &request_id, &request)?;
        let subjects = self.subjects.clone();
        let answer = once
            .answered(&self.db, move |tx| {
                let (subjects, access, wish) = (subjects.clone(), access.clone(), wish.clone());
                Box::pin(async move {
                    let after = moved(tx, &subjects, &access, &wish).await?;
                    let answer = TransferInteractionResponse { interaction: snapshot(&after) };
                    fault::point("attention.transfer.before_commit").await;
                    Ok(answer)
                })
            })
            .await?;
        fault::point("attention.transfer.after_commit").await;
        Ok(answer)
    }

    /// Moves a live item, whoever has it.
    ///
    /// # Errors
    /// As [`Actions::transfer`], and `SUPERVISOR_REQUIRED`.
    pub(crate) async fn reassign(
        &self,
        access: Access,
        mut request: ReassignInteractionRequest,
    ) -> Result<ReassignInteractionResponse, Error> {
        let wish = Move {
            id: id_of(&request.interaction_id)?,
            target: Target::read(&request.campaign_key, &request.agent_key)?,
            note: text("note", &request.note, 0)?,
            by_hand: true,
        };
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "ReassignInteraction", &request_id, &request)?;
        let subjects = self.subjects.clone();
        once.answered(&self.db, move |tx| {
            let (subjects, access, wish) = (subjects.clone(), access.clone(), wish.clone());
            Box::pin(async move {
                let after = moved(tx, &subjects, &access, &wish).await?;
                Ok(ReassignInteractionResponse { interaction: snapshot(&after) })
            })
        })
        .await
    }

    /// Gives an open item back to the queue: the caller's own, or anybody's by a supervisor's hand.
    ///
    /// # Errors
    /// `NOT_YOURS`, `NOT_OPEN`, `ALREADY_ENDED`, ...
    pub(crate) async fn release(
        &self,
        access: Access,
        mut request: ReleaseInteractionRequest,
    ) -> Result<ReleaseInteractionResponse, Error> {
        let id = id_of(&request.interaction_id)?;
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "ReleaseInteraction", &request_id, &request)?;
        let subjects = self.subjects.clone();
        once.answered(&self.db, move |tx| {
            let (subjects, access) = (subjects.clone(), access.clone());
            Box::pin(async move {
                let after = released(tx, &subjects, &access, id).await?;
                let answer = ReleaseInteractionResponse { interaction: snapshot(&after) };
                fault::point("attention.release.before_commit").await;
                Ok(answer)
            })
        })
        .await
    }

    /// Writes a note into the thread of a live item.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, `ALREADY_ENDED`, `TOO_MANY_MESSAGES`, `AGENT_REQUIRED`, `INTERACTION_NOT_FOUND`; database errors.
    pub(crate) async fn add_note(
        &self,
        access: Access,
        mut request: AddNoteRequest,
    ) -> Result<AddNoteResponse, Error> {
        let id = id_of(&request.interaction_id)?;
        let note = written(&access, text("text", &request.text, 1)?);
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "AddNote", &request_id, &request)?;
        let subjects = self.subjects.clone();
        once.answered(&self.db, move |tx| {
            let (subjects, access, note) = (subjects.clone(), access.clone(), note.clone());
            Box::pin(async move {
                let (mut work, _) = held_by(tx, &access, id, Right::Annotate).await?;
                let message = note::add(tx, &mut work, id, &note).await?;
                work.write(tx, &subjects).await?;
                Ok(AddNoteResponse { note: thread::one(tx, message).await? })
            })
        })
        .await
    }
}

/// Lets the caller's offer pass; what somebody transferred goes back to him when he is there.
pub(super) async fn pass(
    tx: &mut PgConnection,
    subjects: &Subjects,
    access: &Access,
    id: InteractionId,
    offer: OfferId,
) -> Result<(), Error> {
    let (mut work, state) = held(tx, access, id).await?;
    let interaction = state.interaction.as_ref().ok_or_else(not_found)?;
    let returns = present::takes_back(tx, interaction).await?;
    let agent = UserKey::new(&access.user_key);
    work.decide(id, Command::DeclineOffer { offer, agent: agent.clone(), returns }, &Actor::User(agent))?;
    work.write(tx, subjects).await
}

async fn moved(
    tx: &mut PgConnection,
    subjects: &Subjects,
    access: &Access,
    wish: &Move,
) -> Result<Attention, Error> {
    let right = if wish.by_hand { Right::Direct } else { Right::Serve };
    let (mut work, state) = held_by(tx, access, wish.id, right).await?;
    let interaction = state.interaction.as_ref().ok_or_else(not_found)?;
    let to = target::destination(tx, &state, interaction, &wish.target, work.now()).await?;
    if !wish.note.is_empty() {
        note::add(tx, &mut work, wish.id, &written(access, wish.note.clone())).await?;
    }
    let agent = UserKey::new(&access.user_key);
    let actor = Actor::User(agent.clone());
    let command = if wish.by_hand { Command::Reassign { to } } else { Command::Transfer { agent, to } };
    work.decide(wish.id, command, &actor)?;
    work.write(tx, subjects).await?;
    work.state(state.id, Some(wish.id)).ok_or_else(not_found)
}

async fn released(
    tx: &mut PgConnection,
    subjects: &Subjects,
    access: &Access,
    id: InteractionId,
) -> Result<Attention, Error> {
    let (mut work, state) = held_by(tx, access, id, Right::See).await?;
    let interaction = state.interaction.as_ref().ok_or_else(not_found)?;
    let agent = UserKey::new(&access.user_key);
    let own = interaction.holder() == Some(&agent);
    let command = if !own && access.may_direct(interaction.campaign.as_str()) {
        Command::TakeBack
    } else {
        super::rights::check(access, Right::Serve, interaction.campaign.as_str())?;
        Command::Release { agent: agent.clone() }
    };
    let decision = work.decide(id, command, &Actor::User(agent))?;
    work.write(tx, subjects).await?;
    decision.state.ok_or_else(not_found)
}

fn written(access: &Access, text: String) -> Note {
    Note { author: UserKey::new(&access.user_key), name: access.name.clone(), text }
}

/// A note's text, trimmed, of at least `least` characters.
fn text(field: &str, text: &str, least: usize) -> Result<String, Error> {
    let text = text.trim();
    if (least..=MAX_NOTE).contains(&text.chars().count()) && !text.contains('\0') {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("INVALID_REQUEST", "the note is malformed")
        .field(field, format!("{least} to {MAX_NOTE} characters, no NUL")))
}
