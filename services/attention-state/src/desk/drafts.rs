//! Drafts and forms of open items: saved against a base version, so that two windows of one agent cannot overwrite each
//! other silently.

use std::collections::BTreeMap;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use hilo_proto::attention::v1::{
    Draft, FormState, SaveDraftRequest, SaveDraftResponse, SaveFormRequest, SaveFormResponse,
};
use hilo_proto::directory::v1::FormDefinition;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::act::{held, id_of};
use crate::attention::domain::form::{self, Values};
use crate::attention::domain::{Attention, Command, Direction, FieldProblem, InteractionId, Stage, UserKey};
use crate::attention::work::Actor;
use crate::directory::{self, Access};

/// Longest draft in characters: that of a message.
const MAX_DRAFT: usize = 200_000;
/// Most values of a form.
const MAX_VALUES: usize = 200;

/// Saves the draft of an item the caller has open.
///
/// # Errors
/// `STALE_DRAFT` when another version is stored, `NOT_YOURS`, `NOT_OPEN`, `INVALID_REQUEST`; database errors.
pub(crate) async fn save_draft(
    db: &Db,
    access: Access,
    request: SaveDraftRequest,
) -> Result<SaveDraftResponse, Error> {
    let id = id_of(&request.interaction_id)?;
    if request.text.chars().count() > MAX_DRAFT || request.text.contains('\0') {
        let text = format!("at most {MAX_DRAFT} characters, no NUL");
        return Err(Error::invalid("INVALID_REQUEST", "the draft is malformed").field("text", text));
    }
    db.transaction(move |tx| {
        let (access, request) = (access.clone(), request.clone());
        Box::pin(async move {
            // The attention's lock keeps a draft from being saved into an item that is ending.
            let (_, state) = held(tx, &access, id).await?;
            opened_by(&state, &access.user_key)?;
            let saved = write_draft(tx, id.uuid(), request.base_version, &request.text).await?;
            let version = saved
                .ok_or_else(|| Error::rejected("STALE_DRAFT", "the draft was saved elsewhere meanwhile"))?;
            Ok(SaveDraftResponse { draft: Some(Draft { version, text: request.text }) })
        })
    })
    .await
}

/// `None` when another version is stored.
async fn write_draft(tx: &mut PgConnection, id: Uuid, base: i64, text: &str) -> Result<Option<i64>, Error> {
    let saved = if base == 0 {
        sqlx::query_scalar!(
            "INSERT INTO attention.draft (interaction_id, version, body) VALUES ($1, 1, $2)
             ON CONFLICT DO NOTHING RETURNING version",
            id,
            text
        )
        .fetch_optional(tx)
        .await?
    } else {
        sqlx::query_scalar!(
            "UPDATE attention.draft SET version = version + 1, body = $3, saved_at = now()
             WHERE interaction_id = $1 AND version = $2 RETURNING version",
            id,
            base,
            text
        )
        .fetch_optional(tx)
        .await?
    };
    Ok(saved)
}

/// Saves the form of an item the caller has open.
///
/// # Errors
/// `STALE_FORM` when another version is stored, `NO_FORM`, `INVALID_REQUEST` with a violation per value no screen could
/// produce, `NOT_YOURS`, `NOT_OPEN`; database errors.
pub(crate) async fn save_form(
    db: &Db,
    subjects: &Subjects,
    access: Access,
    request: SaveFormRequest,
) -> Result<SaveFormResponse, Error> {
    let id = id_of(&request.interaction_id)?;
    let values: Values = request.values.into_iter().collect();
    if values.len() > MAX_VALUES || values.values().any(|value| value.contains('\0')) {
        let text = format!("at most {MAX_VALUES} values, no NUL");
        return Err(Error::invalid("INVALID_REQUEST", "the form is malformed").field("values", text));
    }
    let (subjects, base) = (subjects.clone(), request.base_version);
    db.transaction(move |tx| {
        let (access, subjects, values) = (access.clone(), subjects.clone(), values.clone());
        Box::pin(async move {
            let version = write_form(tx, &subjects, &access, id, base, &values).await?;
            let values = values.into_iter().collect();
            Ok(SaveFormResponse { form_state: Some(FormState { version, values }) })
        })
    })
    .await
}

