//! The one place where rights meet rows: every statement that reads for a caller is restricted here, by the campaign the
//! row belongs to. A row outside of the scope does not exist for the caller, and is in no count.

use hilo_kit::error::Error;
use sqlx::QueryBuilder;
use sqlx::postgres::{PgConnection, Postgres};

use crate::domain::{InteractionId, Scope};

/// Adds `AND <column> is in the scope` to a statement whose WHERE clause has begun. An empty scope fits no row.
pub(super) fn restrict(sql: &mut QueryBuilder<Postgres>, scope: &Scope, column: &'static str) {
    match scope {
        Scope::All => {}
        Scope::Campaigns(keys) => {
            let keys: Vec<String> = keys.iter().cloned().collect();
            sql.push(" AND ").push(column).push(" = ANY(").push_bind(keys).push(")");
        }
    }
}

/// True when the thread is there and in the scope.
pub(super) async fn shows(conn: &mut PgConnection, scope: &Scope, id: InteractionId) -> Result<bool, Error> {
    let mut sql = QueryBuilder::new("SELECT 1 FROM thread WHERE interaction_id = ");
    sql.push_bind(id.uuid());
    restrict(&mut sql, scope, "campaign_key");
    Ok(sql.build().fetch_optional(conn).await?.is_some())
}
