//! The extra fields of contacts, as the directory defines them.

use std::collections::BTreeMap;

use hilo_kit::error::Error;
use hilo_proto::directory::v1::FormDefinition;
use sqlx::PgConnection;

use crate::attention::domain::form;
use crate::directory;

/// Checks the values that differ from the stored ones against the definitions: a value kept from before stays as it is,
/// also when its field is not defined any more.
pub(super) fn problems(
    defined: &FormDefinition,
    stored: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
    bad: Error,
) -> Error {
    let changed: BTreeMap<String, String> = wanted
        .iter()
        .filter(|(key, value)| stored.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut problems = form::problems_on_save(defined, &changed);
    for problem in form::problems_on_end(defined, &changed) {
        let reported = problems.iter().any(|known| known.field == problem.field);
        if !reported && changed.contains_key(&problem.field) {
            problems.push(problem);
        }
    }
    problems.into_iter().fold(bad, |bad, one| bad.field(format!("contact.extra.{}", one.field), one.problem))
}

/// [`problems`] with the definitions in force.
///
/// # Errors
/// Database errors; what does not fit is a violation in the answer.
pub(super) async fn check(
    tx: &mut PgConnection,
    stored: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
    bad: Error,
) -> Result<Error, Error> {
    if stored == wanted {
        return Ok(bad);
    }
    let defined = directory::contact_fields(tx).await?;
    let fields = defined.iter().filter(|one| one.active).map(|one| directory::proto::field(&one.field));
    let defined = FormDefinition { fields: fields.collect(), ..FormDefinition::default() };
    Ok(problems(&defined, stored, wanted, bad))
}
