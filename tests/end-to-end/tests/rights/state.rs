//! What the databases hold, as one fingerprint per table: a refused call must leave it as it was.

use std::collections::BTreeMap;

use hilo_end_to_end::Installation;
use sqlx::{Connection as _, PgConnection};

/// Tables a stranger has no way to change: customers, conversations, directory and history. (His own uploads, tokens and
/// presence are his.)
pub const GUARDED: &str = "attention contact dialer directory public";
/// Everything a person's call changes.
pub const COMMANDED: &str = "attention contact dialer directory conversation identity public";

/// Where a caller's own failures and his own signing out are noted.
const OWN: [&str; 2] = ["login_throttle", "audit"];

/// Table to fingerprint, of the schemas named.
pub async fn of(installation: &Installation, schemas: &str) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for database in ["hilo_attention", "hilo_history"] {
        let mut connection = PgConnection::connect(&installation.database(database)).await.unwrap();
        let tables = tables(&mut connection, database, schemas).await;
        state.extend(read(&mut connection, &tables).await);
    }
    state
}

/// The same once nothing has changed for a second: what was done is still being told among the services.
pub async fn settled(installation: &Installation, schemas: &str) -> BTreeMap<String, String> {
    let (mut last, mut quiet) = (of(installation, schemas).await, 0);
    while quiet < 5 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let now = of(installation, schemas).await;
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
    }
    last
}

/// Tables of a database in the schemas named.
pub async fn tables(connection: &mut PgConnection, database: &str, schemas: &str) -> Vec<(String, String)> {
    let schemas: Vec<&str> = schemas.split(' ').collect();
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
         WHERE schemaname = ANY($1) AND tablename NOT LIKE '\\_sqlx%' AND NOT tablename = ANY($2) ORDER BY 1",
    )
    .bind(schemas)
    .bind(OWN)
    .fetch_all(connection)
    .await
    .unwrap();
    names.into_iter().map(|name| (format!("{database}: {name}"), name)).collect()
}

/// One fingerprint per table, at one instant.
pub async fn read(connection: &mut PgConnection, tables: &[(String, String)]) -> BTreeMap<String, String> {
    if tables.is_empty() {
        return BTreeMap::new();
    }
    let each = tables.iter().map(|(shown, name)| {
        format!("SELECT '{shown}', count(*) || ' ' || coalesce(md5(string_agg(t::text, '' ORDER BY t::text)), '') FROM {name} t")
    });
    let sql = each.collect::<Vec<_>>().join(" UNION ALL ");
    let rows: Vec<(String, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    rows.into_iter().collect()
}

/// Names of the tables that differ.
pub fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let changed: Vec<String> = after
        .iter()
        .filter(|(table, print)| before.get(*table) != Some(*print))
        .map(|(table, print)| {
            format!("{table} ({} -> {print})", before.get(table).map_or("", String::as_str))
        })
        .collect();
    changed.join(", ")
}
