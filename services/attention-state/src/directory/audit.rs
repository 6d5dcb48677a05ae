//! `ListAudit`: pages of the trail in the words of the contract.

use std::collections::BTreeMap;

use hilo_kit::Error;
use hilo_kit::clock;
use hilo_kit::db::Db;
use hilo_proto::directory::v1::{AuditEntry, AuditedField, ListAuditRequest, ListAuditResponse};
use serde_json::Value;

use super::store::audit::{self, Filter, Row};

/// Page size when none is named.
const DEFAULT_PAGE: i32 = 100;
/// Largest page.
const MAX_PAGE: i32 = 500;
/// Kinds of things that change.
const KINDS: [&str; 8] =
    ["account", "campaign", "user", "form", "tag", "quick_reply", "contact_field", "time_zone"];
/// Longest key and actor: `service:` and a key.
const MAX_WORD: usize = 60;

/// One page, newest first.
///
/// # Errors
/// `INVALID_REQUEST` with violations; database errors.
pub async fn page(db: &Db, request: ListAuditRequest) -> Result<ListAuditResponse, Error> {
    let size = match request.page_size {
        ..=0 => DEFAULT_PAGE,
        size => size.min(MAX_PAGE),
    };
    let filter = filter(request)?;
    let limit = i64::from(size) + 1;
    let mut rows = db
        .read(move |conn| {
            let filter = filter.clone();
            Box::pin(async move { audit::list(conn, &filter, limit).await })
        })
        .await?;
    let more = i64::try_from(rows.len()).is_ok_and(|found| found == limit);
    if more {
        rows.pop();
    }
    let next = rows.last().filter(|_| more).map(|row| row.audit_id.to_string());
    Ok(ListAuditResponse {
        entries: rows.into_iter().map(entry).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

fn filter(request: ListAuditRequest) -> Result<Filter, Error> {
    let mut wrong = Error::invalid("INVALID_REQUEST", "the trail cannot be asked like this");
    if !request.kind.is_empty() && !KINDS.contains(&request.kind.as_str()) {
        wrong = wrong.field("kind", format!("must be one of {}", KINDS.join(", ")));
    }
    for (field, value) in [("key", &request.key), ("actor", &request.actor)] {
        if value.len() > MAX_WORD || value.contains('\0') {
            wrong = wrong.field(field, format!("at most {MAX_WORD} characters"));
        }
    }
    let before = match request.page_token.as_str() {
        "" => None,
        token => match token.parse::<i64>() {
            Ok(place) => Some(place),
            Err(_) => {
                wrong = wrong.field("page_token", "malformed");
                None
            }
        },
    };
    if !wrong.violations().is_empty() {
        return Err(wrong);
    }
    Ok(Filter { kind: request.kind, key: request.key, actor: request.actor, before })
}

fn entry(row: Row) -> AuditEntry {
    let (before, after) = (texts(row.before), texts(row.after));
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value =
        |fields: &BTreeMap<String, String>, name: &String| fields.get(name).cloned().unwrap_or_default();
    AuditEntry {
        recorded_at: Some(clock::to_proto(row.recorded_at)),
        actor: row.actor,
        action: row.action,
        kind: row.kind,
        key: row.key,
        fields: names
            .into_iter()
            .map(|name| AuditedField {
                name: name.clone(),
                before: value(&before, name),
                after: value(&after, name),
            })
            .collect(),
        version: row.version.unwrap_or_default(),
    }
}

fn texts(value: Value) -> BTreeMap<String, String> {
    let Value::Object(fields) = value else { return BTreeMap::new() };
    let fields = fields.into_iter();
    fields.filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
}
