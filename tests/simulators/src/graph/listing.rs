//! Lists of an account: its templates and its phone numbers, in pages with cursors.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{OriginalUri, Path, Query, State};
use axum::response::Response;
use base64::Engine as _;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::call::Call;
use crate::config::{App, Number, Template};
use crate::errors::GraphError;
use crate::faults::Endpoint;
use crate::world::{Core, World};

/// Rows of a page where none are asked for.
const PAGE: usize = 25;
/// Most rows of a page.
const MAX_PAGE: usize = 1_000;

/// GET /{account}/message_templates, filtered by `name`, `language`, `status`, `category`.
pub(super) async fn templates(
    State(core): State<Arc<Core>>,
    Path((version, id)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let here = format!("{}{}", core.base, uri.path());
    let call = Call::new(core, &Method::GET, uri.path(), &version, headers).on(Endpoint::Templates, &id);
    call.run(move |world, app| {
        account(world, app, &id)?;
        let wanted =
            |name: &str, value: &str| query.get(name).is_none_or(|wanted| wanted.eq_ignore_ascii_case(value));
        let named = |name: &str| query.get("name").is_none_or(|part| name.contains(part.as_str()));
        let rows = world.templates.iter().filter(|template| {
            template.business_account_id == id
                && named(&template.name)
                && wanted("language", &template.language)
                && wanted("status", &template.status)
                && wanted("category", &template.category)
        });
        let rows = rows.map(|template| fields(self::template(template), query.get("fields"))).collect();
        Ok(page(rows, &query, &here)?.into())
    })
    .await
}

/// GET /{account}/phone_numbers.
pub(super) async fn numbers(
    State(core): State<Arc<Core>>,
    Path((version, id)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let here = format!("{}{}", core.base, uri.path());
    let call = Call::new(core, &Method::GET, uri.path(), &version, headers).on(Endpoint::Numbers, &id);
    call.run(move |world, app| {
        account(world, app, &id)?;
        let of_account = world.numbers.iter().filter(|number| number.business_account_id == id);
        let rows = of_account.map(|number| fields(self::number(number), query.get("fields"))).collect();
        Ok(page(rows, &query, &here)?.into())
    })
    .await
}

fn account(world: &World, app: &App, id: &str) -> Result<(), GraphError> {
    let own = world.numbers.iter().any(|number| number.business_account_id == id && number.app == app.id);
    if own { Ok(()) } else { Err(GraphError::no_such_object(id)) }
}

fn template(template: &Template) -> Value {
    json!({
        "name": template.name,
        "parameter_format": template.parameter_format,
        "components": template.components,
        "language": template.language,
        "status": template.status,
        "category": template.category,
        "id": template.id,
    })
}

pub(super) fn number(number: &Number) -> Value {
    json!({
        "verified_name": number.verified_name,
        "code_verification_status": "VERIFIED",
        "display_phone_number": format!("+{}", number.display_phone_number),
        "quality_rating": "GREEN",
        "platform_type": "CLOUD_API",
        "throughput": { "level": "STANDARD" },
        "status": "CONNECTED",
        "name_status": "APPROVED",
        "id": number.phone_number_id,
    })
}

/// Only the fields that were asked for; `id` always.
pub(super) fn fields(row: Value, wanted: Option<&String>) -> Value {
    let (Some(wanted), Value::Object(row)) = (wanted, row.clone()) else { return row };
    let wanted: Vec<&str> = wanted.split(',').map(str::trim).collect();
    row.into_iter()
        .filter(|(name, _)| name == "id" || wanted.contains(&name.as_str()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn cursor(at: usize) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("row:{at}"))
}

fn place(cursor: &str) -> Option<usize> {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(cursor).ok()?;
    std::str::from_utf8(&bytes).ok()?.strip_prefix("row:")?.parse().ok()
}

/// One page: `data`, and `paging` with cursors and, if there is more, the address of the next page.
fn page(rows: Vec<Value>, query: &HashMap<String, String>, here: &str) -> Result<Value, GraphError> {
    let limit = match query.get("limit").map(|limit| limit.parse::<usize>()) {
        None => PAGE,
        Some(Ok(limit)) if (1..=MAX_PAGE).contains(&limit) => limit,
        Some(_) => return Err(GraphError::new(100, "Param limit must be between 1 and 1000.")),
    };
    let after =
        query.get("after").map(|after| place(after).ok_or_else(|| GraphError::new(100, "Invalid cursor.")));
    let begin = after.transpose()?.map_or(0, |last| last + 1);
    let total = rows.len();
    let data: Vec<Value> = rows.into_iter().skip(begin).take(limit).collect();
    if data.is_empty() {
        return Ok(json!({ "data": [] }));
    }
    let last = begin + data.len() - 1;
    let mut paging = json!({ "cursors": { "before": cursor(begin), "after": cursor(last) } });
    if let Some(map) = paging.as_object_mut().filter(|_| last + 1 < total) {
        let kept = ["fields", "name", "language", "status", "category"];
        let kept: String =
            kept.iter().filter_map(|name| Some(format!("&{name}={}", query.get(*name)?))).collect();
        map.insert("next".to_owned(), json!(format!("{here}?limit={limit}&after={}{kept}", cursor(last))));
    }
    Ok(json!({ "data": data, "paging": paging }))
}