async fn write_form(
    tx: &mut PgConnection,
    subjects: &Subjects,
    access: &Access,
    id: InteractionId,
    base: i64,
    values: &Values,
) -> Result<i64, Error> {
    let (mut work, state) = held(tx, access, id).await?;
    let agent = UserKey::new(&access.user_key);
    work.decide(id, Command::SaveForm { agent: agent.clone() }, &Actor::User(agent))?;
    let definition = definition(tx, &state).await?;
    let definition = definition.ok_or_else(|| Error::rejected("NO_FORM", "this campaign has no form"))?;
    let problems = form::problems_on_save(&definition, values);
    if !problems.is_empty() {
        let bad = Error::invalid("INVALID_REQUEST", "values do not fit the form");
        return Err(problems
            .into_iter()
            .fold(bad, |bad, one| bad.field(format!("values.{}", one.field), one.problem)));
    }
    let saved = if base == 0 {
        sqlx::query_scalar!(
            "INSERT INTO attention.form_answer (interaction_id, form_key, form_version, version, answers)
             VALUES ($1, $2, $3, 1, $4) ON CONFLICT DO NOTHING RETURNING version",
            id.uuid(),
            definition.key,
            definition.version,
            Json(values) as _
        )
        .fetch_optional(&mut *tx)
        .await?
    } else {
        sqlx::query_scalar!(
            "UPDATE attention.form_answer SET version = version + 1, form_key = $3, form_version = $4, answers = $5,
               saved_at = now()
             WHERE interaction_id = $1 AND version = $2 RETURNING version",
            id.uuid(),
            base,
            definition.key,
            definition.version,
            Json(values) as _
        )
        .fetch_optional(&mut *tx)
        .await?
    };
    let version =
        saved.ok_or_else(|| Error::rejected("STALE_FORM", "the form was saved elsewhere meanwhile"))?;
    work.write(tx, subjects).await?;
    Ok(version)
}

fn opened_by(state: &Attention, user: &str) -> Result<(), Error> {
    use crate::attention::domain::Rejection;
    match state.interaction.as_ref().map(|interaction| &interaction.stage) {
        Some(Stage::Open { agent, .. }) if agent.as_str() == user => Ok(()),
        Some(Stage::Open { .. }) => Err(Rejection::NotYours.into()),
        Some(Stage::Queued { .. }) | None => Err(Rejection::NotOpen.into()),
        Some(Stage::Ended { .. }) => Err(Rejection::AlreadyEnded.into()),
    }
}

/// The form that counts for the addressed interaction: the version in force, or, once ended (also when opened again since),
/// the one filled in.
pub(super) async fn definition(
    tx: &mut PgConnection,
    state: &Attention,
) -> Result<Option<FormDefinition>, Error> {
    let Some(interaction) = &state.interaction else { return Ok(None) };
    let filled = sqlx::query!(
        "SELECT form_key, form_version, kept FROM attention.form_answer WHERE interaction_id = $1",
        interaction.id.uuid()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let ended = matches!(interaction.stage, Stage::Ended { .. });
    if let Some(filled) = filled.filter(|filled| ended || filled.kept) {
        let form = directory::form(tx, &filled.form_key, Some(filled.form_version)).await?;
        return Ok(form.as_ref().map(directory::proto::form));
    }
    let campaign = directory::campaign(tx, interaction.campaign.as_str()).await?;
    let key = campaign.and_then(|campaign| match interaction.direction {
        Direction::Inbound => campaign.inbound_form,
        Direction::Outbound => campaign.outbound_form,
    });
    match key {
        Some(key) => Ok(directory::form(tx, key.as_str(), None).await?.as_ref().map(directory::proto::form)),
        None => Ok(None),
    }
}

/// Values saved so far.
pub(super) async fn form_state(tx: &mut PgConnection, id: Uuid) -> Result<Option<FormState>, Error> {
    let row = sqlx::query!(
        r#"SELECT version, answers AS "answers: Json<BTreeMap<String, String>>" FROM attention.form_answer
           WHERE interaction_id = $1"#,
        id
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| FormState { version: row.version, values: row.answers.0.into_iter().collect() }))
}

/// The draft saved so far.
pub(super) async fn draft(tx: &mut PgConnection, id: Uuid) -> Result<Option<Draft>, Error> {
    let row = sqlx::query!("SELECT version, body FROM attention.draft WHERE interaction_id = $1", id)
        .fetch_optional(tx)
        .await?;
    Ok(row.map(|row| Draft { version: row.version, text: row.body }))
}

/// What the form of an item still lacks.
pub(super) async fn problems_on_end(
    tx: &mut PgConnection,
    state: &Attention,
) -> Result<Vec<FieldProblem>, Error> {
    let Some(definition) = definition(tx, state).await? else { return Ok(Vec::new()) };
    let Some(interaction) = &state.interaction else { return Ok(Vec::new()) };
    let values = form_state(tx, interaction.id.uuid()).await?.map(|state| state.values).unwrap_or_default();
    Ok(form::problems_on_end(&definition, &values.into_iter().collect()))
}

/// Drops the draft of an item that ended.
pub(super) async fn forget(tx: &mut PgConnection, id: InteractionId) -> Result<(), Error> {
    sqlx::query!("DELETE FROM attention.draft WHERE interaction_id = $1", id.uuid()).execute(tx).await?;
    Ok(())
}
