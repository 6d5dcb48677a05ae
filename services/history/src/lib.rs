//! hilo-history: every ended thread, stored for good and found again.
//!
//! Owns the database `hilo_history`. Fetches ended threads from attention-state (woken by events, certain by a sweep),
//! keeps them by (interaction, version), confirms them, answers searches. It never changes a live thread.
//!
//! `main → lib → consumer, app, rpc → store → domain`; `contract` translates to and from the contracts, `rights` says
//! what a caller may read, `html` makes bodies safe at output.

pub mod app;
pub mod config;
pub mod consumer;
mod contract;
pub mod domain;
mod html;
mod metrics;
mod rights;
mod rpc;
mod serve;
pub mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::{self, Shutdown};
use hilo_kit::{config as kit_config, telemetry};

pub use config::{Config, HistoryConfig};
pub use contract::answer;
pub use metrics::Metrics;
pub use serve::{Listeners, run};

/// Name of the service in logs, tokens and configuration.
pub const NAME: &str = "history";

#[derive(Parser)]
#[command(name = "hilo-history", about = "Stores ended threads and finds them again", version)]
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
    lifecycle::run_main("hilo-history", |shutdown| start(arguments, shutdown))
}

async fn start(arguments: Arguments, shutdown: Shutdown) -> Result<(), Error> {
    let config: Config = kit_config::load(NAME, arguments.config.as_deref())?;
    if let Some(Command::Migrate) = arguments.command {
        return migrate(config.section.database.url.expose()).await;
    }
    let guard = telemetry::init("hilo-history", &config.telemetry)?;
    let listeners = Listeners::bind(&config).await?;
    let outcome = run(config, listeners, shutdown).await;
    guard.flush().await;
    outcome
}

/// Creates the database when missing and brings it up to this version.
///
/// # Errors
/// `SCHEMA_TOO_NEW`, `MIGRATION_CHANGED`, `MIGRATION_FAILED`, `DATABASE_UNAVAILABLE`.
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    hilo_kit::db::migrate(database_url, &sqlx::migrate!("./migrations")).await
}
