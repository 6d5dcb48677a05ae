//! Forms of open items: saved against a base version, so that two windows of one agent cannot overwrite each
//! other silently.

use std::collections::BTreeMap;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use hilo_proto::attention::v1::{FormState, SaveFormRequest, SaveFormResponse};
use hilo_proto::directory::v1::FormDefinition;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::act::{held, id_of};
use crate::attention::domain::form::{self, Values};
use crate::attention::domain::{Attention, Command, Direction, FieldProblem, InteractionId, Stage, UserKey};
use crate::attention::work::Actor;
use crate::directory::{self, Access};

/// Most values of a form.
const MAX_VALUES: usize = 200;

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

/// The caller must have the addressed interaction open.
pub(super) fn opened_by(state: &Attention, user: &str) -> Result<(), Error> {
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
