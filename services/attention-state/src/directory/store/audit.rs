//! The trail: one row per change of one thing.

use hilo_kit::Error;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::directory::domain::diff::Change;
use crate::directory::domain::entries::Fields;

/// A row of the trail.
#[derive(Clone, Debug)]
pub struct Row {
    /// Place in the trail.
    pub audit_id: i64,
    /// The database's clock.
    pub recorded_at: OffsetDateTime,
    /// `user:<key>` or `service:<name>`.
    pub actor: String,
    /// Word of the action.
    pub action: String,
    /// Kind of the thing.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// Differing fields before.
    pub before: Value,
    /// Differing fields after.
    pub after: Value,
    /// Version of the directory it made.
    pub version: Option<i64>,
}

/// What of the trail is asked for; an empty text is no condition.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Kind of the thing.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// Who did it.
    pub actor: String,
    /// Only rows before this one.
    pub before: Option<i64>,
}

/// Adds changes to the trail, in their order.
///
/// # Errors
/// Database errors.
pub async fn record(
    tx: &mut PgConnection,
    actor: &str,
    version: Option<i64>,
    changes: &[Change],
) -> Result<(), Error> {
    let rows: Vec<Value> = changes
        .iter()
        .map(|one| {
            json!({"action": one.action.word(), "kind": one.kind, "key": one.key,
                "before": object(&one.before), "after": object(&one.after)})
        })
        .collect();
    sqlx::query!(
        "INSERT INTO directory.audit (actor, version, action, kind, key, before, after)
         SELECT $1, $2, action, kind, key, before, after
         FROM jsonb_to_recordset($3) AS given (action text, kind text, key text, before jsonb, after jsonb)",
        actor,
        version,
        Value::Array(rows),
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn object(fields: &Fields) -> Value {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), Value::String(value.clone())));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Rows of the trail, newest first.
///
/// # Errors
/// Database errors.
pub async fn list(conn: &mut PgConnection, filter: &Filter, limit: i64) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT audit_id, recorded_at, actor, action, kind, key, before, after, version FROM directory.audit
         WHERE ($1 = '' OR kind = $1) AND ($2 = '' OR key = $2) AND ($3 = '' OR actor = $3)
           AND ($4::bigint IS NULL OR audit_id < $4)
         ORDER BY audit_id DESC LIMIT $5",
        filter.kind,
        filter.key,
        filter.actor,
        filter.before,
        limit,
    );
    Ok(rows.fetch_all(conn).await?)
}
