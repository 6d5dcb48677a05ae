//! hilo-whatsapp-ingest: the WhatsApp channel (Meta Cloud API).
//!
//! So far the house without its tenant: it starts, checks its configuration, declares the streams it will read and
//! write, keeps its database (kit's tables), answers health, reflection and dead letters. The webhook and sending are
//! not there yet; every other RPC answers UNIMPLEMENTED.

pub mod config;
mod serve;

use std::process::ExitCode;

use hilo_kit::error::Error;
use hilo_kit::program::Program;

pub use config::{Config, WhatsappConfig};
pub use serve::{Listeners, run};

/// Name of the service in logs, tokens and configuration.
pub const NAME: &str = "whatsapp-ingest";

const PROGRAM: Program = Program {
    section: NAME,
    name: "hilo-whatsapp-ingest",
    about: "The WhatsApp channel",
    version: env!("CARGO_PKG_VERSION"),
};

/// The process: reads its arguments and the configuration, runs until a signal.
pub fn main() -> ExitCode {
    let database = |section: &WhatsappConfig| section.database.url.expose().to_owned();
    PROGRAM.main(database, migrate, async |config: Config, shutdown| {
        let listeners = Listeners::bind(&config).await?;
        run(config, listeners, shutdown).await
    })
}

/// Creates the database when missing and brings it up to this version: kit's tables, and none of its own yet.
///
/// # Errors
/// `SCHEMA_TOO_NEW`, `MIGRATION_CHANGED`, `MIGRATION_FAILED`, `DATABASE_UNAVAILABLE`.
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    hilo_kit::db::migrate(database_url, &sqlx::migrate::Migrator::DEFAULT).await
}
