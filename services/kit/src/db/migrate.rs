//! Brings a database up to this binary's schema: creates it when missing, one migrator at a time, never backwards.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};

use crate::error::Error;

/// Serialises everything below among concurrent starts (any constant; this one spells "hilo").
const LOCK: i64 = 0x6869_6c6f;

/// Kit's own migrations, in schema `kit` with their own bookkeeping table.
pub fn kit_migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.dangerous_set_table_name("kit.migrations");
    migrator.create_schema("kit");
    migrator
}

/// Creates the database when missing, applies kit's migrations and then the service's own.
///
/// # Errors
/// `SCHEMA_TOO_NEW` when a newer binary has migrated it, `MIGRATION_CHANGED` when an applied file was edited,
/// `MIGRATION_FAILED` otherwise, `DATABASE_UNAVAILABLE`.
pub async fn migrate(url: &str, own: &Migrator) -> Result<(), Error> {
    let options: PgConnectOptions = url.parse().map_err(|_: sqlx::Error| {
        Error::invalid("INVALID_CONFIG", "the database URL is malformed").field("database.url", "malformed")
    })?;
    let name = options.get_database().unwrap_or(options.get_username()).to_owned();
    create_when_missing(&options, &name).await?;
    let mut conn = PgConnection::connect_with(&options).await?;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut conn).await?;
    let result = async {
        run(&kit_migrator(), &mut conn, "kit").await?;
        run(own, &mut conn, "service").await?;
        crate::outbox::make_partitions(&mut conn).await
    }
    .await;
    // The lock ends with the session; a session that cannot close is ended by the server.
    if let Err(error) = conn.close().await {
        tracing::debug!(%error, "the migration session did not close");
    }
    result
}

async fn run(migrator: &Migrator, conn: &mut PgConnection, of: &'static str) -> Result<(), Error> {
    migrator.run_direct(None, conn, false).await.map_err(|error| match &error {
        MigrateError::VersionMissing(version) => Error::rejected(
            "SCHEMA_TOO_NEW",
            format!("the database has {of} migration {version}, which this binary does not know; use the newer binary"),
        ),
        MigrateError::VersionMismatch(version) => Error::corrupt(
            "MIGRATION_CHANGED",
            format!("{of} migration {version} was applied with another content"),
        ),
        _ => Error::internal("MIGRATION_FAILED", format!("a {of} migration failed")).with_source(error),
    })
}

async fn create_when_missing(options: &PgConnectOptions, name: &str) -> Result<(), Error> {
    let missing = match PgConnection::connect_with(options).await {
        Ok(conn) => {
            conn.close().await?;
            return Ok(());
        }
        Err(error) => error,
    };
    // 3D000: invalid_catalog_name.
    let absent = matches!(&missing, sqlx::Error::Database(inner) if inner.code().as_deref() == Some("3D000"));
    if !absent {
        return Err(missing.into());
    }
    let mut admin = PgConnection::connect_with(&options.clone().database("postgres")).await?;
    let quoted = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
    let created = admin.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(quoted))).await;
    admin.close().await?;
    match created {
        Ok(_) => Ok(()),
        // 42P04 and 23505: another process created it at the same instant.
        Err(sqlx::Error::Database(inner)) if matches!(inner.code().as_deref(), Some("42P04" | "23505")) => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
