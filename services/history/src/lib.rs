//! hilo-history: every ended thread, stored for good and found again.
//!
//! Owns the database `hilo_history`. Fetches ended threads from attention-state (woken by events, certain by a sweep),
//! keeps them by (interaction, version), confirms them, answers searches and exports. Counts public events for reports. It
//! never changes a live thread.
//!
//! `main → lib → consumer, app, rpc → export → store → domain`; `contract` translates to and from the contracts, `rights` says
//! what a caller may read, `html` makes bodies safe at output.

pub mod app;
pub mod config;
pub mod consumer;
mod contract;
pub mod domain;
mod download;
mod export;
mod html;
mod metrics;
pub mod report;
mod rights;
mod rpc;
mod serve;
pub mod store;
mod stored_rpc;

use std::process::ExitCode;

use hilo_kit::error::Error;
use hilo_kit::program::Program;

pub use config::{Config, HistoryConfig};
pub use contract::answer;
pub use metrics::Metrics;
pub use serve::{Listeners, run};

/// Name of the service in logs, tokens and configuration.
pub const NAME: &str = "history";

const PROGRAM: Program = Program {
    section: NAME,
    name: "hilo-history",
    about: "Stores ended threads and finds them again",
    version: env!("CARGO_PKG_VERSION"),
};

/// The process: reads its arguments and the configuration, runs until a signal.
pub fn main() -> ExitCode {
    let database = |section: &HistoryConfig| section.database.url.expose().to_owned();
    PROGRAM.main(database, migrate, async |config: Config, shutdown| {
        let listeners = Listeners::bind(&config).await?;
        run(config, listeners, shutdown).await
    })
}

/// Creates the database when missing and brings it up to this version.
///
/// # Errors
/// `SCHEMA_TOO_NEW`, `MIGRATION_CHANGED`, `MIGRATION_FAILED`, `DATABASE_UNAVAILABLE`.
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    hilo_kit::db::migrate(database_url, &sqlx::migrate!("./migrations")).await
}
