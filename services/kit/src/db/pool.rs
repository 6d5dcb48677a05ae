//! Settings of a session and the belts around the pool.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Executor, Postgres, Row};

use crate::config::DatabaseConfig;
use crate::error::Error;

/// Longer than any statement of a command, shorter than a caller's patience.
const STATEMENT_TIMEOUT: &str = "5s";
/// A lock that is not granted by then is a conflict the caller may try again.
const LOCK_TIMEOUT: &str = "3s";
/// Belt: a session forgotten inside a transaction is ended by the server.
const IDLE_TIMEOUT: &str = "10s";

pub(super) fn options(config: &DatabaseConfig) -> Result<PgConnectOptions, Error> {
    let options: PgConnectOptions = config.url.expose().parse().map_err(|error: sqlx::Error| {
        // The source is left out: it may quote the URL with its password.
        drop(error);
        Error::invalid("INVALID_CONFIG", "the database URL is malformed").field("database.url", "malformed")
    })?;
    let name = options.get_application_name().unwrap_or("hilo").to_owned();
    Ok(options.application_name(&name).options([
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("lock_timeout", LOCK_TIMEOUT),
        ("idle_in_transaction_session_timeout", IDLE_TIMEOUT),
        // A frozen or vanished client host is noticed; milliseconds.
        ("tcp_user_timeout", "15000"),
    ]))
}

pub(super) fn build(options: PgConnectOptions, max_connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(Duration::from_secs(1800))
        .test_before_acquire(false)
        .before_acquire(|conn, meta| {
            Box::pin(async move {
                // Only a connection that lay idle may have died unnoticed.
                if meta.idle_for < Duration::from_secs(1) {
                    Ok(true)
                } else {
                    outside_transaction(conn).await
                }
            })
        })
        .connect_lazy_with(options)
}

/// A connection that goes back to the pool only when its user says that no transaction is open: whatever ends otherwise, a
/// dropped future, a panic, a failed commit, closes it. So nothing has to be asked on every release.
pub(super) struct Borrowed {
    conn: PoolConnection<Postgres>,
    idle: bool,
}

impl Borrowed {
    pub(super) async fn from(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self { conn: pool.acquire().await?, idle: false })
    }

    /// The server has answered the end of the transaction, or there was none.
    pub(super) fn give_back(mut self) {
        self.idle = true;
    }
}

impl Deref for Borrowed {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.conn
    }
}

impl DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.conn
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.idle {
            self.conn.close_on_drop();
        }
    }
}

/// False closes the connection: somebody left it inside a transaction.
///
/// In autocommit mode a simple query's statement starts its own transaction, so both clocks agree; inside an older
/// transaction `now()` is earlier, and in a failed one the statement itself is refused.
async fn outside_transaction(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match conn.fetch_one(sqlx::raw_sql("SELECT now() = statement_timestamp()")).await {
        Ok(row) => {
            let outside: bool = row.try_get(0)?;
            if !outside {
                tracing::error!("a connection came back inside a transaction; closed");
            }
            Ok(outside)
        }
        Err(error) => {
            tracing::debug!(%error, "a connection is unusable; closed");
            Ok(false)
        }
    }
}
