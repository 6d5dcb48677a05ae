//! hilo-whatsapp-ingest: the WhatsApp channel (Meta Cloud API).
//!
//! So far the house without its tenant: it starts, checks its configuration, declares the streams it will read and
//! write, keeps its database (kit's tables), answers health, reflection and dead letters. The webhook and sending are
//! not there yet; every other RPC answers UNIMPLEMENTED.

pub mod config;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::{self, Shutdown};
use hilo_kit::{config as kit_config, telemetry};

pub use config::{Config, WhatsappConfig};
pub use serve::{Listeners, run};

/// Name of the service in logs, tokens and configuration.
pub const NAME: &str = "whatsapp-ingest";

#[derive(Parser)]
#[command(name = "hilo-whatsapp-ingest", about = "The WhatsApp channel", version)]
struct Arguments {
    /// Configuration file (YAML); the environment (`HILO__…`) overrides it.
    #[arg(long, env = "HILO_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Brings the database up to this version and ends.
    Migrate,
}

/// The process: reads its arguments and the configuration, runs until a signal.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    lifecycle::run_main("hilo-whatsapp-ingest", |shutdown| start(arguments, shutdown))
}

async fn start(arguments: Arguments, shutdown: Shutdown) -> Result<(), Error> {
    let config: Config = kit_config::load(NAME, arguments.config.as_deref())?;
    if let Some(Command::Migrate) = arguments.command {
        return migrate(config.section.database.url.expose()).await;
    }
    let guard = telemetry::init("hilo-whatsapp-ingest", &config.telemetry)?;
    let listeners = Listeners::bind(&config).await?;
    let outcome = run(config, listeners, shutdown).await;
    guard.flush().await;
    outcome
}

/// Creates the database when missing and brings it up to this version: kit's tables, and none of its own yet.
///
/// # Errors
/// `SCHEMA_TOO_NEW`, `MIGRATION_CHANGED`, `MIGRATION_FAILED`, `DATABASE_UNAVAILABLE`.
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    hilo_kit::db::migrate(database_url, &sqlx::migrate::Migrator::DEFAULT).await
}
